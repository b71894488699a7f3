from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from nasion.trainers.datasets import (
    DataError,
    read_300w,
    read_aflw68,
    read_image,
    read_negatives,
    read_pts,
    read_pts_folders,
    read_wider,
    read_ytf68,
    split_validation,
)


def write_picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((20, 30, 3), 90, np.uint8))


def write_pts(path: Path, rows: list[str], *, head: str = "version: 1\nn_points: 68\n{\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + "\n".join(rows) + "\n}\n")
    return path


def test_pts_points_become_zero_based(tmp_path: Path) -> None:
    points = read_pts(write_pts(tmp_path / "a.pts", [f"{i + 1}.0 {2 * i + 1}.5" for i in range(68)]))
    assert points.shape == (68, 2)
    np.testing.assert_allclose(points[3], [3, 6.5])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["1 2"] * 67, r"a\.pts: has 67 points; expected .*n_points: 68"),
        (["1 2"] * 5 + ["1 x"] + ["1 2"] * 62, r"a\.pts, line 9: '1 x' is not two numbers"),
    ],
)
def test_a_malformed_pts_file_is_named_with_its_line(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_pts(write_pts(tmp_path / "a.pts", rows))


def test_a_pts_file_without_its_picture_is_named(tmp_path: Path) -> None:
    write_pts(tmp_path / "s" / "a.pts", ["1 2"] * 68)
    with pytest.raises(DataError, match=r"expected a\.jpg or a\.png"):
        read_pts_folders("s", [tmp_path / "s"])


def test_a_folder_of_pictures_and_points_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_pts(tmp_path / "s" / f"{name}.pts", ["1 2"] * 68)
        write_picture(tmp_path / "s" / f"{name}.jpg")
    data = read_pts_folders("s", [tmp_path / "s"])
    assert [file.name for file in data.files] == ["a.jpg", "b.jpg"]
    assert read_image(data.files[0]).shape == (20, 30, 3)
    assert len(data.pick([1])) == 1


def test_wrong_places_say_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="point --data at the folder"):
        read_300w(tmp_path)
    with pytest.raises(DataError, match=r"train\.npz: missing"):
        read_aflw68(tmp_path)
    with pytest.raises(DataError, match="missing; expected WIDER FACE"):
        read_wider(tmp_path)
    (tmp_path / "negatives" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match=r"holds no \.jpg file"):
        read_negatives(tmp_path)
    with pytest.raises(DataError, match="picture is missing"):
        read_image(tmp_path / "none.jpg")


def write_wider(root: Path, text: str) -> Path:
    (root / "wider").mkdir(parents=True)
    (root / "wider" / "train_bbx_gt.txt").write_text(text)
    return root


def test_wider_boxes_keep_their_corners_and_marks(tmp_path: Path) -> None:
    text = "e/a.jpg\n2\n10 20 5 6 0 0 0 0 0 0\n1 2 3 4 0 0 0 1 0 0\ne/b.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n"
    data = read_wider(write_wider(tmp_path, text))
    np.testing.assert_allclose(data.boxes[0], [[9.5, 19.5, 14.5, 25.5], [0.5, 1.5, 3.5, 5.5]])
    assert data.invalid[0].tolist() == [False, True]
    assert data.boxes[1].shape == (0, 4)


def test_a_malformed_wider_line_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 4: expected x y w h"):
        read_wider(write_wider(tmp_path, "e/a.jpg\n2\n1 2 3 4 0 0 0 0 0 0\n1 2 3\n"))


def test_validation_takes_every_twelfth_and_nothing_twice() -> None:
    training, held = split_validation(100)
    assert len(held) == 8
    assert sorted([*training, *held]) == list(range(100))


def test_the_real_sets_have_the_published_sizes(shared_data: Path) -> None:
    assert len(read_300w(shared_data)) == 2012
    assert len(read_300w(shared_data, test=True)) == 330
    assert len(read_ytf68(shared_data)) == 3462
    assert len(read_aflw68(shared_data)) == 6300
    wider = read_wider(shared_data, test=True)
    sides = [(boxes[:, 2:] - boxes[:, :2]).min(axis=1) for boxes in wider.boxes]
    assert (len(wider), int((np.concatenate(sides) >= 12).sum())) == (101, 518)
    assert all(file.is_file() for file in wider.files)
