"""Our operators in torch and as ONNX nodes, against each other and against the NumPy reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor, nn

from nasion.engines.operators import reference
from nasion.trainers.export import nodes
from nasion.trainers.networks import operators
from nasion.trainers.networks.decoding import reweighted

Array = NDArray[np.float32]

SIZE, SCALES, CHANNELS, MAPS = 3, (1 / 4, 1 / 8), (2, 5), ((12, 16), (6, 8))
ROIS = {
    "inside": (0, 8.0, 4.0, 40.0, 30.0),
    "of the second image": (1, 8.0, 4.0, 40.0, 30.0),
    "larger than the map": (0, -20.3, -30.1, 90.2, 100.4),
    "half outside": (1, -24.2, 10.1, 20.3, 60.4),
    "smaller than a cell": (0, 17.2, 9.1, 19.0, 10.4),
    "empty": (1, 13.0, 21.0, 13.0, 21.0),
    "inverted": (0, 30.0, 20.0, 10.0, 5.0),
    "far outside": (1, 500.0, 500.0, 540.0, 540.0),
}


def levels(dtype: type = np.float32) -> list[NDArray[Any]]:
    rng = np.random.default_rng(5)
    return [
        rng.normal(size=(2, channels, *sides)).astype(dtype) for channels, sides in zip(CHANNELS, MAPS, strict=True)
    ]


def rois() -> Array:
    return np.array(list(ROIS.values()), np.float32)


def run(op_type: str, inputs: dict[str, NDArray[Any]], outputs: tuple[str, ...], **attributes: Any) -> list[Array]:
    """One node of ours in ONNX Runtime, which knows of it only what its body says."""
    kinds = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float16): TensorProto.FLOAT16}
    node = helper.make_node(op_type, list(inputs), list(outputs), domain=operators.DOMAIN, **attributes, **nodes.PLUGIN)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(name, kinds[x.dtype], [None] * x.ndim) for name, x in inputs.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(operators.DOMAIN, nodes.VERSION)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    nodes.add_bodies(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[Array] = session.run(None, inputs)
    return found


def align(maps: list[NDArray[Any]], boxes: Array, *, sampling: int = 2, normalize: int = 1) -> Array:
    inputs = {f"level{i}": each for i, each in enumerate(maps)} | {"rois": boxes}
    attributes = {"scales": SCALES[: len(maps)], "output_size": SIZE, "sampling_ratio": sampling}
    (features,) = run(
        "MultiLevelRoIAlign", inputs, ("features",), **attributes, normalize=normalize, epsilon=operators.EPSILON
    )
    return features


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("sampling", [1, 2, 3])
def test_regions_agree_with_the_numpy_reference_in_torch_and_in_onnx_runtime(sampling: int, normalize: bool) -> None:
    expected = reference.multi_level_roi_align(
        levels(), rois(), scales=SCALES, output_size=SIZE, sampling_ratio=sampling, normalize=normalize
    )
    in_torch = torch.ops.nasion.multi_level_roi_align(
        [torch.from_numpy(each) for each in levels()],
        torch.from_numpy(rois()),
        list(SCALES),
        SIZE,
        sampling,
        normalize,
        operators.EPSILON,
    )
    in_onnx = align(levels(), rois(), sampling=sampling, normalize=int(normalize))
    for k, name in enumerate(ROIS):
        np.testing.assert_allclose(in_torch[k].numpy(), expected[k], atol=2e-5, err_msg=name)
        np.testing.assert_allclose(in_onnx[k], expected[k], atol=2e-5, err_msg=name)


def test_a_region_alone_is_what_it_is_among_others_and_none_are_none() -> None:
    together = align(levels(), rois())
    for k in range(len(rois())):
        np.testing.assert_array_equal(align(levels(), rois()[k : k + 1])[0], together[k])
    assert align(levels(), rois()[:0]).shape == (0, sum(CHANNELS), SIZE, SIZE)


def test_one_level_will_do() -> None:
    expected = reference.multi_level_roi_align(levels()[:1], rois(), scales=SCALES[:1], output_size=SIZE)
    np.testing.assert_allclose(align(levels()[:1], rois()), expected, atol=2e-5)


def test_half_precision_features_are_added_up_in_full() -> None:
    """Vectors whose squares float16 cannot hold still get length 1."""
    long = [(each * 200).astype(np.float16) for each in levels(np.float16)]
    features = align(long, rois())
    assert features.dtype == np.float16
    expected = reference.multi_level_roi_align(long, rois(), scales=SCALES, output_size=SIZE)
    np.testing.assert_allclose(features, expected, atol=2e-3)
    boxes = torch.from_numpy(rois()[None, :1, 1:])
    plain = operators.multi_level_roi_align(
        [torch.from_numpy(each[:1]) for each in long], boxes, size=SIZE, scales=SCALES, normalize=True
    )
    assert plain.dtype == torch.float16
    np.testing.assert_allclose(plain[0].float().numpy(), expected[0], atol=2e-3)


def maps(dtype: type = np.float32) -> NDArray[Any]:
    """Two items of four maps: cells above 0.5, one peak at the edge, none above 0.5, nothing at all."""
    scores = np.random.default_rng(6).random((2, 4, 7, 9)) * 0.45
    scores[:, 0, 2:4, 3:6] += 0.5
    scores[:, 1, 0, 8] = 0.9
    scores[:, 3] = 0
    return scores.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_points_agree_with_the_numpy_reference_in_torch_and_in_onnx_runtime(dtype: type) -> None:
    found = run("LocationReweight", {"maps": maps(dtype)}, ("points", "confidence"), threshold=0.5)
    expected = reference.location_reweight(maps(dtype), threshold=0.5)
    in_torch = torch.ops.nasion.location_reweight(torch.from_numpy(maps(dtype)), 0.5)
    for onnx_found, torch_found, wanted in zip(found, in_torch, expected, strict=True):
        assert onnx_found.dtype == np.float32
        assert torch_found.dtype == torch.float32
        np.testing.assert_allclose(onnx_found, wanted, atol=1e-5)
        np.testing.assert_allclose(torch_found.numpy(), wanted, atol=1e-5)


def test_maps_with_nothing_above_the_threshold_give_their_highest_cell_and_how_high_it_is() -> None:
    points, confidence = run("LocationReweight", {"maps": maps()}, ("points", "confidence"), threshold=0.5)
    assert (confidence[:, 2:] < 0.5).all()
    for item in range(2):
        row, column = np.unravel_index(maps()[item, 2].argmax(), (7, 9))
        assert np.abs(points[item, 2] - (column, row)).max() <= 0.25
        assert confidence[item, 2] == maps()[item, 2].max()
    assert points[:, 3].tolist() == [[0, 0], [0, 0]]


def test_an_item_alone_has_the_points_that_it_has_in_a_batch_and_no_items_have_none() -> None:
    together = run("LocationReweight", {"maps": maps()}, ("points", "confidence"), threshold=0.5)
    alone = run("LocationReweight", {"maps": maps()[1:]}, ("points", "confidence"), threshold=0.5)
    for whole, single in zip(together, alone, strict=True):
        np.testing.assert_array_equal(whole[1:], single)
    points, confidence = run("LocationReweight", {"maps": maps()[:0]}, ("points", "confidence"), threshold=0.5)
    assert points.shape == (0, 4, 2)
    assert confidence.shape == (0, 4)


def test_gradients_go_through_the_operators_as_through_the_functions() -> None:
    scores = torch.from_numpy(maps()).requires_grad_()
    (through_operator,) = torch.autograd.grad(torch.ops.nasion.location_reweight(scores, 0.5)[0].sum(), scores)
    (through_function,) = torch.autograd.grad(reweighted(scores)[0].sum(), scores)
    torch.testing.assert_close(through_operator, through_function)
    assert through_operator.abs().max() > 0
    features = torch.from_numpy(levels()[0]).requires_grad_()
    out = torch.ops.nasion.multi_level_roi_align([features], torch.from_numpy(rois()), [0.25], SIZE, 2, True, 1e-12)
    assert torch.autograd.grad(out.square()[:, 0].sum(), features)[0].abs().max() > 0


class Regions(nn.Module):
    """Both operators, one after the other."""

    def forward(self, features: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        joined = operators.multi_level_roi_align([features], boxes, size=4, scales=(1 / 4,), normalize=True)
        return joined, *operators.location_reweight(joined.sigmoid(), threshold=0.6)


def trace() -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1, max=64)
    sample = (torch.randn(2, 3, 8, 10), torch.rand(2, 4, 4) * 30)
    return torch.export.export(Regions(), sample, dynamic_shapes=({0: batch}, {0: batch}), strict=False)


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    with operators.as_nodes():
        program = trace()
    written = torch.onnx.export(program, dynamo=True, verbose=False, custom_translation_table=nodes.translations())
    assert written is not None
    proto = written.model_proto
    nodes.add_bodies(proto)
    return proto


def test_nodes_carry_every_attribute_and_their_bodies_declare_them(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model)
    found = {node.op_type: nodes.attributes_of(node) for node in model.graph.node if node.domain == "nasion"}
    plugin = {"plugin_namespace": "nasion", "plugin_version": "1"}
    assert found["MultiLevelRoIAlign"] == plugin | {
        "scales": [0.25],
        "output_size": 4,
        "sampling_ratio": 2,
        "normalize": 1,
        "epsilon": pytest.approx(1e-12),
    }
    assert found["LocationReweight"] == plugin | {"threshold": pytest.approx(0.6)}
    opset = {entry.domain: entry.version for entry in model.opset_import}
    assert opset["nasion"] == 1
    for body in model.functions:
        assert set(body.attribute) == set(found[body.name]), body.name
        assert [entry.version for entry in body.opset_import] == [opset[""]]


def test_what_was_traced_runs_in_onnx_runtime_with_any_batch(model: onnx.ModelProto, tmp_path: Path) -> None:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    for batch in (1, 3):
        generator = torch.Generator().manual_seed(batch)
        inputs = torch.randn(batch, 3, 8, 10, generator=generator), torch.rand(batch, 4, 4, generator=generator) * 40
        found = session.run(None, {name: x.numpy() for name, x in zip(names, inputs, strict=True)})
        for ours, theirs in zip(Regions()(*inputs), found, strict=True):
            np.testing.assert_allclose(theirs, ours.numpy(), atol=1e-5)


def test_only_within_as_nodes_is_an_operator_left_in_the_graph(model: onnx.ModelProto) -> None:
    assert not [node for node in trace().graph.nodes if "nasion" in str(node.target)]
    assert {node.op_type for node in model.graph.node if node.domain} == {"MultiLevelRoIAlign", "LocationReweight"}


def test_two_nodes_that_no_body_fits_are_an_error() -> None:
    attributes = {"output_size": 2, "sampling_ratio": 1, "normalize": 0, "epsilon": 1e-12}
    two = [
        helper.make_node(
            "MultiLevelRoIAlign",
            ["x", "rois"],
            [f"y{i}"],
            name=f"align{i}",
            domain="nasion",
            scales=[scale],
            **attributes,
        )
        for i, scale in enumerate((0.5, 0.25))
    ]
    model = helper.make_model(helper.make_graph(two, "two", [], []), opset_imports=[helper.make_opsetid("", 20)])
    with pytest.raises(ValueError, match="align1: another MultiLevelRoIAlign of this model has other inputs or scales"):
        nodes.add_bodies(model)
