"""Tracks: identities of faces from frame to frame."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..values.arrays import FloatArray
from ..values.geometry import Region, containment, iou, overlapping
from ..values.times import time_passed
from .appearance import similarity
from .observations import Observation

MISSES = 2  # consecutive frames without the face after which a track is lost
EXPLAINED = 0.3  # IoU of the regions of a detection and a face in sight above which both are the same face
# Share of the smaller of two bounding boxes inside the other above which two tracks are on the same face (two real
# faces occlude each other long before). Not IoU: a box inside another of twice its size would count as another face.
SAME = 2 / 3
APART = 0.15  # the same share below which two faces do not disturb each other
# A new face may be a lost one if it is within NEAR + ROAM x seconds out of sight, in sides of the lost face's region
# (1.35 faces) and never more than FARTHEST, and at most LIKE times larger or smaller: people walk past a camera at one
# to two faces a second.
NEAR, ROAM, FARTHEST, LIKE = 0.6, 1.2, 3.0, 1.8
ANY = float(np.finfo(np.float32).max)  # accepts every distance except infinity
LEAP = 0.15  # sides of a region: of two tracks on one face, one that leapt this much further is the wrong one
# Similarities of appearance: below OTHER a detected face is not that of a track; below BACK what is seen at the place
# of a lost face is not that face; from KNOWN on a face is known again after a shot change; a difference of CLEARER
# decides which of two tracks a face belongs to. See ``appearance.similarity``.
OTHER, BACK, KNOWN, CLEARER = 0.3, 0.5, 0.85, 0.1
SURE = 0.8  # share of its earlier confidence with which a lost face comes back where its appearance is unknown
LEARN = 0.1  # weight of the newest appearance in that of a track
LOOKED = 3.0  # seconds for which a lost face is looked for in every frame; later only the detector finds it
COAST = 1.0  # seconds for which a lost face is expected to move on
MOVES = 0.03  # sides of its region in a frame above which a face is looked for where its motion leads
FAST = 0.2  # the same above which it is looked for at its last position, too


class _Motion(NamedTuple):
    """Motion of a face.

    Attributes:
        region: last region.
        time: its time in seconds.
        velocity: pixels per second in x and y.
    """

    region: Region
    time: float
    velocity: tuple[float, float]


class Track:
    """Identity of a face: its last observation and the time since then.

    Attributes:
        id: number from 1, in order of creation.
        observation: last observation of the face.
        time: time of that observation in seconds.
        misses: frames since that observation; 0 if the face is in sight in the current frame.
        leap: recent deviation from the usual motion, in sides of the region; it decays.
        appearance: (192,) float32, descriptor of the face while no other one overlaps it; None if it is unknown.
        shot_ended: True if the shot in which the face was seen has ended.
        kept_from: time in seconds from which on ``keep`` counts: a face behind another one is not gone.
    """

    __slots__ = (
        "_motion",
        "_undisturbed",
        "appearance",
        "id",
        "kept_from",
        "leap",
        "misses",
        "observation",
        "shot_ended",
        "time",
    )

    def __init__(self, number: int, observation: Observation, time: float) -> None:
        """Start a track from its first observation."""
        self.id, self.observation, self.time, self.misses = number, observation, time, 0
        self.leap, self.appearance, self.shot_ended = 0.0, observation.appearance, False
        self.kept_from = time
        self._motion = self._undisturbed = _Motion(observation.region, time, (0.0, 0.0))

    @property
    def followed(self) -> bool:
        """True if the face was in sight in one of the last ``MISSES`` frames."""
        return self.misses < MISSES

    def gone(self, time: float, since: float | None = None) -> float:
        """Return the seconds since the face was seen, or since ``since``; see ``time_passed``."""
        if since is not None and since != self.time:
            return abs(time - since)
        # ``separate`` sets ``misses`` to MISSES at once, in which no time has passed.
        return time_passed(self.time, time, frames=max(self.misses - MISSES, 0))

    def is_looked_for(self, time: float) -> bool:
        """Return True if the face is looked for where it may be: in sight lately, or lost for ``LOOKED`` seconds."""
        return self.misses <= MISSES or self.gone(time) <= LOOKED

    @property
    def last_region(self) -> Region:
        """Region in which the face was seen last, undisturbed if it is lost."""
        return self._motion.region if self.misses >= MISSES else self.observation.region

    def expected(self, time: float) -> Region:
        """Return the region in which the face would be if it had moved on, for ``COAST`` seconds at most."""
        region, since, (x, y) = self._motion
        seconds = min(time_passed(since, time, frames=self.misses), COAST)
        return Region(region.x + x * seconds, region.y + y * seconds, region.side, region.angle)

    def places(self, time: float) -> list[Region]:
        """Return the regions in which to look for the face: where it was last, and where its motion leads."""
        last, expected = self.last_region, self.expected(time)
        way = math.hypot(expected.x - last.x, expected.y - last.y) / last.side
        if way < MOVES:
            return [last]
        return [expected] if way < FAST else [expected, last]

    def seen(self, observation: Observation, time: float) -> None:
        """Update the track with an observation in the current frame."""
        old, new = self.observation.region, observation.region
        velocity = self._motion.velocity
        seconds = time_passed(self.time, time, frames=self.misses)
        if self.misses == 1:  # also seen in the previous frame; otherwise the displacement does not measure motion
            move = (new.x - old.x) / seconds, (new.y - old.y) / seconds
            leap = max(abs(move[0] - velocity[0]), abs(move[1] - velocity[1])) * seconds / old.side
            self.leap = max(leap, 0.8 * self.leap)
            velocity = (velocity[0] + 3 * move[0]) / 4, (velocity[1] + 3 * move[1]) / 4
        elif self.misses >= MISSES:
            velocity = (0.0, 0.0)
        self.observation, self.time, self.misses, self.shot_ended = observation, time, 0, False
        self.kept_from = time
        self._motion = _Motion(new, time, velocity)

    def undisturbed(self) -> None:
        """Learn motion and appearance from the last observation, in which no other face overlaps this one."""
        self._undisturbed, new = self._motion, self.observation.appearance
        if self.appearance is None:
            self.appearance = new
        elif new is not None:
            learnt: FloatArray = np.float32(1 - LEARN) * self.appearance + np.float32(LEARN) * new
            self.appearance = learnt / np.float32(max(np.sqrt(learnt @ learnt), 1e-6))

    def lose(self) -> None:
        """Mark the face as lost, because the recent observations show another face."""
        self.misses, self._motion = MISSES, self._undisturbed

    def scale(self, x: float, y: float) -> None:
        """Adapt to a change of the frame's width by the factor ``x`` and of its height by ``y``."""
        self.observation = replace(self.observation, region=_scaled(self.observation.region, x, y))
        for name in ("_motion", "_undisturbed"):
            region, time, velocity = getattr(self, name)
            setattr(self, name, _Motion(_scaled(region, x, y), time, (velocity[0] * x, velocity[1] * y)))

    def is_back(self, observation: Observation) -> bool:
        """Return True if what was found at the place of the lost face looks like it."""
        alike = similarity(self.appearance, observation.appearance)
        if alike is None:
            return observation.certainty >= SURE * self.observation.certainty
        return alike >= BACK


class TrackManager:
    """Tracks of the current shot. IDs count from 1 and are never reused."""

    def __init__(self, *, keep: float, max_faces: int | None = None, least_new: float = 0.0) -> None:
        """Start without tracks.

        Args:
            keep: seconds for which the track of a face out of sight is kept.
            max_faces: maximum number of faces tracked at a time; None for no limit.
            least_new: score below which a face continues a lost track, but creates none.
        """
        self._keep, self._max, self._least_new = keep, max_faces, least_new
        self._born = 0
        self.tracks: list[Track] = []

    @property
    def followed(self) -> list[Track]:
        """Tracks seen in one of the last ``MISSES`` frames, in order of creation."""
        return [track for track in self.tracks if track.followed]

    @property
    def in_sight(self) -> list[Track]:
        """Tracks seen in the current frame, in order of creation."""
        return [track for track in self.tracks if not track.misses]

    @property
    def room(self) -> int:
        """Number of faces that may still be added in this frame."""
        return sys.maxsize if self._max is None else self._max - len(self.in_sight)

    def next_frame(self) -> list[Track]:
        """Start a frame, mark all tracks as not seen, and return those to look for, first those just seen."""
        for track in self.tracks:
            track.misses += 1
        expected = [track for track in self.tracks if not track.shot_ended]
        return sorted(expected, key=lambda track: track.misses > MISSES)

    def update(self, track: Track, observation: Observation, time: float) -> None:
        """Update a track with what was found where its face was expected. A lost one needs a face like its own."""
        if track.misses <= MISSES or (self._vacant() and track.is_back(observation) and not self._taken(observation)):
            track.seen(observation, time)

    def unmatched(self, regions: Sequence[Region]) -> list[Region]:
        """Return the regions of the detector that match no face in sight, largest first."""
        known = [track.observation.region for track in self.in_sight]
        explained: set[int] = set()
        if known and regions:
            overlap = iou(_squares(known), _squares(regions))
            explained = {column for _, column in greedy(-overlap, limit=-EXPLAINED)}
        unmatched = [region for i, region in enumerate(regions) if i not in explained]
        return sorted(unmatched, key=lambda region: -region.side)

    def awaits(self, region: Region, time: float) -> bool:
        """Return True if a face that is out of sight may come back in a region."""
        places = [track.expected(time) for track in self.tracks if track.misses]
        return any(math.hypot(each.x - region.x, each.y - region.y) < FARTHEST * each.side for each in places)

    def associate(self, observations: Sequence[Observation], time: float) -> None:
        """Associate new faces with lost tracks, and create tracks for the rest.

        A face that overlaps a face in sight is the same face and is ignored, and so is one above the limit.
        """
        lost = [track for track in self.tracks if track.misses]
        returning = dict(greedy(_costs(observations, lost, time), limit=ANY))
        for i, observation in enumerate(observations):
            if self._taken(observation):
                continue
            track = lost[returning[i]] if i in returning else None
            if track is not None and (track.followed or self._vacant()):
                track.seen(observation, time)
            elif track is None and observation.score >= self._least_new and self._vacant():
                self._born += 1
                self.tracks.append(Track(self._born, observation, time))

    def separate(self) -> None:
        """Resolve pairs of tracks on the same face, and let the others learn from what was seen.

        Of a pair, the track whose face looks less like what both follow is lost; if both look alike, the one that leapt
        there, otherwise the younger one. It is not dropped, because its face may be behind the other.
        """
        present = self.in_sight
        if len(present) == 1:
            present[0].undisturbed()
        if len(present) < 2:
            return
        disturbed = set()
        for i, j, share in overlapping([track.observation.box for track in present]):
            if share > SAME and not (present[i].misses or present[j].misses):
                _wrong(present[i], present[j]).lose()
            if share >= APART:
                disturbed |= {i, j}
        for i, track in enumerate(present):
            if i not in disturbed:
                track.undisturbed()

    def expire(self, time: float) -> None:
        """Drop tracks that have been out of sight for more than ``keep`` seconds, except those behind another face."""
        lost, present = [track for track in self.tracks if not track.followed], self.in_sight
        if not lost:
            return
        if present:
            places = [track.expected(time) for track in lost]
            covered = containment(_squares(places), np.stack([track.observation.box for track in present])).max(axis=1)
            for track, share in zip(lost, covered.tolist(), strict=True):
                if share > SAME and not track.shot_ended:
                    track.kept_from = time
        self.tracks = [
            track for track in self.tracks if track.followed or track.gone(time, track.kept_from) <= self._keep
        ]

    def end_shot(self) -> None:
        """Lose all tracks. They return only where place, size and appearance agree."""
        for track in self.tracks:
            track.misses, track.shot_ended = max(track.misses, MISSES), True

    def scale(self, x: float, y: float) -> None:
        """Adapt to a change of the frame's width by the factor ``x`` and of its height by ``y``."""
        for track in self.tracks:
            track.scale(x, y)

    def clear(self) -> None:
        """Drop all tracks."""
        self.tracks = []

    def _vacant(self) -> bool:
        return self._max is None or len(self.followed) < self._max

    def _taken(self, observation: Observation) -> bool:
        present = self.in_sight
        if not present:
            return False
        overlap = containment(observation.box[None], np.stack([track.observation.box for track in present]))
        return bool(overlap.max() > SAME)


def greedy(cost: FloatArray, *, limit: float) -> list[tuple[int, int]]:
    """Match rows and columns of costs (n, m) greedily.

    Returns:
        Pairs (row, column), cheapest first; each row and column at most once, none with a cost above ``limit``.
    """
    pairs: list[tuple[int, int]] = []
    rows, columns = np.nonzero(cost <= limit)
    free_rows, free_columns = set(rows.tolist()), set(columns.tolist())
    for k in np.argsort(cost[rows, columns], kind="stable").tolist():
        row, column = int(rows[k]), int(columns[k])
        if row in free_rows and column in free_columns:
            pairs.append((row, column))
            free_rows.remove(row)
            free_columns.remove(column)
    return pairs


def _wrong(older: Track, younger: Track) -> Track:
    """Return the track that does not belong to the face that both follow."""
    first, second = (similarity(track.appearance, track.observation.appearance) for track in (older, younger))
    if first is not None and second is not None and abs(first - second) > CLEARER:
        return older if first < second else younger
    return older if older.leap > younger.leap + LEAP else younger


def _costs(observations: Sequence[Observation], lost: Sequence[Track], time: float) -> FloatArray:
    """Return the costs (n, m) of associating observations with lost tracks; inf for no match.

    A cost is the distance in sides of the track's region, plus how little the faces look alike.
    """
    costs = np.full((len(observations), len(lost)), np.inf, np.float32)
    for column, track in enumerate(lost):
        last, expected, gone = track.last_region, track.expected(time), track.gone(time)
        reach = NEAR if track.shot_ended else min(NEAR + ROAM * gone, FARTHEST)
        for row, observation in enumerate(observations):
            new = observation.region
            away = min(math.hypot(new.x - old.x, new.y - old.y) for old in (last, expected)) / last.side
            alike = similarity(track.appearance, observation.appearance)
            if away > reach or not 1 / LIKE <= new.side / last.side <= LIKE:
                continue
            if track.shot_ended and (alike is None or alike < KNOWN):
                continue
            if alike is None or alike >= OTHER:
                costs[row, column] = away + (0.0 if alike is None else 1 - alike)
    return costs


def _scaled(region: Region, x: float, y: float) -> Region:
    """Return a region in a frame resized by the factors ``x`` and ``y`` about pixel centres at half pixels.

    Its side grows with the larger factor, as the longer side of a face that is as wide as high does.
    """
    return Region((region.x + 0.5) * x - 0.5, (region.y + 0.5) * y - 0.5, region.side * max(x, y), region.angle)


def _squares(regions: Sequence[Region]) -> FloatArray:
    """Return the boxes (n, 4) of regions, ignoring their angles."""
    values = np.array([[region.x, region.y, region.side / 2] for region in regions], np.float32)
    return np.concatenate([values[:, :2] - values[:, 2:], values[:, :2] + values[:, 2:]], axis=1)
