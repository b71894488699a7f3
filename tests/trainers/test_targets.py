from __future__ import annotations

import numpy as np
import pytest
import torch

from nasion.trainers.targets import BOUNDARIES, boundary_maps, gaussian_maps, landmark_cells, spline

NAN = float("nan")


def slow_gaussian(point: tuple[float, float], height: int, width: int, sigma: float) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * sigma**2))


def test_a_gaussian_is_centred_on_the_point_and_one_cell_away_where_the_formula_says() -> None:
    maps = gaussian_maps(torch.tensor([[[3.3, 2.8], [5.0, 1.0]]]), 6, 8, sigma=1.5)
    assert maps.shape == (1, 2, 6, 8)
    for seen, point in zip(maps[0].numpy(), ((3.3, 2.8), (5.0, 1.0)), strict=True):
        np.testing.assert_allclose(seen, slow_gaussian(point, 6, 8, 1.5), atol=1e-6)
    assert float(maps[0, 1, 1, 5]) == 1


def test_a_rounded_gaussian_peaks_at_one_and_halves_go_up() -> None:
    maps = gaussian_maps(torch.tensor([[[3.4, 2.5], [4.5, 1.0]]]), 6, 8, sigma=1.0, rounded=True)
    np.testing.assert_allclose(maps[0, 0], slow_gaussian((3, 3), 6, 8, 1.0), atol=1e-6)
    np.testing.assert_allclose(maps[0, 1], slow_gaussian((5, 1), 6, 8, 1.0), atol=1e-6)


def test_a_window_cuts_the_gaussian_off_around_its_nearest_cell() -> None:
    seen = gaussian_maps(torch.tensor([[[4.0, 4.4]]]), 9, 9, sigma=1.0, window=3)[0, 0].numpy()
    inside = np.zeros((9, 9), bool)
    inside[3:6, 3:6] = True
    assert (seen[~inside] == 0).all()
    np.testing.assert_allclose(seen[inside], slow_gaussian((4.0, 4.4), 9, 9, 1.0)[inside], atol=1e-6)


def test_points_that_are_not_annotated_leave_an_empty_map() -> None:
    cells = torch.tensor([[[1.0, 1.0], [NAN, NAN], [2.0, 2.0]]])
    maps = gaussian_maps(cells, 4, 4, sigma=1.0, known=torch.tensor([[0.0, 1.0, 1.0]]))
    assert maps.sum(dim=(2, 3))[0, :2].tolist() == [0, 0]
    assert float(maps[0, 2].max()) == 1


def test_a_landmark_of_radius_nothing_owns_one_cell_and_shares_it_with_those_in_the_same_place() -> None:
    cells = torch.tensor(
        [[[0.4, 0.6], [2.5, 1.0], [9.0, 1.0], [NAN, 0.0]], [[1.0, 1.0], [1.2, 0.9], [-0.4, 0], [1.4, 0.6]]]
    )
    places, shares = landmark_cells(cells, 2, 4)
    assert (places.dtype, places.shape) == (torch.int64, (2, 4, 1))
    assert places[0, :2, 0].tolist() == [4, 7]
    assert shares[0, :, 0].tolist() == [1, 1, 0, 0]  # the third lies outside, the fourth is unknown
    assert places[1, :, 0].tolist() == [5, 5, 0, 5]
    assert shares[1, :, 0].tolist() == pytest.approx([1 / 3, 1 / 3, 1, 1 / 3])


def test_a_landmark_with_a_radius_owns_the_cells_within_it_and_each_cell_is_shared_out_once() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 12, (3, 5, 2)).astype(np.float32)
    points[:, 1] = points[:, 0]  # lips of a closed mouth
    known = rng.random((3, 5)) > 0.3
    places, shares = landmark_cells(torch.from_numpy(points), 11, 13, radius=1.5, known=torch.from_numpy(known))
    seen = torch.zeros(3, 5, 11 * 13).scatter_add_(2, places, shares).view(3, 5, 11, 13).numpy()
    slow = np.zeros((3, 5, 11, 13))
    y, x = np.mgrid[:11, :13]
    for b in range(3):
        for i, (px, py) in enumerate(points[b]):
            near = (x - px) ** 2 + (y - py) ** 2 <= 1.5**2
            near |= (x == np.floor(px + 0.5)) & (y == np.floor(py + 0.5))
            slow[b, i] = near & known[b, i]
    slow /= np.maximum(slow.sum(axis=1, keepdims=True), 1)
    np.testing.assert_allclose(seen, slow, atol=1e-6)
    assert set(np.unique(seen.sum(axis=1).round(5))) == {0.0, 1.0}


def test_the_curve_passes_through_its_points_and_is_smooth() -> None:
    points = torch.tensor([[[0.0, 0.0], [1.0, 2.0], [3.0, 2.5], [4.0, 1.0], [6.0, 0.5], [7.0, 3.0]]])
    curve = spline(points, steps=64)
    torch.testing.assert_close(curve[0, ::64], points[0].double(), atol=1e-9, rtol=0)
    length = (points[0, 1:] - points[0, :-1]).norm(dim=1).double() / 64
    slope = (curve[0, 1:] - curve[0, :-1]) / length.repeat_interleave(64)[:, None]
    assert float((slope[1:] - slope[:-1]).norm(dim=1).max()) < 0.12  # a corner of a polyline would jump by over 1


def test_four_points_make_one_cubic_three_a_parabola_and_two_a_line() -> None:
    points = np.array([[0, 0], [1, 2], [3, 2.5], [4, 1]], np.float32)
    for count in (2, 3, 4):
        part = points[:count]
        at = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(part, axis=0), axis=1))])
        fine = np.interp(np.arange(4 * (count - 1) + 1) / 4, np.arange(count), at)
        slow = np.stack([np.polyval(np.polyfit(at, part[:, axis], count - 1), fine) for axis in (0, 1)], axis=1)
        np.testing.assert_allclose(spline(torch.from_numpy(part)[None])[0], slow, atol=0.02)


def test_points_on_a_line_stay_on_it_and_equal_points_do_no_harm() -> None:
    line = torch.tensor([[[0.0, 0.0], [1.0, 2.0], [1.0, 2.0], [4.0, 8.0], [5.0, 10.0]]])
    curve = spline(line)[0]
    torch.testing.assert_close(curve[:, 1], 2 * curve[:, 0], atol=1e-6, rtol=0)
    assert spline(torch.ones(1, 5, 2)).isfinite().all()


def test_a_boundary_map_falls_off_with_the_distance_from_its_curve() -> None:
    rng = np.random.default_rng(1)
    cells = torch.from_numpy(np.sort(rng.uniform(2, 18, (2, 7, 2)), axis=1).astype(np.float32))
    curves = ((0, 1, 2, 3, 4), (4, 5, 6))
    seen = boundary_maps(cells, 20, 22, curves=curves, sigma=1.3).numpy()
    y, x = np.mgrid[:20, :22]
    for b in range(2):
        for p, curve in enumerate(curves):
            fine = spline(cells[b : b + 1, list(curve)], steps=200)[0].numpy()
            apart = np.sqrt((x[..., None] - fine[:, 0]) ** 2 + (y[..., None] - fine[:, 1]) ** 2).min(axis=2)
            slow = np.where(apart < 3 * 1.3, np.exp(-(apart**2) / (2 * 1.3**2)), 0)
            assert np.abs(seen[b, p] - slow).max() < 0.03  # the drawn curve is a polyline of a few pieces
    merged = boundary_maps(cells, 20, 22, curves=curves, sigma=1.3, merged=True)
    np.testing.assert_allclose(merged[:, 0], seen.max(axis=1), atol=1e-6)


def test_a_curve_with_an_unknown_point_is_not_drawn_and_the_others_are() -> None:
    cells = torch.tensor([[[1.0, 1.0], [5.0, 1.0], [NAN, NAN], [5.0, 5.0]]])
    maps = boundary_maps(cells, 8, 8, curves=((0, 1), (1, 2, 3), (1, 3)))
    assert maps.amax(dim=(2, 3))[0].tolist() == [1, 0, 1]
    assert boundary_maps(cells, 8, 8, curves=((0, 1), (1, 2, 3)), merged=True)[0, 0, 1, 3] == 1


@pytest.mark.parametrize("count", BOUNDARIES)
def test_boundaries_name_points_of_their_scheme_and_mirror_onto_each_other(count: int) -> None:
    from nasion.realtime.values.schemes import USUAL

    curves = BOUNDARIES[count]
    assert len(curves) == (5 if count in (19, 21) else 13)
    assert all(len(set(curve)) == len(curve) >= 3 and max(curve) < count for curve in curves)
    flip = USUAL[count].flip
    mirrored = {frozenset(flip[i] for i in curve) for curve in curves}
    assert mirrored == {frozenset(curve) for curve in curves}
