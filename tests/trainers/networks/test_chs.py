"""CHS's network: counts as published, windows, attention, stages, and how far gradients go back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from nasion.trainers.counting import multiply_accumulates, parameters
from nasion.trainers.networks.backbones.hourglass import HourglassConfig, StackedHourglass
from nasion.trainers.networks.chs.network import CHS, Cascade, CHSConfig, RegressionStage, attention_of, windows
from nasion.trainers.networks.chs.selective_features import Attention, Mixture, SelectiveFeatures
from nasion.trainers.training.recipes import Options

from ...support.training.tiny_chs import SMALL, built

# --- counts


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("chs-awing", 24_153_036),
        ("chs-sf", 24_154_996),
        ("chs-0ccr", 24_154_996),
        ("chs-1ccr", 56_624_639),
        ("chs-2ccr", 89_094_282),
        ("chs", 154_033_568),
    ],
)
def test_the_networks_have_as_many_weights_as_published(name: str, count: int) -> None:
    with torch.device("meta"):
        learner = built(name, Options(set="wflw"))
    assert parameters(learner.network) == count


@pytest.mark.parametrize(
    ("landmarks", "millions"),
    [
        (19, (24.0, 30.7, 37.4, 50.8)),
        (29, (24.0, 34.0, 43.9, 63.8)),
        (68, (24.1, 46.8, 69.4, 114.7)),
        (106, (24.2, 59.3, 94.4, 164.5)),
    ],
)
def test_other_schemes_have_the_weights_worked_out_for_them(landmarks: int, millions: tuple[float, ...]) -> None:
    with torch.device("meta"):
        networks = [CHS(CHSConfig(landmarks=landmarks, stages=stages)) for stages in (0, 1, 2, 4)]
    assert tuple(round(parameters(network) / 1e6, 1) for network in networks) == millions


def test_the_bottleneck_of_the_selective_features_keeps_its_channels_at_any_width() -> None:
    for width in (1.0, 0.25, 0.125):
        with torch.device("meta"):
            kept, scaled = (
                attention_of(CHSConfig(width=width, bottleneck=bottleneck), task=1, inputs=16, outputs=16)
                for bottleneck in ("kept", "scaled")
            )
        assert isinstance(kept, SelectiveFeatures)
        assert isinstance(scaled, SelectiveFeatures)
        assert kept.widen.in_channels == 32
        assert kept.mixture.excite.in_channels == 8
        assert scaled.widen.in_channels == 32 * width


def test_coordinates_enter_the_residual_block_and_the_last_convolution() -> None:
    with torch.device("meta"):
        early, late = (RegressionStage(CHSConfig(early_coordinates=early), 128) for early in (True, False))
    block, attention = early.block[0], early.attention
    assert isinstance(attention, SelectiveFeatures)
    assert block.in_channels == 98 * 128  # type: ignore[union-attr]
    assert attention.widen.out_channels == 128 - 5
    assert late.attention.widen.out_channels == 128  # type: ignore[union-attr]
    assert early.tail.in_channels == late.tail.in_channels == 98 * 133


def test_the_parts_of_a_stage_have_as_many_weights_as_published() -> None:
    with torch.device("meta"):
        stage = RegressionStage(CHSConfig(), 128)
        first = attention_of(CHSConfig(), task=0, inputs=128, outputs=256)
    assert parameters(first) == 90_024
    parts = (stage.attention, stage.block, stage.tail, stage.offset)
    assert [parameters(part) for part in parts] == [731_559, 28_976_640, 2_607_584, 153_860]


def test_one_stage_multiplies_as_often_as_published() -> None:
    with torch.device("meta"):
        network = CHS(CHSConfig(stages=1))
    assert multiply_accumulates(network, (1, 3, 256, 256), convention="thop") == pytest.approx(30.517e9, abs=5e5)


def test_no_stage_and_no_attention_is_awing() -> None:
    torch.manual_seed(0)
    plain = StackedHourglass(HourglassConfig(landmarks=19, size=64, stacks=2, width=1 / 16)).eval()
    network = CHS(CHSConfig(landmarks=19, size=64, stacks=2, width=1 / 16, stages=0, attention="none")).eval()
    weights = plain.state_dict()
    renamed = {
        name.replace("extractor.", "stem.").replace("heatmaps.", "stacks."): name for name in network.state_dict()
    }
    network.load_state_dict({mine: weights[theirs] for theirs, mine in renamed.items()})
    images = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(network(images).maps, plain(images))


# --- parts


def test_a_window_at_whole_cells_is_a_cutting() -> None:
    features = torch.rand(1, 3, 9, 9)
    seen = windows(features, torch.tensor([[[4.0, 5.0], [2.0, 6.0]]]), 5)
    torch.testing.assert_close(seen[0, 0], features[0, :, 3:8, 2:7])
    torch.testing.assert_close(seen[0, 1], features[0, :, 4:9, 0:5])


def test_a_window_between_cells_is_interpolated() -> None:
    features = torch.arange(9.0).expand(1, 1, 9, 9)
    seen = windows(features, torch.tensor([[[4.25, 4.0]]]), 3)
    torch.testing.assert_close(seen[0, 0, 0], torch.tensor([3.25, 4.25, 5.25]).expand(3, 3))


def test_no_gradient_says_where_a_window_should_lie() -> None:
    cells = torch.full((1, 1, 2), 4.3, requires_grad=True)
    assert not windows(torch.rand(1, 1, 9, 9), cells, 5).requires_grad


def test_a_mixture_weighs_channel_by_channel_to_a_sum_of_one() -> None:
    mixture = Mixture(4, 3, 4)
    one = torch.rand(2, 4, 5, 5)
    torch.testing.assert_close(mixture([one, one, one]), one)
    others = [torch.full_like(one, value) for value in (0.0, 1.0, 2.0)]
    mixed = mixture(others)
    assert mixed.std(dim=(2, 3)).max() < 1e-6  # one weight for a channel, wherever
    assert 0 < mixed.min() < mixed.max() < 2


@pytest.mark.parametrize("attention", ["none", "cbam", "sk", "sdfl", "sf"])
@pytest.mark.parametrize("guided", [True, False])
def test_only_guided_attention_over_levels_looks_at_the_maps(attention: Attention, guided: bool) -> None:
    torch.manual_seed(0)
    config = replace(SMALL, attention=attention, guided=guided)
    module = attention_of(config, task=1, inputs=8, outputs=8).eval()
    levels = [torch.rand(1, 8, 6, 6) for _ in range(3)]
    seen = [module(levels, maps) for maps in (torch.zeros(1, 20, 6, 6), torch.rand(1, 20, 6, 6))]
    assert seen[0].shape == (1, 8, 6, 6)
    assert (not torch.equal(*seen)) == (guided and attention in ("sdfl", "sf"))


@pytest.mark.parametrize("attention", ["cbam", "sk", "sdfl"])
def test_other_attention_is_of_the_stages_alone(attention: Attention) -> None:
    """Table 7 puts it "to the network layer of the four CCRs"."""
    ours, theirs = CHS(SMALL), CHS(replace(SMALL, attention=attention))
    for part in ("extractor", "attention", "heatmaps"):
        assert str(theirs.get_submodule(part)) == str(ours.get_submodule(part)), part
    assert str(theirs.stages) != str(ours.stages)


def test_every_level_reaches_the_selected_features() -> None:
    module = SelectiveFeatures(4, 8, narrow=4, width=4, hidden=4, maps=0, levels=3)
    levels = [torch.rand(2, 4, 6, 6, requires_grad=True) for _ in range(3)]
    module(levels).square().sum().backward()
    assert all(level.grad is not None and level.grad.abs().sum() > 0 for level in levels)


def test_each_landmark_has_kernels_of_its_own() -> None:
    torch.manual_seed(0)
    stage = RegressionStage(SMALL, 8).eval()
    own = stage.channels
    seen = torch.rand(1, 19 * own, 5, 5)
    changed = seen.clone()
    changed[:, 3 * own : 4 * own] += 1  # the fourth landmark's window
    moved = (stage.block(changed) - stage.block(seen)).view(19, -1).abs().amax(dim=1) > 1e-6
    assert moved.nonzero().flatten().tolist() == [3]
    same = stage.block(seen[:, :own].repeat(1, 19, 1, 1)).view(19, -1)
    assert (same[0] - same[1]).abs().max() > 1e-3


def test_points_start_from_the_maps_and_each_stage_adds_its_offset() -> None:
    torch.manual_seed(0)
    network = CHS(SMALL).eval()
    with torch.no_grad():
        for number, stage in enumerate(network.stages, 1):
            assert isinstance(stage, RegressionStage)
            stage.offset.weight.zero_()
            stage.offset.bias.fill_(number)
        out: Cascade = network(torch.rand(2, 3, 64, 64))
    peak, place = out.maps[-1][:, :-1].flatten(2).max(dim=2)
    whole = torch.stack([place % 16, place // 16], dim=2)
    assert (out.cells[0] - whole).abs().max() <= 0.25
    torch.testing.assert_close(out.peak, peak)
    torch.testing.assert_close(out.cells[1], out.cells[0] + 1)
    torch.testing.assert_close(out.cells[2], out.cells[0] + 3)


@pytest.mark.parametrize(
    ("routing", "earlier", "maps"), [("ccr", True, False), ("full", True, True), ("task", False, False)]
)
def test_gradients_go_back_as_far_as_the_routing_says(routing: str, earlier: bool, maps: bool) -> None:
    torch.manual_seed(0)
    network = CHS(replace(SMALL, routing=routing))
    network(torch.rand(2, 3, 64, 64)).cells[-1].square().sum().backward()

    def reached(module: torch.nn.Module) -> bool:
        return any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())

    assert reached(network.stages[1])
    assert reached(network.extractor)
    assert reached(network.stages[0]) == earlier
    assert reached(network.heatmaps) == maps
