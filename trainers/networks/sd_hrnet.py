"""SD-HRNet (slimmed high-resolution network): graphs of light blocks over four resolutions.

Paper: "SD-HRNet: Slimming and Distilling High-Resolution Network for Efficient Face Alignment". Stage 1 is one encoder
at stride 4; stages 2 to 9 hold up to four branches at strides 4 to 32; stage 10 only aggregates. Which branch feeds
which is the graph: the released COFW and WFLW graphs are here. Supernet, slimming and distillation are not yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from .blocks import conv_bn, spatial_moments
from .encoder_decoder import Reading

# One dict a stage, from stage 2 on: branch -> the branches of the stage before that feed it.
Graph = tuple[dict[int, tuple[int, ...]], ...]

COFW_GRAPH: Graph = (
    {0: (0,), 1: (0,), 2: (0,)},
    {0: (0,), 2: (1,), 3: (1, 2)},
    {0: (0,), 1: (0, 3), 2: (2,)},
    {0: (0, 1), 1: (2,), 3: (1,)},
    {0: (0,), 1: (0, 3), 2: (1, 3)},
    {0: (0, 1, 2), 1: (2,), 3: (1,)},
    {0: (3,), 1: (0, 1, 3), 2: (3,)},
    {0: (0, 1, 2), 1: (0, 1, 2), 2: (2,)},
    {0: (0,), 1: (0, 1, 2), 2: (2,)},
)
WFLW_GRAPH: Graph = (
    {0: (0,), 1: (0,), 2: (0,)},
    {1: (0, 1), 2: (1,), 3: (0, 1, 2)},
    {0: (1, 3), 1: (2, 3), 3: (3,)},
    {1: (0, 1), 2: (0, 3)},
    {0: (2,), 3: (1, 2)},
    {2: (0, 3)},
    {0: (2,), 2: (2,), 3: (2,)},
    {0: (0, 2), 1: (0, 3), 2: (3,)},
    {0: (0, 1, 2), 1: (0, 1, 2), 2: (0, 1, 2)},
)


@dataclass(frozen=True, slots=True)
class SDHRNetConfig:
    """Size of the network.

    Attributes:
        landmarks: number of points.
        size: side of the crop in pixels, a multiple of 32.
        stem: channels of the two stem convolutions; the published ones are 64.
        widths: channels of the four branches.
        blocks: light blocks in each encoder.
        graph: which branch feeds which.
    """

    landmarks: int = 98
    size: int = 256
    stem: tuple[int, int] = (64, 64)
    widths: tuple[int, int, int, int] = (18, 36, 72, 144)
    blocks: int = 4
    graph: Graph = field(default=WFLW_GRAPH)


class LightBlock(nn.Module):
    """MBConv of expansion 1: depthwise 3x3, ReLU6, pointwise, identity around them."""

    def __init__(self, width: int) -> None:
        """Make a block that keeps ``width`` channels."""
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU6(inplace=True),
            conv_bn(width, width, 1, relu=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) to the same shape."""
        out: Tensor = x + self.body(x)
        return out


class Transform(nn.Module):
    """One aggregation operator from a branch to another, times its importance factor."""

    def __init__(self, source: int, target: int, inputs: int, outputs: int, *, first: bool) -> None:
        """Go from branch ``source`` to ``target``; ``first`` is stage 2, whose only source is the stem's encoder."""
        super().__init__()
        self.importance = nn.Parameter(torch.ones(()))
        self.up = 1
        steps = target - source
        if steps == 0:
            self.body: nn.Module = conv_bn(inputs, outputs, relu=False) if first else nn.Identity()
        elif steps < 0:
            self.body, self.up = conv_bn(inputs, outputs, 1, relu=False), 2**-steps
        else:
            halvings = [conv_bn(inputs, inputs, stride=2) for _ in range(steps - 1)]
            self.body = nn.Sequential(*halvings, conv_bn(inputs, outputs, stride=2, relu=False))

    def forward(self, x: Tensor) -> Tensor:
        """Features of the source branch to those of the target."""
        x = self.body(x)
        if self.up > 1:
            x = functional.interpolate(x, scale_factor=float(self.up), mode="bilinear", align_corners=False)
        return self.importance * x


class Stage(nn.Module):
    """Aggregation into each branch of a stage, then its encoder."""

    def __init__(
        self,
        wiring: dict[int, tuple[int, ...]],
        before: dict[int, int],
        config: SDHRNetConfig,
        *,
        first: bool,
        last: bool,
    ) -> None:
        """Build the branches that ``wiring`` names; ``before`` gives the width of each branch of the stage before."""
        super().__init__()
        self.wiring = wiring
        self.transforms = nn.ModuleDict()
        self.encoders = nn.ModuleDict()
        for target, sources in wiring.items():
            width = config.widths[target]
            for source in sources:
                self.transforms[f"{source}-{target}"] = Transform(source, target, before[source], width, first=first)
            light = [] if last else [LightBlock(width) for _ in range(config.blocks)]
            self.encoders[str(target)] = nn.Sequential(*light)

    def forward(self, features: dict[int, Tensor]) -> dict[int, Tensor]:
        """Branch number to features, before and after."""
        out = {}
        for target, sources in self.wiring.items():
            total = (
                torch.stack([self.transforms[f"{s}-{target}"](features[s]) for s in sources]).sum(0)
                if len(sources) > 1
                else self.transforms[f"{sources[0]}-{target}"](features[sources[0]])
            )
            if sources != (target,):
                total = functional.relu(total)
            out[target] = self.encoders[str(target)](total)
        return out


class SDHRNet(nn.Module):
    """Crop (B,3,S,S) to one map per landmark at stride 4, read by soft-argmax."""

    def __init__(self, config: SDHRNetConfig | None = None) -> None:
        """Build the graph of ``config``."""
        super().__init__()
        self.config = config = config or SDHRNetConfig()
        first, second = config.stem
        self.stem = nn.Sequential(conv_bn(3, first, stride=2), conv_bn(first, second, stride=2))
        self.encoder = nn.Sequential(*(LightBlock(second) for _ in range(config.blocks)))
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
        self.reading = Reading(config.landmarks, width)

    def maps(self, features: dict[int, Tensor]) -> Tensor:
        """The head. Its first convolution is linear and pointwise, so each branch's share of it runs at the branch's
        own resolution before upsampling: the same result for a fraction of the multiplications."""
        mix, at, total = self.head["mix"], 0, None
        assert isinstance(mix, nn.Conv2d)
        for branch in self.branches:
            x = features[branch]
            share = functional.conv2d(x, mix.weight[:, at : at + x.shape[1]])
            at += x.shape[1]
            if branch:
                share = functional.interpolate(share, scale_factor=2.0**branch, mode="bilinear", align_corners=False)
            total = share if total is None else total + share
        assert total is not None
        assert mix.bias is not None
        mixed = functional.relu(self.head["norm"](total + mix.bias[:, None, None]))
        out: Tensor = self.head["maps"](mixed)
        return out

    def forward(self, crops: Tensor) -> dict[str, Tensor]:
        """Return ``points`` (B,n,2) in crop pixels, ``maps`` (B,n,h,w), ``log_scale`` (B,n), ``presence`` (B,)."""
        features = {0: self.encoder(self.stem(crops))}
        for stage in self.stages:
            features = stage(features)
        maps = self.maps(features)
        cells, spread = spatial_moments(maps)
        pooled = torch.cat([features[branch].mean(dim=(2, 3)) for branch in self.branches], dim=1)
        log_scale, presence = self.reading(pooled, spread)
        return {"points": (cells + 0.5) * 4 - 0.5, "maps": maps, "log_scale": log_scale, "presence": presence}


def published_count(network: SDHRNet) -> int:
    """Parameters as the paper counts them for a slimmed graph: stem in, head, importance factors and ours out."""
    skipped = ("head.", "reading.")
    return sum(
        parameter.numel()
        for name, parameter in network.named_parameters()
        if not name.startswith(skipped) and not name.endswith("importance")
    )
