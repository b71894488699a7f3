"""The networks of the pixel-wise classification study: counts, sizes of maps, colours, what they say untrained."""

from __future__ import annotations

import pytest
import torch

from nasion.trainers.networks.pwc.networks import DirectRegression, Discriminator, Enlargement, MapNetwork, PWCConfig
from nasion.trainers.training.recipes import Options

from ...support.training.tiny_pwc import NAMES, built, count


def test_the_networks_have_the_published_numbers_of_parameters() -> None:
    config = PWCConfig()
    with torch.device("meta"):
        assert count(MapNetwork(config, background=True)) == 82_947_658
        assert count(MapNetwork(config, background=False)) == 82_871_880
        assert count(DirectRegression(config)) == 178_682_440
        assert count(Discriminator()) == 34_689
        assert MapNetwork(config, background=True)(torch.zeros(1, 3, 224, 224)).shape == (1, 69, 224, 224)


def test_detection_and_discrimination_together_count_as_published() -> None:
    with torch.device("meta"):
        assert count(NAMES["pwc-hybrid-disc"].build(Options())) == 82_982_347


@pytest.mark.parametrize("landmarks", [19, 29, 98])
def test_other_schemes_change_the_maps_and_nothing_before_them(landmarks: int) -> None:
    config = PWCConfig(landmarks=landmarks, size=48, width=1 / 16)
    assert MapNetwork(config, background=True)(torch.rand(2, 3, 48, 48)).shape == (2, landmarks + 1, 48, 48)
    assert DirectRegression(config)(torch.rand(2, 3, 48, 48)).shape == (2, landmarks, 2)


@pytest.mark.parametrize("size", [40, 48, 64, 112])
def test_maps_are_as_large_as_the_crop_at_any_multiple_of_eight(size: int) -> None:
    with torch.device("meta"):
        network = MapNetwork(PWCConfig(size=size, width=1 / 16), background=False)
        assert network(torch.zeros(2, 3, size, size)).shape == (2, 68, size, size)


def test_colours_count_by_their_mean() -> None:
    network = MapNetwork(PWCConfig(size=48, width=1 / 16), background=False).eval()
    images = torch.rand(1, 3, 48, 48)
    torch.testing.assert_close(network(images), network(images.flip(1)))
    torch.testing.assert_close(network(images), network(images.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)))


def test_maps_are_enlarged_alike_in_training_and_in_use() -> None:
    torch.manual_seed(0)
    layer, features = Enlargement(4, 3, 16, stride=8, padding=4), torch.rand(2, 4, 5, 5)
    trained, used = layer.train()(features), layer.eval()(features)
    assert used.shape == (2, 3, 40, 40)
    torch.testing.assert_close(trained, used)


def test_a_network_that_expects_background_says_so_before_it_has_seen_a_face() -> None:
    for name, background in (("pwc", 0), ("pwc-heatmap", -1)):
        network = built(name).eval().network
        chance = network(torch.rand(1, 3, 48, 48)).softmax(dim=1)[:, background]
        assert chance.mean().item() > 0.9
