from __future__ import annotations

import cv2
import numpy as np
import pytest

from nasion.engines.errors import ModelError
from nasion.engines.spec import Spec
from nasion.realtime.tracking.aligner import BOX_DOWN, BOX_SCALE, Aligner, region_of_box
from nasion.realtime.values.geometry import Region, box_of, boxes_and_regions, invert, roll, to_tensor, transform, warp
from nasion.realtime.values.published_schemes import IBUG_68

from ...support.fakes.networks import GREEN, RED, TEMPLATE, Constant, Disc, DiscAligner, DiscDetector, backdrop, draw

SPEC = Spec("landmarks", "constant", (128, 128), landmarks=2)


def test_points_come_back_in_pixels_of_the_frame():
    image = draw(Disc(RED, 100, 90, 60))
    found = Aligner(DiscAligner()).align(image, [Region(104, 86, 84)])
    np.testing.assert_allclose(found.points[0], TEMPLATE * 30 + [100, 90], atol=1.0)
    assert found.scores[0] > 0.9


def test_the_corners_of_a_turned_crop_are_the_corners_of_its_region():
    corners = np.array([[-0.5, -0.5], [127.5, 127.5]])
    aligner = Aligner(Constant(SPEC, points=corners, confidence=[1, 1], presence=1))
    middle, side, angle = np.array([100, 80]), 50.0, 0.3
    found = aligner.align(backdrop(), [Region(100, 80, side, angle)])
    diagonal = side / 2 * np.sqrt(2) * np.array([np.cos(np.pi / 4 + angle), np.sin(np.pi / 4 + angle)])
    np.testing.assert_allclose(found.points[0], [middle - diagonal, middle + diagonal], atol=1e-3)


def test_all_faces_of_a_frame_go_through_the_network_together():
    network = DiscAligner()
    image = draw(Disc(RED, 80, 90, 60), Disc(GREEN, 220, 150, 80))
    found = Aligner(network).align(image, [Region(80, 90, 80), Region(220, 150, 110), Region(20, 20, 30)])
    assert network.batches == [(3, 3, 128, 128)]
    assert found.points.shape == (3, 68, 2)
    assert found.confidence.shape == (3, 68)
    assert found.scores.shape == (3,)
    np.testing.assert_allclose(found.points[1].mean(axis=0), [220, 152], atol=4)
    assert found.scores[2] == 0


def test_no_regions_give_empty_arrays_and_ask_nothing():
    network = DiscAligner()
    found = Aligner(network).align(backdrop(), [])
    assert found.points.shape == (0, 68, 2)
    assert found.confidence.shape == (0, 68)
    assert found.scores.shape == (0,)
    assert network.batches == []


def test_a_crowd_is_split_into_several_batches_and_stays_in_order():
    network = DiscAligner()
    image = draw(Disc(RED, 100, 90, 60))
    regions = [Region(100, 90, 84) if i % 3 else Region(250, 200, 40) for i in range(70)]
    found = Aligner(network).align(image, regions)
    assert len(network.batches) > 1
    assert (found.scores > 0.5).tolist() == [bool(i % 3) for i in range(70)]


def test_a_network_without_presence_says_it_by_its_mean_confidence():
    found = Aligner(Constant(SPEC, points=np.zeros((2, 2)), confidence=[0.2, 0.6])).align(backdrop(), [Region(9, 9, 9)])
    np.testing.assert_allclose(found.scores, [0.4])


def test_the_next_region_holds_the_points_with_a_margin_and_turns_them_upright():
    for angle in (-0.6, 0.0, 0.4, 2.5):
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32)
        points = TEMPLATE @ turn * 40 + np.float32([150, 100])
        boxes, (region,) = boxes_and_regions(points[None], IBUG_68, margin=1.35)
        np.testing.assert_array_equal(boxes[0], box_of(points))
        assert region.angle == pytest.approx(angle, abs=1e-4)
        assert region.side == pytest.approx(80 * 1.35, rel=1e-3)
        upright = transform(points, region.to_crop(128))
        assert roll(upright, IBUG_68) == pytest.approx(0, abs=1e-4)


def test_of_a_scheme_that_is_not_known_the_next_region_is_not_turned():
    boxes, regions = boxes_and_regions(np.float32([[[0, 0], [10, 30]]]), None, margin=1.0)
    assert (boxes.tolist(), regions) == ([[0, 0, 10, 30]], [Region(5, 15, 30)])


def test_the_region_of_a_box_lies_lower_than_the_box_because_the_brows_do():
    region = region_of_box(np.float32([10, 20, 50, 80]))
    assert (region.x, region.angle) == (30, 0)
    assert region.y == pytest.approx(50 + BOX_DOWN * 60)
    assert region.side == pytest.approx(BOX_SCALE * 60)


def test_a_network_that_does_not_fit_is_refused():
    with pytest.raises(ModelError, match="'disc-detector' is a detector; give a landmark model"):
        Aligner(DiscDetector())
    with pytest.raises(ModelError, match="takes crops of 128x96 pixels; give a square one"):
        Aligner(Constant(Spec("landmarks", "wide", (128, 96), landmarks=2)))


def reference(image, matrix, size=128):
    """The crop as one would write it: the whole image, halved as a whole, warped as it is."""
    scale = np.hypot(matrix[0, 0], matrix[1, 0])
    while scale < 0.4 and min(image.shape[:2]) >= 2 * size:
        image = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
        matrix = matrix @ np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]], np.float32)
        scale *= 2
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR)


def test_a_crop_from_its_neighbourhood_is_the_crop_from_the_whole_image(rng):
    image = rng.integers(0, 256, (448, 704, 3)).astype(np.uint8)
    image = cv2.GaussianBlur(image, (3, 3), 0)
    for _ in range(60):
        side = float(np.exp(rng.uniform(np.log(10), np.log(1500))))
        region = Region(rng.uniform(-150, 850), rng.uniform(-150, 600), side, rng.uniform(-3, 3))
        matrix = region.to_crop(128)
        if rng.random() < 0.3:  # training mirrors
            matrix[0] = [-matrix[0, 0], -matrix[0, 1], 127 - matrix[0, 2]]
        difference = warp(image, matrix, 128).astype(int) - reference(image, matrix)
        assert np.abs(difference).max() <= 2, region


def test_a_crop_that_sees_nothing_of_the_image_is_black():
    crop = warp(backdrop(), Region(-500, 4000, 60, 0.2).to_crop(128), 128)
    assert crop.shape == (128, 128, 3)
    assert crop.dtype == np.uint8
    assert not crop.any()


def test_a_crop_and_its_way_back_agree():
    region = Region(100, 80, 60, 0.5)
    points = np.float32([[0, 0], [50, 60], [127, 3]])
    np.testing.assert_allclose(
        transform(transform(points, invert(region.to_crop(128))), region.to_crop(128)), points, atol=1e-3
    )


@pytest.mark.parametrize("rgb", [True, False])
def test_a_tensor_is_each_channel_less_its_mean_over_its_deviation(rng, rgb):
    crops = [rng.integers(0, 256, (8, 6, 3)).astype(np.uint8) for _ in range(2)]
    mean, std = (1.0, 20.0, 100.0), (50.0, 60.0, 255.0)
    tensor = to_tensor(crops, mean, std, rgb=rgb)
    assert tensor.dtype == np.float32
    stacked = np.stack(crops)[..., ::-1] if rgb else np.stack(crops)
    np.testing.assert_allclose(tensor, ((stacked - mean) / std).transpose(0, 3, 1, 2), rtol=1e-5, atol=1e-6)
