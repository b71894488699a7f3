"""Formats, read back by other programs and by ours."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import nasion
from nasion.engines.errors import SourceError
from nasion.realtime.annotate.converting import convert
from nasion.realtime.annotate.exports import FORMATS

from .conftest import FRAMES

DATUMARO = os.environ.get("NASION_DATUMARO", "")
"""A Python with datumaro, which needs older versions of other packages than ours."""


@pytest.fixture(scope="module")
def done(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all formats of the clip."""
    out = tmp_path_factory.mktemp("formats")
    (result,) = nasion.annotate(clip, out, formats=list(FORMATS))
    assert result.complete
    return out


def landmarks(path: Path) -> dict[int, np.ndarray]:
    """The landmarks of the only face by the number of the frame."""
    return {frame.index: np.asarray(faces[0].landmarks) for frame, faces in nasion.read(path) if faces}


def test_the_landmark_files_have_the_same_faces(done: Path) -> None:
    expected = list(nasion.read(done / "clip.jsonl"))
    assert len(expected) == FRAMES
    for suffix in ("csv", "parquet"):
        for (frame, faces), (other, others) in zip(expected, nasion.read(done / f"clip.{suffix}"), strict=True):
            assert (frame.index, frame.time) == (other.index, other.time)
            assert [face.id for face in faces] == [face.id for face in others]
            for face, again in zip(faces, others, strict=True):
                assert np.allclose(face.landmarks, again.landmarks, atol=0.01)
                assert face.interpolated == again.interpolated


def test_parquet_has_the_documented_columns(done: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    schema = parquet.read_schema(done / "clip.parquet")
    types = {name: str(schema.field(name).type) for name in ("frame", "time", "id", "x0", "yaw", "interpolated")}
    assert types == {
        "frame": "int64", "time": "double", "id": "int32", "x0": "float", "yaw": "float", "interpolated": "int8"
    }  # fmt: skip
    assert json.loads(schema.metadata[b"nasion"])["source"].endswith("clip.mp4")


def test_pycocotools_reads_the_key_points_and_evaluates_them(done: Path) -> None:
    coco_module = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    truth = coco_module.COCO(str(done / "clip.coco.json"))
    (category,) = truth.loadCats(truth.getCatIds())
    assert category["name"] == "face"
    assert len(category["keypoints"]) == len(set(category["keypoints"])) == 68
    assert all(1 <= end <= 68 for pair in category["skeleton"] for end in pair)
    assert len(truth.getImgIds()) == FRAMES
    found = landmarks(done / "clip.jsonl")
    for annotation in truth.loadAnns(truth.getAnnIds()):
        assert all(isinstance(state, int) for state in annotation["keypoints"][2::3])
        points = np.array(annotation["keypoints"]).reshape(-1, 3)
        frame = truth.loadImgs(annotation["image_id"])[0]["frame_id"]
        labelled = points[:, 2] > 0
        assert set(points[:, 2].tolist()) <= {0, 1, 2}
        assert labelled.sum() == annotation["num_keypoints"]
        assert np.allclose(points[labelled, :2], found[frame][labelled], atol=0.011)
        assert annotation["track_id"] == 1
    detections = truth.loadRes(list(truth.anns.values()))
    evaluator = evaluation.COCOeval(truth, detections, "keypoints")
    evaluator.params.kpt_oks_sigmas = np.full(68, 0.05)
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    assert evaluator.stats[0] == pytest.approx(1.0)


def test_a_landmark_outside_of_the_image_is_not_labelled_and_an_interpolated_face_is_occluded() -> None:
    from nasion.realtime.annotate.exports.coco import visibility

    points = np.full((68, 2), 50, np.float32)
    points[0] = -3, 50
    points[1] = 99.4, 99.4
    points[2] = 99.6, 50
    box, confidence = np.array([0, 0, 60, 60], np.float32), np.ones(68, np.float32)
    seen = np.full(68, 2, np.uint8)
    seen[3:5] = 0, 1
    face = nasion.Face(1, box, 0.9, points, confidence, seen)
    assert visibility(face, (100, 100))[:6].tolist() == [0, 2, 0, 1, 1, 2]
    filled = nasion.Face(1, box, 0.9, points, confidence, interpolated=True)
    assert visibility(filled, (100, 100))[:6].tolist() == [0, 1, 0, 1, 1, 1]


def test_pts_files_are_read_as_those_of_the_data_sets(done: Path) -> None:
    ibug = pytest.importorskip("nasion.trainers.data.readers.ibug")
    for index, points in landmarks(done / "clip.jsonl").items():
        assert np.allclose(ibug.read_pts(done / "clip.pts" / f"{index:06d}_1.pts"), points, atol=0.011)


def test_subtitles_tell_which_faces_are_in_sight(done: Path) -> None:
    blocks = (done / "clip.vtt").read_text().split("\n\n")
    assert blocks[0] == "WEBVTT"
    times, names = blocks[1].splitlines()[1:3]
    assert times == "00:00:00.000 --> 00:00:01.500" or len(blocks) > 2
    assert names == "face 1"


def test_cvat_has_a_track_with_few_keyframes(done: Path) -> None:
    root = ElementTree.parse(done / "clip.cvat.xml").getroot()
    assert root.findtext("version") == "1.1"
    assert root.findtext("meta/task/size") == str(FRAMES)
    (track,) = root.findall("track")
    shapes = track.findall("points")
    found = landmarks(done / "clip.jsonl")
    visible = [shape for shape in shapes if shape.get("outside") == "0"]
    assert [int(shape.get("frame", "")) for shape in visible] == sorted(found)
    keys = [shape for shape in visible if shape.get("keyframe") == "1"]
    assert shapes[0] in keys
    assert 2 <= len(keys) < 0.8 * len(visible)


def test_cvat_goes_back_with_corrections_by_hand(done: Path, tmp_path: Path) -> None:
    before = landmarks(done / "clip.jsonl")
    convert(done / "clip.cvat.xml", tmp_path, formats=["jsonl"])
    back = landmarks(tmp_path / "clip.jsonl")
    assert sorted(back) == sorted(before)
    assert max(np.abs(back[index] - before[index]).max() for index in before) < 0.02
    tree = ElementTree.parse(done / "clip.cvat.xml")
    shapes = tree.findall("track/points")
    for shape in shapes:  # a person keeps two keyframes, moves the first, and CVAT writes no more
        if shape.get("frame") not in ("0", "10"):
            tree.find("track").remove(shape)
    pairs = [tuple(map(float, pair.split(","))) for pair in shapes[0].get("points", "").split(";")]
    shapes[0].set("points", ";".join(f"{x + 6},{y}" for x, y in pairs))
    corrected = tmp_path / "corrected.xml"
    tree.write(corrected)
    with pytest.raises(SourceError, match="--journal"):
        convert(corrected, tmp_path / "none", formats=["csv"])
    convert(corrected, tmp_path, formats=["csv"], journal=done / "clip.journal")
    after = landmarks(tmp_path / "corrected.csv")
    assert np.allclose(after[0], before[0] + [6, 0], atol=0.02)
    assert np.allclose(after[5], (after[0] + after[10]) / 2, atol=0.02)
    assert len(after) == FRAMES  # the last keyframe holds, as in CVAT


def test_independent_images_are_images_in_cvat_and_go_back(images: Path, tmp_path: Path) -> None:
    nasion.annotate(images, tmp_path, independent=True, formats=["cvat", "jsonl"])
    root = ElementTree.parse(tmp_path / f"{images.name}.cvat.xml").getroot()
    assert [image.get("name") for image in root.findall("image")] == [f"photo{number}.jpg" for number in range(5)]
    convert(tmp_path / f"{images.name}.cvat.xml", tmp_path / "back", formats=["jsonl"])
    before, back = (landmarks(folder / f"{images.name}.jsonl") for folder in (tmp_path, tmp_path / "back"))
    assert sorted(before) == sorted(back)
    assert max(np.abs(back[index] - before[index]).max() for index in before) < 0.02


def test_a_cvat_file_of_another_video_is_refused(done: Path, tmp_path: Path) -> None:
    text = (done / "clip.cvat.xml").read_text()
    moved = re.sub(r"points=\"[^\"]*\"", f'points="{";".join(["300.0,9.0", "309.0,20.0"] * 34)}"', text)
    (tmp_path / "other.cvat.xml").write_text(moved)
    with pytest.raises(SourceError, match="give the journal that it came from"):
        convert(tmp_path / "other.cvat.xml", tmp_path / "back", formats=["csv"], journal=done / "clip.journal")
    assert not (tmp_path / "back").exists()


def test_faces_that_were_drawn_by_hand_get_identities_of_their_own(done: Path, tmp_path: Path) -> None:
    tree = ElementTree.parse(done / "clip.cvat.xml")
    (track,) = tree.findall("track")
    added = copy.deepcopy(track)
    track.set("id", "1")  # CVAT numbers the tracks again
    added.set("id", "0")
    for shape in added.findall("points"):
        for attribute in shape.findall("attribute"):
            attribute.text = "0"  # the default of CVAT
    tree.getroot().append(added)
    tree.write(tmp_path / "clip.cvat.xml")
    convert(tmp_path / "clip.cvat.xml", tmp_path, formats=["jsonl"], journal=done / "clip.journal")
    _, faces = next(iter(nasion.read(tmp_path / "clip.jsonl")))
    assert [(face.id, face.score == 1.0) for face in faces] == [(1, False), (2, True)]


def test_an_overlay_of_images_is_drawn_later_if_they_are_unchanged(images: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(images, photos)
    nasion.annotate(photos, tmp_path, independent=True, obscure="box", overlay=True)
    files, _ = convert(tmp_path / "photos.journal", tmp_path / "later", overlay=True)
    assert [path.name for path in files] == ["photos.overlay"]
    for path in (tmp_path / "photos.overlay").iterdir():
        assert (files[0] / path.name).read_bytes() == path.read_bytes()
    shutil.copy(photos / "photo0.jpg", photos / "photo3.jpg")
    with pytest.raises(SourceError, match=r"photo3\.jpg has changed since it was annotated"):
        convert(tmp_path / "photos.journal", tmp_path / "again", overlay=True)
    assert not (tmp_path / "again").exists()


def test_a_journal_is_converted_to_the_same_bytes_later(done: Path, tmp_path: Path) -> None:
    convert(done / "clip.journal", tmp_path, formats=list(FORMATS))
    for name, suffix in ((name, FORMATS[name].suffix) for name in FORMATS if name != "pts"):
        assert (tmp_path / f"clip{suffix}").read_bytes() == (done / f"clip{suffix}").read_bytes(), name


def test_a_journal_that_is_not_finished_is_converted_with_a_warning(
    done: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = (done / "clip.journal").read_bytes().splitlines(keepends=True)
    (tmp_path / "clip.journal").write_bytes(b"".join(lines[:-1]))
    convert(tmp_path / "clip.journal", formats=["vtt"])
    assert "is not finished" in caplog.text


def test_a_damaged_cvat_file_is_refused_in_words(done: Path, tmp_path: Path) -> None:
    text = (done / "clip.cvat.xml").read_text()
    for damage in (text[: len(text) // 2], text.replace('points="', 'points="1.0,1.0;', 1), "nothing"):
        path = tmp_path / "clip.cvat.xml"
        path.write_text(damage)
        with pytest.raises(SourceError, match=r"cannot be read|69 landmarks"):
            convert(path, tmp_path / "back", formats=["csv"], journal=done / "clip.journal")
    assert not (tmp_path / "back" / "clip.csv").exists()


@pytest.mark.skipif(not DATUMARO, reason="NASION_DATUMARO names no Python with datumaro; .ci/run --full makes one")
def test_datumaro_reads_the_cvat_file(done: Path) -> None:
    script = (
        "import sys, json, datumaro\n"
        "data = datumaro.Dataset.import_from(sys.argv[1], 'cvat')\n"
        "print(json.dumps([[item.attributes['frame'], [[a.points, a.attributes['track_id'], a.attributes['keyframe']]\n"
        "    for a in item.annotations]] for item in data]))\n"
    )
    command = [DATUMARO, "-c", script, str(done / "clip.cvat.xml")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found = landmarks(done / "clip.jsonl")
    read = {frame: shapes for frame, shapes in json.loads(result.stdout) if shapes}
    assert sorted(read) == sorted(found)
    for frame, ((points, track, _),) in read.items():
        assert track == 0
        assert np.allclose(np.array(points).reshape(-1, 2) - 0.5, found[frame], atol=0.02)


@pytest.mark.skipif(not DATUMARO, reason="NASION_DATUMARO names no Python with datumaro; .ci/run --full makes one")
def test_datumaro_reads_independent_images(images: Path, tmp_path: Path) -> None:
    nasion.annotate(images, tmp_path, independent=True, formats=["cvat", "jsonl"])
    shutil.copytree(images, tmp_path / "images")  # where datumaro looks for them
    script = (
        "import sys, json, datumaro\n"
        "data = datumaro.Dataset.import_from(sys.argv[1], 'cvat')\n"
        "print(json.dumps({item.attributes['frame']: [each.points for each in item.annotations] for item in data}))\n"
    )
    command = [DATUMARO, "-c", script, str(tmp_path / f"{images.name}.cvat.xml")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    read, found = json.loads(result.stdout), landmarks(tmp_path / f"{images.name}.jsonl")
    assert sorted(map(int, read)) == sorted(found)
    for frame, (points,) in read.items():
        assert np.allclose(np.array(points).reshape(-1, 2) - 0.5, found[int(frame)], atol=0.02)
