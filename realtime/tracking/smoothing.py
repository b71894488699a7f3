"""One-Euro smoothing of landmarks and poses: strong while a face rests, weak while it moves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import NasionError
from ..faces.face import Face
from ..faces.measured import Pose
from ..values.arrays import FloatArray
from ..values.geometry import box_of
from ..values.landmarks import Landmarks
from ..values.times import SHORTEST, time_passed
from .options import Strength

RESTING = 0.03  # face sizes per second; mean speed of the landmarks of a face at rest, at most
_UNITS = (90.0, 90.0, 90.0, 150.0, 150.0, 150.0)  # degrees, and millimetres
FORGET = 0.5  # seconds without a face after which its filter restarts, because the old position is stale


@dataclass(frozen=True, slots=True)
class Setting:
    """Parameters of a One-Euro filter.

    Attributes:
        cutoff: cutoff frequency in Hz of the low-pass filter while the landmark rests; a lower one smooths more and
            lags more.
        beta: increase of the cutoff frequency in Hz for each face size per second of speed; a higher one follows fast
            motion more closely.
        speed_cutoff: cutoff frequency in Hz of the low-pass filter of the speed.
        sudden: face sizes per second; what exceeds it of the speed from one frame to the next counts at once, without
            the low-pass filter, so that a sudden start does not lag. Noise stays below it. Not part of the published
            filter, which has infinity.
        common_beta: the same as ``beta`` for the mean speed of all landmarks, as far as it exceeds ``RESTING``. Noise
            hardly moves the mean, so a face that moves as a whole can be followed more closely than a single landmark.
            Not part of the published filter, which has 0.
    """

    cutoff: float
    beta: float
    speed_cutoff: float
    sudden: float = math.inf
    common_beta: float = 0.0


# Chosen on the motion of sources/synthetic.py at 30 frames a second with noise of 0.3 to 0.6 % of the face: "light"
# leaves 0.25 to 0.34 of the jitter of a still face and lags 0.02 frames; "strong" leaves 0.11 to 0.15 and lags 0.09.
SETTINGS = {
    "light": Setting(cutoff=1.0, beta=50.0, speed_cutoff=0.8, sudden=0.6, common_beta=200.0),
    "strong": Setting(cutoff=0.5, beta=10.0, speed_cutoff=1.0, sudden=0.6, common_beta=30.0),
}


class _Filter:
    """Time steps of a One-Euro filter (Casiez, Roussel and Vogel, 2012).

    Attributes:
        time: time of the last frame in seconds.
    """

    def __init__(self, setting: Setting) -> None:
        """Start without a previous frame."""
        self._setting = setting
        self.time, self._step = -math.inf, 0.0

    def _begins(self, time: float) -> bool:
        """Advance to a time in seconds; return True if there is no recent value before it, and restart.

        If a time repeats or jumps back a little, the previous time step is used; 0 until one is known. A step of more
        than ``FORGET`` seconds, forward or back, restarts.
        """
        time = float(time)  # a numpy float64 would promote all results to float64
        step, self.time = time - self.time, time
        if abs(step) > FORGET:
            self._step = 0.0
            return True
        if step >= SHORTEST:
            self._step = step
        return False


N = TypeVar("N", float, NDArray[np.float64])


def _share(step: N, cutoff: float) -> N:
    """Return the weight of the newest value in a first-order low-pass filter with a cutoff frequency in Hz."""
    share = 2 * math.pi * step * cutoff
    return share / (1 + share)


class OneEuro(_Filter):
    """One-Euro filter over all landmarks of one face.

    Attributes:
        points: (n, 2) float32, filtered landmarks of the last frame.
        speeds: (n, 2) float32, their speeds in face sizes per second.
    """

    points: FloatArray
    speeds: FloatArray

    def __call__(self, points: FloatArray, *, time: float, size: float) -> FloatArray:
        """Filter the landmarks (n, 2) in pixels of a face of ``size`` pixels at ``time`` seconds.

        They are returned unchanged until a time step is known, and after a step of more than ``FORGET`` seconds.
        """
        (answer,) = smooth_all([Smooth(self._setting, [self], [points], [size], [self.begin(points, time)])])
        self.points, self.speeds = answer.points[0], answer.speeds[0]
        return self.points.copy()  # the caller may modify it

    def begin(self, points: FloatArray, time: float) -> float:
        """Advance to the next frame and return the time step; 0 if its landmarks stay as they are."""
        if self._begins(time):
            self.points, self.speeds = points, np.zeros_like(points)
        elif not self._step:  # no time has passed since the first frame
            self.points = points
        return self._step


@dataclass(frozen=True, slots=True)
class Smooth:
    """Request to filter the landmarks of the k faces of a frame; the answer is ``Smoothed``.

    Attributes:
        setting: parameters of the filters.
        filters: filter of each face, advanced to the frame; it is not changed.
        points: landmarks (n, 2) of each face in pixels, float32.
        sizes: size of each face in pixels.
        steps: time step of each face in seconds; 0 if its landmarks stay as they are.
    """

    setting: Setting
    filters: Sequence[OneEuro]
    points: Sequence[FloatArray]
    sizes: Sequence[float]
    steps: Sequence[float]


@dataclass(frozen=True, slots=True)
class Smoothed:
    """Filtered landmarks of k faces.

    Attributes:
        points: (k, n, 2) float32, landmarks.
        boxes: (k, 4) float32, their bounding boxes.
        speeds: (k, n, 2) float32, their speeds in face sizes per second.
    """

    points: FloatArray
    boxes: FloatArray
    speeds: FloatArray


def smooth_all(requests: Sequence[Smooth]) -> list[Smoothed]:
    """Answer the requests of one or several frames; faces with the same kind of filter are computed together."""
    if len(requests) == 1:
        points, speeds = _smoothed(requests)
        return [Smoothed(points, box_of(points), speeds)]
    alike: dict[tuple[Setting, int], list[int]] = {}
    for i, request in enumerate(requests):
        alike.setdefault((request.setting, len(request.points[0])), []).append(i)
    answers: dict[int, Smoothed] = {}
    for members in alike.values():
        points, speeds = _smoothed([requests[i] for i in members])
        boxes, at = box_of(points), 0
        for i in members:
            part = slice(at, at := at + len(requests[i].points))
            answers[i] = Smoothed(points[part], boxes[part], speeds[part])
    return [answers[i] for i in range(len(requests))]


def _smoothed(requests: Sequence[Smooth]) -> tuple[FloatArray, FloatArray]:
    """Return smoothed landmarks and speeds (k, n, 2) of all k faces of requests with one setting."""
    setting, shape = requests[0].setting, (-1, *requests[0].points[0].shape)
    filters = [each for request in requests for each in request.filters]
    # a time step of 0 may be any other, because nothing has changed then
    numbers = [(step or 1.0, size) for each in requests for step, size in zip(each.steps, each.sizes, strict=True)]
    if len(filters) == 1:  # arrays of one number would take twice the time
        only, (step, size) = filters[0], numbers[0]
        points, speeds = _filtered(setting, requests[0].points[0], only.points, only.speeds, step, size)
        return points[None], speeds[None]
    new = np.concatenate([each for request in requests for each in request.points]).reshape(shape)
    old = np.concatenate([each.points for each in filters]).reshape(shape)
    speeds = np.concatenate([each.speeds for each in filters]).reshape(shape)
    return _filtered(setting, new, old, speeds, *np.array(numbers).T)


def _filtered(
    setting: Setting, new: FloatArray, old: FloatArray, speeds: FloatArray, step: N, size: N
) -> tuple[FloatArray, FloatArray]:
    """Filter the landmarks of one face (n, 2), or of k faces (k, n, 2) with a time step and a size for each (k,).

    Each landmark has its own speed, measured in face sizes per second, so one setting fits near and far faces.
    """
    share, per_second = _share(step, setting.speed_cutoff), 1 / (step * size)
    change = new - old
    speeds = _each(1 - share) * speeds + _each(share * per_second) * change
    pace = _lengths(speeds)
    if setting.sudden < math.inf:
        pace = np.maximum(pace, _lengths(change) * _each(per_second) - np.float32(setting.sudden))
    circle = 2 * math.pi * step
    rest = circle * setting.cutoff
    if setting.common_beta:
        total = np.add.reduce(speeds, axis=-2)
        x, y = total.tolist() if total.ndim == 1 else total.T.astype(np.float64)
        excess = (x * x + y * y) ** 0.5 / new.shape[-2] - RESTING
        rest = rest + circle * setting.common_beta * (excess + abs(excess)) / 2  # where it is positive
    weight = _each(rest) + _each(circle * setting.beta) * pace
    smoothed: FloatArray = old + change * (weight / (1 + weight))
    return smoothed, speeds


def _each(values: NDArray[np.float64] | float) -> FloatArray | float:
    """Return the numbers of k faces (k,) as factors of their landmarks (k, n, 2); the number of one face as it is."""
    if isinstance(values, float):
        return values
    factors: FloatArray = values.astype(np.float32)[:, None, None]
    return factors


def _lengths(ways: FloatArray) -> FloatArray:
    """Return the lengths (..., n, 1) of vectors (..., n, 2), in a tenth of the time of ``np.hypot``."""
    squares = ways * ways
    lengths: FloatArray = np.sqrt(squares[..., :1] + squares[..., 1:])
    return lengths


class PoseOneEuro(_Filter):
    """One-Euro filter over the pose of one head, with the settings of landmarks.

    Speeds of the angles are measured in quarter turns per second, which a landmark on the surface of the head moves by
    about the size of the face; those of the translation in sizes of a head, 150 mm.
    """

    _values: list[float]
    _speed: list[float]

    def __call__(self, pose: Pose, *, time: float) -> Pose:
        """Filter the pose at ``time`` seconds, as ``OneEuro`` does the landmarks."""
        values = [pose.yaw, pose.pitch, pose.roll, *pose.translation]
        begins = self._begins(time)
        if begins or not self._step:
            self._values = values
            self._speed = [0.0] * len(values) if begins else self._speed
            return pose
        setting, step = self._setting, self._step
        share = _share(step, setting.speed_cutoff)
        changes = [(new - old) / unit for new, old, unit in zip(values, self._values, _UNITS, strict=True)]
        for angle in (0, 2):  # yaw and roll: the shorter way around
            changes[angle] = (changes[angle] + 2) % 4 - 2
        self._speed = [(1 - share) * fast + share / step * way for fast, way in zip(self._speed, changes, strict=True)]
        circle = 2 * math.pi * step
        common = abs(sum(self._speed[:3])) / 3
        rest = circle * (setting.cutoff + setting.common_beta * max(common - RESTING, 0.0))
        for i, (change, fast) in enumerate(zip(changes, self._speed, strict=True)):
            pace = max(abs(fast), abs(change) / step - setting.sudden)
            weight = rest + circle * setting.beta * pace
            self._values[i] += change * _UNITS[i] * weight / (1 + weight)
        yaw, pitch, roll, x, y, z = self._values
        return Pose((yaw + 180) % 360 - 180, pitch, (roll + 180) % 360 - 180, (x, y, z), pose.focal_length)


class Smoother:
    """One-Euro filters of all tracks."""

    def __init__(self, strength: Strength = "light") -> None:
        """Choose the strength; ``none`` disables smoothing.

        Raises:
            NasionError: there is no such strength.
        """
        if strength not in get_args(Strength):
            raise NasionError(f"smoothing {strength!r} is unknown; allowed: {', '.join(get_args(Strength))}")
        self._setting = SETTINGS.get(strength)
        self._filters: dict[int, OneEuro] = {}
        self._poses: dict[int, PoseOneEuro] = {}
        self._seen: dict[int, int] = {}  # number of the last frame of each filter
        self._frame = 0

    def smooth(self, faces: list[Face], *, time: float) -> list[Face]:
        """Return the faces with landmarks, bounding boxes and poses smoothed along each track."""
        points, boxes = [np.asarray(face.landmarks) for face in faces], [face.box for face in faces]
        request = self.request([face.id for face in faces], points, boxes, time=time)
        if request is None:
            return faces
        (answer,) = smooth_all([request])
        self.finish(request, answer)
        return [
            replace(
                face,
                box=box,
                landmarks=Landmarks(each, face.landmarks.scheme),
                pose=self.pose(face.id, face.pose, time),
            )
            for face, each, box in zip(faces, answer.points.copy(), answer.boxes, strict=True)
        ]

    def request(
        self, numbers: Sequence[int], points: Sequence[FloatArray], boxes: Sequence[FloatArray], *, time: float
    ) -> Smooth | None:
        """Begin to smooth the faces of the next frame; ``finish`` takes the answer.

        Args:
            numbers: track ID of each face.
            points: landmarks (n, 2) of each face.
            boxes: bounding box (4,) of each face.
            time: time of the frame in seconds.

        Returns:
            The request; None if there is nothing to smooth.
        """
        setting = self._setting
        if setting is None:
            return None
        self._frame += 1
        filters, steps = [], []
        for number, each in zip(numbers, points, strict=True):
            if (found := self._filters.get(number)) is None:
                found = self._filters[number] = OneEuro(setting)
            filters.append(found)
            steps.append(found.begin(each, time))
            self._seen[number] = self._frame
        if len(self._filters) > len(numbers):
            self._forget(time)
        return Smooth(setting, filters, points, [size_of(box) for box in boxes], steps) if filters else None

    def finish(self, request: Smooth, answer: Smoothed) -> None:
        """Keep what was smoothed for the next frame. The arrays of the answer must not be changed afterwards."""
        for each, points, speeds in zip(request.filters, answer.points, answer.speeds, strict=True):
            each.points, each.speeds = points, speeds

    def pose(self, number: int, pose: Pose | None, time: float) -> Pose | None:
        """Return the pose of a track smoothed; None if it was not measured."""
        if pose is None or self._setting is None:
            return pose
        if (found := self._poses.get(number)) is None:
            found = self._poses[number] = PoseOneEuro(self._setting)
        return found(pose, time=time)

    def _forget(self, time: float) -> None:
        """Drop the filters of faces that have been out of sight for too long."""
        for number, used in list(self._filters.items()):
            if time_passed(used.time, time, frames=self._frame - self._seen[number]) > FORGET:
                del self._filters[number], self._seen[number]
                self._poses.pop(number, None)

    def reset(self) -> None:
        """Drop all filters."""
        self._filters.clear()
        self._poses.clear()
        self._seen.clear()


def size_of(box: FloatArray) -> float:
    """Return the longer side of a face's bounding box (4,), at least 1 pixel."""
    x0, y0, x1, y1 = box.tolist()
    return float(max(x1 - x0, y1 - y0, 1.0))
