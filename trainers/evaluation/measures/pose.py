"""Accuracy of the head pose: yaw on labelled faces, rotations of known size, steadiness, and cost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ....realtime.faces.face import Face
from ....realtime.faces.frame import Frame
from ....realtime.faces.measured import Pose
from ....realtime.measures.head import generic_head
from ....realtime.measures.measurer import Measurer
from ....realtime.measures.pose import PoseEstimator
from ....realtime.tracking.smoothing import SETTINGS, PoseOneEuro
from ....realtime.tracking.tracker import Tracker
from ....realtime.values.arrays import FloatArray, Image
from ....realtime.values.published_schemes import IBUG_68
from ...data import LandmarkSet, read_image
from ...metrics import YAW_BANDS
from ..scenarios.cast import FACE, RATE, SIZE, Cast, still
from ..scenarios.scenes import Actor, Placement, play
from ..tracking import Watch, locate, watched

Row = dict[str, Any]
BANDS = {
    "below_45": (0.0, 45.0),
    "from_45": (45.0, 181.0),
    **{f"yaw_{low:.0f}": (low, high) for low, high in YAW_BANDS},
}
"""Bands of yaw in degrees: the two of the target, and those of AFLW's results."""


def yaw_by_band(tracker: Tracker, data: LandmarkSet, training: LandmarkSet, watch: Watch) -> dict[str, Row]:
    """Return the mean errors of yaw in degrees in each band of the labelled yaw.

    ``error`` is that of the faces found, through the tracker. Beside it: ``error_solvepnp``, of ``cv2.solvePnP`` with
    the same landmarks, head and camera; ``error_labels``, of the pose from the labelled landmarks, which is the error
    of labels and generic head together; ``error_constant``, of the median yaw of the training part as a guess.
    """
    estimator = PoseEstimator(IBUG_68)
    located = locate(tracker, data, watch=watch)
    guess = float(np.median(training.yaw))
    errors: dict[str, list[float]] = {name: [] for name in ("error", "error_solvepnp", "error_labels")}
    for i, file in enumerate(watched(data.files, "yaw", len(data), watch)):
        size = _size(read_image(file))
        labelled = ~np.isnan(data.points[i, :, 0])
        found = bool(located.found[i])
        landmarks, sure = located.points[i], located.confidence[i]
        poses = {
            "error": estimator(landmarks, sure, size) if found else None,
            "error_solvepnp": _solve_pnp(landmarks, size) if found else None,
            "error_labels": estimator(np.nan_to_num(data.points[i]), labelled.astype(np.float32), size),
        }
        for name, pose in poses.items():
            errors[name].append(math.nan if pose is None else _turn(pose.yaw - float(data.yaw[i])))
    away = {name: np.abs(values) for name, values in errors.items()}
    away["error_constant"] = np.abs(data.yaw - guess)
    return {
        name: {
            "faces": int((band := (np.abs(data.yaw) >= low) & (np.abs(data.yaw) < high)).sum()),
            "found": int(located.found[band].sum()),
            **{kind: _mean(values[band]) for kind, values in away.items()},
        }
        for name, (low, high) in BANDS.items()
    }


def _solve_pnp(landmarks: FloatArray, size: tuple[int, int]) -> Pose | None:
    """Return the pose by OpenCV's iterative PnP, which weights all landmarks alike."""
    width, height = size
    focal = float(max(size))
    camera = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    ok, rotation_vector, _ = cv2.solvePnP(generic_head().points, landmarks.astype(np.float64), camera, None)
    if not ok:
        return None
    rotation = cv2.Rodrigues(rotation_vector)[0]
    return Pose(math.degrees(math.atan2(rotation[0, 2], rotation[2, 2])), 0.0, 0.0, (0.0, 0.0, 0.0))


def rotated_images(tracker: Tracker, data: LandmarkSet, watch: Watch) -> dict[str, Row]:
    """Return how the pose follows a rotation of the image, in degrees.

    ``roll`` is the mean error of its change. ``yaw`` and ``pitch`` are mean changes: they are the direction in which
    the face looks, which turns with the image unless it is straight ahead.
    """
    rows: dict[str, list[list[float]]] = {}
    for file in watched(data.files, "rotated images", len(data), watch):
        image = read_image(file)
        upright = _only_pose(tracker, image)
        for angle in (-30, -15, 15, 30):
            turned = _only_pose(tracker, _rotated(image, angle))
            if upright is not None and turned is not None:
                changes = [turned.yaw - upright.yaw, turned.pitch - upright.pitch, turned.roll - upright.roll - angle]
                rows.setdefault(f"image rotated by {abs(angle)} degrees", []).append([abs(_turn(x)) for x in changes])
    return {name: _angles(errors) for name, errors in rows.items()}


def rotated_heads(seed: int = 0, count: int = 400) -> dict[str, Row]:
    """Return the mean errors in degrees for synthetic heads, by pitch.

    Each head differs from the generic one by its spread, independently for each landmark, and is seen from 0.4 to 1.5 m
    by the camera of a 640 x 360 video; yaw and roll are up to 30 degrees.
    """
    rng, head = np.random.default_rng(seed), generic_head()
    estimator, sure = PoseEstimator(IBUG_68), np.ones(IBUG_68.count, np.float32)
    rows: dict[str, Row] = {}
    for pitch in (-30, -15, 0, 15, 30):
        errors = []
        for _ in range(count):
            yaw, roll = rng.uniform(-30, 30, 2).tolist()
            truth = Pose(yaw, pitch, roll, (0.0, 0.0, rng.uniform(400, 1500)))
            shape = head.points + rng.normal(0, 1, (IBUG_68.count, 3)) * head.spread[:, None]
            x, y, z = truth.rotation @ shape.T + np.array(truth.translation)[:, None]
            points = np.stack([x / z * 640 + 319.5, y / z * 640 + 179.5], axis=1)
            found = estimator(points, sure, (640, 360))
            assert found is not None
            errors.append(
                [abs(_turn(found.yaw - truth.yaw)), abs(found.pitch - pitch), abs(_turn(found.roll - truth.roll))]
            )
        rows[f"synthetic heads at pitch {pitch}"] = _angles(errors)
    return rows


def steadiness(cast: Cast, watch: Watch, *, faces: int = 4, frames: int = 120) -> dict[str, Row]:
    """Compare ways to smooth the pose: jitter of a face at rest, and error and lag of one that swings in roll.

    The faces have sensor noise. ``jitter`` is the mean change of yaw, pitch and roll from frame to frame in degrees,
    ``error`` the mean error of the roll of a face that swings by 15 degrees once in two seconds, after the lag.
    """
    ways: dict[str, list[tuple[float, float, float]]] = {}
    times = np.arange(frames) / RATE
    swing = 15 * np.sin(np.pi * times)
    for number in watched(range(faces), "steadiness of the pose", faces, watch):
        rest = _poses_of(cast, number, np.zeros_like(times), times)
        moving = _poses_of(cast, number, swing, times)
        for name in rest:
            jitter = float(np.nanmean(np.abs(np.diff(rest[name][30:], axis=0))))
            lag, error = _lag(moving[name][30:, 2], times[30:])
            ways.setdefault(name, []).append((jitter, lag, error))
    return {
        name: {"jitter": _rounded(jitter, 3), "lag_frames": _rounded(lag, 3), "error": _rounded(error, 3)}
        for name, (jitter, lag, error) in ((name, np.mean(rows, axis=0)) for name, rows in ways.items())
    }


def _poses_of(
    cast: Cast, number: int, swing: NDArray[np.float64], times: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Return yaw, pitch and roll (frames, 3) of a face that swings, by each way to smooth them."""
    estimator = PoseEstimator(IBUG_68)
    found: dict[str, list[list[float]]] = {
        "not smoothed": [],
        "from smoothed landmarks": [],
        "pose smoothed itself": [],
    }
    for smooth in ("none", "light"):
        random = np.random.default_rng(number)
        with cast.build(smooth=smooth, measures=("pose",)) as tracker:
            for index, angle in enumerate(swing):
                place = still(Placement(320, 180, FACE, math.radians(float(angle))))
                shown = next(
                    play([Actor(cast.head(number), place)], cast.photograph(number), frames=1, size=SIZE, pan=0)
                )
                noisy = np.clip(shown.image + random.normal(0, 4, shown.image.shape), 0, 255).astype(np.uint8)
                face = next(iter(tracker.update(Frame(noisy, float(times[index]), index))), None)
                own = None if face is None else face.pose
                if smooth == "none":
                    found["not smoothed"].append(_angles_of(own))
                    continue
                found["pose smoothed itself"].append(_angles_of(own))
                again = None if face is None else estimator(face.landmarks, face.confidence, SIZE)
                found["from smoothed landmarks"].append(_angles_of(again))
    return {name: np.array(poses) for name, poses in found.items()}


def _angles_of(pose: Pose | None) -> list[float]:
    return [math.nan] * 3 if pose is None else [pose.yaw, pose.pitch, pose.roll]


def _lag(roll: NDArray[np.float64], times: NDArray[np.float64]) -> tuple[float, float]:
    """Return the lag in frames behind a swing of half a period a second, and the mean error after it in degrees."""
    phase = np.pi * times
    basis = np.stack([np.sin(phase), np.cos(phase), np.ones_like(phase)], axis=1)
    fit = np.linalg.lstsq(basis, roll, rcond=None)[0]
    return -math.atan2(fit[1], fit[0]) / math.pi * RATE, float(np.abs(roll - basis @ fit).mean())


def cost(tracker: Tracker, data: LandmarkSet) -> dict[str, Row]:
    """Return the CPU time of all measures in milliseconds a face, and its ratios to other times.

    For faces that look ahead and turned ones, with the smoothing of their poses. ``of_solvepnp`` is the ratio to the
    time of ``cv2.solvePnP`` with the same landmarks, ``of_tracking`` that to an update of the tracker without measures.
    """
    measurer = Measurer(("pose", "eyes", "mouth"), IBUG_68)
    rows: dict[str, Row] = {}
    for name, low, high in (("looking ahead", 0, 10), ("turned", 25, 60)):
        chosen = np.flatnonzero((np.abs(data.yaw) >= low) & (np.abs(data.yaw) < high))[:40]
        images = [read_image(data.files[i]) for i in chosen]
        seen: list[tuple[Face, tuple[int, int]]] = []
        for image in images:
            tracker.reset()
            seen += [(face, _size(image)) for face in tracker.update(Frame(image, 0.0, 0))[:1]]
        ours = _cpu_ms([_measuring(measurer, face, size) for face, size in seen])
        theirs = _cpu_ms([partial(_solve_pnp, np.asarray(face.landmarks), size) for face, size in seen])
        tracking = _update_ms(tracker, images[0])
        rows[name] = {
            "ms": round(ours, 4),
            "of_solvepnp": round(ours / theirs, 3),
            "of_tracking": round(ours / tracking, 4),
        }
    return rows


def _measuring(measurer: Measurer, face: Face, size: tuple[int, int]) -> Callable[[], list[Face]]:
    """Return a function that measures a face in the next frame, with the smoothing of its pose."""
    smooth, frames = PoseOneEuro(SETTINGS["light"]), count()

    def measure() -> list[Face]:
        pose = measurer.pose(face.landmarks, face.confidence, size)
        if pose is not None:
            smooth(pose, time=next(frames) / RATE)
        return measurer.add_openings([face])

    return measure


def _cpu_ms(calls: Sequence[Callable[[], object]], repeat: int = 200) -> float:
    """Return the CPU time of a call in milliseconds: the least mean of some rounds over all calls."""
    rounds = []
    for _ in range(repeat):
        begin = time.process_time()
        for call in calls:
            call()
        rounds.append((time.process_time() - begin) / len(calls))
    return 1000 * min(rounds)


def _update_ms(tracker: Tracker, image: Image) -> float:
    tracker.reset()
    frames = [Frame(image, index / RATE, index) for index in range(60)]
    for frame in frames[:10]:
        tracker.update(frame)
    begin = time.process_time()
    for frame in frames[10:]:
        tracker.update(frame)
    return 1000 * (time.process_time() - begin) / 50


def _only_pose(tracker: Tracker, image: Image) -> Pose | None:
    """Return the pose of the largest face of an image."""
    tracker.reset()
    faces = tracker.update(Frame(image, 0.0, 0))
    return max(faces, key=lambda face: float(face.box[2] - face.box[0])).pose if faces else None


def _rotated(image: Image, degrees: float) -> Image:
    """Return the image rotated clockwise about its middle."""
    width, height = _size(image)
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -degrees, 1.0)
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _size(image: Image) -> tuple[int, int]:
    return image.shape[1], image.shape[0]


def _turn(degrees: float) -> float:
    """Return an angle in -180..180."""
    return (degrees + 180) % 360 - 180


def _angles(errors: Sequence[Sequence[float]]) -> Row:
    yaw, pitch, roll = np.mean(errors, axis=0).tolist()
    return {"runs": len(errors), "yaw": _rounded(yaw), "pitch": _rounded(pitch), "roll": _rounded(roll)}


def _mean(values: FloatArray | NDArray[np.float64]) -> float | None:
    """Return the mean of the values that are known; None if there are none."""
    known = values[~np.isnan(values)]
    return _rounded(known.mean()) if len(known) else None


def _rounded(value: Any, digits: int = 2) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None
