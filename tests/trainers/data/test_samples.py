from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from nasion.engines.spec import Spec
from nasion.realtime.values.geometry import Region, transform
from nasion.realtime.values.published_schemes import IBUG_68
from nasion.trainers.data import LandmarkSet, augment
from nasion.trainers.data.augment import CHS_CHANGES, Augmentation
from nasion.trainers.data.samples import FaceSamples, predict_points, validate_points
from nasion.trainers.learner import Learner

from ...support.data_sets.labelled import cartoon

SPEC = Spec(task="landmarks", name="x", size=(64, 64), landmarks=68, crop_margin=1.3)
STRONG = Augmentation(rotation=30, scale=(0.8, 1.2), shift=0.1, flip=0.5)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> LandmarkSet:
    """Seven cartoons; the second lacks the points of its left eye, the third has an occluded chin."""
    folder, rng = tmp_path_factory.mktemp("faces"), np.random.default_rng(4)
    files, points = [], []
    for i in range(7):
        image, where = cartoon(rng, 96)
        files.append(folder / f"{i}.png")
        cv2.imwrite(str(files[-1]), image)
        points.append(where)
    marked = np.stack(points).astype(np.float32)
    marked[1, 36:42] = np.nan
    visible = np.ones((7, 68), np.float32)
    visible[2, 8], visible[1, 36:42] = 0, np.nan
    return LandmarkSet("300w", tuple(files), marked, np.zeros(7, np.float32), visible)


def test_a_sample_is_the_same_whoever_draws_it_and_when(faces: LandmarkSet) -> None:
    first, second = FaceSamples(faces, SPEC, STRONG, seed=3), FaceSamples(faces, SPEC, STRONG, seed=3)
    second[40]
    assert all(torch.equal(a, b) for a, b in zip(first[11].values(), second[11].values(), strict=True))
    other = FaceSamples(faces, SPEC, STRONG, seed=4)
    assert not torch.equal(first[11]["image"], other[11]["image"])


def test_every_pass_shows_each_face_once_in_an_order_of_its_own(faces: LandmarkSet) -> None:
    samples = FaceSamples(faces, SPEC, Augmentation())
    passes = [[samples.face(7 * k + i) for i in range(7)] for k in range(6)]
    assert all(sorted(order) == list(range(7)) for order in passes)
    assert len({tuple(order) for order in passes}) > 3


def test_a_plain_crop_is_the_square_around_the_points(faces: LandmarkSet) -> None:
    points = FaceSamples(faces, SPEC, STRONG).crop(0)["points"]
    low, high = points.amin(dim=0), points.amax(dim=0)
    assert float((high - low).max()) == pytest.approx(64 / 1.3, rel=1e-3)
    torch.testing.assert_close((low + high) / 2, torch.full((2,), 31.5), atol=1e-3, rtol=0)


def test_points_stay_on_their_features_however_the_crop_is_changed(faces: LandmarkSet) -> None:
    """The lips of a cartoon are red: so is the crop half-way between the middles of the upper and the lower one."""
    samples = FaceSamples(faces, SPEC, STRONG)
    for i in range(40):
        item = samples[i]
        x, y = (int(v) for v in item["points"][[51, 57]].mean(dim=0).round())
        red, green, _ = item["image"][:, y, x]
        assert red - green > 0.3


def test_a_mirrored_face_is_renumbered(faces: LandmarkSet) -> None:
    plain, mirrored = (FaceSamples(faces, SPEC, Augmentation(flip=share))[0] for share in (0.0, 1.0))
    torch.testing.assert_close(plain["image"].flip(2), mirrored["image"], atol=0.02, rtol=0)
    expected = plain["points"][list(IBUG_68.flip)] * torch.tensor([-1.0, 1.0]) + torch.tensor([63.0, 0])
    torch.testing.assert_close(mirrored["points"], expected, atol=1e-3, rtol=0)


def test_what_is_not_annotated_is_not_known_and_what_is_occluded_not_visible(faces: LandmarkSet) -> None:
    samples = FaceSamples(faces, SPEC, Augmentation(flip=1.0))
    rng = np.random.default_rng(0)
    half, chin = samples.draw(rng, 1), samples.draw(rng, 2)
    assert set(np.flatnonzero(half["known"] == 0)) == set(range(42, 48)), "the left eye, seen from the other side"
    assert half["visible"].min() == 1
    assert bool(torch.isfinite(half["points"]).all())
    assert np.flatnonzero(chin["visible"] == 0).tolist() == [8]


def test_images_are_normalised_as_the_spec_says(faces: LandmarkSet) -> None:
    bgr = Spec("landmarks", "x", (64, 64), "bgr", (10, 20, 30), (2, 4, 8), landmarks=68, crop_margin=1.3)
    plain, ours = (FaceSamples(faces, spec, Augmentation()).crop(0)["image"] for spec in (SPEC, bgr))
    levels = (plain * 255).flip(0)
    expected = (levels - torch.tensor([10.0, 20, 30])[:, None, None]) / torch.tensor([2.0, 4, 8])[:, None, None]
    torch.testing.assert_close(ours, expected, atol=1e-3, rtol=0)


def test_geometry_stays_within_what_was_asked() -> None:
    augmentation, region = Augmentation(rotation=30, scale=(0.8, 1.25), shift=0.1), Region(50, 40, 32.0)
    angles, sizes, shifts = [], [], []
    for k in range(300):
        mirrored, matrix = augmentation.place(np.random.default_rng(k), region, 64)
        assert not mirrored
        angles.append(np.degrees(np.arctan2(matrix[0, 1], matrix[0, 0])))
        sizes.append(np.hypot(matrix[0, 0], matrix[0, 1]) * 32 / 64)
        shifts.append((transform(np.array([50, 40], np.float32), matrix) - 31.5) / 64 / sizes[-1])
    assert 25 < np.abs(angles).max() <= 30.001
    assert 0.8 <= min(sizes) < 0.85
    assert 1.2 < max(sizes) <= 1.25
    assert np.abs(shifts).max() <= 0.1 * 2**0.5 + 1e-4, "as part of the plain crop's side"


def test_only_a_share_is_turned_where_only_a_share_is_asked_for() -> None:
    augmentation = Augmentation(rotation=30, rotation_share=0.6)
    turned = [augmentation.place(np.random.default_rng(k), Region(0, 0, 10), 10)[1][0, 1] != 0 for k in range(300)]
    assert 0.5 < np.mean(turned) < 0.7


def test_without_anything_asked_for_nothing_changes(rng: np.random.Generator) -> None:
    image, _ = cartoon(rng, 64)
    assert (Augmentation().appearance(rng, image) == image).all()
    mirrored, matrix = Augmentation().place(rng, Region(3, 4, 10), 20)
    assert not mirrored
    np.testing.assert_array_equal(matrix, Region(3, 4, 10).to_crop(20))


def test_an_occlusion_covers_the_part_that_was_asked_for(rng: np.random.Generator) -> None:
    parts = []
    for _ in range(100):
        image = np.full((60, 80, 3), 7, np.uint8)
        covered = (augment.erase(rng, image, area=(0.1, 0.3)) != 7).any(axis=2).mean()
        parts.append(covered)
        assert (image == 7).all()
    assert 0.08 < min(parts) < 0.15
    assert 0.25 < max(parts) < 0.33


def test_appearance_changes_as_often_as_asked(rng: np.random.Generator) -> None:
    image, _ = cartoon(rng, 48)
    half = Augmentation(grey=0.5)
    greys = [len(np.unique(np.ptp(half.appearance(rng, image).astype(int), axis=2))) == 1 for _ in range(100)]
    assert 30 < sum(greys) < 70
    blurred = Augmentation(blur=1.0).appearance(rng, image)
    assert cv2.Laplacian(blurred, cv2.CV_32F).var() < cv2.Laplacian(image, cv2.CV_32F).var()
    assert (Augmentation(occlusion_share=1.0, occlusion_area=(0.2, 0.3)).appearance(rng, image) != image).any()


@pytest.mark.parametrize("look", CHS_CHANGES[:-1])
def test_every_look_keeps_shape_and_type_and_changes_the_image(look: augment.Change) -> None:
    image, _ = cartoon(np.random.default_rng(1), 64)
    before = image.copy()
    out = look(np.random.default_rng(2), image)
    assert (out.shape, out.dtype) == (image.shape, np.uint8)
    assert (out != before).any()
    assert (image == before).all()


def test_one_look_is_drawn_for_each_crop(rng: np.random.Generator) -> None:
    seen: list[int] = []
    changes = tuple(lambda _, image, k=k: (seen.append(k), image)[1] for k in range(3))
    augmentation = Augmentation(changes=changes)
    for _ in range(60):
        augmentation.appearance(rng, np.zeros((4, 4, 3), np.uint8))
    assert len(seen) == 60
    assert set(seen) == {0, 1, 2}
    assert len(CHS_CHANGES) == 9


class Oracle(Learner):
    """Knows where the points of the plain crops are, but for a shift to the right."""

    def __init__(self, faces: LandmarkSet, shift: float) -> None:
        super().__init__()
        self.spec, self.shift = SPEC, torch.nn.Parameter(torch.tensor([shift, 0.0]))
        samples = FaceSamples(faces, SPEC, Augmentation())
        self.known = [samples.crop(i) for i in range(len(faces))]

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        which = [next(i for i, item in enumerate(self.known) if torch.equal(item["image"], each)) for each in images]
        return {"points": torch.stack([self.known[i]["points"] for i in which]) + self.shift}


def test_validation_divides_by_the_distance_of_the_outer_eye_corners(faces: LandmarkSet) -> None:
    held = faces.pick([0, 2, 3])
    crops = [FaceSamples(held, SPEC, Augmentation()).crop(i)["points"] for i in range(3)]
    inverse = float(np.mean([1 / float((crop[36] - crop[45]).norm()) for crop in crops]))
    figures = validate_points(Oracle(held, 0.05 / inverse), held, SPEC)
    assert figures == {"nme": pytest.approx(0.05, abs=1e-4), "fr": 0.0}
    assert validate_points(Oracle(held, 0.5 / inverse), held, SPEC)["fr"] == 1.0


def test_validation_divides_by_the_box_where_eyes_are_not_all_annotated(faces: LandmarkSet) -> None:
    found, truth = predict_points(Oracle(faces, 0.0), FaceSamples(faces, SPEC, Augmentation()), batch=3)
    assert found.shape == truth.shape == (7, 68, 2)
    assert np.isnan(truth[1, 36:42]).all()
    extent = np.nanmax(truth, axis=1) - np.nanmin(truth, axis=1)
    size = float(np.mean(1 / np.sqrt(extent.prod(axis=1))))
    assert validate_points(Oracle(faces, 2.0), faces, SPEC)["nme"] == pytest.approx(2 * size, abs=1e-4)


@pytest.mark.parametrize("size", [1.0, 0.0])
def test_validation_of_aflw_divides_by_the_box_though_all_corners_are_annotated(
    tmp_path: Path, rng: np.random.Generator, size: float
) -> None:
    """In profile, ``size`` 0, the corners fall together: no error is infinite for that."""
    cv2.imwrite(str(tmp_path / "a.png"), rng.integers(0, 256, (96, 96, 3), np.uint8))
    points = rng.uniform(20, 76, (1, 19, 2)).astype(np.float32)
    points[0, 11] = points[0, 6] + size * (points[0, 11] - points[0, 6])
    held = LandmarkSet("aflw", (tmp_path / "a.png",), points, np.zeros(1, np.float32))
    crop = FaceSamples(held, SPEC, Augmentation()).crop(0)["points"]
    box = float((crop.amax(dim=0) - crop.amin(dim=0)).prod().sqrt())
    assert validate_points(Oracle(held, 0.05 * box), held, SPEC)["nme"] == pytest.approx(0.05, abs=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_a_motion_blur_is_the_mean_along_a_line(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8), (0, 0), 2)
    dot = np.zeros((31, 31, 3), np.uint8)
    dot[15, 15] = 255
    kernel = augment.motion_blur(np.random.default_rng(seed), dot)[..., 0].astype(np.float32)
    blurred = augment.motion_blur(np.random.default_rng(seed), image).astype(int)
    expected = cv2.filter2D(image, -1, np.flip(kernel) / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)
    inner = np.s_[8:-8, 8:-8]
    assert 3 <= np.count_nonzero(kernel) <= 13
    assert abs(blurred - expected)[inner].max() <= 2


def test_light_comes_from_one_side() -> None:
    image = np.full((60, 80, 3), 100, np.uint8)
    for seed in range(8):
        lit = augment.lighting(np.random.default_rng(seed), image)[..., 0].astype(int)
        ends = [lit[0, 0], lit[0, -1], lit[-1, 0], lit[-1, -1]]
        assert max(ends) > 105
        assert min(ends) < 95
        assert 38 <= lit.min() < lit.max() <= 162
        assert abs(np.diff(lit, axis=0)).max() <= 4
        assert abs(np.diff(lit, axis=1)).max() <= 4
