"""TensorRT-RTX as it is, which builds without a GPU: run where it is installed, in this environment or another.

    python -m venv rtx && rtx/bin/pip install numpy onnx tensorrt-rtx-cu13-libs==1.7.1.116 \
        tensorrt-rtx-cu13-bindings==1.7.1.116
    NASION_RTX_PYTHON=rtx/bin/python pytest tests/engines/tensorrt/test_rtx.py
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from nasion.engines.errors import NasionError, RuntimeUnavailable
from nasion.engines.operators.library import built
from nasion.engines.tensorrt import rtx
from nasion.engines.tensorrt.rtx import RtxBuild, build_apart
from nasion.tools.commands import rtx as command
from nasion.tools.main import main as nasion

from ...support.model_files.onnx_models import landmarks

RESULT = RtxBuild("tiny", "tiny.onnx", "a" * 64, "fp32", "1:8:32 x 32 x 32", {}, 0, 9, 1.5, 2_000_000, "1.7", "")


@pytest.fixture
def python() -> Path:
    """An interpreter that has TensorRT-RTX."""
    if given := os.environ.get("NASION_RTX_PYTHON"):
        return Path(given).absolute()
    if importlib.util.find_spec("tensorrt_rtx_libs") is None:
        pytest.skip("TensorRT-RTX is not installed; name an interpreter that has it in NASION_RTX_PYTHON")
    return Path(sys.executable)


def test_a_model_is_built_by_tensorrt_rtx_in_both_precisions(python: Path, tmp_path: Path) -> None:
    path = landmarks(tmp_path / "points.onnx")
    single, half = build_apart(path, python=python), build_apart(path, fp16=True, python=python)
    assert (single.error, half.error) == ("", "")
    assert (single.network, single.file, single.precision) == ("tiny", "points.onnx", "fp32")
    assert (half.precision, half.profile) == ("fp16", "1:8:32 x 32 x 32")
    assert min(single.bytes, half.bytes) > 1000
    assert single.layers > 5
    assert single.version.count(".") == 3


def test_it_has_what_our_runtime_asks_of_it(python: Path) -> None:
    """Names that only a machine with a GPU would call."""
    names = {
        "ICudaEngine": ["create_runtime_config", "create_execution_context", "device_memory_size_v2"],
        "IRuntimeConfig": [
            "set_execution_context_allocation_strategy", "dynamic_shapes_kernel_specialization_strategy",
        ],
        "IExecutionContext": ["update_device_memory_size_for_shapes", "set_device_memory", "execute_async_v3"],
        "ExecutionContextAllocationStrategy": ["USER_MANAGED"],
        "DynamicShapesKernelSpecializationStrategy": ["EAGER"],
    }  # fmt: skip
    missing = f"[n for k, v in {names}.items() for n in v if not hasattr(getattr(t, k), n)]"
    code = f"import tensorrt_rtx_bindings as t; print({missing})"
    told = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_a_model_that_tensorrt_rtx_cannot_read_says_which_operator(python: Path, tmp_path: Path) -> None:
    path = landmarks(tmp_path / "points.onnx")
    model = onnx.load(path)
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Unheard"
    onnx.save(model, path)
    assert re.search(r"cannot read points\.onnx: .*Unheard", build_apart(path, python=python).error)


@pytest.fixture
def _plugins() -> None:
    """The library of our plugins is built."""
    found = built()
    if found is None or found.stale or "plugins" not in found.libraries:
        pytest.skip("the plugin library is not built: nasion plugins build")


@pytest.mark.usefixtures("_plugins")
def test_a_node_of_ours_becomes_a_plugin_where_the_library_is_built(python: Path, tmp_path: Path) -> None:
    result = build_apart(_reweighting(tmp_path / "points.onnx"), python=python)
    assert result.error == ""
    assert (result.nodes, result.plugins) == ({"LocationReweight": 1}, 1)
    assert re.fullmatch("[0-9a-f]{64}", result.plugin_library)


@pytest.mark.usefixtures("_plugins")
@pytest.mark.parametrize(
    ("before", "attributes", "text"),
    [
        (None, {"threshold": "half"}, "attribute threshold is .* give one float"),
        (("ReduceMean", ["bright", "last"], {"keepdims": 0}), {}, "maps have rank 3; give 4"),
        (("Cast", ["bright"], {"to": onnx.TensorProto.INT32}), {}, "maps hold int32; allowed: float32, float16"),
    ],
)
def test_a_plugin_says_itself_what_it_does_not_take(
    before: tuple[str, list[str], dict[str, int]] | None,
    attributes: dict[str, object],
    text: str,
    python: Path,
    tmp_path: Path,
) -> None:
    path = _reweighting(tmp_path / "points.onnx", **attributes)
    if before is not None:
        model, (name, inputs, values) = onnx.load(path), before
        model.graph.node[2].input[0] = "other"
        model.graph.node.insert(2, onnx.helper.make_node(name, inputs, ["other"], **values))
        onnx.save(model, path)
    assert re.search(text, build_apart(path, python=python).error)


@pytest.mark.usefixtures("_plugins")
@pytest.mark.parametrize(
    ("attributes", "rois", "text"),
    [
        ({"output_size": 65}, np.zeros((1, 5), np.float32), "attribute output_size is 65; allowed: 1 to 64"),
        ({}, np.zeros((2, 4), np.float32), "rois have 4 columns; give 5: image index"),
        ({}, np.zeros((1, 5), np.float16), "rois hold float16; allowed: float32"),
    ],
)
def test_the_plugin_of_regions_says_itself_what_it_does_not_take(
    attributes: dict[str, object], rois: np.ndarray, text: str, python: Path, tmp_path: Path
) -> None:
    path = _reweighting(tmp_path / "points.onnx")
    model = onnx.load(path)
    node = onnx.helper.make_node(
        "MultiLevelRoIAlign", ["bright", "rois"], ["other"], domain="nasion",
        **{"scales": [1.0], "output_size": 7, "plugin_namespace": "nasion", "plugin_version": "1"} | attributes,
    )  # fmt: skip
    model.graph.initializer.append(onnx.numpy_helper.from_array(rois, "rois"))
    model.graph.node[2].input[0] = "other"
    model.graph.node.insert(2, node)
    onnx.save(model, path)
    assert text in build_apart(path, python=python).error


def _reweighting(path: Path, **attributes: object) -> Path:
    """The tiny model, decoding by location reweighting; its body is never needed here, so it is none."""
    landmarks(path)
    model = onnx.load(path)
    kept = [node for node in model.graph.node if node.op_type in ("Conv", "Relu", "ReduceMean")]
    del model.graph.node[:]
    node = onnx.helper.make_node(
        "LocationReweight", ["bright"], ["points", "confidence"], domain="nasion",
        **{"threshold": 0.5, "plugin_namespace": "nasion", "plugin_version": "1"} | attributes,
    )  # fmt: skip
    model.graph.node.extend([*kept[:2], node, kept[2]])
    model.opset_import.append(onnx.helper.make_opsetid("nasion", 1))
    onnx.save(model, path)
    return path


def test_an_interpreter_without_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtx, "_FIND", "raise SystemExit(1)")
    with pytest.raises(RuntimeUnavailable, match=r"not installed in .*pip install tensorrt-rtx-cu13-libs"):
        build_apart(tmp_path / "points.onnx")
    with pytest.raises(RuntimeUnavailable, match="not a Python interpreter"):
        build_apart(tmp_path / "points.onnx", python=tmp_path / "nowhere")


def test_a_process_that_it_ends_is_an_error_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtx, "_FIND", f"print({str(tmp_path)!r})")
    monkeypatch.setattr(rtx, "_RUN", "import os, sys; print('last words', file=sys.stderr, flush=True); os.abort()")
    path = landmarks(tmp_path / "points.onnx")
    assert build_apart(path).error == "TensorRT-RTX exited with -6: last words"
    with pytest.raises(SystemExit) as end:  # what else came of it is not lost
        nasion(["rtx", str(path), "--json", str(tmp_path / "rtx.json")])
    assert "points.onnx, fp32: TensorRT-RTX exited with -6" in str(end.value.code)
    (told,) = json.loads((tmp_path / "rtx.json").read_text())["results"]
    assert told["error"].endswith("last words")


def test_a_file_that_is_not_a_model_is_an_error_of_its_own(python: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_text("no model")
    result = build_apart(path, python=python)
    assert "not an ONNX file" in result.error
    assert (result.network, result.file) == ("x", "x.onnx")


def test_it_finds_its_library_under_the_name_that_the_wheel_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "libtensorrt_rtx.so.1").touch()
    (tmp_path / "libtensorrt_onnxparser_rtx.so.1").touch()
    monkeypatch.setattr(rtx, "_FIND", f"print({str(tmp_path)!r})")
    folder = "os.environ['LD_LIBRARY_PATH'].split(os.pathsep)[0]"
    listing = f"import json, os; print(json.dumps(dict(error=sorted(os.listdir({folder})))))"
    monkeypatch.setattr(rtx, "_RUN", listing)
    monkeypatch.setattr(rtx, "RtxBuild", dict)
    wanted = ["libtensorrt_onnxparser_rtx.so.1", "libtensorrt_rtx.so", "libtensorrt_rtx.so.1"]
    assert build_apart(tmp_path / "points.onnx") == {"error": wanted}


def test_the_command_prints_a_table_and_keeps_all_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, report = landmarks(tmp_path / "points.onnx"), tmp_path / "rtx.json"
    monkeypatch.setattr(
        rtx, "build_apart", lambda path, fp16=False, python=None: replace(RESULT, precision="fp16" if fp16 else "fp32")
    )
    with pytest.raises(SystemExit) as end:
        nasion(["rtx", str(path), "--fp16", "--json", str(report)])
    assert not end.value.code
    assert re.search(r"tiny +fp16 +1:8:32 x 32 x 32 +– +9 +1\.5 +2\.0\n", capsys.readouterr().out)
    written = json.loads(report.read_text())
    assert [each["precision"] for each in written["results"]] == ["fp32", "fp16"]
    assert written["versions"]["tensorrt-rtx"] == "1.7"
    with pytest.raises(SystemExit, match="already exists"):
        nasion(["rtx", str(path), "--json", str(report)])


def test_a_network_that_cannot_be_built_makes_the_command_fail_after_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = landmarks(tmp_path / "points.onnx")
    monkeypatch.setattr(rtx, "build_apart", lambda path, fp16=False, python=None: replace(RESULT, error="no importer"))
    with pytest.raises(SystemExit, match=r"tiny\.onnx, fp32: no importer"):
        nasion(["rtx", str(path)])
    assert re.search(r"tiny +fp32 +1:8:32 x 32 x 32 +cannot be built", capsys.readouterr().out)


def test_plugins_are_counted_against_the_nodes_of_ours() -> None:
    assert "1 of 2" in command.table([replace(RESULT, nodes={"LocationReweight": 2}, plugins=1)])
    with pytest.raises(NasionError, match="is not a folder"):
        command.rtx([], json=Path(__file__) / "x.json")
