"""Scenarios in which faces must be found and their landmarks be right: motion, rotation, size, rest."""

from __future__ import annotations

import math
from itertools import pairwise

import cv2
import numpy as np

from ....realtime.faces.frame import Frame
from ....realtime.tracking.aligner import Aligner
from ....realtime.values.geometry import region_of_points, roll
from ....realtime.values.published_schemes import IBUG_68
from .cast import (
    FACE,
    FOREHEAD,
    RATE,
    SIZE,
    Cast,
    Row,
    eye_distance,
    rounded,
    still,
    watch,
)
from .scenes import Actor, Placement, play


def moving(cast: Cast, speed: float) -> Row:
    """A face rests, then moves back and forth by ``speed`` widths a frame; errors are those that the motion adds.

    They are distances to the landmarks found at rest, moved with the face.
    """
    errors: list[float] = []
    seen_ids: set[tuple[int, int]] = set()
    for number in range(6):

        def way(index: int) -> Placement:
            span = 440.0
            at = max(index - 8, 0) * speed * FACE % (2 * span)
            return Placement(100 + min(at, 2 * span - at), 180 + 30 * math.sin(index / 9), FACE)

        offset = None
        with cast.build() as tracker:
            scene = list(play([Actor(cast.head(number), way)], cast.photograph(number), frames=100, size=SIZE))
            for index, (shown, seen) in enumerate(zip(scene, watch(tracker, scene), strict=True)):
                seen_ids.update((number, each) for each in seen.ids if each is not None)
                truth = shown.points[0]
                assert truth is not None
                found = next((np.asarray(face.landmarks) for face in seen.faces if face.id == seen.ids[0]), None)
                if index == 8 and found is not None:
                    offset = found - truth
                if index > 8:
                    off = math.inf
                    if found is not None and offset is not None:
                        off = float(np.hypot(*(found - truth - offset).T).mean())
                    errors.append(100 * off / eye_distance(truth))
    values = np.array(errors)
    missed = float(np.isinf(values).mean())
    p90 = float(np.sort(values)[int(0.9 * len(values))])
    return {"runs": 6, "error_p90": rounded(p90), "missed": round(missed, 3), "identities": len(seen_ids)}


def rotated(cast: Cast, degrees: float) -> Row:
    """A face is rotated in the image plane."""
    right = 0
    for number in range(24):
        angle = math.radians(degrees) * (-1) ** number
        actors = [Actor(cast.head(number), still(Placement(320, 180, FACE, angle)))]
        with cast.build() as tracker:
            seen = list(watch(tracker, play(actors, cast.photograph(number), frames=15, size=SIZE)))
        right += seen[-1].errors[0] <= 0.1
    return {"runs": 24, "right": right}


def close_up(cast: Cast, share: float) -> Row:
    """A face, with its forehead, has ``share`` times the height of the image.

    ``right`` and ``within_3_percent`` count the faces with a mean error of at most 5 % and 3 %.
    ``network_within_3_percent`` counts those that the network aligns within 3 % if it is given the true box: no tracker
    can do better with it.
    """
    errors, floor = [], []
    aligner, margin = Aligner(cast.network), cast.network.spec.crop_margin
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
        true_box = region_of_points(points, margin=margin, angle=roll(points, IBUG_68))
        given = aligner.align(np.asarray(image, np.uint8), [true_box]).points[0]
        found = [np.asarray(face.landmarks) for face in faces]
        tracked, aligned = (
            [float(np.hypot(*(each - points)[inside].T).mean()) / eye_distance(points) for each in some]
            for some in (found, [given])
        )
        errors.append(min(tracked, default=math.inf))
        floor += aligned
    return {
        "runs": 13,
        "right": sum(error <= 0.05 for error in errors),
        "within_3_percent": sum(error <= 0.03 for error in errors),
        "network_within_3_percent": sum(error <= 0.03 for error in floor),
    }


def far(cast: Cast, size: tuple[int, int], pixels: float) -> Row:
    """A face of few pixels, with its forehead, in a large image, with the default settings."""
    right = 0
    for number in range(13):
        x = size[0] * (0.15 + 0.7 * ((number * 5) % 13) / 12)
        actors = [Actor(cast.head(number), still(Placement(x, size[1] * 0.45, pixels / FOREHEAD)))]
        scene = next(play(actors, cast.photograph(number), frames=1, size=size, pan=0))
        with cast.build() as tracker:
            seen = list(watch(tracker, [scene] * 45))
        right += seen[-1].errors[0] <= 0.1
    return {"runs": 13, "right": int(right)}


def repeated(cast: Cast) -> Row:
    """The same image repeats, and the landmarks settle."""
    moves = []
    for number in range(8):
        actors = [Actor(cast.head(number), still(Placement(320, 180, FACE)))]
        shown = next(play(actors, cast.photograph(number), frames=1, size=SIZE, pan=0))
        with cast.build() as tracker:
            found = [tracker.update(Frame(shown.image, index / RATE, index)) for index in range(120)]
        truth = shown.points[0]
        assert truth is not None
        ways = [
            float(np.hypot(*(np.asarray(b[0].landmarks) - np.asarray(a[0].landmarks)).T).max()) / eye_distance(truth)
            if a and b
            else math.nan
            for a, b in pairwise(found[60:])
        ]
        moves += ways
    return {"runs": 8, "largest_move": rounded(100 * float(np.nanmax(moves))), "missed": int(np.isnan(moves).sum())}


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
                    actors = [Actor(head, still(Placement(320 + float(shift), 180, FACE)))]
                    shown = next(play(actors, photograph, frames=1, size=SIZE, pan=0))
                    noisy = np.clip(shown.image + random.normal(0, 4, shown.image.shape), 0, 255).astype(np.uint8)
                    faces = tracker.update(Frame(noisy, float(time[index]), index))
                    tracks.append(np.asarray(faces[0].landmarks) if faces else np.full((68, 2), np.nan))
            points = np.array(tracks)[30:]
            eyes = eye_distance(np.asarray(points[0], np.float32))
            if not swing:
                rests.append(100 * float(np.hypot(*np.diff(points, axis=0).transpose(2, 0, 1)).mean()) / eyes)
                continue
            phase = np.pi * time[30:]
            basis = np.stack([np.sin(phase), np.cos(phase), np.ones_like(phase)], axis=1)
            a, b, _ = np.linalg.lstsq(basis, points[:, :, 0].mean(axis=1), rcond=None)[0]
            lags.append(-math.atan2(b, a) / math.pi * RATE)
    return {
        "rest_mean": round(float(np.mean(rests)), 3),
        "rest_most": round(max(rests), 3),
        "lag_frames_mean": round(float(np.mean(lags)), 3),
        "lag_frames_most": round(max(lags), 3),
    }
