"""One-Euro smoothing of landmarks: strong while a face rests, weak while it moves."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from ...engines.errors import NasionError
from ..faces.face import Face
from ..values.arrays import FloatArray
from ..values.geometry import box_of
from ..values.landmarks import Landmarks
from ..values.times import SHORTEST, time_passed
from .options import Strength

RESTING = 0.03  # face sizes per second; mean speed of the landmarks of a face at rest, at most
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


class OneEuro:
    """One-Euro filter (Casiez, Roussel and Vogel, 2012) over all landmarks of one face.

    Each landmark has its own speed, measured in face sizes per second, so one setting fits near and far faces.
    """

    def __init__(self, setting: Setting) -> None:
        """Start without a previous frame."""
        self._setting = setting
        self._points: FloatArray | None = None
        self._speed: FloatArray
        self._time, self._step = 0.0, 0.0

    def __call__(self, points: FloatArray, *, time: float, size: float) -> FloatArray:
        """Filter the landmarks (n, 2) in pixels of a face of ``size`` pixels at ``time`` seconds.

        If a time repeats or jumps back a little, the previous time step is used; until one is known, the landmarks are
        returned unchanged. They are also returned unchanged after a step of more than ``FORGET`` seconds, forward or
        back.
        """
        step = float(time) - self._time  # a numpy float64 would promote all results to float64
        self._time = float(time)
        if self._points is None or abs(step) > FORGET:
            self._points, self._speed, self._step = points.copy(), np.zeros_like(points), 0.0
            return points
        step = self._step = step if step >= SHORTEST else self._step
        if not step:  # no time has passed since the first frame
            self._points = points.copy()
            return points
        setting = self._setting
        change = points - self._points
        # First-order low-pass filter with w = 2 pi x step x cutoff: the weight of the newest value is w / (1 + w).
        circle = 2 * math.pi * step
        share = circle * setting.speed_cutoff / (1 + circle * setting.speed_cutoff)
        self._speed = (1 - share) * self._speed + (share / (step * size)) * change
        pace: FloatArray = np.hypot(self._speed[:, :1], self._speed[:, 1:])
        if setting.sudden < math.inf:
            newest: FloatArray = np.hypot(change[:, :1], change[:, 1:]) * np.float32(1 / (step * size))
            pace = np.maximum(pace, newest - np.float32(setting.sudden))
        rate = setting.cutoff
        if setting.common_beta:
            rate += setting.common_beta * max(math.hypot(*self._speed.mean(axis=0).tolist()) - RESTING, 0.0)
        weight = circle * rate + (circle * setting.beta) * pace
        smoothed: FloatArray = self._points + change * (weight / (1 + weight))
        self._points = smoothed
        return smoothed.copy()  # the caller may modify it


class Smoother:
    """One-Euro filters of all tracks, one for each."""

    def __init__(self, strength: Strength = "light") -> None:
        """Choose the strength; ``none`` disables smoothing.

        Raises:
            NasionError: there is no such strength.
        """
        if strength not in get_args(Strength):
            raise NasionError(f"smoothing {strength!r} is unknown; allowed: {', '.join(get_args(Strength))}")
        self._setting = SETTINGS.get(strength)
        self._filters: dict[int, tuple[OneEuro, float, int]] = {}  # filter, time and frame number of its last use
        self._frame = 0

    def smooth(self, faces: list[Face], *, time: float) -> list[Face]:
        """Return the faces with the landmarks of each track smoothed, and bounding boxes of the smoothed landmarks."""
        if self._setting is None:
            return faces
        self._frame += 1
        smoothed = []
        for face in faces:
            one_euro = self._filters[face.id][0] if face.id in self._filters else OneEuro(self._setting)
            points = one_euro(np.asarray(face.landmarks), time=time, size=max(face_size(face), 1.0))
            self._filters[face.id] = one_euro, time, self._frame
            smoothed.append(replace(face, box=box_of(points), landmarks=Landmarks(points, face.landmarks.scheme)))
        if len(self._filters) > len(faces):
            self._filters = {key: used for key, used in self._filters.items() if self._recent(used, time)}
        return smoothed

    def _recent(self, used: tuple[OneEuro, float, int], time: float) -> bool:
        return time_passed(used[1], time, frames=self._frame - used[2]) <= FORGET

    def reset(self) -> None:
        """Drop all filters."""
        self._filters.clear()


def face_size(face: Face) -> float:
    """Return the longer side of a face's bounding box in pixels."""
    x0, y0, x1, y1 = face.box.tolist()
    return float(max(x1 - x0, y1 - y0))
