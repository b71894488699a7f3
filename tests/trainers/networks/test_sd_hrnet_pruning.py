"""SD-HRNet's pruning: what falls away with an operator, thresholds, budgets, and the weights that are kept."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nasion.trainers.networks.sd_hrnet.network import Graph
from nasion.trainers.networks.sd_hrnet.slimming import Costs, PruningError, inherit, prune, without

from ...support.training.tiny_sd_hrnet import SMALL, tiny


def test_a_block_that_loses_its_sources_or_its_readers_takes_its_operators_along() -> None:
    #    0 -> 0 -> 0 -> 0
    #      -> 1 -> 1 -> 0
    graph: Graph = ({0: (0,), 1: (0,)}, {0: (0,), 1: (1,)}, {0: (0, 1)})
    assert without(graph, {(0, 1, 0)}) == ({0: (0,)}, {0: (0,)}, {0: (0,)}), "downwards"
    assert without(graph, {(2, 0, 1)}) == ({0: (0,)}, {0: (0,)}, {0: (0,)}), "upwards"
    assert without(graph, {(2, 0, 0), (2, 0, 1)}) == ({}, {}, {}), "nothing is left"


def test_factors_below_the_threshold_go_whatever_their_sign() -> None:
    network = tiny()
    gone = {(1, 0, 1), (2, 2, 0), (1, 1, 2)}
    for place in gone:
        nn.init.constant_(network.transforms()[place].importance, -1e-3)
    slim = prune(network, threshold=2e-3)
    assert set(network.transforms()) - set(slim.transforms()) == gone


def test_what_is_pruned_at_no_importance_changes_nothing() -> None:
    network, images = tiny(), torch.rand(2, 3, 64, 64)
    for place in ((1, 0, 1), (2, 2, 0), (1, 1, 2)):
        nn.init.zeros_(network.transforms()[place].importance)
    slim = prune(network, threshold=1e-6).eval()
    torch.testing.assert_close(slim(images), network(images))
    assert [float(t.importance.detach()) for t in slim.transforms().values()] == pytest.approx(
        [float(network.transforms()[place].importance.detach()) for place in slim.transforms()]
    ), "factors are inherited too"


def test_a_budget_drops_the_least_important_first_and_is_kept() -> None:
    network = tiny()
    costs = Costs(network)
    whole, order = costs.of(SMALL), list(network.transforms())
    least = costs.of(({0: (0,)}, {0: (0,)}, {0: (0,)}))
    spent = []
    for share in (0.9, 0.7, 0.5):
        budget = least + share * (whole - least)
        slim = prune(network, budget=budget)
        spent.append(costs.of(slim.config.graph))
        assert spent[-1] <= budget
        assert Costs(slim).of(slim.config.graph) == pytest.approx(spent[-1])
        left = [order.index(place) for place in slim.transforms()]
        assert min(left) > 0, "factors rise in order: the first is the least"
    assert spent == sorted(spent, reverse=True)
    assert prune(network, budget=whole).config.graph == SMALL


def test_the_head_keeps_the_channels_of_the_branches_that_are_left() -> None:
    network = tiny()
    slim = inherit(network, without(SMALL, {(2, 1, source) for source in range(3)}))
    assert slim.branches == (0, 2)
    kept = [0, 1, 2, 3, 10, 11, 12, 13, 14, 15, 16, 17]
    torch.testing.assert_close(
        slim.get_parameter("head.mix.weight"), network.get_parameter("head.mix.weight")[kept][:, kept]
    )
    torch.testing.assert_close(slim.get_buffer("head.norm.running_var"), torch.ones(12))
    assert slim(torch.rand(1, 3, 64, 64)).shape == (1, 68, 16, 16)


def test_what_cannot_be_pruned_is_said() -> None:
    with pytest.raises(PruningError, match="threshold is None and budget None; give one of the two"):
        prune(tiny())
    with pytest.raises(
        PruningError, match="no operator has a factor of 9 or more; give a lower threshold, or a budget"
    ):
        prune(tiny(), threshold=9)
    with pytest.raises(PruningError, match=r"budget 0.1 MMAC is less than .* \(\d+ MMAC\)"):
        prune(tiny(), budget=0.1)


def test_the_stage_that_loses_all_its_operators_is_named() -> None:
    network = tiny()
    for place, transform in network.transforms().items():
        nn.init.constant_(transform.importance, 1e-3 if place[0] == 0 else 1.0)
    with pytest.raises(PruningError, match=r"no operator into stage 2 has a factor of 0.5 or more, so nothing behind"):
        prune(network, threshold=0.5)
