"""Networks of the papers at their published sizes, and their counts next to the printed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..counting import Convention, parameters, tally
from .paper_files import Size
from .published import SIZES, printed

if TYPE_CHECKING:
    from ..networks.chs.selective_features import Attention
    from ..networks.rht.transformer import Backbone


@dataclass(frozen=True, slots=True)
class Preset:
    """Builder of a network at its published size.

    Attributes:
        landmarks: number of landmarks.
        shapes: shapes of its inputs, for one face.
        build: builds it with random weights on torch's current device.
        flops_of: builds the part whose multiply-accumulates the paper prints; None: the whole network.
    """

    landmarks: int
    shapes: tuple[tuple[int, ...], ...]
    build: Callable[[], nn.Module]
    flops_of: Callable[[], nn.Module] | None = None


# Each preset imports its own module of ``networks``, so that using one network does not import all of them.


def _pwc(name: str, size: int = 224, **options: Any) -> Preset:
    def build() -> nn.Module:
        from ..networks.pwc import networks as pwc

        made: nn.Module = getattr(pwc, name)(pwc.PWCConfig(size=size), **options)
        return made

    return Preset(68, ((1, 3, size, size),), build)


def _dan(*, stage: bool = False) -> Preset:
    def build() -> nn.Module:
        from ..networks.pwc import dan
        from ..networks.pwc.networks import PWCConfig

        config = PWCConfig(size=112)
        return dan.Corrector(config, 1) if stage else dan.DAN(config)

    return Preset(68, ((1, 1 if stage else 3, 112, 112),), build)


def _discriminator() -> nn.Module:
    from ..networks.pwc.networks import Discriminator

    return Discriminator()


def _chs(stages: int, attention: Attention = "sf") -> Preset:
    def build() -> nn.Module:
        from ..networks.chs.network import CHS, CHSConfig

        return CHS(CHSConfig(stages=stages, attention=attention))

    return Preset(98, ((1, 3, 256, 256),), build)


def _sd_hrnet(graph: str, landmarks: int) -> Preset:
    def build() -> nn.Module:
        from ..networks.sd_hrnet import network as sd

        return sd.SHRNet(sd.SDHRNetConfig(landmarks=landmarks, graph=getattr(sd, graph)))

    return Preset(landmarks, ((1, 3, 256, 256),), build)


def _teacher() -> nn.Module:
    from ..networks.backbones.hrnet import HRNet

    return HRNet()


class _WithReference(nn.Module):
    """RHT with the features of its reference face computed in the same pass, as in the paper's figure."""

    def __init__(self, backbone: Backbone) -> None:
        """Build the network for 68 landmarks and 13 boundaries."""
        super().__init__()
        from ..networks.rht.network import RHT, RHTConfig

        self.network = RHT(RHTConfig(backbone=backbone))

    def forward(self, images: Tensor, reference: Tensor, maps: Tensor) -> Tensor:
        """Return the heatmaps of crops, given a reference face and its maps."""
        found: Tensor = self.network(images, self.network.remember(reference, maps)).maps
        return found


def _rht(backbone: Backbone) -> Preset:
    return Preset(68, ((1, 3, 256, 256), (1, 3, 128, 128), (1, 81, 128, 128)), lambda: _WithReference(backbone))


class _UpToBoxes(nn.Module):
    """RDFN's backbone and detector: the only part that can match the paper's multiply-accumulates."""

    def __init__(self, network: Any) -> None:
        """Take backbone and detector of the whole ``network``."""
        super().__init__()
        self.backbone, self.detector = network.backbone, network.detector

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of the anchors for ``images``."""
        logits: Tensor = self.detector(self.backbone.taps(images)[-1][-1])[0]
        return logits


def _rdfn(preset: str) -> Preset:
    def build() -> nn.Module:
        from ..networks.rdfn.network import RDFN
        from ..networks.rdfn.region_head import PRESETS

        return RDFN(replace(PRESETS[preset], faces=1))

    return Preset(68, ((1, 3, 256, 256),), build, lambda: _UpToBoxes(build()))


PRESETS: dict[str, Preset] = {
    "pwc": _pwc("MapNetwork", background=True),
    "pwc-heatmap": _pwc("MapNetwork", background=True),
    "pwc-distribution": _pwc("MapNetwork", background=False),
    "pwc-direct": _pwc("DirectRegression"),
    "pwc-dan": _dan(),
    "pwc-dan-stage": _dan(stage=True),
    "pwc-discriminator": Preset(68, ((1, 68, 2),), _discriminator),
    "chs-awing": _chs(0, "none"),
    "chs-0ccr": _chs(0),
    "chs-1ccr": _chs(1),
    "chs-2ccr": _chs(2),
    "chs": _chs(4),
    "rdfn": _rdfn("fused"),
    "rdfn-counts": _rdfn("counts"),
    "rdfn-two-units": _rdfn("two_units"),
    "sd-hrnet-teacher": Preset(68, ((1, 3, 256, 256),), _teacher),
    "sd-hrnet-supernet": _sd_hrnet("SUPERNET", 68),
    "sd-hrnet-300w": _sd_hrnet("W300_GRAPH", 68),
    "sd-hrnet-cofw": _sd_hrnet("COFW_GRAPH", 29),
    "sd-hrnet-wflw": _sd_hrnet("WFLW_GRAPH", 98),
    "rht-r": _rht("resnet50"),
    "rht-h": _rht("hrnet-w48"),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """Count of ours next to the printed one.

    Attributes:
        counted: our count, by the paper's convention.
        printed: figure as printed in the paper; None if there is none.
    """

    counted: int
    printed: str | None

    @property
    def gap(self) -> float | None:
        """Ratio of our count to the printed one, minus 1; None if nothing is printed, 0 if the printed digits match."""
        if self.printed is None:
            return None
        value, tolerance = printed(self.printed)
        return 0.0 if abs(self.counted - value) <= tolerance else self.counted / value - 1


@dataclass(frozen=True, slots=True)
class Count:
    """Counts of a network.

    Attributes:
        name: name of the preset.
        landmarks: number of landmarks.
        parameters, macs: totals of the whole network, for one face.
        size: parameters by the paper's convention, next to the paper's figure.
        flops: multiply-accumulates by the paper's convention, next to the paper's figure.
        convention: convention of counting multiply-accumulates.
        left_out: parts of names of the parameters that the paper leaves out.
        source: place in the paper where its figures are printed.
    """

    name: str
    landmarks: int
    parameters: int
    macs: int
    size: Figure
    flops: Figure
    convention: Convention
    left_out: tuple[str, ...]
    source: str


def count(name: str) -> Count:
    """Build the preset ``name`` without weights, on the meta device, and return its counts."""
    preset, size = PRESETS[name], SIZES[name]
    with torch.device("meta"):
        network = preset.build()
        part = preset.flops_of() if preset.flops_of else network
    whole = tally(network, *preset.shapes)
    counted = whole if part is network else tally(part, *preset.shapes)
    return Count(
        name,
        preset.landmarks,
        parameters(network),
        whole.mac,
        Figure(parameters(network, left_out=size.left_out), size.parameters),
        Figure(getattr(counted, size.convention), size.flops),
        size.convention,
        size.left_out,
        _source(size),
    )


def _source(size: Size) -> str:
    return f"{size.paper}, {size.source}" if size.parameters else f"{size.paper}, not printed"
