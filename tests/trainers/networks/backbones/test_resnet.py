"""ResNet-50: the published counts, the taps, the public weights' names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nasion.engines.errors import ModelError
from nasion.trainers.networks.backbones.resnet import Bottleneck, ResNet50, load_backbone, scaled

TINY = 0.125


def parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_its_counts_are_the_published_ones() -> None:
    with torch.device("meta"):
        assert parameters(ResNet50(groups=4)) == 25_557_032 - 2_049_000  # torchvision's, less its classifier
        assert parameters(ResNet50(groups=3)) == 8_543_296


def test_each_group_halves_the_map_and_doubles_the_channels() -> None:
    with torch.device("meta"):
        out = ResNet50()(torch.empty(1, 3, 256, 192))
    assert [tuple(x.shape[1:]) for x in out] == [(256, 64, 48), (512, 32, 24), (1024, 16, 12), (2048, 8, 6)]


def test_there_are_nine_taps_of_2688_channels_and_the_last_of_each_group_is_what_it_puts_out() -> None:
    with torch.device("meta"):
        network = ResNet50(groups=3)
    assert network.tap_channels == ((64, 64, 256), (128, 128, 512), (256, 256, 1024))
    assert sum(sum(taps) for taps in network.tap_channels) == 2688
    small = ResNet50(groups=3, width=TINY).eval()
    image = torch.randn(1, 3, 64, 64)
    taps, out = small.taps(image), small(image)
    for number, (group, last) in enumerate(zip(taps, out, strict=True)):
        torch.testing.assert_close(group[2], last)
        assert tuple(tap.shape[1] for tap in group) == small.tap_channels[number]
        assert all(float(tap.detach().min()) >= 0 for tap in group)


def test_a_bottleneck_adds_what_goes_around_it_before_the_last_relu() -> None:
    block = Bottleneck(16, 4).eval()
    assert block.downsample is None
    torch.nn.init.zeros_(block.bn3.weight)
    x = torch.randn(1, 16, 5, 5)
    torch.testing.assert_close(block(x), x.relu())


@pytest.mark.parametrize(("width", "expected"), [(1.0, 64), (0.25, 16), (0.1, 8), (0.01, 4)])
def test_a_scaled_width_is_a_multiple_of_four(width: float, expected: int) -> None:
    assert scaled(64, width) == expected


def test_public_weights_load_and_what_has_no_place_is_left(tmp_path: Path) -> None:
    source, network = ResNet50(groups=4, width=TINY), ResNet50(groups=3, width=TINY)
    state = {k: v for k, v in source.state_dict().items() if not k.endswith("num_batches_tracked")}
    file = tmp_path / "resnet50.pth"
    torch.save(state | {"fc.weight": torch.zeros(10, 2), "fc.bias": torch.zeros(10)}, file)
    load_backbone(network, file)
    torch.testing.assert_close(network.layer3[5].conv3.weight, source.layer3[5].conv3.weight)
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, file)
    load_backbone(network, file)


def test_names_are_those_of_the_public_model() -> None:
    with torch.device("meta"):
        names = set(ResNet50().state_dict())
    for name in ("conv1.weight", "bn1.running_mean", "layer1.0.downsample.0.weight", "layer4.2.bn3.bias"):
        assert name in names
    assert len([n for n in names if not n.endswith("num_batches_tracked")]) == 318 - 53  # torchvision's, less fc


def test_weights_that_do_not_fit_are_named_with_the_remedy(tmp_path: Path) -> None:
    network, file = ResNet50(groups=1, width=TINY), tmp_path / "weights.pth"
    with pytest.raises(ModelError, match="no such file"):
        load_backbone(network, file)
    file.write_bytes(b"no weights")
    with pytest.raises(ModelError, match=r"is not a file of torch.save"):
        load_backbone(network, file)
    torch.save([1, 2], file)
    with pytest.raises(ModelError, match="holds a list; expected the state dict"):
        load_backbone(network, file)
    torch.save({}, file)
    with pytest.raises(ModelError, match=r"has no entry 'conv1.weight'"):
        load_backbone(network, file)
    torch.save(ResNet50(groups=1, width=0.25).state_dict(), file)
    with pytest.raises(ModelError, match=r"'conv1.weight' has shape .* leave out --width"):
        load_backbone(network, file)
