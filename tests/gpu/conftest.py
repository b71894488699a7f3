"""What tests on a GPU need. Without one they are skipped with the reason, and under NASION_REQUIRE_GPU=1 they fail."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from nasion.engines import plugins
from nasion.engines.device import Device
from nasion.engines.errors import DeviceError, NasionError

from .. import native


def missing(reason: str) -> NoReturn:
    """Something that the test needs is not here."""
    if os.environ.get("NASION_REQUIRE_GPU") == "1":
        pytest.fail(f"NASION_REQUIRE_GPU=1, but {reason}")
    pytest.skip(reason)


def library(kind: plugins.Kind) -> Path:
    """One that was built before (``NASION_PLUGINS``, the cache), else one built now."""
    try:
        return plugins.locate(kind)
    except NasionError as error:
        if not shutil.which("nvcc"):
            missing(f"{error}; and there is no nvcc to do that here")
    if not shutil.which("cmake") or not shutil.which("c++"):
        missing("CMake or a C++ compiler is missing: apt-get install cmake g++")
    if kind == "plugins" and plugins.tensorrt_headers() is None:
        missing("TensorRT's headers are not here: set TensorRT_ROOT")
    done = native.build(cuda=True)
    if kind not in done.libraries:
        missing(f"{kind} were skipped: {done.skipped[kind]}")
    return done.libraries[kind]


@pytest.fixture(scope="session")
def device() -> Iterator[Device]:
    try:
        opened = Device(0)
    except DeviceError as error:
        missing(f"there is no GPU to be had: {error}")
    with opened:
        yield opened
