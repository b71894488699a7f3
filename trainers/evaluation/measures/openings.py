"""Accuracy of the openings of eyes and mouth and of blinks, under blur, distance and yaw."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ....realtime.faces.face import Face
from ....realtime.faces.frame import Frame
from ....realtime.faces.measured import Pose
from ....realtime.measures.blinks import Blink, BlinkDetector
from ....realtime.measures.head import generic_head
from ....realtime.measures.openings import EYES, MOUTH, Openings
from ....realtime.sources import open_source
from ....realtime.tracking.smoothing import Smoother
from ....realtime.tracking.tracker import Tracker
from ....realtime.values.arrays import FloatArray, Image
from ....realtime.values.geometry import box_of
from ....realtime.values.landmarks import Landmarks
from ....realtime.values.published_schemes import IBUG_68
from ...data import LandmarkSet, read_image
from ...metrics import YAW_BANDS, inter_ocular
from ..scenarios.cast import RATE
from ..tracking import Watch, watched

Row = dict[str, Any]
Degrade = Callable[[Image, float], Image]
"""Function that makes an image worse, given the distance between the outer eye corners in pixels."""

BLURS = (0.02, 0.05, 0.1)  # standard deviation of the blur, in distances between the outer eye corners
DISTANCES = (60, 30, 15)  # pixels between the outer eye corners
CLIPS = ("talking-face.mp4", "portrait.mp4")
SECONDS = 100.0  # of a clip, at most
YAWS = (0, 20, 40, 60)  # degrees of yaw of the synthetic head
NOISE = 0.012  # standard deviation of its landmarks, in distances between the outer eye corners


def blurred(image: Image, eyes: float, share: float) -> Image:
    """Return the image with Gaussian blur of ``share`` of the distance between the eye corners."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), share * eyes), np.uint8)


def far(image: Image, eyes: float, pixels: float) -> Image:
    """Return the image reduced so that the eye corners are ``pixels`` apart; one that is smaller stays as it is."""
    scale = min(pixels / eyes, 1.0)
    size = max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


CONDITIONS: dict[str, Degrade] = {
    "as it is": lambda image, eyes: image,
    **{f"blur {100 * share:.0f} %": partial(blurred, share=share) for share in BLURS},
    **{f"{pixels} px": partial(far, pixels=float(pixels)) for pixels in DISTANCES},
}


def openings_of_images(tracker: Tracker, data: LandmarkSet, turned: LandmarkSet, watch: Watch) -> dict[str, Row]:
    """Return errors of the openings in each condition, and in each band of yaw.

    Args:
        tracker: tracker without smoothing.
        data: labelled faces for the conditions.
        turned: labelled faces with their yaw; eyes and mouths with a hidden landmark are left out.
        watch: receives the progress.
    """
    rows = {name: _errors(tracker, data, degrade, name, watch) for name, degrade in CONDITIONS.items()}
    for low, high in YAW_BANDS:
        band = turned.pick(np.flatnonzero((np.abs(turned.yaw) >= low) & (np.abs(turned.yaw) < high)))
        name = f"yaw {low:.0f} to {high:.0f}" if high < 180 else f"yaw from {low:.0f}"
        rows[name] = _errors(tracker, band, CONDITIONS["as it is"], name, watch)
    return rows


def _errors(tracker: Tracker, data: LandmarkSet, degrade: Degrade, name: str, watch: Watch) -> Row:
    """Return the mean of the labelled openings, and the mean error of those found and their mean difference."""
    measured: dict[str, list[tuple[float, float]]] = {"eyes": [], "mouth": []}
    found = 0
    for file, points in watched(zip(data.files, data.points, strict=True), name, len(data), watch):
        known = ~np.isnan(points[:, 0])
        # in profile one eye corner is hidden; the eyes are about 0.4 of the face's height apart
        eyes = float(inter_ocular(points[None])[0])
        eyes = eyes if math.isfinite(eyes) else 0.4 * float(np.ptp(points[known, 1]))
        image = read_image(file)
        worse = degrade(image, max(eyes, 1.0))
        face = _face_at(tracker, worse, points[known] * (worse.shape[1] / image.shape[1]))
        if face is None:
            continue
        found += 1
        for part, kind in (*((eye, "eyes") for eye in EYES), *((mouth, "mouth") for mouth in MOUTH)):
            opening = IBUG_68.openings[part]
            if known[[*opening.corners, *(i for pair in opening.pairs for i in pair)]].all():
                one = Openings(IBUG_68, (part,))
                measured[kind].append((one(points)[0], one(face.landmarks)[0]))
    row: Row = {"faces": len(data), "found": found}
    for kind, pairs in measured.items():
        truth, seen = np.array(pairs).reshape(-1, 2).T
        row[kind] = {
            "measured": len(truth),
            "label": _rounded(truth.mean()) if len(truth) else None,
            "error": _rounded(np.abs(seen - truth).mean()) if len(truth) else None,
            "bias": _rounded((seen - truth).mean()) if len(truth) else None,
        }
    return row


def _face_at(tracker: Tracker, image: Image, points: FloatArray) -> Face | None:
    """Return the face around some points, found in a single image."""
    tracker.reset()
    centre = points.mean(axis=0)
    faces = [
        face
        for face in tracker.update(Frame(image, 0.0, 0))
        if face.box[0] <= centre[0] <= face.box[2] and face.box[1] <= centre[1] <= face.box[3]
    ]
    return faces[0] if faces else None


def blinks_of_clips(build: Callable[..., Tracker], folder: Path, watch: Watch) -> dict[str, Row]:
    """Return how many of the blinks that are found in clips as they are remain in each condition.

    There are no labelled blinks: those of the undisturbed clips are the reference. Clips that are missing are left out.
    """
    rows: dict[str, Row] = {}
    clips = [folder / name for name in CLIPS if (folder / name).is_file()]
    reference: dict[Path, list[Blink]] = {}
    for number, (name, degrade) in enumerate(CONDITIONS.items()):
        watch("blinks", number, len(CONDITIONS))
        total = same = extra = 0
        for clip in clips:
            found = _blinks_of_clip(build, clip, degrade)
            known = reference.setdefault(clip, found)
            kept = sum(any(_overlap(blink, other) for other in found) for blink in known)
            total, same = total + len(known), same + kept
            extra += sum(not any(_overlap(blink, other) for other in known) for blink in found)
        if total:
            rows[name] = {"blinks": total, "found": same, "extra": extra}
    return rows


def _blinks_of_clip(build: Callable[..., Tracker], clip: Path, degrade: Degrade) -> list[Blink]:
    detector, found, eyes = BlinkDetector(), [], 0.0
    with build(measures=("eyes",), max_faces=1) as tracker, open_source(clip, end=SECONDS) as source:
        for frame in source:
            if not eyes:  # measured once, on the undisturbed image
                faces = tracker.update(frame)
                eyes = float(inter_ocular(np.asarray(faces[0].landmarks)[None])[0]) if faces else 0.0
                tracker.reset()
            image = degrade(frame.image, eyes) if eyes else frame.image
            found += detector.update(frame.time, tracker.update(replace(frame, image=image)))
    return found


def _overlap(one: Blink, other: Blink) -> bool:
    return one.start < other.end and other.start < one.end


def blinks_of_heads(seed: int = 0, count: int = 40) -> dict[str, Row]:
    """Return how many blinks of a synthetic head are found at each yaw.

    Its lids close to 40 % within 0.1 s and open within 0.15 s, every two seconds at 30 frames a second. Its landmarks
    have noise and are smoothed as those of a tracker; images are not involved.
    """
    rows = {}
    for yaw in YAWS:
        rng, detector, smoother = np.random.default_rng(seed), BlinkDetector(), Smoother("light")
        found: list[Blink] = []
        truth = [2.0 * number + 1.5 for number in range(count)]
        for index in range(int(RATE * 2 * count)):
            moment = index / RATE
            points = _head_at(yaw, _share(moment, truth)) + rng.normal(0, 100 * NOISE, (IBUG_68.count, 2))
            landmarks = Landmarks(points, IBUG_68)
            face = Face(1, box_of(np.asarray(landmarks)), 1.0, landmarks, np.ones(IBUG_68.count, np.float32))
            found += detector.update(moment, smoother.smooth([face], time=moment))
        hits = sum(any(blink.start - 0.1 <= each + 0.1 <= blink.end + 0.1 for blink in found) for each in truth)
        extra = sum(not any(blink.start - 0.1 <= each + 0.1 <= blink.end + 0.1 for each in truth) for blink in found)
        rows[f"synthetic head at yaw {yaw}"] = {"blinks": count, "found": hits, "extra": extra}
    return rows


def _share(moment: float, begins: Sequence[float]) -> float:
    """Return how far the lids are closed at a time, 0..1."""
    for begin in begins:
        if begin <= moment < begin + 0.25:
            return (moment - begin) / 0.1 if moment < begin + 0.1 else 1 - (moment - begin - 0.1) / 0.15
    return 0.0


def _head_at(yaw: float, closed: float) -> NDArray[np.float64]:
    """Return the landmarks (68, 2) of the generic head, with 100 pixels between the outer eye corners."""
    points = generic_head().points.copy()
    for upper, lower in _lids():
        points[upper] += 0.6 * closed * (points[lower] - points[upper])
    a, b = IBUG_68.outer_corners
    scale = 100 / float(np.linalg.norm(points[a] - points[b]))
    turned: NDArray[np.float64] = (points @ Pose(yaw, 0, 0, (0, 0, 0)).rotation.T)[:, :2] * scale + 200
    return turned


def _lids() -> Iterator[tuple[int, int]]:
    for part in EYES:
        yield from IBUG_68.openings[part].pairs


def _rounded(value: Any) -> float:
    return round(float(value), 4)
