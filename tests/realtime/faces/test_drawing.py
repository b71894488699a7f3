from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import nasion
from nasion.engines.errors import NasionError
from nasion.realtime.faces.drawing import colour_of, draw
from nasion.realtime.faces.face import Face
from nasion.realtime.values.arrays import FloatArray, Image
from nasion.realtime.values.geometry import box_of
from nasion.realtime.values.published_schemes import IBUG_68


@pytest.fixture
def grey() -> Image:
    return np.full((240, 320, 3), 120, np.uint8)


def face_at(points: FloatArray, *, number: int = 1, confidence: float = 1.0) -> Face:
    points = np.asarray(points, np.float32)
    return Face(number, box_of(points), 0.9, points, np.full(len(points), confidence, np.float32))


def grid(columns: int, rows: int, *, step: float = 20.0, x: float = 30.0, y: float = 40.0) -> FloatArray:
    across, down = np.meshgrid(np.arange(columns), np.arange(rows))
    return np.stack([x + step * across.ravel(), y + step * down.ravel()], 1).astype(np.float32)


def changed(before: Image, after: Image) -> np.ndarray:
    return (before != after).any(axis=2)


def distance_to(points: FloatArray, image: Image) -> np.ndarray:
    """Distance of each pixel to the nearest of ``points``."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.min([np.hypot(x - px, y - py) for px, py in points], axis=0)


def test_dots_are_at_the_points_and_nowhere_else(grey: Image) -> None:
    points = grid(7, 4)
    drawn = draw(grey, [face_at(points)], box=False, label=False)
    touched = changed(grey, drawn)
    near = distance_to(points, grey)
    assert touched[near == 0].all()
    assert not touched[near > 6].any()


def test_a_dot_has_the_colour_of_its_identity(grey: Image) -> None:
    drawn = draw(grey, [face_at(grid(7, 4), number=5)], box=False, label=False)
    assert np.abs(drawn[40, 30].astype(int) - colour_of(5)).max() <= 2


def test_the_image_given_stays_as_it_is(grey: Image) -> None:
    before = grey.copy()
    drawn = draw(grey, [face_at(grid(7, 4))])
    assert (grey == before).all()
    assert changed(grey, drawn).any()


def test_without_faces_the_copy_equals_the_image(grey: Image) -> None:
    drawn = draw(grey, [])
    assert (drawn == grey).all()
    assert not np.shares_memory(drawn, grey)


@pytest.mark.parametrize("offset", [0.0, 0.25, 0.5, 0.75])
def test_dots_are_drawn_between_pixels(grey: Image, offset: float) -> None:
    point = np.array([[100 + offset, 80 + offset]], np.float32)
    corners = np.array([[20, 20], [300, 220]], np.float32)  # a large face has a large dot, which can be measured
    face = Face(1, box_of(corners), 0.9, point, np.ones(1, np.float32))
    drawn = draw(grey, [face], box=False, label=False).astype(int)
    weight = np.abs(drawn - 120).sum(axis=2)
    centre = [(weight.sum(axis=axis) * np.arange(weight.shape[1 - axis])).sum() / weight.sum() for axis in (0, 1)]
    assert centre == pytest.approx(point[0].tolist(), abs=0.1)


def test_points_of_low_confidence_are_fainter(grey: Image) -> None:
    strengths = []
    for confidence in (0.0, 0.5, 1.0):
        drawn = draw(grey, [face_at(grid(7, 4), confidence=confidence)], box=False, label=False)
        strengths.append(np.abs(drawn[40, 30].astype(int) - 120).sum())
    assert 0 < strengths[0] < strengths[1] < strengths[2]


def test_68_points_are_joined_by_the_lines_of_their_scheme(grey: Image) -> None:
    points = grid(17, 4, step=16)
    drawn = draw(grey, [face_at(points)], landmarks=False, box=False, label=False)
    touched = changed(grey, drawn)
    for run in IBUG_68.lines:
        for a, b in pairwise(run):
            x, y = np.rint((points[a] + points[b]) / 2).astype(int)
            assert touched[y, x], f"no line from {a} to {b}"


def test_points_without_a_scheme_are_not_joined(grey: Image) -> None:
    drawn = draw(grey, [face_at(grid(10, 5))], landmarks=False, box=False, label=False)
    assert (drawn == grey).all()


def test_box_and_label_are_drawn_where_the_face_is(grey: Image) -> None:
    face = face_at(grid(7, 4, x=60, y=90))
    boxed = changed(grey, draw(grey, [face], landmarks=False, label=False))
    assert boxed[90, 60:181].all()
    assert boxed[90:151, 60].all()
    assert not boxed[95:145, 65:175].any()
    labelled = changed(grey, draw(grey, [face], landmarks=False, box=False))
    assert labelled[:90].any()
    assert not labelled[90:].any()


@pytest.mark.parametrize("gap", [0.0, 1.0, 7.0, 30.0, 60.0])
def test_no_label_in_a_dense_grid_covers_a_face_or_another_label(gap: float) -> None:
    empty = np.full((400, 500, 3), 120, np.uint8)
    faces = [
        face_at(grid(4, 4, x=10 + (60 + gap) * column, y=10 + (60 + gap) * row), number=1 + 5 * row + column)
        for row in range(4)
        for column in range(5)
    ]
    labels = changed(empty, draw(empty, faces, landmarks=False, lines=False, box=False))
    for face in faces:
        x0, y0, x1, y1 = face.box.astype(int).tolist()
        assert not labels[y0 : y1 + 1, x0 : x1 + 1].any()
    alone = [changed(empty, draw(empty, [face], landmarks=False, lines=False, box=False)).sum() for face in faces]
    assert labels.sum() <= sum(alone)
    if gap >= 30:
        assert labels.sum() == sum(alone), "there is room for all, and none covers another"
    assert labels.any()


def test_a_face_that_leaves_no_room_has_no_label(grey: Image) -> None:
    face = face_at(grid(9, 9, step=60, x=-100, y=-100))
    np.testing.assert_array_equal(draw(grey, [face], landmarks=False, lines=False, box=False), grey)


def test_a_larger_face_has_larger_dots(grey: Image) -> None:
    small = draw(grey, [face_at(grid(2, 2, step=30))], box=False, label=False)
    large = draw(grey, [face_at(grid(2, 2, step=190))], box=False, label=False)
    assert changed(grey, large).sum() > 2 * changed(grey, small).sum()


def test_a_face_half_outside_is_drawn_inside(grey: Image) -> None:
    points = grid(17, 4, step=30, x=-200, y=-30)
    drawn = draw(grey, [face_at(points)])
    inside = points[(points >= 0).all(axis=1) & (points < (320, 240)).all(axis=1)].astype(int)
    touched = changed(grey, drawn)
    assert len(inside) > 10
    assert touched[inside[:, 1], inside[:, 0]].all()


@pytest.mark.parametrize("wild", [np.nan, np.inf, -np.inf, 1e9, -1e30])
def test_a_wild_point_does_not_spoil_the_others(grey: Image, wild: float) -> None:
    points = grid(17, 4, step=16)
    face = face_at(points)
    spoilt = points.copy()
    spoilt[:17] = wild
    drawn = draw(grey, [Face(1, face.box, 0.9, spoilt, face.confidence)], box=False, label=False)
    touched = changed(grey, drawn)
    assert touched[points[17:, 1].astype(int), points[17:, 0].astype(int)].all()


def test_a_box_that_is_not_finite_is_left_out(grey: Image) -> None:
    points = grid(7, 4)
    face = Face(1, np.full(4, np.nan, np.float32), 0.9, points, np.ones(28, np.float32))
    assert changed(grey, draw(grey, [face]))[40, 30]


def test_the_smallest_image_can_be_drawn_into() -> None:
    assert draw(np.zeros((1, 1, 3), np.uint8), [face_at(grid(17, 4))]).shape == (1, 1, 3)


def test_identities_have_colours_that_stay_and_differ() -> None:
    colours = [colour_of(identity) for identity in range(1, 13)]
    assert colours == [colour_of(identity) for identity in range(1, 13)]
    apart = [np.abs(np.subtract(a, b)).max() for i, a in enumerate(colours) for b in colours[:i]]
    assert min(apart) >= 20


def test_the_drawing_has_the_order_of_the_colours_of_the_image(grey: Image) -> None:
    grey[:100, :, 0] = 200
    faces = [face_at(grid(7, 4), number=5)]
    np.testing.assert_array_equal(draw(grey[..., ::-1], faces, channels="rgb"), draw(grey, faces)[..., ::-1])


def test_a_grey_image_is_drawn_on_in_colour(grey: Image) -> None:
    faces = [face_at(grid(7, 4), number=5)]
    np.testing.assert_array_equal(draw(grey[..., 0], faces), draw(grey, faces))


@pytest.mark.parametrize("image", [np.full((4, 4, 3), 2.0), np.zeros((5, 5, 2), np.uint8), None, "x.png"])
def test_what_is_not_an_image_is_refused(image):
    with pytest.raises(NasionError, match=r"^the image (is|has) "):
        nasion.draw(image, [])


@pytest.mark.parametrize("faces", [None, 3, [None], ["face"]])
def test_what_is_not_a_list_of_faces_is_refused(faces):
    with pytest.raises(NasionError, match=r"give a list of nasion\.Face"):
        nasion.draw(np.zeros((4, 4, 3), np.uint8), faces)
