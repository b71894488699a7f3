"""Plans that a user names: TensorRT and the GPU are fakes, all of ours is real."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nasion.engines.errors import ModelError, RuntimeUnavailable
from nasion.engines.gpu.device import Device
from nasion.engines.select import open_runtime
from nasion.engines.tensorrt.compile import BuildOptions, plan_of
from nasion.engines.tensorrt.library import tensorrt
from nasion.engines.tensorrt.plan_cache import read_plan

from ...support.fakes import tensorrt as fake_tensorrt
from ...support.fakes.cuda import FakeCuda
from ...support.fakes.tensorrt import FakeTensorRt
from ...support.model_files.onnx_models import detector, landmarks


@pytest.fixture
def fake(fake_gpu: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorRt]:
    """A machine with TensorRT and a GPU."""
    yield fake_tensorrt.install("10.7.0", monkeypatch)
    tensorrt.cache_clear()


def compiled(model: Path, build_options: BuildOptions) -> Path:
    """A plan beside its model, as ``nasion compile -o`` writes it."""
    with Device() as device:
        ready = plan_of(model, tensorrt(), device, build_options=build_options, say=lambda text: None)
        ready.engine.close()
    plan = model.with_suffix(".plan")
    plan.write_bytes(ready.path.read_bytes())
    return plan


DEFAULT = BuildOptions()
OPTIONS = [DEFAULT, BuildOptions(fp16=True, batch=(1, 2, 4), workspace=64)]


@pytest.mark.parametrize("build_options", OPTIONS, ids=["as it is", "as it was asked for"])
def test_a_plan_of_another_version_is_built_again_from_its_model(
    build_options: BuildOptions,
    fake: FakeTensorRt,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plan = compiled(landmarks(tmp_path / "points.onnx"), build_options)
    before, kept = read_plan(plan), plan.read_bytes()
    newer = fake_tensorrt.install("10.9.0", monkeypatch)
    for _ in range(2):
        with open_runtime(plan) as opened:
            assert opened.provider == "tensorrt 10.9.0"
            assert opened(np.ones((5, 3, 32, 32), np.float32))["points"].shape == (5, 68, 2)
    assert len(newer.builds) == 1
    assert plan.read_bytes() == kept
    told = [each.message for each in caplog.records if each.levelno >= logging.WARNING]
    assert told[0].startswith("points.plan was built for another configuration: the version tensorrt 10.7.0, wanted is")
    assert "a plan of points.onnx is used instead" in told[0]
    assert sum("building a plan of points for Fake GPU" in each for each in told) == 1
    (fresh,) = (each for each in map(read_plan, (tmp_path / "plans").glob("*.plan")) if "10.9.0" in each.key.tensorrt)
    assert (fresh.batch, fresh.key.precision) == (before.batch, before.key.precision)
    assert (fresh.key.profile, fresh.key.workspace) == (before.key.profile, before.key.workspace)


def test_a_plan_of_another_gpu_keeps_the_sides_that_it_takes(
    fake: FakeTensorRt, fake_gpu: FakeCuda, tmp_path: Path
) -> None:
    plan = compiled(detector(tmp_path / "boxes.onnx"), BuildOptions(longest=256))
    fake_gpu.reset(gpus=2)
    with open_runtime(plan, device="cuda:1") as opened:
        assert opened(np.ones((1, 3, 256, 64), np.float32))
    assert len(fake.builds) == 2


def test_without_its_own_model_it_is_refused_with_what_to_do(
    fake: FakeTensorRt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = landmarks(tmp_path / "points.onnx")
    plan = compiled(model, DEFAULT)
    newer = fake_tensorrt.install("10.9.0", monkeypatch)
    landmarks(model, seed=1)  # another one of this name
    for _ in range(2):
        with pytest.raises(
            RuntimeUnavailable, match=r"10\.9\.0; build one .* compile MODEL\.onnx \(.* as points\.onnx"
        ):
            open_runtime(plan)
        model.unlink(missing_ok=True)
    assert not newer.builds


def test_a_damaged_plan_is_refused_also_beside_its_model(fake: FakeTensorRt, tmp_path: Path) -> None:
    plan = compiled(landmarks(tmp_path / "points.onnx"), DEFAULT)
    plan.write_bytes(plan.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"points\.plan is damaged"):
        open_runtime(plan)
