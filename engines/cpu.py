"""Features of the CPU."""

from __future__ import annotations

import platform
from functools import cache
from importlib import import_module
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_VNNI = frozenset({"avx512_vnni", "avx_vnni"})


def cpu_model() -> str:
    """Return the model of the CPU, as far as the system tells it."""
    if _CPUINFO.is_file():
        for line in _CPUINFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def has_vnni() -> bool:
    """Return True if the CPU has VNNI, instructions for convolutions in int8.

    Linux lists the features of the CPU. Elsewhere, NumPy knows AVX-512 VNNI, but not the newer AVX-VNNI.
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    if _CPUINFO.is_file():
        return bool(_VNNI & set(_CPUINFO.read_text().split()))
    core = import_module("numpy._core._multiarray_umath")
    features: dict[str, bool] = getattr(core, "__cpu_features__", {})
    return any(features.get(name, False) for name in ("AVX512VNNI", "AVX512_CLX"))
