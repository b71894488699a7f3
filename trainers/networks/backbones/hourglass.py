"""AWing's stacked hourglass (Wang et al. 2019), the basis of CHS.

It predicts maps of landmarks and of their outline. A stem reduces the crop to a quarter. Each of four stacks processes
its input at five resolutions and predicts the maps. Each stack except the first also receives the outline of face and
features that the previous one predicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ....engines.errors import NasionError

OUTLINE = 0.05  # value of the boundary map above which a cell belongs to the outline (AWing)


@dataclass(frozen=True, slots=True)
class HourglassConfig:
    """Size of the network; the defaults are the published network.

    Attributes:
        landmarks: number of landmarks.
        size: side of the crop in pixels, a multiple of ``4 * 2**depth``.
        stacks: number of hourglasses in sequence.
        depth: number of halvings in an hourglass.
        width: factor on all numbers of channels.
    """

    landmarks: int = 98
    size: int = 256
    stacks: int = 4
    depth: int = 4
    width: float = 1.0

    def __post_init__(self) -> None:
        """Check that the size can be halved as often as needed.

        Raises:
            NasionError: ``size`` is not a multiple of ``4 * 2**depth``.
        """
        step = 4 * 2**self.depth
        if self.size % step:
            raise NasionError(f"size {self.size} px; {self.depth} halvings need a multiple of {step}")


def scaled(channels: int, width: float) -> int:
    """Return ``channels`` times ``width``, rounded to a multiple of 4 and at least 4 (an HPM block needs it)."""
    return max(4, 4 * round(channels * width / 4))


def norm_relu_conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    """Build a pre-activated convolution: batch normalisation, ReLU, convolution without bias."""
    return nn.Sequential(
        nn.BatchNorm2d(inputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
    )


class HPM(nn.Module):
    """Hierarchical, parallel, multi-scale residual block (Bulat and Tzimiropoulos 2017).

    Three 3x3 convolutions in sequence with half, a quarter and a quarter of the outputs; these are concatenated and
    added to the input.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        """Build for ``inputs`` to ``outputs`` channels; ``outputs`` is a multiple of 4."""
        super().__init__()
        half, quarter = outputs // 2, outputs // 4
        self.first = norm_relu_conv(inputs, half)
        self.second = norm_relu_conv(half, quarter)
        self.third = norm_relu_conv(quarter, quarter)
        self.skip = nn.Identity() if inputs == outputs else norm_relu_conv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H, W)."""
        a = self.first(x)
        b = self.second(a)
        out: Tensor = torch.cat([a, b, self.third(b)], dim=1) + self.skip(x)
        return out


def coordinate_channels(like: Tensor, boundary: Tensor | None = None) -> Tensor:
    """Return coordinate channels (CoordConv, Liu et al. 2018): x and y in -1..1 and the radius in 0..1.

    Args:
        like: (B, C, H, W) tensor that gives batch, size, dtype and device.
        boundary: (B, 1, H, W) map of the outline, or None.

    Returns:
        (B, 3, H, W); with ``boundary`` (B, 5, H, W), where the last two are x and y on the outline and 0 elsewhere.
    """
    batch, _, height, width = like.shape
    y = torch.linspace(-1, 1, height, device=like.device, dtype=like.dtype)[:, None].expand(height, width)
    x = torch.linspace(-1, 1, width, device=like.device, dtype=like.dtype)[None].expand(height, width)
    channels = torch.stack([x, y, (x * x + y * y).sqrt() / 2**0.5])[None].expand(batch, 3, height, width)
    if boundary is None:
        return channels
    on_outline = (boundary > OUTLINE).to(like.dtype)
    return torch.cat([channels, channels[:, :2] * on_outline], dim=1)


class CoordConv(nn.Module):
    """Convolution with ``coordinate_channels`` as additional inputs."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, boundary: bool = False) -> None:
        """Build the convolution, with bias; ``boundary`` adds the channels of the outline."""
        super().__init__()
        self.conv = nn.Conv2d(inputs + (5 if boundary else 3), outputs, kernel, stride, kernel // 2)

    def forward(self, x: Tensor, boundary: Tensor | None = None) -> Tensor:
        """Map (B, inputs, H, W), and an outline (B, 1, H, W) if it is expected, to (B, outputs, H', W')."""
        out: Tensor = self.conv(torch.cat([x, coordinate_channels(x, boundary)], dim=1))
        return out


class Hourglass(nn.Module):
    """Hourglass: down to ``2**-depth`` of the size and up again, with a skip block at each level."""

    def __init__(self, width: int, depth: int = 4) -> None:
        """Build an hourglass of ``width`` channels."""
        super().__init__()
        self.across = nn.ModuleList(HPM(width, width) for _ in range(depth))
        self.down = nn.ModuleList(HPM(width, width) for _ in range(depth))
        self.inner = HPM(width, width)
        self.up = nn.ModuleList(HPM(width, width) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, H, W) to the same shape; H and W are multiples of ``2**depth``."""
        levels = []
        for across, down in zip(self.across, self.down, strict=True):
            levels.append(across(x))
            x = down(functional.avg_pool2d(x, 2))
        x = self.inner(x)
        for level, up in zip(reversed(levels), self.up, strict=True):
            x = level + functional.interpolate(up(x), scale_factor=2.0, mode="nearest")
        return x


class Stem(nn.Module):
    """Stem to a quarter of the crop's size: coordinate convolution, HPM block, average pooling, HPM blocks."""

    def __init__(self, channels: tuple[int, ...] = (64, 128, 128, 256), *, width: float = 1.0) -> None:
        """Build with ``channels`` times ``width``: convolution, block before pooling, then each block after it."""
        super().__init__()
        first, second, *rest = (scaled(count, width) for count in channels)
        self.channels = (second, *rest)[-1]
        self.conv = CoordConv(3, first, 7, 2)
        self.norm = nn.BatchNorm2d(first)
        self.block = HPM(first, second)
        self.levels = nn.ModuleList(HPM(a, b) for a, b in pairwise((second, *rest)))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map (B, 3, S, S) to the features (B, C, S/4, S/4) of each block after pooling, the deepest last."""
        x = functional.relu(self.norm(self.conv(images)), inplace=True)
        levels = [functional.avg_pool2d(self.block(x), 2)]
        for level in self.levels:
            levels.append(level(levels[-1]))
        return levels[1:]


class Stack(nn.Module):
    """Hourglass with its maps, and the features for the next stack."""

    def __init__(self, width: int, maps: int, depth: int, *, first: bool, last: bool) -> None:
        """Build for ``width`` channels; the ``first`` stack has no outline as input, the ``last`` has no successor."""
        super().__init__()
        self.place = CoordConv(width, width, boundary=not first)
        self.hourglass = Hourglass(width, depth)
        self.top = nn.Sequential(
            HPM(width, width), nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.maps = nn.Conv2d(width, maps, 1)
        self.back = None if last else nn.ModuleList([nn.Conv2d(width, width, 1), nn.Conv2d(maps, width, 1)])

    def forward(self, x: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Map features (B, width, H, W) and the maps of the previous stack to the next features and maps."""
        boundary = None if before is None else before[:, -1:]
        top = self.top(self.hourglass(self.place(x, boundary)))
        maps: Tensor = self.maps(top)
        if self.back is not None:
            x = x + self.back[0](top) + self.back[1](maps)
        return x, maps


class HourglassStacks(nn.Module):
    """Stacks from features at a quarter of the crop to maps: one per landmark, then the outline."""

    def __init__(self, features: int, config: HourglassConfig) -> None:
        """Build for ``features`` channels throughout."""
        super().__init__()
        self.stacks = nn.ModuleList(
            Stack(
                features,
                config.landmarks + 1,
                config.depth,
                first=number == 0,
                last=number == config.stacks - 1,
            )
            for number in range(config.stacks)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (B, features, h, w) to one (B, landmarks + 1, h, w) per stack, with peaks of about 1."""
        outputs: list[Tensor] = []
        for stack in self.stacks:
            x, maps = stack(x, outputs[-1] if outputs else None)
            outputs.append(maps)
        return outputs


class StackedHourglass(nn.Module):
    """AWing's network: crops (B,3,S,S) in 0..1 to maps (B, landmarks + 1, S/4, S/4), one set per stack."""

    def __init__(self, config: HourglassConfig | None = None) -> None:
        """Build with ``config``'s widths."""
        super().__init__()
        self.config = config = config or HourglassConfig()
        self.stem = Stem(width=config.width)
        self.stacks = HourglassStacks(self.stem.channels, config)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of each stack; those of the last one are the best."""
        out: list[Tensor] = self.stacks(self.stem(images)[-1])
        return out
