"""Fixtures of the tests on a GPU. Without one they are skipped with the reason, or fail if NASION_REQUIRE_GPU=1."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from nasion.engines.errors import DeviceError, NasionError
from nasion.engines.gpu.device import Device
from nasion.engines.operators import library as plugins
from nasion.engines.tensorrt.library import installed

from ..support.operators import native


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that is skipped has failed where a GPU, and all that runs on it, must be here."""
    report = yield
    if report.skipped and os.environ.get("NASION_REQUIRE_GPU") == "1":
        assert isinstance(report.longrepr, tuple)
        reason = report.longrepr[2].removeprefix("Skipped: ")
        report.outcome, report.longrepr = "failed", f"NASION_REQUIRE_GPU=1, but {reason}"
    return report


def library(kind: plugins.Kind) -> Path:
    """One that was built before (``NASION_PLUGINS``, the cache), else one built now."""
    try:
        return plugins.locate(kind)
    except NasionError as error:
        if not shutil.which("nvcc"):
            pytest.skip(f"{error}; and there is no nvcc to do that here")
    if not shutil.which("cmake") or not shutil.which("c++"):
        pytest.skip("CMake or a C++ compiler is missing: apt-get install cmake g++")
    if kind == "plugins" and plugins.tensorrt_headers() is None:
        pytest.skip("TensorRT's headers are not here: set TensorRT_ROOT")
    done = native.build(cuda=True)
    if kind not in done.libraries:
        pytest.skip(f"{kind} were skipped: {done.skipped[kind]}")
    return done.libraries[kind]


@pytest.fixture(scope="session")
def device() -> Iterator[Device]:
    try:
        opened = Device(0)
    except DeviceError as error:
        pytest.skip(f"no GPU is available: {error}")
    with opened:
        yield opened


@pytest.fixture
def plans(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all plans of a run, so that TensorRT does not measure the same layers again; TensorRT is here."""
    if not installed():
        pytest.skip("no TensorRT is installed: pip install tensorrt")
    folder = tmp_path_factory.getbasetemp() / "plans"
    monkeypatch.setenv("NASION_PLANS", str(folder))
    return folder
