from __future__ import annotations

import json
import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest

import nasion
from nasion.engines.errors import NasionError
from nasion.realtime.faces.face import Face
from nasion.realtime.faces.frame import DeviceFrame, Frame
from nasion.realtime.images.pixels import HostPixels
from nasion.realtime.values import schemes
from nasion.realtime.values.arrays import Image
from nasion.realtime.values.geometry import box_of
from nasion.realtime.values.published_schemes import IBUG_68

from ...support.data_sets.labelled import face_shape


def face_at(x: float = 160, y: float = 120, *, size: float = 80, degrees: float = 0, number: int = 1) -> Face:
    turn = np.radians(degrees)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    points = ((face_shape(68) - [0.5, 0.5]) * size @ rotation + [x, y]).astype(np.float32)
    return Face(number, box_of(points), 0.9, points, np.full(68, 0.8, np.float32))


@pytest.fixture
def noise(rng: np.random.Generator) -> Image:
    return cv2.GaussianBlur(rng.integers(0, 256, (240, 320, 3), np.uint8), (0, 0), 3)


# --- comparison


def test_a_face_is_in_a_list_if_an_equal_one_is() -> None:
    faces = [face_at(number=1), face_at(x=50, number=2)]
    assert face_at(x=50, number=2) in faces
    assert faces.index(face_at(x=50, number=2)) == 1
    assert face_at(x=51, number=2) not in faces


def test_faces_are_sorted_by_id() -> None:
    faces = [face_at(number=3), face_at(number=1), face_at(number=2)]
    assert [face.id for face in sorted(faces)] == [1, 2, 3]
    assert max(faces).id == 3
    with pytest.raises(TypeError, match="'<' not supported"):
        sorted([face_at(), 3])  # type: ignore[list-item]


# --- crop


def test_a_crop_shows_the_face_upright_and_maps_back_to_the_image() -> None:
    for degrees in (0, 30, -75):
        face = face_at(degrees=degrees)
        image = np.zeros((240, 320, 3), np.uint8)
        dots = [face.landmarks[group].mean(axis=0) for group in ("left_eye", "right_eye", "mouth")]
        for x, y in dots:
            cv2.circle(image, (round(x * 16), round(y * 16)), 3 * 16, (255, 255, 255), cv2.FILLED, shift=4)
        crop, back = face.crop(image, 160)
        assert crop.shape == (160, 160, 3)
        _, _, _, centres = cv2.connectedComponentsWithStats((crop[..., 0] > 100).astype(np.uint8))
        seen = centres[1:]
        np.testing.assert_allclose(
            sorted((seen @ back[:, :2].T + back[:, 2]).tolist()), sorted(np.array(dots).tolist()), atol=0.3
        )
        eyes, mouth = seen[seen[:, 1].argsort()][:2], seen[seen[:, 1].argmax()]
        assert abs(eyes[0, 1] - eyes[1, 1]) < 1.5
        assert mouth[0] == pytest.approx(eyes[:, 0].mean(), abs=1.5)


def test_a_crop_has_the_given_margin() -> None:
    face = face_at(size=80)
    longer = float((face.box[2:] - face.box[:2]).max())
    for margin in (1.0, 2.0):
        _, back = face.crop(np.zeros((240, 320, 3), np.uint8), 64, margin=margin)
        assert back[0, 0] * 64 == pytest.approx(margin * longer, rel=0.02)


def test_a_crop_keeps_the_order_of_the_colours(noise: Image) -> None:
    crop, _ = face_at().crop(noise, 64)
    swapped, _ = face_at().crop(noise[..., ::-1], 64, channels="rgb")
    np.testing.assert_array_equal(swapped, crop[..., ::-1])


def test_a_crop_beyond_the_image_is_black_there(noise: Image) -> None:
    crop, _ = face_at(x=0, y=120).crop(noise, 64)
    assert not crop[:, :20].any()
    assert crop[:, 44:].any()


def test_a_face_without_landmarks_is_cropped_by_its_box(noise: Image) -> None:
    none = np.zeros((0, 2), np.float32)
    face = Face(1, np.float32([100, 80, 140, 120]), 0.9, none, none[:, 0])
    _, back = face.crop(noise, 40, margin=1.0)
    np.testing.assert_allclose(back, [[1, 0, 100.5], [0, 1, 80.5]], atol=0.6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size=0 is not allowed; give pixels from 1 to 8192"),
        ({"size": 9000}, "size=9000"),
        ({"size": 64.0}, r"size=64\.0"),
        ({"size": 64, "margin": 0}, "margin=0 is not allowed; give a number above 0"),
        ({"size": 64, "margin": float("nan")}, "margin=nan"),
    ],
)
def test_impossible_crops_are_refused(noise: Image, arguments: dict[str, float], message: str) -> None:
    with pytest.raises(NasionError, match=message):
        face_at().crop(noise, **arguments)  # type: ignore[arg-type]


def test_a_face_without_a_place_cannot_be_cropped(noise: Image) -> None:
    face = replace(face_at(), landmarks=np.full((68, 2), np.nan, np.float32))
    with pytest.raises(NasionError, match="not finite; it cannot be cropped"):
        face.crop(noise, 64)


# --- other forms


def test_a_face_as_a_dict_is_its_record_in_a_landmark_file() -> None:
    face = face_at(x=100.126)
    values = json.loads(json.dumps(face.to_dict()))
    assert list(values) == ["id", "box", "score", "landmarks", "confidence"]
    assert values["id"] == 1
    np.testing.assert_allclose(values["landmarks"], face.landmarks, atol=0.0051)
    assert all(number == round(number, 2) for point in values["landmarks"] for number in point)


def test_faces_and_frames_can_be_pickled(noise: Image) -> None:
    face = replace(face_at(), scheme="ibug-68")
    again = pickle.loads(pickle.dumps(face))
    assert again == face
    assert again.landmarks.scheme is IBUG_68
    frame = pickle.loads(pickle.dumps(Frame(noise, 1.5, 3, "film.mp4")))
    np.testing.assert_array_equal(frame.image, noise)
    assert (frame.time, frame.index, frame.source) == (1.5, 3, "film.mp4")


def test_a_frame_on_a_gpu_is_pickled_with_its_image_on_the_host(noise: Image) -> None:
    frame = pickle.loads(pickle.dumps(DeviceFrame(HostPixels(noise), 1.5, 3, "film.mp4")))
    assert type(frame) is Frame
    np.testing.assert_array_equal(frame.image, noise)
    assert (frame.time, frame.index, frame.source) == (1.5, 3, "film.mp4")


def test_a_scheme_of_another_program_is_pickled_whole() -> None:
    own = replace(IBUG_68, name="own-68", further={"chin": (8,)})
    again = pickle.loads(pickle.dumps(own))
    assert again is not own
    assert again.parts == own.parts
    other = replace(IBUG_68, lines=())  # another scheme that claims a known name
    assert pickle.loads(pickle.dumps(other)).lines == ()


def test_all_known_schemes_are_listed_and_the_list_is_read_only() -> None:
    assert nasion.schemes["ibug-68"] is IBUG_68
    assert {"wflw-98", "cofw-29"} <= set(nasion.schemes)
    with pytest.raises(TypeError):
        nasion.schemes["mine"] = IBUG_68  # type: ignore[index]


def test_lists_become_arrays_of_the_types_that_a_face_has() -> None:
    points = [[1, 2], [3, 4.5]]
    face = Face(1, [1, 2, 3, 4.5], 0.9, points, (0.5, 1), [0, 2], eye_opening=(0.25, 0.3))  # type: ignore[arg-type]
    same = Face(
        1,
        np.array([1, 2, 3, 4.5], np.float32),
        0.9,
        nasion.Landmarks(points),
        np.array([0.5, 1], np.float32),
        np.array([0, 2], np.uint8),
        eye_opening=nasion.EyeOpening(0.25, 0.3),
    )
    assert face == same
    assert (face.box.dtype, face.confidence.dtype, face.visibility.dtype) == (np.float32, np.float32, np.uint8)
    assert face.eye_opening.left == 0.25
    assert (replace(face, box=[0, 0, 8, 8]).box == [0, 0, 8, 8]).all()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"box": [1, 2, 3]}, r"box of a face is \[1, 2, 3\]; give numbers of shape \(4\)"),
        ({"box": None}, "box of a face is None"),
        ({"confidence": np.ones(3)}, r"confidence of a face is an array of shape \(3,\); give numbers of shape \(68\)"),
        ({"confidence": ["a"] * 68}, r"confidence of a face is \['a'"),
        ({"visibility": np.ones((68, 2))}, r"visibility of a face is an array of shape \(68, 2\)"),
        ({"landmarks": np.ones((68, 3))}, r"landmarks of a face is an array .*; give numbers of shape \(n, 2\)"),
    ],
)
def test_values_of_another_shape_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(NasionError, match=message):
        replace(face_at(), **changes)


def test_landmarks_show_themselves_in_one_short_line() -> None:
    face = face_at()
    assert repr(face.landmarks) == "Landmarks(68x2, ibug-68)"
    assert repr(nasion.Landmarks(np.zeros((7, 2)))) == "Landmarks(7x2)"
    assert str(face.landmarks[0])[1:6] in str(face.landmarks), "str shows the coordinates"


def test_the_old_name_of_the_landmarks_is_refused_with_the_new_one() -> None:
    points = np.zeros((68, 2), np.float32)
    face = Face(1, np.zeros(4, np.float32), 0.5, points, np.ones(68, np.float32))
    for make in (
        lambda: Face(id=1, box=face.box, score=0.5, points=points, confidence=face.confidence),
        lambda: replace(face, points=points),
    ):
        with pytest.raises(NasionError, match=r"takes landmarks, not points.* give landmarks="):
            make()
    assert pickle.loads(pickle.dumps(face)) == face == replace(face, landmarks=points)


def test_another_scheme_reaches_the_landmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(schemes.SCHEMES, "my-68", replace(IBUG_68, name="my-68", further={"tip": (30,)}))
    points = np.arange(136, dtype=np.float32).reshape(68, 2)
    face = Face(1, np.zeros(4, np.float32), 1.0, points, np.ones(68, np.float32), scheme="ibug-68")
    mine = replace(face, scheme="my-68")
    assert mine.landmarks.scheme is not None
    assert mine.landmarks.scheme.name == mine.scheme == "my-68"
    np.testing.assert_array_equal(mine.landmarks["tip"], points[[30]])
    assert face.landmarks.scheme is IBUG_68
