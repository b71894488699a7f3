"""Packages that run networks on an NVIDIA GPU, in the versions that the installed driver can run.

Drivers from 580 on run CUDA 13, older ones CUDA 12. onnxruntime-gpu is built for CUDA 13 from 1.27 on, and brings the
libraries of CUDA only with its own extras ``cuda`` and ``cudnn``. ``tensorrt`` is TensorRT for CUDA 13,
``tensorrt-cu12`` the same for CUDA 12.
"""

from __future__ import annotations

from importlib import metadata

from ..errors import DeviceError, extra_remedy
from .driver import Library

# keep in step with the extras of pyproject.toml
ONNX_RUNTIME = {13: "onnxruntime-gpu[cuda,cudnn]>=1.27,<2", 12: "onnxruntime-gpu[cuda,cudnn]>=1.24,<1.27"}
TENSORRT = {13: "tensorrt>=10.7", 12: "tensorrt-cu12>=10.7"}
NVRTC = {13: "nvidia-cuda-nvrtc>=13,<14", 12: "nvidia-cuda-nvrtc-cu12>=12,<13"}
NVRTC_NAMES = {13: "nvidia-cuda-nvrtc", 12: "nvidia-cuda-nvrtc-cu12"}
TENSORRT_NAMES = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")


def driver_cuda() -> int:
    """Return the major version of CUDA, 12 or 13, that the installed driver can run; 13 if there is no driver."""
    try:
        return 13 if Library().number("cuDriverGetVersion") >= 13000 else 12
    except DeviceError:
        return 13


def onnx_runtime_remedy() -> str:
    """Return the commands that install ONNX Runtime with CUDA for the installed driver."""
    wanted = ONNX_RUNTIME[driver_cuda()]
    return f"pip uninstall -y onnxruntime onnxruntime-gpu && pip install '{wanted}' (both have the same files)"


def tensorrt_remedy() -> str:
    """Return how to install TensorRT for the installed driver."""
    return extra_remedy("tensorrt" if driver_cuda() == 13 else "tensorrt-cu12")


def misfit() -> str:
    """Return what is wrong with the installed onnxruntime-gpu for the installed driver; empty if nothing is."""
    found = version("onnxruntime-gpu")
    if found is None or driver_cuda() == 13 or tuple(int(part) for part in found.split(".")[:2]) < (1, 27):
        return ""
    return f"onnxruntime-gpu {found} is built for CUDA 13, but this driver runs CUDA 12 (drivers from 580 on run 13)"


def missing() -> list[str]:
    """Return the requirements, for pip, of the packages that are not installed or do not fit the installed driver."""
    cuda, wanted = driver_cuda(), []
    if not any(map(version, TENSORRT_NAMES)):
        wanted.append(TENSORRT[cuda])
    if version("onnxruntime-gpu") is None or misfit():
        wanted.append(ONNX_RUNTIME[cuda])
    if version(NVRTC_NAMES[cuda]) is None:
        wanted.append(NVRTC[cuda])
    return wanted


def version(distribution: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
