"""The choice between GPU and CPU: measured once, then read; ONNX Runtime and the driver are stand-ins."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nasion.engines.gpu import choice
from nasion.engines.gpu.driver import gpu
from nasion.engines.onnx_runtime import OnnxRuntime
from nasion.engines.runtime import Runtime
from nasion.engines.select import open_runtime
from nasion.engines.tensorrt.library import tensorrt
from nasion.tools.commands import doctor

from ...support.model_files.onnx_models import landmarks
from ..test_runtime import SessionOnGpu, onnx_on_gpu  # noqa: F401


class Times:
    """Milliseconds of the runtimes, and the measurements that were made."""

    def __init__(self) -> None:
        self.gpu, self.cpu, self.measured = 5.0, 1.0, list[str]()

    def __call__(self, runtime: Runtime) -> float:
        self.measured.append(runtime.device)
        return self.cpu if runtime.device == "cpu" else self.gpu


@pytest.fixture
def times(
    onnx_on_gpu: type[SessionOnGpu],  # noqa: F811
    fake_gpu: object,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Times]:
    """A machine with ONNX Runtime with CUDA and without TensorRT."""
    none = {"tensorrt": ("no_such",), "tensorrt-rtx": ("nor",)}
    monkeypatch.setattr("nasion.engines.tensorrt.library._MODULES", none)
    tensorrt.cache_clear()
    found = Times()
    monkeypatch.setattr(choice, "milliseconds", found)
    yield found
    tensorrt.cache_clear()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return landmarks(tmp_path / "points.onnx")


@pytest.mark.parametrize(("gpu_ms", "device"), [(5.0, "cpu"), (0.5, "cuda:0")])
def test_the_faster_one_is_taken_and_measured_once(gpu_ms: float, device: str, times: Times, model: Path) -> None:
    times.gpu = gpu_ms
    for _ in range(3):
        with open_runtime(model) as runtime:
            assert runtime.device == device
            assert f"takes {gpu_ms:.2f} ms an image, the CPU 1.00 ms (measured 2" in runtime.reason
    assert times.measured == ["cuda:0", "cpu"]


def test_a_device_asked_for_overrides_the_measurement(times: Times, model: Path) -> None:
    for device in ("cuda:0", "cuda"):
        with open_runtime(model, device=device) as runtime:
            assert runtime.device == "cuda:0"
    assert times.measured == []


def test_the_measurement_does_not_choose_the_precision(
    times: Times, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nasion.engines.select.has_vnni", lambda: True)
    (tmp_path / "int8.onnx").write_bytes(b"not to be read")
    with open_runtime(model, int8=tmp_path / "int8.onnx") as runtime:
        assert runtime.device == "cpu"
        assert "int8" not in runtime.reason


def test_another_network_or_another_gpu_is_measured_again(times: Times, model: Path, tmp_path: Path) -> None:
    open_runtime(model).close()
    other = landmarks(tmp_path / "other.onnx")
    open_runtime(other).close()
    assert len(times.measured) == 4
    assert choice.file_of(model, "x", gpu(0), 1) != choice.file_of(model, "x", gpu(0), 2)


def test_a_damaged_file_is_measured_again(times: Times, model: Path) -> None:
    open_runtime(model).close()
    (file,) = choice.folder().glob("*.json")
    for content in ("{", "[]", json.dumps({"network": "x"}), ""):
        file.write_text(content)
        open_runtime(model).close()
    assert len(times.measured) == 10


def test_a_cache_that_cannot_be_written_hinders_nothing(
    times: Times, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(choice.VARIABLE, str(tmp_path / "file" / "choices"))
    with open_runtime(model) as runtime:
        assert runtime.device == "cpu"
    assert "cannot be stored" in caplog.text


def test_doctor_shows_what_was_measured(times: Times, model: Path) -> None:
    open_runtime(model).close()
    (found,) = doctor._choices()
    assert (found.name, found.state) == ("auto for points", "ok")
    assert found.found.startswith("takes the CPU: ONNX Runtime with CUDA on Fake GPU takes 5.00 ms an image")
    assert str(choice.folder()) in found.remedy


def test_a_measurement_is_the_median_of_calls_with_one_image(model: Path) -> None:
    shapes = []

    class Counted(OnnxRuntime):
        def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
            shapes.append(images.shape)
            return super().__call__(images)

    with Counted(model, device="cpu") as runtime:
        assert 0 < choice.milliseconds(runtime) < 1000
        assert set(shapes) == {(1, 3, *reversed(runtime.spec.size))}
    assert 3 + choice.LEAST <= len(shapes) <= 3 + choice.MOST
