"""Versions of nasion and of the packages that affect its results."""

from __future__ import annotations

from functools import cache

TYPE_CHECKING = False  # as type checkers know it: the command imports this before it catches a signal
if TYPE_CHECKING:
    from collections.abc import Mapping

__version__ = "0.2.0"
_PACKAGES = (
    "numpy", "opencv-python", "opencv-python-headless", "pillow", "av", "pyarrow", "onnx", "onnxruntime",
    "onnxruntime-gpu", "torch", "tensorrt", "tensorrt-cu12", "tensorrt-rtx",
)  # fmt: skip


@cache
def versions() -> Mapping[str, str]:
    """Return the versions of nasion, Python and all installed packages that affect measurements."""
    import platform
    from importlib import metadata

    found = {"nasion": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
