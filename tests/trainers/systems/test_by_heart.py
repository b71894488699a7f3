"""The eight cartoons differ so much that only a network that sees them can know their landmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nasion.realtime.values.scheme import LandmarkScheme
from nasion.realtime.values.schemes import USUAL

from ...support.data_sets.labelled import Look, cartoon, face_shape, some_look
from ...support.training.by_heart import assert_learned, blind_error, distance, eight_faces

every_scheme = pytest.mark.parametrize("scheme", USUAL.values(), ids=lambda scheme: scheme.name)


@every_scheme
def test_a_look_is_the_same_face_in_all_schemes(scheme: LandmarkScheme) -> None:
    look = some_look(np.random.default_rng(0))
    ours, dense = face_shape(scheme.count, look), face_shape(98, look)
    corners = dense[list(USUAL[98].outer_corners)]
    np.testing.assert_allclose(ours[list(scheme.outer_corners)], corners, atol=1e-5)
    mouth = dense[[76, 82]]  # its corners
    assert np.linalg.norm(ours[:, None] - mouth, axis=2).min(axis=0).max() < 1e-5
    assert np.linalg.norm(ours - dense[16], axis=1).min() < 1e-5, "the chin"


@pytest.mark.parametrize("value", Look.__dataclass_fields__)
def test_every_value_of_a_look_changes_the_face_and_keeps_its_parts_apart(value: str) -> None:
    plain = face_shape()
    for amount in (-1.0, 1.0):
        changed = face_shape(68, Look(**{value: amount}))
        assert np.linalg.norm(changed - plain, axis=1).max() > 0.02
        nose, mouth, chin = changed[33], changed[51], changed[8]
        assert nose[1] < mouth[1] < changed[57, 1] < chin[1]
    assert np.array_equal(face_shape(68, Look()), plain)


def test_a_generator_draws_the_same_cartoon_again_and_then_another_one() -> None:
    rng = np.random.default_rng(3)
    (image, points), (again, same), (_, other) = (cartoon(each, 64) for each in (rng, np.random.default_rng(3), rng))
    assert np.array_equal(image, again)
    assert np.array_equal(points, same)
    size, others = (np.ptp(each, axis=0).max() for each in (points, other))
    assert np.linalg.norm((points - points.mean(0)) / size - (other - other.mean(0)) / others, axis=1).mean() > 0.03


@every_scheme
def test_eight_faces_lie_in_their_images_and_far_from_any_constant_answer(
    scheme: LandmarkScheme, tmp_path: Path
) -> None:
    faces = eight_faces(tmp_path, landmarks=scheme.count)
    assert len({file.read_bytes() for file in faces.files}) == 8
    assert faces.points.min() >= 0
    assert faces.points.max() < 96
    low, high = faces.points.min(axis=1, keepdims=True), faces.points.max(axis=1, keepdims=True)
    boxed = (faces.points - (low + high) / 2) / (high - low).max(axis=2, keepdims=True)
    assert blind_error(torch.from_numpy(boxed)) > 0.1, "of the face's size"


def test_no_constant_answer_is_better_than_the_blind_one() -> None:
    points = torch.rand(8, 5, 2, generator=torch.Generator().manual_seed(0))
    blind = blind_error(points)
    assert blind <= distance(points.mean(dim=0), points)
    assert all(blind <= distance(points.median(dim=0).values + 0.01 * torch.randn(5, 2), points) for _ in range(50))


def test_what_was_answered_in_ignorance_is_not_learned() -> None:
    points = 20 * torch.rand(8, 5, 2, generator=torch.Generator().manual_seed(0))
    assert_learned(points + 0.5, points, within=1)
    with pytest.raises(AssertionError, match=r"pixels; a constant answer errs by"):
        assert_learned(points.mean(dim=0).expand_as(points), points, within=1)
    with pytest.raises(AssertionError, match="a bound of 4 proves nothing"):
        assert_learned(points, points, within=4)
    with pytest.raises(AssertionError, match="proves nothing"):
        assert_learned(points[:1].expand(8, -1, -1), points[:1].expand(8, -1, -1), within=1)
