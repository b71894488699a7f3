"""SD-HRNet, the slimmed HRNet: graphs of light blocks over four resolutions.

Paper: "SD-HRNet: Slimming and Distilling High-Resolution Network for Efficient Face Alignment". Stage 1 is one encoder
at stride 4; stages 2 to 9 have up to four branches at strides 4 to 32; stage 10 only aggregates. The graph defines
which branch feeds which: all connections (the supernet), or those left by slimming (``slimming.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..backbones.hrnet import BasicBlock, mix_branches, start_near_zero, upsample
from ..blocks import conv_bn, spatial_moments
from ..encoder_decoder import CertaintyHeads
from .graphs import COFW_GRAPH as COFW_GRAPH
from .graphs import HRNET as HRNET
from .graphs import SUPERNET as SUPERNET
from .graphs import W300_GRAPH as W300_GRAPH
from .graphs import WFLW_GRAPH as WFLW_GRAPH
from .graphs import Graph as Graph


@dataclass(frozen=True, slots=True)
class SDHRNetConfig:
    """Size of the network.

    Attributes:
        landmarks: number of landmarks.
        size: side of the crop in pixels, a multiple of 32.
        stem: channels of the two stem convolutions; the published ones are 64.
        widths: channels of the four branches.
        blocks: number of units in each encoder.
        graph: connections between the branches of consecutive stages.
        unit: unit of the encoders: light blocks, or the residual blocks of HRNet (figure 6).
    """

    landmarks: int = 98
    size: int = 256
    stem: tuple[int, int] = (64, 64)
    widths: tuple[int, int, int, int] = (18, 36, 72, 144)
    blocks: int = 4
    graph: Graph = field(default=WFLW_GRAPH)
    unit: Literal["light", "residual"] = "light"


class LightBlock(nn.Module):
    """MBConv with expansion 1: depthwise 3x3, ReLU6 and pointwise convolution with an identity skip connection."""

    def __init__(self, width: int) -> None:
        """Build a block of ``width`` channels."""
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU6(inplace=True),
            conv_bn(width, width, 1, relu=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, H, W) to the same shape."""
        out: Tensor = x + self.body(x)
        return out


def encoder(width: int, config: SDHRNetConfig) -> nn.Sequential:
    """Build the encoder of a branch: a sequence of units of ``width`` channels."""
    unit = {"light": LightBlock, "residual": BasicBlock}[config.unit]
    return nn.Sequential(*(unit(width) for _ in range(config.blocks)))


class Transform(nn.Module):
    """Aggregation operator from one branch to another, scaled by its importance factor.

    Attributes:
        importance: the importance factor; starts at 1.
        up: upsampling factor, applied after the 1x1 convolution.
        folded: True if the importance factor is already part of the batch normalisation.
    """

    def __init__(self, source: int, target: int, inputs: int, outputs: int, *, first: bool) -> None:
        """Build for branch ``source`` to ``target``; ``first`` is stage 2, whose only source is the stem's encoder."""
        super().__init__()
        self.importance = nn.Parameter(torch.ones(()))
        self.up, self.folded = 1, False
        steps = target - source
        if steps == 0:
            self.body: nn.Module = conv_bn(inputs, outputs, relu=False) if first else nn.Identity()
        elif steps < 0:
            self.body, self.up = conv_bn(inputs, outputs, 1, relu=False), 2**-steps
        else:
            halvings = [conv_bn(inputs, inputs, stride=2) for _ in range(steps - 1)]
            self.body = nn.Sequential(*halvings, conv_bn(inputs, outputs, stride=2, relu=False))

    def forward(self, x: Tensor) -> Tensor:
        """Map features of the source branch to those of the target."""
        x = self.body(x)
        x = x if self.folded else self.importance * x  # before upsampling: the same result with fewer multiplications
        return upsample(x, self.up) if self.up > 1 else x

    @torch.no_grad()
    def fold(self) -> None:
        """Fold the factor into the preceding batch normalisation; an identity has none and keeps its factor."""
        norms = [module for module in self.body.modules() if isinstance(module, nn.BatchNorm2d)]
        if norms and not self.folded:
            norms[-1].weight.mul_(self.importance)
            norms[-1].bias.mul_(self.importance)
            self.folded = True


class Stage(nn.Module):
    """Stage of the network: aggregation into each branch, followed by the encoder of the branch.

    Attributes:
        plain: branches without a ReLU after the aggregation: those whose only input is an identity.
    """

    def __init__(
        self,
        wiring: dict[int, tuple[int, ...]],
        before: dict[int, int],
        config: SDHRNetConfig,
        *,
        first: bool,
        last: bool,
    ) -> None:
        """Build the branches in ``wiring``; ``before`` maps each branch of the previous stage to its width."""
        super().__init__()
        self.wiring = wiring
        self.plain = set() if first else {target for target, sources in wiring.items() if sources == (target,)}
        self.transforms = nn.ModuleDict()
        self.encoders = nn.ModuleDict()
        for target, sources in wiring.items():
            width = config.widths[target]
            for source in sources:
                self.transforms[f"{source}-{target}"] = Transform(source, target, before[source], width, first=first)
            self.encoders[str(target)] = nn.Sequential() if last else encoder(width, config)

    def forward(self, features: dict[int, Tensor]) -> dict[int, Tensor]:
        """Map features by branch number to those of this stage."""
        out = {}
        for target, sources in self.wiring.items():
            total = self.transforms[f"{sources[0]}-{target}"](features[sources[0]])
            for source in sources[1:]:
                total = total + self.transforms[f"{source}-{target}"](features[source])
            if target not in self.plain:
                total = functional.relu(total)
            out[target] = self.encoders[str(target)](total)
        return out


class GraphNetwork(nn.Module):
    """Stem, stages and head of a graph; subclasses define the output decoded from the maps.

    Attributes:
        reordered: run the head per branch (``mix_branches``): the same result with fewer multiplications.
    """

    def __init__(self, config: SDHRNetConfig) -> None:
        """Build the graph of ``config``."""
        super().__init__()
        self.config, self.reordered = config, False
        first, second = config.stem
        self.stem = nn.Sequential(conv_bn(3, first, stride=2), conv_bn(first, second, stride=2))
        self.encoder = encoder(second, config)
        before, stages = {0: second}, []
        for number, wiring in enumerate(config.graph):
            last = number == len(config.graph) - 1
            stages.append(Stage(wiring, before, config, first=number == 0, last=last))
            before = {branch: config.widths[branch] for branch in wiring}
        self.stages = nn.ModuleList(stages)
        self.branches = tuple(before)
        width = sum(before.values())
        self.head = nn.ModuleDict(
            {
                "mix": nn.Conv2d(width, width, 1),
                "norm": nn.BatchNorm2d(width),
                "maps": nn.Conv2d(width, config.landmarks, 1),
            }
        )

    def features(self, images: Tensor) -> dict[int, Tensor]:
        """Map (B,3,S,S) to the branches of the last stage."""
        features = {0: self.encoder(self.stem(images))}
        for stage in self.stages:
            features = stage(features)
        return features

    def maps(self, features: dict[int, Tensor]) -> Tensor:
        """Apply the head: one map per landmark at stride 4."""
        mix = self.head["mix"]
        assert isinstance(mix, nn.Conv2d)
        branches = [features[branch] for branch in self.branches]
        mixed = mix_branches(mix, branches, [2**branch for branch in self.branches], reordered=self.reordered)
        out: Tensor = self.head["maps"](functional.relu(self.head["norm"](mixed)))
        return out

    def transforms(self) -> dict[tuple[int, int, int], Transform]:
        """Return the aggregation operators by (position in the graph, target, source)."""
        return {
            (number, target, source): transform
            for number, stage in enumerate(self.stages)
            if isinstance(stage, Stage)
            for target, sources in stage.wiring.items()
            for source in sources
            if isinstance(transform := stage.transforms[f"{source}-{target}"], Transform)
        }

    def fold(self) -> None:
        """Fold the importance factors into batch normalisations, and that of the head into its convolution.

        This is for export: the result in evaluation mode is the same, with fewer operators.
        """
        for transform in self.transforms().values():
            transform.fold()
        mix, norm = self.head["mix"], self.head["norm"]
        if isinstance(mix, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            self.head["mix"], self.head["norm"] = fuse_conv_bn_eval(mix.eval(), norm.eval()), nn.Identity()


class SHRNet(GraphNetwork):
    """Network from crops (B,3,S,S) to one map per landmark at stride 4: the supernet, or a slimmed graph."""

    def __init__(self, config: SDHRNetConfig) -> None:
        """Build the graph of ``config``."""
        super().__init__(config)
        last = self.head["maps"]
        assert isinstance(last, nn.Conv2d)
        start_near_zero(last)

    def forward(self, images: Tensor) -> Tensor:
        """Return maps (B, landmarks, S/4, S/4)."""
        return self.maps(self.features(images))


class SDHRNet(GraphNetwork):
    """Network from crops (B,3,S,S) to one map per landmark at stride 4, decoded by soft-argmax."""

    def __init__(self, config: SDHRNetConfig | None = None) -> None:
        """Build the graph of ``config``."""
        super().__init__(config or SDHRNetConfig())
        self.reordered = True
        first = self.stages[0]
        assert isinstance(first, Stage)
        first.plain = {0} & set(first.wiring)  # matches the networks that were trained with it
        mix = self.head["mix"]
        assert isinstance(mix, nn.Conv2d)
        self.reading = CertaintyHeads(self.config.landmarks, mix.out_channels)

    def forward(self, crops: Tensor) -> dict[str, Tensor]:
        """Return ``points`` (B,n,2) in crop pixels, ``maps`` (B,n,h,w), ``log_scale`` (B,n), ``presence`` (B,)."""
        features = self.features(crops)
        maps = self.maps(features)
        cells, spread = spatial_moments(maps)
        pooled = torch.cat([features[branch].mean(dim=(2, 3)) for branch in self.branches], dim=1)
        log_scale, presence = self.reading(pooled, spread)
        return {"points": (cells + 0.5) * 4 - 0.5, "maps": maps, "log_scale": log_scale, "presence": presence}


def published_count(network: GraphNetwork, *, stem: bool = True) -> int:
    """Count the parameters by the convention of the paper: without head and importance factors.

    The paper includes the stem for a slimmed graph and leaves it out for the supernet. Our additions that decode the
    maps are not counted.
    """
    skipped = ("head.", "reading.") if stem else ("head.", "reading.", "stem.")
    return sum(
        parameter.numel()
        for name, parameter in network.named_parameters()
        if not name.startswith(skipped) and not name.endswith("importance")
    )
