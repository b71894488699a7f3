"""OC-SORT (Cao et al., CVPR 2023): SORT that trusts observations more than the predictions of its filter.

Implemented from the paper, with the default parameters of the paper (section 5.1) and of its release, to compare our
tracker with. Its three additions to SORT:

- ORU, observation-centric re-update: when a lost track is found again, its filter repeats the gap with boxes
  interpolated between the observations on both sides.
- OCM, observation-centric momentum: a match gains if the track keeps its direction, measured between observations.
- OCR, observation-centric recovery: unmatched tracks and detections are matched again, by the last observation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy

import numpy as np

from ....realtime.values.arrays import FloatArray
from ....realtime.values.geometry import iou
from .box_filters import AreaFilter, Array, BoxTracker, assign, boxes_of

STRONG = 0.6  # detection score below which a detection is ignored
OVERLAP = 0.3  # IoU below which a match is rejected
DIRECTION = 0.2  # weight of the difference of directions
STEPS = 3  # frames over which a direction is measured
HITS = 3  # consecutive frames with a match from which on a track is reported; of the release


class _Track:
    """Track of a face.

    Attributes:
        id: number from 1.
        filter: its Kalman filter.
        lost: frames without a detection.
        streak: consecutive frames with a match.
        last: last observed box.
        direction: (2,) unit vector of its motion; zero if it is unknown.
    """

    def __init__(self, number: int, box: Array) -> None:
        self.id, self.filter, self.last = number, AreaFilter(box), box
        self.lost, self.streak, self.direction = 0, 0, np.zeros(2)
        self._age = 0
        self._observed = {0: box}
        self._filter_then = deepcopy(self.filter)  # at the last observation

    def predict(self) -> None:
        """Move on by a frame."""
        self.streak = 0 if self.lost else self.streak
        self._age += 1
        self.lost += 1
        self.filter.predict()

    def earlier(self) -> Array:
        """Return the box observed ``STEPS`` frames ago, or the next one after that, or the last one."""
        recent = (self._observed.get(self._age - step) for step in range(STEPS, 0, -1))
        return next((box for box in recent if box is not None), self.last)

    def update(self, box: Array) -> None:
        """Add the box observed in this frame."""
        self.direction = _direction(self.earlier(), box)
        if self.lost > 1:
            self._repeat_gap(box)
        self.filter.update(box)
        self._filter_then = deepcopy(self.filter)
        self.last, self.lost = box, 0
        self.streak += 1
        self._observed = {age: each for age, each in self._observed.items() if age > self._age - STEPS}
        self._observed[self._age] = box

    def _repeat_gap(self, box: Array) -> None:
        """Repeat the frames without a detection with interpolated boxes (ORU)."""
        self.filter = self._filter_then
        for step in range(1, self.lost):
            self.filter.predict()
            self.filter.update(self.last + (box - self.last) * (step / self.lost))
        self.filter.predict()


class OCSort(BoxTracker[_Track]):
    """Rules of OC-SORT for one video."""

    def update(self, boxes: FloatArray, scores: FloatArray) -> dict[int, int]:
        """Associate strong detections by overlap and direction, then by the last observation."""
        self._frames += 1
        for track in self._tracks:
            track.predict()
        strong = np.flatnonzero(scores >= STRONG).tolist()
        found = self._match(boxes, scores, strong)
        found |= self._recover(boxes, strong, found)
        for track, i in found.items():
            track.update(boxes[i].astype(np.float64))
        for i in strong:
            if i not in found.values():
                track = _Track(self._next_id(), boxes[i].astype(np.float64))
                self._tracks.append(track)
                found[track] = i
        self._tracks = [track for track in self._tracks if track.lost <= self._buffer]
        return {i: track.id for track, i in found.items() if track.streak >= HITS or self._frames <= HITS}

    def _match(self, boxes: FloatArray, scores: FloatArray, chosen: Sequence[int]) -> dict[_Track, int]:
        """Match the predicted boxes of the tracks with the chosen detections by IoU and direction (OCM)."""
        overlap = iou(boxes_of(track.filter.box for track in self._tracks), boxes_of(boxes[i] for i in chosen))
        momentum = np.zeros_like(overlap)
        for row, track in enumerate(self._tracks):
            earlier = track.earlier()
            for column, i in enumerate(chosen):
                along = float(track.direction @ _direction(earlier, boxes[i].astype(np.float64)))
                angle = math.acos(min(max(along, -1.0), 1.0))
                momentum[row, column] = (0.5 - angle / math.pi) * float(scores[i])
        # The momentum is at least -0.5: the offset keeps the gain of an allowed pair positive.
        gain = overlap + DIRECTION * (momentum + 0.5)
        return {self._tracks[row]: chosen[column] for row, column in assign(gain, overlap >= OVERLAP)}

    def _recover(self, boxes: FloatArray, chosen: Sequence[int], found: dict[_Track, int]) -> dict[_Track, int]:
        """Match the remaining tracks and detections by the IoU with the last observation (OCR)."""
        tracks = [track for track in self._tracks if track not in found]
        left = [i for i in chosen if i not in found.values()]
        overlap = iou(boxes_of(track.last for track in tracks), boxes_of(boxes[i] for i in left))
        return {tracks[row]: left[column] for row, column in assign(overlap, overlap >= OVERLAP)}


def _direction(old: Array, new: Array) -> Array:
    """Return the unit vector (2,) from the centre of a box to that of another; zero if both coincide."""
    way = (new[:2] + new[2:] - old[:2] - old[2:]) / 2
    return way / max(float(np.hypot(*way)), 1e-6)
