"""Reference faces: the neutral one, the most alike, and worse copies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from nasion.engines.spec import Spec
from nasion.realtime.values.arrays import FloatArray
from nasion.trainers.data import DataError, LandmarkSet
from nasion.trainers.data.augment import Augmentation
from nasion.trainers.data.samples import FaceItem, FaceSamples
from nasion.trainers.evaluation.references import (
    PairedSamples,
    ReferenceStudy,
    SiftIndex,
    coarser,
    grey_crop,
    neutral_face,
)

from ...support.data_sets.labelled import background, cartoon, face_shape

SPEC = Spec(task="landmarks", name="x", size=(64, 64), landmarks=68, crop_margin=1.25)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> LandmarkSet:
    folder, rng = tmp_path_factory.mktemp("faces"), np.random.default_rng(4)
    files, points = [], []
    for i in range(6):
        image, where = cartoon(rng, 96)
        files.append(folder / f"{i}.png")
        cv2.imwrite(str(files[-1]), image)
        points.append(where)
    return LandmarkSet("300w", tuple(files), np.stack(points).astype(np.float32), np.zeros(6, np.float32))


# --- the neutral face


def shapes(landmarks: int = 68) -> FloatArray:
    """Faces turned to the left and to the right, none looking ahead but the fourth."""
    face, rng = face_shape(landmarks) - 0.5, np.random.default_rng(0)
    points = []
    for turn in (-0.6, 0.5, 0.7, 0.0, -0.5):
        x = face[:, 0] * np.cos(turn) + 0.8 * np.sin(turn) * (0.5 - np.abs(face[:, 0]))
        y = face[:, 1] + rng.normal(0, 0.01, landmarks)
        points.append(np.stack([x, y], axis=1) * rng.uniform(40, 90) + rng.uniform(50, 90, 2))
    return np.stack(points).astype(np.float32)


def shape_set(points: FloatArray, visible: FloatArray | None = None) -> LandmarkSet:
    files = tuple(Path(f"{i}.png") for i in range(len(points)))
    return LandmarkSet("shapes", files, points, np.zeros(len(points), np.float32), visible)


@pytest.mark.parametrize("landmarks", [19, 29, 68, 98])
def test_the_neutral_face_looks_ahead(landmarks: int) -> None:
    assert neutral_face(shape_set(shapes(landmarks))) == 3


def turned(points: FloatArray, angle: float) -> FloatArray:
    cos, sin = np.cos(angle), np.sin(angle)
    around: FloatArray = (points @ np.array([[cos, sin], [-sin, cos]])).astype(np.float32)
    return around


def test_a_neutral_face_is_upright_if_there_is_an_upright_one() -> None:
    points = shapes()
    tilted = np.concatenate([turned(points[3:4], 0.5), points])
    assert neutral_face(shape_set(tilted)) == 4
    assert neutral_face(shape_set(np.stack([turned(face, 0.5) for face in points]))) == 3


def test_a_neutral_face_is_wholly_visible_and_annotated() -> None:
    points = np.concatenate([shapes()[3:4], shapes()[3:4], shapes()])
    points[0, 8] = np.nan
    visible = np.ones(points.shape[:2], np.float32)
    visible[1, 30] = 0
    assert neutral_face(shape_set(points, visible)) == 5


def test_a_set_without_a_whole_face_has_no_neutral_one() -> None:
    points = shapes()
    points[:, 0] = np.nan
    with pytest.raises(DataError, match="shapes: no face has all its landmarks annotated, so none can be RHT's"):
        neutral_face(shape_set(points))


# --- pairs


def test_a_pair_is_the_same_whoever_draws_it_and_when(faces: LandmarkSet) -> None:
    strong = Augmentation(rotation=30, flip=0.5)
    first, second = (PairedSamples(FaceSamples(faces, SPEC, strong, seed=3)) for _ in range(2))
    second[40]
    a, b = first[11], second[11]
    assert torch.equal(a["image"], b["image"])
    assert torch.equal(a["reference"]["image"], b["reference"]["image"])


def test_references_are_plain_crops_of_all_faces(faces: LandmarkSet) -> None:
    samples = FaceSamples(faces, SPEC, Augmentation(rotation=30, flip=0.5))
    plain = [samples.crop(i)["points"] for i in range(len(faces))]
    drawn = [PairedSamples(samples)[i]["reference"]["points"] for i in range(60)]
    found = {next(k for k, points in enumerate(plain) if torch.equal(points, each)) for each in drawn}
    assert found == set(range(len(faces)))


# --- SIFT


def test_the_most_alike_is_the_same_image_darker_and_the_least_alike_is_empty() -> None:
    rng = np.random.default_rng(2)
    images = [cv2.cvtColor(background(rng, 128), cv2.COLOR_BGR2GRAY).astype(np.uint8) for _ in range(4)]
    for i, image in enumerate(images):
        cv2.putText(image, f"{i}A{i}B", (8, 80), cv2.FONT_HERSHEY_SIMPLEX, 1.4, 255, 3)
    index = SiftIndex([*images, np.zeros((128, 128), np.uint8)])
    for i, image in enumerate(images):
        likeness = index.likeness((image * 0.7 + 10).astype(np.uint8))
        assert int(likeness.argmax()) == i
        assert int(likeness.argmin()) == 4
        assert likeness[i] > 2 * np.delete(likeness, i).max()


def test_a_crop_for_sift_is_grey_and_of_128_pixels(faces: LandmarkSet) -> None:
    samples = FaceSamples(faces, replace(SPEC, mean=(100.0, 90.0, 80.0), std=(50.0, 60.0, 70.0)), Augmentation())
    grey = grey_crop(samples, 0)
    plain = FaceSamples(faces, SPEC, Augmentation()).crop(0)["image"].mean(dim=0).numpy() * 255
    assert (grey.shape, grey.dtype) == ((128, 128), np.uint8)
    np.testing.assert_allclose(cv2.resize(grey, (64, 64), interpolation=cv2.INTER_AREA), plain, atol=12)


def test_a_coarser_image_keeps_its_size_and_its_mean_but_not_its_detail() -> None:
    fine = torch.tensor([0.0, 1.0]).repeat(16)[None, None, None].expand(1, 3, 32, 32)
    coarse = coarser(fine, 2)
    assert coarse.shape == fine.shape
    torch.testing.assert_close(coarse.mean(), fine.mean())
    assert coarse.std() < 0.2 * fine.std()


def test_the_study_asks_for_each_kind_of_reference(faces: LandmarkSet) -> None:
    plain = FaceSamples(faces, SPEC, Augmentation())
    asked: list[tuple[int, Tensor]] = []

    def find(images: Tensor, others: FaceItem, coarse: int) -> Tensor:
        asked.append((coarse, others["points"]))
        return others["points"]  # as if each face were its reference

    study = ReferenceStudy(plain, plain, 2, random=3)
    figures = study.figures(find)
    assert list(figures) == ["nme_best", "nme_best_half", "nme_best_quarter", "nme_neutral", "nme_random", "nme_least"]
    assert figures["nme_best"] == 0  # among themselves, each face is most like itself
    assert [coarse for coarse, _ in asked] == [1, 2, 4, 1, 1, 1, 1, 1]
    assert torch.equal(asked[3][1], plain.crop(2)["points"].expand(6, -1, -1))
