"""Labels and images that cannot be right: named by ``nasion data check`` and before any training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from nasion.tools.main import main
from nasion.trainers.data import DataError, read_300w, read_image, read_wider, sound_boxes, sound_faces
from nasion.trainers.data.faults import box_faults, landmark_faults, readable
from nasion.trainers.data.images import is_cut_short

from ...support.data_sets.labelled import cartoon, write_data, write_pts


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data", each=13)


def ended(*arguments: str | Path) -> object:
    """Return the message with which the command ends."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code


def relabel(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], Path]:
    def apply(root: Path) -> Path:
        file = root / "300w/afw/face03.pts"
        write_pts(file, change(read_300w(root).points[29].copy()))
        return file

    return apply


def one_pixel(root: Path) -> Path:
    file = root / "300w/afw/face03.jpg"
    cv2.imwrite(str(file), np.zeros((1, 1, 3), np.uint8))
    return file


def _far(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(points: np.ndarray) -> np.ndarray:
        points[4, 0] = value
        return points

    return change


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (relabel(_far(99999)), r"landmark 5 at \(99999, .*\) lies far outside the image of 96 x 96"),
        (relabel(_far(1e30)), r"landmark 5 at \(1e\+30, .*\) lies far outside the image"),
        (relabel(lambda points: np.full_like(points, 40)), "all landmarks lie within 0 pixels"),
        (relabel(lambda points: points + 180), "landmark 27 at .* lies far outside"),
        (relabel(lambda points: points + np.float32([100, 0])), "all landmarks lie outside the image"),
        (one_pixel, "the image has 1 x 1 pixels; at least 8 x 8"),
    ],
)
def test_labels_that_cannot_be_right_are_named_by_the_check_and_by_training(
    data: Path,
    harm: Callable[[Path], Path],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    harm(data)
    (fault,) = landmark_faults(read_300w(data))
    assert fault.file == data / "300w/afw/face03.jpg"
    with pytest.raises(DataError, match=rf"1 of 39 labels cannot be right: .*face03\.jpg: ({problem})"):
        sound_faces(read_300w(data))
    assert len(sound_faces(read_300w(data), skip=1)) == 38
    assert ended("data", "check", data) in (0, None)
    assert "face03.jpg: " in " ".join(capsys.readouterr().out.split())
    for recipe in ("landmarks-68", "pwc"):
        message = ended("train", recipe, "--data", data, "--out", tmp_path / "run", "--steps", "1", "--minutes", "1")
        assert "face03.jpg: " in str(message)
        assert "--skip-bad 1" in str(message)
    assert not (tmp_path / "run").exists(), "refused before the first step"


def test_the_labels_of_real_faces_are_not_suspected(data: Path) -> None:
    assert not landmark_faults(read_300w(data))
    assert not box_faults(read_wider(data))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_an_image_that_is_cut_short_is_named(tmp_path: Path, suffix: str) -> None:
    image, _ = cartoon(np.random.default_rng(0), 96)
    file = tmp_path / f"face{suffix}"
    cv2.imwrite(str(file), image)
    whole = file.read_bytes()
    assert not is_cut_short(whole)
    assert read_image(file).shape == image.shape
    file.write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(DataError, match=rf"face\{suffix}: the image is cut short"):
        read_image(file)


def test_the_check_names_images_that_cannot_be_read(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = data / "300w/afw/face03.jpg"
    file.write_bytes(file.read_bytes()[:1500])
    (data / "wider/train/e/face05.jpg").write_bytes(b"")
    assert ended("data", "check", data, "--decode") in (0, None)
    told = capsys.readouterr().out
    assert "2 labels or images cannot be right" in told
    assert "face03.jpg: the image is cut short" in told
    assert "face05.jpg: not an image that can be decoded" in told


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("30 30 -20 20", r"the box 30 30 -20 20 \(x y width height\) has no area"),
        ("30 30 0 20", "the box 30 30 0 20 .* has no area"),
        ("300 300 20 20", "the box 300 300 20 20 .* lies outside the image of 128 x 128"),
    ],
)
def test_boxes_that_cannot_be_right_are_counted_and_refused(
    data: Path,
    row: str,
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    table = data / "wider/train_bbx_gt.txt"
    lines = table.read_text().splitlines()
    lines[2] = f"{row} 0 0 0 0 0 0"
    table.write_text("\n".join(lines))
    with pytest.raises(DataError, match=f"1 of 13 labels cannot be right: .*face00.jpg: {problem}"):
        sound_boxes(read_wider(data))
    marked = sound_boxes(read_wider(data), skip=1)
    assert marked.invalid[0].all()
    assert not sum(each.sum() for each in marked.invalid[1:])
    assert ended("data", "check", data) in (0, None)
    assert "1 labels or images cannot be right" in capsys.readouterr().out
    message = ended("train", "face-detector", "--data", data, "--out", tmp_path / "run", "--steps", "1")
    assert "labels cannot be right" in str(message)


def test_an_empty_list_is_refused_and_a_byte_order_mark_is_read(data: Path, tmp_path: Path) -> None:
    table = data / "wider/train_bbx_gt.txt"
    content = table.read_text()
    table.write_text("\ufeff" + content, encoding="utf-8")
    assert len(read_wider(data)) == 13
    table.write_text("")
    message = ended("train", "face-detector", "--data", data, "--out", tmp_path / "run", "--steps", "1")
    assert "wider: the list names no image" in str(message)


def test_fewer_than_twelve_faces_are_refused_before_the_first_step(tmp_path: Path) -> None:
    few = write_data(tmp_path / "few", each=3)
    for recipe in ("landmarks-68", "pwc"):
        message = ended("train", recipe, "--data", few, "--out", tmp_path / "run", "--steps", "1", "--minutes", "1")
        assert "every 12th is held out for validation, so at least 12 are needed" in str(message)
    assert not (tmp_path / "run").exists()


def test_a_held_out_image_that_cannot_be_read_is_named_before_the_first_step(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", each=13)
    held = read_300w(data).files[11]
    held.write_bytes(held.read_bytes()[:1500])
    for recipe in ("landmarks-68", "pwc"):
        run = ("train", recipe, "--data", data, "--out", tmp_path / "run", "--steps", "1", "--minutes", "1")
        message = str(ended(*run))
        assert f"1 of 3 images cannot be read: {held}: the image is cut short" in message, recipe
        assert "leave them out with --skip-bad 1" in message
    assert not (tmp_path / "run").exists()


def test_images_that_cannot_be_read_are_left_out_up_to_a_number(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = read_300w(write_data(tmp_path / "data", each=13)).files[:4]
    files[2].write_bytes(b"")
    assert readable(files, skip=1) == [0, 1, 3]
    assert f"left out: {files[2]}: not an image that can be decoded" in caplog.text
    with pytest.raises(DataError, match="1 of 1 images cannot be read"):
        readable(files[2:3], skip=5)
    assert readable([tmp_path / "film.mp4" / "7"]) == [0], "a frame of a video is not decoded"
