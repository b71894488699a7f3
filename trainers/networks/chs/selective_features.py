"""Feature selection of CHS: the selective-feature module and the paper's alternatives.

Each module takes the levels of the feature extractor, the deepest last, and the maps of the previous task. It returns
the features of one task. A guided module first weights each level by the maps.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ..backbones.hourglass import HPM
from ..blocks import conv_bn

Attention = Literal["none", "cbam", "sk", "sdfl", "sf"]


class Branch(nn.Module):
    """One level, reduced to ``width`` channels and, if there are maps, multiplied by their guidance (CHS eq. 1)."""

    def __init__(self, inputs: int, width: int, maps: int) -> None:
        """Build for ``inputs`` channels; ``maps`` is the number of maps that guide the branch, 0 for no guidance."""
        super().__init__()
        self.narrow = conv_bn(inputs, width, 1)
        self.guide = HPM(inputs + maps, width) if maps else None

    def forward(self, level: Tensor, maps: Tensor | None) -> Tensor:
        """Map (B, inputs, h, w) and (B, maps, h, w) to (B, width, h, w)."""
        x: Tensor = self.narrow(level)
        if self.guide is None:
            return x
        assert maps is not None
        x = x * self.guide(torch.cat([level, maps], dim=1))
        return x


class Mixture(nn.Module):
    """Sum of several feature maps, each channel weighted by a softmax over the maps (CHS eq. 2-3, selective kernel)."""

    def __init__(self, width: int, maps: int, hidden: int) -> None:
        """Build for ``maps`` maps of ``width`` channels, with ``hidden`` units."""
        super().__init__()
        self.squeeze = nn.Sequential(nn.Conv2d(width, hidden, 1), nn.ReLU(inplace=True))
        self.excite = nn.Conv2d(hidden, maps * width, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Mix several (B, width, h, w) into one."""
        stacked = torch.stack(maps, dim=1)
        pooled = stacked.sum(dim=1).mean(dim=(2, 3), keepdim=True)
        weights: Tensor = self.excite(self.squeeze(pooled)).view(-1, *stacked.shape[1:3], 1, 1)
        return (weights.softmax(dim=1) * stacked).sum(dim=1)


class SelectiveFeatures(nn.Module):
    """CHS's module: each level is filtered separately, then all are mixed channel by channel."""

    def __init__(
        self, inputs: int, outputs: int, *, narrow: int, width: int, hidden: int, maps: int, levels: int
    ) -> None:
        """Build ``levels`` branches with ``narrow`` channels after the 1x1 and ``width`` after the 3x3 filter."""
        super().__init__()
        self.branches = nn.ModuleList(Branch(inputs, narrow, maps) for _ in range(levels))
        self.filters = nn.ModuleList(conv_bn(narrow, width) for _ in range(levels))
        self.mixture = Mixture(width, levels, hidden)
        self.widen = nn.Conv2d(width, outputs, 1)

    def forward(self, levels: list[Tensor], maps: Tensor | None = None) -> Tensor:
        """Map one (B, inputs, h, w) per level, and maps (B, maps, h, w), to (B, outputs, h, w)."""
        triples = zip(self.filters, self.branches, levels, strict=True)
        out: Tensor = self.widen(self.mixture([filtered(branch(level, maps)) for filtered, branch, level in triples]))
        return out


class CBAM(nn.Module):
    """Convolutional block attention (Woo et al. 2018): weights for channels, then for positions."""

    def __init__(self, width: int) -> None:
        """Build for ``width`` channels, with a sixteenth as many hidden units."""
        super().__init__()
        hidden = max(4, width // 16)
        self.channels = nn.Sequential(nn.Conv2d(width, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, width, 1))
        self.places = conv_bn(2, 1, 7, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, h, w) to the same shape."""
        mean, peak = x.mean(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
        x = x * (self.channels(mean) + self.channels(peak)).sigmoid()
        summary = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        out: Tensor = x * self.places(summary).sigmoid()
        return out


class SelectiveKernel(nn.Module):
    """Selective kernel (Li et al. 2019): a 3x3 and a 5x5 convolution, mixed channel by channel."""

    def __init__(self, width: int, hidden: int) -> None:
        """Build for ``width`` channels, with ``hidden`` units."""
        super().__init__()
        self.small, self.large = conv_bn(width, width), conv_bn(width, width, 5)
        self.mixture = Mixture(width, 2, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, h, w) to the same shape."""
        out: Tensor = self.mixture([self.small(x), self.large(x)])
        return out


class DeepestLevel(nn.Module):
    """Attention over the deepest level only (figure 13a of the paper), or none."""

    def __init__(self, attention: nn.Module, widen: nn.Module) -> None:
        """Apply ``attention``, then ``widen``."""
        super().__init__()
        self.attention, self.widen = attention, widen

    def forward(self, levels: list[Tensor], maps: Tensor | None = None) -> Tensor:
        """Map one (B, C, h, w) per level to (B, outputs, h, w); the maps are ignored."""
        out: Tensor = self.widen(self.attention(levels[-1]))
        return out


class EveryLevel(nn.Module):
    """SDFL's attention (Lin et al. 2021): CBAM on each level, then one 1x1 convolution over all of them."""

    def __init__(self, inputs: int, outputs: int, *, narrow: int, maps: int, levels: int) -> None:
        """Build with ``narrow`` channels for each of ``levels`` branches."""
        super().__init__()
        self.branches = nn.ModuleList(Branch(inputs, narrow, maps) for _ in range(levels))
        self.attention = nn.ModuleList(CBAM(narrow) for _ in range(levels))
        self.widen = nn.Conv2d(levels * narrow, outputs, 1)

    def forward(self, levels: list[Tensor], maps: Tensor | None = None) -> Tensor:
        """Map one (B, inputs, h, w) per level, and maps (B, maps, h, w), to (B, outputs, h, w)."""
        triples = zip(self.attention, self.branches, levels, strict=True)
        out: Tensor = self.widen(
            torch.cat([attention(branch(level, maps)) for attention, branch, level in triples], dim=1)
        )
        return out
