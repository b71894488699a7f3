"""What figures depend on, to be kept beside them: the machine, and the versions of all that ran."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from ..engines.errors import DeviceError
from ..engines.gpu.driver import gpus

_PACKAGES = (
    "numpy", "opencv-python", "opencv-python-headless", "av", "onnx", "onnxruntime", "onnxruntime-gpu", "torch",
    "tensorrt", "tensorrt-rtx", "pycuda",
)  # fmt: skip


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> Mapping[str, Any]:
    """Processor, cores and system, and the GPUs where there are any."""
    found = {"cpu": _cpu_model(), "cores": cores(), "system": platform.platform()}
    try:
        return {**found, "gpus": [each.make for each in gpus()]}
    except DeviceError:
        return found


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> Mapping[str, str]:
    """Version of everything that the figures depend on."""
    from .. import __version__

    found = {"nasion": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
