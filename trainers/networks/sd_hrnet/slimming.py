"""Slimming of SD-HRNet's supernet: removal of operators with low importance factors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor, nn

from ....engines.errors import NasionError
from .network import Graph, SDHRNetConfig, SHRNet, Stage

SIZE = 256
"""Side of the crop for which costs are counted, independent of the training crop, so that costs are comparable."""


class PruningError(NasionError):
    """Error in slimming a supernet with the given options."""


def prune(network: SHRNet, *, threshold: float | None = None, budget: float | None = None) -> SHRNet:
    """Remove unimportant operators and everything that becomes unreachable; the rest keeps its weights and factors.

    Args:
        network: supernet trained with importance factors; it is not modified.
        threshold: remove each operator whose factor has a smaller absolute value (the paper's method).
        budget: remove the least important operators one by one until the network, without its head, takes at most
            this many million multiply-accumulates for a crop of 256 pixels. Use it with a short schedule: factors start
            at 1 and change by at most their learning rate per step, so few of them get close to a threshold.

    Raises:
        PruningError: neither or both are given, or nothing would be left.
    """
    if (threshold is None) == (budget is None):
        raise PruningError(f"threshold is {threshold} and budget {budget}; give one of the two")
    factors = {place: abs(float(t.importance.detach())) for place, t in network.transforms().items()}
    if budget is None:
        assert threshold is not None
        graph = without(network.config.graph, {place for place, factor in factors.items() if factor < threshold})
    else:
        graph = _within(network, sorted(factors, key=lambda place: factors[place]), budget)
    if not graph[-1]:
        raise PruningError(
            f"{_why_empty(network.config.graph, factors, threshold)}; give a lower threshold, or a budget"
        )
    return inherit(network, graph)


def _why_empty(graph: Graph, factors: Mapping[tuple[int, int, int], float], threshold: float | None) -> str:
    """Return the reason why no path is left through a graph whose operators are below the threshold."""
    assert threshold is not None
    kept = {place[0] for place, factor in factors.items() if factor >= threshold}
    if not kept:
        return f"no operator has a factor of {threshold:g} or more"
    dead = next((i for i in range(len(graph)) if i not in kept), None)
    if dead is None:
        return f"the operators with a factor of {threshold:g} or more form no path through the network"
    return f"no operator into stage {dead + 2} has a factor of {threshold:g} or more, so nothing behind it has an input"


def _within(network: SHRNet, ranked: list[tuple[int, int, int]], budget: float) -> Graph:
    costs, graph = Costs(network), network.config.graph
    for place in ranked:
        if costs.of(graph) <= budget:
            break
        rest = without(graph, {place})
        graph = rest if rest[-1] else graph  # keep the last path through the network
    if costs.of(graph) > budget:
        least = f"{costs.of(graph):.0f}"
        raise PruningError(f"budget {budget:g} MMAC is less than one path through the network takes ({least} MMAC)")
    return graph


def without(graph: Graph, dropped: set[tuple[int, int, int]]) -> Graph:
    """Return a graph without the dropped operators (position, target, source) and without dead branches.

    A branch is dead if it has no source left, or if no later branch uses it.
    """
    stages = [
        {target: tuple(s for s in sources if (i, target, s) not in dropped) for target, sources in wiring.items()}
        for i, wiring in enumerate(graph)
    ]
    alive = {0}
    for wiring in stages:  # forwards: branches without a source
        for target, sources in list(wiring.items()):
            wiring[target] = tuple(source for source in sources if source in alive)
            if not wiring[target]:
                del wiring[target]
        alive = set(wiring)
    for wiring, after in zip(reversed(stages[:-1]), reversed(stages[1:]), strict=True):  # backwards: unused branches
        used = {source for sources in after.values() for source in sources}
        for target in set(wiring) - used:
            del wiring[target]
    return tuple(stages)


class Costs:
    """Million multiply-accumulates of the parts of a network for a crop of ``SIZE`` pixels, without the head."""

    def __init__(self, network: SHRNet) -> None:
        """Count each part of ``network`` once."""
        side = SIZE // 4
        self._fixed = _macs(network.stem, SIZE) + _macs(network.encoder, side)
        self._operators = {
            (i, target, source): _macs(transform.body, side if i == 0 else side >> source)
            for (i, target, source), transform in network.transforms().items()
        }
        self._encoders = {
            (i, int(branch)): _macs(body, side >> int(branch))
            for i, stage in enumerate(network.stages)
            if isinstance(stage, Stage)
            for branch, body in stage.encoders.items()
        }

    def of(self, graph: Graph) -> float:
        """Return the cost of ``graph``, a subgraph of the network's."""
        total = self._fixed
        for i, wiring in enumerate(graph):
            for target, sources in wiring.items():
                total += self._encoders[i, target] + sum(self._operators[i, target, source] for source in sources)
        return total


def _macs(module: nn.Module, side: int) -> float:
    """Count the million multiply-accumulates of the convolutions of a module without branches, on ``side`` cells."""
    total = 0
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            side //= part.stride[0]
            total += part.weight.numel() * side * side
    return total / 1e6


def inherit(network: SHRNet, graph: Graph) -> SHRNet:
    """Build the network of ``graph``, a subgraph of ``network``'s, with the weights of ``network``."""
    slim = SHRNet(replace(network.config, graph=graph))
    kept = _channels(network, slim)
    weights = network.state_dict()
    slim.load_state_dict({name: _cut(name, weights[name], kept) for name in slim.state_dict()})
    slim.reordered = network.reordered
    return slim


def _channels(network: SHRNet, slim: SHRNet) -> Tensor:
    """Return the indices of the head's channels that belong to the remaining branches."""
    widths = network.config.widths
    owner = torch.cat([torch.full((widths[branch],), branch) for branch in network.branches])
    return torch.isin(owner, torch.tensor(slim.branches)).nonzero().squeeze(1)


def _cut(name: str, value: Tensor, kept: Tensor) -> Tensor:
    """Return a weight for the slim network; the head loses the channels of removed branches."""
    if name == "head.mix.weight":
        return value[kept][:, kept]
    if name == "head.maps.weight":
        return value[:, kept]
    if name.startswith(("head.mix.", "head.norm.")) and value.ndim == 1:
        return value[kept]
    return value


def plain(config: SDHRNetConfig) -> dict[str, Any]:
    """Convert a configuration to plain data for a checkpoint or JSON."""
    graph = [{str(target): list(sources) for target, sources in wiring.items()} for wiring in config.graph]
    return asdict(config) | {"stem": list(config.stem), "widths": list(config.widths), "graph": graph}


def from_plain(values: Mapping[str, Any]) -> SDHRNetConfig:
    """Convert plain data back to a configuration; the inverse of ``plain``."""
    graph = tuple({int(target): tuple(sources) for target, sources in wiring.items()} for wiring in values["graph"])
    return SDHRNetConfig(**{**values, "graph": graph, "stem": (*values["stem"],), "widths": (*values["widths"],)})
