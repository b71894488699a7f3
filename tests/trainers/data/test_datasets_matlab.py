"""AFLW, MERL-RAV, COFW, COFW-68 and WFLW, from miniature copies in the layouts that are downloaded."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from nasion.engines.errors import MissingExtra
from nasion.trainers.data import DataError, read_aflw, read_cofw, read_image, read_set, read_wflw, recognised
from nasion.trainers.data.readers import aflw as aflw_module

from ...support.data_sets.published_layouts import (
    face,
    numbered_image,
    write_aflw,
    write_cells,
    write_cofw,
    write_cofw68,
    write_merl_rav,
    write_wflw,
)


@pytest.fixture
def four_of_six_train(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aflw_module, "AFLW_TRAINED_ON", 4)


@pytest.mark.usefixtures("four_of_six_train")
def test_aflw_is_split_in_the_published_order(tmp_path: Path) -> None:
    write_aflw(tmp_path / "AFLW")
    train, test = (read_set("aflw", tmp_path, part=part) for part in ("train", "test"))
    assert [file.name for file in train.files] == [f"image{i:05}.jpg" for i in (5, 4, 3, 2)]
    assert [file.parent.name for file in test.files] == ["2", "0"]
    np.testing.assert_allclose(test.points, np.stack([face(1, 19), face(0, 19)]), atol=1e-4)
    assert test.boxes is not None
    assert test.boxes.tolist() == [[1, 5, 41, 50], [0, 5, 40, 50]], "left, right, top, bottom in the file"


@pytest.mark.usefixtures("four_of_six_train")
def test_aflw_frontal_are_the_faces_of_which_all_is_seen(tmp_path: Path) -> None:
    full = read_aflw(write_aflw(tmp_path / "aflw"), test=True)
    assert full.visible is not None
    assert full.visible[0].tolist() == [1, 1, 1, 0] + [1] * 15
    assert {name: mask.tolist() for name, mask in full.subsets.items()} == {
        "full": [True, True],
        "frontal": [False, True],
    }
    frontal = read_set("aflw-frontal", tmp_path, part="test")
    assert (frontal.name, frontal.files) == ("aflw-frontal", full.files[1:])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mask_new": np.ones((6, 18))}, r"mask_new is \(6, 18\); expected \(6, 19\)"),
        ({"data": np.ones((6, 42))}, r"data is \(6, 42\); expected \(6, 38\)"),
        ({"ra": np.array([[1, 2, 3, 4, 5, 5]])}, "ra is not an order of the 6 faces"),
    ],
)
def test_an_array_of_aflw_of_another_shape_is_named(
    tmp_path: Path, changed: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_aflw(write_aflw(tmp_path, **changed))


def test_missing_images_of_aflw_are_named(tmp_path: Path) -> None:
    write_aflw(tmp_path, images=False)
    with pytest.raises(DataError, match=r"AFLW's images are missing; expected flickr/0, flickr/2 and flickr/3"):
        read_aflw(tmp_path)
    (tmp_path / "flickr" / "0").mkdir(parents=True)
    with pytest.raises(DataError, match=r"image00005\.jpg: image is missing; .*release\.mat, row 6, refers to it"):
        read_aflw(tmp_path)


def test_a_matlab_file_that_is_damaged_or_lacks_a_variable_is_named(tmp_path: Path) -> None:
    table = tmp_path / "AFLWinfo_release.mat"
    scipy.io.savemat(table, {"data": np.zeros((1, 38))})
    with pytest.raises(DataError, match="lacks nameList, bbox, mask_new, ra; expected a MATLAB file with"):
        read_aflw(tmp_path)
    for content in (b"", b"no MATLAB file at all", table.read_bytes()[:150]):
        table.write_bytes(content)
        with pytest.raises(DataError, match=r"release\.mat: cannot be read \(.*\); expected a MATLAB file"):
            read_aflw(tmp_path)


@pytest.mark.parametrize("organised", [True, False], ids=["organised", "labels apart"])
def test_merl_rav_tells_hidden_by_the_face_from_occluded(tmp_path: Path, organised: bool) -> None:
    data = read_set("merl-rav", write_merl_rav(tmp_path, organised=organised), part="train")
    assert data.visible is not None
    np.testing.assert_array_equal(data.visible[:, :3], [[np.nan, 0, 1]] * 5)
    assert np.isnan(data.points[:, 0]).all()
    np.testing.assert_allclose(data.points[:, 1:], np.stack([face(i)[1:] for i in range(5)]), atol=1e-3)
    assert {name: int(mask.sum()) for name, mask in data.subsets.items()} == {
        "frontal": 1,
        "left": 1,
        "lefthalf": 1,
        "right": 1,
        "righthalf": 1,
        "half-profile": 2,
        "profile": 2,
    }
    assert all(read_image(file).shape == (64, 64, 3) for file in data.files)


def test_several_faces_of_merl_rav_share_an_image_of_aflw(tmp_path: Path) -> None:
    apart = read_set("merl-rav", write_merl_rav(tmp_path / "a", organised=False), part="train")
    assert apart.files[0] == tmp_path / "a" / "aflw" / "flickr" / "2" / "image00000.jpg"
    organised = read_set("merl-rav", write_merl_rav(tmp_path / "b", organised=True), part="train")
    assert organised.files[0].name == "image00000_1.jpg"


def test_organised_images_of_merl_rav_come_before_labels_alone(tmp_path: Path) -> None:
    write_merl_rav(write_merl_rav(tmp_path, organised=False), organised=True)
    assert "merl_rav_organized" in str(read_set("merl-rav", tmp_path, part="test").files[0])
    assert recognised(tmp_path) == [("merl-rav", "train"), ("merl-rav", "test")]


def test_what_is_wrong_with_merl_rav_is_named(tmp_path: Path) -> None:
    write_merl_rav(tmp_path, organised=False)
    label = tmp_path / "merl_rav_labels" / "left" / "trainset" / "labels" / "image00101.pts"
    good = label.read_text()
    label.write_text(good.replace("-1.0000 -1.0000", "5 -7", 1))
    with pytest.raises(DataError, match=r"image00101\.pts: landmark 1 is \(5, -7\); expected \(x, y\) where"):
        read_set("merl-rav", tmp_path, part="train")
    label.write_text(good)
    (tmp_path / "aflw" / "flickr" / "2" / "image00101.jpg").unlink()
    with pytest.raises(DataError, match=r"image00101\.jpg is missing; .*image00101\.pts refers to it"):
        read_set("merl-rav", tmp_path, part="train")
    (tmp_path / "aflw").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="no images beside the labels; expected merl_rav_organized"):
        read_set("merl-rav", tmp_path, part="train")


def test_cofw_comes_with_occlusion_and_boxes(tmp_path: Path) -> None:
    write_cofw(tmp_path / "COFW")
    for part in ("train", "test"):
        data = read_set("cofw", tmp_path, part=part)
        assert data.visible is not None
        assert data.boxes is not None
        np.testing.assert_allclose(data.points, np.stack([face(i, 29) for i in range(3)]), atol=1e-4)
        assert (data.visible == 0).sum(axis=1).tolist() == [0, 1, 2]
        assert data.boxes.tolist() == [[i, 4, i + 40, 48] for i in range(3)]


def test_images_of_cofw_have_their_colours_and_their_way_up(tmp_path: Path) -> None:
    files = read_cofw(write_cofw(tmp_path)).files
    np.testing.assert_array_equal(read_image(files[0]), numbered_image(0))
    np.testing.assert_array_equal(read_image(files[2]), numbered_image(2))
    grey = read_image(files[1])
    np.testing.assert_array_equal(grey, np.repeat(numbered_image(1)[..., 1:2], 3, axis=2))


def test_the_grey_release_of_cofw_will_do(tmp_path: Path) -> None:
    write_cofw(tmp_path)
    for part in ("train", "test"):
        (tmp_path / f"COFW_{part}_color.mat").rename(tmp_path / f"COFW_{part}.mat")
    assert read_cofw(tmp_path, test=True).files[0] == tmp_path / "COFW_test.mat" / "IsT" / "1"


def test_what_is_wrong_with_cofw_is_named(tmp_path: Path) -> None:
    path = tmp_path / "COFW_train_color.mat"
    with pytest.raises(DataError, match=r"holds no train part of cofw; .*COFW_train_color\.mat with IsTr, phisTr"):
        read_cofw(tmp_path)
    scipy.io.savemat(path, {"IsTr": np.zeros(1)})
    with pytest.raises(DataError, match=r"train_color\.mat: not a file of that version; expected a MATLAB file of"):
        read_cofw(tmp_path)
    with h5py.File(path, "w") as file:
        write_cells(file, "IsTr", [numbered_image(0)], grey=1)
    with pytest.raises(DataError, match="lacks phisTr, bboxesTr; expected"):
        read_cofw(tmp_path)
    with h5py.File(path, "a") as file:
        file["phisTr"], file["bboxesTr"] = np.zeros((58, 1)), np.zeros((4, 1))
    with pytest.raises(DataError, match=r"phisTr is \(1, 58\); expected \(1, 87\), a row for each image"):
        read_cofw(tmp_path)


@pytest.mark.parametrize("place", ["", "cofw", "COFW68_Data"])
def test_cofw68_takes_its_images_from_cofw(tmp_path: Path, place: str) -> None:
    write_cofw68(tmp_path / "COFW68_Data")
    write_cofw(tmp_path / place)
    data = read_set("cofw68", tmp_path, part="test")
    assert data.visible is not None
    assert data.boxes is not None
    np.testing.assert_allclose(data.points, np.stack([face(i) for i in range(3)]), atol=1e-4)
    assert (data.visible == 0).sum(axis=1).tolist() == [0, 1, 2]
    assert data.boxes.tolist() == [[i, 4, i + 40, 48] for i in range(3)]
    np.testing.assert_array_equal(read_image(data.files[2]), numbered_image(2))


def test_what_is_wrong_with_cofw68_is_named(tmp_path: Path) -> None:
    folder = write_cofw68(tmp_path / "COFW68_Data", faces=2)
    with pytest.raises(DataError, match=r"COFW's test images are missing; expected .*in a folder 'cofw'"):
        read_set("cofw68", tmp_path, part="test")
    write_cofw(tmp_path / "cofw")
    with pytest.raises(DataError, match=r"3_points\.mat: missing; expected a MATLAB file with Points, Occ"):
        read_set("cofw68", tmp_path, part="test")
    scipy.io.savemat(folder / "test_annotations" / "3_points.mat", {"Points": np.zeros((29, 2)), "Occ": np.zeros(29)})
    with pytest.raises(DataError, match=r"3_points\.mat: Points is \(29, 2\), Occ has 29; expected \(68, 2\) and 68"):
        read_set("cofw68", tmp_path, part="test")
    scipy.io.savemat(folder / "test_annotations" / "3_points.mat", {"Points": np.zeros((68, 2)), "Occ": np.zeros(68)})
    with pytest.raises(DataError, match=r"bboxes is \(2, 4\); expected \(3, 4\), a row for each image"):
        read_set("cofw68", tmp_path, part="test")


@pytest.mark.parametrize(("package", "name"), [("h5py", "cofw"), ("scipy.io", "aflw")])
def test_a_missing_package_says_which_extra_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, name: str
) -> None:
    write_aflw(write_cofw(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(MissingExtra, match=r"reading .*\.mat needs .*: pip install 'nasion\[train\]'"):
        read_set(name, tmp_path, part="train")


def test_wflw_comes_with_boxes_and_six_subsets(tmp_path: Path) -> None:
    write_wflw(tmp_path / "WFLW")
    data = read_set("wflw", tmp_path, part="test")
    assert data.boxes is not None
    np.testing.assert_allclose(data.points, np.stack([face(i, 98) for i in range(4)]), atol=1e-4)
    assert data.boxes.tolist() == [[10 + i, 12, 45, 50] for i in range(4)]
    assert list(data.subsets) == ["pose", "expression", "illumination", "make-up", "occlusion", "blur"]
    assert [np.flatnonzero(mask).tolist() for mask in data.subsets.values()] == [[0], [1], [2], [3], [], []]
    assert data.files[0] == data.files[1] == tmp_path / "WFLW" / "WFLW_images" / "0--Parade" / "test 0.jpg"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda fields: fields[1:], r"line 3: has 206 fields; expected 196 coordinates, 4 of the box, 6 attributes"),
        (lambda fields: ["x", *fields[1:]], r"line 3: could not convert string to float: 'x'; expected 196"),
        (
            lambda fields: [*fields[:3], "nan", *fields[4:]],
            r"train\.txt, line 3: 'nan' is not a finite number",
        ),
        (lambda fields: [*fields[:198], "inf", *fields[199:]], r"line 3: 'inf' is not a finite number; expected 196"),
        (lambda fields: [*fields[:200], "2", *fields[201:]], r"line 3: an attribute is neither 0 nor 1"),
        (lambda fields: [*fields[:206], "no.jpg"], r"no\.jpg: image is missing; .*train\.txt, line 3, refers to it"),
    ],
)
def test_a_malformed_line_of_wflw_is_named(tmp_path: Path, change: object, message: str) -> None:
    write_wflw(tmp_path)
    table = tmp_path / "WFLW_annotations" / "list_98pt_rect_attr_train_test" / "list_98pt_rect_attr_train.txt"
    lines = table.read_text().splitlines()
    lines[2] = " ".join(change(lines[2].replace("train 1", "train_1").split()))  # type: ignore[operator]
    table.write_text("\n".join(lines))
    with pytest.raises(DataError, match=message):
        read_wflw(tmp_path)
    table.write_text("\n")
    with pytest.raises(DataError, match=r"train\.txt: is empty; expected lines of 196"):
        read_wflw(tmp_path)
    table.write_bytes("é".encode("latin-1"))
    with pytest.raises(DataError, match=r"train\.txt: is not text in UTF-8"):
        read_wflw(tmp_path)
