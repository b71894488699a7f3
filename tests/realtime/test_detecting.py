"""Faces of single images, with the shipped networks on the shipped photograph."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import nasion
from nasion import Face, Frame, NasionError, Tracker
from nasion.engines.errors import SourceError
from nasion.engines.tensorrt.photograph import PHOTOGRAPH
from nasion.realtime import detecting
from nasion.realtime.tracking.options import ImageKeywords, TrackerOptions
from nasion.realtime.values.arrays import Image
from nasion.realtime.values.geometry import iou

from ..support.fakes.networks import GREEN, RED, Disc, DiscAligner, DiscFaces, draw


@pytest.fixture(scope="module")
def photograph() -> Image:
    return np.asarray(cv2.imread(str(PHOTOGRAPH)), np.uint8)


@pytest.fixture
def discs(monkeypatch: pytest.MonkeyPatch) -> DiscFaces:
    """Networks that take discs for faces, in place of those that would be loaded."""
    detector = DiscFaces()
    monkeypatch.setattr(detecting, "_loaded", lambda options: Tracker.from_networks(detector, DiscAligner(), options))
    return detector


def first_frame(image: Image, **options: Any) -> list[Face]:
    with Tracker(**options) as tracker:
        return tracker.update(Frame(image, 0.0, 0))


def test_the_faces_are_those_of_the_first_frame_of_a_video(photograph: Image) -> None:
    small = cv2.resize(photograph, None, fx=0.25, fy=0.25)
    many = np.tile(small, (6, 10, 1))  # larger than the detector's input, which is then run at two sizes
    for image, least in (
        (photograph, 1),
        (small, 1),
        (photograph[40:240, 140:320], 1),
        (photograph[:, ::-1], 1),
        (np.rot90(photograph), 0),
        (many, 30),
    ):
        faces = nasion.detect(image)
        assert len(faces) >= least
        assert faces == first_frame(np.ascontiguousarray(image))


@pytest.mark.parametrize("model", ["rdfn", "pwc"])
def test_any_network_finds_them(photograph: Image, model: str) -> None:
    assert nasion.detect(photograph, model=model) == first_frame(photograph, model=model)


def test_an_image_has_no_state(photograph: Image) -> None:
    first = nasion.detect(photograph)
    assert nasion.detect(np.zeros_like(photograph)) == []
    assert nasion.detect(photograph) == first
    assert first[0].id == 1


def test_all_forms_of_an_image_have_the_same_faces(photograph: Image) -> None:
    faces = nasion.detect(photograph)
    rgb = np.ascontiguousarray(photograph[..., ::-1])
    assert nasion.detect(str(PHOTOGRAPH)) == nasion.detect(PHOTOGRAPH) == faces
    assert nasion.detect(rgb, channels="rgb") == faces
    assert nasion.detect(photograph.astype(np.float32) / 255) == faces
    assert nasion.detect(Frame(photograph, 12.0, 300)) == faces
    grey = nasion.detect(cv2.cvtColor(photograph, cv2.COLOR_BGR2GRAY))
    assert len(grey) == 1
    np.testing.assert_allclose(grey[0].landmarks, faces[0].landmarks, atol=5)


def test_images_of_other_libraries_have_the_same_faces(photograph: Image) -> None:
    pillow, torch = pytest.importorskip("PIL.Image"), pytest.importorskip("torch")
    faces = nasion.detect(photograph)
    with pillow.open(PHOTOGRAPH) as image:
        assert nasion.detect(image) == faces
    tensor = torch.from_numpy(photograph[..., ::-1].copy()).permute(2, 0, 1)
    assert nasion.detect(tensor, channels="rgb") == faces
    assert nasion.detect([image, tensor], channels="rgb") == [faces, faces]


def test_a_list_gives_a_list_for_each_image(photograph: Image) -> None:
    images = [photograph, np.zeros((60, 80, 3), np.uint8), np.ascontiguousarray(photograph[:, ::-1])]
    found = nasion.detect(images)
    assert [len(faces) for faces in found] == [1, 0, 1]
    for image, faces in zip(images, found, strict=True):
        alone = nasion.detect(image)
        for face, again in zip(faces, alone, strict=True):
            np.testing.assert_allclose(face.landmarks, again.landmarks, atol=0.01)
    assert nasion.detect(tuple(images[:2]))[0] == found[0]
    assert nasion.detect([]) == []


def test_a_list_goes_through_the_networks_in_batches(discs: DiscFaces) -> None:
    images = [draw(Disc(RED, 60 + 20 * i, 100)) for i in range(5)]
    assert [len(faces) for faces in nasion.detect(images)] == [1] * 5
    assert {shape[0] for shape in discs.batches} == {5}


def test_a_batch_has_a_limited_number_of_pixels(discs: DiscFaces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detecting, "_MOST_PIXELS", 2 * 320 * 240)
    nasion.detect([draw(Disc(RED, 60, 100))] * 5)
    assert [shape[0] for shape in discs.batches] == [2, 2, 1]


# --- without landmarks


def test_without_landmarks_only_the_detector_runs_at_the_size_of_the_image(discs: DiscFaces) -> None:
    image = draw(Disc(RED, 100, 100), Disc(GREEN, 220, 100))
    (faces,) = nasion.detect([image], landmarks=False)
    assert discs.batches[0] == (1, 3, 240, 320)
    assert all(width < 320 for *_, width in discs.batches[1:])
    assert [face.id for face in faces] == [1, 2]
    assert all(face.landmarks.shape == (0, 2) and face.confidence.shape == (0,) for face in faces)
    assert {round(float(face.box[0])) for face in faces} == {70, 190}
    nasion.detect(image, landmarks=False, detect_size=160)
    assert discs.batches[-1] == (1, 3, 128, 160)


def test_boxes_and_scores_are_those_of_the_detector(photograph: Image) -> None:
    (face,) = nasion.detect(photograph, landmarks=False)
    with Tracker() as tracker:
        detector = tracker.networks.detector
        views = detector.views(photograph.shape)
        sizes = [512, views.far or 512, detector.size, *views.near]
        found = detector.detect_all([detecting.pixels_of(photograph)] * len(sizes), sizes)
    best = max((each for each in found if len(each)), key=lambda each: float(each.scores[0]))
    np.testing.assert_array_equal(face.box, best.boxes[0])
    assert face.score == pytest.approx(float(best.scores[0]))
    assert nasion.draw(photograph, [face]).shape == photograph.shape


@pytest.mark.parametrize("scale", [0.25, 1, 2, 4, 6])
def test_faces_of_all_sizes_are_found_once(photograph: Image, scale: float) -> None:
    (usual,) = nasion.detect(photograph, landmarks=False)
    other = cv2.resize(photograph, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else 1)
    # the face scores 0.93 at all sizes, the blurred background of an image enlarged six times up to 0.58
    (face,) = nasion.detect(other, landmarks=False, threshold=0.65)
    assert iou(face.box[None] / np.float32(scale), usual.box[None])[0, 0] > 0.7


def test_the_threshold_is_that_of_the_detector(photograph: Image) -> None:
    (face,) = nasion.detect(photograph, landmarks=False)
    assert nasion.detect(photograph, landmarks=False, threshold=face.score + 0.01) == []
    assert len(nasion.detect(photograph, landmarks=False, threshold=0.0)) > 1
    assert len(nasion.detect(photograph, landmarks=False, threshold=0.0, max_faces=2)) == 2
    assert nasion.detect(photograph, threshold=1.0) == []


# --- errors


def test_an_error_names_the_image_of_the_list(photograph: Image) -> None:
    with pytest.raises(NasionError, match="image 1 of the list, counted from 0: the image has values of int32"):
        nasion.detect([photograph, photograph.astype(np.int32)])
    with pytest.raises(SourceError, match=r"image 0 of the list, counted from 0: none\.png"):
        nasion.detect([Path("none.png")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"smooth": "light"}, "option 'smooth' is about video; allowed: channels, landmarks, threshold, detect_size"),
        ({"treshold": 0.5}, "option 'treshold' is unknown"),
        ({"threshold": 2}, "threshold=2 is not allowed; give a number from 0 to 1"),
        ({"channels": "grey"}, "channels='grey' is not allowed; choose from bgr, rgb, with or without alpha"),
        ({"landmarks": False, "min_score": 0.5}, "with landmarks=False give threshold instead"),
        ({"max_faces": 0}, "max_faces=0 is not allowed"),
    ],
)
def test_wrong_arguments_are_refused_with_what_is_allowed(
    photograph: Image, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(NasionError, match=message):
        nasion.detect(photograph, **arguments)


def test_the_options_of_images_are_options_of_the_tracker() -> None:
    assert set(ImageKeywords.__annotations__) < {*TrackerOptions.__slots__}


# --- loading


def test_networks_are_loaded_once_and_again_after_a_change(
    photograph: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    monkeypatch.setattr(detecting, "Tracker", lambda options: loaded.append(options) or Tracker(options))
    model = tmp_path / "mine.onnx"
    model.write_bytes((PHOTOGRAPH.parents[2] / "zoo" / "landmarks-68.onnx").read_bytes())
    first = nasion.detect(photograph, model=model)
    assert nasion.detect(photograph, model=model, max_faces=1) == first
    assert len(loaded) == 1
    model.touch()
    assert nasion.detect(photograph, model=model) == first
    assert len(loaded) == 2


def test_threads_may_detect_at_the_same_time(photograph: Image) -> None:
    images = [photograph, np.ascontiguousarray(photograph[:, ::-1]), np.ascontiguousarray(np.rot90(photograph))] * 2
    alone = [nasion.detect(image) for image in images]
    found: list[Any] = [None] * len(images)

    def work(i: int) -> None:
        for _ in range(3):
            found[i] = nasion.detect(images[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == alone
