"""Sampling, targets and learning of the detector and the landmark network, on cartoons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from nasion.realtime.values.geometry import Region, region_of_points, transform, warp
from nasion.realtime.values.published_schemes import IBUG_68
from nasion.trainers import checkpoint
from nasion.trainers.checkpoint import TrainingError
from nasion.trainers.data import TrainingData, augment
from nasion.trainers.networks.blocks import spatial_moments
from nasion.trainers.networks.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from nasion.trainers.networks.face_detector import DetectorConfig, FaceDetector
from nasion.trainers.systems import Options, recipe_named
from nasion.trainers.systems.shipped.alignment import HeldOut, WithCorrection, validate_alignment
from nasion.trainers.systems.shipped.alignment_samples import AlignmentSamples, collate_crops
from nasion.trainers.systems.shipped.detection import (
    DetectorLearner,
    assign,
    detection_losses,
    grid_of,
    validate_detector,
)
from nasion.trainers.systems.shipped.detection_samples import DetectionSamples, _mask, _pasted, collate
from nasion.trainers.systems.shipped.recipes import DETECTOR_SPEC, landmark_spec
from nasion.trainers.training.loop import Optimiser, Schedule, train

from ...support.data_sets.labelled import cartoon, face_shape, write_data
from ...support.training.by_heart import assert_learned, blind_error

CPU = torch.device("cpu")
SPEC = landmark_spec("landmarks-68", 112)
QUICK = Schedule(steps=80, batch=8, optimisers=(Optimiser(learning_rate=5e-3, warmup=10),), ema=0.9, clip=5.0)


def tiny_aligner(*widths: int) -> WithCorrection:
    config = EncoderDecoderConfig(widths=widths or (8, 8, 8, 8, 8))  # type: ignore[arg-type]
    return WithCorrection(EncoderDecoder(config), SPEC)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def alignment(data: Path) -> tuple[TrainingData, TrainingData]:
    return TrainingData.read(data)


@pytest.fixture(scope="module")
def detection(data: Path) -> tuple[TrainingData, TrainingData]:
    return TrainingData.read(data)


def test_the_cartoon_face_is_its_own_mirror_image() -> None:
    mirrored = face_shape()[list(IBUG_68.flip)] * [-1, 1] + [1, 0]
    np.testing.assert_allclose(mirrored, face_shape(), atol=1e-6)


def test_training_and_validation_share_no_image(alignment: tuple[TrainingData, TrainingData]) -> None:
    training, held = alignment
    for ours, theirs in zip(training.faces, held.faces, strict=True):
        assert not set(ours.files) & set(theirs.files)
    assert not set(training.negatives) & set(held.negatives)


def test_no_test_image_is_ever_drawn(alignment: tuple[TrainingData, TrainingData]) -> None:
    samples = AlignmentSamples(alignment[0], SPEC)
    for i in range(60):
        samples[i]
    assert samples._decoded
    assert not [file for file in samples._decoded if "test" in str(file.parent.name)]


def test_a_sample_is_the_same_whenever_it_is_drawn(
    alignment: tuple[TrainingData, TrainingData], detection: tuple[TrainingData, TrainingData]
) -> None:
    for make in (
        lambda: AlignmentSamples(alignment[0], SPEC),
        lambda: DetectionSamples(detection[0], size=96),
    ):
        first, second = make(), make()
        second[3]
        a, b = first[17], second[17]
        pairs = zip(a.values(), b.values(), strict=True) if isinstance(a, dict) else zip(a, b, strict=True)
        assert all(torch.equal(x, y) for x, y in pairs)


def test_labelled_points_stay_on_their_features(alignment: tuple[TrainingData, TrainingData]) -> None:
    """The lips of a cartoon are red: the crop must be red where the label says that the lower lip is."""
    samples = AlignmentSamples(alignment[0], SPEC)
    redness = []
    for i in range(200):
        item = samples[i]
        if item["known"].min() <= 0:
            continue
        x, y = (int(v) for v in item["points"][[51, 57]].mean(dim=0).round())
        if 4 < x < 108 and 4 < y < 108:
            red, _, blue = item["image"][y, x].float() / 255
            redness.append(float(red - blue))
    assert len(redness) > 40
    assert np.mean(np.array(redness) > 0.02) > 0.6  # the rest is grey, dark, covered or blurred


def test_negatives_have_no_points_and_no_presence(
    alignment: tuple[TrainingData, TrainingData],
) -> None:
    samples = AlignmentSamples(alignment[0], SPEC)
    items = [samples[i] for i in range(120)]
    faceless = [item for item in items if item["presence"] == 0]
    assert 4 < len(faceless) < 40
    assert all(item["known"].sum() == 0 for item in faceless)


def test_a_learned_correction_is_mirror_symmetric() -> None:
    model = tiny_aligner()
    torch.nn.init.normal_(model.offset)
    offset = model.correction()
    torch.testing.assert_close(offset[:, list(IBUG_68.flip)] * torch.tensor([-1.0, 1.0]), offset)


def test_the_crop_jitter_keeps_most_of_the_face_in_sight() -> None:
    rng, points = np.random.default_rng(0), face_shape() * 100
    inside = []
    for _ in range(200):
        region = augment.jitter_region(rng, points, margin=1.35)
        moved = transform(points, region.to_crop(112))
        inside.append(((moved > -0.5) & (moved < 111.5)).all(axis=1).mean())
    assert np.mean(inside) > 0.93
    exact = region_of_points(points, margin=1.35)
    assert isinstance(exact, Region)
    assert exact.side == pytest.approx(135, rel=0.01)


@pytest.mark.parametrize(
    "change",
    [
        augment.colour,
        augment.soft_blur,
        augment.motion_blur,
        augment.compress,
        augment.lower_resolution,
        augment.noise,
        augment.occlude,
        augment.cut_off,
    ],
)
def test_every_look_keeps_shape_and_type_and_changes_the_image(change) -> None:  # type: ignore[no-untyped-def]
    image, _ = cartoon(np.random.default_rng(1), 96)
    before = image.copy()
    out = change(np.random.default_rng(2), image)
    assert out.shape == image.shape
    assert out.dtype == np.uint8
    assert (out != before).any()
    assert (image == before).all()


def test_boxes_lie_around_their_faces(detection: tuple[TrainingData, TrainingData]) -> None:
    samples = DetectionSamples(detection[0], size=128)
    drawn = [samples[i] for i in range(80)]
    with_face = [(image, boxes) for image, boxes, counts, _ in drawn if counts.sum()]
    assert len(with_face) > 40
    for image, boxes in with_face:
        assert image.shape == (128, 128, 3)
        assert ((boxes >= -0.5) & (boxes <= 127.5)).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert [1 for _, boxes, _, _ in drawn if not len(boxes)]


def test_cells_near_a_face_stand_for_it_and_no_others_do() -> None:
    centres, strides = grid_of(64, 64, CPU)
    truth = torch.tensor([[8.0, 8, 28, 32], [40.0, 40, 44, 45]])
    boxes = torch.cat([centres - 12, centres + 12], dim=1)
    index, quality = assign(boxes, torch.full((len(centres),), 0.1), truth, centres, strides)
    assert set(index.tolist()) == {-1, 0, 1}, "the face smaller than a cell has one too"
    near = centres[index == 0]
    assert ((near - torch.tensor([18.0, 20.0])).abs() < 14).all()
    assert (quality[index < 0] == 0).all()
    assert float(quality[index == 0].max()) > 0.5


def test_an_image_without_faces_still_teaches(detection: tuple[TrainingData, TrainingData]) -> None:
    model = FaceDetector(DetectorConfig((8, 8), (8, 8, 8), 8))
    batch = (torch.rand(2, 3, 64, 64), [torch.zeros(0, 4)] * 2, [torch.zeros(0)] * 2, [torch.zeros(0, 2)] * 2)
    parts = detection_losses(model, batch)
    assert float(parts["score"].detach()) > 0
    assert float(parts["box"].detach()) == 0


def test_the_detector_learns_cartoons(detection: tuple[TrainingData, TrainingData], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, samples = (
        FaceDetector(DetectorConfig((8, 12), (16, 16, 16), 16)),
        DetectionSamples(detection[0], size=96),
    )
    batch = collate([samples[i] for i in range(1000, 1016)])
    before = sum(float(part.detach()) for part in detection_losses(model, batch).values())
    learner = DetectorLearner(model, DETECTOR_SPEC)
    state = train(learner, samples, replace(QUICK, batch=6), tmp_path, collate=collate)
    after = sum(float(part.detach()) for part in detection_losses(model, batch).values())
    assert after < 0.8 * before
    figures = validate_detector(state.ema, DETECTOR_SPEC, detection[1])
    assert figures["average_precision"] == pytest.approx(1 - figures["missed_precision"], abs=1e-3)


@pytest.mark.parametrize("name", ["landmarks-68", "face-detector"])
def test_training_begins_with_the_weights_of_a_checkpoint_stored_as_float16(name: str, tmp_path: Path) -> None:
    recipe = recipe_named(name)
    trained = recipe.build(Options())
    weights = {key: v.half() if v.is_floating_point() else v for key, v in trained.state_dict().items()}
    file = tmp_path / "kept.pt"
    checkpoint.save({"average": weights, "description": {}, "step": 7, "figures": {}}, file)
    begun = recipe.build(Options(start=file))
    for key, value in begun.state_dict().items():
        assert value.dtype == trained.state_dict()[key].dtype
        torch.testing.assert_close(value, trained.state_dict()[key], rtol=1e-3, atol=1e-4)
    other = recipe_named({"landmarks-68": "face-detector", "face-detector": "landmarks-68"}[name])
    with pytest.raises(TrainingError, match="the weights do not fit"):
        other.build(Options(start=file))


def test_the_landmark_network_overfits_eight_faces(
    alignment: tuple[TrainingData, TrainingData], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = tiny_aligner(8, 16, 24, 32, 32)
    samples = AlignmentSamples(alignment[0], SPEC)
    eight = [item for item in (samples[i] for i in range(40)) if item["known"].min() > 0][:8]
    batch = collate_crops(eight)

    class Eight(torch.utils.data.Dataset[object]):
        def __getitem__(self, index: int) -> object:
            return eight[index % 8]

        def __len__(self) -> int:
            return 1 << 40

    state = train(model, Eight(), replace(QUICK, steps=240), tmp_path, collate=collate_crops)
    found = state.learner(batch["image"])["points"].detach()
    assert_learned(found, batch["points"], within=blind_error(batch["points"]) / 3)


def test_validation_names_every_figure(alignment: tuple[TrainingData, TrainingData]) -> None:
    model = tiny_aligner().eval()
    figures = validate_alignment(model, HeldOut(alignment[1], SPEC))
    assert figures.keys() == {
        "nme_300w",
        "nme_aflw68",
        "nme_ytf68",
        "auc_confidence",
        "auc_presence",
        "criterion",
    }
    assert all(np.isfinite(value) for value in figures.values())


def test_coordinates_keep_their_digits_where_the_rest_is_bfloat16() -> None:
    torch.manual_seed(0)
    logits = 3 * torch.randn(2, 5, 32, 32)
    points, spread = spatial_moments(logits)
    with torch.autocast("cpu", torch.bfloat16):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
        rounded = spatial_moments(logits)
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16, "afterwards as before"
    assert torch.equal(rounded[0], points)
    assert torch.equal(rounded[1], spread)


@pytest.mark.parametrize("soft", [0.0, 2.0, 15.0])
def test_a_pasted_image_covers_what_its_transform_says(soft: float) -> None:
    image, size = np.zeros((90, 60, 3), np.uint8), 160
    matrix = np.array([[1.2, 0.3, 40], [-0.3, 1.2, 30]], np.float32)
    covered = warp(np.full_like(image, 255), matrix, size)[..., 0]
    part = _mask(image, matrix, size, soft)
    assert part.shape == (size, size)
    if soft:
        covered = cv2.GaussianBlur(covered, (0, 0), soft)
    expected = np.clip(covered * (2 / 255) - 1, 0, 1) if soft else covered > 127
    assert abs(part - expected).mean() < 0.01
    canvas, face = np.full((size, size, 3), 200, np.uint8), np.full((size, size, 3), 50, np.uint8)
    shown = _pasted(canvas, face, part)
    assert (canvas == 200).all(), "the canvas itself stays as it was"
    assert abs(shown[..., 0] - (200 - 150 * part)).max() <= 1
