"""What a built plan is checked for: what its layers compute, and that its results are those of ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nasion.engines import compiling
from nasion.engines.agreement import compare, differences
from nasion.engines.errors import ModelError, RuntimeUnavailable
from nasion.engines.onnx_file import Precision

from .onnx_models import SPEC

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


def test_a_tensorrt_that_tells_no_layers_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    model = SimpleNamespace(path=Path("x.onnx"), precision="fp16", plugins={})
    compiling._check_layers({}, model)  # type: ignore[arg-type]
    assert "does not tell its layers; their types and plugins are not checked" in caplog.text


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
    assert differences(faces, more, "fp32")["valid"].within < 1, "a face that nobody expected"


def test_where_nobody_is_there_all_slots_are_compared_and_nobody_may_be_found() -> None:
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
