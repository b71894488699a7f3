"""SD-HRNet's networks: the counts of supernet and released graphs, and rewrites that change nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from nasion.trainers.networks.sd_hrnet.network import (
    COFW_GRAPH,
    HRNET,
    SUPERNET,
    W300_GRAPH,
    WFLW_GRAPH,
    Graph,
    SDHRNetConfig,
    SHRNet,
    published_count,
)
from nasion.trainers.networks.sd_hrnet.slimming import Costs, from_plain, plain, without
from nasion.trainers.systems.sd_hrnet.distilling import is_factor

from ...support.training.tiny_sd_hrnet import TINY, tiny


def count(network: nn.Module) -> int:
    return sum(p.numel() for name, p in network.named_parameters() if not is_factor(name))


def full(graph: Graph, landmarks: int = 68) -> SHRNet:
    return SHRNet(SDHRNetConfig(landmarks, graph=graph))


# --- graphs and counts


def test_the_supernet_has_the_published_parameters_and_132_factors() -> None:
    network = full(SUPERNET)
    assert count(network) == 3_403_430
    assert published_count(network) == 3_311_292
    assert published_count(network, stem=False) == 3_272_444
    assert len(network.transforms()) == 132
    assert Costs(network).of(SUPERNET) == pytest.approx(933.34, abs=0.01)


@pytest.mark.parametrize(
    ("graph", "landmarks", "parameters", "without_head", "mmac"),
    [
        (W300_GRAPH, 68, 961_134, 868_996, 597.49),
        (COFW_GRAPH, 29, 1_074_637, 1_054_700, 604.31),
        (WFLW_GRAPH, 98, 1_351_348, 1_322_648, 594.94),
    ],
)
def test_the_released_graphs_count_as_the_sheet_says(
    graph: Graph, landmarks: int, parameters: int, without_head: int, mmac: float
) -> None:
    network = full(graph, landmarks)
    assert (count(network), published_count(network)) == (parameters, without_head)
    assert Costs(network).of(graph) == pytest.approx(mmac, abs=0.01)


def test_nothing_in_the_released_graphs_is_dead_and_together_they_use_all_blocks_but_one() -> None:
    blocks = set()
    for graph in (W300_GRAPH, COFW_GRAPH, WFLW_GRAPH):
        assert without(graph, set()) == graph
        blocks |= {(i, target) for i, wiring in enumerate(graph) for target in wiring}
    assert len(blocks) == 36 - 1


def test_hrnet_as_a_supernet_grows_a_branch_where_hrnet_does() -> None:
    assert [len(wiring) for wiring in HRNET] == [2, 3, 3, 3, 3, 4, 4, 4, 4]
    residual = SHRNet(replace(TINY, unit="residual", graph=HRNET)).eval()
    assert residual(torch.rand(1, 3, 64, 64)).shape == (1, 68, 16, 16)
    assert count(residual) > count(SHRNet(replace(TINY, graph=HRNET)))


def test_a_configuration_survives_a_checkpoint() -> None:
    config = replace(TINY, graph=WFLW_GRAPH, unit="residual")
    assert from_plain(plain(config)) == config


# --- rewrites that change nothing


def test_the_head_in_another_order_and_folded_factors_change_nothing() -> None:
    network, images = tiny(), torch.rand(2, 3, 64, 64)
    published = network(images)
    assert published.std() > 0.1
    network.reordered = True
    torch.testing.assert_close(network(images), published, atol=1e-4, rtol=1e-4)
    network.fold()
    torch.testing.assert_close(network(images), published, atol=1e-4, rtol=1e-4)
    folded = [transform.folded for transform in network.transforms().values()]
    assert folded.count(False) == 6, "the identities"
