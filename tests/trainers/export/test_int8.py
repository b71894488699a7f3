"""Networks in int8: how far they are from float32, what is refused, and which CPU runs them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from nasion.engines import select
from nasion.engines.errors import NasionError
from nasion.engines.select import open_runtime
from nasion.engines.tensorrt.photograph import PHOTOGRAPH
from nasion.engines.zoo import model_path
from nasion.realtime.tracking.detector import Detector
from nasion.realtime.tracking.tracker import Tracker
from nasion.realtime.values.arrays import Image
from nasion.tools.main import main
from nasion.trainers.data import read_image
from nasion.trainers.export.int8 import LEAST_IMAGES, calibration_inputs, quantize

from ...support.model_files.onnx_models import SPEC, landmarks


@pytest.fixture(scope="session")
def faces() -> list[Image]:
    """Views of the shipped photograph: larger and smaller, brighter and darker."""
    photograph, views = read_image(PHOTOGRAPH), []
    for k in range(LEAST_IMAGES):
        image = cv2.resize(photograph, None, fx=0.5 + 0.05 * k, fy=0.5 + 0.05 * k)
        views.append(cv2.convertScaleAbs(image, alpha=0.7 + 0.04 * k))
    return views


@pytest.fixture
def vnni(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> bool:
    monkeypatch.setattr(select, "has_vnni", lambda: request.param)
    return bool(request.param)


def test_landmarks_in_int8_are_near_those_in_float32(faces: list[Image], tmp_path: Path) -> None:
    path, out = model_path("landmarks-68"), tmp_path / "int8.onnx"
    with open_runtime(path, device="cpu") as full, open_runtime(model_path("face-detector"), device="cpu") as detector:
        inputs = calibration_inputs(full, detector, faces)
        assert len(inputs) == len(faces)
        out.write_bytes(quantize(path, full.spec, inputs))
        with open_runtime(out, device="cpu") as small:
            assert small.spec == replace(full.spec, name="landmarks-68-int8")
            batch = np.concatenate(inputs)
            assert np.abs(full(batch)["points"] - small(batch)["points"]).mean() < 0.4, "pixels of a crop of 112"
    assert out.stat().st_size < path.stat().st_size / 3
    kinds = {node.op_type for node in onnx.load(str(out)).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    with pytest.raises(NasionError, match=r"int8\.onnx: is quantized already; give the float32 file"):
        quantize(out, full.spec, inputs)


def test_a_detector_in_int8_finds_the_same_faces(faces: list[Image], tmp_path: Path) -> None:
    path, out = model_path("face-detector"), tmp_path / "int8.onnx"
    with open_runtime(path, device="cpu") as full:
        inputs = calibration_inputs(full, full, [*faces, *(image.transpose(1, 0, 2).copy() for image in faces)])
        assert {each.shape for each in inputs} == {(1, 3, 384, 384)}
        out.write_bytes(quantize(path, full.spec, inputs))
        with open_runtime(out, device="cpu") as small:
            for image in faces[::4]:
                wanted, found = (Detector(each).detect(image) for each in (full, small))
                assert len(found) == len(wanted) == 1
                np.testing.assert_allclose(found.boxes, wanted.boxes, atol=0.05 * float(np.ptp(wanted.boxes)))


def test_too_few_images_are_refused(faces: list[Image]) -> None:
    images = [faces[0], *[np.zeros((90, 120, 3), np.uint8)] * 20]
    names = ("landmarks-68", "face-detector")
    runtime, detector = (open_runtime(model_path(name), device="cpu") for name in names)
    with runtime, detector, pytest.raises(NasionError, match=r"^1 images can be used to quantize 'landmarks-68'; give"):
        calibration_inputs(runtime, detector, images)


def test_a_network_that_gains_nothing_is_refused(tmp_path: Path) -> None:
    path = landmarks(tmp_path / "tiny.onnx")
    with pytest.raises(NasionError, match="no convolution of features with a kernel larger than 1 x 1"):
        quantize(path, SPEC, [np.zeros((1, 3, 32, 32), np.float32)])


@pytest.mark.parametrize("vnni", [True, False], indirect=True)
def test_the_tracker_chooses_int8_by_the_cpu_unless_a_network_is_named(vnni: bool) -> None:
    wanted = {"detector": "face-detector", "landmarks": "landmarks-68"}
    with Tracker() as tracker:
        names = {part: runtime.spec.name for part, runtime in tracker.runtimes.items()}
        assert names == {part: f"{name}-int8" if vnni else name for part, name in wanted.items()}
        assert all(("VNNI" in runtime.reason) == vnni for runtime in tracker.runtimes.values())
    with Tracker(model="landmarks-68", detector="face-detector") as tracker:
        assert {part: runtime.spec.name for part, runtime in tracker.runtimes.items()} == wanted


def test_the_command_writes_the_file_and_says_how_large_it_is(
    faces: list[Image], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, out = tmp_path / "images", tmp_path / "small.onnx"
    images.mkdir()
    for number, image in enumerate(faces):
        cv2.imwrite(str(images / f"{number}.png"), image)
    with pytest.raises(SystemExit) as end:
        main(["quantize", "landmarks-68", str(images), "-o", str(out)])
    assert end.value.code in (0, None)
    assert f"ranges from {LEAST_IMAGES} images" in capsys.readouterr().out
    with open_runtime(out) as runtime:
        assert runtime.spec.name == "landmarks-68-int8"
    for words, text in (
        ([str(images), "--count", "0"], "--count is 0; give at least 1"),
        ([str(tmp_path / "none")], "none"),
        ([str(images), "--count", "3"], "3 images can be used"),
    ):
        with pytest.raises(SystemExit) as end:
            main(["quantize", "landmarks-68", *words, "-o", str(tmp_path / "other.onnx")])
        assert text in str(end.value.code)
        assert not (tmp_path / "other.onnx").exists()
