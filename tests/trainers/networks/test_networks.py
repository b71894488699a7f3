from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from nasion.trainers.networks.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from nasion.trainers.networks.face_detector import STRIDES, FaceDetector, cell_centres
from nasion.trainers.networks.sd_hrnet.network import (
    COFW_GRAPH,
    WFLW_GRAPH,
    Graph,
    SDHRNet,
    SDHRNetConfig,
    published_count,
)


@pytest.mark.parametrize(("graph", "landmarks", "count"), [(COFW_GRAPH, 29, 1_054_700), (WFLW_GRAPH, 98, 1_322_648)])
def test_the_released_sd_hrnet_graphs_have_the_published_parameters(graph: Graph, landmarks: int, count: int) -> None:
    assert published_count(SDHRNet(SDHRNetConfig(landmarks=landmarks, graph=graph))) == count


def test_the_reordered_sd_hrnet_head_equals_the_head_as_published() -> None:
    torch.manual_seed(0)
    config = SDHRNetConfig(landmarks=5, size=64, stem=(8, 8), widths=(4, 6, 8, 10), blocks=1)
    network = SDHRNet(config).eval()
    features = {b: torch.randn(2, config.widths[b], 16 // 2**b, 16 // 2**b) for b in network.branches}
    wide = torch.cat(
        [functional.interpolate(x, size=(16, 16), mode="bilinear", align_corners=False) for x in features.values()],
        1,
    )
    slow = network.head["maps"](functional.relu(network.head["norm"](network.head["mix"](wide))))
    torch.testing.assert_close(network.maps(features), slow, atol=1e-5, rtol=1e-4)


def test_every_landmark_network_says_the_same_four_things() -> None:
    light = SDHRNetConfig(landmarks=68, size=128, stem=(8, 8), widths=(4, 6, 8, 10), blocks=1)
    for network, size in (
        (EncoderDecoder(), 112),
        (EncoderDecoder(EncoderDecoderConfig(size=128)), 128),
        (SDHRNet(light), 128),
    ):
        out = network.eval()(torch.rand(2, 3, size, size))
        assert out["points"].shape == (2, 68, 2)
        assert out["log_scale"].shape == (2, 68)
        assert out["presence"].shape == (2,)
        assert out["maps"].shape[:2] == (2, 68)
        assert ((out["points"] > -0.5) & (out["points"] < size)).all()


def test_confidence_never_moves_the_points() -> None:
    network = EncoderDecoder(EncoderDecoderConfig(widths=(8, 8, 8, 8, 8)))
    network(torch.rand(2, 3, 112, 112))["log_scale"].sum().backward()
    assert all(p.grad is None for name, p in network.named_parameters() if not name.startswith("reading"))
    assert network.reading.slope.grad is not None


def test_the_detector_predicts_one_box_per_cell_around_its_centre() -> None:
    detector = FaceDetector().eval()
    boxes, scores = detector(torch.rand(1, 3, 64, 96))
    cells = sum((64 // s) * (96 // s) for s in STRIDES)
    assert boxes.shape == (1, cells, 4)
    assert scores.shape == (1, cells)
    centres = cell_centres(8, 12, 8, boxes.device)
    assert centres[0].tolist() == [3.5, 3.5]
    first = boxes[0, : len(centres)]
    assert (first[:, :2] < centres).all()
    assert (first[:, 2:] > centres).all()
