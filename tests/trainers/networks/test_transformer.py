"""The encoder against torch's own, the position code, and the published counts of TransPose over each backbone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nasion.engines.errors import NasionError
from nasion.trainers.counting import multiply_accumulates, parameters
from nasion.trainers.networks.rht.transformer import (
    Attention,
    Backbone,
    Encoder,
    EncoderLayer,
    TransBackbone,
    scaled,
    sine_positions,
)


def test_the_first_half_of_a_position_code_says_y_and_the_second_x() -> None:
    code = sine_positions(3, 5, 8).unflatten(0, (3, 5))
    torch.testing.assert_close(code[:, :1, :4].expand(3, 5, 4), code[..., :4])
    torch.testing.assert_close(code[:1, :, 4:].expand(3, 5, 4), code[..., 4:])
    assert len(torch.unique(code.flatten(0, 1), dim=0)) == 15


def test_a_position_code_is_the_sine_and_cosine_of_a_cells_centre() -> None:
    code = sine_positions(4, 4, 8)
    # the third row's centre lies 2.5 of 4 down: 1.25 pi; the first frequency is 1, the second 100 times lower
    expected = torch.tensor([1.25, 1.25 + 0.5, 0.0125, 0.0125 + 0.5]) * torch.pi
    torch.testing.assert_close(code[8, :4], expected.sin())


def test_a_position_code_needs_four_channels_or_a_multiple() -> None:
    with pytest.raises(NasionError, match="6 channels cannot hold sine and cosine of x and y; use a multiple of 4"):
        sine_positions(2, 2, 6)


def test_heads_must_divide_the_channels() -> None:
    with pytest.raises(NasionError, match="8 heads do not divide 12 channels"):
        Attention(12, 8)


@torch.no_grad()
def test_attention_is_torchs_own_with_positions_in_queries_and_keys() -> None:
    torch.manual_seed(0)
    ours, theirs = Attention(16, 4), nn.MultiheadAttention(16, 4, batch_first=True)
    theirs.in_proj_weight.copy_(torch.cat([ours.query_key.weight, ours.value.weight]))
    theirs.in_proj_bias.copy_(torch.cat([ours.query_key.bias, ours.value.bias]).uniform_())
    ours.query_key.bias.copy_(theirs.in_proj_bias[:32])
    ours.value.bias.copy_(theirs.in_proj_bias[32:])
    theirs.out_proj.load_state_dict(ours.out.state_dict())
    x, positions = torch.randn(2, 9, 16), torch.randn(9, 16)
    placed = x + positions
    torch.testing.assert_close(ours(x, positions), theirs(placed, placed, x, need_weights=False)[0])


@torch.no_grad()
def test_a_layer_normalises_after_each_sum() -> None:
    torch.manual_seed(0)
    layer = EncoderLayer(8, 2, 16).eval()
    x, positions = torch.randn(1, 4, 8), torch.randn(4, 8)
    inner = nn.functional.layer_norm(x + layer.attention(x, positions), (8,))
    torch.testing.assert_close(layer(x, positions), nn.functional.layer_norm(inner + layer.feed(inner), (8,)))


@torch.no_grad()
def test_without_positions_the_encoder_does_not_know_where_a_cell_lies() -> None:
    torch.manual_seed(0)
    encoder = Encoder(3, 8, heads=2, hidden=16, layers=2).eval()
    features = torch.randn(1, 8, 3, 3)
    turned = features.flip(3)
    assert not torch.allclose(encoder(turned), encoder(features).flip(3), atol=1e-3)
    encoder.positions.zero_()
    torch.testing.assert_close(encoder(turned), encoder(features).flip(3))


def test_the_position_code_is_not_a_weight_and_not_saved() -> None:
    assert not any("positions" in name for name in Encoder(4, 8, heads=1, hidden=8).state_dict())


@pytest.mark.parametrize(
    ("backbone", "count", "convolutions", "encoder"),
    [("resnet50", 4_735_040, 2.50, 5.37), ("hrnet-w48", 16_842_784, 12.06, 9.13)],
)
def test_trans_r_and_trans_h_cost_what_was_worked_out(
    backbone: Backbone, count: int, convolutions: float, encoder: float
) -> None:
    with torch.device("meta"):
        network, plain = TransBackbone(backbone), TransBackbone(backbone, layers=0)
    assert parameters(network) == count
    alone = multiply_accumulates(plain, (1, 3, 256, 256))
    assert alone / 1e9 == pytest.approx(convolutions, abs=0.005)
    assert (multiply_accumulates(network, (1, 3, 256, 256)) - alone) / 1e9 == pytest.approx(encoder, abs=0.005)


@pytest.mark.parametrize(
    ("backbone", "channels", "cells", "head", "published"),
    [
        # its transposed convolution of 256 channels with batch normalisation, and 17 maps
        ("resnet50", None, 32 * 24, 256 * 256 * 16 + 512 + 257 * 17, "6.0"),
        ("hrnet-w48", 96, 64 * 48, 97 * 17, "17.3"),
        ("hrnet-w32", 64, 64 * 48, 65 * 17, "8.0"),
    ],
)
def test_with_its_head_and_a_stored_position_code_each_is_transpose_as_published(
    backbone: Backbone, channels: int | None, cells: int, head: int, published: str
) -> None:
    with torch.device("meta"):
        network = TransBackbone(backbone, channels=channels)
    assert f"{(parameters(network) + cells * network.channels + head) / 1e6:.1f}" == published


@torch.no_grad()
@pytest.mark.parametrize(
    ("backbone", "stride"),
    [("resnet50", 8), ("hrnet-w48", 4), ("hrnet-w32", 4), ("hourglass", 4), ("hourglass-4", 4)],
)
def test_every_backbone_gives_a_map_at_its_stride(backbone: Backbone, stride: int) -> None:
    network = TransBackbone(backbone, size=64, width=1 / 16).eval()
    features = network(torch.rand(1, 3, 64, 64))
    assert network.stride == stride
    assert features.shape == (1, network.channels, 64 // stride, 64 // stride)


@torch.no_grad()
def test_four_hourglasses_hand_on_no_more_than_one() -> None:
    """Their sums were a hundred times as large, which no last layer of near zero makes up for."""
    torch.manual_seed(0)
    images = torch.randn(2, 3, 64, 64)
    backbones: tuple[Backbone, ...] = ("hourglass", "hourglass-4", "resnet50")
    spreads = [float(TransBackbone(name, size=64, width=0.25, layers=0)(images).std()) for name in backbones]
    assert max(spreads) < 3 * min(spreads)


def test_widths_are_multiples_of_eight() -> None:
    assert [scaled(256, width) for width in (1.0, 0.25, 0.27, 0.01)] == [256, 64, 72, 8]
