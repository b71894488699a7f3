"""Figures of a report, collected frame by frame in a fixed number of bins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ...faces.face import Face
from ...values.arrays import FloatArray
from ..look_ahead.annotation import Annotated

BINS = 600
WORST = 8
"""Number of worst faces in a report."""
SERIES = ("confidence", "yaw", "pitch", "roll", "left eye", "right eye", "mouth", "jitter")
"""Names of the measures of a face over time."""
_LEAST_WIDTH = 24.0  # pixels; the worst of smaller faces are not worth a look


@dataclass(frozen=True, slots=True, eq=False)
class Portrait:
    """Face to show in a report, with the number and time of its frame."""

    index: int
    time: float
    face: Face


@dataclass(slots=True, eq=False)
class IdentityFigures:
    """Figures of one identity.

    Attributes:
        id: the identity.
        seen: number of frames in each bin in which it is in sight, by bin.
        filled: the same for frames in which it is interpolated.
        sums: sums of the series by bin; NaN where nothing is known.
        counts: number of values in these sums.
        first, last: seconds of its first and last frame.
        portrait: its best face.
    """

    id: int
    seen: dict[int, int] = field(default_factory=dict)
    filled: dict[int, int] = field(default_factory=dict)
    sums: dict[int, FloatArray] = field(default_factory=dict)
    counts: dict[int, FloatArray] = field(default_factory=dict)
    first: float = 0.0
    last: float = 0.0
    portrait: Portrait | None = None

    @property
    def frames(self) -> int:
        """Number of frames in which it is in sight."""
        return sum(self.seen.values())

    def series(self, name: str, bins: int) -> list[float | None]:
        """Return the mean of a series in each bin; None where nothing is known."""
        which = SERIES.index(name)
        means: list[float | None] = [None] * bins
        for place, counts in self.counts.items():
            if counts[which]:
                means[place] = float(self.sums[place][which] / counts[which])
        return means


class Collector:
    """Figures of the frames of an input.

    Attributes:
        bins: number of bins.
        times: seconds at which each bin begins.
        faces: largest number of faces in a frame of each bin.
        empty: number of frames without a face.
        shots: seconds at which shots begin, without the first.
        identities: identities by number.
    """

    def __init__(self, frames: int) -> None:
        """Prepare for a number of frames."""
        self._frames = max(frames, 1)
        self.bins: int = min(self._frames, BINS)
        self.times: list[float] = [math.nan] * self.bins
        self.end = 0.0
        self.faces: list[int] = [0] * self.bins
        self.empty = 0
        self.shots: list[float] = []
        self.identities: dict[int, IdentityFigures] = {}
        self._worst: dict[int, Portrait] = {}
        self._place = self._shot = 0
        self._last: dict[int, list[FloatArray]] = {}

    def __call__(self, annotated: Annotated) -> None:
        """Add the next frame."""
        place = min(self._place * self.bins // self._frames, self.bins - 1)
        self._place += 1
        frame, faces = annotated.frame, annotated.faces
        if math.isnan(self.times[place]):
            self.times[place] = frame.time
        self.end = frame.time
        self.faces[place] = max(self.faces[place], len(faces))
        self.empty += not faces
        if annotated.shot != self._shot:
            self._shot = annotated.shot
            self.shots.append(frame.time)
        last, self._last = self._last, {}
        for face in faces:
            self._last[face.id] = [*last.get(face.id, [])[-1:], np.asarray(face.landmarks)]
            self._add(place, Portrait(frame.index, frame.time, face), last.get(face.id, []))

    def _add(self, place: int, now: Portrait, last: Sequence[FloatArray]) -> None:
        face = now.face
        identity = self.identities.setdefault(face.id, IdentityFigures(face.id, first=now.time))
        identity.last = now.time
        identity.seen[place] = identity.seen.get(place, 0) + 1
        if face.interpolated:
            identity.filled[place] = identity.filled.get(place, 0) + 1
        values = _values(face, last)
        known = ~np.isnan(values)
        identity.sums[place] = identity.sums.get(place, np.zeros(len(SERIES), np.float32)) + np.where(known, values, 0)
        identity.counts[place] = identity.counts.get(place, np.zeros(len(SERIES), np.float32)) + known
        if face.interpolated:
            return
        if identity.portrait is None or _quality(face) > _quality(identity.portrait.face):
            identity.portrait = now
        if _width(face) >= _LEAST_WIDTH and (place not in self._worst or face.score < self._worst[place].face.score):
            self._worst[place] = now

    def worst(self) -> list[Portrait]:
        """Return the faces with the lowest scores, far apart from each other, worst first."""
        apart = max(self.bins // 50, 1)
        chosen: dict[int, Portrait] = {}
        for place, portrait in sorted(self._worst.items(), key=lambda each: each[1].face.score):
            if all(abs(place - other) >= apart for other in chosen):
                chosen[place] = portrait
            if len(chosen) == WORST:
                break
        return list(chosen.values())

    def mean(self, name: str) -> float | None:
        """Return the mean of a series over all faces; None if nothing is known."""
        which = SERIES.index(name)
        total = sum(float(sums[which]) for each in self.identities.values() for sums in each.sums.values())
        count = sum(float(counts[which]) for each in self.identities.values() for counts in each.counts.values())
        return total / count if count else None


def _values(face: Face, last: Sequence[FloatArray]) -> FloatArray:
    """Return the values of all series; NaN for those that are unknown."""
    unknown = math.nan
    pose, eyes = face.pose, face.eye_opening
    jitter = unknown
    if len(last) == 2:  # the second difference: a face that moves evenly has none
        bend = np.asarray(face.landmarks) - 2 * last[1] + last[0]
        jitter = 100 * float(np.hypot(*bend.T).mean()) / max(_width(face), 1.0)
    return np.array(
        [
            float(face.confidence.mean()) if len(face.confidence) else face.score,
            *((pose.yaw, pose.pitch, pose.roll) if pose else (unknown,) * 3),
            *((eyes.left, eyes.right) if eyes else (unknown,) * 2),
            unknown if face.mouth_opening is None else face.mouth_opening,
            jitter,
        ],
        np.float32,
    )


def _width(face: Face) -> float:
    x0, y0, x1, y1 = np.asarray(face.box).tolist()
    return float(max(x1 - x0, y1 - y0))


def _quality(face: Face) -> float:
    """Return how well a face shows its identity: certain, large and from the front."""
    turned = abs(face.pose.yaw) / 90 if face.pose else 0.0
    return face.score * math.log(max(_width(face), 2.0)) * (1 - 0.7 * min(turned, 1.0))
