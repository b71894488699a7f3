"""Transformer encoder over convolutional features (TransPose, Yang et al. 2021).

Layers are post-norm. The position code of each cell is added to the queries and keys of each layer and never to the
values, so that the values carry appearance only.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ....engines.errors import NasionError
from ..backbones.hourglass import HPM, Hourglass, Stem
from ..backbones.hrnet import W48_STAGE3, HRNetTrunk
from ..backbones.resnet import ResNet50
from ..blocks import conv_bn

Backbone = Literal["resnet50", "hrnet-w32", "hrnet-w48", "hourglass", "hourglass-4"]


def scaled(channels: int, width: float) -> int:
    """Return ``channels`` times ``width``, rounded to a multiple of 8 and at least 8, so that eight heads divide it."""
    return max(8, 8 * round(channels * width / 8))


def sine_positions(height: int, width: int, channels: int, *, temperature: float = 10_000.0) -> Tensor:
    """Return a two-dimensional sine code (height * width, channels): the first half encodes y, the second x.

    Each half alternates sine and cosine of the centre of the cell, 0..2 pi over the map, at decreasing frequencies
    (Carion et al. 2020, normalised form).

    Raises:
        NasionError: ``channels`` is not a multiple of 4.
    """
    if channels % 4:
        raise NasionError(f"{channels} channels cannot hold sine and cosine of x and y; use a multiple of 4")
    frequency = temperature ** (-torch.arange(0, channels // 2, 2) / (channels // 2))

    def code(count: int) -> Tensor:
        angle = (torch.arange(count) + 0.5)[:, None] * (2 * math.pi / count) * frequency
        return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)

    y = code(height)[:, None].expand(height, width, channels // 2)
    x = code(width)[None].expand(height, width, channels // 2)
    return torch.cat([y, x], dim=2).flatten(0, 1)


class Attention(nn.Module):
    """Multi-head self-attention with positions in queries and keys only.

    There is no dropout on the attention weights, so they need not be stored, which saves much memory over 4096 cells.
    """

    def __init__(self, width: int, heads: int) -> None:
        """Build ``heads`` heads over ``width`` channels.

        Raises:
            NasionError: ``heads`` does not divide ``width``.
        """
        super().__init__()
        if width % heads:
            raise NasionError(f"{heads} heads do not divide {width} channels")
        self.heads = heads
        self.query_key = nn.Linear(width, 2 * width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.query_key.weight)
        nn.init.xavier_uniform_(self.value.weight)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """Map a sequence (B,T,width) with position code (T,width) to the same shape."""
        query, key = self.query_key(x + positions).chunk(2, dim=2)
        value = self._split(self.value(x))
        mixed = functional.scaled_dot_product_attention(self._split(query), self._split(key), value)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """Reshape (B,T,width) to (B,heads,T,width/heads)."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)


class EncoderLayer(nn.Module):
    """Encoder layer: attention and a feed-forward network, each added to its input and then normalised (post-norm)."""

    def __init__(self, width: int, heads: int, hidden: int, *, dropout: float = 0.1) -> None:
        """Build a layer of ``width`` channels whose feed-forward network has ``hidden`` units."""
        super().__init__()
        self.attention = Attention(width, heads)
        self.feed = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Linear(hidden, width)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """Map a sequence (B,T,width) with position code (T,width) to the same shape."""
        x = self.norms[0](x + self.dropout(self.attention(x, positions)))
        out: Tensor = self.norms[1](x + self.dropout(self.feed(x)))
        return out


class Encoder(nn.Module):
    """Stack of ``layers`` encoder layers over a feature map of fixed size."""

    positions: Tensor

    def __init__(
        self, side: int, width: int, *, heads: int, hidden: int, layers: int = 4, dropout: float = 0.1
    ) -> None:
        """Build for maps (B, width, side, side)."""
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(width, heads, hidden, dropout=dropout) for _ in range(layers))
        # computed from the size, so not saved with the weights
        self.register_buffer("positions", sine_positions(side, side, width), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, width, side, side) to the same shape."""
        height, width = features.shape[2:]
        x = features.flatten(2).transpose(1, 2)
        for layer in self.layers:
            x = layer(x, self.positions)
        return x.transpose(1, 2).reshape(-1, x.shape[2], height, width)


class TransBackbone(nn.Module):
    """Convolutional backbone of stride 8 (ResNet) or 4 (the others) with an encoder: Trans-R, -H and -HG.

    Attributes:
        channels: number of output channels; 256 for ResNet, 64 for the others at full width.
        stride: pixels of the crop per cell.
    """

    def __init__(
        self,
        backbone: Backbone = "resnet50",
        *,
        size: int = 256,
        width: float = 1.0,
        layers: int = 4,
        channels: int | None = None,
    ) -> None:
        """Build for crops of ``size`` pixels; explicit ``channels`` are not scaled by ``width``.

        With 0 ``layers`` there is no encoder, only convolutions.
        """
        super().__init__()
        residual = backbone == "resnet50"
        self.body, found = _body(backbone, width)
        self.stride = 8 if residual else 4
        self.channels = channels = channels or scaled(256 if residual else 64, width)
        self.project = nn.Conv2d(found, channels, 1, bias=False)
        heads, hidden = (8, 4 * channels) if residual else (1, 2 * channels)
        side = size // self.stride
        self.encoder = Encoder(side, channels, heads=heads, hidden=hidden, layers=layers) if layers else None

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised crops (B,3,S,S) to (B, channels, S / stride, S / stride)."""
        features = self.body(images)
        x: Tensor = self.project(features if isinstance(features, Tensor) else features[-1])
        return x if self.encoder is None else self.encoder(x)


def _body(backbone: Backbone, width: float) -> tuple[nn.Module, int]:
    """Build the convolutional part; return it with its number of channels (of the output that is used)."""
    if backbone == "resnet50":
        residual = ResNet50(groups=2, width=width)
        return residual, residual.channels[-1]
    if backbone in ("hrnet-w32", "hrnet-w48"):
        base = scaled(int(backbone[-2:]), width)
        config = replace(W48_STAGE3, widths=(base, 2 * base, 4 * base), stem=scaled(64, width))
        return HRNetTrunk(config), base
    hourglasses = Hourglasses(4 if backbone == "hourglass-4" else 1, width)
    return hourglasses, hourglasses.stem.channels


class Hourglasses(nn.Module):
    """AWing's stem and hourglasses without maps; only the features are passed to the encoder.

    As in AWing, each hourglass ends in a 1x1 convolution with batch normalisation. Without it, activations grow a
    hundredfold through four hourglasses, because the residual sums of the blocks are never normalised.
    """

    def __init__(self, count: int, width: float) -> None:
        """Build ``count`` hourglasses in sequence."""
        super().__init__()
        self.stem = Stem(width=width)
        features = self.stem.channels
        self.stacks = nn.Sequential(
            *(
                nn.Sequential(Hourglass(features), HPM(features, features), conv_bn(features, features, 1))
                for _ in range(count)
            )
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map (B,3,S,S) to (B, 256 x width, S/4, S/4)."""
        out: Tensor = self.stacks(self.stem(images)[-1])
        return out
