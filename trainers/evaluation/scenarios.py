"""Measured scenarios for the tracker: crossings, occlusions, fast motion, rotations, sizes and disturbances."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...realtime.faces import Face, FloatArray, Frame, Image
from ...realtime.geometry import box_of
from ...realtime.tracking.tracker import Tracker
from ..data import LandmarkSet, read_image
from .scenes import Actor, Cutout, Pose, Shown, cut_out, play

SIZE = (640, 360)  # of a scene, in pixels
FACE = 84.0  # longer side of the landmarks' box, in pixels
RATE = 30.0  # frames a second
NEAR = 0.35  # mean distance of landmarks, in sides of the box, below which a tracked face is that of an actor
FOREHEAD = 1.285  # height of a face, with its forehead, over that of its landmarks
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cast:
    """Material of the scenarios.

    Attributes:
        heads: faces, at least 12.
        photographs: backgrounds without faces.
        build: returns a tracker with its default options, or with the options given.
    """

    heads: Sequence[Cutout]
    photographs: Sequence[Image]
    build: Callable[..., Tracker]

    def head(self, number: int) -> Cutout:
        """Return a head; numbers beyond the last begin again."""
        return self.heads[number % len(self.heads)]

    def photograph(self, number: int) -> Image:
        """Return a background; numbers beyond the last begin again."""
        return self.photographs[number % len(self.photographs)]


def cast_of(faces: LandmarkSet, backgrounds: Sequence[Path], build: Callable[..., Tracker], *, count: int) -> Cast:
    """Choose ``count`` faces of a set, spread over it, in the order of their names."""
    chosen = np.linspace(0, len(faces) - 1, min(count, len(faces))).round().astype(int)
    heads = [cut_out(read_image(faces.files[i]), faces.points[i]) for i in chosen]
    return Cast(heads, [read_image(path) for path in backgrounds[:: max(len(backgrounds) // 16, 1)]], build)


@dataclass(frozen=True, slots=True)
class Seen:
    """Result of the tracker for one frame of a scene.

    Attributes:
        faces: all faces.
        ids: identity of each actor; None where its face is not tracked.
        errors: mean error of each actor's landmarks over the distance between the outer corners of the eyes; NaN
            where its face is not tracked.
    """

    faces: list[Face]
    ids: list[int | None]
    errors: list[float]


def watch(tracker: Tracker, scene: Iterable[Shown], *, rate: float = RATE) -> Iterator[Seen]:
    """Track a scene and compare each frame with its truth."""
    for index, shown in enumerate(scene):
        faces = tracker.update(Frame(shown.image, index / rate, index))
        found = [_found(faces, points) for points in shown.points]
        yield Seen(faces, [None if face is None else face.id for face, _ in found], [error for _, error in found])


def _found(faces: Sequence[Face], points: FloatArray | None) -> tuple[Face | None, float]:
    """Return the tracked face of an actor and its error."""
    if points is None or not faces:
        return None, math.nan
    distances = [float(np.hypot(*(np.asarray(face.landmarks) - points).T).mean()) for face in faces]
    nearest = int(np.argmin(distances))
    x0, y0, x1, y1 = box_of(points).tolist()
    if distances[nearest] > NEAR * max(x1 - x0, y1 - y0):
        return None, math.nan
    return faces[nearest], distances[nearest] / _between_eyes(points)


def _between_eyes(points: FloatArray) -> float:
    return float(np.hypot(*(points[36] - points[45])))


def _still(pose: Pose) -> Callable[[int], Pose]:
    return lambda index: pose


# --- identities


def crossing(cast: Cast) -> Row:
    """Two faces cross, the second in front of the first, at 0.03 to 0.6 face widths a frame."""
    front = both = swapped = 0
    speeds = (0.03, 0.05, 0.08, 0.12, 0.18, 0.27, 0.4, 0.6)
    runs = [(speed, pair) for speed in speeds for pair in range(3)]
    for number, (speed, pair) in enumerate(runs):
        half = math.ceil(1.6 / speed)  # frames until the faces meet, each at half the speed
        last = 2 * half + 20

        def way(side: int, half: int = half, speed: float = speed, pair: int = pair) -> Callable[[int], Pose]:
            def pose(index: int) -> Pose:
                away = min(max(index - 8, 0), 2 * half) - half  # both rest first, to be found, and at the end
                return Pose(320 + side * away * speed / 2 * FACE, 180 + side * 6 * (pair - 1), FACE)

            return pose

        actors = [Actor(cast.head(2 * number), way(1)), Actor(cast.head(2 * number + 1), way(-1))]
        with cast.build() as tracker:
            seen = list(watch(tracker, play(actors, cast.photograph(number), frames=last, size=SIZE)))
        begin, end = (_ids(seen[8:14]), _ids(seen[-6:]))
        kept = [before is not None and before == after for before, after in zip(begin, end, strict=True)]
        front, both = front + kept[1], both + all(kept)
        swapped += None not in begin and begin == end[::-1]
    return {"runs": len(runs), "front_lost": len(runs) - front, "swapped": swapped, "both_kept": both}


def _ids(seen: Sequence[Seen]) -> list[int | None]:
    """Return the last identity of each actor in some frames."""
    return [
        next((each.ids[actor] for each in reversed(seen) if each.ids[actor] is not None), None)
        for actor in range(len(seen[0].ids))
    ]


def hidden(cast: Cast, rate: float) -> Row:
    """A face beside another is hidden for ten frames."""
    delays, kept = [], 0
    for number in range(12):
        begin, end = 20 + 3 * number, 30 + 3 * number
        gap = (1.25, 1.5, 2.0)[number % 3] * FACE
        actors = [
            Actor(cast.head(number), _still(Pose(320 - gap / 2, 180, FACE))),
            Actor(
                cast.head(number + 5),
                _still(Pose(320 + gap / 2, 176, FACE)),
                range(begin, end),
            ),
        ]
        with cast.build() as tracker:
            scene = play(actors, cast.photograph(number), frames=end + 60, size=SIZE)
            seen = list(watch(tracker, scene, rate=rate))
        back = next((i for i, each in enumerate(seen[end:]) if each.ids[1] is not None), 60)
        delays.append(back)
        kept += back < 60 and _ids(seen[begin - 6 : begin])[1] == seen[end + back].ids[1]
    return {"runs": 12, "frames_median": float(np.median(delays)), "frames_most": max(delays), "kept": kept}


def newcomer(cast: Cast, rate: float) -> Row:
    """A face appears beside a tracked one."""
    delays = []
    for number in range(12):
        begin, frames = 20 + 5 * number % 17, round(20 + 17 + 9 * rate)
        far = (1.4, 2.2, 3.0)[number % 3] * FACE

        def way(index: int, begin: int = begin, far: float = far) -> Pose | None:
            return Pose(240 + far, 190, FACE) if index >= begin else None

        actors = [Actor(cast.head(number), _still(Pose(240, 180, FACE))), Actor(cast.head(number + 3), way)]
        with cast.build() as tracker:
            for index, each in enumerate(
                watch(tracker, play(actors, cast.photograph(number), frames=frames, size=SIZE), rate=rate)
            ):
                if each.ids[1] is not None:
                    delays.append((index - begin) / rate)
                    break
            else:
                delays.append(math.inf)
    return {"runs": 12, "seconds_median": _rounded(np.median(delays)), "seconds_most": _rounded(max(delays))}


def elsewhere(cast: Cast) -> Row:
    """With keep=10, a face leaves and another appears ten widths away."""
    taken = 0
    for number in range(6):

        def leaving(index: int) -> Pose | None:
            return Pose(60, 180, 50) if index < 20 else None

        def coming(index: int, number: int = number) -> Pose | None:
            return Pose(575, 180 + 5 * number, 50) if index >= 60 + 30 * number else None

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
    random = np.random.default_rng(0)
    for kind in kept:
        for number in range(4):
            actors = [Actor(cast.head(number), lambda i: Pose(250 + i, 180, FACE))]
            with cast.build() as tracker:
                ids: list[list[int]] = []
                for index, shown in enumerate(play(actors, cast.photograph(number), frames=60, size=SIZE)):
                    image = shown.image
                    if index == 30 and kind == "noise":
                        image = random.integers(0, 256, image.shape, np.uint8)
                    elif index == 30 and kind == "black":
                        image = np.zeros_like(image)
                    elif index == 30 and kind == "scene":
                        image = np.asarray(cv2.resize(cast.photograph(number + 7), SIZE), np.uint8)
                    elif index >= 30 and kind == "size":
                        smaller = (SIZE[0] * (1 + number) // 2, SIZE[1] * (1 + number) // 2)
                        image = np.asarray(cv2.resize(image, smaller), np.uint8)
                    faces = tracker.update(Frame(image, index / RATE, index))
                    ids.append([face.id for face in faces])
            kept[kind] += ids[-1] == ids[29] and len(ids[-1]) == 1
    return {"runs": 4, **kept}


def scene_change(cast: Cast) -> Row:
    """A real change of scene, with another face at the same place, gives a new identity."""
    new = 0
    for number in range(8):
        pose = _still(Pose(320, 180, FACE))
        with cast.build() as tracker:
            ids: list[set[int]] = []
            for half in range(2):
                actors = [Actor(cast.head(number + 6 * half), pose)]
                for shown in play(actors, cast.photograph(number + 5 * half), frames=30, size=SIZE):
                    faces = tracker.update(Frame(shown.image, len(ids) / RATE, len(ids)))
                    ids.append({face.id for face in faces})
        new += bool(ids[29]) and bool(ids[-1]) and not ids[29] & ids[-1]
    return {"runs": 8, "new_identity": new}


# --- landmarks


def moving(cast: Cast, speed: float) -> Row:
    """A face rests, then moves by ``speed`` widths a frame, to and fro; errors are those that the motion adds.

    They are distances to the landmarks found at rest, moved as the face has.
    """
    errors: list[float] = []
    seen_ids: set[tuple[int, int]] = set()
    for number in range(6):

        def way(index: int) -> Pose:
            span = 440.0
            at = max(index - 8, 0) * speed * FACE % (2 * span)
            return Pose(100 + min(at, 2 * span - at), 180 + 30 * math.sin(index / 9), FACE)

        offset = None
        with cast.build() as tracker:
            scene = list(play([Actor(cast.head(number), way)], cast.photograph(number), frames=100, size=SIZE))
            for index, (shown, seen) in enumerate(zip(scene, watch(tracker, scene), strict=True)):
                seen_ids.update((number, face.id) for face in seen.faces)
                truth = shown.points[0]
                assert truth is not None
                found = next((np.asarray(face.landmarks) for face in seen.faces if face.id == seen.ids[0]), None)
                if index == 8 and found is not None:
                    offset = found - truth
                if index > 8:
                    off = math.inf
                    if found is not None and offset is not None:
                        off = float(np.hypot(*(found - truth - offset).T).mean())
                    errors.append(100 * off / _between_eyes(truth))
    values = np.array(errors)
    missed = float(np.isinf(values).mean())
    p90 = float(np.sort(values)[int(0.9 * len(values))])
    return {"runs": 6, "error_p90": _rounded(p90), "missed": round(missed, 3), "identities": len(seen_ids)}


def turned(cast: Cast, degrees: float) -> Row:
    """A face is turned in plane."""
    right = 0
    for number in range(24):
        angle = math.radians(degrees) * (-1) ** number
        actors = [Actor(cast.head(number), _still(Pose(320, 180, FACE, angle)))]
        right += _is_right(cast, actors, number, frames=15)
    return {"runs": 24, "right": right}


def _is_right(cast: Cast, actors: Sequence[Actor], number: int, *, frames: int, limit: float = 0.1) -> bool:
    with cast.build() as tracker:
        scene = play(actors, cast.photograph(number), frames=frames, size=SIZE)
        errors = [each.errors for each in watch(tracker, scene)][-1]
    return all(error <= limit for error in errors)


def close_up(cast: Cast, share: float) -> Row:
    """A face, with its forehead, has ``share`` times the height of the image."""
    right = 0
    height = SIZE[1]
    for number in range(13):
        head = cast.head(number)
        x, y, side = head.box
        size = share * height / FOREHEAD
        scale = size / side
        matrix = np.array([[scale, 0, SIZE[0] / 2 - scale * x], [0, scale, height / 2 + 0.14 * size - scale * y]])
        image = cv2.warpAffine(head.image, matrix, SIZE, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        points = (head.points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
        inside = ((points >= 0) & (points < SIZE)).all(axis=1)
        with cast.build() as tracker:
            for index in range(10):
                faces = tracker.update(Frame(np.asarray(image, np.uint8), index / RATE, index))
        errors = [np.hypot(*(np.asarray(face.landmarks) - points)[inside].T).mean() for face in faces]
        right += bool(errors) and bool(min(errors) <= 0.05 * _between_eyes(points))
    return {"runs": 13, "right": right}


def far(cast: Cast, size: tuple[int, int], pixels: float) -> Row:
    """A face of few pixels, with its forehead, in a large image, with the default settings."""
    right = 0
    for number in range(13):
        x = size[0] * (0.15 + 0.7 * ((number * 5) % 13) / 12)
        actors = [Actor(cast.head(number), _still(Pose(x, size[1] * 0.45, pixels / FOREHEAD)))]
        scene = next(play(actors, cast.photograph(number), frames=1, size=size, pan=0))
        with cast.build() as tracker:
            seen = list(watch(tracker, [scene] * 45))
        right += seen[-1].errors[0] <= 0.1
    return {"runs": 13, "right": int(right)}


def within(cast: Cast) -> Row:
    """A small face lies within the bounding box of a large one."""
    found = 0
    for number in range(29):
        large, small = 190.0, 36.0
        corner = (-1) ** number
        actors = [
            Actor(cast.head(number), _still(Pose(320, 190, large))),
            Actor(cast.head(number + 9), _still(Pose(320 + corner * 0.46 * large, 190 - 0.5 * large, small))),
        ]
        with cast.build() as tracker:
            seen = list(watch(tracker, play(actors, cast.photograph(number), frames=60, size=SIZE)))
        found += all(error <= 0.15 for error in seen[-1].errors)
    return {"runs": 29, "both": found}


def repeated(cast: Cast) -> Row:
    """The same image comes again and again: landmarks settle."""
    moves = []
    for number in range(8):
        actors = [Actor(cast.head(number), _still(Pose(320, 180, FACE)))]
        shown = next(play(actors, cast.photograph(number), frames=1, size=SIZE, pan=0))
        with cast.build() as tracker:
            found = [tracker.update(Frame(shown.image, index / RATE, index)) for index in range(120)]
        truth = shown.points[0]
        assert truth is not None
        ways = [
            float(np.hypot(*(np.asarray(b[0].landmarks) - np.asarray(a[0].landmarks)).T).max()) / _between_eyes(truth)
            if a and b
            else math.nan
            for a, b in pairwise(found[60:])
        ]
        moves += ways
    return {"runs": 8, "largest_move": _rounded(100 * float(np.nanmax(moves))), "missed": int(np.isnan(moves).sum())}


def steadiness(cast: Cast) -> Row:
    """Four faces with sensor noise, at rest and swinging: jitter at rest, and lag."""
    rests: list[float] = []
    lags: list[float] = []
    time = np.arange(120) / RATE
    for number in range(4):
        random = np.random.default_rng(number)
        head, photograph = cast.head(number), cast.photograph(number)
        for swing in (0.0, 40.0):
            way = swing * np.sin(np.pi * time)
            tracks = []
            with cast.build() as tracker:
                for index, shift in enumerate(way):
                    actors = [Actor(head, _still(Pose(320 + float(shift), 180, FACE)))]
                    shown = next(play(actors, photograph, frames=1, size=SIZE, pan=0))
                    noisy = np.clip(shown.image + random.normal(0, 4, shown.image.shape), 0, 255).astype(np.uint8)
                    faces = tracker.update(Frame(noisy, float(time[index]), index))
                    tracks.append(np.asarray(faces[0].landmarks) if faces else np.full((68, 2), np.nan))
            points = np.array(tracks)[30:]
            eyes = _between_eyes(np.asarray(points[0], np.float32))
            if not swing:
                rests.append(100 * float(np.hypot(*np.diff(points, axis=0).transpose(2, 0, 1)).mean()) / eyes)
                continue
            phase = np.pi * time[30:]
            basis = np.stack([np.sin(phase), np.cos(phase), np.ones_like(phase)], axis=1)
            a, b, _ = np.linalg.lstsq(basis, points[:, :, 0].mean(axis=1), rcond=None)[0]
            lags.append(-math.atan2(b, a) / math.pi * RATE)
    return {"rest": [round(value, 3) for value in rests], "lag_frames": [round(value, 3) for value in lags]}


def _rounded(value: float) -> float | None:
    """Round for a report; None for what never happened."""
    return round(float(value), 3) if math.isfinite(value) else None


SCENARIOS: dict[str, Callable[[Cast], Row]] = {
    "crossing": crossing,
    "hidden, 30 FPS": partial(hidden, rate=30.0),
    "hidden, 15 FPS": partial(hidden, rate=15.0),
    **{f"moving {speed} widths a frame": partial(moving, speed=speed) for speed in (0.2, 0.3, 0.4)},
    "newcomer, 30 FPS": partial(newcomer, rate=30.0),
    "newcomer, 5 FPS": partial(newcomer, rate=5.0),
    **{f"turned by {angle} degrees": partial(turned, degrees=angle) for angle in (0, 60, 90, 120, 180)},
    **{f"close-up, {share} of the height": partial(close_up, share=share) for share in (0.8, 1.0, 1.2, 1.4, 1.6)},
    "60 px in 1080p": partial(far, size=(1920, 1080), pixels=60.0),
    "100 px in 4K": partial(far, size=(3840, 2160), pixels=100.0),
    "small face within the box of a large one": within,
    "the same image repeated": repeated,
    "keep=10, newcomer far away": elsewhere,
    "one disturbed frame": disturbed,
    "change of scene": scene_change,
    "steadiness": steadiness,
}


def run(cast: Cast, names: Sequence[str] = ()) -> dict[str, Row]:
    """Run scenarios, all by default, and return their figures by name."""
    return {name: SCENARIOS[name](cast) for name in names or SCENARIOS}
