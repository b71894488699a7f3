"""One-Euro smoothing of landmarks and poses: strong while a face rests, weak while it moves."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

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
    """Time steps and weights of a One-Euro filter (Casiez, Roussel and Vogel, 2012)."""

    def __init__(self, setting: Setting) -> None:
        """Start without a previous frame."""
        self._setting = setting
        self._time, self._step = -math.inf, 0.0

    def _begins(self, time: float) -> bool:
        """Advance to a time in seconds; return True if there is no recent value before it, and restart.

        If a time repeats or jumps back a little, the previous time step is used; 0 until one is known. A step of more
        than ``FORGET`` seconds, forward or back, restarts.
        """
        step = float(time) - self._time  # a numpy float64 would promote all results to float64
        self._time = float(time)
        if abs(step) > FORGET:
            self._step = 0.0
            return True
        self._step = step if step >= SHORTEST else self._step
        return False

    def _speed_share(self) -> float:
        """Return the weight of the newest value in the low-pass filter of the speed."""
        # First-order low-pass filter with w = 2 pi x step x cutoff: the weight of the newest value is w / (1 + w).
        share = 2 * math.pi * self._step * self._setting.speed_cutoff
        return share / (1 + share)

    def _rate(self, common: float) -> float:
        """Return the cutoff frequency at rest, raised for a mean speed of everything that is filtered."""
        return self._setting.cutoff + self._setting.common_beta * max(common - RESTING, 0.0)


class OneEuro(_Filter):
    """One-Euro filter over all landmarks of one face.

    Each landmark has its own speed, measured in face sizes per second, so one setting fits near and far faces.
    """

    _points: FloatArray
    _speed: FloatArray

    def __call__(self, points: FloatArray, *, time: float, size: float) -> FloatArray:
        """Filter the landmarks (n, 2) in pixels of a face of ``size`` pixels at ``time`` seconds.

        They are returned unchanged until a time step is known, and after a step of more than ``FORGET`` seconds.
        """
        if self._begins(time):
            self._points, self._speed = points.copy(), np.zeros_like(points)
            return points
        if not (step := self._step):  # no time has passed since the first frame
            self._points = points.copy()
            return points
        setting = self._setting
        change = points - self._points
        share = self._speed_share()
        self._speed = (1 - share) * self._speed + (share / (step * size)) * change
        pace: FloatArray = np.hypot(self._speed[:, :1], self._speed[:, 1:])
        if setting.sudden < math.inf:
            newest: FloatArray = np.hypot(change[:, :1], change[:, 1:]) * np.float32(1 / (step * size))
            pace = np.maximum(pace, newest - np.float32(setting.sudden))
        common = math.hypot(*np.add.reduce(self._speed).tolist()) / len(points) if setting.common_beta else 0.0
        circle = 2 * math.pi * step
        weight = circle * self._rate(common) + (circle * setting.beta) * pace
        smoothed: FloatArray = self._points + change * (weight / (1 + weight))
        self._points = smoothed
        return smoothed.copy()  # the caller may modify it


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
        setting, step, share = self._setting, self._step, self._speed_share()
        changes = [(new - old) / unit for new, old, unit in zip(values, self._values, _UNITS, strict=True)]
        for angle in (0, 2):  # yaw and roll: the shorter way around
            changes[angle] = (changes[angle] + 2) % 4 - 2
        self._speed = [(1 - share) * fast + share / step * way for fast, way in zip(self._speed, changes, strict=True)]
        circle = 2 * math.pi * step
        rest = circle * self._rate(abs(sum(self._speed[:3])) / 3)
        for i, (change, fast) in enumerate(zip(changes, self._speed, strict=True)):
            pace = max(abs(fast), abs(change) / step - setting.sudden)
            weight = rest + circle * setting.beta * pace
            self._values[i] += change * _UNITS[i] * weight / (1 + weight)
        yaw, pitch, roll, x, y, z = self._values
        return Pose((yaw + 180) % 360 - 180, pitch, (roll + 180) % 360 - 180, (x, y, z), pose.focal_length)


@dataclass(slots=True)
class _Filters:
    """Filters of one track, with time and frame number of their last use."""

    landmarks: OneEuro
    pose: PoseOneEuro
    time: float = 0.0
    frame: int = 0


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
        self._filters: dict[int, _Filters] = {}
        self._frame = 0

    def smooth(self, faces: list[Face], *, time: float) -> list[Face]:
        """Return the faces with landmarks, bounding boxes and poses smoothed along each track."""
        setting = self._setting
        if setting is None:
            return faces
        self._frame += 1
        smoothed = []
        for face in faces:
            filters = self._filters.get(face.id)
            if filters is None:
                filters = self._filters[face.id] = _Filters(OneEuro(setting), PoseOneEuro(setting))
            filters.time, filters.frame = time, self._frame
            points = filters.landmarks(np.asarray(face.landmarks), time=time, size=max(face_size(face), 1.0))
            pose = face.pose and filters.pose(face.pose, time=time)
            landmarks = Landmarks(points, face.landmarks.scheme)
            smoothed.append(replace(face, box=box_of(points), landmarks=landmarks, pose=pose))
        if len(self._filters) > len(faces):
            self._filters = {key: used for key, used in self._filters.items() if self._recent(used, time)}
        return smoothed

    def _recent(self, used: _Filters, time: float) -> bool:
        return time_passed(used.time, time, frames=self._frame - used.frame) <= FORGET

    def reset(self) -> None:
        """Drop all filters."""
        self._filters.clear()


def face_size(face: Face) -> float:
    """Return the longer side of a face's bounding box in pixels."""
    x0, y0, x1, y1 = face.box.tolist()
    return float(max(x1 - x0, y1 - y0))
