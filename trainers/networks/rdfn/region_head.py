"""Landmark head of RDFN, on region features of 14 x 14 cells.

Features of nine taps of a region (the box of a face) -> global channel attention -> global spatial attention ->
encoding -> 120 x 120 score maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..backbones.resnet import scaled
from ..blocks import conv_bn

CELLS = 14  # cells of a region along each side
MAP = 120  # cells of a score map along each side
NARROWEST = 32  # lower bound of the channels before classification, at any width
STRIDES = (4, 8, 16)  # pixels of the image per cell of the taps of each group

AttentionFactor = Literal["dw_dw_pw", "ds_ds"]


@dataclass(frozen=True, slots=True)
class RDFNConfig:
    """Size and variant of RDFN; the defaults are the preset ``fused``.

    Attributes:
        landmarks: number of landmarks.
        size: shorter side of the image in pixels, for which the anchors are made; a multiple of 16.
        width: factor on all numbers of channels.
        taps: ``all`` nine, or only the ``top`` one (a plain region-based network).
        rpn_width: channels of the detection head.
        channel_attention, spatial_attention: True if the head has them.
        attn_factor: factorisation of a 14 x 14 convolution: two depthwise ones before a single pointwise one
            (``dw_dw_pw``), or two pairs of depthwise and pointwise ones (``ds_ds``, the paper's wording).
        attn_groups: number of such chains in parallel, added up; every second one starts vertically.
        encoding: ``fused`` units of three separable convolutions (the paper's), four ``stacked`` plain ones (Mask
            R-CNN), or ``dense`` units of 1x1 and 3x3 (DenseNet).
        wff_units: number of fused or dense units.
        unit_input: input of each unit after the first: the input of the encoding and ``all`` earlier outputs, or only
            the ``last`` output.
        up_input: input of the score maps: the ``last`` output of the encoding, or the ``concat`` of all.
        up: upsampling from 14 x 14 to 120 x 120 cells. ``deconv`` is the published transposed convolution, 3 x 3 with
            stride 9: it leaves six of nine rows and columns empty. ``resize`` has the same parameters and leaves none
            empty.
        reweighting: decode by location reweighting (eq. 3), otherwise by the highest cell.
        roi_margin: side of the region over that of the box.
        faces: number of output boxes, best first; surplus boxes are marked as not valid.
        overlap: IoU above which the weaker of two boxes is removed.
        threshold: lowest score of a valid box.
    """

    landmarks: int = 68
    size: int = 256
    width: float = 1.0
    taps: Literal["all", "top"] = "all"
    rpn_width: int = 128
    channel_attention: bool = True
    spatial_attention: bool = True
    attn_factor: AttentionFactor = "ds_ds"
    attn_groups: int = 1
    encoding: Literal["fused", "stacked", "dense"] = "fused"
    wff_units: int = 1
    unit_input: Literal["all", "last"] = "all"
    up_input: Literal["last", "concat"] = "concat"
    up: Literal["deconv", "resize"] = "deconv"
    reweighting: bool = True
    roi_margin: float = 1.0
    faces: int = 8
    overlap: float = 0.5
    threshold: float = 0.5


PRESETS = {
    "fused": RDFNConfig(),
    "counts": RDFNConfig(rpn_width=256, attn_factor="dw_dw_pw", up_input="last"),
    "two_units": RDFNConfig(rpn_width=256, wff_units=2, unit_input="last", up_input="last"),
}
"""Readings of the paper: the fusion as worded; both published counts; two units within the published parameters."""


def depthwise(channels: int, kernel: tuple[int, int], padding: tuple[int, int]) -> nn.Sequential:
    """Build a depthwise convolution with batch normalisation and ReLU."""
    convolution = nn.Conv2d(channels, channels, kernel, padding=padding, groups=channels, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def separable(inputs: int, outputs: int) -> nn.Sequential:
    """Build a depthwise 3x3 and a pointwise convolution, each with batch normalisation and ReLU."""
    return nn.Sequential(depthwise(inputs, (3, 3), (1, 1)), conv_bn(inputs, outputs, 1))


class GlobalEncoding(nn.Module):
    """Factored 14 x 14 convolution: two convolutions of 14 x 1 and 1 x 14 with the same receptive field."""

    def __init__(self, channels: int, hidden: int, config: RDFNConfig, *, pad: int) -> None:
        """Build for ``channels`` to ``hidden``; with ``pad`` cells on either side, 14 cells become 1 + 2 pad."""
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
        """Map (B, C, 14, 14) to (B, hidden, 1 + 2 pad, 1 + 2 pad)."""
        return torch.stack([chain(x) for chain in self.chains]).sum(dim=0)


class ChannelAttention(nn.Module):
    """Channel attention: a weight in 0..1 for each channel, computed from all cells."""

    def __init__(self, channels: int, hidden: int, config: RDFNConfig) -> None:
        """Build for ``channels`` channels."""
        super().__init__()
        self.encode = GlobalEncoding(channels, hidden, config, pad=0)
        self.weigh = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, 14, 14) multiplied by the weights."""
        weighted: Tensor = x * self.weigh(self.encode(x)).sigmoid()
        return weighted


class SpatialAttention(nn.Module):
    """Spatial attention: a weight in 0..1 for each cell, computed from all channels; encoded at 7 x 7 cells."""

    def __init__(self, channels: int, hidden: int, config: RDFNConfig) -> None:
        """Build for cells of ``channels`` channels."""
        super().__init__()
        self.encode = GlobalEncoding(channels, hidden, config, pad=3)
        self.weigh = nn.ConvTranspose2d(hidden, 1, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, 14, 14) multiplied by the weights."""
        weighted: Tensor = x * self.weigh(self.encode(x)).sigmoid()
        return weighted


class Encoding(nn.Module):
    """Encoding of weighted features for the score maps; ``channels`` is the number of outputs."""

    def __init__(self, inputs: int, config: RDFNConfig) -> None:
        """Build the encoding of ``config`` for ``inputs`` channels."""
        super().__init__()
        self.kind, self.concat = config.encoding, config.up_input == "concat"
        self.chained = config.unit_input == "last"
        if config.encoding == "stacked":
            wide = scaled(256, config.width)
            self.units = nn.ModuleList(conv_bn(inputs if i == 0 else wide, wide) for i in range(4))
            self.channels = wide
            return
        widths = [max(scaled(channels, config.width), NARROWEST) for channels in (192, 128, 64)]
        added = widths if config.encoding == "fused" else widths[2:]
        into = [added[-1] if i and self.chained else inputs + i * sum(added) for i in range(config.wff_units)]
        self.units = nn.ModuleList(self._unit(channels, widths, config.encoding) for channels in into)
        self.channels = config.wff_units * sum(added) if self.concat else added[-1]

    @staticmethod
    def _unit(inputs: int, widths: list[int], kind: str) -> nn.ModuleList:
        first, second, last = widths
        if kind == "fused":
            return nn.ModuleList([separable(inputs, first), separable(first, second), separable(second, last)])
        return nn.ModuleList([nn.Sequential(conv_bn(inputs, second, 1), conv_bn(second, last))])

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, 14, 14) to (B, channels, 14, 14)."""
        if self.kind == "stacked":
            for unit in self.units:
                x = unit(x)
            return x
        outputs: list[Tensor] = []
        for unit in self.units:
            y = outputs[-1] if outputs and self.chained else torch.cat([x, *outputs], dim=1)
            for step in unit:  # type: ignore[attr-defined]  # a ModuleList
                y = step(y)
                outputs.append(y)
        return torch.cat(outputs, dim=1) if self.concat else outputs[-1]


class Enlarge(nn.Module):
    """Upsampling from 14 x 14 to 120 x 120 cells, by ``RDFNConfig.up``."""

    def __init__(self, inputs: int, outputs: int, config: RDFNConfig) -> None:
        """Build for ``inputs`` to ``outputs`` channels."""
        super().__init__()
        self.resize = config.up == "resize"
        convolution: nn.Module = (
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            if self.resize
            else nn.ConvTranspose2d(inputs, outputs, 3, stride=9, bias=False)
        )
        self.convolve = nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, 14, 14) to (B, outputs, 120, 120), or for ``resize`` to a third of that along each side."""
        if self.resize:
            x = functional.interpolate(x, size=(MAP // 3, MAP // 3), mode="bilinear", align_corners=False)
        enlarged: Tensor = self.convolve(x)
        return enlarged


class LandmarkHead(nn.Module):
    """Head from features of regions to score maps: class 0 is background, class i + 1 is landmark i."""

    def __init__(self, inputs: int, config: RDFNConfig) -> None:
        """Build for ``inputs`` channels of region features."""
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
        """Map (R, C, 14, 14) to logits (R, landmarks + 1, s, s); s is 120, or 40 if they must still be resized.

        A pointwise convolution and a resize commute; this order convolves fewer cells.
        """
        logits: Tensor = self.score(self.enlarge(self.encoding(self.attention(regions))))
        return logits

    def forward(self, regions: Tensor) -> Tensor:
        """Map (R, C, 14, 14) to logits (R, landmarks + 1, 120, 120)."""
        logits = self.coarse(regions)
        if logits.shape[-1] != MAP:
            logits = functional.interpolate(logits, size=(MAP, MAP), mode="bilinear", align_corners=False)
        return logits


def logits_at(coarse: Tensor, places: Tensor) -> Tensor:
    """Return the logits of selected cells of the score maps without computing all of them.

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
