"""Window of frames in which gaps are filled and landmarks are smoothed."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from ...faces.face import OCCLUDED
from ...tracking.options import Strength
from ...tracking.score import CERTAIN
from ...tracking.tracks import LIKE
from ...values.arrays import FloatArray
from ..journal import Chunk, JournalFace
from .identities import Key, Shots
from .smoothing import smoothed

FILL = 1.0
"""Seconds of the longest gap that is filled."""
_AGREE = 0.75  # sides of a face; distance of both sides' expectations above which a gap is not filled
_MOTION = 4  # observations from which the motion at a side of a gap is measured
_CONTEXT = 48  # frames before and behind a chunk that smoothing sees; its memory is shorter
_DOUBT = 0.5  # share of the lower confidence of both sides that is left in a gap


@dataclass(slots=True)
class _Series:
    """Observations of one identity in a window, by the position of their frame."""

    seen: dict[int, JournalFace] = field(default_factory=dict)
    filled: set[int] = field(default_factory=set)


class Window:
    """Frames of up to three chunks, with their observations by identity."""

    def __init__(self, chunks: Sequence[Chunk], identity: Mapping[Key, int], shots: Shots) -> None:
        """Collect the observations of each identity.

        Args:
            chunks: neighbouring chunks, in order.
            identity: identity of each track.
            shots: shots of the input.
        """
        self._frames = [frame for chunk in chunks for frame in chunk.frames]
        self._shots = [shots.number(frame.index) for frame in self._frames]
        self._begin: dict[int, tuple[int, int]] = {}
        self._series: dict[int, _Series] = {}
        place = 0
        for chunk in chunks:
            self._begin[chunk.number] = place, place + len(chunk.frames)
            for frame in chunk.frames:
                for face in frame.faces:
                    number = identity.get((chunk.number, face.track))
                    if number is not None:
                        self._series.setdefault(number, _Series()).seen[place] = face
                place += 1

    def fill(self) -> None:
        """Fill the gaps on whose sides the face agrees.

        Next to a gap, as behind another face, landmarks are often wrong. So a gap reaches to the nearest observations
        that are certain, and those between are replaced.
        """
        for series in self._series.values():
            places = sorted(series.seen)
            certain = [place for place in places if series.seen[place].score >= CERTAIN] or places
            gaps = {(bisect_right(certain, i), bisect_left(certain, j)) for i, j in pairwise(places) if j - i > 1}
            for before, after in sorted(gaps):
                if before > 0 and after < len(certain):
                    i, j = certain[before - 1], certain[after]
                    if self._agree(series, certain, i, j):
                        self._interpolate(series, certain, i, j)

    def _agree(self, series: _Series, places: Sequence[int], i: int, j: int) -> bool:
        """Return True if the face before a gap moves to the face behind it, and back."""
        gap = self._time(j) - self._time(i)
        if not 0 < gap <= FILL or self._shots[i] != self._shots[j]:
            return False
        a, b = series.seen[i].points, series.seen[j].points
        side, other = _side(a), _side(b)
        if not 1 / LIKE <= other / side <= LIKE:
            return False
        way = b.mean(axis=0) - a.mean(axis=0)
        ahead, back = self._velocity(series, places, i, -1), self._velocity(series, places, j, 1)
        off = [way, way - gap * (ahead + back) / 2, way - gap * ahead, way - gap * back]
        return min(math.hypot(*each.tolist()) for each in off) <= _AGREE * max(side, other)

    def _velocity(self, series: _Series, places: Sequence[int], end: int, step: int) -> FloatArray:
        """Return the velocity (2,) in pixels per second before (-1) or behind (1) a gap."""
        at = places.index(end)
        run = places[max(at - _MOTION + 1, 0) : at + 1] if step < 0 else places[at : at + _MOTION]
        run = [place for place in run if self._shots[place] == self._shots[end]]
        seconds = self._time(run[-1]) - self._time(run[0])
        if seconds <= 0:
            return np.zeros(2, np.float32)
        velocity: FloatArray = (
            series.seen[run[-1]].points.mean(axis=0) - series.seen[run[0]].points.mean(axis=0)
        ) / np.float32(seconds)
        return velocity

    def _interpolate(self, series: _Series, places: Sequence[int], i: int, j: int) -> None:
        """Fill a gap: the shape changes evenly, and the middle of the face moves on a cubic Hermite curve."""
        a, b = series.seen[i], series.seen[j]
        begin, gap = self._time(i), self._time(j) - self._time(i)
        ends = a.points.mean(axis=0), b.points.mean(axis=0)
        slopes = gap * self._velocity(series, places, i, -1), gap * self._velocity(series, places, j, 1)
        confidence = np.float32(_DOUBT) * np.minimum(a.confidence, b.confidence)
        hidden = None if a.visibility is None else np.full_like(a.visibility, OCCLUDED)
        for place in range(i + 1, j):
            if self._frames[place].damage:
                continue
            u = np.float32((self._time(place) - begin) / gap)
            shape = (1 - u) * (a.points - ends[0]) + u * (b.points - ends[1])
            middle = (
                (2 * u**3 - 3 * u**2 + 1) * ends[0]
                + (u**3 - 2 * u**2 + u) * slopes[0]
                + (3 * u**2 - 2 * u**3) * ends[1]
                + (u**3 - u**2) * slopes[1]
            )
            points = (shape + middle).astype(np.float32)
            series.seen[place] = JournalFace(a.track, points, confidence, _DOUBT * min(a.score, b.score), hidden)
            series.filled.add(place)

    def smooth(self, chunk: int, strength: Strength) -> None:
        """Smooth the landmarks in a chunk; see ``smoothing``."""
        begin, end = self._begin[chunk]
        for series in self._series.values():
            near = sorted(place for place in series.seen if begin - _CONTEXT <= place < end + _CONTEXT)
            for run in self._runs(near):
                if run[-1] < begin or run[0] >= end:
                    continue
                points = np.stack([series.seen[place].points for place in run])
                times = np.array([self._time(place) for place in run])
                for place, smooth in zip(run, smoothed(points, times, strength), strict=True):
                    if begin <= place < end:
                        series.seen[place] = replace(series.seen[place], points=smooth)

    def _runs(self, places: Sequence[int]) -> Iterator[list[int]]:
        """Yield the runs of neighbouring places in one shot."""
        run: list[int] = []
        for place in places:
            if run and (place != run[-1] + 1 or self._shots[place] != self._shots[run[-1]]):
                yield run
                run = []
            run.append(place)
        if run:
            yield run

    def of(self, chunk: int) -> tuple[list[dict[int, JournalFace]], list[set[int]]]:
        """Return the observations of each frame of a chunk by identity, and the identities that fill a gap there."""
        begin, end = self._begin[chunk]
        found: list[dict[int, JournalFace]] = [{} for _ in range(begin, end)]
        filled: list[set[int]] = [set() for _ in range(begin, end)]
        for number, series in self._series.items():
            for place in series.seen.keys() & range(begin, end):
                found[place - begin][number] = series.seen[place]
            for place in series.filled & set(range(begin, end)):
                filled[place - begin].add(number)
        return found, filled

    def _time(self, place: int) -> float:
        return self._frames[place].time


def _side(points: FloatArray) -> float:
    """Return the longer side in pixels of the box of landmarks."""
    return max(float(np.ptp(points, axis=0).max()), 1.0)
