"""Checks of a built plan: operations of its layers, and parity of its results with those of ONNX Runtime."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from nasion.engines.errors import ModelError, RuntimeUnavailable
from nasion.engines.select import open_runtime
from nasion.engines.tensorrt import compile as compiling
from nasion.engines.tensorrt.engine import Engine
from nasion.engines.tensorrt.fp16 import to_fp16
from nasion.engines.tensorrt.onnx_file import Precision, read_onnx
from nasion.engines.tensorrt.parity import compare, differences
from nasion.engines.tensorrt.photograph import views
from nasion.engines.zoo import model_path

from ...support.model_files.onnx_models import SPEC

# --- layers


@pytest.mark.parametrize(
    ("precision", "layers", "told"),
    [
        (
            "fp32",
            {"layers": 9, "float32": 9, "float16": 1, "plugins": 2},
            "is float32, but its plan computes 1",
        ),
        ("fp16", {"layers": 9, "float32": 9, "plugins": 2}, "is float16, but its plan computes no tensor in float16"),
        ("fp32", {"layers": 9, "float32": 9, "plugins": 1}, "has 2 nodes for plugins, but its plan 1 of them"),
    ],
)
def test_a_plan_of_other_types_or_without_its_plugins_is_refused(
    precision: Precision, layers: dict[str, int], told: str
) -> None:
    model = SimpleNamespace(path=Path("x.onnx"), precision=precision, plugins={"LocationReweight": 2})
    with pytest.raises(ModelError, match=told):
        compiling._check_layers(layers, model)  # type: ignore[arg-type]


def test_a_plan_whose_layers_were_fused_into_one_is_taken_at_the_word_of_its_network() -> None:
    model = SimpleNamespace(path=Path("x.onnx"), precision="fp16", plugins={})
    compiling._check_layers({"layers": 2, "float32": 2, "fused": 1}, model)  # type: ignore[arg-type]
    compiling._check_layers({"layers": 2, "unknown": 2}, model)  # type: ignore[arg-type]


def test_layers_are_counted_as_an_inspector_tells_them() -> None:
    told = [
        {"Name": "a", "LayerType": "CaskConvolution", "Outputs": [{"Format/Datatype": "Channel major FP16 format"}]},
        {"Name": "b", "LayerType": "PluginV3", "Outputs": [{"Format/Datatype": "Half"}, {"Format/Datatype": "Float"}]},
        {"Name": "c", "LayerType": "Other", "PluginVersion": "1", "Outputs": [{"Format/Datatype": "Int64"}]},
        {"Name": "d", "LayerType": "kgen", "Outputs": [{"Format/Datatype": "N/A due to dynamic shapes"}]},
        {"Name": "e", "LayerType": "kgen", "Outputs": [{"Format": "Format not available due to dynamic shapes"}]},
        {"Name": "f", "LayerType": "gemm", "Outputs": [{"Format": "Format not available", "Datatype": "Half"}]},
        {"Name": "{ForeignNode[x...y]}", "LayerType": "Myelin", "Outputs": []},
        "a layer of which only the name is known",
    ]
    inspector = SimpleNamespace(get_engine_information=lambda form: json.dumps({"Layers": told}))
    api = SimpleNamespace(LayerInformationFormat=SimpleNamespace(JSON=1))
    engine = SimpleNamespace(
        _engine=SimpleNamespace(create_engine_inspector=lambda: inspector), _library=SimpleNamespace(api=api)
    )
    counted = {"float16": 3, "float32": 1, "other": 1, "unknown": 2, "plugins": 2, "fused": 1, "layers": 7}
    assert Engine.layers(engine) == counted  # type: ignore[arg-type]


def test_a_tensorrt_that_tells_no_layers_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    model = SimpleNamespace(path=Path("x.onnx"), precision="fp16", plugins={})
    compiling._check_layers({}, model)  # type: ignore[arg-type]
    assert "does not report its layers; their types and plugins are not checked" in caplog.text


# --- agreement


def test_outputs_agree_within_tolerances_or_it_says_how_far_they_differ() -> None:
    def one(images: np.ndarray) -> dict[str, np.ndarray]:
        return {"points": images[:, 0], "confidence": images[:, 1, 0]}

    assert compare(one, one, SPEC, "fp32", batch=3)["points"].worst == 0

    def other(images: np.ndarray) -> dict[str, np.ndarray]:
        return {name: value + 0.1 * (name == "points") for name, value in one(images).items()}

    assert compare(one, other, SPEC, "fp16", batch=3)["points"].worst == pytest.approx(0.1, rel=1e-3)
    with pytest.raises(RuntimeUnavailable, match=r"points by up to 0\.1 \(0\.0% within 0\.05\)$"):
        compare(one, other, SPEC, "fp32", batch=3)


def test_an_image_that_is_other_in_a_batch_than_alone_is_seen() -> None:
    def one(images: np.ndarray) -> dict[str, np.ndarray]:
        return {"points": images[:, 0]}

    def mixes(images: np.ndarray) -> dict[str, np.ndarray]:
        return {"points": images[:, 0] + (len(images) == 1)}

    with pytest.raises(RuntimeUnavailable, match="points by up to 1 "):
        compare(one, mixes, SPEC, "fp16", batch=3)


def test_values_that_are_not_finite_agree_only_with_themselves() -> None:
    odd = np.array([[np.nan, np.inf, 1.0]], np.float32)
    assert differences({"points": odd}, {"points": odd.copy()}, "fp32")["points"].worst == 0
    for other in (np.array([[1, np.inf, 1]]), np.array([[np.nan, 5, 1]]), np.array([[np.nan, np.inf, np.nan]])):
        assert differences({"points": odd}, {"points": other.astype(np.float32)}, "fp32")["points"].within < 1
    assert differences({"points": odd}, {"points": odd[:, :2]}, "fp32")["points"].within == 0


def test_faces_in_another_order_are_the_same_faces() -> None:
    rng = np.random.default_rng(0)
    faces = {
        "boxes": rng.random((2, 5, 4)).astype(np.float32) * 100,
        "points": rng.random((2, 5, 68, 2)).astype(np.float32) * 100,
        "valid": np.array([[1, 1, 1, 0, 0], [0] * 5], np.float32),
    }
    order = [1, 2, 0, 4, 3]
    turned = {name: value[:, order] for name, value in faces.items()}
    assert all(each.worst == 0 for each in differences(faces, turned, "fp32").values())
    turned["valid"][:] = 0
    assert differences(faces, turned, "fp32")["valid"].within == 0
    more = {**faces, "valid": np.array([[1, 1, 1, 1, 0], [0] * 5], np.float32)}
    assert differences(faces, more, "fp32")["valid"].within < 1, "an unexpected face"


def test_without_a_face_all_slots_are_compared_and_none_may_be_found() -> None:
    rng = np.random.default_rng(0)
    nobody = {
        "boxes": rng.random((2, 5, 4)).astype(np.float32) * 100,
        "points": rng.random((2, 5, 68, 2)).astype(np.float32) * 100,
        "valid": np.zeros((2, 5), np.float32),
    }
    turned = {name: value[:, [4, 2, 0, 1, 3]] for name, value in nobody.items()}
    assert all(each.worst == 0 for each in differences(nobody, turned, "fp32").values())
    broken = {name: np.full_like(value, np.nan) for name, value in nobody.items()} | {
        "valid": np.ones((2, 5), np.float32)
    }
    found = differences(nobody, broken, "fp32")
    assert all(found[name].within == 0 for name in nobody), found


# --- what is shown


def test_the_shipped_networks_see_a_face_in_each_view() -> None:
    with open_runtime(model_path("landmarks-68"), device="cpu") as landmarks:
        found = landmarks(views(landmarks.spec, 6))
        assert found["presence"].min() > 0.95
        assert found["confidence"].mean() > 0.8
        apart = np.abs(np.diff(found["points"], axis=0)).max(axis=(1, 2))
        assert apart.min() > 1, "no two are alike"
    with open_runtime(model_path("face-detector"), device="cpu") as detector:
        scores = detector(views(detector.spec, 6))["scores"]
        assert scores.max(axis=1).min() > 0.7


def test_views_are_normalised_as_the_network_wants_them() -> None:
    plain = replace(SPEC, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), channels="rgb")
    levels = views(plain, 3)
    assert levels.shape == (3, 3, 32, 32)
    assert 0 <= levels.min() < 50 < 200 < levels.max() <= 255
    np.testing.assert_allclose(views(replace(plain, channels="bgr"), 3), levels[:, ::-1])
    other = replace(plain, mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 5.0))
    shift, scale = (np.array(each).reshape(3, 1, 1) for each in (other.mean, other.std))
    np.testing.assert_allclose(views(other, 3) * scale + shift, levels, atol=1e-3)


@pytest.mark.parametrize("name", ["landmarks-68", "face-detector"])
def test_rounding_to_float16_is_not_a_disagreement_and_a_shift_is(name: str) -> None:
    model = read_onnx(model_path(name))
    session = onnxruntime.InferenceSession(to_fp16(model).content)
    names = [each.name for each in session.get_outputs()]

    def halved(images: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(None, {"images": images}), strict=True))

    def shifted(images: np.ndarray) -> dict[str, np.ndarray]:
        return halved(np.roll(images, 8, axis=3))

    with open_runtime(model_path(name), device="cpu") as single:
        assert max(each.worst for each in compare(single, halved, model.spec, "fp16", batch=4).values()) > 0
        with pytest.raises(RuntimeUnavailable, match="gives other results than in ONNX Runtime"):
            compare(single, shifted, model.spec, "fp16", batch=4)
