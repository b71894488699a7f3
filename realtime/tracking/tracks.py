"""Tracks: identities of faces from frame to frame."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..faces import Face, FloatArray, Landmarks
from ..geometry import Region, containment, iou
from ..schemes import LandmarkScheme
from ..times import time_passed

MISSES = 2  # consecutive frames without the face after which a track is lost
EXPLAINED = 0.3  # IoU of the regions of a detection and a face in sight above which both are the same face
# Share of the smaller of two bounding boxes inside the other above which two tracks are on the same face (two real
# faces occlude each other long before). Not IoU: a box inside another of twice its size would count as another face.
SAME = 2 / 3
# A new face may be a lost one if it is within NEAR + ROAM x seconds out of sight, in sides of the lost face's region
# (1.35 faces), and at most LIKE times larger or smaller: people walk past a camera at one to two faces a second. Of
# several candidates the nearest is taken, regardless of how long each has been lost.
NEAR, ROAM, LIKE = 0.6, 1.2, 1.8
ANY = float(np.finfo(np.float32).max)  # accepts every distance except infinity
LEAP = 0.15  # sides of a region: of two tracks on one face, one that leapt this much further is the wrong one


@dataclass(frozen=True, slots=True)
class Observation:
    """Face found in one frame, not yet associated with a track.

    Attributes:
        points: (n, 2) float32, landmarks in pixels of the frame.
        confidence: (n,) float32 in 0..1.
        score: probability in 0..1 that a face is there.
        box: (4,) float32, bounding box of the landmarks.
        region: region in which to look for the face in the next frame.
    """

    points: FloatArray
    confidence: FloatArray
    score: float
    box: FloatArray
    region: Region


class Track:
    """Identity of a face: its last observation and the time since then.

    Attributes:
        id: number from 1, in order of creation.
        observation: last observation of the face.
        time: time of that observation in seconds.
        misses: frames since that observation; 0 if the face is in sight in the current frame.
        leap: recent deviation from the usual motion, in sides of the region; it decays.
    """

    __slots__ = ("_motion", "id", "leap", "misses", "observation", "time")

    def __init__(self, number: int, observation: Observation, time: float) -> None:
        """Start a track from its first observation."""
        self.id, self.observation, self.time, self.misses = number, observation, time, 0
        self.leap, self._motion = 0.0, (0.0, 0.0)

    @property
    def followed(self) -> bool:
        """True if the face is looked for at its last position in every frame."""
        return self.misses < MISSES

    def face(self, scheme: LandmarkScheme | None, name: str) -> Face:
        """Return the public ``Face``, with landmarks of a scheme."""
        observation = self.observation
        landmarks = Landmarks(observation.points, scheme)
        return Face(self.id, observation.box, observation.score, landmarks, observation.confidence, scheme=name)

    def gone(self, time: float) -> float:
        """Return the seconds for which the face has been out of sight; see ``time_passed``."""
        # ``separate`` sets ``misses`` to MISSES at once, in which no time has passed.
        return time_passed(self.time, time, frames=max(self.misses - MISSES, 0))

    def seen(self, observation: Observation, time: float) -> None:
        """Update the track with an observation in the current frame."""
        old, new = self.observation.region, observation.region
        move = new.x - old.x, new.y - old.y
        if self.misses == 1:  # also seen in the previous frame; otherwise the displacement is no measure of motion
            usual = self._motion
            leap = max(abs(move[0] - usual[0]), abs(move[1] - usual[1])) / old.side
            self.leap = max(leap, 0.8 * self.leap)
            self._motion = (usual[0] + move[0]) / 2, (usual[1] + move[1]) / 2
        self.observation, self.time, self.misses = observation, time, 0


class TrackManager:
    """Tracks of the current shot. IDs count from 1 and are never reused."""

    def __init__(self, *, keep: float, max_faces: int | None = None) -> None:
        """Start without tracks.

        Args:
            keep: seconds for which the track of a face out of sight is kept.
            max_faces: maximum number of faces tracked at a time; None for no limit.
        """
        self._keep, self._max = keep, max_faces
        self._born = 0
        self.tracks: list[Track] = []

    @property
    def followed(self) -> list[Track]:
        """Tracks looked for in every frame, in order of creation."""
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
        """Start a frame, mark all tracks as not seen, and return those to look for at their last position."""
        expected = self.followed
        for track in self.tracks:
            track.misses += 1
        return expected

    def unmatched(self, regions: Sequence[Region]) -> list[Region]:
        """Return the regions of the detector that match no face in sight, largest first."""
        known = [track.observation.region for track in self.in_sight]
        explained: set[int] = set()
        if known and regions:
            overlap = iou(_squares(known), _squares(regions))
            explained = {column for _, column in greedy(-overlap, limit=-EXPLAINED)}
        unmatched = [region for i, region in enumerate(regions) if i not in explained]
        return sorted(unmatched, key=lambda region: -region.side)

    def associate(self, observations: Sequence[Observation], time: float) -> None:
        """Associate new faces with lost tracks, and create tracks for the rest.

        A face that overlaps a face in sight is the same face and is ignored, and so is one above the limit.
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
        """Resolve pairs of tracks on the same face: mark the one that leapt there as lost, otherwise the younger one.

        The track is lost but not dropped, because its face may be behind the other.
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
        """Drop tracks that have been out of sight for more than ``keep`` seconds."""
        self.tracks = [track for track in self.tracks if track.followed or track.gone(time) <= self._keep]

    def clear(self) -> None:
        """Drop all tracks at a shot change."""
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


def _distances(observations: Sequence[Observation], lost: Sequence[Track], time: float) -> FloatArray:
    """Return distances (n, m) from observations to lost tracks, in sides of a track's region; inf for no match."""
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
    """Return the boxes (n, 4) of regions, ignoring their angles."""
    values = np.array([[region.x, region.y, region.side / 2] for region in regions], np.float32)
    return np.concatenate([values[:, :2] - values[:, 2:], values[:, :2] + values[:, 2:]], axis=1)
