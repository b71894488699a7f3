"""Obscuring of faces: which areas of each frame, and how.

It errs on the safe side: an area covers the whole head, a face is also covered for a while before it was found and
after it was lost, over the whole of a gap, and what only the detector took for a face is covered, too.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ...faces.face import Face
from ...values.arrays import Image
from ...values.geometry import box_of
from ..journal import JournalFace
from ..look_ahead.annotation import Annotated

REACH = 3.0
"""Seconds of the longest gap that is bridged."""
ALONE = 0.75
"""Seconds for which a face is covered before it was found and after it was lost."""
_DETECTED = 0.35  # seconds for which a face that only the detector saw is covered, before and after
_HEAD = 1.05  # radius of the area of a head, in sides of the landmarks' box
_BOX = 0.8  # the same in sides of a box of the detector
_GROWTH = 0.6  # share by which the radius grows in a second without the face
_CELLS = 4  # cells along the radius that are left of an obscured area


@dataclass(frozen=True, slots=True)
class Area:
    """Circle to obscure in a frame.

    Attributes:
        x, y: centre in pixels.
        radius: pixels.
        id: identity of the face; 0 if it is unknown.
        reason: ``seen``; ``interpolated`` in a gap that was filled; ``bridged`` in another gap; ``lost`` before the
            face was found or after it was lost; ``detected`` by the detector alone.
    """

    x: float
    y: float
    radius: float
    id: int = 0
    reason: str = "seen"


@dataclass(frozen=True, slots=True)
class _Moment:
    """Area at a time in a shot."""

    time: float
    shot: int
    area: Area


def areas(annotations: Iterable[Annotated]) -> Iterator[tuple[Annotated, list[Area]]]:
    """Yield each frame with the areas to obscure. The faces of ``REACH`` seconds are in memory."""
    coming: deque[Annotated] = deque()
    covering = _Covering()
    for annotated in annotations:
        coming.append(annotated)
        while coming and annotated.frame.time - coming[0].frame.time > REACH:
            now = coming.popleft()
            yield now, covering.areas(now, coming)
    while coming:
        now = coming.popleft()
        yield now, covering.areas(now, coming)


class _Covering:
    """Areas of frame after frame, with what was seen before."""

    def __init__(self) -> None:
        self._last: dict[int, _Moment] = {}
        self._detected: deque[_Moment] = deque()

    def areas(self, now: Annotated, coming: Iterable[Annotated]) -> list[Area]:
        time, shot = now.frame.time, now.shot
        found = {face.id: _area_of(face) for face in now.faces}
        self._last |= {number: _Moment(time, shot, area) for number, area in found.items()}
        self._last = {number: last for number, last in self._last.items() if time - last.time <= REACH}
        after: dict[int, _Moment] = {}
        detected = [_Moment(time, shot, area) for area in _detected(now)]
        self._detected.extend(detected)
        while self._detected and time - self._detected[0].time > _DETECTED:
            self._detected.popleft()
        for each in coming:
            for face in each.faces:
                after.setdefault(face.id, _Moment(each.frame.time, each.shot, _area_of(face)))
            if each.frame.time - time <= _DETECTED:
                detected += [_Moment(each.frame.time, each.shot, area) for area in _detected(each)]
        covered = list(found.values())
        for number in sorted((self._last.keys() | after.keys()) - found.keys()):
            sides = [each for each in (self._last.get(number), after.get(number)) if each and each.shot == shot]
            covered += _between(time, sides)
        for moment in (*self._detected, *detected):
            if moment.shot == shot and not any(_inside(moment.area, area) for area in covered):
                covered.append(moment.area)
        return covered


def _between(time: float, sides: Sequence[_Moment]) -> list[Area]:
    """Return the area of a face that is not in sight, from where it was before and will be after."""
    if len(sides) == 2 and sides[1].time - sides[0].time <= REACH:
        before, after = sides
        share = (time - before.time) / max(after.time - before.time, 1e-6)
        grown = 1 + _GROWTH * min(time - before.time, after.time - time)
        a, b = before.area, after.area
        x, y = a.x + share * (b.x - a.x), a.y + share * (b.y - a.y)
        return [Area(x, y, max(a.radius, b.radius) * grown, a.id, "bridged")]
    near = [each for each in sides if abs(each.time - time) <= ALONE]
    return [
        replace(each.area, radius=each.area.radius * (1 + _GROWTH * abs(each.time - time)), reason="lost")
        for each in near
    ]


def _area_of(face: Face) -> Area:
    x0, y0, x1, y1 = face.box.tolist()
    radius = _HEAD * max(x1 - x0, y1 - y0)
    return Area((x0 + x1) / 2, (y0 + y1) / 2, radius, face.id, "interpolated" if face.interpolated else "seen")


def _detected(annotated: Annotated) -> list[Area]:
    """Return the areas of what the networks took for a face, also where the look-ahead found that it is none."""
    return [
        Area((x0 + x1) / 2, (y0 + y1) / 2, share * max(x1 - x0, y1 - y0), 0, "detected")
        for share, boxes in ((_BOX, annotated.frame.detections or ()), (_HEAD, map(_box_of, annotated.frame.faces)))
        for x0, y0, x1, y1 in boxes
    ]


def _box_of(seen: JournalFace) -> Sequence[float]:
    box: list[float] = box_of(seen.points).tolist()
    return box


def _inside(inner: Area, outer: Area) -> bool:
    """Return True if the middle of an area, where the face is, lies within another one."""
    return math.hypot(inner.x - outer.x, inner.y - outer.y) + inner.radius / 2 <= outer.radius


def obscured(image: Image, where: Sequence[Area], way: str) -> Image:
    """Return a copy of an image with areas obscured.

    Args:
        image: BGR uint8 (h, w, 3).
        where: the areas.
        way: ``blur``, ``pixelate`` or ``box`` (black). Of the first two, a few cells of mean colour remain.
    """
    result = image.copy()
    for area in where:
        _obscure(result, area, way)
    return result


def _obscure(image: Image, area: Area, way: str) -> None:
    height, width = image.shape[:2]
    left, right = max(math.floor(area.x - area.radius), 0), min(math.ceil(area.x + area.radius) + 1, width)
    top, bottom = max(math.floor(area.y - area.radius), 0), min(math.ceil(area.y + area.radius) + 1, height)
    if left >= right or top >= bottom:
        return
    part = image[top:bottom, left:right]
    mask = np.zeros(part.shape[:2], np.uint8)
    cv2.circle(mask, (round(area.x) - left, round(area.y) - top), math.ceil(area.radius), 255, -1)
    if way == "box":
        part[mask > 0] = 0
        return
    cell = area.radius / _CELLS
    size = max(round((right - left) / cell), 1), max(round((bottom - top) / cell), 1)
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    how = cv2.INTER_NEAREST if way == "pixelate" else cv2.INTER_CUBIC
    part[mask > 0] = cv2.resize(small, (right - left, bottom - top), interpolation=how)[mask > 0]


def attention(annotations: Iterable[Annotated]) -> tuple[tuple[int, int, str], ...]:
    """Return the spans of frames to check: first and last frame, and the reason."""
    found = FramesToCheck()
    for annotated, where in areas(annotations):
        found.add(annotated.frame.index, where)
    return found.spans()


class FramesToCheck:
    """Spans of frames to check, because a face was not seen there but covered by a guess."""

    _WORDS = {  # noqa: RUF012  # constant
        "interpolated": "face {} was interpolated",
        "bridged": "face {} was out of sight",
        "lost": "face {} was not found yet, or lost",
        "detected": "a face was detected that could not be followed",
    }

    def __init__(self) -> None:
        """Start without spans."""
        self._open: dict[tuple[str, int], tuple[int, int]] = {}
        self._spans: list[tuple[int, int, str]] = []

    def add(self, index: int, where: Sequence[Area]) -> None:
        """Add the areas of the next frame."""
        now = {(area.reason, area.id) for area in where if area.reason in self._WORDS}
        for key in now:
            begin, _ = self._open.get(key, (index, index))
            self._open[key] = begin, index
        for key in sorted(self._open.keys() - now):
            self._close(key)

    def spans(self) -> tuple[tuple[int, int, str], ...]:
        """Return the spans: first and last frame, and the reason."""
        for key in sorted(self._open):
            self._close(key)
        return tuple(sorted(self._spans))

    def _close(self, key: tuple[str, int]) -> None:
        begin, end = self._open.pop(key)
        self._spans.append((begin, end, self._WORDS[key[0]].format(key[1])))
