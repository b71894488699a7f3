"""The packages for a GPU, by the version of CUDA that the driver runs."""

from __future__ import annotations

import tomllib
from importlib import metadata

import pytest

from nasion.engines.gpu import packages
from nasion.tools.commands import doctor

from ...conftest import ROOT


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Versions of the installed distributions, empty at first."""
    found: dict[str, str] = {}

    def version(name: str) -> str:
        if name not in found:
            raise metadata.PackageNotFoundError(name)
        return found[name]

    monkeypatch.setattr(packages.metadata, "version", version)
    return found


def drives(cuda: int, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(packages, "driver_cuda", lambda: cuda)


def test_the_extras_have_the_same_versions() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras["cuda"] == [packages.ONNX_RUNTIME[13]]
    assert extras["cuda12"] == [packages.ONNX_RUNTIME[12]]
    assert extras["tensorrt"][::2] == [packages.TENSORRT[13], packages.NVRTC[13]]
    assert extras["tensorrt-cu12"][::2] == [packages.TENSORRT[12], packages.NVRTC[12]]


@pytest.mark.parametrize("cuda", [12, 13])
def test_what_is_missing_fits_the_driver(cuda: int, versions: object, monkeypatch: pytest.MonkeyPatch) -> None:
    drives(cuda, monkeypatch)
    assert packages.missing() == [packages.TENSORRT[cuda], packages.ONNX_RUNTIME[cuda], packages.NVRTC[cuda]]


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-cu13", "tensorrt-cu12"])
def test_every_distribution_of_tensorrt_counts(
    name: str, versions: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drives(13, monkeypatch)
    versions |= {name: "11.4.0", "onnxruntime-gpu": "1.31.1", "nvidia-cuda-nvrtc": "13.5.37"}
    assert packages.missing() == []
    assert [(each.state, each.found) for each in doctor._for_a_gpu()] == [
        ("ok", f"{name} 11.4.0"),
        ("ok", "onnxruntime-gpu 1.31.1"),
    ]


def test_onnx_runtime_for_cuda_13_on_an_older_driver_is_named_with_the_remedy(
    versions: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drives(12, monkeypatch)
    versions |= {"tensorrt-cu12": "11.4.0", "onnxruntime-gpu": "1.27.0", "nvidia-cuda-nvrtc-cu12": "12.9.86"}
    assert packages.missing() == [packages.ONNX_RUNTIME[12]]
    (_, found) = doctor._for_a_gpu()
    assert found.state == "absent"
    assert "1.27.0 is built for CUDA 13, but this driver runs CUDA 12" in found.found
    assert "'onnxruntime-gpu[cuda,cudnn]>=1.24,<1.27'" in found.remedy
    versions["onnxruntime-gpu"] = "1.26.0"
    assert packages.misfit() == ""


def test_without_a_driver_the_newest_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "Library", no_driver)
    assert packages.driver_cuda() == 13
    assert "nasion[tensorrt]" in packages.tensorrt_remedy()


def no_driver() -> None:
    raise packages.DeviceError("no NVIDIA driver")


@pytest.mark.parametrize(("version", "cuda"), [(13000, 13), (12080, 12), (13020, 13)])
def test_the_driver_says_which_cuda_it_runs(version: int, cuda: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Driver:
        def number(self, name: str) -> int:
            return version

    monkeypatch.setattr(packages, "Library", Driver)
    assert packages.driver_cuda() == cuda
    assert (f"nasion[tensorrt{'-cu12' if cuda == 12 else ''}]") in packages.tensorrt_remedy()
