"""Labelled faces of users: each format, schemes from TOML, groups, boxes, and what is said about mistakes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import nasion
from nasion.engines.errors import NasionError
from nasion.realtime.sources.synthetic import CameraMotion, write_clip
from nasion.realtime.values.published_schemes import IBUG_68
from nasion.realtime.values.scheme_files import (
    known_scheme,
    read_scheme,
    scheme_of_values,
    unnamed_scheme,
    values_of_scheme,
)
from nasion.tools.main import main
from nasion.trainers.data import DataError, LandmarkSet, landmark_faults
from nasion.trainers.data.base import unknown_yaw
from nasion.trainers.data.own import mirror_faults, own_boxes, own_faces
from nasion.trainers.data.readers.own.boxes import read_own_boxes
from nasion.trainers.data.readers.own.faces import read_own

from ...support.data_sets.labelled import write_data
from ...support.data_sets.own import (
    FIVE,
    SCHEME_5,
    SCHEME_20,
    TWENTY,
    names_of,
    own_images,
    write_own_coco,
    write_own_csv,
    write_own_pts,
)


def test_pts_files_of_any_number_of_points_with_images_of_any_suffix(tmp_path: Path) -> None:
    placed = write_own_pts(tmp_path / "deep" / "anything", 5)
    home = tmp_path / "deep" / "anything"
    for name, suffix in zip(names_of(5), (".JPG", ".jpeg", ".PNG", ".webp", ".bmp"), strict=True):
        image = cv2.imread(str(home / f"{name}.jpg"))
        (home / f"{name}.jpg").unlink()
        _, encoded = cv2.imencode(suffix.lower(), image)
        (home / f"{name}{suffix}").write_bytes(encoded.tobytes())
    faces = read_own(tmp_path)
    assert faces.points.shape == (5, 20, 2)
    assert faces.scheme.name == "points-20"
    assert not faces.scheme.has_mirror
    order = [names_of(5).index(file.stem) for file in faces.files]
    np.testing.assert_allclose(faces.points, placed[order], atol=2e-3)


def test_coco_key_points_with_their_visibility(tmp_path: Path) -> None:
    placed = write_own_coco(tmp_path)
    faces = read_own(tmp_path)
    assert np.isnan(faces.points[:, 0]).all()
    np.testing.assert_allclose(faces.points[:, 1:], placed[:, 1:], atol=1e-3)
    assert faces.visible is not None
    assert np.isnan(faces.visible[:, 0]).all()
    assert (faces.visible[:, 1] == 0).all()
    assert (faces.visible[:, 2:] == 1).all()
    assert set(read_own(tmp_path, group="shoot").groups or ()) == {"day 0", "day 1"}
    labels = tmp_path / "labels.json"
    labels.write_text(labels.read_text().replace('"shoot"', '"video"'))
    assert set(read_own(tmp_path, group="video").groups or ()) == {"day 0", "day 1"}, "a column of that name goes first"


def test_a_table_with_empty_cells_and_further_columns(tmp_path: Path) -> None:
    placed = write_own_csv(tmp_path)
    faces = read_own(tmp_path)
    assert np.isnan(faces.points[:, 1]).all()
    np.testing.assert_allclose(faces.points[:, [0, 2, 3, 4]], placed[:, [0, 2, 3, 4]], atol=1e-3)
    assert set(read_own(tmp_path / "labels.csv", group="person").groups or ()) == {"person 0", "person 1"}
    with pytest.raises(DataError, match=r"no column 'film' for --group; allowed: image, video, folder, person"):
        read_own(tmp_path, group="film")


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_landmark_files_of_our_own_after_a_correction_by_hand(tmp_path: Path, suffix: str) -> None:
    from nasion.realtime.sources.synthetic import CameraMotion, write_clip

    write_clip(tmp_path / "clip.mp4", CameraMotion(seconds=0.2))
    assert nasion.write(tmp_path / f"faces{suffix}", nasion.track(tmp_path / "clip.mp4"))
    faces = read_own(tmp_path)
    assert faces.scheme is IBUG_68
    assert faces.files[1] == tmp_path / "clip.mp4" / "2"
    assert set(faces.groups or ()) == {str(tmp_path / "clip.mp4")}, "frames of one video are one group"
    with pytest.raises(DataError, match=r"are of one group .*give other faces with --val, or another --group"):
        own_faces(tmp_path)
    found = [list(tracked) for _, tracked in nasion.read(tmp_path / f"faces{suffix}")]
    np.testing.assert_allclose(faces.points[0], found[0][0].landmarks, atol=0.02)


def test_frames_of_a_video_stay_together(tmp_path: Path) -> None:
    write_own_pts(tmp_path, 14)
    training, held = own_faces(tmp_path, group="video", share=0.3)
    assert len(set(held.groups or ())) == 1
    assert not set(held.groups or ()) & set(training.groups or ())
    training, held = own_faces(tmp_path, share=0.1)
    assert (len(training), len(held)) == (13, 1)


def test_too_few_faces_to_hold_some_out_are_refused(tmp_path: Path) -> None:
    write_own_pts(tmp_path / "few", 11)
    write_own_pts(tmp_path / "more", 3, seed=5)
    with pytest.raises(DataError, match=r"few has 11 labelled faces; at least 12 .* give others .* with --val"):
        own_faces(tmp_path / "few")
    assert [len(each) for each in own_faces(tmp_path / "few", tmp_path / "more")] == [11, 3]


def test_images_in_both_parts_are_refused(tmp_path: Path) -> None:
    write_own_pts(tmp_path, 4)
    with pytest.raises(DataError, match="is both in the data and in --val"):
        own_faces(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("points = 3", "name is None"),
        ('name = "x"\npoints = 0', "points is 0; allowed: 1 to 1000"),
        ('name = "x"\npoints = ["a", "a"]', "points names 'a' twice"),
        (
            'name = "x"\npoints = 3\nmirror = [[0, 3]]',
            "mirror has point 3; allowed are 0 to 2, because there are 3 points",
        ),
        ('name = "x"\npoints = 3\nmirror = [[0, 1], [1, 2]]', "mirror has point 1 in two pairs"),
        ('name = "x"\npoints = 3\nmirror = [[0]]', "mirror has .*give pairs"),
        ('name = "x"\npoints = 3\nedges = [[0, 9]]', "edges has point 9"),
        ('name = "x"\npoints = 3\nnormaliser = "eyes"', 'give two points, two lists of points, or "box"'),
        ('name = "x"\npoints = 3\n[parts]\nmouth = ["lip"]', "parts.mouth has point 'lip'"),
        ('name = "x"\npoints = 3\ncolour = 1', "entry 'colour' is unknown; allowed: name, points"),
        ("name = ", "is not TOML"),
    ],
)
def test_mistakes_in_a_scheme_are_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "my.toml").write_text(content)
    with pytest.raises(NasionError, match=message) as error:
        read_scheme(tmp_path / "my.toml")
    assert "my.toml" in str(error.value)


@pytest.mark.parametrize("content", [SCHEME_5, SCHEME_20])
def test_a_scheme_goes_through_plain_data(tmp_path: Path, content: str) -> None:
    (tmp_path / "my.toml").write_text(content)
    scheme = read_scheme(tmp_path / "my.toml")
    values = json.loads(json.dumps(values_of_scheme(scheme)))
    assert values_of_scheme(scheme_of_values(values, origin="test")) == values
    assert scheme.flip[0] == (1 if scheme.count == 5 else 4)
    assert scheme.tells_roll == (scheme.count == 20)
    assert values_of_scheme(scheme_of_values(values_of_scheme(IBUG_68), origin="test"))["mirror"]


def test_a_scheme_of_a_file_is_known_by_its_name_and_two_of_one_name_are_refused() -> None:
    first = scheme_of_values({"name": "of-a-file", "points": 4}, origin="test")
    text = json.dumps(values_of_scheme(first))
    known = known_scheme(text, origin="one.onnx")
    assert known_scheme(text, origin="two.onnx") is known
    other = json.dumps({"name": "of-a-file", "points": 5})
    with pytest.raises(NasionError, match=r"three\.onnx: another scheme is called 'of-a-file'"):
        known_scheme(other, origin="three.onnx")
    for broken in ("[]", "{", '{"name": "x", "points": 1e9}'):
        with pytest.raises(NasionError, match=r"bad\.onnx"):
            known_scheme(broken, origin="bad.onnx")


def test_mirror_pairs_that_do_not_match_the_data_are_reported(tmp_path: Path) -> None:
    write_own_pts(tmp_path, 12)
    right = scheme_of_values(
        json.loads(json.dumps({"name": "a", "points": 20, "mirror": [[0, 4], [12, 15], [13, 14]]})), origin=""
    )
    assert not [problem for problem in mirror_faults(read_own(tmp_path, scheme=right)) if "pair [" in problem]
    wrong = scheme_of_values({"name": "b", "points": 20, "mirror": [[0, 4], [12, 13], [14, 15]]}, origin="")
    problems = mirror_faults(read_own(tmp_path, scheme=wrong))
    assert any("the mirror pair [12, 13] does not match the data: opposite of 12 lies 15" in each for each in problems)


def test_a_few_faces_that_look_to_one_side_raise_no_doubt_about_mirror_pairs() -> None:
    scheme = scheme_of_values({"name": "c", "points": 5, "mirror": [[0, 1], [3, 4]]}, origin="")
    frontal = np.array([[-30, -30], [30, -30], [0, 0], [-20, 30], [20, 30]], np.float32)
    turned = frontal + np.array([[0, 0], [0, 0], [40, 0], [0, 0], [0, 0]], np.float32)  # the nose beyond the corner
    faces = LandmarkSet(
        "x", (Path("a.jpg"),) * 5, np.stack([frontal] * 2 + [turned] * 3), unknown_yaw(5), numbering=scheme
    )
    assert not mirror_faults(faces)
    assert mirror_faults(faces.pick([2, 3, 4])), "where all of them do, it is said"


def test_boxes_from_lists_coco_and_landmarks(tmp_path: Path) -> None:
    own_images(tmp_path / "list" / "images", 3, FIVE)
    rows = "".join(f"images/{name}.jpg\n1\n10 20 30 40 0 0 0 0 0 0\n" for name in names_of(3))
    (tmp_path / "list" / "boxes.txt").write_text("\ufeff" + rows, encoding="utf-8")
    listed = read_own_boxes(tmp_path / "list", forehead=0)
    np.testing.assert_allclose(listed.boxes[0], [[9.5, 19.5, 39.5, 59.5]])
    placed = write_own_coco(tmp_path / "coco", 12)
    coco = read_own_boxes(tmp_path / "coco", forehead=0)
    np.testing.assert_allclose(coco.boxes[0][0, :2], placed[0].min(axis=0), atol=1e-3)
    faces = write_own_pts(tmp_path / "pts", 3, TWENTY)
    order = [names_of(3).index(file.stem) for file in read_own(tmp_path / "pts").files]
    tight = read_own_boxes(tmp_path / "pts", forehead=0)
    np.testing.assert_allclose(tight.boxes[0][0, 2:], faces[order[0]].max(axis=0), atol=2e-3)
    training, held = own_boxes(tmp_path / "coco", None, forehead=0)
    assert (len(training), len(held)) == (11, 1)
    with pytest.raises(DataError, match=r"list has 3 images with boxes; at least 12 .* give others .* with --val"):
        own_boxes(tmp_path / "list", None, forehead=0)
    assert [len(each) for each in own_boxes(tmp_path / "list", tmp_path / "coco", forehead=0)] == [3, 12]


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda root: None, "holds no labelled faces; expected .pts files beside their images, a COCO"),
        (lambda root: (root / "a.csv").write_text("image,x0\n"), r"has no column 'y0'; expected the columns image"),
        (lambda root: (root / "a.csv").write_text("image,x0,y0\nb.jpg,1,2\n"), r"line 2 names the image 'b\.jpg'"),
        (lambda root: (root / "a.pts").write_text("1 2"), "no image of that name beside it"),
        (
            lambda root: (root / "a.json").write_text('{"images": [], "annotations": [{"keypoints": [1]}]}'),
            "annotation 1",
        ),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path, write, message: str) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path)
    with pytest.raises(DataError, match=message):
        read_own(tmp_path)


def _own_pts(root: Path, number: str) -> None:
    write_own_pts(root, 13, FIVE)
    label = root / "clip-b_4.pts"
    label.write_text(re.sub(r"\{\n\S+", "{\n" + number, label.read_text()))


def _own_csv(root: Path, number: str) -> None:
    write_own_csv(root, 13, FIVE)
    table = root / "labels.csv"
    lines = table.read_text().splitlines()
    row = dict(zip(lines[0].split(","), lines[5].split(","), strict=True)) | {"x0": number}
    table.write_text("\n".join([*lines[:5], ",".join(row.values()), *lines[6:]]))


def _own_coco(root: Path, number: str) -> None:
    write_own_coco(root, 13, FIVE)
    file = root / "labels.json"
    values = json.loads(file.read_text())
    values["annotations"][4]["keypoints"][3] = float(number)
    file.write_text(json.dumps(values))


@pytest.mark.parametrize("number", ["inf", "-inf", "nan", "1e30", "1e39"])
@pytest.mark.parametrize("write", [_own_pts, _own_csv, _own_coco])
@pytest.mark.filterwarnings("error")
def test_a_number_that_cannot_be_right_is_listed_with_its_image(
    write: Callable[[Path, str], None], number: str, tmp_path: Path
) -> None:
    """Whatever the format: the check goes on, and training refuses the face or leaves it out."""
    write(tmp_path, number)
    (fault,) = landmark_faults(read_own(tmp_path))
    assert fault.file.name == "clip-b_4.jpg"
    assert f"landmark {2 if write is _own_coco else 1} at (" in fault.problem
    with pytest.raises(DataError, match=r"1 of 13 labels cannot be right: .*clip-b_4\.jpg.*--skip-bad 1"):
        own_faces(tmp_path)
    training, held = own_faces(tmp_path, skip=1)
    assert len(training) + len(held) == 12


def test_damaged_files_of_labels_are_all_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_own_pts(tmp_path / "own", 6, FIVE)
    for name, text in {"clip-a_0": "version: 1\n", "clip-b_1": "{\n1 2\n3 x\n}\n"}.items():
        (tmp_path / "own" / f"{name}.pts").write_text(text)
    Path("own/clip-c_2.jsonl").write_text(
        '{"format": 2, "source": "clip-c_2.jpg", "scheme": "", "landmarks": 2}\n'
        '{"frame": 0, "time": 0, "faces": [{"id": 1, "box": [1, 1, 9, 9], "score": 1, '
        '"landmarks": [[1, 2], [Infinity, 2]], "confidence": [1, 1]}]}\n'
    )
    with pytest.raises(SystemExit) as ended:
        main(["data", "check", "own", "--json", "counts.json"])
    assert ended.value.code in (0, None)
    told = capsys.readouterr().out
    assert "3 files of labels cannot be read, or only in part" in told
    damaged = {each["file"]: each["problem"] for each in json.loads(Path("counts.json").read_text())["damaged"]}
    assert damaged["own/clip-a_0.pts"].startswith("has no { … } block")
    assert damaged["own/clip-b_1.pts"].startswith("line 3: '3 x' is not two numbers")
    assert "landmarks of face 1: number 1 is [inf, 2.0]" in damaged["own/clip-c_2.jsonl"]
    with pytest.raises(DataError, match=r"clip-a_0\.pts: has no"):
        own_faces(tmp_path / "own")


def test_points_far_outside_a_video_are_listed(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", CameraMotion(seconds=0.1))
    label = tmp_path / "clip.jsonl"
    places = [[1e6 + 10 * i, 30.0 + i] for i in range(5)]
    face = {"id": 1, "box": [1, 1, 9, 9], "score": 1, "landmarks": places, "confidence": [1] * 5}
    header = {"format": 2, "source": "clip.mp4", "scheme": "", "landmarks": 5}
    label.write_text(f"{json.dumps(header)}\n" + json.dumps({"frame": 1, "time": 0, "faces": [face]}) + "\n")
    (fault,) = landmark_faults(read_own(tmp_path))
    assert fault.file == tmp_path / "clip.mp4" / "2"
    assert "lies far outside the image of" in fault.problem


def test_faces_that_differ_in_their_number_of_points_are_named(tmp_path: Path) -> None:
    write_own_pts(tmp_path / "a", 2, TWENTY)
    write_own_pts(tmp_path / "b", 2, FIVE)
    with pytest.raises(DataError, match=r"b/clip-a_0\.pts has 5 landmarks, .*a/clip-a_0\.pts has 20"):
        read_own(tmp_path)
    with pytest.raises(DataError, match="has 20 landmarks, scheme 'points-5' has 5"):
        read_own(tmp_path, scheme=unnamed_scheme(5))


def test_the_check_counts_own_data_and_reports_its_scheme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_own_pts(tmp_path / "own", 12)
    (tmp_path / "my.toml").write_text(SCHEME_20.replace("[12, 15], [13, 14]", "[12, 13], [14, 15]"))
    with pytest.raises(SystemExit) as ended:
        main(["data", "check", "own", "--scheme", "my.toml"])
    assert ended.value.code in (0, None)
    told = capsys.readouterr().out
    assert "own" in told
    assert "the mirror pair [12, 13] does not match the data" in told
    assert (tmp_path / "own-sheet.jpg").is_file()
    write_own_coco(tmp_path / "coco")
    with pytest.raises(SystemExit) as ended:
        main(["data", "check", "coco"])
    assert ended.value.code in (0, None)


def test_of_published_sets_the_training_part_is_read(tmp_path: Path) -> None:
    write_data(tmp_path)
    training, held = own_faces(tmp_path / "300w")
    assert len(training) + len(held) == 39
    assert not [file for file in (*training.files, *held.files) if "testset" in str(file)]
    boxes, of_validation = own_boxes(tmp_path, None, forehead=0)
    assert len(boxes) + len(of_validation) == 13
    with pytest.raises(DataError, match=r"several published sets \(300w, ytf68, aflw68\); give the folder of one"):
        own_faces(tmp_path)
