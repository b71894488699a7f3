"""The packages that tracking needs, and the versions of them that nasion works with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata


@dataclass(frozen=True, slots=True)
class Dependency:
    """A package that tracking needs.

    Attributes:
        module: name to import.
        distributions: names under which package indexes have it; any one will do, and the first is the usual one.
        least: oldest version that is supported.
        below: first version that is not supported any more.
    """

    module: str
    distributions: tuple[str, ...]
    least: str
    below: str

    def problem(self) -> tuple[str, str] | None:
        """Return what is wrong with the version that is installed and the command that mends it.

        None where the version is supported, and where the package is not installed.
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

# pyproject.toml has the same versions.
DEPENDENCIES = (
    Dependency("numpy", ("numpy",), "2.0", "3"),
    Dependency("cv2", _OPENCV, "4.13", "6"),
    Dependency("av", ("av",), "17.1", "20"),
    Dependency("onnxruntime", ("onnxruntime", "onnxruntime-gpu"), "1.20", "2"),
    Dependency("cyclopts", ("cyclopts",), "4.8", "6"),
)

# What only extras bring: distribution -> the extra.
EXTRAS = {
    "pyarrow": "parquet",
    "torch": "train",
    "onnx": "train",
    "onnxscript": "train",
    "scipy": "train",
    "h5py": "train",
    "matplotlib": "train",
    "tensorrt": "tensorrt",
    "pycuda": "pycuda",
}


def unsupported(*modules: str) -> str | None:
    """Return a message about the first dependency in a version that is not supported, or None.

    Args:
        modules: the dependencies to look at, by import name; without any, all are looked at.
    """
    for dependency in DEPENDENCIES:
        if (not modules or dependency.module in modules) and (problem := dependency.problem()):
            return "; ".join(problem)
    return None


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers at the beginning of a version: (2, 1, 0) of ``2.1.0rc1``."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in found[0].split(".")) if found else ()
