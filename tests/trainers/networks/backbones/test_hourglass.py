"""The stacked hourglass: its counts are those that the papers print, and it knows where it looks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nasion.engines.errors import NasionError
from nasion.trainers.counting import multiply_accumulates, parameters
from nasion.trainers.networks.backbones.hourglass import (
    HPM,
    CoordConv,
    Hourglass,
    HourglassConfig,
    Stack,
    StackedHourglass,
    Stem,
    coordinate_channels,
    scaled,
)

SMALL = HourglassConfig(landmarks=19, size=64, stacks=2, width=1 / 16)


@pytest.mark.parametrize(
    ("inputs", "outputs", "count"),
    [(64, 128, 73_152), (128, 128, 101_824), (128, 256, 291_712), (256, 256, 406_400), (227, 128, 188_556)],
)
def test_an_hpm_block_has_as_many_weights_as_published(inputs: int, outputs: int, count: int) -> None:
    with torch.device("meta"):
        assert parameters(HPM(inputs, outputs)) == count


def test_every_part_of_awing_has_as_many_weights_as_published() -> None:
    with torch.device("meta"):
        network = StackedHourglass()
    stacks = network.stacks.stacks
    assert parameters(network) == 24_153_036
    assert parameters(network.stem.conv) == 18_880
    assert [parameters(stack.place) for stack in stacks] == [66_560, 67_072, 67_072, 67_072]
    assert {parameters(stack.hourglass) for stack in stacks} == {5_283_200}


def test_awing_multiplies_as_often_as_published() -> None:
    with torch.device("meta"):
        network = StackedHourglass()
    assert multiply_accumulates(network, (1, 3, 256, 256), convention="thop") == pytest.approx(26.794e9, abs=5e5)
    stack = network.stacks.stacks[1]
    hourglass = multiply_accumulates(stack.hourglass, (1, 256, 64, 64))
    place = multiply_accumulates(stack.place.conv, (1, 261, 64, 64))
    assert hourglass + place == pytest.approx(3.589e9, abs=5e5)


def test_maps_come_at_a_quarter_of_the_crop_from_every_stack() -> None:
    maps = StackedHourglass(SMALL)(torch.rand(2, 3, 64, 64))
    assert [each.shape for each in maps] == [(2, 20, 16, 16)] * 2


def test_a_stem_keeps_every_level() -> None:
    levels = Stem((8, 16, 16, 32), width=0.5)(torch.rand(1, 3, 64, 64))
    assert [level.shape for level in levels] == [(1, 8, 16, 16), (1, 16, 16, 16)]


def test_coordinates_run_from_edge_to_edge() -> None:
    x, y, radius = coordinate_channels(torch.zeros(2, 7, 3, 5))[1]
    torch.testing.assert_close(x, torch.tensor([-1, -0.5, 0, 0.5, 1]).expand(3, 5))
    torch.testing.assert_close(y, torch.tensor([[-1.0], [0], [1]]).expand(3, 5))
    torch.testing.assert_close(radius[:, 2], torch.tensor([1, 0, 1]) / 2**0.5)
    assert radius.max() == pytest.approx(1)


def test_coordinates_on_the_outline_are_given_again() -> None:
    boundary = torch.zeros(1, 1, 3, 3)
    boundary[..., 0, 2], boundary[..., 2, 0] = 0.9, 0.04  # the second is too faint to count
    channels = coordinate_channels(boundary, boundary)
    expected = torch.zeros(2, 3, 3)
    expected[:, 0, 2] = torch.tensor([1.0, -1.0])
    torch.testing.assert_close(channels[0, 3:], expected)


def test_a_coordinate_convolution_can_tell_left_from_right() -> None:
    convolution = CoordConv(1, 1)
    with torch.no_grad():
        for parameter in convolution.parameters():
            parameter.fill_(0)
        convolution.conv.weight[0, 1] = 2  # looks at x alone
    torch.testing.assert_close(convolution(torch.rand(1, 1, 2, 3))[0, 0, 0], torch.tensor([-2.0, 0, 2]))


def test_a_later_stack_gets_the_outline() -> None:
    torch.manual_seed(0)
    stack = Stack(8, 4, 2, first=False, last=True).eval()
    features, before = torch.rand(1, 8, 8, 8), torch.zeros(1, 4, 8, 8)
    _, plain = stack(features, before)
    _, other_landmarks = stack(features, before + torch.tensor([1.0, 1, 1, 0])[:, None, None])
    _, outlined = stack(features, before + torch.tensor([0.0, 0, 0, 1])[:, None, None])
    torch.testing.assert_close(other_landmarks, plain)
    assert (outlined - plain).abs().max() > 1e-4


def test_what_a_stack_found_reaches_the_next() -> None:
    stack = Stack(8, 4, 2, first=True, last=False).eval()
    features = torch.rand(1, 8, 8, 8)
    onward, maps = stack(features, None)
    assert stack.back is not None
    top = stack.top(stack.hourglass(stack.place(features)))
    torch.testing.assert_close(onward, features + stack.back[0](top) + stack.back[1](maps))


def test_an_hourglass_sees_the_whole_image() -> None:
    hourglass = Hourglass(4, depth=3).eval()
    x = torch.rand(1, 4, 16, 16, requires_grad=True)
    hourglass(x)[0, :, 15, 15].sum().backward()
    assert x.grad is not None
    assert x.grad[0, :, :4, :4].abs().sum() > 0


def test_an_hpm_block_adds_to_its_input() -> None:
    block = HPM(8, 8).eval()
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.weight)
    x = torch.rand(1, 8, 4, 4)
    torch.testing.assert_close(block(x), x)


def test_a_size_that_cannot_be_halved_so_often_is_refused() -> None:
    with pytest.raises(NasionError, match=r"size 96 px; 4 halvings need a multiple of 64"):
        HourglassConfig(size=96)


def test_channels_stay_multiples_of_four() -> None:
    assert [scaled(64, width) for width in (1.0, 0.25, 0.1, 0.001)] == [64, 16, 8, 4]
