"""Gain of looking ahead: the same videos of known truth in live mode and annotated offline."""

from __future__ import annotations

import importlib
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ....engines.errors import NasionError
from ....realtime.annotate.first_pass import Opened, chunks
from ....realtime.annotate.inputs import Input
from ....realtime.annotate.job import CHUNK, Job, header_of
from ....realtime.annotate.journal import Journal
from ....realtime.annotate.look_ahead.annotation import Annotation
from ....realtime.faces.face import Face
from ....realtime.faces.frame import Frame
from ....realtime.sources.base import SourceInfo
from ....realtime.tracking.tracker import Tracker
from ....realtime.values.arrays import FloatArray
from ....realtime.values.geometry import box_of, iou
from ...data import read_300w, read_negatives
from ..tracking import Watch
from .cast import FACE, HEADS, NEAR, RATE, SIZE, Cast, Row, cast_of, eye_distance, rounded, still
from .scenes import Actor, Placement, Shown, play

_NOISE = 4.0  # standard deviation of the sensor noise in grey levels
_SAME = 0.3  # IoU with a hidden face from which on a tracked face is that one, and counts neither way
Scene = Iterator[Shown]


def _noisy(scene: Iterable[Shown], seed: int) -> Scene:
    random = np.random.default_rng(seed)
    for shown in scene:
        noise = random.normal(0, _NOISE, shown.image.shape)
        yield Shown(np.clip(shown.image + noise, 0, 255).astype(np.uint8), shown.points, shown.hidden)


def _resting(cast: Cast) -> Iterator[Scene]:
    for number in range(6):
        actors = [Actor(cast.head(number), still(Placement(320, 180, FACE)))]
        yield play(actors, cast.photograph(number), frames=60, size=SIZE, pan=0)


def _swinging(cast: Cast) -> Iterator[Scene]:
    for number in range(6):

        def way(index: int, number: int = number) -> Placement:
            phase = math.pi * index / RATE * (0.5 + 0.25 * number)
            return Placement(320 + 60 * math.sin(phase), 180 + 10 * math.cos(phase), FACE, 0.2 * math.sin(phase))

        yield play([Actor(cast.head(number), way)], cast.photograph(number), frames=90, size=SIZE)


def _fast(cast: Cast) -> Iterator[Scene]:
    for number in range(6):

        def way(index: int) -> Placement:
            span = 440.0
            at = max(index - 8, 0) * 0.3 * FACE % (2 * span)
            return Placement(100 + min(at, 2 * span - at), 180 + 30 * math.sin(index / 9), FACE)

        yield play([Actor(cast.head(number), way)], cast.photograph(number), frames=60, size=SIZE)


def _crossing(cast: Cast) -> Iterator[Scene]:
    """Yield pairs that cross, at 0.05 to 0.4 face widths a frame."""
    for number, speed in enumerate(speed for speed in (0.05, 0.12, 0.2, 0.4) for _ in range(3)):
        half = math.ceil(1.6 / speed)

        def way(
            side: int, half: int = half, speed: float = speed, up: int = number % 3 - 1
        ) -> Callable[[int], Placement]:
            def place(index: int) -> Placement:
                away = min(max(index - 8, 0), 2 * half) - half
                return Placement(320 + side * away * speed / 2 * FACE, 180 + side * 6 * up, FACE)

            return place

        actors = [Actor(cast.head(2 * number), way(1)), Actor(cast.head(2 * number + 1), way(-1))]
        yield play(actors, cast.photograph(number), frames=2 * half + 20, size=SIZE)


def _hidden(cast: Cast) -> Iterator[Scene]:
    """Yield faces that walk on while they are covered for 6 to 24 frames."""
    for number in range(12):
        begin, length = 20 + 2 * number, 6 + 6 * (number % 4)
        step = (0.0, 1.5, 3.0)[number % 3]

        def way(index: int, step: float = step) -> Placement:
            return Placement(200 + step * index, 180 + 8 * math.sin(index / 12), FACE)

        actors = [
            Actor(cast.head(number + 5), way, range(begin, begin + length)),
            Actor(cast.head(number), still(Placement(560, 180, FACE))),
        ]
        yield play(actors, cast.photograph(number), frames=begin + length + 30, size=SIZE)


def _newcomers(cast: Cast) -> Iterator[Scene]:
    """Yield faces that appear beside another and leave again."""
    for number in range(8):
        begin = 20 + 5 * number % 17

        def way(index: int, begin: int = begin) -> Placement | None:
            return Placement(430, 190, FACE) if begin <= index < begin + 40 else None

        actors = [Actor(cast.head(number), still(Placement(200, 180, FACE))), Actor(cast.head(number + 3), way)]
        yield play(actors, cast.photograph(number), frames=begin + 60, size=SIZE)


def _flashes(cast: Cast) -> Iterator[Scene]:
    """Yield scenes in which two frames of another scene come between."""
    for number in range(6):
        actors = [Actor(cast.head(number), lambda index: Placement(250 + index, 180, FACE))]
        for index, shown in enumerate(play(actors, cast.photograph(number), frames=60, size=SIZE)):
            if index == 0:
                frames = []
            if index in (30, 31):
                other = next(play([], cast.photograph(number + 7), frames=1, size=SIZE))
                shown = Shown(other.image, [None], [shown.points[0]])
            frames.append(shown)
        yield iter(frames)


SCENES: dict[str, Callable[[Cast], Iterator[Scene]]] = {
    "at rest": _resting,
    "swinging": _swinging,
    "fast": _fast,
    "crossing": _crossing,
    "hidden": _hidden,
    "newcomers": _newcomers,
    "flashes": _flashes,
}


def evaluate_look_ahead(tracker: Tracker, root: Path, watch: Watch) -> dict[str, Row]:
    """Return for each kind of scene, and for all, the figures in live mode and with looking ahead.

    Scenes are made of faces of the test part of 300W and backgrounds of the test negatives, with sensor noise.

    Args:
        tracker: holds the networks; a tracker of its own runs in each scene.
        root: folder that holds the sets.
        watch: receives the kind of scene and the progress.

    Raises:
        NasionError: trackeval is not installed.
    """
    _trackeval()
    faces, backgrounds = read_300w(root, test=True), read_negatives(root, test=True)
    aligner = tracker.runtimes.get("landmarks") or tracker.runtimes["faces"]
    detector = tracker.runtimes.get("detector") or aligner
    cast = cast_of(faces, backgrounds, lambda: Tracker.from_networks(detector, aligner), aligner, count=HEADS)
    rows: dict[str, Row] = {}
    whole = {"live": Comparison(), "look_ahead": Comparison()}
    for number, (name, scenes) in enumerate(SCENES.items()):
        watch(name, number, len(SCENES))
        found = {"live": Comparison(), "look_ahead": Comparison()}
        for seed, scene in enumerate(scenes(cast)):
            shown = list(_noisy(scene, seed))
            frames = [Frame(each.image, index / RATE, index) for index, each in enumerate(shown)]
            with cast.build() as live:
                results = {"live": [live.update(frame) for frame in frames]}
            results["look_ahead"] = looked_ahead(tracker, frames)
            for mode, tracked in results.items():
                for comparison in (found[mode], whole[mode]):
                    comparison.add(shown, tracked)
        rows[name] = {mode: comparison.figures() for mode, comparison in found.items()}
    rows["all"] = {mode: comparison.figures() for mode, comparison in whole.items()}
    return rows


def looked_ahead(tracker: Tracker, frames: Sequence[Frame]) -> list[list[Face]]:
    """Return the faces of frames in memory as ``nasion annotate`` finds them."""
    with tempfile.TemporaryDirectory() as folder:
        job = Job(Input("scene", "scene"), Path(folder), (), tracker.options)
        info = SourceInfo("scene", frames[0].width, frames[0].height, Fraction(RATE), len(frames))
        with Journal(job.journal) as journal:
            journal.begin(header_of(job, tracker, info, {}))
            for chunk in chunks(job, Opened(info, iter(frames)), tracker.networks, size=CHUNK):
                journal.add(chunk)
        return [annotated.faces for annotated in Annotation(job.journal)]


@dataclass(slots=True)
class Comparison:
    """Comparison of tracked faces with the truth, over any number of scenes."""

    _errors: list[float] = field(default_factory=list)
    _jitter: list[float] = field(default_factory=list)
    _in_gaps: list[float] = field(default_factory=list)
    _hidden: int = 0
    _faces: int = 0
    _sequences: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, scene: Sequence[Shown], tracked: Sequence[Sequence[Face]]) -> None:
        """Add a scene with the faces that were tracked in each of its frames."""
        offsets: dict[int, FloatArray] = {}
        kept: list[list[Face]] = []
        for shown, faces in zip(scene, tracked, strict=True):
            now: dict[int, FloatArray] = {}
            for actor, points in enumerate(shown.points):
                if points is None:
                    continue
                self._faces += 1
                face = _nearest(faces, points)
                if face is not None:
                    off = (np.asarray(face.landmarks) - points) / np.float32(eye_distance(points))
                    self._errors.append(_length(off))
                    if actor in offsets:
                        self._jitter.append(_length(off - offsets[actor]))
                    now[actor] = off
            offsets = now
            hidden = [points for points in shown.hidden if points is not None]
            self._hidden += len(hidden)
            for points in hidden:
                face = _nearest(faces, points)
                if face is not None:
                    self._in_gaps.append(_length(np.asarray(face.landmarks) - points) / eye_distance(points))
            kept.append([face for face in faces if not any(_overlap(face, points) >= _SAME for points in hidden)])
        self._sequences[str(len(self._sequences))] = _sequence(scene, kept)

    def figures(self) -> Row:
        """Return errors in percent of the distance between the outer eye corners, and the measures of TrackEval.

        ``jitter`` is the mean change of the error from frame to frame, ``error_in_gaps`` that of faces that are shown
        while they are hidden, and ``filled`` the share of hidden faces that are shown.
        """
        return {
            "faces": self._faces,
            "error": rounded(100 * float(np.mean(self._errors))),
            "error_p90": rounded(100 * float(np.quantile(self._errors, 0.9))),
            "jitter": rounded(100 * float(np.mean(self._jitter))),
            "filled": rounded(100 * len(self._in_gaps) / self._hidden) if self._hidden else None,
            "error_in_gaps": rounded(100 * float(np.mean(self._in_gaps))) if self._in_gaps else None,
            **_measured(self._sequences),
        }


def _length(offsets: FloatArray) -> float:
    return float(np.hypot(*offsets.T).mean())


def _nearest(faces: Sequence[Face], points: FloatArray) -> Face | None:
    """Return the tracked face at the landmarks of an actor; None if there is none."""
    if not faces:
        return None
    distances = [_length(np.asarray(face.landmarks) - points) for face in faces]
    x0, y0, x1, y1 = box_of(points).tolist()
    nearest = int(np.argmin(distances))
    return faces[nearest] if distances[nearest] <= NEAR * max(x1 - x0, y1 - y0) else None


def _overlap(face: Face, points: FloatArray) -> float:
    return float(iou(np.asarray(face.box)[None], box_of(points)[None])[0, 0])


def _sequence(scene: Sequence[Shown], tracked: Sequence[Sequence[Face]]) -> dict[str, Any]:
    """Return a scene in the form in which TrackEval takes it; boxes are those around the landmarks."""
    numbers = {number: i for i, number in enumerate(sorted({face.id for faces in tracked for face in faces}))}
    truth = [[(i, points) for i, points in enumerate(shown.points) if points is not None] for shown in scene]
    actors = {actor: i for i, actor in enumerate(sorted({actor for each in truth for actor, _ in each}))}
    similarity = []
    for each, faces in zip(truth, tracked, strict=True):
        there = np.array([box_of(points) for _, points in each], np.float32).reshape(-1, 4)
        seen = np.array([face.box for face in faces], np.float32).reshape(-1, 4)
        similarity.append(iou(there, seen).astype(float))
    return {
        "num_timesteps": len(scene),
        "num_gt_ids": len(actors),
        "num_tracker_ids": len(numbers),
        "num_gt_dets": sum(map(len, truth)),
        "num_tracker_dets": sum(map(len, tracked)),
        "gt_ids": [np.array([actors[actor] for actor, _ in each], int) for each in truth],
        "tracker_ids": [np.array([numbers[face.id] for face in faces], int) for faces in tracked],
        "similarity_scores": similarity,
    }


def _trackeval() -> Any:
    try:
        return importlib.import_module("trackeval.metrics")
    except ImportError as error:
        raise NasionError(
            f"look-ahead is measured by the package trackeval ({error}); pip install trackeval"
        ) from error


def _measured(sequences: dict[str, dict[str, Any]]) -> Row:
    metrics = _trackeval()
    quiet = {"PRINT_CONFIG": False}
    clear, identity, hota = (
        metric.combine_sequences({name: metric.eval_sequence(data) for name, data in sequences.items()})
        for metric in (metrics.CLEAR(quiet), metrics.Identity(quiet), metrics.HOTA())
    )
    return {
        "missed": rounded(100 * float(clear["CLR_FN"]) / max(float(clear["CLR_FN"] + clear["CLR_TP"]), 1)),
        "false": int(clear["CLR_FP"]),
        "switches": int(clear["IDSW"]),
        "MOTA": rounded(100 * float(clear["MOTA"])),
        "IDF1": rounded(100 * float(identity["IDF1"])),
        "HOTA": rounded(100 * float(np.mean(hota["HOTA"]))),
    }
