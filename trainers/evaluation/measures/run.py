"""All evaluations of the measures, on test data."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from ....engines.runtime import Runtime
from ....realtime.tracking.tracker import Tracker
from ...data import read_300w, read_aflw68, read_negatives
from ..scenarios.cast import HEADS, cast_of
from ..tracking import Watch, unwatched
from . import openings, pose


def evaluate_measures(
    detector: Runtime, aligner: Runtime, root: Path, watch: Watch = unwatched
) -> dict[str, dict[str, Any]]:
    """Return the figures of pose, openings and blinks, with the test parts of AFLW and 300W, and the clips.

    Args:
        detector: loaded detector.
        aligner: loaded landmark network of 68 landmarks.
        root: folder that holds the sets, and ``clips``.
        watch: receives the progress.
    """
    turned, upright = read_aflw68(root, test=True), read_300w(root, test=True)
    build = partial(Tracker.from_networks, detector, aligner)
    cast = cast_of(upright, read_negatives(root, test=True), build, aligner, count=HEADS)
    third = upright.pick(range(0, len(upright), 3))
    with build(smooth="none") as tracker, build(smooth="none", measures=("pose",)) as posed:
        return {
            "yaw": pose.yaw_by_band(tracker, turned, read_aflw68(root), watch),
            "rotations": {**pose.rotated_images(posed, third, watch), **pose.rotated_heads()},
            "steadiness": pose.steadiness(cast, watch),
            "openings": openings.openings_of_images(tracker, third, turned, watch),
            "blinks": {**openings.blinks_of_clips(build, root / "clips", watch), **openings.blinks_of_heads()},
            "cost": pose.cost(tracker, turned),
        }
