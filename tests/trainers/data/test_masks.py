"""Synthetic masks: where they sit, what they leave as it is, and faces in them measured."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from nasion.engines.spec import Spec
from nasion.realtime.values.arrays import FloatArray
from nasion.realtime.values.published_schemes import IBUG_68
from nasion.realtime.values.schemes import scheme_of
from nasion.tools.commands.evaluate_papers import evaluate_papers
from nasion.trainers.data import LandmarkSet
from nasion.trainers.data.augment import Augmentation
from nasion.trainers.data.masks import MaskedSamples, face_images, masked_part, paint_mask
from nasion.trainers.data.samples import FaceSamples

from ...support.data_sets.labelled import face_shape, write_data
from ...support.model_files.trained import write_checkpoint
from ...support.training.by_heart import eight_faces

SPEC = Spec(task="landmarks", name="x", size=(64, 64), landmarks=68, crop_margin=1.25)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> LandmarkSet:
    return eight_faces(tmp_path_factory.mktemp("faces"))


def test_a_mask_covers_mouth_and_chin_and_leaves_the_eyes() -> None:
    points = face_shape() * 50 + 7
    outline = masked_part(points, IBUG_68)
    assert outline is not None

    def inside(point: FloatArray) -> bool:
        return cv2.pointPolygonTest(outline, (float(point[0]), float(point[1])), False) > 0

    assert all(inside(points[i]) for i in (*range(5, 12), *range(31, 36), *range(48, 68)))
    assert not any(inside(points[i]) for i in (*range(17, 28), *range(36, 48)))


@pytest.mark.parametrize("landmarks", [19, 21, 29, 98, 106])
def test_every_scheme_can_wear_a_mask(landmarks: int) -> None:
    scheme, points = scheme_of(landmarks), face_shape(landmarks) * 50 + 7
    assert scheme is not None
    outline = masked_part(points, scheme)
    assert outline is not None
    mouth = points[list(scheme.mouth)].mean(axis=0)
    assert cv2.pointPolygonTest(outline, (float(mouth[0]), float(mouth[1])), False) > 0


def test_a_mask_changes_the_lower_face_only_and_no_annotation(faces: LandmarkSet) -> None:
    bare, masked = (kind(faces, SPEC, Augmentation()).crop(1) for kind in (FaceSamples, MaskedSamples))
    assert torch.equal(bare["points"], masked["points"])
    assert torch.equal(bare["visible"], masked["visible"])
    changed = (bare["image"] != masked["image"]).any(dim=0)
    for part, covered in ((slice(17, 27), False), (slice(36, 48), False), (slice(48, 68), True), (slice(6, 11), True)):
        x, y = bare["points"][part].round().int().T  # brows, eyes, mouth, chin
        assert bool((changed[y, x] == covered).all()), part
    assert torch.equal(masked["image"], MaskedSamples(faces, SPEC, Augmentation()).crop(1)["image"])


def test_a_face_without_a_marked_mouth_wears_no_mask(faces: LandmarkSet) -> None:
    image, points = FaceSamples(faces, SPEC, Augmentation()).cut(0)
    points[50] = np.nan
    assert np.array_equal(paint_mask(image, points, IBUG_68, np.random.default_rng(0)), image)


def test_whole_images_wear_the_mask_on_the_face_always_the_same_one(faces: LandmarkSet) -> None:
    bare, masked, again = (list(face_images(faces, masks=masks)) for masks in (False, True, True))
    for before, after, twice, points in zip(bare, masked, again, faces.points, strict=True):
        assert np.array_equal(after, twice)
        changed = (before != after).any(axis=2)
        for part, covered in ((slice(36, 48), False), (slice(60, 68), True)):  # eyes, lips
            x, y = points[part].round().astype(int).T
            assert (changed[y, x] == covered).all()
        rows = np.flatnonzero(changed.any(axis=1))
        assert after[rows[-1]][changed[rows[-1]]].mean() < after[rows[0]][changed[rows[0]]].mean(), "darker at the chin"


@pytest.mark.parametrize(
    ("recipe", "detector"), [("rdfn", None), ("rdfn", "own"), (None, None), (None, "face-detector")]
)
def test_faces_are_measured_in_masks_whatever_finds_them(
    recipe: str | None, detector: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, report = write_data(tmp_path / "data"), tmp_path / "r.json"
    model = "landmarks-68" if recipe is None else str(write_checkpoint(tmp_path / "run", recipe))
    errors = []
    for masks, name in ((False, "300w"), (True, "300w in masks")):
        evaluate_papers(
            ["300w"],
            data=data,
            model=[model],
            detector=detector,
            masks=masks,
            json=report,
            force=True,
            device="cpu",
        )
        assert f"\n{name}, test part, 13 faces" in capsys.readouterr().out
        written = json.loads(report.read_text())
        assert ("--masks" in written["command"]) == masks
        errors.append(written["measured"][name]["norms"]["box"]["all"]["nme"]["mean"])
    # an untrained network that finds faces itself may find none
    assert errors[0] != errors[1] or (detector == "own" and errors == [None, None])
    assert written["measured"]["300w in masks"]["published"] == []  # papers print other faces
