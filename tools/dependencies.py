"""Packages that tracking needs, with their supported versions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata


@dataclass(frozen=True, slots=True)
class Dependency:
    """Package that tracking needs, with its supported versions.

    Attributes:
        module: name to import.
        distributions: names on package indexes; any of them provides the module, the first is the usual one.
        least: oldest supported version.
        below: first version that is no longer supported.
    """

    module: str
    distributions: tuple[str, ...]
    least: str
    below: str

    def problem(self) -> tuple[str, str] | None:
        """Return a description of an unsupported installed version and the command that fixes it.

        Return None if the version is supported or the package is not installed.
        """
        for distribution in self.distributions:
            try:
                version = metadata.version(distribution)
            except metadata.PackageNotFoundError:
                continue
            if not _numbers(self.least) <= _numbers(version) < _numbers(self.below):
                allowed = f"{distribution}>={self.least},<{self.below}"
                return f"{distribution} {version} is installed; supported: {allowed}", f"pip install '{allowed}'"
        return None


_OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")

# Keep in step with pyproject.toml.
DEPENDENCIES = (
    Dependency("numpy", ("numpy",), "2.0", "3"),
    Dependency("cv2", _OPENCV, "4.13", "6"),
    Dependency("av", ("av",), "17.1", "20"),
    Dependency("PIL", ("pillow",), "11.3", "14"),
    Dependency("onnxruntime", ("onnxruntime", "onnxruntime-gpu"), "1.24", "2"),
    Dependency("cyclopts", ("cyclopts",), "4.8", "6"),
)

# Packages that only extras install: distribution -> extra. Those for a GPU are in engines/gpu/packages.py.
EXTRAS = {
    "pyarrow": "parquet",
    "pillow-heif": "heif",
    "torch": "train",
    "onnx": "train",
    "onnxscript": "train",
    "scipy": "train",
    "h5py": "train",
    "matplotlib": "train",
    "starlette": "web",
    "uvicorn": "web",
    "websockets": "web",
    "prometheus-client": "web",
    "pycuda": "pycuda",
    "ray": "cluster",
    "universal-pathlib": "cluster",
    "fsspec": "cluster",
}


def unsupported(*modules: str) -> str | None:
    """Return a message about the first dependency with an unsupported version, or None.

    Args:
        modules: import names of the dependencies to check (default: all).
    """
    for dependency in DEPENDENCIES:
        if (not modules or dependency.module in modules) and (problem := dependency.problem()):
            return "; ".join(problem)
    return None


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: (2, 1, 0) for ``2.1.0rc1``."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in found[0].split(".")) if found else ()
