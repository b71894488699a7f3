"""Identities: tracks of all chunks joined over the borders of chunks and over gaps, as seen from both sides."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ...tracking.appearance import similarity
from ...tracking.tracks import FARTHEST, KNOWN, LIKE, NEAR, OTHER, ROAM
from ...values.arrays import FloatArray
from ...values.geometry import box_of
from ..journal import Chunk, JournalFrame

LONGEST_GAP = 3.0
"""Seconds of the longest gap within a shot over which two tracks are joined, times ``keep`` over its default."""
_SHOTS_GAP = 1.5  # the same across a shot change
_MOTION = 4  # observations from which the motion at an end of a track is measured
_COAST = 0.5  # seconds for which a face is expected to move on
_SIDE = 1.25  # side of a region, in sides of the landmarks' box
Key = tuple[int, int]
"""Number of a chunk, and of a track in it."""


@dataclass(frozen=True, slots=True)
class Tip:
    """First or last observation of a track.

    Attributes:
        place: position of the frame among all chosen ones.
        index: number of the frame.
        time: seconds.
        x, y: centre of the landmarks' box in pixels.
        side: longer side of that box.
        velocity: pixels per second in x and y.
    """

    place: int
    index: int
    time: float
    x: float
    y: float
    side: float
    velocity: tuple[float, float] = (0.0, 0.0)

    def after(self, seconds: float) -> tuple[float, float]:
        """Return where the face would be some seconds later, or earlier if negative."""
        moved = math.copysign(min(abs(seconds), _COAST), seconds)
        return self.x + self.velocity[0] * moved, self.y + self.velocity[1] * moved


@dataclass(frozen=True, slots=True)
class Tracklet:
    """Track of one chunk.

    Attributes:
        key: number of the chunk and of the track.
        first, last: its ends.
        appearance: descriptor of the face; None if it is unknown.
        score: its highest score.
    """

    key: Key
    first: Tip
    last: Tip
    appearance: FloatArray | None
    score: float = 1.0


class Shots:
    """Numbers of the shots, with the shot changes as seen from both sides.

    A shot change after which the shot before goes on within a few frames, such as a flash, is none.
    """

    def __init__(self) -> None:
        """Start without shot changes."""
        self.changes: list[int] = []

    def add(self, frame: JournalFrame) -> None:
        """Add the shot change in the next frame, and remove those that were none."""
        changes = self.changes
        if frame.shot:
            changes.append(frame.index)
        if frame.resumes is not None:
            while changes and frame.resumes <= changes[-1] <= frame.index:
                changes.pop()

    def number(self, index: int) -> int:
        """Return the number of the shot of a frame, from 0."""
        return bisect_right(self.changes, index)


def scan(chunks: Iterable[Chunk]) -> tuple[list[Tracklet], Shots]:
    """Return the tracks of all chunks, in the order in which they begin, and the shots."""
    found: list[Tracklet] = []
    shots = Shots()
    place = 0
    for chunk in chunks:
        ends: dict[int, tuple[list[Tip], list[Tip]]] = {}
        scores: dict[int, float] = {}
        for frame in chunk.frames:
            shots.add(frame)
            for face in frame.faces:
                tip = _tip(frame, face.points, place)
                scores[face.track] = max(face.score, scores.get(face.track, 0.0))
                first, last = ends.setdefault(face.track, ([], []))
                if len(first) < _MOTION:
                    first.append(tip)
                last.append(tip)
                del last[:-_MOTION]
            place += 1
        found += [
            Tracklet(
                (chunk.number, track),
                _moving(first, first[0]),
                _moving(last, last[-1]),
                chunk.appearance.get(track),
                scores[track],
            )
            for track, (first, last) in ends.items()
        ]
    return sorted(found, key=lambda each: (each.first.place, each.key)), shots


def _tip(frame: JournalFrame, points: FloatArray, place: int) -> Tip:
    x0, y0, x1, y1 = box_of(points).tolist()
    return Tip(place, frame.index, frame.time, (x0 + x1) / 2, (y0 + y1) / 2, max(x1 - x0, y1 - y0, 1.0))


def _moving(tips: Sequence[Tip], end: Tip) -> Tip:
    """Return the end of a track with its velocity, from the observations next to it."""
    seconds = tips[-1].time - tips[0].time
    if seconds <= 0:
        return end
    return replace(end, velocity=((tips[-1].x - tips[0].x) / seconds, (tips[-1].y - tips[0].y) / seconds))


def identities(tracks: Sequence[Tracklet], shots: Shots, *, keep: float, least: float = 0.0) -> Mapping[Key, int]:
    """Return the identity of each track, from 1 in the order in which faces appear.

    Tracks of an identity whose score is below ``least`` in every frame have none: they are taken for false detections.

    Two tracks are joined if the second begins after the first has ended, where the first may have moved and the second
    may have come from, and if the faces look alike: across a shot change or a gap longer than ``keep`` seconds more so.
    The best pairs are joined first, and each end once.
    """
    costs = _costs(tracks, shots, keep)
    successor = dict(_cheapest(costs))
    number: dict[Key, int] = {}
    begun = 0
    predecessors = set(successor.values())
    for i in range(len(tracks)):
        if i in predecessors:
            continue
        chain = [i]
        while (following := successor.get(chain[-1])) is not None:
            chain.append(following)
        if max(tracks[at].score for at in chain) >= least:
            begun += 1
            number |= {tracks[at].key: begun for at in chain}
    return number


def _cheapest(costs: Sequence[tuple[float, int, int]]) -> list[tuple[int, int]]:
    """Return pairs of the costs (cost, first, second), cheapest first, each first and each second once."""
    firsts: set[int] = set()
    seconds: set[int] = set()
    pairs = []
    for _, first, second in sorted(costs):
        if first not in firsts and second not in seconds:
            firsts.add(first)
            seconds.add(second)
            pairs.append((first, second))
    return pairs


def _costs(tracks: Sequence[Tracklet], shots: Shots, keep: float) -> list[tuple[float, int, int]]:
    """Return the cost of each possible pair: cost, number of the first and of the second track."""
    longest = max(LONGEST_GAP, keep)
    costs = []
    recent: list[int] = []
    for j, later in enumerate(tracks):
        recent = [i for i in recent if later.first.time - tracks[i].last.time <= longest]
        for i in recent:
            cost = _cost(tracks[i], later, shots, keep)
            if cost is not None:
                costs.append((cost, i, j))
        recent.append(j)
    return costs


def _cost(earlier: Tracklet, later: Tracklet, shots: Shots, keep: float) -> float | None:
    """Return the cost of joining two tracks: distance in sides of a region, gap in seconds and unlikeness of the faces.

    None if they are not joined.
    """
    a, b = earlier.last, later.first
    if b.place <= a.place:
        return None
    gap = abs(b.time - a.time)
    new_shot = shots.number(a.index) != shots.number(b.index)
    if not 1 / LIKE <= b.side / a.side <= LIKE or (new_shot and gap > _SHOTS_GAP):
        return None
    side = _SIDE * (a.side + b.side) / 2
    reach = NEAR if new_shot else min(NEAR + ROAM * gap, FARTHEST)
    (ax, ay), (bx, by) = a.after(gap / 2), b.after(-gap / 2)
    away = min(math.hypot(b.x - a.x, b.y - a.y), math.hypot(bx - ax, by - ay)) / side
    alike = similarity(earlier.appearance, later.appearance)
    if away > reach:
        return None
    if new_shot or gap > keep:
        least = KNOWN
    elif b.place == a.place + 1 and away < NEAR / 2:  # the next frame, at the border of two chunks
        least = -1.0
    else:
        least = OTHER
    if alike is None:
        return None if least == KNOWN else away + gap
    return None if alike < least else away + gap + 1 - alike
