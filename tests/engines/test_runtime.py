"""One conformance suite for every runtime. Of TensorRT only TensorRT itself, and the GPU, are fakes here."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as state

from nasion.engines import onnx_runtime as runtime_onnx
from nasion.engines.errors import DeviceError, ModelError, NoGpu, RuntimeUnavailable
from nasion.engines.runtime import RuntimeName
from nasion.engines.select import open_runtime, working_runtimes
from nasion.engines.tensorrt.library import tensorrt

from ..conftest import ROOT
from ..support.fakes import tensorrt as fake_tensorrt
from ..support.model_files.onnx_models import landmarks

KINDS: list[tuple[RuntimeName, str]] = [("onnx", ".onnx"), ("torch", ".pt2"), ("tensorrt", ".onnx")]
every_runtime = pytest.mark.parametrize(("name", "suffix"), KINDS)


@pytest.fixture(autouse=True)
def _machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For the tests of TensorRT, a machine that has it."""
    callspec = getattr(request.node, "callspec", None)
    if callspec is not None and callspec.params.get("name") == "tensorrt":
        request.getfixturevalue("fake_gpu")
        fake_tensorrt.install("11.4.0.106", monkeypatch)
    yield
    tensorrt.cache_clear()


def crops(batch: int) -> np.ndarray:
    return np.random.default_rng(batch).random((batch, 3, 112, 112), np.float32)


@every_runtime
def test_outputs_are_named_float32_and_one_per_crop(
    name: RuntimeName, suffix: str, tiny_models: dict[str, Path]
) -> None:
    with open_runtime(tiny_models["landmarks" + suffix], runtime=name) as runtime:
        assert runtime.spec.landmarks == 68
        assert runtime.provider
        assert runtime.device == ("cuda:0" if name == "tensorrt" else "cpu")
        assert runtime.reason == f"asked for: {name}"
        for batch in (1, 5):
            out = runtime(crops(batch))
            shapes = {key: value.shape for key, value in out.items()}
            assert shapes == {"points": (batch, 68, 2), "confidence": (batch, 68), "presence": (batch,)}
            assert all(value.dtype == np.float32 for value in out.values())


@every_runtime
def test_a_crop_alone_gives_what_it_gives_in_a_batch(
    name: RuntimeName, suffix: str, tiny_models: dict[str, Path]
) -> None:
    with open_runtime(tiny_models["landmarks" + suffix], runtime=name) as runtime:
        together, alone = runtime(crops(4)), runtime(crops(4)[2:3])
        for key, value in alone.items():
            np.testing.assert_allclose(value[0], together[key][2], atol=1e-4)


@every_runtime
def test_a_detector_takes_any_size_that_its_stride_divides(
    name: RuntimeName, suffix: str, tiny_models: dict[str, Path]
) -> None:
    with open_runtime(tiny_models["detector" + suffix], runtime=name) as runtime:
        for height, width in ((64, 96), (192, 320)):
            out = runtime(np.zeros((1, 3, height, width), np.float32))
            cells = sum((height // s) * (width // s) for s in (8, 16, 32))
            assert out["boxes"].shape == (1, cells, 4)
            assert out["scores"].shape == (1, cells)


@every_runtime
def test_several_threads_may_call_at_once(name: RuntimeName, suffix: str, tiny_models: dict[str, Path]) -> None:
    with (
        open_runtime(tiny_models["landmarks" + suffix], runtime=name) as runtime,
        ThreadPoolExecutor(4) as pool,
    ):
        expected = [runtime(crops(n))["points"] for n in (1, 2, 3)]
        for _ in range(3):
            for got, wanted in zip(pool.map(lambda n: runtime(crops(n))["points"], (1, 2, 3)), expected, strict=True):
                np.testing.assert_allclose(got, wanted, atol=1e-4)


@every_runtime
def test_a_closed_runtime_says_so_and_closes_twice(
    name: RuntimeName, suffix: str, tiny_models: dict[str, Path]
) -> None:
    runtime = open_runtime(tiny_models["landmarks" + suffix], runtime=name)
    runtime.close()
    runtime.close()
    with pytest.raises(ModelError, match="closed"):
        runtime(crops(1))


@every_runtime
def test_a_damaged_file_is_an_error_that_names_it(name: RuntimeName, suffix: str, tmp_path: Path) -> None:
    if name == "torch":
        pytest.importorskip("torch")
    broken = tmp_path / f"broken{suffix}"
    broken.write_bytes(b"\x08\x07 no model")
    with pytest.raises(ModelError, match="broken"):
        open_runtime(broken, runtime=name)


def test_runtimes_agree(tiny_models: dict[str, Path]) -> None:
    with (
        open_runtime(tiny_models["landmarks.onnx"]) as onnx,
        open_runtime(tiny_models["landmarks.pt2"]) as torch,
    ):
        ours, theirs = onnx(crops(3)), torch(crops(3))
    for key in ours:
        np.testing.assert_allclose(ours[key], theirs[key], atol=1e-3)


def test_a_runtime_asked_for_by_name_never_gives_way_silently(tiny_models: dict[str, Path]) -> None:
    with pytest.raises(RuntimeUnavailable, match=r"runs \.pt2 files.*nasion export"):
        open_runtime(tiny_models["landmarks.onnx"], runtime="torch")
    with pytest.raises(RuntimeUnavailable, match="allowed: auto, onnx, torch, tensorrt"):
        open_runtime(tiny_models["landmarks.onnx"], runtime="cuda")  # type: ignore[arg-type]
    with pytest.raises(RuntimeUnavailable, match=r"runs \.onnx and \.plan files.*nasion export"):
        open_runtime(tiny_models["landmarks.pt2"], runtime="tensorrt")
    with pytest.raises(RuntimeUnavailable, match=r"torch .* sees 0 GPUs and cannot use cuda:0; use --device cpu"):
        open_runtime(tiny_models["landmarks.pt2"], runtime="torch", device="cuda:0")
    with open_runtime(tiny_models["landmarks.pt2"], device="cpu") as runtime:
        assert runtime.reason == "a .pt2 file runs in torch"


def test_a_missing_file_and_a_strange_suffix_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a file"):
        open_runtime(tmp_path / "none.onnx")
    (tmp_path / "x.bin").touch()
    with pytest.raises(ModelError, match=r"suffix '\.bin'; allowed: \.onnx, \.pt2, \.plan"):
        open_runtime(tmp_path / "x.bin")


def test_an_onnx_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", value[:1], value[1:])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9),
        tmp_path / "a.onnx",
    )
    with pytest.raises(ModelError, match=r"has no nasion\.spec"):
        open_runtime(tmp_path / "a.onnx")


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:-1", "cuda:x", "CPU", ""])
def test_a_device_that_is_unknown_is_refused(device: str, tmp_path: Path) -> None:
    with pytest.raises(
        RuntimeUnavailable,
        match=re.escape(f"device {device!r} is unknown; allowed: auto, cpu, cuda (the same as cuda:0) or cuda:N"),
    ):
        open_runtime(tmp_path / "any.onnx", device=device)


def test_without_a_gpu_auto_takes_the_cpu_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nasion.engines.gpu.driver.LIBRARY", "libnothing.so.1")
    path = landmarks(tmp_path / "points.onnx")
    with open_runtime(path) as runtime:
        assert (runtime.provider, runtime.device) == ("CPUExecutionProvider", "cpu")
        assert runtime.reason == "no NVIDIA GPU found"
    for device in ("cuda", "cuda:0"):
        with pytest.raises(RuntimeUnavailable, match=r"no runtime works on cuda:0: no NVIDIA driver"):
            open_runtime(path, device=device)


class SessionOnGpu:
    """ONNX Runtime with its CUDA provider, as far as choosing goes; computes on the CPU all the same."""

    works = True
    fails = False  # at once, rather than giving way to the CPU
    failure = "CUDA failure 35"
    asked: list[Any]

    def __init__(self, path: str, options: Any, providers: list[Any], enable_fallback: int) -> None:
        assert not enable_fallback, "it would run on the CPU without a word"
        type(self).asked = providers
        if self.fails and len(providers) > 1:
            raise RuntimeError(self.failure)
        self._session = ORIGINAL(path, options, providers=["CPUExecutionProvider"])

    def get_providers(self) -> list[str]:
        return [runtime_onnx.CUDA, runtime_onnx.CPU] if self.works and len(self.asked) > 1 else [runtime_onnx.CPU]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


ORIGINAL = onnxruntime.InferenceSession


@pytest.fixture
def onnx_on_gpu(monkeypatch: pytest.MonkeyPatch) -> type[SessionOnGpu]:
    both = [runtime_onnx.CUDA, runtime_onnx.CPU]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: both)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("no CUDA DLLs"))
    monkeypatch.setattr(onnxruntime, "InferenceSession", SessionOnGpu)
    monkeypatch.setattr(SessionOnGpu, "works", True)
    return SessionOnGpu


def test_onnx_runtime_takes_the_gpu_that_is_named_and_keeps_all_digits(
    onnx_on_gpu: type[SessionOnGpu], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_runtime(landmarks(tmp_path / "points.onnx"), runtime="onnx", device="cuda:2") as runtime:
        assert (runtime.provider, runtime.device) == ("CUDAExecutionProvider", "cuda:2")
    wanted = {"device_id": 2, "use_tf32": 0, "cudnn_conv_algo_search": "HEURISTIC"}
    assert onnx_on_gpu.asked == [("CUDAExecutionProvider", wanted), "CPUExecutionProvider"]
    assert capsys.readouterr().out == ""  # what is printed there is the user's own


def test_a_gpu_that_fails_in_the_middle_is_an_error_and_nothing_goes_on_without_it(
    onnx_on_gpu: type[SessionOnGpu], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise runtime_onnx.EPFail("CUDA failure 719")

    with open_runtime(landmarks(tmp_path / "points.onnx"), runtime="onnx", device="cuda:0") as runtime:
        monkeypatch.setattr(onnx_on_gpu, "run", fail, raising=False)
        with pytest.raises(DeviceError, match=r"failed on cuda:0: CUDA failure 719; or run on --device cpu"):
            runtime(np.zeros((1, 3, 32, 32), np.float32))


@pytest.mark.parametrize("kind", [RuntimeError, state.RuntimeException, state.Fail, runtime_onnx.EPFail])
@pytest.mark.parametrize("text", ["Failed to allocate memory for requested buffer", "CUBLAS_STATUS_ALLOC_FAILED"])
def test_a_gpu_without_memory_says_what_to_do(
    kind: type[Exception],
    text: str,
    onnx_on_gpu: type[SessionOnGpu],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise kind(text)

    with open_runtime(landmarks(tmp_path / "points.onnx"), runtime="onnx", device="cuda:0") as runtime:
        monkeypatch.setattr(onnx_on_gpu, "run", fail, raising=False)
        with pytest.raises(DeviceError, match=r"not enough memory on cuda:0 .*close other programs on this GPU"):
            runtime(np.zeros((1, 3, 32, 32), np.float32))


def test_a_gpu_whose_memory_the_network_does_not_fit_says_so_where_it_was_named(
    onnx_on_gpu: type[SessionOnGpu], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_on_gpu, "failure", "CUDA failure 2: out of memory")
    monkeypatch.setattr(onnx_on_gpu, "fails", True)
    path = landmarks(tmp_path / "points.onnx")
    with pytest.raises(DeviceError, match=r"not enough memory on cuda:0 \(CUDA failure 2.*close other programs"):
        open_runtime(path, runtime="onnx", device="cuda:0")
    with open_runtime(path, runtime="onnx") as runtime:
        assert runtime.device == "cpu"


def test_a_gpu_that_fails_at_once_says_why_where_it_was_named(
    onnx_on_gpu: type[SessionOnGpu], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_on_gpu, "fails", True)
    path = landmarks(tmp_path / "points.onnx")
    with pytest.raises(RuntimeUnavailable, match=r"does not work on cuda:0 \(CUDA failure 35\)"):
        open_runtime(path, runtime="onnx", device="cuda:0")
    with open_runtime(path, runtime="onnx") as runtime:
        assert runtime.device == "cpu"
    path.write_bytes(b"no model")
    with pytest.raises(ModelError, match="cannot load it"):
        open_runtime(path, runtime="onnx", device="cuda:0")


def test_a_cuda_provider_that_gives_way_to_the_cpu_is_an_error_where_a_gpu_was_named(
    onnx_on_gpu: type[SessionOnGpu], tmp_path: Path
) -> None:
    onnx_on_gpu.works = False
    path = landmarks(tmp_path / "points.onnx")
    with pytest.raises(
        RuntimeUnavailable, match=r"CUDA provider does not work on cuda:0; .*onnxruntime-gpu\[cuda,cudnn\]"
    ):
        open_runtime(path, runtime="onnx", device="cuda:0")
    with open_runtime(path, runtime="onnx") as runtime:
        assert (runtime.provider, runtime.device) == ("CPUExecutionProvider", "cpu")
    with open_runtime(path, runtime="onnx", device="cpu") as runtime:
        assert onnx_on_gpu.asked == ["CPUExecutionProvider"]


def test_auto_takes_onnx_runtime_on_the_gpu_where_tensorrt_is_missing(
    onnx_on_gpu: type[SessionOnGpu], fake_gpu: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "nasion.engines.tensorrt.library._MODULES", {"tensorrt": ("no_such",), "tensorrt-rtx": ("nor",)}
    )
    tensorrt.cache_clear()
    with open_runtime(landmarks(tmp_path / "points.onnx")) as runtime:
        assert (runtime.provider, runtime.device) == ("CUDAExecutionProvider", "cuda:0")
        assert re.match(
            r"TensorRT: tensorrt is not installed: install the extra tensorrt: .*; ONNX Runtime with CUDA works",
            runtime.reason,
        )


@pytest.mark.parametrize(("runtime", "device"), [("auto", "auto"), ("auto", "cpu"), ("onnx", "auto"), ("onnx", "cpu")])
@pytest.mark.parametrize("vnni", [True, False])
def test_one_file_is_loaded_the_int8_one_on_a_cpu_with_vnni(
    runtime: str, device: str, vnni: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, loaded = onnxruntime.InferenceSession, list[str]()

    def load(path: str, *arguments: object, **options: object) -> object:
        loaded.append(Path(path).name)
        return session(path, *arguments, **options)

    def no_gpu(number: int) -> None:
        raise NoGpu(f"no GPU {number}")

    monkeypatch.setattr(onnxruntime, "InferenceSession", load)
    monkeypatch.setattr("nasion.engines.gpu.driver.gpu", no_gpu)
    monkeypatch.setattr("nasion.engines.select.has_vnni", lambda: vnni)
    network, int8 = landmarks(tmp_path / "network.onnx"), landmarks(tmp_path / "int8.onnx")
    with open_runtime(network, runtime=runtime, device=device, int8=int8) as opened:  # type: ignore[arg-type]
        assert ("in int8, because it has VNNI" in opened.reason) == vnni
    assert loaded == ["int8.onnx" if vnni else "network.onnx"]


def test_int8_is_loaded_where_onnx_runtime_cannot_use_the_gpu(
    onnx_on_gpu: type[SessionOnGpu], fake_gpu: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx_on_gpu.works = False
    monkeypatch.setattr("nasion.engines.select.has_vnni", lambda: True)
    network, int8 = landmarks(tmp_path / "network.onnx"), landmarks(tmp_path / "int8.onnx")
    with open_runtime(network, runtime="onnx", int8=int8) as opened:
        assert (opened.device, opened.reason) == ("cpu", "asked for: onnx; in int8, because it has VNNI")


def test_doctor_learns_of_every_runtime() -> None:
    pytest.importorskip("torch")
    report = dict(working_runtimes())
    assert report.keys() == {"onnx", "torch", "tensorrt"}
    assert all(report[name].startswith("works") for name in ("onnx", "torch"))
    assert report["tensorrt"].startswith(("works: ", "not available: "))


def test_importing_nasion_loads_nothing_heavy() -> None:
    code = (
        "import sys, nasion; heavy = {'torch', 'cv2', 'av', 'onnxruntime', 'numpy'} & set(sys.modules); "
        "assert not heavy, heavy; import nasion.realtime.tracking.tracker, nasion.realtime.pipeline; "
        "import nasion.engines.select; "
        "assert 'torch' not in sys.modules"
    )
    source = ROOT / "src"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(source), "PATH": ""})
