"""Every runtime that can be had on this GPU gives for every network what ONNX Runtime gives on the CPU.

The networks are the shipped ones, and the detector and all five systems of the papers in small, as if they had learned.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from nasion.engines import plugins, zoo
from nasion.engines.agreement import compare
from nasion.engines.device import Device
from nasion.engines.runtime import open_runtime
from nasion.engines.runtime_onnx import CUDA, OnnxRuntime
from nasion.engines.tensorrt_library import installed

from .conftest import library, missing

SHIPPED = tuple(sorted(zoo.models()))
SYSTEMS = ("detector", "sd_hrnet", "pwc", "chs", "rht", "rdfn")
WITH_PLUGINS = ("rdfn",)  # their files have nodes of ours
Model = Callable[[str], Path]
pytestmark = pytest.mark.timeout(900)
onnx_files = pytest.mark.parametrize("name", [*SHIPPED, *SYSTEMS])
torch_files = pytest.mark.parametrize("name", SYSTEMS)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The ONNX file of a network; for a system, its .pt2 file lies beside it."""
    folder = tmp_path_factory.mktemp("systems")

    @cache
    def find(name: str) -> Path:
        return zoo.model_path(name) if name in SHIPPED else exported(name, folder)

    return find


def exported(name: str, folder: Path) -> Path:
    """Write a small network of a system as .onnx and .pt2."""
    for package in ("torch", "onnx", "onnxscript"):
        if find_spec(package) is None:
            missing(f"{package} is not installed: pip install 'nasion[train]'")
    import torch

    from nasion.trainers.export import write_model
    from nasion.trainers.networks import resnet

    from .. import test_half

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resnet, "BLOCKS", (1, 1, 1, 1))  # one bottleneck a group: quicker to export
        torch.manual_seed(0)
        learner = getattr(test_half, name)().eval()
        network = learner.exported().eval()
        for suffix in ("onnx", "pt2"):
            write_model(network, learner.spec, folder / f"{name}.{suffix}")
    return folder / f"{name}.onnx"


@onnx_files
def test_onnx_runtime_agrees_with_the_cpu(name: str, device: Device, model: Model) -> None:
    if CUDA not in onnxruntime.get_available_providers():
        missing("this ONNX Runtime has no CUDA provider: pip install onnxruntime-gpu")
    path = model(name)
    with OnnxRuntime(path, device="cpu") as slow, open_runtime(path, runtime="onnx", device="cuda:0") as quick:
        assert quick.provider == CUDA
        compare(slow, quick, quick.spec, "fp32", batch=4)


@torch_files
def test_torch_agrees_with_the_cpu(name: str, device: Device, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("torch") is None:
        missing("torch is not installed: pip install 'nasion[train]'")
    import torch

    if not torch.cuda.is_available():
        missing("this torch has no CUDA: https://pytorch.org/get-started/locally")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # float32 is to be float32
    path = model(name)
    program = path.with_suffix(".pt2")
    with OnnxRuntime(path, device="cpu") as slow, open_runtime(program, runtime="torch", device="cuda:0") as quick:
        assert quick.provider == "torch CUDA"
        compare(slow, quick, quick.spec, "fp32", batch=4)


@onnx_files
def test_tensorrt_agrees_with_the_cpu(
    name: str, device: Device, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not installed():
        pytest.skip("no TensorRT is installed; it cannot be had on every machine, so it is not required")
    if name in WITH_PLUGINS:
        monkeypatch.setenv(plugins.FOLDER_VARIABLE, str(library("plugins").parent))
    monkeypatch.setenv("NASION_PLANS", str(tmp_path))
    path = model(name)
    with OnnxRuntime(path, device="cpu") as slow, open_runtime(path, runtime="tensorrt") as quick:
        compare(slow, quick, quick.spec, "fp32", batch=4)
        images = np.zeros((1, 3, *reversed(quick.spec.size)), np.float32)
        first = quick(images)
        assert all((quick(images)[key] == value).all() for key, value in first.items())
    (plan,) = tmp_path.glob("*.plan")
    with open_runtime(plan) as again:
        assert all(np.allclose(again(images)[key], value) for key, value in first.items())
