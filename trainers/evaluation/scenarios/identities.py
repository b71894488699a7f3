"""Scenarios in which identities are at stake: crossings, occlusions, newcomers, disturbances."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from ....realtime.faces.frame import Frame
from ....realtime.values.arrays import Image
from .cast import (
    FACE,
    RATE,
    SIZE,
    Cast,
    Row,
    identities_of,
    rounded,
    still,
    watch,
)
from .scenes import Actor, Placement, Shown, play


def crossing(cast: Cast) -> Row:
    """Two faces cross, the second in front of the first, at 0.03 to 0.6 face widths a frame."""
    front = both = swapped = 0
    speeds = (0.03, 0.05, 0.08, 0.12, 0.18, 0.27, 0.4, 0.6)
    runs = [(speed, pair) for speed in speeds for pair in range(3)]
    for number, (speed, pair) in enumerate(runs):
        half = math.ceil(1.6 / speed)  # frames until the faces meet, each at half the speed
        last = 2 * half + 20

        def way(side: int, half: int = half, speed: float = speed, pair: int = pair) -> Callable[[int], Placement]:
            def place(index: int) -> Placement:
                away = min(max(index - 8, 0), 2 * half) - half  # both rest first, to be found, and at the end
                return Placement(320 + side * away * speed / 2 * FACE, 180 + side * 6 * (pair - 1), FACE)

            return place

        actors = [Actor(cast.head(2 * number), way(1)), Actor(cast.head(2 * number + 1), way(-1))]
        with cast.build() as tracker:
            seen = list(watch(tracker, play(actors, cast.photograph(number), frames=last, size=SIZE)))
        begin, end = identities_of(seen[3:9]), identities_of(seen[-6:])
        kept = [before is not None and before == after for before, after in zip(begin, end, strict=True)]
        front, both = front + kept[1], both + all(kept)
        swapped += None not in begin and begin == end[::-1]
    return {"runs": len(runs), "front_lost": len(runs) - front, "swapped": swapped, "both_kept": both}


def hidden(cast: Cast, rate: float) -> Row:
    """A face beside another is hidden for ten frames."""
    delays, kept = [], 0
    for number in range(12):
        begin, end = 20 + 3 * number, 30 + 3 * number
        gap = (1.25, 1.5, 2.0)[number % 3] * FACE
        actors = [
            Actor(cast.head(number), still(Placement(320 - gap / 2, 180, FACE))),
            Actor(
                cast.head(number + 5),
                still(Placement(320 + gap / 2, 176, FACE)),
                range(begin, end),
            ),
        ]
        with cast.build() as tracker:
            scene = play(actors, cast.photograph(number), frames=end + 60, size=SIZE)
            seen = list(watch(tracker, scene, rate=rate))
        back = next((i for i, each in enumerate(seen[end:]) if each.ids[1] is not None), 60)
        delays.append(back)
        kept += back < 60 and identities_of(seen[begin - 6 : begin])[1] == seen[end + back].ids[1]
    return {"runs": 12, "frames_median": float(np.median(delays)), "frames_most": max(delays), "kept": kept}


def newcomer(cast: Cast, rate: float) -> Row:
    """A face appears beside a tracked one."""
    delays = []
    for number in range(12):
        begin, frames = 20 + 5 * number % 17, round(20 + 17 + 9 * rate)
        far = (1.4, 2.2, 3.0)[number % 3] * FACE

        def way(index: int, begin: int = begin, far: float = far) -> Placement | None:
            return Placement(240 + far, 190, FACE) if index >= begin else None

        actors = [Actor(cast.head(number), still(Placement(240, 180, FACE))), Actor(cast.head(number + 3), way)]
        with cast.build() as tracker:
            for index, each in enumerate(
                watch(tracker, play(actors, cast.photograph(number), frames=frames, size=SIZE), rate=rate)
            ):
                if each.ids[1] is not None:
                    delays.append((index - begin) / rate)
                    break
            else:
                delays.append(math.inf)
    return {"runs": 12, "seconds_median": rounded(np.median(delays)), "seconds_most": rounded(max(delays))}


def elsewhere(cast: Cast) -> Row:
    """With keep=10, a face leaves and another appears ten widths away."""
    taken = 0
    for number in range(6):

        def leaving(index: int) -> Placement | None:
            return Placement(60, 180, 50) if index < 20 else None

        def coming(index: int, number: int = number) -> Placement | None:
            return Placement(575, 180 + 5 * number, 50) if index >= 60 + 30 * number else None

        actors = [Actor(cast.head(number), leaving), Actor(cast.head(number + 4), coming)]
        with cast.build(keep=10.0) as tracker:
            frames = 60 + 30 * number + 50
            seen = list(watch(tracker, play(actors, cast.photograph(number), frames=frames, size=SIZE)))
        new = {each.ids[1] for each in seen} - {None}
        taken += not new or bool(new & {each.ids[0] for each in seen})
    return {"runs": 6, "identity_taken": taken}


def disturbed(cast: Cast) -> Row:
    """One frame of noise, black or another scene comes between frames of a face, or the video changes its size."""
    kept = {"noise": 0, "black": 0, "scene": 0, "size": 0}
    for kind in kept:
        for number in range(4):
            actors = [Actor(cast.head(number), lambda i: Placement(250 + i, 180, FACE))]
            scene = list(play(actors, cast.photograph(number), frames=60, size=SIZE))
            if kind == "size":
                scene[30:] = [_resized(shown, (1 + number) / 2) for shown in scene[30:]]
            else:
                scene[30] = replace(scene[30], image=_disturbance(kind, cast.photograph(number + 7)))
            with cast.build() as tracker:
                ids = [seen.ids[0] for seen in watch(tracker, scene)]
            kept[kind] += ids[29] is not None and ids[-1] == ids[29]
    return {"runs": 4, **kept}


def _disturbance(kind: str, other: Image) -> Image:
    """Return a frame of noise, black, or another photograph."""
    if kind == "noise":
        return np.random.default_rng(0).integers(0, 256, (*SIZE[::-1], 3), np.uint8)
    if kind == "black":
        return np.zeros((*SIZE[::-1], 3), np.uint8)
    return np.asarray(cv2.resize(other, SIZE), np.uint8)


def _resized(shown: Shown, scale: float) -> Shown:
    """Return a frame and its truth in another size."""
    size = round(SIZE[0] * scale), round(SIZE[1] * scale)
    points = [None if each is None else each * np.float32(scale) for each in shown.points]
    return replace(shown, image=np.asarray(cv2.resize(shown.image, size), np.uint8), points=points)


def scene_change(cast: Cast) -> Row:
    """A real change of scene, with another face at the same place, gives a new identity."""
    new = 0
    for number in range(8):
        place = still(Placement(320, 180, FACE))
        with cast.build() as tracker:
            ids: list[set[int]] = []
            for half in range(2):
                actors = [Actor(cast.head(number + 6 * half), place)]
                for shown in play(actors, cast.photograph(number + 5 * half), frames=30, size=SIZE):
                    faces = tracker.update(Frame(shown.image, len(ids) / RATE, len(ids)))
                    ids.append({face.id for face in faces})
        new += bool(ids[29]) and bool(ids[-1]) and not ids[29] & ids[-1]
    return {"runs": 8, "new_identity": new}


def within(cast: Cast) -> Row:
    """A small face lies within the bounding box of a large one."""
    found = 0
    for number in range(29):
        large, small = 190.0, 36.0
        corner = (-1) ** number
        actors = [
            Actor(cast.head(number), still(Placement(320, 190, large))),
            Actor(cast.head(number + 9), still(Placement(320 + corner * 0.46 * large, 190 - 0.5 * large, small))),
        ]
        with cast.build() as tracker:
            seen = list(watch(tracker, play(actors, cast.photograph(number), frames=60, size=SIZE)))
        found += all(error <= 0.15 for error in seen[-1].errors)
    return {"runs": 29, "both": found}
