"""The shipped networks in the tracker, on video: steady, in time, one track, and no face where there is none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

import nasion
from nasion.realtime.faces.face import Face
from nasion.realtime.faces.frame import Frame
from nasion.realtime.sources.synthetic import CameraMotion
from nasion.realtime.values.arrays import FloatArray, Image
from nasion.realtime.values.geometry import invert, transform

RATE = 30.0


@dataclass(frozen=True)
class Run:
    """The demo clip tracked at one strength of smoothing."""

    motion: CameraMotion
    faces: list[list[Face]]

    @property
    def alone(self) -> list[int]:
        """Frames with just one face, not near the occlusion."""
        return [i for i, faces in enumerate(self.faces) if len(faces) == 1 and not self.near_cover(i)]

    def near_cover(self, i: int) -> bool:
        return any(self.motion.occluded(k) for k in range(max(i - 20, 0), min(i + 21, self.motion.frames)))

    def on_photograph(self, i: int, at: int | None = None) -> FloatArray:
        """Points of frame i where the camera of frame ``at`` (i) would have seen them on the photograph."""
        return transform(self.faces[i][0].landmarks, invert(self.motion.transform(i if at is None else at)))


def track(images: Iterable[Image], **options: object) -> list[list[Face]]:
    with nasion.Tracker(**options) as tracker:
        return [tracker.update(Frame(image, i / RATE, i)) for i, image in enumerate(images)]


@pytest.fixture(scope="module")
def runs() -> dict[str, Run]:
    motion = CameraMotion()
    images = [motion.render(i) for i in range(motion.frames)]
    return {strength: Run(motion, track(images, smooth=strength)) for strength in ("none", "light")}


def inter_ocular(points: FloatArray) -> float:
    return float(np.linalg.norm(points[36] - points[45]))


def jitter(run: Run) -> float:
    """Mean step of a point on the photograph from frame to frame, where the camera stands still, over the eyes."""
    still = [
        i
        for i in run.alone
        if i and i - 1 in run.alone and np.abs(run.motion.transform(i) - run.motion.transform(i - 1)).max() < 1e-3
    ]
    assert len(still) > 20
    steps = [np.linalg.norm(run.on_photograph(i) - run.on_photograph(i - 1), axis=1).mean() for i in still]
    return float(np.mean(steps)) / inter_ocular(run.on_photograph(still[0]))


def lag(run: Run) -> float:
    """Frames by which the points trail the true motion: the delay at which they sit stillest on the photograph."""
    frames = [i for i in run.alone if i > 3]
    place = np.median([run.on_photograph(i) for i in frames], axis=0)

    def distance(delay: float) -> float:
        errors = []
        for i in frames:
            before, after = (transform(place, run.motion.transform(i - k)) for k in (1, 0))
            errors.append(np.square(run.faces[i][0].landmarks - (after + delay * (before - after))).mean())
        return float(np.mean(errors))

    delays = np.arange(-1.0, 2.01, 0.02)
    return float(delays[np.argmin([distance(delay) for delay in delays])])


def test_the_first_frame_already_has_its_face(runs: dict[str, Run]) -> None:
    assert len(runs["light"].faces[0]) == 1


def test_one_identity_survives_the_occlusion(runs: dict[str, Run]) -> None:
    run = runs["light"]
    covered = [i for i in range(run.motion.frames) if run.motion.occluded(i)]
    assert covered
    before = {face.id for faces in run.faces[: covered[0] - 20] for face in faces}
    after = {face.id for faces in run.faces[covered[-1] + 20 :] for face in faces}
    assert before == after == {1}
    seen = [bool(run.faces[i]) for i in range(run.motion.frames) if not run.near_cover(i)]
    assert np.mean(seen) > 0.99


def test_a_covered_face_is_dropped_within_three_frames(runs: dict[str, Run]) -> None:
    run = runs["light"]
    covered = [i for i in range(run.motion.frames) if run.motion.occluded(i)]
    assert not any(run.faces[i] for i in covered[3:])


def test_light_smoothing_halves_the_jitter(runs: dict[str, Run]) -> None:
    assert jitter(runs["light"]) <= 0.5 * jitter(runs["none"])


def test_light_smoothing_lags_at_most_half_a_frame(runs: dict[str, Run]) -> None:
    assert abs(lag(runs["none"])) < 0.2, "the yardstick itself"
    assert lag(runs["light"]) <= 0.5


def test_points_stay_on_the_face_through_pan_zoom_and_turn(runs: dict[str, Run]) -> None:
    run = runs["light"]
    on_photograph = np.stack([run.on_photograph(i) for i in run.alone])
    wander = np.linalg.norm(on_photograph - np.median(on_photograph, axis=0), axis=2)
    assert wander.mean() / inter_ocular(np.median(on_photograph, axis=0)) < 0.04


def test_a_face_that_is_gone_is_dropped_and_the_wall_is_not_followed(rng: np.random.Generator) -> None:
    motion = CameraMotion(seconds=1)
    with_face = [motion.render(i) for i in range(10)]
    coarse = cv2.resize(rng.integers(60, 200, (9, 16, 3)).astype(np.uint8), (640, 360), interpolation=cv2.INTER_CUBIC)
    wall = [with_face[-1].copy() for _ in range(20)]
    x0, y0, x1, y1 = (int(v) for v in track(with_face)[-1][0].box)
    side = 2 * max(x1 - x0, y1 - y0)
    x, y = (x0 + x1) // 2, (y0 + y1) // 2
    for image in wall:  # the head is gone, all else stays: not a cut
        part = slice(max(y - side // 2, 0), y + side // 2), slice(max(x - side // 2, 0), x + side // 2)
        image[part] = coarse[part]
    faces = track([*with_face, *wall])
    assert all(len(seen) == 1 for seen in faces[:10])
    assert not any(faces[12:])


def test_a_shot_change_brings_another_identity_and_the_way_back_the_old_one() -> None:
    motion = CameraMotion(seconds=2)
    first = [motion.render(i) for i in range(8)]
    second = [cv2.flip(255 - motion.render(i), 0) for i in range(8)]
    faces = track([*first, *second, *first])
    assert {face.id for seen in faces[:8] for face in seen} == {1}
    assert 1 not in {face.id for seen in faces[8:16] for face in seen}
    assert [face.id for face in faces[-1]] == [1], "place, size and appearance agree"


def test_the_talking_face_keeps_one_identity(shared_data: Path) -> None:
    """The first 40 s of 200 s; docs/models.md has the figure of the whole clip."""
    identities, found, frames = set(), 0, 0
    for _, faces in nasion.track(shared_data / "clips" / "talking-face.mp4", end=40.0):
        frames += 1
        found += bool(faces)
        identities |= {face.id for face in faces}
    assert frames > 900
    assert found / frames >= 0.99
    assert identities == {1}
