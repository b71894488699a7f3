"""RHT, the reference heatmap transformer (Wan et al. 2023).

A reference face with known landmarks helps to find those of a target face. A backbone with a transformer on top
encodes the target. A branch at half its resolution compares the target with the reference and transfers the maps of
the reference: cell by cell from the best-matching positions (soft transformation), and as a whole by one affine
transform (hard transformation). A decoder joins all three at three scales.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ....engines.errors import NasionError
from ..backbones.hrnet import start_near_zero
from ..blocks import conv_bn, in_full_precision
from .transformer import Backbone, TransBackbone, scaled

Scales = tuple[Tensor, Tensor, Tensor]  # coarsest first: strides 4, 2 and 1 of the branch, 256, 128 and 64 channels

WIDTHS = (256, 128, 64)
_AROUND = tuple((dy, dx) for dy in range(3) for dx in range(3))  # the cells of a 3x3 patch


@dataclass(frozen=True, slots=True)
class RHTConfig:
    """Size and components of the network.

    Attributes:
        landmarks: number of landmarks.
        boundaries: number of boundary maps besides those of the landmarks; 0 for none.
        backbone: network that encodes the target.
        layers: number of encoder layers on top of the backbone; 0 for none.
        stm: use the soft transformation of the reference's maps.
        htm: use the hard transformation of the reference's maps.
        fusion: join target and reference at three scales; otherwise they are added at the coarsest.
        size: side of the crop in pixels, a multiple of 64; the branch works at half of it.
        width: factor on all numbers of channels except those from which the maps are computed.
    """

    landmarks: int = 68
    boundaries: int = 13
    backbone: Backbone = "resnet50"
    layers: int = 4
    stm: bool = True
    htm: bool = True
    fusion: bool = True
    size: int = 256
    width: float = 1.0

    def __post_init__(self) -> None:
        """Check that the size can be halved as often as needed.

        Raises:
            NasionError: ``size`` is not a positive multiple of 64.
        """
        if self.size <= 0 or self.size % 64:
            raise NasionError(f"size {self.size} px; RHT halves it six times: use a multiple of 64")

    @property
    def maps(self) -> int:
        """Number of maps that the reference brings and that are predicted for the target."""
        return self.landmarks + self.boundaries

    def channels(self, count: int) -> int:
        """Return ``count`` times ``width``, rounded to a multiple of 8 and at least 8."""
        return scaled(count, self.width)


class Reference(NamedTuple):
    """Features of the reference face: ``keys`` (R,256,c,c) of its image, ``values`` of its maps.

    R is 1, one reference for all targets, or the number of targets.
    """

    keys: Tensor
    values: Scales


class Outcome(NamedTuple):
    """Maps (B, maps, S/2, S/2) and the transferred features behind them; None for components that are left out.

    ``attention`` holds one (B,1,h,w) per scale: the correlation of the best matches, -1..1. ``query`` (B,256,h,w) are
    the features of the target that are compared with the keys of the reference; ``matrix`` (B,2,3) is the affine
    transform from target to reference, in -1..1 over the crop.
    """

    maps: Tensor
    soft: Scales | None
    hard: Scales | None
    attention: Scales | None
    query: Tensor | None = None
    matrix: Tensor | None = None


def halve(images: Tensor) -> Tensor:
    """Halve the size of crops; by the half-pixel convention, each pixel is the mean of four."""
    return functional.avg_pool2d(images, 2)


# --- comparison and transfer


def neighbourhoods(x: Tensor) -> Tensor:
    """Map (B,C,h,w) to the 3x3 patch around each cell as a unit vector: (B, 9C, h w); 0 outside the map."""
    height, width = x.shape[2:]
    padded = functional.pad(x, (1, 1, 1, 1))
    patches = torch.cat([padded[:, :, dy : dy + height, dx : dx + width] for dy, dx in _AROUND], dim=1)
    return functional.normalize(patches.flatten(2).float(), dim=1).to(x.dtype)  # the squares overflow float16


def best_matches(query: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Find the best match in the reference for each patch of the target (eq. 1 and 2).

    Args:
        query: (B,C,h,w) features of the target.
        keys: (R,C,h,w) features of the reference, R 1 or B.

    Returns:
        place (B, h, w), the cell of the reference counted row by row, and the correlation with it (B, 1, h, w).
    """
    correlation = neighbourhoods(query).transpose(1, 2) @ neighbourhoods(keys).to(query.dtype)
    attention, place = correlation.max(dim=2)
    height, width = query.shape[2:]
    return place.reshape(-1, height, width), attention.reshape(-1, 1, height, width)


def gather_patches(values: Tensor, place: Tensor) -> Tensor:
    """Place the chosen 3x3 patches, sum them where they overlap and divide by 9: Unfold, gather and Fold in one.

    A cell is covered by the patches around its nine neighbours, so it is the mean of nine cells of ``values``, one for
    each shift. Nine gathers do this; Fold would be exported as an operator that engines lack.

    Args:
        values: (R,C,h,w), R 1 or B.
        place: (B,h,w) cell of ``values`` at the centre of each patch, counted row by row.

    Returns:
        (B,C,h,w).
    """
    count, channels, height, width = values.shape
    rows = functional.pad(values, (1, 1, 1, 1)).flatten(2).transpose(1, 2)  # the first row is padding: all 0
    start = torch.arange(count, device=values.device)[:, None, None] * rows.shape[1]
    corner = place // width * (width + 2) + place % width + start
    rows = rows.flatten(0, 1)
    total = torch.zeros((), device=values.device, dtype=values.dtype)
    for dy, dx in _AROUND:
        moved = functional.pad(corner + (dy * (width + 2) + dx), (1, 1, 1, 1))
        chosen = moved[:, 2 - dy : 2 - dy + height, 2 - dx : 2 - dx + width]
        total = total + rows.index_select(0, chosen.flatten())
    return (total / 9).reshape(-1, height * width, channels).transpose(1, 2).reshape(-1, channels, height, width)


def transfer(values: Scales, place: Tensor) -> Scales:
    """Apply ``gather_patches`` at all three scales; a cell holds 4 or 16 pixels at the finer ones."""
    cells = [functional.pixel_unshuffle(value, 2**i) if i else value for i, value in enumerate(values)]
    parts = torch.split(gather_patches(torch.cat(cells, dim=1), place), [cell.shape[1] for cell in cells], dim=1)
    return parts[0], functional.pixel_shuffle(parts[1], 2), functional.pixel_shuffle(parts[2], 4)


def soften(values: Scales, place: Tensor, attention: Tensor) -> tuple[Scales, Scales]:
    """Apply the soft transformation (eq. 3); return features times attention, and the attention of each scale."""
    moved = transfer(values, place)
    wide = [
        functional.interpolate(attention, scale_factor=float(factor), mode="bicubic", align_corners=False)
        for factor in (2, 4)
    ]
    weights = (attention, wide[0], wide[1])
    return (moved[0] * weights[0], moved[1] * weights[1], moved[2] * weights[2]), weights


class HardTransform(nn.Module):
    """Affine transform from target to reference, predicted from the features of both; starts as the identity."""

    def __init__(self, config: RHTConfig) -> None:
        """Build the localisation network."""
        super().__init__()
        wide, narrow = config.channels(128), config.channels(64)
        side = 4 if config.size % 128 == 0 else 2
        self.look = nn.Sequential(
            conv_bn(2 * config.channels(256), wide, stride=2),
            conv_bn(wide, narrow, stride=2),
            nn.AvgPool2d(config.size // 32 // side),
            nn.Flatten(),
            nn.Linear(narrow * side * side, wide),
            nn.ReLU(inplace=True),
        )
        self.matrix = nn.Linear(wide, 6)
        nn.init.zeros_(self.matrix.weight)
        with torch.no_grad():
            self.matrix.bias.copy_(torch.tensor([1.0, 0, 0, 0, 1, 0]))

    def forward(self, query: Tensor, reference: Reference) -> tuple[Scales, Tensor]:
        """Map features of the target (B,256,h,w) to the values of the reference, aligned with the target.

        Returns these, and the transform (B,2,3).
        """
        keys = reference.keys.expand_as(query)
        matrix = self.matrix(self.look(torch.cat([query, keys], dim=1))).reshape(-1, 2, 3)
        coarse, middle, fine = (warp_features(value, matrix) for value in reference.values)
        return (coarse, middle, fine), matrix


@in_full_precision
def warp_features(values: Tensor, matrix: Tensor) -> Tensor:
    """Sample (R,C,h,w) bilinearly at ``matrix`` (B,2,3) times each cell, both in -1..1 over the map; 0 outside."""
    shape = [matrix.shape[0], *values.shape[1:]]
    grid = functional.affine_grid(matrix, shape, align_corners=False)
    return functional.grid_sample(values.expand(shape), grid, align_corners=False)


# --- components


class Extractor(nn.Module):
    """Feature extractor of the branch for images or maps, with outputs at its strides 4, 2 and 1."""

    def __init__(self, inputs: int, config: RHTConfig) -> None:
        """Build for ``inputs`` channels."""
        super().__init__()
        coarse, middle, fine = (config.channels(width) for width in WIDTHS)
        self.fine = conv_bn(inputs, fine)
        self.middle = nn.Sequential(conv_bn(fine, fine), nn.MaxPool2d(2), conv_bn(fine, middle))
        self.coarse = nn.Sequential(conv_bn(middle, middle), nn.MaxPool2d(2), conv_bn(middle, coarse))

    def forward(self, x: Tensor) -> Scales:
        """Map (B, inputs, s, s), s half of the crop, to 256, 128 and 64 channels at s/4, s/2 and s."""
        fine = self.fine(x)
        middle = self.middle(fine)
        return self.coarse(middle), middle, fine


class Decoder(nn.Module):
    """Decoder that joins target and transferred features at each scale (MSFFM, eq. 5 and 6) and predicts maps.

    A ReLU follows each transposed convolution; without it the three scales would form a single linear map. The last
    scale always has 64 channels, at any width: each cell of the maps is a linear function of them, and fewer channels
    could not separate the maps of 68 landmarks.
    """

    def __init__(self, config: RHTConfig) -> None:
        """Build for one set of transferred features per transformation in ``config``."""
        super().__init__()
        sources = [(config.stm + config.htm) * config.channels(width) for width in WIDTHS]
        widths = [*(config.channels(width) for width in WIDTHS[:-1]), WIDTHS[-1]]
        self.joins = (
            nn.ModuleList(nn.Conv2d(a + b, b, 3, padding=1) for a, b in zip(sources, widths, strict=True))
            if config.fusion
            else None
        )
        self.lifts = nn.ModuleList(_lift(a, b) for a, b in pairwise(widths))
        self.maps = start_near_zero(nn.Conv2d(widths[-1], config.maps, 1))

    def forward(self, x: Tensor, transferred: list[Scales]) -> Tensor:
        """Map (B,256,S/8,S/8) and the transferred features to (B, maps, S/2, S/2)."""
        for scale in range(len(WIDTHS)):
            parts = [features[scale] for features in transferred]
            if self.joins is not None:
                x = x + self.joins[scale](torch.cat([*parts, x], dim=1))
            elif scale == 0:
                x = torch.stack([*parts, x]).sum(dim=0)
            if scale < len(self.lifts):
                x = functional.relu(self.lifts[scale](x))
        out: Tensor = self.maps(x)
        return out


def _lift(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """Build a transposed convolution to twice the size.

    Each output depends on 2x2 inputs. Torch's default initialisation ignores this, and without normalisation around the
    layer its output would be close to zero.
    """
    layer = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)
    nn.init.normal_(layer.weight, std=(2 / (4 * inputs)) ** 0.5)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


class RHT(nn.Module):
    """Network from a crop and a reference face to maps of landmarks and boundaries at half the size of the crop."""

    def __init__(self, config: RHTConfig | None = None) -> None:
        """Build the components that ``config`` enables."""
        super().__init__()
        self.config = config = config or RHTConfig()
        self.backbone = TransBackbone(config.backbone, size=config.size, width=config.width, layers=config.layers)
        # features of a finer backbone are reduced to the coarsest scale, as eq. 5 requires
        self.adapter: nn.Module = nn.Identity()
        if self.backbone.stride == 4:
            self.adapter = nn.Conv2d(self.backbone.channels, config.channels(256), 3, 2, 1)
        self.decoder = Decoder(config)
        self.image_extractor = self.map_extractor = self.hard = None
        if config.stm or config.htm:
            self.image_extractor = Extractor(3, config)
            self.map_extractor = Extractor(config.maps, config)
        if config.htm:
            self.hard = HardTransform(config)

    def remember(self, image: Tensor, maps: Tensor) -> Reference:
        """Return the features of reference faces that ``forward`` needs.

        Args:
            image: (R,3,S/2,S/2), normalised like the crops.
            maps: (R, maps, S/2, S/2), Gaussians of its landmarks and its boundaries.

        Raises:
            NasionError: the network has neither transformation, so it cannot use a reference.
        """
        if self.image_extractor is None or self.map_extractor is None:
            raise NasionError("this RHT has neither soft nor hard transformation: it takes no reference")
        values: Scales = self.map_extractor(maps)
        return Reference(self.image_extractor(image)[0], values)

    def forward(self, images: Tensor, reference: Reference | None = None) -> Outcome:
        """Predict maps of normalised crops (B,3,S,S).

        ``reference`` is required if the network has a transformation; otherwise it is ignored.
        """
        features = self.adapter(self.backbone(images))
        if self.image_extractor is None:
            return Outcome(self.decoder(features, []), None, None, None)
        assert reference is not None, "a reference is needed: see remember()"
        query = self.image_extractor(halve(images))[0]
        soft = hard = attention = matrix = None
        if self.config.stm:
            soft, attention = soften(reference.values, *best_matches(query, reference.keys))
        if self.hard is not None:
            hard, matrix = self.hard(query, reference)
        transferred = [part for part in (hard, soft) if part is not None]
        return Outcome(self.decoder(features, transferred), soft, hard, attention, query, matrix)
