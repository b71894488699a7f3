"""Every runtime that can be had on this GPU gives for the shipped networks what ONNX Runtime gives on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from nasion.engines import zoo
from nasion.engines.agreement import compare
from nasion.engines.device import Device
from nasion.engines.runtime import open_runtime
from nasion.engines.runtime_onnx import CUDA, OnnxRuntime
from nasion.engines.tensorrt_library import installed

from .conftest import missing

MODELS = sorted(zoo.models())
pytestmark = [pytest.mark.timeout(900), pytest.mark.parametrize("name", MODELS)]


def test_onnx_runtime_agrees_with_the_cpu(name: str, device: Device) -> None:
    if CUDA not in onnxruntime.get_available_providers():
        missing("this ONNX Runtime has no CUDA provider: pip install onnxruntime-gpu")
    path = zoo.model_path(name)
    with OnnxRuntime(path, device="cpu") as slow, open_runtime(path, runtime="onnx", device="cuda:0") as quick:
        assert quick.provider == CUDA
        compare(slow, quick, quick.spec, "fp32", batch=4)


def test_tensorrt_agrees_with_the_cpu(
    name: str, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not installed():
        pytest.skip("no TensorRT is installed; it cannot be had on every machine, so it is not required")
    monkeypatch.setenv("NASION_PLANS", str(tmp_path))
    path = zoo.model_path(name)
    with OnnxRuntime(path, device="cpu") as slow, open_runtime(path, runtime="tensorrt") as quick:
        compare(slow, quick, quick.spec, "fp32", batch=4)
        images = np.zeros((1, 3, *reversed(quick.spec.size)), np.float32)
        first = quick(images)
        assert all((quick(images)[key] == value).all() for key, value in first.items())
    (plan,) = tmp_path.glob("*.plan")
    with open_runtime(plan) as again:
        assert all(np.allclose(again(images)[key], value) for key, value in first.items())
