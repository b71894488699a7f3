"""Who is who from frame to frame."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..faces import Face, FloatArray, Landmarks
from ..geometry import Region, containment, iou
from ..schemes import LandmarkScheme
from ..times import time_passed

MISSES = 2  # frames in a row without a face, after which it is followed no more
EXPLAINED = 0.3  # overlap (IoU) of a detection's region with that of a face in sight: the detector sees that face
# Part of the smaller of two faces' boxes that lies within the other: both lie on one face (two real ones hide each
# other long before). Not IoU, by which a box within another of twice its size is another face.
SAME = 2 / 3
# A face seen again may be one that was lost if it lies within NEAR + ROAM x seconds gone, in sides of the lost
# face's region (1.35 faces), and is at most LIKE times larger or smaller: tracks walk past a camera at one to two
# faces a second. Of several it is the one whose place is nearest, however long the others are gone.
NEAR, ROAM, LIKE = 0.6, 1.2, 1.8
ANY = float(np.finfo(np.float32).max)  # every distance but infinity
LEAP = 0.15  # sides of a region: of two faces on one, that which leapt so much further is the wrong one


@dataclass(frozen=True, slots=True)
class Observation:
    """A face as it was found in one frame, before anybody knows whose it is.

    Attributes:
        points: (n, 2) float32, pixels of the frame.
        confidence: (n,) float32 in 0..1.
        score: in 0..1, that a face is there.
        box: (4,) float32 around the points.
        region: where to look for it in the next frame.
    """

    points: FloatArray
    confidence: FloatArray
    score: float
    box: FloatArray
    region: Region


class Track:
    """One identity: who it is, how it was last seen, and for how long it has not been seen.

    Attributes:
        id: from 1, in the order of birth.
        observation: the last that was seen of it.
        time: seconds, when that was.
        misses: frames since then; 0 where it is seen in the present one.
        leap: how far it moved of late against its usual motion, in sides of its region; it fades.
    """

    __slots__ = ("_motion", "id", "leap", "misses", "observation", "time")

    def __init__(self, number: int, observation: Observation, time: float) -> None:
        """Be born."""
        self.id, self.observation, self.time, self.misses = number, observation, time, 0
        self.leap, self._motion = 0.0, (0.0, 0.0)

    @property
    def followed(self) -> bool:
        """Whether it is looked for at its last place in every frame."""
        return self.misses < MISSES

    def face(self, scheme: LandmarkScheme | None, name: str) -> Face:
        """Return what users get, with landmarks of a scheme."""
        observation = self.observation
        landmarks = Landmarks(observation.points, scheme)
        return Face(self.id, observation.box, observation.score, landmarks, observation.confidence, scheme=name)

    def gone(self, time: float) -> float:
        """Return the seconds for which it has been out of sight; see ``time_passed``."""
        # ``part`` adds MISSES at once, in which no time has passed
        return time_passed(self.time, time, frames=max(self.misses - MISSES, 0))

    def seen(self, observation: Observation, time: float) -> None:
        """Take note of where it is in the present frame."""
        old, new = self.observation.region, observation.region
        move = new.x - old.x, new.y - old.y
        if self.misses == 1:  # seen in the last frame too: else the way from there to here says nothing
            usual = self._motion
            leap = max(abs(move[0] - usual[0]), abs(move[1] - usual[1])) / old.side
            self.leap = max(leap, 0.8 * self.leap)
            self._motion = (usual[0] + move[0]) / 2, (usual[1] + move[1]) / 2
        self.observation, self.time, self.misses = observation, time, 0


class TrackManager:
    """Everybody of the present shot. TrackManager count from 1 and are never given twice."""

    def __init__(self, *, keep: float, max_faces: int | None = None) -> None:
        """Know nobody.

        Args:
            keep: seconds for which a face out of sight is remembered.
            max_faces: most faces followed at a time; None for no limit.
        """
        self._keep, self._max = keep, max_faces
        self._born = 0
        self.tracks: list[Track] = []

    @property
    def followed(self) -> list[Track]:
        """Those looked for in every frame, in the order of birth."""
        return [track for track in self.tracks if track.followed]

    @property
    def in_sight(self) -> list[Track]:
        """Those seen in the present frame, in the order of birth."""
        return [track for track in self.tracks if not track.misses]

    @property
    def room(self) -> int:
        """How many more faces may be seen in this frame."""
        return sys.maxsize if self._max is None else self._max - len(self.in_sight)

    def next_frame(self) -> list[Track]:
        """Begin a frame, in which nobody has been seen yet; returns those to look for at their last place."""
        expected = self.followed
        for track in self.tracks:
            track.misses += 1
        return expected

    def unmatched(self, regions: Sequence[Region]) -> list[Region]:
        """Those of the detector's regions that show none of the faces in sight, the largest first."""
        known = [track.observation.region for track in self.in_sight]
        explained: set[int] = set()
        if known and regions:
            overlap = iou(_squares(known), _squares(regions))
            explained = {column for _, column in greedy(-overlap, limit=-EXPLAINED)}
        unmatched = [region for i, region in enumerate(regions) if i not in explained]
        return sorted(unmatched, key=lambda region: -region.side)

    def associate(self, observations: Sequence[Observation], time: float) -> None:
        """Take in faces found anew: those who were lost get their identity back, others are born.

        One that lies on a face already in sight is no other face and is left out, as is one too many.
        """
        lost = [track for track in self.tracks if track.misses]
        returning = dict(greedy(_distances(observations, lost, time), limit=ANY))
        for i, observation in enumerate(observations):
            if self._taken(observation):
                continue
            track = lost[returning[i]] if i in returning else None
            if track is not None and (track.followed or self._vacant()):
                track.seen(observation, time)
            elif track is None and self._vacant():
                self._born += 1
                self.tracks.append(Track(self._born, observation, time))

    def separate(self) -> None:
        """Where two faces have come to lie on one, let go of that which leapt there, else of the younger.

        It counts as lost, not as dead, for its owner may be behind the other.
        """
        if len(self.tracks) < 2 or len(present := self.in_sight) < 2:
            return
        overlap = containment(*(np.stack([track.observation.box for track in present]),) * 2)
        for i, j in np.argwhere(np.triu(overlap, 1) > SAME).tolist():
            older, younger = present[i], present[j]
            if not (older.misses or younger.misses):
                wrong = older if older.leap > younger.leap + LEAP else younger
                wrong.misses = MISSES

    def expire(self, time: float) -> None:
        """Drop those out of sight for too long."""
        self.tracks = [track for track in self.tracks if track.followed or track.gone(time) <= self._keep]

    def clear(self) -> None:
        """Drop everybody: a new shot."""
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
    """Pairs (row, column) of costs (n, m), cheapest first, each row and column once, none above ``limit``."""
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


def _distances(observations: Sequence[Observation], lost: Sequence[Track], time: float) -> FloatArray:
    """Return distances (n, m) of n observations to m lost faces, in sides of a face's region; inf for another face."""
    if not observations or not lost:
        return np.zeros((len(observations), len(lost)), np.float32)
    new = np.array(
        [[observation.region.x, observation.region.y, observation.region.side] for observation in observations],
        np.float32,
    )
    old = np.array(
        [[p.observation.region.x, p.observation.region.y, p.observation.region.side] for p in lost], np.float32
    )
    gone = np.array([track.gone(time) for track in lost], np.float32)
    away: FloatArray = np.hypot(new[:, None, 0] - old[:, 0], new[:, None, 1] - old[:, 1]) / old[:, 2]
    ratio = new[:, None, 2] / old[:, 2]
    away[(away > NEAR + ROAM * gone) | (ratio > LIKE) | (ratio < 1 / LIKE)] = np.inf
    return away


def _squares(regions: Sequence[Region]) -> FloatArray:
    """Boxes (n, 4) of regions, as if none were turned."""
    values = np.array([[region.x, region.y, region.side / 2] for region in regions], np.float32)
    return np.concatenate([values[:, :2] - values[:, 2:], values[:, :2] + values[:, 2:]], axis=1)
