"""``nasion compile``, with a fake TensorRT and a fake GPU."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from nasion.engines.errors import NasionError
from nasion.engines.select import open_runtime
from nasion.engines.tensorrt.library import tensorrt
from nasion.engines.tensorrt.plan_cache import read_plan
from nasion.tools.main import main as nasion

from ...support.fakes import tensorrt as fake_tensorrt
from ...support.fakes.cuda import FakeCuda
from ...support.fakes.tensorrt import FakeTensorRt
from ...support.model_files.onnx_models import crops, landmarks


@pytest.fixture(params=("10.7.0", "11.4.0.106"))
def fake(request: pytest.FixtureRequest, fake_gpu: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorRt]:
    """A machine with TensorRT and a GPU."""
    yield fake_tensorrt.install(request.param, monkeypatch)
    tensorrt.cache_clear()


def run(*arguments: object) -> None:
    with pytest.raises(SystemExit) as end:
        nasion([str(each) for each in arguments])
    if end.value.code:
        raise NasionError(str(end.value.code))


def test_compile_builds_tells_all_and_the_runtime_takes_the_plan(
    fake: FakeTensorRt, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = landmarks(tmp_path / "points.onnx"), tmp_path / "points.plan"
    run("compile", path, "--fp16", "--batch", "1:2:4", "--workspace", "64", "-o", out)
    printed = capsys.readouterr().out
    for text in (
        r"building a plan of points for Fake GPU.*there is no plan of points yet",
        r"tensorrt \S+ on Fake GPU \(8\.9\)",
        r"fp16, input 1:2:4 x 32 x 32",
        r"points: worst difference from ONNX Runtime 0\.\d+",
        r"--model \S*points\.plan",
    ):
        assert re.search(text, printed), (text, printed)
    assert read_plan(out).batch == (1, 2, 4)
    with open_runtime(out) as opened:
        assert opened.reason == "a .plan file runs in tensorrt"
        assert opened(crops(5))["points"].shape == (5, 68, 2)
    run("compile", path, "--fp16", "--batch", "1:2:4", "--workspace", "64")
    assert "from the cache" in capsys.readouterr().out
    assert len(fake.builds) == 1


def test_what_compile_makes_by_default_is_what_the_runtime_looks_for(fake: FakeTensorRt, tmp_path: Path) -> None:
    path = landmarks(tmp_path / "points.onnx")
    run("compile", path)
    open_runtime(path, runtime="tensorrt").close()
    assert len(fake.builds) == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--batch", "8"], None),
        (["--batch", "8:1:2"], "not in order"),
        (["--workspace", "0"], "--workspace is 0"),
        (["--longest", "64"], "takes images of 32x32 only"),
        (["-o", "x.onnx"], "suffix"),
        (["-o", f"{__file__}/x.plan"], "is not a folder"),
    ],
)
def test_compile_refuses_what_cannot_be(
    arguments: list[str], text: str | None, fake: FakeTensorRt, tmp_path: Path
) -> None:
    path = landmarks(tmp_path / "points.onnx")
    if text is None:
        run("compile", path, *arguments)
        return
    with pytest.raises(NasionError, match=text):
        run("compile", path, *arguments)
    assert not fake.builds


def test_compile_finds_shipped_models_by_name_and_names_missing_ones(fake: FakeTensorRt) -> None:
    with pytest.raises(NasionError, match="neither a file nor the name of a network"):
        run("compile", "nothing.onnx")
