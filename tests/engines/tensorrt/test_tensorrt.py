"""Plans found, built, checked and run: all of ours is real here, TensorRT and the GPU are fakes (fakes/tensorrt.py)."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nasion.engines import select
from nasion.engines.errors import DeviceError, ModelError, RuntimeUnavailable
from nasion.engines.gpu.device import Device
from nasion.engines.gpu.graphs import Batches
from nasion.engines.onnx_runtime import OnnxRuntime
from nasion.engines.operators import library as plugins
from nasion.engines.select import open_runtime
from nasion.engines.spec import Spec
from nasion.engines.tensorrt.compile import BuildOptions, plan_of
from nasion.engines.tensorrt.engine import Engine
from nasion.engines.tensorrt.library import tensorrt
from nasion.engines.tensorrt.plan_cache import Plan, PlanCache

from ...support.fakes import tensorrt as fake_tensorrt
from ...support.fakes.cuda import FakeCuda
from ...support.fakes.tensorrt import FakeTensorRt
from ...support.model_files.onnx_models import SPEC, crops, detector, landmarks


@pytest.fixture(params=("10.7.0", "11.4.0.106"))
def fake(request: pytest.FixtureRequest, fake_gpu: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorRt]:
    """A machine with TensorRT and a GPU."""
    yield fake_tensorrt.install(request.param, monkeypatch)
    tensorrt.cache_clear()


def test_a_model_gives_on_tensorrt_what_it_gives_on_the_cpu(fake: FakeTensorRt, tmp_path: Path) -> None:
    path = landmarks(tmp_path / "points.onnx")
    with open_runtime(path, runtime="tensorrt") as quick, OnnxRuntime(path, device="cpu") as slow:
        assert (quick.spec, quick.device, quick.provider) == (SPEC, "cuda:0", f"tensorrt {fake.__version__}")
        for batch in (1, 3, 32, 40):
            ours, theirs = quick(crops(batch)), slow(crops(batch))
            assert ours.keys() == theirs.keys()
            for name in ours:
                assert ours[name].dtype == np.float32
                np.testing.assert_allclose(ours[name], theirs[name], atol=1e-4)


def test_all_batch_sizes_have_their_scratch_memory_in_common(fake: FakeTensorRt, tmp_path: Path) -> None:
    path = landmarks(tmp_path / "points.onnx")
    with open_runtime(path, runtime="tensorrt") as quick, OnnxRuntime(path, device="cpu") as slow:
        for order in ((32, 1, 2, 4, 8), (1, 2, 4, 32)):
            for batch in order:
                np.testing.assert_allclose(quick(crops(batch))["points"], slow(crops(batch))["points"], atol=1e-4)
    largest = 4 * 32 * 3 * 32 * 32
    assert max(size for _, size in fake.lent) == largest
    assert sum(dict(fake.lent).values()) < 3 * largest


def test_a_detector_takes_images_up_to_the_plans_longest_side(fake: FakeTensorRt, tmp_path: Path) -> None:
    path = detector(tmp_path / "boxes.onnx")
    with open_runtime(path, runtime="tensorrt") as quick, OnnxRuntime(path, device="cpu") as slow:
        for height, width in ((32, 64), (96, 256)):
            images = np.ones((1, 3, height, width), np.float32)
            np.testing.assert_allclose(quick(images)["boxes"], slow(images)["boxes"], atol=1e-4)
        with pytest.raises(ModelError, match=r"takes images of 1:1:4 x 32:64:256 x 32:64:256 .*not 1 x 288 x 64"):
            quick(np.ones((1, 3, 64, 288), np.float32))


def test_the_plan_is_built_once_and_the_reason_is_reported(
    fake: FakeTensorRt, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = landmarks(tmp_path / "points.onnx")
    for _ in range(2):
        open_runtime(path, runtime="tensorrt").close()
    assert len(fake.builds) == 1
    (told,) = [each.message for each in caplog.records if each.levelno >= logging.WARNING]
    assert re.match(r"building a plan of points for Fake GPU, .*: there is no plan of points yet", told)


DEFAULT = BuildOptions()


def _found(path: Path, build_options: BuildOptions = DEFAULT) -> tuple[bool, str, Plan]:
    """Return True if a plan had to be built, the reason, and the plan."""
    told: list[str] = []
    with Device() as device:
        ready = plan_of(path, tensorrt(), device, build_options=build_options, say=told.append)
        ready.engine.close()
    assert bool(told) == ready.built
    assert all(ready.reason in each for each in told)
    return ready.built, ready.reason, ready.plan


def test_a_changed_model_version_or_option_gets_a_plan_of_its_own_and_says_why(
    fake: FakeTensorRt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = landmarks(tmp_path / "points.onnx")
    assert _found(path)[:2] == (True, "there is no plan of points yet")
    assert not _found(path)[0]
    for build_options, text in (
        (BuildOptions(fp16=True), "precision fp32, wanted is fp16"),
        (BuildOptions(batch=(1, 2, 4)), "input 1:8:32 x 32 x 32, wanted is 1:2:4 x 32 x 32"),
        (BuildOptions(workspace=64), "workspace any, wanted is 64 MB"),
    ):
        built, reason, plan = _found(path, build_options)
        assert built
        assert text in reason
        assert plan.key.precision == ("fp16" if build_options.fp16 else "fp32")
    landmarks(path, seed=1)
    assert re.search("the model [0-9a-f]{12}…, wanted is", _found(path)[1])
    fake_tensorrt.install("10.9.0", monkeypatch)
    assert re.search(r"the version tensorrt \S+, wanted is tensorrt 10\.9\.0", _found(path)[1])
    assert [_found(path, each)[0] for each in (DEFAULT, DEFAULT)] == [False, False]


def test_a_plan_of_another_gpu_is_not_run(fake: FakeTensorRt, fake_gpu: FakeCuda, tmp_path: Path) -> None:
    path = landmarks(tmp_path / "points.onnx")
    _found(path)
    fake_gpu.reset(gpus=2)
    with Device(1) as device:
        ready = plan_of(path, tensorrt(), device, say=lambda text: None)
        ready.engine.close()
    assert "the GPU Fake GPU, 1.0 GB, wanted is Second Fake, 1.0 GB" in ready.reason
    told = r"built for another configuration: the GPU Second Fake, 1\.0 GB, wanted is Fake GPU, 1\.0 GB"
    with pytest.raises(RuntimeUnavailable, match=told):
        open_runtime(ready.path)


def test_damaged_plans_are_built_again_and_never_reach_tensorrt(fake: FakeTensorRt, tmp_path: Path) -> None:
    path = landmarks(tmp_path / "points.onnx")
    _found(path)
    (file,) = (tmp_path / "plans").glob("*.plan")
    whole = file.read_bytes()
    for content in (whole[:-1], whole[:100], b"", whole[:200] + b"\0" + whole[201:], b"rubbish" * 100):
        file.write_bytes(content)
        built, reason, _ = _found(path)
        assert built
        assert re.search("damaged|not a nasion plan", reason)
        file.write_bytes(content)
        with pytest.raises(ModelError, match=r"damaged|not a nasion plan"):
            open_runtime(file)
        file.unlink()


def test_a_plan_that_tensorrt_refuses_in_spite_of_its_key_is_built_again(fake: FakeTensorRt, tmp_path: Path) -> None:
    path = landmarks(tmp_path / "points.onnx")
    plan = _found(path)[2]
    PlanCache().store("points", replace(plan, engine=b"of another mind"))
    built, reason, _ = _found(path)
    assert built
    assert re.search(r"does not accept the plan of tiny \(magicTag mismatch\)", reason)
    assert not _found(path)[0]


def test_a_plan_of_a_plugin_library_serves_no_other(
    fake: FakeTensorRt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = landmarks(tmp_path / "points.onnx", node=True)
    compiled = tmp_path / "libnasion_plugins.so"
    compiled.write_bytes(b"code")
    monkeypatch.setattr(plugins, "locate", lambda kind: compiled)
    _, _, plan = _found(path)
    assert plan.about["plugins"] == 1
    assert not _found(path)[0]
    compiled.write_bytes(b"other code")
    fake_tensorrt.install(fake.__version__, monkeypatch)  # a new process
    built, reason, _ = _found(path)
    assert built
    assert "the plugin library" in reason


def test_a_plan_that_gives_something_else_is_refused_and_not_kept(fake: FakeTensorRt, tmp_path: Path) -> None:
    path = landmarks(tmp_path / "points.onnx")
    fake.differs = 0.25
    with pytest.raises(RuntimeUnavailable, match=r"gives other results than in ONNX Runtime: .*points by up to 0\.25"):
        open_runtime(path, runtime="tensorrt")
    assert not list((tmp_path / "plans").glob("*.plan"))


def test_a_built_plan_carries_how_well_it_agrees(fake: FakeTensorRt, tmp_path: Path) -> None:
    plan = _found(landmarks(tmp_path / "points.onnx"), BuildOptions(fp16=True))[2]
    points = plan.about["parity"]["points"]
    assert points["within"] == 1
    assert 0 < points["worst"] < points["tolerance"] == 0.5
    assert plan.about["engine"]["layers"] > 5


def test_memory_that_runs_out_is_an_error_that_says_so_and_frees_all(
    fake: FakeTensorRt, fake_gpu: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Batches, "warm_up", lambda batches, size: None)
    path = landmarks(tmp_path / "points.onnx")
    with open_runtime(path, runtime="tensorrt") as quick:
        quick(crops(1))
        fake_gpu.reset(room=100_000)
        with pytest.raises(DeviceError, match="OUT_OF_MEMORY"):
            quick(crops(32))
        assert quick(crops(1))["points"].shape == (1, 68, 2)


def test_batch_sizes_without_memory_are_left_out_at_opening(
    fake: FakeTensorRt, fake_gpu: FakeCuda, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = landmarks(tmp_path / "points.onnx")
    open_runtime(path, runtime="tensorrt").close()  # the plan is built
    fake_gpu.reset(room=100_000)
    with open_runtime(path, runtime="tensorrt") as quick:
        assert quick(crops(1))["points"].shape == (1, 68, 2)
    assert "batches of 32 images do not fit the GPU" in caplog.text
    fake_gpu.reset(room=1_000)
    with pytest.raises(DeviceError, match="OUT_OF_MEMORY"):
        open_runtime(path, runtime="tensorrt")
    fake_gpu.reset()


def test_crops_made_on_the_gpu_go_through_without_the_host(fake: FakeTensorRt, tmp_path: Path) -> None:
    path = landmarks(tmp_path / "points.onnx")
    with open_runtime(path, runtime="tensorrt") as quick, OnnxRuntime(path, device="cpu") as slow:
        with quick.gpu.current():  # type: ignore[attr-defined]
            host = quick.gpu.pinned((3, 3, 32, 32), np.float32)  # type: ignore[attr-defined]
        host.array[:] = crops(3)
        found = quick.run((3, 3, 32, 32), lambda memory, stream: stream.upload(host.array, memory))  # type: ignore[attr-defined]
        np.testing.assert_allclose(found["points"], slow(crops(3))["points"], atol=1e-4)


def test_the_spec_of_a_plan_is_the_models(fake: FakeTensorRt, tmp_path: Path) -> None:
    plan = _found(detector(tmp_path / "boxes.onnx"))[2]
    assert isinstance(plan.spec, Spec)
    assert plan.spec.task == "detector"


# --- what auto picks


def test_auto_takes_tensorrt_first_and_says_so(fake: FakeTensorRt, tmp_path: Path) -> None:
    with open_runtime(landmarks(tmp_path / "points.onnx")) as opened:
        assert opened.provider.startswith("tensorrt")
        assert opened.reason.startswith("TensorRT works on cuda:0")


def test_auto_goes_on_to_the_next_and_says_why(fake: FakeTensorRt, tmp_path: Path) -> None:
    path = landmarks(tmp_path / "points.onnx")
    fake.differs = 1.0
    with open_runtime(path) as opened:
        assert (opened.provider, opened.device) == ("CPUExecutionProvider", "cpu")
        assert re.match(
            r"TensorRT: tiny gives other results.*; ONNX Runtime with CUDA: .*no CUDA provider.*; so the CPU",
            opened.reason,
        )
    with pytest.raises(RuntimeUnavailable, match=r"no runtime works on cuda:0: TensorRT: .*; ONNX Runtime with CUDA"):
        open_runtime(path, device="cuda:0")
    with open_runtime(path, device="cpu") as opened:
        assert opened.reason == "the CPU was asked for"


def test_auto_goes_on_where_our_own_checks_refuse_the_plan(
    fake: FakeTensorRt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "layers", lambda engine: {"layers": 3, "float16": 1})
    path = landmarks(tmp_path / "points.onnx")
    with open_runtime(path) as opened:
        assert "TensorRT: points.onnx is float32, but its plan computes 1 tensors in float16" in opened.reason
    for _ in range(2):  # nor is it built again at every start
        with pytest.raises(RuntimeUnavailable, match=r"is float32, but its plan .* unless .*\.refused is removed"):
            open_runtime(path, runtime="tensorrt")
    assert len(fake.builds) == 1


def test_a_plan_refused_before_is_built_again_once_its_note_is_removed(
    fake: FakeTensorRt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = landmarks(tmp_path / "points.onnx")
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "layers", lambda engine: {"layers": 3, "float16": 1})
        with pytest.raises(ModelError, match="is float32, but its plan"):
            open_runtime(path, runtime="tensorrt")
    (note,) = PlanCache().folder.glob("*.refused")
    note.write_text(f"of another key\n{note.read_text()}")
    open_runtime(path, runtime="tensorrt").close()
    assert len(fake.builds) == 2


def test_all_batch_sizes_are_recorded_at_opening(fake: FakeTensorRt, fake_gpu: FakeCuda, tmp_path: Path) -> None:
    path = landmarks(tmp_path / "points.onnx")
    with open_runtime(path, runtime="tensorrt") as opened:
        recorded = fake_gpu.calls("cuStreamBeginCapture_v2")
        lent = len({address for address, _ in fake.lent})
        for count in (1, 2, 3, 8, 9, 32, 40):
            opened(crops(count))
        assert fake_gpu.calls("cuStreamBeginCapture_v2") == recorded
        assert len({address for address, _ in fake.lent}) == lent


@pytest.mark.parametrize("name", ["Builder", "Runtime"])
def test_a_tensorrt_that_cannot_start_is_an_error_in_words(
    name: str, fake: FakeTensorRt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(logger: object) -> None:
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(fake, name, nothing)
    path = landmarks(tmp_path / "points.onnx")
    with pytest.raises(RuntimeUnavailable, match=r"cannot start .*nullptr.*see nvidia-smi for the driver"):
        open_runtime(path, runtime="tensorrt")
    with open_runtime(path) as opened:
        assert opened.device == "cpu"


def test_a_gpu_that_is_not_there_is_an_error(fake: FakeTensorRt, tmp_path: Path) -> None:
    path = landmarks(tmp_path / "points.onnx")
    for name in ("auto", "tensorrt"):
        with pytest.raises(RuntimeUnavailable, match=r"there is no GPU cuda:1; allowed: cuda:0 \(Fake GPU\)"):
            open_runtime(path, runtime=name, device="cuda:1")  # type: ignore[arg-type]
    with pytest.raises(RuntimeUnavailable, match="TensorRT runs on NVIDIA GPUs only"):
        open_runtime(path, runtime="tensorrt", device="cpu")


def test_a_tensorrt_asked_for_by_name_that_does_not_work_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "nasion.engines.tensorrt.library._MODULES", {"tensorrt": ("no_such",), "tensorrt-rtx": ("nor",)}
    )
    tensorrt.cache_clear()
    with pytest.raises(
        RuntimeUnavailable, match=r"not installed: install the extra tensorrt: pip install 'nasion\[tensorrt\]'"
    ):
        open_runtime(landmarks(tmp_path / "points.onnx"), runtime="tensorrt")
    tensorrt.cache_clear()


def test_tensorrt_without_a_gpu_is_an_error(fake: FakeTensorRt, fake_gpu: FakeCuda, tmp_path: Path) -> None:
    fake_gpu.reset(gpus=0)
    path = landmarks(tmp_path / "points.onnx")
    with pytest.raises(RuntimeUnavailable, match=r"TensorRT needs an NVIDIA GPU: .*CUDA_ERROR_NO_DEVICE"):
        open_runtime(path, runtime="tensorrt")
    with open_runtime(path) as opened:
        assert opened.reason == "no NVIDIA GPU found"


def test_doctor_names_tensorrt_and_its_gpu(fake: FakeTensorRt, fake_gpu: FakeCuda) -> None:
    assert dict(select.working_runtimes())["tensorrt"] == f"works: tensorrt {fake.__version__} on Fake GPU"
    fake_gpu.reset(gpus=0)
    assert re.match(
        r"not available: tensorrt .* is installed, but .*NO_DEVICE", dict(select.working_runtimes())["tensorrt"]
    )
