"""ResNet-50 (He et al. 2016) with a selectable number of groups and inner features.

Parameter names are those of the public torchvision model, so that its ImageNet weights can be loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from ....engines.errors import ModelError
from ...checkpoint import TrainingError, is_state_dict, plain

EXPANSION = 4
BLOCKS = (3, 4, 6, 3)
Taps = tuple[Tensor, Tensor, Tensor]


def scaled(channels: int, width: float) -> int:
    """Return ``channels`` times ``width``, rounded to a multiple of 4 and at least 4."""
    return max(4, 4 * round(channels * width / 4))


class Bottleneck(nn.Module):
    """1x1 reduction, 3x3 (with the stride) and 1x1 expansion, with an identity or projection skip connection."""

    def __init__(self, inputs: int, planes: int, stride: int = 1) -> None:
        """Build for ``inputs`` to 4 x ``planes`` channels."""
        super().__init__()
        outputs = EXPANSION * planes
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def taps(self, x: Tensor) -> Taps:
        """Return the outputs of the three convolutions after their ReLUs; the third one after the sum."""
        around = x if self.downsample is None else self.downsample(x)
        first = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        second = functional.relu(self.bn2(self.conv2(first)), inplace=True)
        third = functional.relu(self.bn3(self.conv3(second)) + around, inplace=True)
        return first, second, third

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, 4 planes, H / stride, W / stride)."""
        return self.taps(x)[2]


class ResNet50(nn.Module):
    """Stem and first ``groups`` groups of ResNet-50; strides 4, 8, 16 and 32."""

    def __init__(self, *, groups: int = 4, width: float = 1.0) -> None:
        """Build with all numbers of channels times ``width``."""
        super().__init__()
        base = scaled(64, width)
        self.groups = groups
        self.conv1 = nn.Conv2d(3, base, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(base)
        inputs = base
        for i, count in enumerate(BLOCKS[:groups]):
            planes, stride = base << i, 1 if i == 0 else 2
            first = Bottleneck(inputs, planes, stride)
            inputs = EXPANSION * planes
            rest = (Bottleneck(inputs, planes) for _ in range(count - 1))
            setattr(self, f"layer{i + 1}", nn.Sequential(first, *rest))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def channels(self) -> tuple[int, ...]:
        """Output channels of each group."""
        return tuple(EXPANSION * self.conv1.out_channels << i for i in range(self.groups))

    @property
    def tap_channels(self) -> tuple[tuple[int, int, int], ...]:
        """Channels of the three taps of each group."""
        return tuple((c // EXPANSION, c // EXPANSION, c) for c in self.channels)

    def group(self, number: int) -> nn.Sequential:
        """Return group ``number``, from 1: ``layer1`` and so on."""
        return cast(nn.Sequential, getattr(self, f"layer{number}"))

    def stem(self, images: Tensor) -> Tensor:
        """Map ImageNet-normalised images (B,3,H,W) to (B, 64 x width, H/4, W/4)."""
        x = functional.relu(self.bn1(self.conv1(images)), inplace=True)
        return functional.max_pool2d(x, 3, 2, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the output of each group, the finest first."""
        x, out = self.stem(images), []
        for number in range(1, self.groups + 1):
            x = self.group(number)(x)
            out.append(x)
        return tuple(out)

    def taps(self, images: Tensor) -> tuple[Taps, ...]:
        """Return the three taps of the last bottleneck of each group, the finest group first."""
        x, out = self.stem(images), []
        for number in range(1, self.groups + 1):
            *before, last = self.group(number)
            for block in before:
                x = block(x)
            taps = cast(Bottleneck, last).taps(x)
            out.append(taps)
            x = taps[2]
        return tuple(out)


def load_backbone(network: nn.Module, file: Path) -> None:
    """Load public ImageNet weights into ``network``; unused entries (classifier, later groups) are ignored.

    Raises:
        ModelError: the file is missing or not a state dict, or entries of ``network`` are missing or differ in shape.
    """
    state = _state_dict(file)
    wanted = network.state_dict()
    for name, tensor in wanted.items():
        if name.endswith("num_batches_tracked"):  # absent from old files; not needed for inference
            continue
        if name not in state:
            raise ModelError(f"{file}: has no entry {name!r}; expected the state dict of torchvision's resnet50")
        if state[name].shape != tensor.shape:
            raise ModelError(
                f"{file}: {name!r} has shape {tuple(state[name].shape)}, the network {tuple(tensor.shape)}; "
                "public weights fit the published width only: leave out --width"
            )
    network.load_state_dict({name: state.get(name, tensor) for name, tensor in wanted.items()})


def _state_dict(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise ModelError(f"{file}: no such file; --backbone-weights expects the state dict of torchvision's resnet50")
    try:
        content = plain(file)
    except TrainingError as error:
        raise ModelError(str(error)) from error
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not is_state_dict(content):
        raise ModelError(f"{file}: holds a {type(content).__name__}; expected the state dict of torchvision's resnet50")
    return {name.removeprefix("module."): value for name, value in content.items()}
