"""Calibration of scores: the fit, the spec that it gives, and the command."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from nasion.engines.errors import NasionError
from nasion.engines.select import open_runtime
from nasion.engines.spec import Spec
from nasion.engines.tensorrt.photograph import PHOTOGRAPH
from nasion.engines.zoo import model_path
from nasion.realtime.faces.frame import Frame
from nasion.realtime.tracking.aligner import Aligner
from nasion.realtime.tracking.options import TrackerOptions
from nasion.realtime.tracking.score import calibrated
from nasion.realtime.tracking.tracker import Tracker
from nasion.tools.main import main
from nasion.trainers.evaluation.calibration import KEPT, Crops, calibrate


@pytest.fixture
def photograph():
    return cv2.imread(str(PHOTOGRAPH))


SPEC = Spec(task="landmarks", name="any", size=(64, 64), landmarks=68)


def crops(count=20_000, *, weights=(-4.0, 1.5, 0.5)):
    """Crops whose landmarks are right with a known probability."""
    rng = np.random.default_rng(3)
    confidence, presence = rng.beta(4, 2, count).astype(np.float32), rng.beta(2, 0.5, count).astype(np.float32)
    right = rng.uniform(size=count) < calibrated(weights, confidence, presence)
    return Crops(confidence, presence, right, rng.uniform(size=count) < 0.2)


def test_the_fit_finds_the_probability_that_made_the_data():
    data = crops()
    spec, figures = calibrate(SPEC, data)
    truth = calibrated((-4.0, 1.5, 0.5), data.confidence, data.presence)
    assert spec.score is not None
    np.testing.assert_allclose(calibrated(spec.score, data.confidence, data.presence), truth, atol=0.03)
    assert figures["right_kept_percent"] == pytest.approx(100 * KEPT, abs=0.6)
    for each in figures["curve"]:
        assert each["right"] == pytest.approx(each["score"], abs=3 / np.sqrt(each["crops"]) + 0.02)
    assert figures["auc"]["score"] > max(figures["auc"]["confidence"], figures["auc"]["presence"])
    assert figures["covered"]["right_kept_percent"] == pytest.approx(100 * KEPT, abs=0.6)
    assert figures["covered"]["crops"] == pytest.approx(0.2 * figures["crops"], rel=0.1)


def test_the_spec_carries_the_score_through_its_text():
    spec, _ = calibrate(SPEC, crops(2000))
    assert Spec.from_json(spec.to_json()) == spec


def test_scores_are_finite_probabilities_for_every_output():
    extremes = np.float32([0, 1e-9, 0.5, 1])
    found = calibrated((-8.0, 2.0, 0.6), extremes, extremes[::-1].copy())
    assert found.dtype == np.float32
    assert ((found >= 0) & (found <= 1)).all()


def test_the_shipped_network_is_calibrated_and_its_score_tells_a_face_from_one_upside_down(photograph):
    with open_runtime(model_path("landmarks-68"), device="cpu") as runtime:
        assert runtime.spec.score is not None
        aligner = Aligner(runtime)
        with Tracker() as tracker:
            (face,) = tracker.update(Frame(photograph, 0.0, 0))
            region = tracker.tracking._tracks.in_sight[0].observation.region
        upright = aligner.align(photograph, [region]).scores[0]
        upside_down = aligner.align(np.ascontiguousarray(photograph[::-1]), [
            type(region)(region.x, photograph.shape[0] - 1 - region.y, region.side)
        ]).scores[0]  # fmt: skip
    assert face.score > 0.9
    assert upright > 0.9
    assert upside_down < runtime.spec.threshold


@pytest.mark.parametrize("value", [-0.1, 1.5, "high", float("nan")])
def test_a_score_that_is_none_is_refused(value):
    with pytest.raises(NasionError, match=r"min_score=.* is not allowed; give a number from 0 to 1"):
        TrackerOptions(min_score=value)


def test_with_the_highest_minimum_no_face_is_good_enough(photograph):
    with Tracker(min_score=1.0) as strict, Tracker(min_score=0.0) as lax:
        assert strict.update(Frame(photograph, 0.0, 0)) == []
        assert lax.update(Frame(photograph, 0.0, 0))


def test_the_command_refuses_a_file_that_is_not_an_onnx_file(tmp_path, capsys):
    (tmp_path / "model.pt2").write_bytes(b"")
    with pytest.raises(SystemExit) as end:
        main(["calibrate", str(tmp_path / "model.pt2"), "--data", str(tmp_path), "-o", str(tmp_path / "out.onnx")])
    assert "give an .onnx file" in str(end.value.code)


def test_the_command_calibrates_on_held_out_faces(shared_data, tmp_path, capsys):
    out, report = tmp_path / "landmarks-68.onnx", tmp_path / "figures.json"
    with pytest.raises(SystemExit) as end:
        main(["calibrate", "landmarks-68", "--data", str(shared_data), "-o", str(out), "--json", str(report)])
    assert end.value.code in (0, None)
    figures = json.loads(report.read_text())["figures"]
    assert figures["auc"]["score"] > 0.96
    assert figures["covered"]["right_kept_percent"] > 96
    with open_runtime(out) as runtime:
        assert runtime.spec.score is not None
        assert runtime.spec.threshold == figures["threshold"]
