"""Tiny networks of SD-HRNet, with every kind of operator."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from nasion.trainers.networks.sd_hrnet.network import Graph, SDHRNetConfig, SHRNet
from nasion.trainers.systems.sd_hrnet.recipes import RECIPES
from nasion.trainers.training.recipes import Options

NAMES = {recipe.name: recipe for recipe in RECIPES}
# every kind of operator: up, down by one and by two, identity
EACH = dict.fromkeys(range(3), (0, 1, 2))
SMALL: Graph = (dict.fromkeys(range(3), (0,)), EACH, EACH)
TINY = SDHRNetConfig(68, 64, (6, 6), (4, 6, 8, 10), blocks=1, graph=SMALL)
SIZE = Options(size=64)


def tiny(graph: Graph = SMALL) -> SHRNet:
    """With factors and statistics that differ from each other, as training makes them."""
    torch.manual_seed(0)
    network = SHRNet(replace(TINY, graph=graph))
    for i, transform in enumerate(network.transforms().values()):
        nn.init.constant_(transform.importance, 0.2 + 0.05 * i)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.2)
    nn.init.normal_(network.get_parameter("head.maps.weight"))
    return network.eval()
