"""CHS: heat maps, followed by a cascade that refines each landmark from its surroundings.

Paper: "Heatmap-Guided Selective Feature Attention for Robust Cascaded Face Alignment" (So and Han 2023). All tasks
share a feature extractor; each task selects its features from several levels. AWing's hourglasses find the landmarks,
and each stage of the cascaded coordinate regression (CCR) corrects the previous one. Stages can be removed afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..backbones.hourglass import HourglassConfig, HourglassStacks, Stem, coordinate_channels, scaled
from ..blocks import conv_bn
from ..decoding import arg_max
from ..roi_align import roi_align
from .selective_features import CBAM, Attention, DeepestLevel, EveryLevel, SelectiveFeatures, SelectiveKernel

Routing = Literal["ccr", "full", "task"]
LEVELS = 3  # branches of the selective-feature module
WIDTH, HIDDEN = 32, 8  # its channels before the mixture, and those from which the weights of the mixture are computed


@dataclass(frozen=True, slots=True)
class CHSConfig(HourglassConfig):
    """Size and variant of the network; the defaults are the published network.

    Attributes:
        stages: stages of coordinate regression; 0 for heat maps only.
        attention: feature selection of each regression stage. The heat maps use ``sf`` for all values except
            ``none``, which is AWing's extractor for all tasks.
        guided: weight the features of the regression stages by the maps.
        routing: flow of gradients from a task to previous ones. ``ccr``, the paper's: from stage to stage, but not
            into the heat maps; ``full``: into the maps too; ``task``: into the extractor only.
        window: side, in cells, of the window that a stage uses around each landmark; odd.
        coordinates: coordinate channels in that window: 5 with the outline, 3 without, 0 for none.
        early_coordinates: use them both before the residual block, as worded, and beside the last convolution, which
            the published counts need; otherwise only there.
        tail: features of each landmark from which the offsets are computed; not scaled by ``width``.
        bottleneck: ``kept`` at its published channels at any width, since the features of all maps pass through it; or
            ``scaled`` by ``width``.
    """

    stages: int = 4
    attention: Attention = "sf"
    guided: bool = True
    routing: Routing = "ccr"
    window: int = 5
    coordinates: Literal[0, 3, 5] = 5
    early_coordinates: bool = True
    tail: int = 8
    bottleneck: Literal["kept", "scaled"] = "kept"


class Cascade(NamedTuple):
    """Output of the network.

    ``maps``: (B, n + 1, h, w) of each stack, the outline last; ``cells``: landmarks (B, n, 2) in cells of the maps,
    decoded from the last maps and after each stage; ``peak``: (B, n) highest value of the map of each landmark.
    """

    maps: list[Tensor]
    cells: list[Tensor]
    peak: Tensor


def attention_of(config: CHSConfig, *, task: int, inputs: int, outputs: int) -> nn.Module:
    """Build the feature selection of task 0, the heat maps, or of a regression stage.

    ``inputs`` is the number of channels of each level. Widths that the paper does not state are chosen to match its
    parameter counts: 64 and 32 channels for the heat maps, 128 and 32 for a stage.
    """
    narrow, width, hidden = scaled(128 if task else 64, config.width), WIDTH, HIDDEN
    if config.bottleneck == "kept":
        narrow = max(narrow, WIDTH)
    else:
        width, hidden = scaled(WIDTH, config.width), scaled(HIDDEN, config.width)
    maps = config.landmarks + 1 if task and config.guided else 0
    match config.attention if task or config.attention == "none" else "sf":
        case "sf":
            return SelectiveFeatures(
                inputs, outputs, narrow=narrow, width=width, hidden=hidden, maps=maps, levels=LEVELS
            )
        case "sdfl":
            return EveryLevel(inputs, outputs, narrow=narrow, maps=maps, levels=LEVELS)
        case "cbam":
            return DeepestLevel(CBAM(inputs), nn.Conv2d(inputs, outputs, 1))
        case "sk":
            return DeepestLevel(SelectiveKernel(inputs, hidden), nn.Conv2d(inputs, outputs, 1))
        case "none":
            return DeepestLevel(nn.Identity(), conv_bn(inputs, outputs, 1) if task else nn.Identity())


def own_convolution(landmarks: int, inputs: int, outputs: int, kernel: int, padding: int = 0) -> nn.Conv2d:
    """Build a convolution with separate kernels for each landmark.

    It is a grouped convolution. A batched matrix product over the landmarks took 1.6 to 5.5 times as long on one CPU
    thread in ONNX Runtime (1 and 8 crops, full and quarter width); in PyTorch it was faster only for a single crop at
    full width.
    """
    return nn.Conv2d(landmarks * inputs, landmarks * outputs, kernel, padding=padding, groups=landmarks)


class RegressionStage(nn.Module):
    """Stage of the cascade: predicts the offset of each landmark from a window of features around it."""

    def __init__(self, config: CHSConfig, inputs: int) -> None:
        """Build for levels of ``inputs`` channels."""
        super().__init__()
        self.config = config
        early = config.coordinates if config.early_coordinates else 0
        selected = max(scaled(128, config.width) - early, 4)
        self.channels = width = selected + early
        count = config.landmarks
        self.attention = attention_of(config, task=1, inputs=inputs, outputs=selected)
        self.block = nn.Sequential(
            own_convolution(count, width, width, 3, 1),
            nn.BatchNorm2d(count * width),
            nn.ReLU(inplace=True),
            own_convolution(count, width, width, 3, 1),
            nn.BatchNorm2d(count * width),
        )
        self.tail = own_convolution(count, width + config.coordinates, config.tail, config.window)
        self.offset = nn.Linear(count * config.tail, count * 2)

    def forward(self, levels: list[Tensor], maps: Tensor, cells: Tensor) -> Tensor:
        """Map levels (B, C, h, w), maps (B, n + 1, h, w) and landmarks (B, n, 2) to offsets (B, n, 2), in cells."""
        width = self.channels
        features = torch.cat([self.attention(levels, maps), *self._places(maps)], dim=1)
        seen = windows(features, cells, self.config.window)
        x = seen[:, :, :width].flatten(1, 2)
        x = functional.relu(x + self.block(x), inplace=True)
        places = seen[:, :, seen.shape[2] - self.config.coordinates :]
        x = torch.cat([x.view_as(seen[:, :, :width]), places], dim=2)
        x = functional.relu(self.tail(x.flatten(1, 2)), inplace=True)
        offsets: Tensor = self.offset(x.flatten(1)).view(-1, self.config.landmarks, 2)
        return offsets

    def _places(self, maps: Tensor) -> list[Tensor]:
        if not self.config.coordinates:
            return []
        return [coordinate_channels(maps, maps[:, -1:] if self.config.coordinates == 5 else None)]


def windows(features: Tensor, cells: Tensor, side: int) -> Tensor:
    """Sample a window of ``side`` x ``side`` cells around each landmark, at whole cells from it.

    Args:
        features: (B, C, h, w).
        cells: (B, n, 2) landmarks; no gradient flows to the positions of the windows, as in RoI pooling.
        side: odd.

    Returns:
        (B, n, C, side, side); 0 at more than one cell outside the map.
    """
    centres = cells.detach()
    boxes = torch.cat([centres - side / 2, centres + side / 2], dim=2)
    return roi_align(features, boxes, size=side, scale=1.0, sampling=1)


class CHS(nn.Module):
    """Network from crops (B,3,S,S) in 0..1 to maps at a quarter of the size, and to landmarks stage by stage."""

    def __init__(self, config: CHSConfig | None = None) -> None:
        """Build the network of ``config``; without stages and attention it is AWing's network."""
        super().__init__()
        self.config = config = config or CHSConfig()
        channels = (64, 128, 128, 256) if config.attention == "none" else (64, 128, *[128] * LEVELS)
        self.extractor = Stem(channels, width=config.width)
        inputs, features = self.extractor.channels, scaled(256, config.width)
        self.attention = attention_of(config, task=0, inputs=inputs, outputs=features)
        self.heatmaps = HourglassStacks(features, config)
        self.stages = nn.ModuleList(RegressionStage(config, inputs) for _ in range(config.stages))

    def forward(self, images: Tensor) -> Cascade:
        """Return the maps of each stack and the landmarks after each stage."""
        levels = self.extractor(images)
        maps = self.heatmaps(self.attention(levels))
        start, peak = arg_max(maps[-1][:, :-1].detach())
        cells, routing = [start], self.config.routing
        guide = maps[-1] if routing == "full" else maps[-1].detach()
        for stage in self.stages:
            before = cells[-1].detach() if routing == "task" else cells[-1]
            cells.append(before + stage(levels, guide, before))
        return Cascade(maps, cells, peak)
