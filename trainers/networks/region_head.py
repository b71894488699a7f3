"""RDFN's landmark head: what it makes of the features of one region (a face's box), 14 x 14 cells each.

Features of nine taps -> global channel attention -> global spatial attention -> encoding -> 120 x 120 score maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from .blocks import conv_bn
from .resnet import scaled

CELLS = 14  # of a region, along each side
MAP = 120  # cells of a score map, along each side
NARROWEST = 32  # channels that classes are told apart by, however small the width
STRIDES = (4, 8, 16)  # pixels of the image to a cell of each group's taps

AttentionFactor = Literal["dw_dw_pw", "ds_ds"]


@dataclass(frozen=True, slots=True)
class RDFNConfig:
    """Size and form of RDFN; the defaults are the preset ``paper_counts``.

    Attributes:
        landmarks: number of points.
        size: shorter side of the picture in pixels, for which the anchors are made; a multiple of 16.
        width: factor of all channels.
        taps: ``all`` nine, or the ``top`` one only (a plain region-based network).
        rpn_width: channels of the detection head.
        channel_attention, spatial_attention: whether the head has them.
        attn_factor: how a 14 x 14 convolution is factored: two depthwise ones before a single pointwise one
            (``dw_dw_pw``), or two pairs of depthwise and pointwise ones (``ds_ds``, the paper's wording).
        attn_groups: such chains side by side, added up; every second one begins vertically.
        encoding: ``fused`` units of three separable convolutions (the paper's), four ``stacked`` plain ones (Mask
            R-CNN), or ``dense`` units of 1x1 and 3x3 (DenseNet).
        wff_units: number of fused or dense units.
        up_input: score maps see the ``last`` output of the encoding, or the ``concat`` of all.
        up: how 14 x 14 cells become 120 x 120. ``deconv`` is the published transposed convolution, 3 x 3 with stride
            9: it leaves six of nine rows and columns empty. ``resize`` has the same parameters and leaves none empty.
        reweighting: points by location reweighting (eq. 3), else the highest cell.
        roi_margin: side of the region over that of the box.
        faces: boxes put out, the best first; the rest of them marked as not valid.
        overlap: IoU above which the weaker of two boxes goes.
        threshold: score at which a box is valid.
    """

    landmarks: int = 68
    size: int = 256
    width: float = 1.0
    taps: Literal["all", "top"] = "all"
    rpn_width: int = 256
    channel_attention: bool = True
    spatial_attention: bool = True
    attn_factor: AttentionFactor = "dw_dw_pw"
    attn_groups: int = 1
    encoding: Literal["fused", "stacked", "dense"] = "fused"
    wff_units: int = 1
    up_input: Literal["last", "concat"] = "last"
    up: Literal["deconv", "resize"] = "deconv"
    reweighting: bool = True
    roi_margin: float = 1.0
    faces: int = 8
    overlap: float = 0.5
    threshold: float = 0.5


PRESETS = {
    "paper_counts": RDFNConfig(),
    "fused": RDFNConfig(rpn_width=128, attn_factor="ds_ds", up_input="concat"),
}


def depthwise(channels: int, kernel: tuple[int, int], padding: tuple[int, int]) -> nn.Sequential:
    """Depthwise convolution, batch normalisation, ReLU."""
    convolution = nn.Conv2d(channels, channels, kernel, padding=padding, groups=channels, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def separable(inputs: int, outputs: int) -> nn.Sequential:
    """Depthwise 3x3 and pointwise, each with batch normalisation and ReLU."""
    return nn.Sequential(depthwise(inputs, (3, 3), (1, 1)), conv_bn(inputs, outputs, 1))


class GlobalEncoding(nn.Module):
    """What a 14 x 14 convolution would see, from two of 14 x 1 and 1 x 14."""

    def __init__(self, channels: int, hidden: int, config: RDFNConfig, *, pad: int) -> None:
        """Reduce ``channels`` to ``hidden``; ``pad`` cells on either side leave 1 + 2 pad cells of 14."""
        super().__init__()
        self.chains = nn.ModuleList(
            self._chain(channels, hidden, config.attn_factor, pad, down_first=bool(i % 2))
            for i in range(config.attn_groups)
        )

    @staticmethod
    def _chain(channels: int, hidden: int, factor: AttentionFactor, pad: int, *, down_first: bool) -> nn.Sequential:
        across, down = ((1, CELLS), (0, pad)), ((CELLS, 1), (pad, 0))
        first, second = (down, across) if down_first else (across, down)
        if factor == "dw_dw_pw":
            return nn.Sequential(
                depthwise(channels, *first), depthwise(channels, *second), conv_bn(channels, hidden, 1)
            )
        return nn.Sequential(
            depthwise(channels, *first),
            conv_bn(channels, hidden, 1),
            depthwise(hidden, *second),
            conv_bn(hidden, hidden, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, 14, 14) to (B, hidden, 1 + 2 pad, 1 + 2 pad)."""
        return torch.stack([chain(x) for chain in self.chains]).sum(dim=0)


class ChannelAttention(nn.Module):
    """A weight in 0..1 for each channel, from all cells at once."""

    def __init__(self, channels: int, hidden: int, config: RDFNConfig) -> None:
        """Weigh ``channels``."""
        super().__init__()
        self.encode = GlobalEncoding(channels, hidden, config, pad=0)
        self.weigh = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, 14, 14), weighted."""
        weighted: Tensor = x * self.weigh(self.encode(x)).sigmoid()
        return weighted


class SpatialAttention(nn.Module):
    """A weight in 0..1 for each cell, from all channels; encoded at 7 x 7 cells."""

    def __init__(self, channels: int, hidden: int, config: RDFNConfig) -> None:
        """Weigh the cells of ``channels``."""
        super().__init__()
        self.encode = GlobalEncoding(channels, hidden, config, pad=3)
        self.weigh = nn.ConvTranspose2d(hidden, 1, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, 14, 14), weighted."""
        weighted: Tensor = x * self.weigh(self.encode(x)).sigmoid()
        return weighted


class Encoding(nn.Module):
    """From weighted features to those that the score maps are made of; ``channels`` is how many."""

    def __init__(self, inputs: int, config: RDFNConfig) -> None:
        """Build ``config``'s kind of encoding over ``inputs`` channels."""
        super().__init__()
        self.kind, self.concat = config.encoding, config.up_input == "concat"
        if config.encoding == "stacked":
            wide = scaled(256, config.width)
            self.units = nn.ModuleList(conv_bn(inputs if i == 0 else wide, wide) for i in range(4))
            self.channels = wide
            return
        widths = [max(scaled(channels, config.width), NARROWEST) for channels in (192, 128, 64)]
        added = widths if config.encoding == "fused" else widths[2:]
        self.units = nn.ModuleList(
            self._unit(inputs + i * sum(added), widths, config.encoding) for i in range(config.wff_units)
        )
        self.channels = config.wff_units * sum(added) if self.concat else added[-1]

    @staticmethod
    def _unit(inputs: int, widths: list[int], kind: str) -> nn.ModuleList:
        first, second, last = widths
        if kind == "fused":
            return nn.ModuleList([separable(inputs, first), separable(first, second), separable(second, last)])
        return nn.ModuleList([nn.Sequential(conv_bn(inputs, second, 1), conv_bn(second, last))])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, 14, 14) to (B, channels, 14, 14)."""
        if self.kind == "stacked":
            for unit in self.units:
                x = unit(x)
            return x
        outputs: list[Tensor] = []
        for unit in self.units:
            y = torch.cat([x, *outputs], dim=1)  # every unit sees the input and all that came before
            for step in unit:  # type: ignore[attr-defined]  # a ModuleList
                y = step(y)
                outputs.append(y)
        return torch.cat(outputs, dim=1) if self.concat else outputs[-1]


class Enlarge(nn.Module):
    """14 x 14 cells to 120 x 120, by ``RDFNConfig.up``."""

    def __init__(self, inputs: int, outputs: int, config: RDFNConfig) -> None:
        """Go from ``inputs`` to ``outputs`` channels."""
        super().__init__()
        self.resize = config.up == "resize"
        convolution: nn.Module = (
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            if self.resize
            else nn.ConvTranspose2d(inputs, outputs, 3, stride=9, bias=False)
        )
        self.convolve = nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, 14, 14) to (B, outputs, 120, 120), or a third of that along each side."""
        if self.resize:
            x = functional.interpolate(x, size=(MAP // 3, MAP // 3), mode="bilinear", align_corners=False)
        enlarged: Tensor = self.convolve(x)
        return enlarged


class LandmarkHead(nn.Module):
    """Features of regions to score maps: class 0 background, class i + 1 landmark i."""

    def __init__(self, inputs: int, config: RDFNConfig) -> None:
        """Build over ``inputs`` channels of region features."""
        super().__init__()
        hidden, narrow = scaled(128, config.width), max(scaled(64, config.width), NARROWEST)
        attention: list[nn.Module] = []
        if config.channel_attention:
            attention.append(ChannelAttention(inputs, hidden, config))
        if config.spatial_attention:
            attention.append(SpatialAttention(inputs, hidden, config))
        self.attention = nn.Sequential(*attention)
        self.encoding = Encoding(inputs, config)
        self.enlarge = Enlarge(self.encoding.channels, narrow, config)
        self.score = nn.Conv2d(narrow, config.landmarks + 1, 1)

    def coarse(self, regions: Tensor) -> Tensor:
        """(R, C, 14, 14) to logits (R, landmarks + 1, s, s), s being 120, or 40 if they are still to be resized.

        A pointwise convolution and a resize commute; this order has fewer cells to convolve.
        """
        logits: Tensor = self.score(self.enlarge(self.encoding(self.attention(regions))))
        return logits

    def forward(self, regions: Tensor) -> Tensor:
        """(R, C, 14, 14) to logits (R, landmarks + 1, 120, 120)."""
        logits = self.coarse(regions)
        if logits.shape[-1] != MAP:
            logits = functional.interpolate(logits, size=(MAP, MAP), mode="bilinear", align_corners=False)
        return logits


def logits_at(coarse: Tensor, places: Tensor) -> Tensor:
    """What some cells of the score maps hold, without making all of them.

    Args:
        coarse: (R, C, s, s) from ``LandmarkHead.coarse``.
        places: (R, P) int64, row times 120 plus column.

    Returns:
        (R, C, P).
    """
    cells = torch.stack([places % MAP, places // MAP], dim=2).to(coarse.dtype)
    grid = (cells * 2 + 1) / MAP - 1
    found = functional.grid_sample(coarse, grid[:, None], padding_mode="border", align_corners=False)
    return found[:, :, 0]
