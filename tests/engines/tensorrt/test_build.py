"""ONNX to plans: profiles, types, plugins, timing, progress. TensorRT is a fake here (fakes/tensorrt.py)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from nasion.engines.errors import ModelError, NasionError, RuntimeUnavailable
from nasion.engines.gpu.device import Device
from nasion.engines.operators import library as plugins
from nasion.engines.spec import METADATA_KEY
from nasion.engines.tensorrt import library as tensorrt_library
from nasion.engines.tensorrt.build import Profile, build, parse_batch
from nasion.engines.tensorrt.fp16 import to_fp16
from nasion.engines.tensorrt.library import TensorRt, tensorrt
from nasion.engines.tensorrt.onnx_file import read_onnx
from nasion.realtime.tracking.detector import FAR, LONGEST

from ...conftest import ROOT
from ...support.fakes import tensorrt as fake_tensorrt
from ...support.fakes.cuda import FakeCuda
from ...support.fakes.tensorrt import FakeTensorRt
from ...support.model_files.onnx_models import DETECTOR, SPEC, detector, landmarks

VERSIONS = ("10.7.0", "11.4.0.106")
API = json.loads((ROOT / "tests" / "support" / "fakes" / "tensorrt_api.json").read_text())


@pytest.fixture(params=VERSIONS)
def fake(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorRt]:
    yield fake_tensorrt.install(request.param, monkeypatch)
    tensorrt.cache_clear()


@pytest.fixture
def library(fake: FakeTensorRt, fake_gpu: FakeCuda) -> Iterator[TensorRt]:
    """TensorRT on a machine with a GPU whose context is current."""
    with Device() as device, device.current():
        yield tensorrt()


def test_the_fake_has_no_name_that_tensorrt_lacks(fake: FakeTensorRt) -> None:
    real = API[fake.__version__]
    for name in real.keys() - {"functions"}:
        mine = getattr(fake, name, None) or getattr(fake_tensorrt, name, None)
        members = getattr(mine, "__members__", None) or (vars(mine) if isinstance(mine, type) else {})
        missing = {member for member in members if not member.startswith("_")} - set(real[name])
        assert not missing, f"{name} of TensorRT {fake.__version__} has no {missing}"
    assert "get_plugin_registry" in real["functions"]


@pytest.mark.parametrize(("text", "batch"), [("1:8:32", (1, 8, 32)), ("4", (4, 4, 4)), ("2:2:2", (2, 2, 2))])
def test_a_batch_is_three_numbers_or_one(text: str, batch: tuple[int, int, int]) -> None:
    assert parse_batch(text) == batch


@pytest.mark.parametrize("text", ["", "1:8", "8:1:32", "0:1:2", "a:b:c", "1:2:3:4", "-1"])
def test_other_batches_are_refused(text: str) -> None:
    with pytest.raises(NasionError, match="for example 1:8:32"):
        parse_batch(text)


def test_a_profile_covers_what_the_tracker_asks_for() -> None:
    crops = Profile.of(SPEC)
    assert list(crops.shapes()) == [(1, 3, 32, 32), (8, 3, 32, 32), (32, 3, 32, 32)]
    assert str(crops) == "1:8:32 x 32 x 32"
    images = Profile.of(replace(DETECTOR, size=(96, 64)))
    assert list(images.shapes()) == [(1, 3, 32, 32), (1, 3, 64, 96), (4, 3, 384, 384)]
    assert str(Profile.of(DETECTOR, batch=(2, 2, 2), longest=70)) == "2 x 32:64:96 x 32:64:96"
    assert [Profile.of(DETECTOR, shown=side).width[2] for side in (100, 256, 300)] == [256, 256, 320]
    assert Profile.of(DETECTOR).width[2] >= FAR * 64  # the view for small faces in a large image
    assert Profile.of(replace(DETECTOR, task="faces")).width[2] == LONGEST * 64  # as long as it is ever shown


def test_a_longest_side_that_cannot_be_is_refused() -> None:
    with pytest.raises(NasionError, match="takes images of 32x32 only"):
        Profile.of(SPEC, longest=64)
    with pytest.raises(NasionError, match="must be at least 64"):
        Profile.of(DETECTOR, longest=32)


def test_a_model_says_its_types_and_our_nodes(tmp_path: Path) -> None:
    plain, ours = read_onnx(landmarks(tmp_path / "a.onnx")), read_onnx(landmarks(tmp_path / "b.onnx", node=True))
    assert (plain.spec, plain.precision, plain.plugins) == (SPEC, "fp32", {})
    assert plain.inputs == {"images": "float32"}
    assert set(plain.outputs.values()) == {"float32"}
    assert ours.plugins == {"Decode": 1}


def test_files_that_are_no_model_of_ours_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(b"\xff\xff no model")
    with pytest.raises(ModelError, match=r"x\.onnx: not an ONNX file"):
        read_onnx(path)
    onnx.save(
        onnx.parser.parse_model(
            '<ir_version: 10, opset_import: ["": 20]> g (float[1] x) => (float[1] y) { y = Relu (x) }'
        ),
        path,
    )
    with pytest.raises(ModelError, match=r"has no nasion\.spec"):
        read_onnx(path)


@pytest.mark.parametrize("make", [landmarks, detector])
def test_in_halves_only_decoding_stays_in_singles(make: object, tmp_path: Path) -> None:
    model = read_onnx(make(tmp_path / "a.onnx"))  # type: ignore[operator]
    halved = to_fp16(model)
    assert (halved.precision, halved.spec, halved.path) == ("fp16", model.spec, model.path)
    assert halved.sha256 != model.sha256, "plans of both are not the same"
    (tmp_path / "b.onnx").write_bytes(halved.content)
    again = read_onnx(tmp_path / "b.onnx")
    assert (again.precision, again.inputs, again.outputs) == ("fp16", model.inputs, model.outputs)
    assert to_fp16(again) is again
    onnx.checker.check_model(onnx.load_from_string(halved.content))
    images = np.random.default_rng(3).uniform(0, 255, (2, 3, *model.spec.size)).astype(np.float32)
    runs = [onnxruntime.InferenceSession(each.content).run(None, {"images": images}) for each in (model, halved)]
    for single, half in zip(*runs, strict=True):
        assert 0 < np.abs(single - half).max() < 0.02


def test_sums_stay_single_and_numbers_that_would_vanish_are_refused(tmp_path: Path) -> None:
    """The sum of the first layer is 3 x 4 x 64 x 255 = 195840, more than float16 has."""
    text = """
    <ir_version: 10, opset_import: ["": 20]>
    g (float[B,3,8,8] images) => (float[B,4,8,8] points, float[B,1,1,1] confidence)
    <float[4,3,1,1] first, float[1,4,1,1] second, float least = {{{least}}}>
    {{
      a = Conv (images, first)
      sum = ReduceSum <keepdims = 1> (a, axes)
      b = Div (a, sum)
      c = Max (b, least)
      points = Identity (c)
      d = ReduceMean <keepdims = 1> (c, wide)
      confidence = Conv (d, second)
    }}
    """

    def written(least: str) -> Path:
        weights = {"first": np.ones((4, 3, 1, 1), np.float32), "second": np.ones((1, 4, 1, 1), np.float32)}
        weights |= {"axes": np.int64([1, 2, 3]), "wide": np.int64([2, 3])}
        return save(tmp_path / "sums.onnx", text.format(least=least), weights)

    model = read_onnx(written("0.001"))
    images = np.full((1, 3, 8, 8), 255, np.float32)
    for each in (model, to_fp16(model)):
        points, confidence = onnxruntime.InferenceSession(each.content).run(None, {"images": images})
        np.testing.assert_allclose(points, 1 / 256, rtol=1e-3)
        np.testing.assert_allclose(confidence, 4 / 256, rtol=1e-3)
    with pytest.raises(ModelError, match="the number 1e-12, which is 0 in float16; export it in float16 instead"):
        to_fp16(read_onnx(written("0.000000000001")))


def save(path: Path, text: str, weights: dict[str, np.ndarray]) -> Path:
    """Write a model of ours from its text."""
    model = onnx.parser.parse_model(text)
    for name, values in weights.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, SPEC.to_json()
    onnx.save(model, path)
    return path


def test_halves_keep_outputs_and_resizing_as_they_must_be(tmp_path: Path) -> None:
    text = """
    <ir_version: 10, opset_import: ["": 20]>
    g (float[B,3,8,8] images) => (float[B,2,16,16] points, float[B,2,15,15] confidence)
    <float[2,3,1,1] first, float[2,2,2,2] second, float[4] scales = {1.0, 1.0, 2.0, 2.0}>
    { a = Conv (images, first)  points = Resize (a, , scales)  confidence = Conv (points, second) }
    """
    weights = {name: np.ones(shape, np.float32) for name, shape in (("first", (2, 3, 1, 1)), ("second", (2, 2, 2, 2)))}
    save(tmp_path / "a.onnx", text, weights)
    halved = to_fp16(read_onnx(tmp_path / "a.onnx"))
    onnx.checker.check_model(onnx.load_from_string(halved.content), full_check=True)
    session = onnxruntime.InferenceSession(halved.content)
    points, confidence = session.run(["points", "confidence"], {"images": np.ones((1, 3, 8, 8), np.float32)})
    assert points.dtype == confidence.dtype == np.float32
    assert (points == 3).all()
    assert (confidence == 24).all()


def test_a_model_with_coordinates_inside_is_not_halved_here(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="export it in float16 instead: nasion export CHECKPOINT --fp16"):
        to_fp16(read_onnx(landmarks(tmp_path / "a.onnx", node=True)))


def test_what_is_built_takes_its_types_from_the_file(library: TensorRt, fake: FakeTensorRt, tmp_path: Path) -> None:
    model = read_onnx(landmarks(tmp_path / "a.onnx"))
    for each in (model, to_fp16(model)):
        built = build(library, each, Profile.of(SPEC), workspace=64)
        assert built.engine.startswith(fake_tensorrt.MAGIC)
        assert (built.plugins, built.layers >= 7) == (0, True)
    assert fake.builds == [{"tf32": False, "WORKSPACE": 64 << 20, "timing": b""}] * 2


def test_a_network_of_other_types_than_asked_for_is_an_error(library: TensorRt, tmp_path: Path) -> None:
    model = read_onnx(landmarks(tmp_path / "a.onnx"))
    with pytest.raises(ModelError, match="asked for float16, but it has convolutions in float32"):
        build(library, replace(model, precision="fp16"), Profile.of(SPEC))
    assert to_fp16(model).layers == {"scores": "float16", "points": "float32"}
    with pytest.raises(ModelError, match="layer points has weights in float16, but TensorRT has float32"):
        build(library, replace(model, layers={**model.layers, "points": "float16"}), Profile.of(SPEC))
    with pytest.raises(ModelError, match=r"inputs and outputs are .*float64.* but TensorRT has .*float32"):
        build(library, replace(model, inputs={"images": "float64"}), Profile.of(SPEC))


def test_a_network_whose_types_tensorrt_may_choose_is_an_error(
    library: TensorRt, fake: FakeTensorRt, tmp_path: Path
) -> None:
    library.strong_flag = 0
    if fake.major > 10:  # it knows no other networks
        build(library, read_onnx(landmarks(tmp_path / "a.onnx")), Profile.of(SPEC))
        return
    with pytest.raises(ModelError, match="may choose the types"):
        build(library, read_onnx(landmarks(tmp_path / "a.onnx")), Profile.of(SPEC))


def test_nodes_of_ours_need_their_plugins(
    library: TensorRt, fake: FakeTensorRt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = read_onnx(landmarks(tmp_path / "a.onnx", node=True))

    def missing(kind: str) -> Path:
        raise RuntimeUnavailable("the plugins library is not built; run: nasion plugins build")

    monkeypatch.setattr(plugins, "locate", missing)
    with pytest.raises(RuntimeUnavailable, match="nasion plugins build"):
        build(library, model, Profile.of(SPEC))
    compiled = tmp_path / "libnasion_plugins.so"
    compiled.write_bytes(b"code")
    monkeypatch.setattr(plugins, "locate", lambda kind: compiled)
    assert build(library, model, Profile.of(SPEC)).plugins == 1
    assert build(library, model, Profile.of(SPEC)).plugins == 1
    assert fake.registry._loaded == [str(compiled)], "loaded once"


def test_a_node_whose_body_was_taken_instead_of_the_plugin_is_an_error(
    library: TensorRt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = read_onnx(landmarks(tmp_path / "a.onnx", node=True))
    monkeypatch.setattr(library, "load_plugins", lambda: "")
    with pytest.raises(ModelError, match=r"1 custom nodes \(Decode\), but TensorRT made 0 plugins"):
        build(library, model, Profile.of(SPEC))


def test_a_library_that_tensorrt_does_not_take_is_named(
    library: TensorRt, fake: FakeTensorRt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = tmp_path / "libnasion_plugins.so"
    compiled.write_bytes(b"code")
    monkeypatch.setattr(plugins, "locate", lambda kind: compiled)
    monkeypatch.setattr(fake.registry, "load_library", lambda path: None, raising=False)
    with pytest.raises(RuntimeUnavailable, match=r"does not accept .*libnasion_plugins\.so.*nasion plugins build"):
        library.load_plugins()


def test_an_operator_that_tensorrt_lacks_is_named(library: TensorRt, tmp_path: Path) -> None:
    model = read_onnx(landmarks(tmp_path / "a.onnx"))
    graph = onnx.load_from_string(model.content)
    graph.graph.node[1].op_type = "Unheard"
    with pytest.raises(RuntimeUnavailable, match=r"cannot read a\.onnx: Unheard node 1: no importer; .*--runtime onnx"):
        build(library, replace(model, content=graph.SerializeToString()), Profile.of(SPEC))


def test_what_was_measured_makes_the_next_build_quicker_and_damage_does_no_harm(
    library: TensorRt, fake: FakeTensorRt, tmp_path: Path
) -> None:
    model, profile = read_onnx(landmarks(tmp_path / "a.onnx")), Profile.of(SPEC)
    first = build(library, model, profile)
    assert first.timing
    for timing in (first.timing, b"damaged", b"times of 9.0"):
        assert build(library, model, profile, timing=timing).timing == first.timing
    assert [each["timing"] for each in fake.builds] == [b"", first.timing, b"", b""]


def test_progress_is_reported_and_ctrl_c_ends_the_build(library: TensorRt, tmp_path: Path) -> None:
    model, told = read_onnx(landmarks(tmp_path / "a.onnx")), []
    build(library, model, Profile.of(SPEC), progress=lambda *step: told.append(step))
    assert told == [("Building engine", 0, 2), ("Building engine", 1, 2), ("Building engine", 2, 2)]

    def stop(name: str, done: int, steps: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(library, model, Profile.of(SPEC), progress=stop)


def test_a_profile_that_tensorrt_does_not_take_is_an_error(library: TensorRt, tmp_path: Path) -> None:
    model = read_onnx(landmarks(tmp_path / "a.onnx"))
    with pytest.raises(RuntimeUnavailable, match="does not accept input of 8:4:2 x 32 x 32"):
        build(library, model, Profile((8, 4, 2), (32,) * 3, (32,) * 3))


@pytest.mark.parametrize(("version", "text"), [("10.6.0", "10.7 is the oldest"), ("8.6.1", "10.7 is the oldest")])
def test_a_tensorrt_that_is_too_old_says_so(version: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tensorrt.install(version, monkeypatch)
    with pytest.raises(RuntimeUnavailable, match=text):
        tensorrt()
    tensorrt.cache_clear()


def test_without_tensorrt_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_library, "_MODULES", {"tensorrt": ("no_such_module",), "tensorrt-rtx": ("nor_this",)})
    tensorrt.cache_clear()
    assert tensorrt_library.installed() == ()
    with pytest.raises(
        RuntimeUnavailable,
        match=r"tensorrt is not installed: install the extra tensorrt: pip install 'nasion\[tensorrt\]'",
    ):
        tensorrt()
    tensorrt.cache_clear()


def test_a_tensorrt_that_cannot_be_loaded_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_tensorrt.py").write_text(
        "raise ImportError('libnvinfer.so.10: cannot open shared object file')"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(tensorrt_library, "_MODULES", {"tensorrt": ("broken_tensorrt",), "tensorrt-rtx": ("nor_this",)})
    tensorrt.cache_clear()
    with pytest.raises(RuntimeUnavailable, match=r"cannot be loaded \(libnvinfer\.so\.10"):
        tensorrt()
    tensorrt.cache_clear()
