"""Parts that all readers share, sets in the layout of iBUG, and sets for the detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nasion.trainers.data import (
    DataError,
    LandmarkSet,
    landmark_faults,
    layout_of,
    read_300w,
    read_aflw68,
    read_image,
    read_negatives,
    read_pts,
    read_pts_folders,
    read_set,
    read_wider,
    read_ytf68,
    recognised,
    split_validation,
)

from ...support.data_sets.labelled import write_data
from ...support.data_sets.published_layouts import (
    face,
    write_300vw,
    write_300w,
    write_300w_boxes,
    write_folder,
    write_image,
)


def write_rows(path: Path, rows: list[str], *, head: str = "version: 1\nn_points: 68\n{\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + "\n".join(rows) + "\n}\n")
    return path


def test_pts_points_become_zero_based(tmp_path: Path) -> None:
    points = read_pts(write_rows(tmp_path / "a.pts", [f"{i + 1}.0 {2 * i + 1}.5" for i in range(68)]))
    assert points.shape == (68, 2)
    np.testing.assert_allclose(points[3], [3, 6.5])


def test_a_pts_file_may_come_from_windows_and_have_spaces_about(tmp_path: Path) -> None:
    rows = [f" {i + 1}\t{i + 2} \r" for i in range(68)]
    points = read_pts(write_rows(tmp_path / "a.pts", rows, head="version: 1\r\nn_points:  68\r\n { \r\n"))
    np.testing.assert_allclose(points[5], [5, 6])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["1 2"] * 67, r"a\.pts: has 67 points; expected .*n_points: 68"),
        (["1 2"] * 69, r"a\.pts: has 69 points"),
        (["1 2"] * 5 + ["1 x"] + ["1 2"] * 62, r"a\.pts, line 9: '1 x' is not two numbers"),
        (["1 2"] * 5 + ["1 2 3"] + ["1 2"] * 62, r"a\.pts, line 9: '1 2 3' is not two numbers"),
        (["1 2"] * 5 + ["1 nan"] + ["1 2"] * 62, r"a\.pts, line 9: '1 nan' is not two finite numbers"),
        (["inf 2"] + ["1 2"] * 67, r"a\.pts, line 4: 'inf 2' is not two finite numbers"),
    ],
)
def test_a_malformed_pts_file_is_named_with_its_line(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_pts(write_rows(tmp_path / "a.pts", rows))


def test_a_pts_file_without_a_block_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.pts").write_text("1 2\n3 4\n")
    with pytest.raises(DataError, match=r"a\.pts: has no \{ … \} block; expected"):
        read_pts(tmp_path / "a.pts")
    with pytest.raises(DataError, match=r"b\.pts: annotation is missing"):
        read_pts(tmp_path / "b.pts")


def test_a_pts_file_without_its_image_is_named(tmp_path: Path) -> None:
    write_rows(tmp_path / "s" / "a.pts", ["1 2"] * 68)
    with pytest.raises(DataError, match=r"expected a\.jpg or a\.png"):
        read_pts_folders("s", [tmp_path / "s"])


def test_a_folder_of_images_and_points_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    write_folder(tmp_path / "s", (2, 1))
    write_folder(tmp_path / "s", (3,), suffix=".png")
    data = read_pts_folders("s", [tmp_path / "s"])
    assert [file.name for file in data.files] == ["image_0001.jpg", "image_0002.jpg", "image_0003.png"]
    assert read_image(data.files[0]).shape == (64, 64, 3)
    np.testing.assert_allclose(data.points[1], face(2), atol=1e-3)


def test_mirrored_copies_in_a_folder_are_left_out(tmp_path: Path) -> None:
    write_folder(tmp_path / "s", (1,))
    write_rows(tmp_path / "s" / "image_0001_mirror.pts", ["1 2"] * 68)
    write_image(tmp_path / "s" / "image_0001_mirror.jpg")
    assert len(read_pts_folders("s", [tmp_path / "s"])) == 1


def test_300w_has_the_published_parts_and_subsets(tmp_path: Path) -> None:
    write_300w(tmp_path / "300W")
    assert len(read_set("300w", tmp_path, part="train")) == 6
    test = read_set("300w", tmp_path, part="test")
    sizes = {name: int(mask.sum()) for name, mask in test.subsets.items()}
    assert sizes == {"helen": 2, "lfpw": 1, "ibug": 3, "common": 3, "challenging": 3, "full": 6}
    np.testing.assert_allclose(test.points[3], face(9), atol=1e-3)
    assert [file.parent.name for file in test.pick(np.flatnonzero(test.subsets["challenging"])).files] == ["ibug"] * 3


def test_300w_names_no_subset_of_which_a_part_is_missing(tmp_path: Path) -> None:
    write_folder(tmp_path / "300w" / "helen" / "testset", (1, 2))
    assert list(read_300w(tmp_path, test=True).subsets) == ["helen"]
    write_folder(tmp_path / "300w" / "ibug", (3,))
    assert list(read_300w(tmp_path, test=True).subsets) == ["helen", "ibug", "challenging"]


def test_a_set_is_found_in_its_folder_and_in_the_one_above(tmp_path: Path) -> None:
    root = write_300w(tmp_path / "data_300W")
    assert read_set("300w", root, part="train").files == read_set("300w", tmp_path, part="train").files
    assert recognised(root) == recognised(tmp_path)
    assert recognised(root) == [("300w", "train"), ("300w", "test"), ("300w-private", "test")]


def test_300w_private_is_split_into_indoor_and_outdoor(tmp_path: Path) -> None:
    data = read_set("300w-private", write_300w(tmp_path / "300W"), part="test")
    assert data.subsets["indoor"].tolist() == [True, True, False]
    assert data.subsets["outdoor"].tolist() == [False, False, True]
    with pytest.raises(DataError, match="300w-private has no part 'train'; it has test"):
        read_set("300w-private", tmp_path, part="train")


def test_300w_has_the_boxes_of_its_detector_where_they_lie_beside(tmp_path: Path) -> None:
    root = write_300w(tmp_path)
    assert read_300w(root).boxes is None
    write_300w_boxes(root)
    boxes = read_300w(root).boxes
    assert boxes is not None
    np.testing.assert_allclose(boxes[:4], [[0, 0, 30, 40], [1, 2, 31, 42], [2, 4, 32, 44], [0, 0, 30, 40]])
    write_folder(root / "afw", (20,))
    with pytest.raises(DataError, match=r"has no box for .*image_0020\.jpg; expected bb_detector"):
        read_300w(root)


def test_a_missing_folder_of_300w_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path / "300w" / "afw", (1,))
    with pytest.raises(DataError, match=r"helen.trainset: not a folder; expected NAME\.pts beside NAME\.jpg"):
        read_300w(tmp_path)
    (tmp_path / "300w" / "helen" / "trainset").mkdir(parents=True)
    with pytest.raises(DataError, match=r"trainset: holds no \.pts file; expected NAME\.pts beside"):
        read_300w(tmp_path)


def test_masked_300w_has_the_subsets_of_300w(tmp_path: Path) -> None:
    for i, name in enumerate(("helen/testset", "lfpw/testset", "ibug")):
        write_folder(tmp_path / "Masked_300W" / name, (i,))
    data = read_set("masked300w", tmp_path, part="test")
    assert data.subsets["common"].tolist() == [True, True, False]
    assert recognised(tmp_path) == [("masked300w", "test")], "not taken for 300W, whose folders bear the same names"


def test_300vw_reads_the_test_videos_by_category_and_the_others_to_train(tmp_path: Path) -> None:
    root = write_300vw(tmp_path / "300VW_Dataset_2015_12_14")
    test, train = read_set("300vw", tmp_path, part="test"), read_set("300vw", root, part="train")
    assert (len(test), len(train)) == (12, 4)
    assert {name: int(mask.sum()) for name, mask in test.subsets.items()} == dict.fromkeys(
        ("category-1", "category-2", "category-3"), 4
    )
    assert train.files[2] == root / "001" / "vid.avi" / "4", "the third frame is not annotated"
    np.testing.assert_allclose(train.points[2], face(3), atol=1e-3)


def test_300vw_without_its_video_or_with_another_file_among_the_annotations_is_named(tmp_path: Path) -> None:
    root = write_300vw(tmp_path / "300vw", videos=("001",))
    write_rows(root / "001" / "annot" / "first.pts", ["1 2"] * 68)
    with pytest.raises(DataError, match=r"first\.pts: its name is not the number of a frame; expected a folder"):
        read_set("300vw", root, part="train")
    (root / "001" / "vid.avi").unlink()
    with pytest.raises(DataError, match=r"vid\.avi: missing; expected a folder for each video"):
        read_set("300vw", root, part="train")
    with pytest.raises(DataError, match="holds no test part of 300vw; expected there or in a folder '300vw'"):
        read_set("300vw", root, part="test")


def test_wrong_places_say_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no train part of 300w; .*helen/trainset, lfpw/trainset and afw"):
        read_300w(tmp_path)
    with pytest.raises(DataError, match=r"holds no train part of aflw68; .*train\.npz"):
        read_aflw68(tmp_path)
    with pytest.raises(DataError, match=r"holds no train part of wider; .*wider_face_train_bbx_gt\.txt"):
        read_wider(tmp_path)
    with pytest.raises(DataError, match="none: not a folder; give the folder that holds the set"):
        read_ytf68(tmp_path / "none")
    with pytest.raises(DataError, match=r"no set of labelled faces is called 'wlfw'; known: 300w, .*wflw"):
        read_set("wlfw", tmp_path, part="train")
    with pytest.raises(DataError, match=r"no data set is called 'x'; known: .*wider, negatives"):
        layout_of("x")
    (tmp_path / "negatives" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match=r"holds no \.jpg file"):
        read_negatives(tmp_path)


def test_aflw68_keeps_yaw_visibility_and_bands_of_yaw(tmp_path: Path) -> None:
    data = read_aflw68(write_data(tmp_path, each=3))
    assert data.visible is not None
    np.testing.assert_array_equal(np.isnan(data.visible), np.isnan(data.points[..., 0]))
    assert np.isnan(data.visible[:, :4]).all()
    assert (data.visible[:, 4:] == 1).all()
    assert data.yaw.tolist() == [-85, 0, 85]
    assert {name: mask.tolist() for name, mask in data.subsets.items() if mask.any()} == {
        "yaw-0-20": [False, True, False],
        "yaw-75-90": [True, False, True],
    }


def test_aflw68_names_what_its_table_lacks(tmp_path: Path) -> None:
    (tmp_path / "aflw68" / "train").mkdir(parents=True)
    table = tmp_path / "aflw68" / "train.npz"
    np.savez(table, name=np.array(["a"]), yaw=np.zeros(1), points=np.zeros((1, 68, 2)))
    with pytest.raises(DataError, match=r"train\.npz: lacks visibility; expected"):
        read_aflw68(tmp_path)
    np.savez(table, name=np.array(["a"]), yaw=np.zeros(1), points=np.zeros((1, 68, 2)), visibility=np.zeros((1, 21)))
    with pytest.raises(DataError, match=r"visibility is \(1, 21\); expected .*visibility \(n,68\)"):
        read_aflw68(tmp_path)
    np.savez(table, name=np.array(["a"]), yaw=np.zeros(1), points=np.zeros((1, 68, 2)), visibility=np.zeros((1, 68)))
    with pytest.raises(DataError, match=r"a\.jpg: image is missing; .*train\.npz refers to it"):
        read_aflw68(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no table", b"PK\x03\x04 cut short"])
def test_a_damaged_table_of_aflw68_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "aflw68" / "train").mkdir(parents=True)
    (tmp_path / "aflw68" / "train.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"train\.npz: cannot be read \(.*\); expected folders train and test"):
        read_aflw68(tmp_path)


def test_picking_keeps_all_that_is_known_of_a_face() -> None:
    points = np.arange(3 * 68 * 2, dtype=np.float32).reshape(3, 68, 2)
    files = tuple(Path(name) for name in "abc")
    boxes, yaw = np.eye(3, 4, dtype=np.float32), np.arange(3, dtype=np.float32)
    data = LandmarkSet("s", files, points, yaw, points[..., 0], boxes, {"odd": np.array([False, True, False])})
    picked = data.pick([2, 1])
    assert picked.visible is not None
    assert picked.boxes is not None
    assert [file.name for file in picked.files] == ["c", "b"]
    np.testing.assert_array_equal(picked.points, points[[2, 1]])
    np.testing.assert_array_equal(picked.visible, points[[2, 1], :, 0])
    np.testing.assert_array_equal(picked.boxes, boxes[[2, 1]])
    assert picked.subsets["odd"].tolist() == [False, True]
    assert len(picked.pick([])) == 0


def test_a_set_knows_its_scheme_by_the_number_of_points() -> None:
    yaw = np.zeros(1, np.float32)
    assert LandmarkSet("s", (Path("a"),), np.zeros((1, 29, 2), np.float32), yaw).scheme.name == "cofw-29"
    with pytest.raises(DataError, match="s: no scheme has 5 points"):
        _ = LandmarkSet("s", (Path("a"),), np.zeros((1, 5, 2), np.float32), yaw).scheme


WIDER = "e/a.jpg\n2\n10 20 5 6 0 0 0 0 0 0\n1 2 3 4 0 0 0 1 0 0\ne/b.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n"


def write_wider(root: Path, text: str) -> Path:
    for name in "ab":
        write_image(root / "wider" / "train" / "e" / f"{name}.jpg")
    (root / "wider" / "train_bbx_gt.txt").write_text(text)
    return root


def test_wider_boxes_keep_their_corners_and_marks(tmp_path: Path) -> None:
    data = read_wider(write_wider(tmp_path, WIDER))
    np.testing.assert_allclose(data.boxes[0], [[9.5, 19.5, 14.5, 25.5], [0.5, 1.5, 3.5, 5.5]])
    assert data.invalid[0].tolist() == [False, True]
    assert data.boxes[1].shape == (0, 4)


def test_wider_is_read_as_it_was_published(tmp_path: Path) -> None:
    (tmp_path / "wider_face_split").mkdir()
    for part in ("train", "val"):
        (tmp_path / "wider_face_split" / f"wider_face_{part}_bbx_gt.txt").write_text(WIDER)
        for name in "ab":
            write_image(tmp_path / f"WIDER_{part}" / "images" / "e" / f"{name}.jpg")
    assert len(read_wider(tmp_path)) == 2
    assert read_wider(tmp_path, test=True).files[1] == tmp_path / "WIDER_val" / "images" / "e" / "b.jpg"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("e/a.jpg\n2\n1 2 3 4 0 0 0 0 0 0\n1 2 3\n", "line 4: found '1 2 3'; expected ten numbers x y w h blur"),
        ("e/a.jpg\n2\n1 2 3 4 0 0 0 0 0 0\n", "line 4: found nothing; expected ten numbers"),
        ("e/a.jpg\n1 2 3 4 0 0 0 0 0 0\n", "line 2: found '1 2 3 4 0 0 0 0 0 0'; expected the number of boxes"),
        ("e/a.jpg\n", "line 2: found nothing; expected the number of boxes"),
        ("e/a.jpg\n1\n1 nan 3 4 0 0 0 0 0 0\n", "line 3: found '1 nan 3 4 .*'; expected ten numbers"),
        ("e/c.jpg\n1\n1 2 3 4 0 0 0 0 0 0\n", r"c\.jpg: image is missing; .*train_bbx_gt\.txt, line 1, refers"),
    ],
)
def test_a_malformed_wider_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_wider(write_wider(tmp_path, text))


def test_a_list_that_is_not_a_text_is_named(tmp_path: Path) -> None:
    home = write_wider(tmp_path, "e/a.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n")
    (table,) = home.rglob("*train_bbx_gt.txt")
    table.write_bytes(b"e/\xff.jpg\n0\n")
    with pytest.raises(DataError, match=r"train_bbx_gt\.txt: is not text in UTF-8 .*0xff"):
        read_wider(home)


@pytest.mark.parametrize("broken", [(3.0, float("nan")), (float("nan"), 3.0), (float("inf"), 3.0)])
def test_a_point_has_two_coordinates_or_none(tmp_path: Path, broken: tuple[float, float]) -> None:
    """Whatever the reader: half a point would count as annotated."""
    points = np.ones((2, 19, 2), np.float32)
    points[0, 1] = np.nan
    files, yaw = (tmp_path / "a.jpg", tmp_path / "b.jpg"), np.zeros(2, np.float32)
    assert len(LandmarkSet("s", files, points, yaw).checked()) == 2
    points[1, 4] = broken
    with pytest.raises(DataError, match=r"s: landmark 5 of .*b\.jpg is \(.*\); expected two numbers, or none"):
        LandmarkSet("s", files, points, yaw).checked()
    fault = landmark_faults(LandmarkSet("s", files, points, yaw))[-1]
    assert (fault.index, fault.file) == (1, files[1])
    assert "is not two numbers, nor none for both" in fault.problem


def test_validation_takes_every_twelfth_and_nothing_twice() -> None:
    training, held = split_validation(100)
    assert len(held) == 8
    assert sorted([*training, *held]) == list(range(100))


def test_the_real_sets_have_the_published_sizes(shared_data: Path) -> None:
    assert len(read_300w(shared_data)) == 2122
    assert len(read_300w(shared_data, test=True)) == 330
    assert len(read_ytf68(shared_data)) == 3462
    aflw = read_aflw68(shared_data)
    assert aflw.visible is not None
    np.testing.assert_array_equal(np.isnan(aflw.visible), np.isnan(aflw.points[..., 0]))
    assert (len(aflw), sum(int(mask.sum()) for mask in aflw.subsets.values())) == (12591, 12591)
    wider = read_wider(shared_data, test=True)
    sides = [(boxes[:, 2:] - boxes[:, :2]).min(axis=1) for boxes in wider.boxes]
    assert (len(wider), int((np.concatenate(sides) >= 12).sum())) == (101, 518)


def test_all_real_sets_are_recognised(shared_data: Path) -> None:
    names = ("300w", "ytf68", "aflw68", "wider", "negatives")
    assert recognised(shared_data) == [(name, part) for name in names for part in ("train", "test")]
