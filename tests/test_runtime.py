"""One conformance suite for every runtime."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from nasion.engines.errors import ModelError, RuntimeUnavailable
from nasion.engines.runtime import RuntimeName, open_runtime, working_runtimes

KINDS: list[tuple[RuntimeName, str]] = [("onnx", ".onnx"), ("torch", ".pt2")]
every_runtime = pytest.mark.parametrize(("name", "suffix"), KINDS)


def crops(batch: int) -> np.ndarray:
    return np.random.default_rng(batch).random((batch, 3, 112, 112), np.float32)


@every_runtime
def test_outputs_are_named_float32_and_one_per_crop(
    name: RuntimeName, suffix: str, tiny_models: dict[str, Path]
) -> None:
    with open_runtime(tiny_models["landmarks" + suffix], runtime=name) as runtime:
        assert runtime.spec.landmarks == 68
        assert runtime.provider
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
    with pytest.raises(RuntimeUnavailable, match="allowed: auto, onnx, torch"):
        open_runtime(tiny_models["landmarks.onnx"], runtime="cuda")  # type: ignore[arg-type]


def test_a_missing_file_and_a_strange_suffix_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a file"):
        open_runtime(tmp_path / "none.onnx")
    (tmp_path / "x.bin").touch()
    with pytest.raises(ModelError, match=r"suffix '\.bin'; allowed: \.onnx, \.pt2"):
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
    with pytest.raises(ModelError, match=r"carries no nasion\.spec"):
        open_runtime(tmp_path / "a.onnx")


def test_doctor_learns_of_every_runtime() -> None:
    report = dict(working_runtimes())
    assert report.keys() == {"onnx", "torch"}
    assert all(text.startswith("works") for text in report.values())


def test_importing_nasion_loads_nothing_heavy() -> None:
    code = (
        "import sys, nasion; heavy = {'torch', 'cv2', 'av', 'onnxruntime', 'numpy'} & set(sys.modules); "
        "assert not heavy, heavy; import nasion.realtime.tracker, nasion.realtime.pipeline, nasion.engines.runtime; "
        "assert 'torch' not in sys.modules"
    )
    source = Path(__file__).resolve().parent.parent / "src"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(source), "PATH": ""})
