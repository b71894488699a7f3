"""The deep alignment network: its counts, its similarity fit, its warp and its map of landmarks."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nasion.engines.spec import Spec
from nasion.trainers.export.files import example, worst_difference, write_model
from nasion.trainers.networks.pwc.dan import DAN, Corrector, inverse, nearness, similarity, warped
from nasion.trainers.networks.pwc.networks import PWCConfig
from nasion.trainers.systems.pwc.learners import Regression


def rotation(degrees: float, scale: float) -> Tensor:
    angle = math.radians(degrees)
    cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
    return torch.tensor([[[cos, -sin], [sin, cos]]])


def test_the_cascade_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        network = DAN()
        assert sum(p.numel() for p in network.parameters()) == 35_053_144
        assert [sum(p.numel() for p in stage.parameters()) for stage in network.stages] == [
            11_146_312,
            11_147_464,
            11_147_464,
        ]
        assert network(torch.zeros(2, 3, 112, 112)).shape == (2, 68, 2)


def test_a_width_scales_every_layer_but_the_last() -> None:
    with torch.device("meta"):
        stage = Corrector(PWCConfig(size=112, width=0.125), 1)
    assert stage.change.in_features == 32
    assert stage.change.out_features == 136
    assert sum(p.numel() for p in stage.parameters()) < 11_146_312 / 40


def test_the_similarity_that_moved_a_shape_is_found_and_undone() -> None:
    torch.manual_seed(0)
    target = torch.rand(9, 2) * 100
    turn, shift = rotation(25, 1.3), torch.tensor([[[7.0, -4.0]]])
    source = (target - shift) @ inverse(turn).mT
    found, moved = similarity(source, target)
    torch.testing.assert_close(found, turn)
    torch.testing.assert_close(moved, shift, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(source @ found.mT + moved, target[None], atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(found @ inverse(found), torch.eye(2)[None], atol=1e-6, rtol=0)


def test_the_similarity_is_the_best_of_its_neighbours() -> None:
    torch.manual_seed(1)
    source, target = torch.rand(1, 9, 2) * 100, torch.rand(9, 2) * 100
    turn, shift = similarity(source, target)

    def left(turn: Tensor, shift: Tensor) -> float:
        return float((source @ turn.mT + shift - target).square().sum())

    best = left(turn, shift)
    for degrees, scale, by in ((1, 1, 0.0), (-1, 1, 0.0), (0, 1.02, 0.0), (0, 0.98, 0.0), (0, 1, 0.5)):
        assert left(rotation(degrees, scale) @ turn, shift + by) > best


def test_the_image_moves_with_its_points() -> None:
    """A bright blob must be found, after the warp, where the similarity takes its centre."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    image = torch.exp(-((x - 40) ** 2 + (y - 22) ** 2) / 8)[None, None]
    turn, shift = rotation(20, 1.2), torch.tensor([[[3.0, -6.0]]])
    moved = warped(image, turn, shift)[0, 0]
    centre = torch.stack([(moved * x).sum(), (moved * y).sum()]) / moved.sum()
    expected = torch.tensor([[40.0, 22.0]]) @ turn[0].mT + shift[0]
    torch.testing.assert_close(centre[None], expected, atol=0.02, rtol=0)
    still = warped(image, torch.eye(2)[None], torch.zeros(1, 1, 2))
    torch.testing.assert_close(still, image, atol=1e-5, rtol=0)


def test_the_map_of_landmarks_is_one_over_one_more_than_the_distance() -> None:
    torch.manual_seed(0)
    points = (torch.rand(2, 7, 2) * 40 - 4).requires_grad_()
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    distance = (torch.stack([x, y], dim=2).reshape(1, -1, 1, 2) - points[:, None]).norm(dim=3)
    expected = 1 / (1 + distance.amin(dim=2)).reshape(2, 1, 20, 30)
    found = nearness(points, 20, 30)
    torch.testing.assert_close(found, expected)
    weights = torch.rand_like(expected)
    slopes = [torch.autograd.grad((values * weights).sum(), points)[0] for values in (found, expected)]
    torch.testing.assert_close(slopes[0], slopes[1])


def test_a_cascade_that_changes_nothing_answers_with_the_mean_shape() -> None:
    network = DAN(PWCConfig(landmarks=5, size=32, width=1 / 32)).eval()
    for stage in network.stages:
        assert isinstance(stage, Corrector)
        torch.nn.init.zeros_(stage.change.weight)
        torch.nn.init.zeros_(stage.change.bias)
    shape = torch.rand(5, 2) * 32
    network.start_from(shape)
    torch.testing.assert_close(network(torch.rand(2, 3, 32, 32)), shape.expand(2, -1, -1), atol=1e-4, rtol=0)


def test_the_mean_shape_travels_with_the_weights() -> None:
    network, other = (DAN(PWCConfig(landmarks=5, size=32, width=1 / 32)) for _ in range(2))
    network.start_from(torch.full((5, 2), 3.0))
    other.load_state_dict(network.state_dict())
    assert float(other.mean_shape.mean()) == 3


@pytest.mark.parametrize("stages", [1, 2])
def test_fewer_stages_make_a_shorter_cascade(stages: int) -> None:
    network = DAN(PWCConfig(landmarks=5, size=32, width=1 / 32), stages=stages)
    assert len(network.connections) == stages - 1
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 5, 2)


def test_warps_and_similarity_fit_survive_the_export(tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = Spec("landmarks", "dan", (32, 32), landmarks=5, crop_margin=1.3)
    network = DAN(PWCConfig(landmarks=5, size=32, width=1 / 32), stages=2)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1.0  # one pass gives the statistics without which the image is hardly seen
    network(torch.rand(16, 3, 32, 32))
    learner = Regression(network, spec).eval()
    images = example(spec, batch=3)
    assert learner(images)["points"].std(dim=0).max().item() > 0.1, "the points depend on the image"
    write_model(learner.exported().eval(), spec, tmp_path / "dan.onnx")
    worst = worst_difference(learner, spec, tmp_path / "dan.onnx", images)
    assert max(worst.values()) < 1e-3
