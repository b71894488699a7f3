"""Fixtures that several test files need."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from .support.fakes.cuda import FakeCuda
from .support.fakes.cuda import build as build_fake_cuda

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"
_OF_EXTRAS = (
    *("torch", "onnx", "onnxscript", "scipy", "h5py", "matplotlib", "pyarrow", "OneEuroFilter"),
    *("starlette", "uvicorn", "websockets", "prometheus_client", "httpx2", "h11"),
)


def pytest_configure() -> None:
    """See what is tested, and give torch one thread in each process: there are as many processes as cores.

    An editable installation goes before PYTHONPATH and pytest's own path; that of another checkout would be tested.
    """
    spec = importlib.util.find_spec("nasion")
    source = Path(spec.origin).parents[1] if spec and spec.origin else ROOT
    if source.name == "src" and source != ROOT / "src":
        raise pytest.UsageError(
            f"nasion is imported from {source}, not from this checkout: pip install -e '.[dev]' here"
        )
    os.environ.setdefault("OMP_NUM_THREADS", "1")


class _Module(pytest.Module):
    """A file of tests, which is skipped, and says why, where a package that only an extra brings is not installed."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        try:
            return super().collect()
        except self.CollectError as error:
            missing = getattr(error.__cause__, "name", None) or ""
            if missing.partition(".")[0] not in _OF_EXTRAS:
                raise
            pytest.skip(f"the package {missing} is not installed: pip install -e '.[dev]'", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
    """Collect files of tests as ``_Module`` does."""
    return _Module.from_parent(parent, path=module_path)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; tests that need it say so where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("real data (../shared/data) is not beside this checkout")
    return SHARED_DATA


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_counts() -> None:
    """A shell that runs the tests in the background has Ctrl-C ignored, and the tests of Ctrl-C would hang."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Networks of a few channels gain nothing from a second thread, and lose much where the machine is busy."""
    with suppress(ModuleNotFoundError):
        import torch

        torch.set_num_threads(1)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An untrained landmark network and detector, small, as .onnx and .pt2, written by our own export."""
    torch = pytest.importorskip("torch")

    from nasion.trainers.export.files import write_model
    from nasion.trainers.networks.encoder_decoder import EncoderDecoder, EncoderDecoderConfig, LandmarkExport
    from nasion.trainers.networks.face_detector import DetectorConfig, DetectorExport, FaceDetector
    from nasion.trainers.systems.shipped.recipes import DETECTOR_SPEC, landmark_spec

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    landmarks = LandmarkExport(EncoderDecoder(EncoderDecoderConfig(widths=(8, 8, 8, 8, 8))), 5.0).eval()
    detector = DetectorExport(FaceDetector(DetectorConfig((8, 8), (8, 8, 8), 8))).eval()
    files = {}
    for name, network, spec in (
        ("landmarks", landmarks, landmark_spec("landmarks-68", 112)),
        ("detector", detector, DETECTOR_SPEC),
    ):
        for suffix in (".onnx", ".pt2"):
            files[name + suffix] = folder / (name + suffix)
            write_model(network, spec, files[name + suffix])
    return files


@pytest.fixture(scope="session")
def fake_cuda_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The driver library of a machine whose GPUs are not there (fakes/cuda.py)."""
    return build_fake_cuda(tmp_path_factory.mktemp("cuda"))


@pytest.fixture
def fake_gpu(fake_cuda_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    """A machine with one such GPU and a plan cache of its own; whatever is taken of the GPU must be given back."""
    from nasion.engines.gpu import driver

    monkeypatch.setattr(driver, "LIBRARY", str(fake_cuda_library))
    monkeypatch.setenv("NASION_PLANS", str(tmp_path / "plans"))
    monkeypatch.setenv("NASION_CHOICES", str(tmp_path / "choices"))
    on_gpu_first = lambda runtime: 2.0 if runtime.device == "cpu" else 1.0  # noqa: E731
    monkeypatch.setattr("nasion.engines.gpu.choice.milliseconds", on_gpu_first)  # a stand-in has no time of its own
    fake = FakeCuda(fake_cuda_library)
    fake.reset()
    yield fake
    left = fake.live
    fake.reset(gpus=0)
    assert left == 0, "something was not given back"


NEEDS_TORCH = re.compile(r"\b(train|calibrate|quantize|export|evaluate|networks|data check|check-recipes|checkpoint)\b")
"""Words in the cases of tests of the command line that run commands which import torch."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the cases of commands that need torch where it is not installed."""
    if importlib.util.find_spec("torch"):
        return
    skipped = pytest.mark.skip(reason="torch is not installed: pip install '.[train]'")
    for item in items:
        case = f"{item.name} {getattr(getattr(item, 'callspec', None), 'params', '')}"
        of_commands = item.path.name in (
            "test_output_paths.py", "test_error_messages.py", "test_signals.py", "test_json_option.py",
        )  # fmt: skip
        if of_commands and (NEEDS_TORCH.search(case) or "training" in item.name):
            item.add_marker(skipped)
