"""Parts of trackers of bounding boxes: Kalman filters with constant velocity, assignment, and the list of tracks.

Time is counted in frames. Boxes are (4,) float64: x0, y0, x1, y1 in pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

Array = NDArray[np.float64]
T = TypeVar("T")
BUFFER = 30
"""Frames for which a lost track is kept, by the papers of ByteTrack and of OC-SORT."""


class BoxTracker(ABC, Generic[T]):
    """Tracker of the boxes of one video."""

    def __init__(self, *, buffer: int = BUFFER) -> None:
        """Start without tracks.

        Args:
            buffer: frames for which a lost track is kept.
        """
        self._buffer = buffer
        self._tracks: list[T] = []
        self._frames = self._born = 0

    @abstractmethod
    def update(self, boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> dict[int, int]:
        """Associate the detections of the next frame with tracks.

        Args:
            boxes: (n, 4) bounding boxes in pixels.
            scores: (n,) detection scores in 0..1.

        Returns:
            IDs of the reported tracks by the number of their detection.
        """

    def _next_id(self) -> int:
        """Return the ID of a new track."""
        self._born += 1
        return self._born


class BoxFilter(ABC):
    """Kalman filter of a box: four measured quantities, and the velocities of the first of them.

    Attributes:
        state: (d,) the quantities, then their velocities per frame.
        covariance: (d, d) uncertainty of the state.
    """

    def __init__(self, box: Array, velocities: int) -> None:
        """Start at a box, with ``velocities`` of zero."""
        self.state = np.concatenate([self.measure(box), np.zeros(velocities)])
        self.covariance = np.diag(self.first_noise())
        size = len(self.state)
        self._transition = np.eye(size) + np.eye(size, k=4)
        self._measured = np.eye(4, size)

    @staticmethod
    @abstractmethod
    def measure(box: Array) -> Array:
        """Return the four quantities of a box."""

    @property
    @abstractmethod
    def box(self) -> Array:
        """Box of the state."""

    @abstractmethod
    def first_noise(self) -> Array:
        """Return the variances (d,) of the first state."""

    @abstractmethod
    def motion_noise(self) -> Array:
        """Return the variances (d,) that a frame adds to the state."""

    @abstractmethod
    def measurement_noise(self) -> Array:
        """Return the variances (4,) of a measurement."""

    def predict(self) -> None:
        """Move on by a frame."""
        self.covariance = self._transition @ self.covariance @ self._transition.T + np.diag(self.motion_noise())
        self.state = self._transition @ self.state

    def update(self, box: Array) -> None:
        """Correct the state by the box measured in this frame."""
        across = self.covariance @ self._measured.T
        gain = across @ np.linalg.inv(self._measured @ across + np.diag(self.measurement_noise()))
        self.state = self.state + gain @ (self.measure(box) - self._measured @ self.state)
        self.covariance = self.covariance - gain @ across.T


class HeightFilter(BoxFilter):
    """Filter of centre, aspect ratio and height, with noise in proportion to the height, as in ByteTrack.

    Source: DeepSORT (Wojke, Bewley and Paulus 2017), section 2.1; the standard deviations are those of its release:
    1/20 of the height for positions and 1/160 for velocities.
    """

    POSITION, VELOCITY = 1 / 20, 1 / 160

    def __init__(self, box: Array) -> None:
        """Start at a box."""
        super().__init__(box, 4)

    @staticmethod
    def measure(box: Array) -> Array:
        """Return centre x, y, width over height, and height."""
        (x0, y0, x1, y1), height = box, max(box[3] - box[1], 1e-3)
        return np.array([(x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / height, height])

    @property
    def box(self) -> Array:
        """Box of the state."""
        x, y, aspect, height = self.state[:4]
        return np.array([x - aspect * height / 2, y - height / 2, x + aspect * height / 2, y + height / 2])

    def _deviations(self, position: float, velocity: float, aspect: tuple[float, float]) -> Array:
        height = self.state[3]
        along, fast = position * self.POSITION * height, velocity * self.VELOCITY * height
        return np.array([along, along, aspect[0], along, fast, fast, aspect[1], fast])

    def first_noise(self) -> Array:
        """Return the variances (8,) of the first state."""
        return np.square(self._deviations(2, 10, (1e-2, 1e-5)))

    def motion_noise(self) -> Array:
        """Return the variances (8,) that a frame adds to the state."""
        return np.square(self._deviations(1, 1, (1e-2, 1e-5)))

    def measurement_noise(self) -> Array:
        """Return the variances (4,) of a measurement."""
        return np.square(self._deviations(1, 1, (1e-1, 0))[:4])


class AreaFilter(BoxFilter):
    """Filter of centre, area and a constant aspect ratio, as in OC-SORT.

    Source: SORT (Bewley et al. 2016), section 3.2, with the noise of its release, in pixels.
    """

    def __init__(self, box: Array) -> None:
        """Start at a box."""
        super().__init__(box, 3)

    @staticmethod
    def measure(box: Array) -> Array:
        """Return centre x, y, area, and width over height."""
        (x0, y0, x1, y1), height = box, max(box[3] - box[1], 1e-3)
        return np.array([(x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) * height, (x1 - x0) / height])

    @property
    def box(self) -> Array:
        """Box of the state."""
        x, y, area, aspect = self.state[:4]
        width = np.sqrt(max(area * aspect, 1e-6))
        height = area / width
        return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])

    def predict(self) -> None:
        """Move on by a frame; a box that would vanish keeps its area."""
        if self.state[2] + self.state[6] <= 0:
            self.state[6] = 0
        super().predict()

    def first_noise(self) -> Array:
        """Return the variances (7,) of the first state."""
        return np.array([10.0] * 4 + [1e4] * 3)

    def motion_noise(self) -> Array:
        """Return the variances (7,) that a frame adds to the state."""
        return np.array([1, 1, 1, 1, 1e-2, 1e-2, 1e-4])

    def measurement_noise(self) -> Array:
        """Return the variances (4,) of a measurement."""
        return np.array([1.0, 1, 10, 10])


def boxes_of(boxes: Iterable[ArrayLike]) -> NDArray[np.float32]:
    """Stack boxes (n, 4) for ``geometry.iou``, also if there are none."""
    return np.array(list(boxes), np.float32).reshape(-1, 4)


def assign(gain: ArrayLike, allowed: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Match rows and columns of gains (n, m) so that the gains of all allowed pairs have the largest sum.

    Uses the Hungarian algorithm. A pair that is not allowed gains nothing and is not returned.
    """
    gains = np.where(allowed, gain, 0)
    rows, columns = linear_sum_assignment(gains, maximize=True)
    return [(i, j) for i, j in zip(rows.tolist(), columns.tolist(), strict=True) if allowed[i, j]]
