"""HRNet (Wang et al. 2019): parallel branches of four resolutions with exchange modules.

HRNetV2-W18 is the teacher of SD-HRNet; ``HRNetTrunk(W48_STAGE3)`` is the backbone of RHT-H. Parameter names are those
of the public code, so that its state dicts load without conversion.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ....engines.errors import ModelError
from ...checkpoint import TrainingError, is_state_dict, plain
from ..blocks import conv_bn

IGNORED = ("incre_modules.", "downsamp_modules.", "final_layer.", "classifier.", "head.")  # last layers of other tasks


@dataclass(frozen=True, slots=True)
class HRNetConfig:
    """Size of the network.

    Attributes:
        landmarks: number of landmarks, one map each.
        widths: channels of the branches at strides 4, 8, 16, ...; their number is the number of stages.
        modules: number of exchange modules of stage 2, stage 3, ...
        blocks: residual blocks per branch of a module.
        stem: channels of the stem; stage 1 has four times as many.
        bottlenecks: residual blocks of stage 1.
        single: the last module outputs only its finest branch (as the backbone of RHT-H).
    """

    landmarks: int = 68
    widths: tuple[int, ...] = (18, 36, 72, 144)
    modules: tuple[int, ...] = (1, 4, 3)
    blocks: int = 4
    stem: int = 64
    bottlenecks: int = 4
    single: bool = False


W18 = HRNetConfig()
W48_STAGE3 = HRNetConfig(widths=(48, 96, 192), modules=(1, 4), single=True)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with an identity skip connection."""

    def __init__(self, width: int) -> None:
        """Build a block of ``width`` channels."""
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, H, W) to the same shape."""
        inner = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        return functional.relu(x + self.bn2(self.conv2(inner)), inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with an identity skip connection, or a projection if the width changes."""

    def __init__(self, inputs: int, width: int) -> None:
        """Build for ``inputs`` to four times ``width`` channels."""
        super().__init__()
        outputs = 4 * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = conv_bn(inputs, outputs, 1, relu=False) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, 4 width, H, W)."""
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = functional.relu(self.bn2(self.conv2(y)), inplace=True)
        skip = x if self.downsample is None else self.downsample(x)
        return functional.relu(skip + self.bn3(self.conv3(y)), inplace=True)


def _lower(inputs: int, outputs: int, steps: int) -> nn.Sequential:
    """Build ``steps`` halvings; the last convolution changes the width and has no ReLU."""
    halvings = [conv_bn(inputs, inputs, stride=2) for _ in range(steps - 1)]
    return nn.Sequential(*halvings, conv_bn(inputs, outputs, stride=2, relu=False))


def upsample(x: Tensor, factor: int) -> Tensor:
    """Upsample bilinearly by the half-pixel convention (align_corners False)."""
    return functional.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=False)


class Exchange(nn.Module):
    """Exchange module: residual blocks on each branch, then each branch receives the sum of all."""

    def __init__(self, widths: tuple[int, ...], blocks: int, *, single: bool) -> None:
        """Build for branches of ``widths`` channels; ``single`` fuses into the finest branch only."""
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(w) for _ in range(blocks))) for w in widths)
        targets = widths[:1] if single else widths
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(self._way(j, i, a, b) for j, a in enumerate(widths)) for i, b in enumerate(targets)
        )

    @staticmethod
    def _way(source: int, target: int, inputs: int, outputs: int) -> nn.Module:
        if source == target:
            return nn.Identity()
        if source > target:
            return conv_bn(inputs, outputs, 1, relu=False)
        return _lower(inputs, outputs, target - source)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Map one tensor per branch to one tensor per branch."""
        features = [branch(x) for branch, x in zip(self.branches, features, strict=True)]
        return [self._fuse(i, features) for i in range(len(self.fuse_layers))]

    def _fuse(self, target: int, features: list[Tensor]) -> Tensor:
        ways, total = self.fuse_layers[target], features[target]
        assert isinstance(ways, nn.ModuleList)
        for source, (way, x) in enumerate(zip(ways, features, strict=True)):
            if source != target:
                y = way(x)
                total = total + (upsample(y, 2 ** (source - target)) if source > target else y)
        return functional.relu(total)


class HRNetTrunk(nn.Module):
    """Trunk from crops (B,3,S,S) to one tensor per branch, the finest at stride 4."""

    def __init__(self, config: HRNetConfig) -> None:
        """Build stem, bottlenecks and stages of ``config``."""
        super().__init__()
        self.widths, stem = config.widths, config.stem
        self.conv1 = nn.Conv2d(3, stem, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.conv2 = nn.Conv2d(stem, stem, 3, 2, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(stem)
        wide = 4 * stem
        self.layer1 = nn.Sequential(*(Bottleneck(wide if i else stem, stem) for i in range(config.bottlenecks)))
        finest, second = config.widths[:2]
        self.transition1 = nn.ModuleList([conv_bn(wide, finest), nn.Sequential(conv_bn(wide, second, stride=2))])
        for stage, count in enumerate(config.modules, start=2):
            last = stage == len(config.modules) + 1
            modules = [
                Exchange(config.widths[:stage], config.blocks, single=config.single and last and i == count - 1)
                for i in range(count)
            ]
            self.add_module(f"stage{stage}", nn.Sequential(*modules))
            if not last:
                new = nn.Sequential(conv_bn(config.widths[stage - 1], config.widths[stage], stride=2))
                self.add_module(f"transition{stage}", nn.ModuleDict({str(stage): new}))
        self.stages = len(config.modules)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map (B,3,S,S), S a multiple of 32, to the branches, finest first."""
        x = functional.relu(self.bn1(self.conv1(images)), inplace=True)
        x = self.layer1(functional.relu(self.bn2(self.conv2(x)), inplace=True))
        features = [way(x) for way in self.transition1]
        for stage in range(2, self.stages + 2):
            if stage > 2:
                features = [*features, self.get_submodule(f"transition{stage - 1}.{stage - 1}")(features[-1])]
            features = self.get_submodule(f"stage{stage}")(features)
        return features


def mix_branches(mix: nn.Conv2d, features: list[Tensor], factors: list[int], *, reordered: bool) -> Tensor:
    """Upsample all branches to the finest resolution and mix them by a 1x1 convolution.

    The convolution is linear and pointwise. If ``reordered``, the share of each branch is computed at the resolution of
    the branch and then upsampled: the same result with a fraction of the multiplications.

    Args:
        mix: 1x1 convolution over the concatenated branches.
        features: one tensor per branch.
        factors: upsampling factors, one per branch; 1 for the finest.
        reordered: False for the published order.
    """
    if not reordered:
        wide = [upsample(x, f) if f > 1 else x for x, f in zip(features, factors, strict=True)]
        out: Tensor = mix(torch.cat(wide, dim=1))
        return out
    ends = list(itertools.accumulate(x.shape[1] for x in features))
    weights = [mix.weight[:, end - x.shape[1] : end] for x, end in zip(features, ends, strict=True)]
    biases = [mix.bias] + [None] * (len(features) - 1)
    shares = [functional.conv2d(x, w, b) for x, w, b in zip(features, weights, biases, strict=True)]
    first, *others = (upsample(x, f) if f > 1 else x for x, f in zip(shares, factors, strict=True))
    return functools.reduce(torch.add, others, first)


def start_near_zero(maps: nn.Conv2d) -> nn.Conv2d:
    """Initialise a last layer so that its maps are almost zero, as most of a target is."""
    nn.init.normal_(maps.weight, std=0.001)
    assert maps.bias is not None
    nn.init.zeros_(maps.bias)
    return maps


class HRNet(nn.Module):
    """HRNetV2: all branches at the finest resolution, mixed by a 1x1 convolution, then one map per landmark.

    Attributes:
        reordered: run the head per branch (``mix_branches``) for the same result.
    """

    def __init__(self, config: HRNetConfig = W18) -> None:
        """Build trunk and head."""
        super().__init__()
        self.config, self.reordered = config, False
        self.trunk = HRNetTrunk(config)
        width = sum(config.widths)
        last = start_near_zero(nn.Conv2d(width, config.landmarks, 1))
        self.head = nn.Sequential(nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True), last)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B,3,S,S) to maps (B, landmarks, S/4, S/4)."""
        features = self.trunk(images)
        mix, *rest = self.head
        assert isinstance(mix, nn.Conv2d)
        mixed = mix_branches(mix, features, [2**i for i in range(len(features))], reordered=self.reordered)
        out: Tensor = nn.Sequential(*rest)(mixed)
        return out


def load_public_weights(trunk: HRNetTrunk, path: Path) -> None:
    """Load an HRNet state dict of the public code (ImageNet, faces or poses) into a trunk, without its last layers.

    Raises:
        ModelError: the file cannot be read, or its weights do not fit the trunk.
    """
    try:
        saved = plain(path)
    except TrainingError as error:
        raise ModelError(str(error)) from error
    saved = saved.get("state_dict", saved) if isinstance(saved, dict) else saved
    if not is_state_dict(saved):
        raise ModelError(f"{path}: holds no state dict; give that of the public HRNet code")
    weights = {name.removeprefix("module."): value for name, value in saved.items()}
    own = trunk.state_dict()
    weights = {name: w for name, w in weights.items() if name in own or not _beyond(name, trunk)}
    odd = [name for name, value in weights.items() if name not in own or own[name].shape != value.shape]
    lacking = [name for name in own if name not in weights and not name.endswith("num_batches_tracked")]
    if odd or lacking:
        raise ModelError(
            f"{path}: not the weights of this HRNet; {len(odd)} do not fit {odd[:3]}, {len(lacking)} are missing "
            f"{lacking[:3]}; give the state dict of the public HRNet code of the same width"
        )
    trunk.load_state_dict(weights, strict=False)


def _beyond(name: str, trunk: HRNetTrunk) -> bool:
    """Return True for a parameter of a head, a later stage, or an exchange that a ``single`` trunk leaves out."""
    last = trunk.stages + 1
    later = tuple(part for n in range(last, 5) for part in (f"transition{n}.", f"stage{n + 1}."))
    return name.startswith((*IGNORED, *later)) or (name.startswith(f"stage{last}.") and ".fuse_layers." in name)
