from __future__ import annotations

import numpy as np
import pytest

from nasion.trainers.metrics import (
    Found,
    area_under_curve,
    average_precision,
    box_size,
    failure_rate,
    inter_ocular,
    match,
    nme,
    point_errors,
    recall_at,
    roc_auc,
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
