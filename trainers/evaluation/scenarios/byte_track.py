"""ByteTrack (Zhang et al., ECCV 2022): association of strong detections, then of weak ones.

Implemented from the paper, with its default parameters (section 4.1), to compare our tracker with.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ....realtime.values.arrays import FloatArray
from ....realtime.values.geometry import iou
from .box_filters import Array, BoxTracker, HeightFilter, assign, boxes_of

STRONG = 0.6  # detection score that separates strong from weak detections
WEAK = 0.1  # detection score below which a detection is ignored; of the release
BEGIN = STRONG + 0.1  # detection score of a new track; of the release
OVERLAP = 0.2  # IoU below which a match is rejected


class _Track:
    """Track of a face.

    Attributes:
        id: number from 1.
        filter: its Kalman filter.
        lost: frames without a detection; 0 if it was seen in the last frame.
        confirmed: True if it was seen in two consecutive frames, or in the first one of the video.
    """

    def __init__(self, number: int, box: Array, *, confirmed: bool) -> None:
        self.id, self.filter, self.lost, self.confirmed = number, HeightFilter(box), 0, confirmed


class ByteTrack(BoxTracker[_Track]):
    """Rules of ByteTrack for one video."""

    def update(self, boxes: FloatArray, scores: FloatArray) -> dict[int, int]:
        """Associate strong detections with tracks first, then weak ones; report confirmed tracks."""
        self._frames += 1
        strong = np.flatnonzero(scores >= STRONG).tolist()
        weak = np.flatnonzero((scores > WEAK) & (scores < STRONG)).tolist()
        for track in self._tracks:
            if track.lost:
                track.filter.state[7] = 0  # a lost face keeps its height
            track.filter.predict()
        confirmed = [track for track in self._tracks if track.confirmed]
        found = _match(confirmed, boxes, strong)
        remaining = [track for track in confirmed if track not in found and not track.lost]
        found |= _match(remaining, boxes, weak)
        left = [i for i in strong if i not in found.values()]
        found |= _match([track for track in self._tracks if not track.confirmed], boxes, left)
        for track in self._tracks:
            track.lost += 1
        for track, i in found.items():
            track.filter.update(boxes[i].astype(np.float64))
            track.lost, track.confirmed = 0, True
        self._tracks = [
            track for track in self._tracks if track in found or (track.confirmed and track.lost <= self._buffer)
        ]
        for i in left:
            if i not in found.values() and scores[i] >= BEGIN:
                track = _Track(self._next_id(), boxes[i].astype(np.float64), confirmed=self._frames == 1)
                self._tracks.append(track)
                found[track] = i
        return {i: track.id for track, i in found.items() if track.confirmed}


def _match(tracks: Sequence[_Track], boxes: FloatArray, chosen: Sequence[int]) -> dict[_Track, int]:
    """Match the predicted boxes of tracks with the chosen detections by IoU."""
    overlap = iou(boxes_of(track.filter.box for track in tracks), boxes_of(boxes[i] for i in chosen))
    return {tracks[row]: chosen[column] for row, column in assign(overlap - OVERLAP, overlap >= OVERLAP)}
