from __future__ import annotations

import numpy as np
import pytest
import torch

from nasion.trainers.losses import (
    box_overlap,
    laplace_nll,
    log_l1,
    masked_mean,
    quality_focal,
    spatial_cross_entropy,
)
from nasion.trainers.networks.blocks import spatial_moments
from nasion.trainers.targets import gaussian_targets


def test_soft_argmax_finds_a_single_peak_and_its_spread() -> None:
    logits = torch.full((1, 1, 7, 9), -50.0)
    logits[0, 0, 2, 6] = 50
    points, spread = spatial_moments(logits)
    assert points[0, 0].tolist() == pytest.approx([6, 2], abs=1e-4)
    assert float(spread[0, 0]) == pytest.approx(0.01, abs=1e-3)


def test_soft_argmax_lies_between_two_equal_peaks() -> None:
    logits = torch.full((1, 1, 8, 8), -50.0)
    logits[0, 0, 1, 2] = logits[0, 0, 1, 5] = 50
    points, spread = spatial_moments(logits)
    assert points[0, 0].tolist() == pytest.approx([3.5, 1], abs=1e-4)
    assert float(spread[0, 0]) == pytest.approx(1.5, abs=1e-3)


def test_spatial_cross_entropy_is_the_sum_over_the_map() -> None:
    torch.manual_seed(0)
    logits, cells = torch.randn(2, 3, 6, 5), torch.rand(2, 3, 2) * 4
    across, down = gaussian_targets(cells, 6, 5, sigma=0.8)
    target = down[..., :, None] * across[..., None, :]
    assert target.sum(dim=(2, 3)).numpy() == pytest.approx(np.ones((2, 3)), abs=1e-5)
    slow = -(target * logits.flatten(2).log_softmax(2).view_as(logits)).sum(dim=(2, 3))
    torch.testing.assert_close(spatial_cross_entropy(logits, across, down), slow)


def test_log_l1_and_masked_mean_by_hand() -> None:
    values = log_l1(torch.tensor([0.0, -1.0, 3.0]), scale=1.0)
    assert values.tolist() == pytest.approx([0, np.log(2), np.log(4)])
    assert float(masked_mean(values, torch.tensor([1.0, 1.0, 0.0]))) == pytest.approx(np.log(2) / 2)
    assert float(masked_mean(values, torch.zeros(3))) == 0


def test_the_best_laplace_scale_is_the_error_itself() -> None:
    error = torch.tensor(3.0)
    at = {b: float(laplace_nll(error, torch.tensor(b).log())) for b in (2.0, 3.0, 4.0)}
    assert min(at, key=at.__getitem__) == 3.0


def test_quality_focal_vanishes_where_the_score_is_the_quality() -> None:
    quality = torch.tensor([0.2, 0.7, 0.0])
    exact = torch.logit(quality.clamp(1e-6, 1))
    assert quality_focal(exact, quality).max() < 1e-6
    assert (quality_focal(exact + 2, quality) > 1e-3).any()


def test_iou_and_giou_by_hand() -> None:
    a, b = torch.tensor([0.0, 0, 2, 2]), torch.tensor([1.0, 0, 3, 2])
    overlap, generalised = box_overlap(a, b)
    assert float(overlap) == pytest.approx(1 / 3)
    assert float(generalised) == pytest.approx(1 / 3)
    apart, below = box_overlap(a, a + 4)
    assert float(apart) == 0
    assert float(below) == pytest.approx(-(36 - 8) / 36)
