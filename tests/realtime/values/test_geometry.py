from __future__ import annotations

from dataclasses import astuple

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasion.realtime.values.geometry import (
    Region,
    box_of,
    boxes_and_regions,
    containment,
    invert,
    iou,
    overlapping,
    region_of_points,
    roll,
    to_frame,
    to_tensor,
    transform,
    warp,
)
from nasion.realtime.values.published_schemes import IBUG_68
from nasion.realtime.values.schemes import scheme_of

from ...support.data_sets.labelled import face_shape

coordinates = st.floats(-500, 500)
regions = st.builds(Region, coordinates, coordinates, st.floats(8, 800), st.floats(-3.1, 3.1))


@given(regions, st.integers(16, 256))
def test_the_corners_of_a_region_become_the_corners_of_the_crop(region: Region, size: int) -> None:
    half = region.side / 2
    cos, sin = np.cos(region.angle), np.sin(region.angle)
    corners = np.array([[-half, -half], [half, -half], [half, half], [-half, half]]) @ [[cos, sin], [-sin, cos]]
    mapped = transform(np.add(corners, (region.x, region.y)).astype(np.float32), region.to_crop(size))
    edge = size - 0.5
    np.testing.assert_allclose(mapped, [[-0.5, -0.5], [edge, -0.5], [edge, edge], [-0.5, edge]], atol=0.05)


@given(regions)
def test_a_transform_undone_leads_back(region: Region) -> None:
    points = np.array([[0, 0], [30, -10], [7, 99]], np.float32)
    matrix = region.to_crop(112)
    np.testing.assert_allclose(transform(transform(points, matrix), invert(matrix)), points, atol=0.05)
    np.testing.assert_allclose(to_frame(transform(points, matrix)[None], [region], 112)[0], points, atol=0.05)


@settings(deadline=None)
@given(st.floats(-0.8, 0.8), st.floats(60, 400), st.floats(60, 140), st.floats(60, 140))
def test_what_lies_at_a_point_lies_at_its_image_in_the_crop(angle: float, side: float, x: float, y: float) -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    cv2.circle(image, (round(x * 16), round(y * 16)), 6 * 16, (255, 255, 255), -1, cv2.LINE_AA, 4)
    matrix = Region(100, 100, side, angle).to_crop(112)
    crop = warp(image, matrix, 112)[:, :, 0].astype(float)
    there = transform(np.array([[x, y]], np.float32), matrix)[0]
    if not (8 < there[0] < 104 and 8 < there[1] < 104) or crop.sum() == 0:
        return
    rows, columns = np.mgrid[:112, :112]
    centre = (crop * columns).sum() / crop.sum(), (crop * rows).sum() / crop.sum()
    scale = 112 / side
    if 7 * scale < min(*there, *(111 - there)):  # the whole disc is in the crop
        np.testing.assert_allclose(centre, there, atol=0.25)


def test_the_upright_crop_of_a_turned_face_is_the_crop_of_the_upright_face() -> None:
    upright = face_shape() * 100 + 50
    cos, sin = np.cos(0.5), np.sin(0.5)
    turned = ((upright - 100) @ [[cos, sin], [-sin, cos]] + 100).astype(np.float32)
    assert roll(upright, IBUG_68) == pytest.approx(0, abs=1e-5)
    assert roll(turned, IBUG_68) == pytest.approx(0.5, abs=1e-5)
    a = region_of_points(upright, margin=1.35)
    b = region_of_points(turned, margin=1.35, angle=0.5)
    np.testing.assert_allclose(transform(upright, a.to_crop(112)), transform(turned, b.to_crop(112)), atol=0.01)
    assert a.side == pytest.approx(1.35 * (box_of(upright)[2:] - box_of(upright)[:2]).max())


@given(st.lists(regions, max_size=3))
def test_the_places_of_many_faces_are_those_of_each(places: list[Region]) -> None:
    faces = [transform(face_shape() * 112, invert(place.to_crop(112))) for place in places]
    boxes, found = boxes_and_regions(np.array(faces, np.float32).reshape(-1, 68, 2), IBUG_68, margin=1.2)
    assert len(boxes) == len(found) == len(places)
    for points, box, region in zip(faces, boxes, found, strict=True):
        expected = region_of_points(points, margin=1.2, angle=roll(points, IBUG_68))
        np.testing.assert_array_equal(box, box_of(points))
        np.testing.assert_allclose(astuple(region), astuple(expected), rtol=1e-3, atol=1e-3)


def test_outside_the_image_is_black() -> None:
    white = np.full((50, 60, 3), 255, np.uint8)
    crop = warp(white, Region(0, 0, 40).to_crop(40), 40)
    assert (crop[22:, 22:] == 255).all()
    assert (crop[:18, :18] == 0).all()
    assert not warp(white, Region(900, 900, 40).to_crop(40), 40).any()


def test_iou_by_hand() -> None:
    a = np.array([[0, 0, 2, 2]], np.float32)
    b = np.array([[1, 0, 3, 2], [5, 5, 6, 6], [0, 0, 2, 2], [1, 1, 1, 1]], np.float32)
    np.testing.assert_allclose(iou(a, b), [[1 / 3, 0, 1, 0]], atol=1e-6)
    assert iou(a, np.zeros((0, 4), np.float32)).shape == (1, 0)


def test_planes_are_rgb_and_normalised_as_the_spec_says() -> None:
    crop = np.zeros((2, 2, 3), np.uint8)
    crop[:] = (10, 20, 30)  # B, G, R
    tensor = to_tensor([crop, crop], (30, 20, 0), (1, 10, 5), rgb=True)
    assert tensor.shape == (2, 3, 2, 2)
    np.testing.assert_allclose(tensor[1, :, 0, 0], [0, 0, 2], atol=1e-6)
    np.testing.assert_allclose(to_tensor([crop], (0, 0, 0), (1, 1, 1), rgb=False)[0, :, 1, 1], [10, 20, 30])


def test_mirroring_twice_changes_nothing_and_eyes_swap() -> None:
    flip = np.array(IBUG_68.flip)
    assert (flip[flip] == np.arange(68)).all()
    assert {int(flip[i]) for i in IBUG_68.left_eye} == set(IBUG_68.right_eye)
    assert tuple(flip[list(IBUG_68.outer_corners)]) == IBUG_68.outer_corners[::-1]
    assert scheme_of(68) is IBUG_68
    assert scheme_of(5) is None


def test_pairs_that_overlap_are_those_of_the_containment_of_all(rng: np.random.Generator) -> None:
    corners = rng.uniform(0, 100, (60, 2)).round()
    sides = rng.uniform(-3, 25, (60, 2)).round()  # some are empty or inside out
    boxes = np.concatenate([corners, corners + sides], axis=1).astype(np.float32)
    boxes[7], boxes[9, 2:] = boxes[3], boxes[9, :2]
    every = np.triu(containment(boxes, boxes), 1)
    found = overlapping(list(boxes))
    assert [(i, j) for i, j, _ in found] == [tuple(pair) for pair in np.argwhere(every > 0).tolist()]
    np.testing.assert_allclose([share for *_, share in found], every[every > 0], rtol=1e-5)
    assert overlapping([]) == overlapping(list(boxes[:1])) == []


def test_containment_is_measured_against_the_smaller_box() -> None:
    boxes = np.array([[0, 0, 10, 10], [2, 2, 4, 4], [8, 0, 18, 10], [20, 20, 30, 30], [5, 5, 5, 5]], np.float32)
    np.testing.assert_allclose(containment(boxes[:1], boxes), [[1, 1, 0.2, 0, 0]])
    np.testing.assert_array_equal(containment(boxes, boxes), containment(boxes, boxes).T)


def test_a_region_changes_by_the_largest_of_move_size_and_angle() -> None:
    old = Region(100, 50, 40, 3.1)
    assert old.change(old) == 0
    assert old.change(Region(100, 54, 40, 3.1)) == pytest.approx(0.1)
    assert old.change(Region(102, 50, 32, 3.1)) == pytest.approx(0.2)
    assert old.change(Region(100, 50, 40, -3.1)) == pytest.approx(2 * np.pi - 6.2), "across half a turn"


@pytest.mark.parametrize(
    ("region", "possible"),
    [
        (Region(50, 50, 8), True),
        (Region(50, 50, 7.9), False),
        (Region(50, 50, 800), True),
        (Region(50, 50, 801), False),
        (Region(-9, 50, 20), True),
        (Region(-10, 50, 20), False),
        (Region(50, 111, 20), False),
        (Region(50, 50, float("nan")), False),
        (Region(50, 50, 20, float("inf")), False),
    ],
)
def test_a_region_that_is_tiny_huge_or_outside_the_image_holds_no_face(region: Region, possible: bool) -> None:
    assert region.may_hold_face(200, 100) == possible
