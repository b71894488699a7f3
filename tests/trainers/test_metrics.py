from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nasion.realtime.values.schemes import USUAL
from nasion.trainers.metrics import (
    Found,
    MetricError,
    area_under_curve,
    average_precision,
    box_size,
    by_subset,
    draw_error_curves,
    error_curve,
    eye_points,
    failure_rate,
    figures,
    inter_ocular,
    lengths,
    match,
    mean_and_deviation,
    nme,
    point_errors,
    recall_at,
    roc_auc,
    usual_lengths,
    usual_norm,
)

SQUARE = np.array([[0, 0, 10, 10]], np.float32)


def found(boxes: list[list[float]], scores: list[float], truth: np.ndarray, ignore: list[bool]) -> Found:
    return Found(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        truth,
        np.array(ignore, bool),
    )


def test_nme_is_the_mean_point_distance_over_the_norm() -> None:
    truth = np.zeros((1, 68, 2), np.float32)
    truth[0, 36], truth[0, 45] = (10, 5), (50, 35)
    assert inter_ocular(truth)[0] == pytest.approx(50)
    errors = point_errors(truth + np.float32([3, 4]), truth, inter_ocular(truth))
    assert nme(errors)[0] == pytest.approx(0.1)


def test_points_without_annotation_do_not_count() -> None:
    truth = np.array([[[0, 0], [4, 9], [np.nan, np.nan]]], np.float32)
    assert box_size(truth)[0] == pytest.approx(6)
    predicted = np.array([[[6, 0], [4, 9], [99, 99]]], np.float32)
    assert nme(point_errors(predicted, truth, box_size(truth)))[0] == pytest.approx(0.5)


def test_a_face_that_was_missed_is_a_failure_and_adds_no_area() -> None:
    errors = np.array([0.0, 0.05, 0.2, np.nan], np.float32)
    assert failure_rate(errors) == pytest.approx(0.5)
    assert area_under_curve(errors) == pytest.approx((1 + 0.5) / 4)


def test_every_scheme_has_the_two_eye_distances_and_they_are_not_the_same_points() -> None:
    rng = np.random.default_rng(0)
    for count, scheme in USUAL.items():
        points = rng.normal(size=(4, count, 2)).astype(np.float32)
        a, b = scheme.outer_corners
        np.testing.assert_allclose(
            lengths(points, "io"), np.hypot(*(points[:, a] - points[:, b]).T), rtol=1e-5, err_msg=scheme.name
        )
        left, right = (points[:, list(group)].mean(axis=1) for group in scheme.pupils)
        np.testing.assert_allclose(lengths(points, "ip"), np.hypot(*(left - right).T), rtol=1e-5)
        assert set(scheme.outer_corners) <= set(eye_points(scheme))
    assert eye_points(USUAL[68]) == tuple(range(36, 48))


def test_box_and_diagonal_are_of_the_points_or_of_the_boxes_given() -> None:
    points = np.array([[[0, 0], [3, 4], [np.nan, np.nan]]], np.float32)
    assert lengths(points, "box")[0] == pytest.approx(12**0.5)
    assert lengths(points, "diag")[0] == pytest.approx(5)
    boxes = np.array([[10, 10, 15, 22]], np.float32)
    assert lengths(points, "box", boxes)[0] == pytest.approx(60**0.5)
    assert lengths(points, "diag", boxes)[0] == pytest.approx(13)
    for given in (None, boxes):
        assert lengths(points, "tight-box", given)[0] == pytest.approx(12**0.5)
        assert lengths(points, "tight-diag", given)[0] == pytest.approx(5)


def test_aflw_goes_by_the_size_of_the_face_and_other_schemes_by_the_eye_corners() -> None:
    rng = np.random.default_rng(0)
    for count in USUAL:
        points = rng.normal(size=(3, count, 2)).astype(np.float32)
        assert usual_norm(points) == ("box" if count in (19, 21) else "io")
        np.testing.assert_array_equal(usual_lengths(points), lengths(points, usual_norm(points)))
    assert usual_norm(np.float32([[[0, 0], [1, 1]]])) == "box", "points of no scheme"


def test_a_length_of_nothing_is_never_the_usual_one() -> None:
    points = np.random.default_rng(0).normal(size=(2, 68, 2)).astype(np.float32)
    points[1, 36] = points[1, 45]  # eye corners in one place
    assert usual_norm(points) == "box"
    boxes = np.float32([[0, 0, 5, 5], [0, 0, 0, 0]])
    assert usual_norm(points, boxes) == "tight-box"
    points[1, :, 1] = 7  # all on one line
    assert usual_norm(points, boxes) == "tight-diag"
    assert (usual_lengths(points) > 0).all()
    points[1] = 7
    with pytest.raises(MetricError, match="the landmarks of face 2 coincide"):
        usual_norm(points)


def test_a_number_of_points_without_a_scheme_has_no_eyes_but_a_box() -> None:
    points = np.zeros((1, 5, 2), np.float32)
    with pytest.raises(MetricError, match=r"no scheme has 5 points, known are 19, .* measure by box or diag"):
        lengths(points, "io")
    assert lengths(points, "diag")[0] == 0


def test_figures_are_percent_and_count_the_missing_as_failures() -> None:
    seen = figures(np.array([0.02, 0.05, 0.09, np.nan], np.float32))
    assert seen["nme"] == pytest.approx(16 / 3)
    assert (seen["fr_8"], seen["fr_10"]) == (50, 25)
    assert seen["auc_7"] == pytest.approx(100 * (5 + 2) / 7 / 4)
    assert seen["auc_10"] == pytest.approx(100 * (8 + 5 + 1) / 10 / 4)


def test_subsets_are_reported_beside_the_whole() -> None:
    errors = np.array([0.02, 0.04, 0.12], np.float32)
    masks = {"common": np.array([True, True, False]), "none": np.zeros(3, bool)}
    table = by_subset(errors, masks)
    assert table.keys() == {"all", "common"}
    assert table["all"]["faces"] == 3
    assert table["all"]["nme"] == pytest.approx(6)
    assert table["common"] == {"faces": 2, **figures(errors[:2])}


def test_mean_and_deviation_over_trainings() -> None:
    assert mean_and_deviation([3.0, 4.0, 5.0]) == (4.0, 1.0)
    assert mean_and_deviation([3.0]) == (3.0, 0.0)


def test_the_area_under_the_error_curve_is_the_auc() -> None:
    errors = np.array([0.01, 0.03, 0.03, 0.2, np.nan], np.float32)
    error, share = error_curve(errors)
    assert (error[0], share[0], error[-1], share[-1]) == (0, 0, np.float32(0.1), np.float32(0.6))
    area = float((np.diff(error) * share[:-1]).sum()) / 0.1
    assert area == pytest.approx(area_under_curve(errors))
    assert error_curve(np.array([], np.float32))[1].tolist() == [0, 0]


@pytest.mark.parametrize(("ending", "start"), [(".svg", b"<?xml"), (".png", b"\x89PNG")])
def test_curves_are_drawn_to_the_kind_of_image_that_the_name_says(ending: str, start: bytes, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / f"ced{ending}"
    curves = {"ours": np.array([0.02, 0.05]), "theirs": np.array([0.03, np.nan])}
    draw_error_curves({"all landmarks": curves, "eyes": curves}, file, title="300w")
    assert file.read_bytes().startswith(start)
    if ending == ".svg":
        assert file.read_text().count("line2d_") > 4


def test_curves_of_another_ending_are_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(MetricError, match=r"ced\.gif: curves are drawn as \.svg or \.png"):
        draw_error_curves({}, tmp_path / "ced.gif")
    assert not list(tmp_path.iterdir())


def test_roc_auc_orders_and_counts_ties_half() -> None:
    labels = np.array([True, True, False, False])
    assert roc_auc(np.array([0.9, 0.8, 0.2, 0.1]), labels) == 1
    assert roc_auc(np.array([0.1, 0.2, 0.8, 0.9]), labels) == 0
    assert roc_auc(np.array([0.5, 0.5, 0.5, 0.5]), labels) == 0.5
    assert roc_auc(np.array([0.9, 0.3, 0.5, 0.1]), labels) == 0.75


def test_roc_auc_of_one_kind_only_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 positive of 2"):
        roc_auc(np.array([0.1, 0.2]), np.array([False, False]))


def test_a_face_is_found_once_and_a_second_box_on_it_is_false() -> None:
    twice = found([[0, 0, 10, 10], [0, 0, 10, 9]], [0.8, 0.9], SQUARE, [False])
    assert match(twice).tolist() == [1, 0]


def test_boxes_on_ignored_faces_count_neither_way() -> None:
    truth = np.concatenate([SQUARE, SQUARE + 50])
    result = found([[50, 50, 60, 60], [0, 0, 10, 10]], [0.9, 0.8], truth, [False, True])
    assert match(result).tolist() == [-1, 1]
    assert average_precision([result]) == 1


def test_average_precision_by_hand() -> None:
    truth = np.concatenate([SQUARE, SQUARE + 100])
    result = found([[0, 0, 10, 10], [40, 40, 50, 50], [100, 100, 110, 110]], [0.9, 0.8, 0.7], truth, [False, False])
    # recall 1/2 at precision 1, recall 1 at precision 2/3
    assert average_precision([result]) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert recall_at([result], 0.75) == 0.5


def test_a_detector_that_says_nothing_has_no_precision() -> None:
    assert average_precision([found([], [], SQUARE, [False])]) == 0
