from __future__ import annotations

import numpy as np
import pytest
import torch

from nasion.trainers.networks.decoding import arg_max, reweighted, soft_arg_max
from nasion.trainers.targets import gaussian_maps


def test_arg_max_leans_a_quarter_towards_the_higher_neighbour() -> None:
    maps = torch.zeros(1, 2, 5, 6)
    maps[0, 0, 2, 3], maps[0, 0, 2, 4], maps[0, 0, 1, 3] = 1.0, 0.5, 0.2
    maps[0, 1, 3, 2] = 0.7  # neighbours are equal
    points, peak = arg_max(maps)
    assert points.tolist() == [[[3.25, 1.75], [2.0, 3.0]]]
    assert peak.tolist() == [[1.0, pytest.approx(0.7)]]
    assert arg_max(maps, quarter=False)[0].tolist() == [[[3.0, 2.0], [2.0, 3.0]]]


def test_arg_max_does_not_look_over_the_edge() -> None:
    maps = torch.zeros(1, 1, 4, 4)
    maps[0, 0, 1, 3], maps[0, 0, 2, 3], maps[0, 0, 2, 0] = 1.0, 0.4, 0.6  # (2, 0) follows (1, 3) in memory
    assert arg_max(maps)[0].tolist() == [[[3.0, 1.25]]]
    corner = torch.zeros(1, 1, 4, 4)
    corner[0, 0, 0, 0] = corner[0, 0, 0, 1] = 1.0
    assert arg_max(corner)[0].tolist() == [[[0.0, 0.0]]]


def test_arg_max_agrees_with_a_loop() -> None:
    maps = torch.randn(3, 4, 7, 9)
    points, peak = arg_max(maps)
    for b in range(3):
        for i in range(4):
            m = maps[b, i].numpy()
            y, x = np.unravel_index(m.argmax(), m.shape)
            dx = 0.25 * np.sign(m[y, x + 1] - m[y, x - 1]) if 0 < x < 8 else 0
            dy = 0.25 * np.sign(m[y + 1, x] - m[y - 1, x]) if 0 < y < 6 else 0
            assert points[b, i].tolist() == [x + dx, y + dy]
            assert float(peak[b, i]) == m[y, x]


def test_the_quarter_shift_comes_closer_to_points_between_cells() -> None:
    torch.manual_seed(0)
    cells = torch.rand(1, 200, 2) * 20 + 4
    maps = gaussian_maps(cells, 28, 28, sigma=1.5)
    plain, leaning = ((arg_max(maps, quarter=quarter)[0] - cells).abs().mean() for quarter in (False, True))
    assert float(plain) == pytest.approx(0.25, abs=0.03)
    assert float(leaning) == pytest.approx(0.125, abs=0.02)


def test_a_lower_temperature_brings_the_soft_arg_max_to_the_peak() -> None:
    maps = torch.zeros(1, 1, 8, 8)
    maps[0, 0, 2, 6] = 3.0
    far, near = (soft_arg_max(maps, temperature=t)[0][0, 0] for t in (1.0, 0.1))
    assert near.tolist() == pytest.approx([6, 2], abs=1e-3)
    assert float((far - near).norm()) > 1


def test_reweighting_is_the_weighted_mean_of_the_cells_above_the_threshold() -> None:
    maps = torch.zeros(1, 1, 5, 5)
    maps[0, 0, 1, 1], maps[0, 0, 1, 2], maps[0, 0, 2, 1], maps[0, 0, 4, 4] = 0.9, 0.6, 0.5, 0.49
    points, confidence = reweighted(maps)
    assert points[0, 0].tolist() == pytest.approx([(0.9 + 1.2 + 0.5) / 2.0, (0.9 + 0.6 + 1.0) / 2.0])
    assert float(confidence) == pytest.approx(0.9)


def test_reweighting_falls_back_to_arg_max_only_for_maps_that_stay_below() -> None:
    maps = torch.zeros(2, 1, 5, 5)
    maps[0, 0, 3, 2], maps[0, 0, 3, 3] = 0.4, 0.3
    maps[1, 0, 1, 1] = 0.8
    points, confidence = reweighted(maps)
    assert points[0, 0].tolist() == [2.25, 3.0]
    assert points[1, 0].tolist() == [1.0, 1.0]
    assert confidence[:, 0].tolist() == pytest.approx([0.4, 0.8])
    assert reweighted(torch.zeros(1, 1, 4, 4))[0].isfinite().all()
