"""RHT's network: soft transformation equal to unfold, gather and fold; hard transformation; counts; parts left out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nasion.engines.errors import NasionError
from nasion.trainers.counting import multiply_accumulates, parameters
from nasion.trainers.networks.rht.network import (
    RHT,
    WIDTHS,
    Decoder,
    Extractor,
    HardTransform,
    Reference,
    RHTConfig,
    Scales,
    best_matches,
    gather_patches,
    halve,
    neighbourhoods,
    soften,
    transfer,
    warp_features,
)
from nasion.trainers.networks.rht.transformer import Backbone

TINY = RHTConfig(landmarks=19, boundaries=5, size=64, width=1 / 16, layers=1)


def scales(count: int = 2, side: int = 6) -> Scales:
    generator = torch.Generator().manual_seed(3)
    coarse, middle, fine = (
        torch.randn(count, width, side * factor, side * factor, generator=generator)
        for width, factor in ((5, 1), (3, 2), (2, 4))
    )
    return coarse, middle, fine


# --- soft transformation


@pytest.mark.parametrize("scale", [0, 1, 2])
def test_nine_gathers_are_unfold_gather_and_fold(scale: int) -> None:
    values, place = scales(), torch.randint(0, 36, (2, 6, 6), generator=torch.Generator().manual_seed(1))
    factor, value = 2**scale, values[scale]
    kernel, stride, padding = 3 * factor, factor, factor
    patches = functional.unfold(value, kernel, padding=padding, stride=stride)
    chosen = patches.gather(2, place.flatten(1)[:, None].expand_as(patches))
    folded = functional.fold(chosen, value.shape[2:], kernel, padding=padding, stride=stride) / 9
    torch.testing.assert_close(transfer(values, place)[scale], folded)


def test_one_reference_serves_all_targets() -> None:
    place = torch.randint(0, 36, (3, 6, 6), generator=torch.Generator().manual_seed(1))
    one = scales(1)[0]
    torch.testing.assert_close(gather_patches(one, place), gather_patches(one.expand(3, -1, -1, -1), place))


def test_gradients_reach_the_cells_that_were_chosen_and_no_others() -> None:
    values = torch.zeros(1, 1, 6, 6, requires_grad=True)
    place = torch.full((1, 6, 6), 14)  # the cell of row 2, column 2
    gather_patches(values, place).sum().backward()
    assert values.grad is not None
    assert (values.grad[0, 0, 1:4, 1:4] > 0).all()
    assert values.grad.count_nonzero() == 9


def test_neighbourhoods_are_patches_of_length_one() -> None:
    features = scales()[0]
    ours = neighbourhoods(features)
    theirs = functional.normalize(functional.unfold(features, 3, padding=1), dim=1)
    torch.testing.assert_close(ours.norm(dim=1), torch.ones(2, 36))
    torch.testing.assert_close(ours.transpose(1, 2) @ ours, theirs.transpose(1, 2) @ theirs)


def test_a_face_finds_itself() -> None:
    features = scales()[0]
    place, attention = best_matches(features, features)
    assert torch.equal(place, torch.arange(36).view(6, 6).expand(2, 6, 6))
    torch.testing.assert_close(attention, torch.ones(2, 1, 6, 6))


def test_a_face_that_moved_is_found_where_it_was() -> None:
    features = scales()[0]
    moved = features.roll(1, dims=3)
    place, _ = best_matches(moved, features)
    inside = place[:, 1:5, 2:5]  # away from the seam
    assert torch.equal(inside, torch.arange(36).view(6, 6)[1:5, 1:4].expand(2, 4, 3))


def test_attention_weakens_what_is_unlike() -> None:
    values, place = scales(), torch.arange(36).view(1, 6, 6).expand(2, 6, 6)
    soft, attention = soften(values, place, torch.full((2, 1, 6, 6), 0.25))
    assert [each.shape[-1] for each in attention] == [6, 12, 24]
    for each, moved in zip(soft, transfer(values, place), strict=True):
        torch.testing.assert_close(each, moved * 0.25)


# --- hard transformation


def test_the_hard_transformation_starts_as_the_identity() -> None:
    hard = HardTransform(TINY).eval()
    values = scales(1, 8)
    laid, _ = hard(torch.randn(2, 16, 8, 8), Reference(torch.randn(1, 16, 8, 8), values))
    for each, value in zip(laid, values, strict=True):
        torch.testing.assert_close(each, value.expand_as(each), atol=1e-5, rtol=1e-5)


def test_an_affine_map_of_two_cells_moves_by_two_cells() -> None:
    values = scales()[0]
    matrix = torch.tensor([[1.0, 0, 2 * 2 / 6], [0, 1, 0]]).expand(2, 2, 3)
    moved = warp_features(values, matrix)
    torch.testing.assert_close(moved[..., :4], values[..., 2:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(moved[..., 4:], torch.zeros_like(moved[..., 4:]), atol=1e-5, rtol=1e-5)


def test_coordinates_keep_their_digits_under_bfloat16() -> None:
    values, matrix = scales()[0], torch.tensor([[0.99, 0, 0.01], [0, 0.99, 0]]).expand(2, 2, 3)
    expected = warp_features(values, matrix)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(warp_features(values, matrix), expected)


# --- counts


def test_every_part_has_as_many_weights_as_worked_out() -> None:
    with torch.device("meta"):
        network = RHT()
    counts = {name: parameters(child) for name, child in network.named_children()}
    assert counts == {
        "backbone": 4_735_040,
        "adapter": 0,
        "decoder": 2_983_697,
        "image_extractor": 555_968,
        "map_extractor": 600_896,
        "hard": 795_910,
    }


@pytest.mark.parametrize(
    ("backbone", "count"),
    [("resnet50", 9_671_511), ("hrnet-w48", 21_926_967), ("hourglass", 11_475_799), ("hourglass-4", 28_742_743)],
)
def test_rht_has_as_many_weights_as_worked_out(backbone: Backbone, count: int) -> None:
    with torch.device("meta"):
        network = RHT(RHTConfig(backbone=backbone))
    assert parameters(network) == count


class Compared(nn.Module):
    """Correlation of two feature maps, for counting."""

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        return best_matches(query, keys)[1]


class Decoded(nn.Module):
    """The decoder with its features as plain arguments, for counting."""

    def __init__(self, config: RHTConfig) -> None:
        super().__init__()
        self.decoder = Decoder(config)

    def forward(self, x: Tensor, coarse: Tensor, middle: Tensor, fine: Tensor) -> Tensor:
        out: Tensor = self.decoder(x, [(coarse, middle, fine), (coarse, middle, fine)])
        return out


def test_every_part_multiplies_as_often_as_worked_out() -> None:
    config, query = RHTConfig(), (1, 256, 32, 32)
    features = [(1, width, 32 << i, 32 << i) for i, width in enumerate(WIDTHS)]
    with torch.device("meta"):
        image, maps, decoded = Extractor(3, config), Extractor(81, config), Decoded(config)
        look = HardTransform(config).look
    counts = [
        multiply_accumulates(image, (1, 3, 128, 128)),
        multiply_accumulates(maps, (1, 81, 128, 128)),
        multiply_accumulates(Compared(), query, query),
        multiply_accumulates(look, (1, 512, 32, 32)),
        multiply_accumulates(decoded, query, *features),
    ]
    assert [round(count / 1e9, 2) for count in counts] == [1.84, 2.58, 2.42, 0.16, 6.59]


def test_the_branch_has_the_published_shapes() -> None:
    with torch.device("meta"):
        network = RHT().eval()
        reference = network.remember(torch.empty(1, 3, 128, 128), torch.empty(1, 81, 128, 128))
        outcome = network(torch.empty(2, 3, 256, 256), reference)
        assert network.backbone(torch.empty(1, 3, 256, 256)).shape == (1, 256, 32, 32)
    assert outcome.maps.shape == (2, 81, 128, 128)
    for transferred in (outcome.soft, outcome.hard):
        assert [each.shape for each in transferred] == [(2, 256, 32, 32), (2, 128, 64, 64), (2, 64, 128, 128)]


def test_trans_h_has_the_published_shape() -> None:
    with torch.device("meta"):
        network = RHT(RHTConfig(backbone="hrnet-w48")).eval()
        assert network.backbone(torch.empty(1, 3, 256, 256)).shape == (1, 64, 64, 64)


# --- the network


def test_halving_a_crop_follows_the_half_pixel_rule() -> None:
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    # column j of the half lies at (j + 0.5) x 2 - 0.5 of the whole
    torch.testing.assert_close(halve(ramp)[0, 0, 0], torch.tensor([0.5, 2.5, 4.5, 6.5]))


@pytest.mark.parametrize("size", [100, 0, -64])
def test_a_size_that_cannot_be_halved_so_often_is_refused(size: int) -> None:
    with pytest.raises(NasionError, match=f"size {size} px; RHT halves it six times: use a multiple of 64"):
        RHTConfig(size=size)


@torch.no_grad()
@pytest.mark.parametrize("parts", [{}, {"stm": False}, {"htm": False}, {"htm": False, "fusion": False}])
def test_parts_that_are_left_out_transfer_nothing(parts: dict[str, bool]) -> None:
    config = RHTConfig(landmarks=19, boundaries=5, size=64, width=1 / 16, layers=1, **parts)  # type: ignore[arg-type]
    network = RHT(config).eval()
    reference = network.remember(torch.rand(1, 3, 32, 32), torch.rand(1, 24, 32, 32))
    outcome = network(torch.rand(2, 3, 64, 64), reference)
    assert outcome.maps.shape == (2, 24, 32, 32)
    assert (outcome.soft is None, outcome.attention is None, outcome.hard is None) == (
        not config.stm,
        not config.stm,
        not config.htm,
    )


def test_without_transformations_no_reference_is_taken() -> None:
    network = RHT(RHTConfig(landmarks=19, boundaries=5, size=64, width=1 / 16, layers=0, stm=False, htm=False)).eval()
    assert network(torch.rand(1, 3, 64, 64)).maps.shape == (1, 24, 32, 32)
    with pytest.raises(NasionError, match="neither soft nor hard transformation: it takes no reference"):
        network.remember(torch.rand(1, 3, 32, 32), torch.rand(1, 24, 32, 32))


@torch.no_grad()
def test_another_reference_gives_other_maps() -> None:
    torch.manual_seed(0)
    network = RHT(TINY).eval()
    nn.init.normal_(network.decoder.maps.weight)
    image, crops = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 64, 64)
    one, other = (network(crops, network.remember(image, torch.rand(1, 24, 32, 32))).maps for _ in range(2))
    assert (one - other).abs().max() > 0.01
