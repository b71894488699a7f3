"""Building blocks shared by several networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

P = ParamSpec("P")
R = TypeVar("R")


def in_full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Compute a function of tensors in float32, even for half-precision inputs and under autocast.

    This is for coordinates: bfloat16 has eight significant bits, too few for the pixels of a crop, and fp16 has eleven.
    """

    @wraps(function)
    def full(*args: P.args, **kwargs: P.kwargs) -> R:
        lifted: Any = [cast(Tensor, value).float() if _is_half(value) else value for value in args]
        kinds = {value.device.type for value in args if isinstance(value, Tensor)} - {"meta"}  # meta has no autocast
        if not any(torch.is_autocast_enabled(kind) for kind in kinds):
            return function(*lifted, **kwargs)
        with torch.autocast(kinds.pop(), enabled=False):
            return function(*lifted, **kwargs)

    return full


def _is_half(value: object) -> bool:
    return isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16)


def conv_bn(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    *,
    relu: bool = True,
    bias: bool = False,
    dilation: int = 1,
) -> nn.Sequential:
    """Build a convolution with batch normalisation and, by default, ReLU; ``bias`` is for published counts with one."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, dilation * (kernel // 2), dilation=dilation, bias=bias),
        nn.BatchNorm2d(outputs),
    ]
    if relu:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with an identity skip connection (He et al. 2016, basic block)."""

    def __init__(self, width: int, dilation: int = 1) -> None:
        """Build a block of ``width`` channels with convolutions of dilation ``dilation``."""
        super().__init__()
        self.body = nn.Sequential(
            conv_bn(width, width, dilation=dilation), conv_bn(width, width, relu=False, dilation=dilation)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, H, W) to the same shape."""
        out: Tensor = functional.relu(x + self.body(x), inplace=True)
        return out


def over_pixels(maps: Tensor) -> Tensor:
    """Return the softmax of each map (B,n,H,W) over its pixels."""
    return maps.flatten(2).softmax(dim=2).reshape(maps.shape)


def log_over_channels(maps: Tensor) -> Tensor:
    """Return the log-softmax of (B,n,H,W) over the channels, several times as fast as torch's for channels-last."""
    return maps.movedim(1, -1).log_softmax(dim=-1).movedim(-1, 1)


@in_full_precision
def spatial_moments(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and spread of a spatial softmax: differentiable coordinates (soft-argmax).

    Args:
        logits: (B, n, H, W).

    Returns:
        points (B, n, 2), x and y in cells, with the centre of the first cell at 0; and spread (B, n), the standard
        deviation in cells around that mean.
    """
    batch, count, height, width = logits.shape
    probability = torch.softmax(logits.reshape(batch, count, height * width), dim=2)
    # Centred before squaring, because the difference of large squares would lose precision. Expanded, because
    # TensorRT-RTX cannot build a quotient and a remainder of so many constants.
    x = torch.arange(width, dtype=logits.dtype, device=logits.device) - (width - 1) / 2
    y = torch.arange(height, dtype=logits.dtype, device=logits.device) - (height - 1) / 2
    x, y = x.expand(height, width).flatten(), y[:, None].expand(height, width).flatten()
    moments = probability @ torch.stack([x, y, x * x + y * y], dim=1)
    mean, square = moments[..., :2], moments[..., 2]
    variance = (square - (mean * mean).sum(dim=2)).clamp_min(1e-4)
    centre = mean.new_tensor([(width - 1) / 2, (height - 1) / 2])
    return mean + centre, variance.sqrt()
