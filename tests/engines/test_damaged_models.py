"""A damaged or hostile model file gives one clear line or a normal run: no traceback, no hang, no invalid output."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasion.engines.errors import NasionError
from nasion.engines.select import open_runtime
from nasion.engines.spec import Spec
from nasion.realtime.faces.face import Face
from nasion.realtime.faces.frame import Frame
from nasion.realtime.sinks.landmarks import record
from nasion.realtime.tracking.aligner import Aligner
from nasion.realtime.values.geometry import Region
from nasion.tools.main import main as nasion

from ..support.model_files import damaged_models as damaged

REFUSED = {**dict(damaged.wrong_specs()), **dict(damaged.wrong_graphs())}
STRANGE = {**dict(damaged.damaged_bytes()), **dict(damaged.strange_graphs())}
DETECTORS = dict(damaged.strange_detectors())
REGIONS = [Region(80, 60, 64), Region(40, 40, 30, 0.5)]
assert len(REFUSED) + len(STRANGE) + len(DETECTORS) >= 60


def told(arguments: list[str]) -> str:
    """Return the message with which the command exits; empty if it succeeds."""
    try:
        nasion(arguments)
    except SystemExit as end:
        return "" if end.code in (None, 0) else str(end.code)
    return ""


def no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def track(option: str, model: Path, folder: Path, capfd: pytest.CaptureFixture[str]) -> str:
    """Track a few images of a face with a model and return the message, after a check of everything else."""
    landmarks = folder / "faces.jsonl"
    arguments = ["track", "pattern:", "--end", "0.1", "--size", "320x240", "--device", "cpu"]
    message = told([*arguments, option, str(model), "--landmarks", str(landmarks)])
    output = capfd.readouterr()
    for text in (message, output.out.replace("\n", ""), output.err.replace("\n", "")):
        assert text.isprintable(), text
    assert "Traceback" not in output.err
    if message:
        assert message.startswith("nasion: ")
        assert len(message) < 2000
    else:
        for line in landmarks.read_text().splitlines():
            json.loads(line, parse_constant=no_constant)
    return message


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for a model, with a file beside that folder which a model might read."""
    (tmp_path / "ones.bin").write_bytes(bytes(4 * 68))
    (tmp_path / "model").mkdir()
    return tmp_path / "model"


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_model_is_refused_in_one_line(name: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = folder / "model.onnx"
    path.write_bytes(REFUSED[name])
    message = track("--model", path, folder, capfd)
    if not message:  # it says what it is when it is asked
        with open_runtime(path, device="cpu") as runtime, pytest.raises(NasionError) as error:
            Aligner(runtime).align(np.zeros((120, 160, 3), np.uint8), REGIONS)
        message = str(error.value)
    assert "export" in message
    assert "model" in message


@pytest.mark.parametrize("name", STRANGE)
def test_a_damaged_model_is_refused_or_runs_and_what_it_finds_is_finite(
    name: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = folder / "model.onnx"
    path.write_bytes(STRANGE[name])
    track("--model", path, folder, capfd)
    try:
        with open_runtime(path, device="cpu") as runtime:
            if runtime.spec.task != "landmarks":
                return
            found = Aligner(runtime).align(np.full((120, 160, 3), 90, np.uint8), REGIONS)
    except NasionError:
        return
    for values in (found.points, found.confidence, found.scores):
        assert np.isfinite(values).all()
    for values in (found.confidence, found.scores):
        assert 0 <= values.min() <= values.max() <= 1


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_that_finds_nonsense_gives_no_faces_there(
    name: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = folder / "detector.onnx"
    path.write_bytes(DETECTORS[name])
    assert track("--detector", path, folder, capfd) == ""


@pytest.mark.parametrize("kind", damaged.STRANGE)
def test_points_that_are_no_numbers_are_no_face_and_a_confidence_that_is_none_is_0(kind: str, folder: Path) -> None:
    found = {}
    for target in damaged.TARGETS:
        path = folder / f"{target}.onnx"
        path.write_bytes(STRANGE[f"{kind}-{target}"])
        with open_runtime(path, device="cpu") as runtime:
            found[target] = Aligner(runtime).align(np.zeros((120, 160, 3), np.uint8), REGIONS)
    assert found["points"].scores.tolist() == [0, 0]
    assert found["presence"].scores.tolist() == [0, 0]
    assert not found["confidence"].confidence.any()
    assert found["confidence"].scores.tolist() == [1, 1]


@pytest.mark.parametrize("option", ["--model", "--detector"])
def test_a_folder_and_a_file_of_another_kind_are_refused(
    option: str, tiny_models: dict[str, Path], folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "folder.onnx").mkdir()
    (folder / "renamed.onnx").write_bytes(tiny_models["landmarks.pt2"].read_bytes())
    (folder / "renamed.pt2").write_bytes(tiny_models["landmarks.onnx"].read_bytes())
    for name in ("folder.onnx", "renamed.onnx", "renamed.pt2", "absent.onnx"):
        assert name in track(option, folder / name, folder, capfd)


def test_networks_in_each_others_place_are_refused(
    tiny_models: dict[str, Path], folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "give a landmark model" in track("--model", tiny_models["detector.onnx"], folder, capfd)
    assert "give a detector" in track("--detector", tiny_models["landmarks.onnx"], folder, capfd)


def test_control_characters_of_file_names_do_not_reach_the_terminal(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = folder / "\x1b[31mred\u202e.onnx"
    path.write_bytes(b"no model")
    assert "\\x1b[31mred\\u202e.onnx" in track("--model", path, folder, capfd)


def test_a_line_of_faces_is_json_whatever_a_network_returns(rng: np.random.Generator) -> None:
    strange = np.array([math.nan, math.inf, -math.inf, 3e38, -3e38, 5.0, 0.5], np.float32)
    for _ in range(50):
        face = _faces(rng.choice(strange, (1, 68, 2)), rng.choice(strange, (1, 68)), rng.choice(strange, 1))
        json.dumps(record(Frame(np.zeros((9, 9, 3), np.uint8), 0.0, 0), list(face)), allow_nan=False)


def _faces(points: np.ndarray, confidence: np.ndarray, presence: np.ndarray) -> Iterator[Face]:
    """Faces as the aligner makes them of such outputs."""

    class Fixed:
        device = "cpu"

        def __call__(self, images: np.ndarray) -> dict[str, Any]:
            return {"points": points, "confidence": confidence, "presence": presence}

    fixed: Any = Fixed()
    fixed.spec = Spec("landmarks", "fixed", (32, 32), landmarks=68)
    aligner = Aligner(fixed)
    found = aligner.align(np.zeros((120, 160, 3), np.uint8), REGIONS[:1])
    yield Face(1, found.boxes[0], found.scores[0], found.points[0], found.confidence[0])
