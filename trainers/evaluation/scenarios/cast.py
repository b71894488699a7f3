"""Material of the scenarios, and the comparison of a tracker with the truth of a scene."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ....engines.runtime import Runtime
from ....realtime.faces.face import Face
from ....realtime.faces.frame import Frame
from ....realtime.values.arrays import FloatArray, Image
from ....realtime.values.geometry import box_of
from ...data import LandmarkSet, read_image
from ...metrics import inter_ocular
from .scenes import Cutout, Placement, Shown, cut_out

SIZE = (640, 360)  # of a scene, in pixels
FACE = 84.0  # longer side of the landmarks' box, in pixels
RATE = 30.0  # frames a second
NEAR = 0.35  # mean distance of landmarks, in sides of the box, below which a tracked face is that of an actor
HEADS = 48  # faces of a cast
FOREHEAD = 1.285  # height of a face, with its forehead, over that of its landmarks
Row = dict[str, Any]


class FaceTracker(Protocol):
    """Tracker for the faces of one video, as far as the scenarios need it."""

    def update(self, frame: Frame) -> list[Face]:
        """Track the next frame and return its faces."""


Build = Callable[..., AbstractContextManager[FaceTracker]]
"""Function that returns a tracker with its default options, or with the options given."""


@dataclass(frozen=True, slots=True)
class Cast:
    """Material of the scenarios.

    Attributes:
        heads: faces, at least 12.
        photographs: backgrounds without faces.
        build: makes the tracker.
        network: landmark network of the tracker, to measure its error where the place of a face is known.
    """

    heads: Sequence[Cutout]
    photographs: Sequence[Image]
    build: Build
    network: Runtime

    def head(self, number: int) -> Cutout:
        """Return a head; numbers beyond the last begin again."""
        return self.heads[number % len(self.heads)]

    def photograph(self, number: int) -> Image:
        """Return a background; numbers beyond the last begin again."""
        return self.photographs[number % len(self.photographs)]


def cast_of(faces: LandmarkSet, backgrounds: Sequence[Path], build: Build, network: Runtime, *, count: int) -> Cast:
    """Choose ``count`` faces of a set, spread over it, in the order of their names."""
    chosen = np.linspace(0, len(faces) - 1, min(count, len(faces))).round().astype(int)
    heads = [cut_out(read_image(faces.files[i]), faces.points[i]) for i in chosen]
    return Cast(heads, [read_image(path) for path in backgrounds[:: max(len(backgrounds) // 16, 1)]], build, network)


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


def watch(tracker: FaceTracker, scene: Iterable[Shown], *, rate: float = RATE) -> Iterator[Seen]:
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
    return faces[nearest], distances[nearest] / eye_distance(points)


def eye_distance(points: FloatArray) -> float:
    """Return the distance in pixels between the outer corners of the eyes."""
    return float(inter_ocular(points[None])[0])


def still(place: Placement) -> Callable[[int], Placement]:
    """Return the path of a face at rest."""
    return lambda index: place


def identities_of(seen: Sequence[Seen]) -> list[int | None]:
    """Return the last identity of each actor in some frames."""
    return [
        next((each.ids[actor] for each in reversed(seen) if each.ids[actor] is not None), None)
        for actor in range(len(seen[0].ids))
    ]


def rounded(value: float) -> float | None:
    """Round for a report; None for what never happened."""
    return round(float(value), 3) if math.isfinite(value) else None
