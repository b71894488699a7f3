"""``nasion data check``: what it counts, what it draws and what it says when something is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from nasion.realtime.values.geometry import region_of_points, transform
from nasion.realtime.values.schemes import USUAL
from nasion.tools.main import main
from nasion.trainers.data import LandmarkSet, sheet

from ...support.data_sets.labelled import face_shape, write_data
from ...support.data_sets.published_layouts import write_300vw, write_aflw, write_cofw, write_merl_rav, write_wflw


@pytest.fixture(autouse=True)
def here(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, in which sheets are drawn."""
    folder = tmp_path_factory.mktemp("here")
    monkeypatch.chdir(folder)
    return folder


def check(*arguments: str | Path) -> None:
    """Run the command; it ends the process, as a command does."""
    with pytest.raises(SystemExit) as ended:
        main(["data", "check", *(str(argument) for argument in arguments)])
    assert ended.value.code in (0, None), ended.value.code


def error_of(*arguments: str | Path) -> str:
    """Return the message with which the command fails."""
    with pytest.raises(SystemExit) as ended:
        main(["data", "check", *(str(argument) for argument in arguments)])
    assert isinstance(ended.value.code, str)
    return ended.value.code


def rows(text: str) -> dict[str, list[str]]:
    """The figures of each row of the table by its words."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        figures = [word for word in words if re.fullmatch(r"[\d,]+|–", word)]
        found[" ".join(word for word in words if word not in figures)] = figures
    return found


def test_every_set_in_a_folder_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_data(tmp_path, each=3)
    check(tmp_path)
    table = rows(capsys.readouterr().out)
    assert table["300w train"] == ["9", "9", "68", "0", "–", "0"]
    assert table["helen"] == ["3", "3", "68", "0", "–", "0"]
    assert table["aflw68 test"] == ["3", "3", "68", "12", "0", "0"]
    assert table["wider train"] == ["3", "3"]
    assert table["negatives test"] == ["3", "0"]


def test_missing_and_occluded_points_boxes_and_shared_images_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_wflw(tmp_path / "wflw")
    write_cofw(tmp_path / "cofw")
    write_merl_rav(tmp_path / "merl-rav", organised=True)
    write_300vw(tmp_path / "300vw", videos=("114",))
    check(tmp_path)
    table = rows(capsys.readouterr().out)
    assert table["wflw train"] == ["4", "2", "98", "0", "–", "4"]
    assert table["make-up"] == ["1", "1", "98", "0", "–", "1"]
    assert table["blur"] == ["0", "0", "98", "0", "–", "0"]
    assert table["cofw test"] == ["3", "3", "29", "0", "3", "3"]
    assert table["merl-rav train"] == ["5", "5", "68", "5", "5", "0"]
    assert table["300vw test"] == ["4", "4", "68", "0", "–", "0"]


def test_a_set_may_be_named_and_its_images_decoded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_cofw(tmp_path)
    check(root, "--set", "cofw", "--decode")
    assert rows(capsys.readouterr().out)["cofw train"] == ["3", "3", "29", "0", "3", "3", "0"]


def test_the_sheet_shows_a_block_for_each_part(tmp_path: Path) -> None:
    write_data(tmp_path / "data", each=3)
    check(tmp_path / "data", "--out", tmp_path / "sheet.png")
    image = cv2.imread(str(tmp_path / "sheet.png"))
    assert image is not None
    assert image.shape == (10 * (28 + sheet.CELL), 10 * sheet.CELL, 3), "two parts of five sets, a row each"


def test_the_sheet_is_drawn_here_unless_told_otherwise_and_replaces_nothing(
    tmp_path: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_data(tmp_path / "mine", each=3)
    check(tmp_path / "mine")
    assert "faces drawn: mine-sheet.jpg" in capsys.readouterr().out
    whole = cv2.imread(str(here / "mine-sheet.jpg"))
    assert whole is not None
    assert whole.shape[0] == 10 * (28 + sheet.CELL)
    check(tmp_path / "mine", "--set", "300w")
    part = (here / "300w-sheet.jpg").read_bytes()
    for folder in (tmp_path / "mine", tmp_path / "missing"):  # said before anything is read
        asked = (folder, "--set", "300w", *(("--out", "mine-sheet.jpg") if folder.name == "missing" else ()))
        assert "-sheet.jpg' already exists; give another name, or replace it with --force" in error_of(*asked)
    (here / "300w-sheet.jpg").write_bytes(b"old")
    check(tmp_path / "mine", "--set", "300w", "--force")
    assert (here / "300w-sheet.jpg").read_bytes() == part


@pytest.mark.parametrize("landmarks", USUAL)
def test_a_cell_has_green_points_where_the_face_has_them_and_red_ones_where_they_are_occluded(landmarks: int) -> None:
    points = face_shape(landmarks) * 100 + 50
    visible = np.ones(landmarks, np.float32)
    chin = int(points[:, 1].argmax())
    visible[chin], points[0] = 0, np.nan
    grey = np.full((200, 200, 3), 90, np.uint8)
    cell = sheet.face_cell(grey, points, USUAL[landmarks], visible=visible).astype(int)
    matrix = region_of_points(points[1:], margin=1.4).to_crop(sheet.CELL)
    columns, lines = np.nan_to_num(transform(points, matrix)).round().astype(int).T
    blue, green, red = cell[lines[chin], columns[chin]]
    assert red > 200 > max(green, blue)
    seen = 1 if chin != 1 else 2
    blue, green, red = cell[lines[seen], columns[seen]]
    assert green > 200 > max(red, blue)


def test_the_box_of_a_set_is_drawn_in_blue() -> None:
    points = face_shape(19) * 100 + 50
    grey = np.full((200, 200, 3), 90, np.uint8)
    box = np.array([45, 45, 155, 155], np.float32)
    plain, boxed = (sheet.face_cell(grey, points, USUAL[19], box=each).astype(int) for each in (None, box))
    changed = (plain != boxed).any(axis=2)
    assert changed.sum() > 400
    assert (boxed[changed][:, 0] >= boxed[changed][:, 2]).all()


def test_faces_without_any_point_are_left_out_of_the_sheet(tmp_path: Path) -> None:
    points = np.full((2, 19, 2), np.nan, np.float32)
    nothing = LandmarkSet("s", (tmp_path / "a.jpg",) * 2, points, np.zeros(2, np.float32))
    assert list(sheet.face_cells(nothing, 4)) == []
    assert sheet.count(nothing).missing == 38


@pytest.mark.parametrize(("total", "wanted"), [(0, 4), (1, 4), (5, 2), (100, 7), (3, 3)])
def test_images_for_the_sheet_are_spread_from_first_to_last(total: int, wanted: int) -> None:
    chosen = sheet.spread(total, wanted)
    assert len(chosen) == min(total, wanted)
    assert chosen == sorted(set(chosen))
    assert not chosen or (chosen[0] == 0 and (chosen[-1] == total - 1 or wanted == 1))


def test_points_outside_their_image_are_counted(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((20, 30, 3), np.uint8))
    points = np.full((1, 19, 2), 5, np.float32)
    points[0, :5] = [[-0.5, 0], [-0.6, 0], [29.5, 19.5], [29.6, 0], [np.nan, np.nan]]
    assert sheet.outside(LandmarkSet("s", (tmp_path / "a.png",), points, np.zeros(1, np.float32))) == 2


def test_what_is_wrong_is_said_in_one_line(tmp_path: Path) -> None:
    assert "no data set is recognised here; 'nasion data check" in error_of(tmp_path)
    assert "no data set is called 'wlfw'; known: 300w" in error_of(tmp_path, "--set", "wlfw")
    assert "holds no train part of wflw; expected there or in a folder 'wflw': WFLW_images and" in error_of(
        tmp_path, "--set", "wflw"
    )
    assert "not a folder; give the folder that holds the set" in error_of(tmp_path / "none")
    assert "sheet.gif': suffix '.gif'; allowed: .jpg, .png" in error_of(tmp_path, "--out", tmp_path / "sheet.gif")
    write_aflw(tmp_path, images=False)
    assert "AFLW's images are missing; expected flickr/0" in error_of(tmp_path)
