from __future__ import annotations

import numpy as np
import pytest
import torch

from nasion.trainers.losses import (
    AdaptiveWeights,
    adaptive_wing,
    awing_weight,
    box_overlap,
    channel_softmax_squared,
    discriminator_loss,
    distillation_kl,
    euclidean,
    generator_loss,
    laplace_nll,
    log_l1,
    log_wing,
    masked_mean,
    masked_mse,
    pixel_cross_entropy,
    quality_focal,
    rpn_class,
    shared_cross_entropy,
    smooth_l1,
    sparsity,
    spatial_cross_entropy,
    spatial_kl,
    transfer_l1,
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


def test_adaptive_wing_is_continuous_with_its_slope_at_theta() -> None:
    targets = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    for theta in (0.5, 0.2):
        at = [(targets + theta + step).requires_grad_() for step in (-1e-7, 1e-7)]
        below, above = (adaptive_wing(maps, targets, theta=theta) for maps in at)
        torch.testing.assert_close(below, above, atol=1e-4, rtol=0)
        slopes = [torch.autograd.grad(value.sum(), maps)[0] for value, maps in zip((below, above), at, strict=True)]
        torch.testing.assert_close(*slopes, atol=1e-4, rtol=0)


def test_adaptive_wing_by_the_papers_formula() -> None:
    alpha, omega, epsilon, theta = 2.1, 14.0, 1.3, 0.5
    for y, error in ((0.0, 0.1), (0.8, 0.4), (0.8, 0.9), (1.0, 0.6)):
        power = alpha - y
        slope = omega / (1 + (theta / epsilon) ** power) * power * (theta / epsilon) ** (power - 1) / epsilon
        offset = theta * slope - omega * np.log(1 + (theta / epsilon) ** power)
        slow = omega * np.log(1 + (error / epsilon) ** power) if error < theta else slope * error - offset
        seen = adaptive_wing(torch.tensor(y + error), torch.tensor(y), epsilon=epsilon)
        assert float(seen) == pytest.approx(slow, rel=1e-5)


def test_adaptive_wing_has_no_gradient_at_no_error() -> None:
    maps = torch.tensor([0.0, 1.0], requires_grad=True)
    adaptive_wing(maps, torch.tensor([0.0, 1.0])).sum().backward()
    assert maps.grad is not None
    assert maps.grad.tolist() == [0, 0]


def test_the_weight_map_is_heavy_around_high_targets_only() -> None:
    targets = torch.zeros(1, 2, 5, 5)
    targets[0, 0, 0, 2], targets[0, 1, 2, 2] = 1.0, 0.2
    weights = awing_weight(targets)
    expected = np.ones((5, 5))
    expected[0:2, 1:4] = 11
    np.testing.assert_array_equal(weights[0, 0], expected)
    assert (weights[0, 1] == 1).all()  # 0.2 does not exceed 0.2


def test_log_wing_has_no_straight_branch() -> None:
    assert float(log_wing(torch.tensor(-90.0))) == pytest.approx(8 * np.log(10))


def test_euclidean_is_a_length_with_a_gradient_even_at_nothing() -> None:
    error = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    lengths = euclidean(error)
    assert lengths.tolist() == [5, 0]
    lengths.sum().backward()
    assert error.grad is not None
    torch.testing.assert_close(error.grad, torch.tensor([[0.6, 0.8], [0, 0]]))


def test_smooth_l1_agrees_with_torch() -> None:
    error = torch.linspace(-1, 1, 41)
    oracle = torch.nn.functional.smooth_l1_loss(error, torch.zeros(41), beta=0.25, reduction="none")
    torch.testing.assert_close(smooth_l1(error, beta=0.25), oracle)
    assert float(smooth_l1(torch.tensor(1.0))) == pytest.approx(1 - 1 / 18)


def test_pixel_cross_entropy_is_minus_the_log_of_the_right_class() -> None:
    logits, classes = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    slow = -logits.softmax(1).gather(1, classes[:, None])[:, 0].log()
    torch.testing.assert_close(pixel_cross_entropy(logits, classes), slow)


def test_shared_cross_entropy_is_that_of_soft_labels() -> None:
    logits = torch.randn(2, 4, 5, 6)
    places = torch.tensor([[[3, 7], [3, 0], [29, 0]], [[1, 2], [4, 0], [9, 8]]])
    shares = torch.tensor([[[0.5, 1], [0.5, 0], [1, 0]], [[1, 1], [1.0, 0], [0.0, 0]]])
    labels = torch.zeros(2, 4, 30)
    labels[:, 1:].scatter_add_(2, places, shares)
    labels[:, 0] = 1 - labels[:, 1:].sum(dim=1)
    slow = -labels * logits.flatten(2).log_softmax(dim=1)
    landmarks, background = shared_cross_entropy(logits, places, shares)
    torch.testing.assert_close(landmarks, slow[:, 1:].sum(dim=2))
    torch.testing.assert_close(background, slow[:, 0].sum(dim=1))


def test_channel_softmax_squared_vanishes_where_the_probabilities_are_the_targets() -> None:
    logits = torch.tensor([0.0, np.log(3.0)]).view(1, 2, 1, 1)
    assert channel_softmax_squared(logits, torch.tensor([0.25, 0.75]).view(1, 2, 1, 1)).max() < 1e-12
    wrong = channel_softmax_squared(logits, torch.tensor([0.0, 1.0]).view(1, 2, 1, 1))
    assert wrong.flatten().tolist() == pytest.approx([1 / 16, 1 / 16])


def test_spatial_kl_is_cross_entropy_less_the_targets_entropy() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 5)
    target = torch.randn(2, 3, 20).softmax(2).view(2, 3, 4, 5)
    slow = (target * (target.log() - logits.flatten(2).log_softmax(2).view_as(logits))).sum(dim=(2, 3))
    torch.testing.assert_close(spatial_kl(target, logits), slow)
    one = torch.zeros(1, 1, 2, 2)
    one[0, 0, 1, 1] = 1
    assert float(spatial_kl(one, torch.zeros(1, 1, 2, 2))) == pytest.approx(np.log(4))  # 0 ln 0 is 0


def test_distillation_asks_the_student_to_cover_the_teacher_and_not_the_other_way_round() -> None:
    two, one = torch.full((1, 1, 1, 3), -9.0), torch.full((1, 1, 1, 3), -9.0)
    two[..., :2], one[..., 0] = 0.0, 0.0
    p, q = two.flatten().softmax(0), one.flatten().softmax(0)
    assert float(distillation_kl(two, one)) == pytest.approx(float((p * (p / q).log()).sum()), rel=1e-5)
    assert float(distillation_kl(two, one)) > 3 > float(distillation_kl(one, two))
    assert float(distillation_kl(two, two + 5)) == pytest.approx(0, abs=1e-6)


def test_the_discriminator_loss_falls_when_it_tells_them_apart() -> None:
    right, unsure, wrong = (
        float(discriminator_loss(torch.tensor([real]), torch.tensor([fake])))
        for real, fake in ((4.0, -4.0), (0.0, 0.0), (-4.0, 4.0))
    )
    assert right < unsure < wrong
    assert unsure == pytest.approx(2 * np.log(2))


def test_the_generator_is_driven_to_where_the_discriminator_says_real() -> None:
    fake = torch.zeros(1, requires_grad=True)
    loss = generator_loss(fake)
    assert loss.item() == pytest.approx(np.log(2))
    loss.backward()
    assert fake.grad is not None
    assert float(fake.grad) == pytest.approx(-0.5)  # a step down the loss raises the logit


def test_anchors_labelled_to_be_ignored_have_no_loss_and_no_gradient() -> None:
    logits = torch.randn(2, 3, 2, requires_grad=True)
    labels = torch.tensor([[1, 0, -1], [-1, -1, 1]])
    values = rpn_class(logits, labels)
    slow = -logits.log_softmax(2).gather(2, labels.clamp_min(0)[..., None])[..., 0]
    torch.testing.assert_close(values, torch.where(labels >= 0, slow, 0))
    values.sum().backward()
    assert logits.grad is not None
    assert (logits.grad[labels < 0] == 0).all()
    assert (logits.grad[labels >= 0] != 0).all()


def test_masked_mse_leaves_invisible_landmarks_out() -> None:
    maps = torch.ones(1, 2, 2, 2) * torch.tensor([2.0, 3.0]).view(1, 2, 1, 1)
    assert masked_mse(maps, torch.zeros_like(maps), torch.tensor([[1.0, 0.0]])).tolist() == [[4, 0]]


def test_transfer_l1_is_the_mean_difference_after_attention() -> None:
    expected, soft = torch.full((1, 3, 2, 2), 4.0), torch.ones(1, 3, 2, 2)
    attention = torch.tensor([[0.5, 0.25], [0.0, 1.0]])[None, None]
    assert float(transfer_l1(expected, soft, attention)) == pytest.approx((1 + 0 + 1 + 3) / 4)


def test_adaptive_weights_settle_where_sigma_is_the_loss() -> None:
    weights = AdaptiveWeights(["heat", "last"], alpha={"last": 3.0})
    losses = {"heat": torch.tensor(2.0), "last": torch.tensor(0.5)}
    assert {name: value.item() for name, value in weights(losses).items()} == {"heat": 2.0, "last": 1.5}
    with torch.no_grad():
        weights.log_sigma.copy_(torch.log(torch.tensor([2.0, 0.5])))
    out = weights(losses)
    assert out["last"].item() == pytest.approx(3 * (1 + np.log(0.5)))
    sum(out.values()).backward()  # type: ignore[union-attr]
    assert weights.log_sigma.grad is not None
    assert weights.log_sigma.grad.tolist() == pytest.approx([0, 0], abs=1e-6)


def test_sparsity_sums_absolute_values() -> None:
    assert float(sparsity([torch.tensor([1.0, -2.0]), torch.tensor(-0.5)])) == 3.5
    assert float(sparsity([])) == 0
