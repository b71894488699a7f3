"""All scenarios, and their measurement on test data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from ....engines.runtime import Runtime
from ....realtime.sources import open_source
from ...data import read_300w, read_negatives
from ..tracking import Watch
from . import identities, landmarks
from .cast import HEADS, Build, Cast, Row, cast_of

CLOSE_UPS = (0.8, 1.0, 1.2, 1.4, 1.6)
IDENTITIES: dict[str, Callable[[Cast], Row]] = {
    "crossing": identities.crossing,
    "hidden, 30 FPS": partial(identities.hidden, rate=30.0),
    "hidden, 15 FPS": partial(identities.hidden, rate=15.0),
    **{f"moving {speed} widths a frame": partial(landmarks.moving, speed=speed) for speed in (0.2, 0.3, 0.4)},
    "newcomer, 30 FPS": partial(identities.newcomer, rate=30.0),
    "newcomer, 5 FPS": partial(identities.newcomer, rate=5.0),
    "small face within the box of a large one": identities.within,
    "keep=10, newcomer far away": identities.elsewhere,
    "one disturbed frame": identities.disturbed,
    "change of scene": identities.scene_change,
}
"""Scenarios in which the association of faces matters, too."""
LANDMARKS: dict[str, Callable[[Cast], Row]] = {
    **{f"turned by {angle} degrees": partial(landmarks.rotated, degrees=angle) for angle in (0, 60, 90, 120, 180)},
    **{f"close-up, {share} of the height": partial(landmarks.close_up, share=share) for share in CLOSE_UPS},
    "60 px in 1080p": partial(landmarks.far, size=(1920, 1080), pixels=60.0),
    "100 px in 4K": partial(landmarks.far, size=(3840, 2160), pixels=100.0),
    "the same image repeated": landmarks.repeated,
    "steadiness": landmarks.steadiness,
}
"""Scenarios with one face, which depend on detection and alignment alone."""
SCENARIOS = IDENTITIES | LANDMARKS


def crowd(clip: Path, build: Build) -> Row:
    """Faces a frame in a video of a crowd."""
    counts: list[int] = []
    numbers: set[int] = set()
    with build() as tracker, open_source(clip) as source:
        for frame in source:
            faces = tracker.update(frame)
            counts.append(len(faces))
            numbers |= {face.id for face in faces}
    return {"frames": len(counts), "faces_a_frame": round(float(np.mean(counts)), 2), "identities": len(numbers)}


def evaluate_tracking(
    build: Build,
    network: Runtime,
    root: Path,
    watch: Watch | None = None,
    *,
    scenarios: Mapping[str, Callable[[Cast], Row]] = SCENARIOS,
) -> dict[str, Row]:
    """Return the figures of scenarios, with faces of the test part of 300W and backgrounds of the test negatives.

    Args:
        build: makes the tracker.
        network: its landmark network.
        root: folder that holds the sets, and ``clips/station-1080p.mp4``.
        watch: receives the name of the scenario and the progress.
        scenarios: the scenarios by name.
    """
    faces, backgrounds = read_300w(root, test=True), read_negatives(root, test=True)
    cast = cast_of(faces, backgrounds, build, network, count=HEADS)
    rows: dict[str, Row] = {}
    for number, (name, scenario) in enumerate(scenarios.items()):
        if watch:
            watch(name, number, len(scenarios))
        rows[name] = scenario(cast)
    clip = root / "clips" / "station-1080p.mp4"
    if clip.is_file():
        rows["crowd in 1080p"] = crowd(clip, build)
    return rows
