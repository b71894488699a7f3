"""Every system in half precision: what is float16 in the file, what is not, and how far it is from torch in float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from torch import Tensor, nn

from nasion.engines.errors import ModelError
from nasion.engines.select import open_runtime
from nasion.engines.spec import Spec
from nasion.engines.tensorrt.onnx_file import read_onnx
from nasion.trainers.export.files import compare, example, write_model
from nasion.trainers.export.fp16 import HalfPrecision, store_weights_as_fp16
from nasion.trainers.export.nodes import attributes_of
from nasion.trainers.learner import Learner
from nasion.trainers.networks.backbones import resnet
from nasion.trainers.networks.blocks import in_full_precision, spatial_moments
from nasion.trainers.networks.chs.network import CHS, CHSConfig
from nasion.trainers.networks.encoder_decoder import EncoderDecoder, EncoderDecoderConfig, LandmarkExport
from nasion.trainers.networks.face_detector import DetectorConfig, FaceDetector
from nasion.trainers.networks.pwc.networks import MapNetwork, PWCConfig
from nasion.trainers.networks.rdfn.network import RDFN
from nasion.trainers.networks.rdfn.region_head import RDFNConfig
from nasion.trainers.networks.rht.network import RHTConfig
from nasion.trainers.networks.sd_hrnet.network import SDHRNetConfig, SHRNet
from nasion.trainers.systems.chs.learner import CHSLearner
from nasion.trainers.systems.heat_maps import MapsLearner
from nasion.trainers.systems.pwc.learners import Hybrid
from nasion.trainers.systems.rdfn.learners import RDFNLearner
from nasion.trainers.systems.rht.learner import RHTLearner
from nasion.trainers.systems.shipped.recipes import DETECTOR_SPEC, DetectorLearner

POINTS, SIDE = 19, 64
SPEC = Spec("landmarks", "tiny", (SIDE, SIDE), landmarks=POINTS, crop_margin=1.25)


def decided(learner: Learner, *layers: str, times: float = 40) -> Learner:
    """The network as if it had learned: activations of a usual size, maps that say clearly where they are highest.

    Those of an untrained one are so flat that rounding decides.
    """
    for module in learner.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        learner.train()(example(learner.spec, batch=8, seed=2))
        for name in layers:
            learner.get_submodule(name).weight.mul_(times)  # type: ignore[operator]
    return learner


def detector() -> Learner:
    return DetectorLearner(FaceDetector(DetectorConfig((8, 8), (8, 8, 8), 8)), replace(DETECTOR_SPEC, size=(64, 96)))


def sd_hrnet() -> Learner:
    graph = ({0: (0,), 1: (0,)}, {0: (0, 1)})
    config = SDHRNetConfig(POINTS, SIDE, (8, 8), (8, 8, 8, 8), 1, graph)
    return decided(MapsLearner(SHRNet(config), SPEC, sigma=1.0), "network.head.maps", times=4000)


def pwc() -> Learner:
    learner = Hybrid(MapNetwork(PWCConfig(POINTS, 32, 1 / 32), background=True), replace(SPEC, size=(32, 32)))
    return decided(learner, "network.lift_1", times=4)


def chs() -> Learner:
    config = CHSConfig(landmarks=POINTS, size=SIDE, stacks=1, depth=1, stages=1, width=1 / 8)
    return decided(CHSLearner(CHS(config), SPEC), "network.heatmaps.stacks.0.maps", times=4)


def rht() -> Learner:
    learner = RHTLearner(RHTConfig(POINTS, boundaries=5, layers=1, size=SIDE, width=1 / 16), SPEC)
    item = {"image": torch.randn(3, SIDE, SIDE), "points": torch.rand(POINTS, 2) * SIDE}
    learner.set_reference(item)  # type: ignore[arg-type]
    return decided(learner, "network.decoder.maps", times=400)


def rdfn() -> Learner:
    config = RDFNConfig(POINTS, SIDE, 1 / 16, up="resize", faces=2, threshold=0.0, roi_margin=1.2)
    learner = RDFNLearner(RDFN(config), replace(SPEC, task="faces", stride=16, crop_margin=1.0), frozen=False)
    return decided(learner, "network.head.score", times=0.2)


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bottleneck a group of ResNet-50 instead of 3, 4 and 6: quicker to export."""
    monkeypatch.setattr(resnet, "BLOCKS", (1, 1, 1, 1))


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("build", [detector, sd_hrnet, pwc, chs, rht, rdfn], ids=lambda build: build.__name__)
def test_layers_are_half_and_what_comes_out_is_close_to_torch(build: Callable[[], Learner], tmp_path: Path) -> None:
    torch.manual_seed(0)
    learner = build().eval()
    network, path = learner.exported().eval(), tmp_path / "half.onnx"
    write_model(network, learner.spec, path, fp16=True)
    check_types(path)
    images = example(learner.spec, batch=3, seed=1)
    found = compare(network, learner.spec, path, images, "fp16")
    # whatever was not learned, a small region of RDFN's is noise, in which the highest cell may be another
    least = {"points": 0.5} if learner.spec.task == "faces" else {}
    assert all(each.within > least.get(name, 0.9) for name, each in found.items()), found
    with open_runtime(path, device="cpu") as runtime:
        together, alone = runtime(images.numpy()), runtime(images[1:2].numpy())
    for name, value in alone.items():
        np.testing.assert_allclose(value[0], together[name][1], atol=1e-3, err_msg=name)


def check_types(path: Path) -> None:
    """Weights of layers are float16; inputs, outputs and all sums float32; our nodes as ever."""
    model = onnx.load(path)
    onnx.checker.check_model(model)
    weights = {each.name: each.data_type for each in model.graph.initializer}
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in inferred.value_info}
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT
    for node in model.graph.node:
        if node.op_type in ("Conv", "ConvTranspose", "Gemm"):
            assert weights[node.input[1]] == kinds[node.output[0]] == TensorProto.FLOAT16, node.name
        if node.op_type in ("Softmax", "ReduceMean", "ReduceSum", "ReduceL2", "LayerNormalization"):
            assert kinds.get(node.input[0], TensorProto.FLOAT) != TensorProto.FLOAT16, node.name
    ours = {node.op_type: attributes_of(node) for node in model.graph.node if node.domain}
    if ours:
        assert ours.keys() == {"MultiLevelRoIAlign", "LocationReweight"}
        assert len(ours["MultiLevelRoIAlign"]["scales"]) == 9


def test_half_precision_runs_in_torch_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = LandmarkExport(EncoderDecoder(EncoderDecoderConfig(widths=(8, 8, 8, 8, 8))), 5.0).eval()
    spec, path = Spec("landmarks", "tiny", (112, 112), landmarks=68), tmp_path / "half.pt2"
    write_model(network, spec, path, fp16=True)
    found = compare(network, spec, path, example(spec, batch=3, seed=1), "fp16")
    assert all(each.worst > 0 and each.within == 1 for each in found.values()), found


def test_the_network_itself_stays_as_it_is() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    halved = HalfPrecision(network)
    assert {each.dtype for each in network.parameters()} == {torch.float32}
    assert {each.dtype for each in halved.parameters()} == {torch.float16}


def test_coordinates_of_half_maps_are_computed_in_full() -> None:
    """The middle of a wide flat map is 127.5, which a sum in float16 would miss."""
    points, spread = spatial_moments(torch.zeros(1, 1, 256, 256, dtype=torch.float16))
    assert points.dtype == spread.dtype == torch.float32
    torch.testing.assert_close(points[0, 0], torch.tensor([127.5, 127.5]))

    @in_full_precision
    def kind(values: Tensor, numbers: Tensor, factor: float) -> tuple[torch.dtype, torch.dtype]:
        return (values * factor).dtype, numbers.dtype

    assert kind(torch.zeros(1, dtype=torch.bfloat16), torch.zeros(1, dtype=torch.int64), 2.0) == (
        torch.float32,
        torch.int64,
    )


def test_weights_are_stored_in_half_and_computed_in_full(tmp_path: Path) -> None:
    torch.manual_seed(0)
    learner = sd_hrnet().eval()
    network, full, half = learner.exported().eval(), tmp_path / "full.onnx", tmp_path / "half.onnx"
    write_model(network, learner.spec, full)
    write_model(network, learner.spec, half, store="fp16")
    model = onnx.load(half)
    onnx.checker.check_model(model)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    cast = {node.output[0]: types.get(node.input[0]) for node in model.graph.node if node.op_type == "Cast"}
    convolved = [node.input[1] for node in model.graph.node if node.op_type == "Conv"]
    assert convolved
    assert {cast[name] for name in convolved} == {TensorProto.FLOAT16}
    images = example(learner.spec, batch=2, seed=1).numpy()
    with open_runtime(full, device="cpu") as exact, open_runtime(half, device="cpu") as stored:
        expected, found = exact(images), stored(images)
    assert np.abs(found["points"] - expected["points"]).mean() < 0.02
    wide = read_onnx(half)
    assert wide.precision == "fp32", "TensorRT gets float32 constants"
    assert set(wide.layers.values()) == {"float32"}
    (tmp_path / "wide.onnx").write_bytes(wide.content)
    with open_runtime(tmp_path / "wide.onnx", device="cpu") as widened:
        np.testing.assert_array_equal(widened(images)["points"], found["points"])
    assert read_onnx(full).content == full.read_bytes(), "a file in full precision is taken as it is"


def test_weights_that_float16_cannot_hold_stay_in_full() -> None:
    def model(*weights: float) -> onnx.ModelProto:
        stored = onnx.numpy_helper.from_array(np.array(weights, np.float32).reshape(-1, 1), "w")
        node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
        value = onnx.helper.make_tensor_value_info
        given, found = value("x", TensorProto.FLOAT, [1, len(weights)]), value("y", TensorProto.FLOAT, [1, 1])
        return onnx.helper.make_model(onnx.helper.make_graph([node], "g", [given], [found], [stored]))

    half, full = TensorProto.FLOAT16, TensorProto.FLOAT
    for weights, kept in (((1.0, 1e-7), half), ((1e5, 1.0), full), ((1e-6,), full)):
        written = model(*weights)
        store_weights_as_fp16(written)
        assert written.graph.initializer[0].data_type == kept, weights


def test_storing_in_half_is_for_onnx_files_in_full_precision(tmp_path: Path) -> None:
    learner = pwc().eval()
    for suffix, fp16 in ((".pt2", False), (".onnx", True)):
        with pytest.raises(ModelError, match=r"store fp16 is for \.onnx files that compute in fp32"):
            write_model(learner.exported(), learner.spec, tmp_path / f"x{suffix}", fp16=fp16, store="fp16")
