"""Every runtime that can be had on this GPU gives for every network what ONNX Runtime gives on the CPU.

The networks are the shipped ones and, by torch and in float16, the detector and all five systems in small, as if they
had learned.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from nasion.engines import zoo
from nasion.engines.gpu.device import Device
from nasion.engines.onnx_runtime import CUDA, OnnxRuntime
from nasion.engines.operators import library as plugins
from nasion.engines.operators.bindings import Kernels
from nasion.engines.select import open_runtime
from nasion.engines.spec import Outputs, Spec
from nasion.engines.tensorrt.compile import plan_of
from nasion.engines.tensorrt.library import tensorrt
from nasion.engines.tensorrt.parity import Call, compare, differences
from nasion.engines.tensorrt.photograph import views

from .conftest import library

if TYPE_CHECKING:
    from torch import nn

SHIPPED = tuple(sorted(zoo.models()))
SYSTEMS = ("detector", "sd_hrnet", "pwc", "chs", "rht", "rdfn")
LEAST = {"rdfn": 0.5}  # share of float16 points near those of float32, as in tests/trainers/export/test_fp16.py
WITH_PLUGINS = ("rdfn",)  # their files have nodes of ours
Program = Callable[[str], Path]
pytestmark = pytest.mark.timeout(900)
shipped = pytest.mark.parametrize("name", SHIPPED)
in_small = pytest.mark.parametrize("name", SYSTEMS)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The .pt2 file of a system in small; its ONNX file lies beside it."""
    folder = tmp_path_factory.mktemp("systems")
    return cache(lambda name: exported(name, folder))


def exported(name: str, folder: Path) -> Path:
    """Write a small network of a system as .onnx and .pt2."""
    network, spec = built(name)
    from nasion.trainers.export.files import write_model

    for suffix in ("onnx", "pt2"):
        write_model(network, spec, folder / f"{name}.{suffix}")
    return folder / f"{name}.pt2"


def built(name: str) -> tuple[nn.Module, Spec]:
    """A small network of a system, always the same."""
    for package in ("torch", "onnx", "onnxscript"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install 'nasion[train]'")
    import torch

    from nasion.trainers.networks.backbones import resnet

    from ..trainers.export import test_fp16 as test_half

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resnet, "BLOCKS", (1, 1, 1, 1))  # one bottleneck a group: quicker to export
        torch.manual_seed(0)
        learner = getattr(test_half, name)().eval()
        return learner.exported().eval(), learner.spec


def need_torch_with_cuda(patch: pytest.MonkeyPatch) -> None:
    """In which float32 is float32."""
    if find_spec("torch") is None:
        pytest.skip("torch is not installed: pip install 'nasion[train]'")
    import torch

    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA: https://pytorch.org/get-started/locally")
    patch.setattr(torch.backends.cudnn, "allow_tf32", False)


def need_plugins(name: str, patch: pytest.MonkeyPatch) -> None:
    """Those that the network needs of ours are where TensorRT looks for them."""
    if name in WITH_PLUGINS:
        patch.setenv(plugins.FOLDER_VARIABLE, str(library("plugins").parent))


def by_torch(network: nn.Module, spec: Spec, given: Spec, kernels: Kernels, device: str) -> Call:
    """The network with our operators by ``kernels``, for images that are normalised as another spec says."""
    import torch

    from nasion.trainers.export.compiled_operators import compiled_operators

    mean, std, other_mean, other_std = (
        torch.tensor(each).reshape(3, 1, 1) for each in (spec.mean, spec.std, given.mean, given.std)
    )

    def run(images: NDArray[np.float32]) -> Outputs:
        pixels = (torch.from_numpy(images) * other_std + other_mean - mean) / std
        with torch.no_grad(), compiled_operators(kernels):
            found = network(pixels.to(device))
        return {name: values.cpu().numpy() for name, values in found.items()}

    return run


@shipped
def test_onnx_runtime_agrees_with_the_cpu(name: str, device: Device) -> None:
    if CUDA not in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has no CUDA provider: pip install onnxruntime-gpu")
    path = zoo.model_path(name)
    with OnnxRuntime(path, device="cpu") as slow, open_runtime(path, runtime="onnx", device="cuda:0") as quick:
        assert quick.provider == CUDA
        compare(slow, quick, quick.spec, "fp32", batch=4)


@in_small
def test_torch_agrees_with_the_cpu(
    name: str, device: Device, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_torch_with_cuda(monkeypatch)
    path = program(name)
    onnx = path.with_suffix(".onnx")
    with OnnxRuntime(onnx, device="cpu") as slow, open_runtime(path, runtime="torch", device="cuda:0") as quick:
        assert quick.provider == "torch CUDA"
        compare(slow, quick, quick.spec, "fp32", batch=4)


@pytest.mark.parametrize("name", WITH_PLUGINS)
def test_torch_with_our_kernels_agrees_with_the_cpu(
    name: str, device: Device, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_torch_with_cuda(monkeypatch)
    kernels, (network, spec) = Kernels(library("kernels")), built(name)
    network.cuda()
    with OnnxRuntime(program(name).with_suffix(".onnx"), device="cpu") as slow:
        compare(slow, by_torch(network, spec, slow.spec, kernels, "cuda"), slow.spec, "fp32", batch=4)


@in_small
def test_tensorrt_in_float16_agrees_with_the_cpu(
    name: str, device: Device, plans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_plugins(name, monkeypatch)
    network, spec = built(name)
    from nasion.trainers.export.files import write_model

    path = tmp_path / f"{name}-fp16.onnx"
    write_model(network, spec, path, fp16=True)
    with OnnxRuntime(path, device="cpu") as slow, open_runtime(path, runtime="tensorrt") as quick:
        images = views(quick.spec, 4)
        found = differences(slow(images), quick(images), "fp16")
    assert all(each.within > (LEAST.get(name, 0.9) if key == "points" else 0.9) for key, each in found.items()), found


@shipped
def test_tensorrt_agrees_with_the_cpu(name: str, device: Device, plans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_plugins(name, monkeypatch)
    path = zoo.model_path(name)
    with OnnxRuntime(path, device="cpu") as slow, open_runtime(path, runtime="tensorrt") as quick:
        compare(slow, quick, quick.spec, "fp32", batch=4)
        images = np.zeros((1, 3, *reversed(quick.spec.size)), np.float32)
        first = quick(images)
        assert all((quick(images)[key] == value).all() for key, value in first.items())
    ready = plan_of(path, tensorrt(), device)
    ready.engine.close()
    assert ready.path.parent == plans
    assert not ready.built
    with open_runtime(ready.path) as again:
        assert all(np.allclose(again(images)[key], value) for key, value in first.items())
