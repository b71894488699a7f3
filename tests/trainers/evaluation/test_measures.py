"""Evaluation of the measures: on faces of known truth it finds the errors that were put in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from nasion.engines.runtime import Runtime
from nasion.engines.select import open_runtime
from nasion.engines.tensorrt.photograph import PHOTOGRAPH
from nasion.engines.zoo import model_path
from nasion.realtime.faces.frame import Frame
from nasion.realtime.tracking.tracker import Tracker
from nasion.trainers.data import LandmarkSet
from nasion.trainers.evaluation.measures import openings, pose
from nasion.trainers.evaluation.scenarios.cast import Cast
from nasion.trainers.evaluation.scenarios.scenes import cut_out
from nasion.trainers.evaluation.tracking import unwatched

Networks = tuple[Runtime, Runtime]


@pytest.fixture(scope="module")
def networks() -> Iterator[Networks]:
    with open_runtime(model_path("face-detector")) as detector, open_runtime(model_path("landmarks-68")) as aligner:
        yield detector, aligner


@pytest.fixture(scope="module")
def labelled(networks: Networks, tmp_path_factory: pytest.TempPathFactory) -> LandmarkSet:
    """The shipped photograph and its mirror image, labelled with what the tracker finds."""
    photograph, files, points, yaws = cv2.imread(str(PHOTOGRAPH)), [], [], []
    with Tracker.from_networks(*networks, smooth="none", measures=("pose",)) as tracker:
        for name, image in (("plain", photograph), ("mirrored", np.ascontiguousarray(photograph[:, ::-1]))):
            files.append(tmp_path_factory.mktemp("faces") / f"{name}.png")
            cv2.imwrite(str(files[-1]), image)
            tracker.reset()
            (face,) = tracker.update(Frame(image, 0.0, 0))
            points.append(np.asarray(face.landmarks))
            yaws.append(face.pose.yaw)  # type: ignore[union-attr]
    return LandmarkSet("two", tuple(files), np.array(points), np.array(yaws, np.float32))


def test_yaw_errors_are_those_of_the_labels(networks: Networks, labelled: LandmarkSet) -> None:
    wrong = replace(labelled, yaw=labelled.yaw + np.float32([3, -3]))
    with Tracker.from_networks(*networks, smooth="none") as tracker:
        rows = pose.yaw_by_band(tracker, wrong, replace(labelled, yaw=np.float32([0, 0])), unwatched)
    assert rows["below_45"]["error"] == pytest.approx(3, abs=0.05)
    assert rows["below_45"]["error_constant"] == pytest.approx(float(np.abs(wrong.yaw).mean()), abs=0.01)
    assert rows["below_45"]["error_labels"] < 8
    assert (rows["below_45"]["faces"], rows["below_45"]["found"]) == (2, 2)
    assert rows["from_45"] == {"faces": 0, "found": 0} | dict.fromkeys(
        ("error", "error_solvepnp", "error_labels", "error_constant")
    )


def test_the_roll_follows_a_rotated_image(networks: Networks, labelled: LandmarkSet) -> None:
    with Tracker.from_networks(*networks, smooth="none", measures=("pose",)) as tracker:
        rows = pose.rotated_images(tracker, labelled, unwatched)
    assert {name: row["runs"] for name, row in rows.items()} == {
        "image rotated by 30 degrees": 4,
        "image rotated by 15 degrees": 4,
    }
    assert all(row["roll"] < 3 for row in rows.values())


def test_heads_that_differ_from_the_generic_one_are_off_by_little() -> None:
    rows = pose.rotated_heads(count=40)
    assert len(rows) == 5
    assert all(row["yaw"] < 2 and row["pitch"] < 2 and row["roll"] < 1.5 for row in rows.values())


def test_the_lag_of_a_known_delay_is_found() -> None:
    times = np.arange(120) / 30
    lag, error = pose._lag(15 * np.sin(np.pi * (times - 2 / 30)) + 3, times)
    assert lag == pytest.approx(2)
    assert error == pytest.approx(0, abs=1e-6)


def test_the_steadiness_has_every_way_of_smoothing(networks: Networks, labelled: LandmarkSet) -> None:
    photograph = cv2.imread(str(PHOTOGRAPH))
    cast = Cast(
        [cut_out(photograph, labelled.points[0])],
        [np.full((360, 640, 3), 90, np.uint8)],
        lambda **options: Tracker.from_networks(*networks, **options),
        networks[1],
    )
    rows = pose.steadiness(cast, unwatched, faces=1, frames=50)
    assert rows["from smoothed landmarks"]["jitter"] < rows["not smoothed"]["jitter"]
    assert all(abs(row["lag_frames"]) < 1 for row in rows.values())


def test_the_cost_has_its_ratios(networks: Networks, labelled: LandmarkSet) -> None:
    with Tracker.from_networks(*networks, smooth="none") as tracker:
        rows = pose.cost(tracker, replace(labelled, yaw=np.float32([0, 30])))
    assert rows.keys() == {"looking ahead", "turned"}
    assert all(value > 0 for row in rows.values() for value in row.values())


def test_openings_are_compared_with_the_labels_in_every_condition(networks: Networks, labelled: LandmarkSet) -> None:
    with Tracker.from_networks(*networks, smooth="none") as tracker:
        rows = openings.openings_of_images(tracker, labelled, replace(labelled, yaw=np.float32([0, 30])), unwatched)
    assert rows["as it is"]["eyes"]["error"] == pytest.approx(0, abs=1e-3)
    assert (rows["as it is"]["faces"], rows["as it is"]["found"], rows["as it is"]["eyes"]["measured"]) == (2, 2, 4)
    assert rows["blur 10 %"]["eyes"]["error"] > rows["blur 2 %"]["eyes"]["error"]
    assert [rows[name]["faces"] for name in ("yaw 0 to 20", "yaw 20 to 45", "yaw from 75")] == [1, 1, 0]
    assert rows["yaw from 75"]["mouth"] == {"measured": 0, "label": None, "error": None, "bias": None}


def test_blinks_of_the_synthetic_head_are_found() -> None:
    rows = openings.blinks_of_heads(count=8)
    assert rows["synthetic head at yaw 0"] == {"blinks": 8, "found": 8, "extra": 0}


def test_clips_that_are_missing_are_left_out(networks: Networks, tmp_path: Path) -> None:
    build = lambda **options: Tracker.from_networks(*networks, **options)  # noqa: E731
    assert openings.blinks_of_clips(build, tmp_path, unwatched) == {}
