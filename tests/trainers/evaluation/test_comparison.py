"""Networks beside their papers: where crops lie, what is measured, what is printed, drawn and written."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from nasion.engines import zoo
from nasion.engines.errors import ModelError
from nasion.engines.spec import Spec
from nasion.tools.commands.evaluate_papers import table
from nasion.trainers.data import LandmarkSet
from nasion.trainers.evaluation.comparison import beside, errors_by, measure, over_seeds, paired, usual_errors
from nasion.trainers.evaluation.tracking import Located
from nasion.trainers.systems.locating import Model, locate_at_truth, locate_by_detector, locate_in_images, opened

from ...support.data_sets.labelled import face_shape, write_data
from ...support.fakes.networks import RED, TEMPLATE, Constant, Disc, DiscAligner, DiscDetector, FakeRuntime, draw
from ...support.model_files.trained import write_checkpoint

NAN = float("nan")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def faces(count: int = 3, landmarks: int = 68, name: str = "300w", **more: object) -> LandmarkSet:
    """Faces of 100 pixels at growing distances from the corner, without images."""
    points = np.stack([face_shape(landmarks) * 100 + 10 * i for i in range(count)])
    files = tuple(Path(f"{i}.png") for i in range(count))
    return LandmarkSet(name, files, points, np.full(count, NAN, np.float32), **more)  # type: ignore[arg-type]


def shifted(data: LandmarkSet, *shifts: float) -> Located:
    """Every point of each face moved to the right by so many pixels; NaN for not found."""
    points = data.points + np.array(shifts, np.float32)[:, None, None] * np.float32([1, 0])
    return Located(points, np.ones(points.shape[:2], np.float32))


# --- crops


class Brightness(FakeRuntime):
    """A landmark network that answers where the crop's brightness puts all points: x is the mean over the crop."""

    def __init__(self) -> None:
        super().__init__(Spec("landmarks", "bright", (32, 32), landmarks=68, crop_margin=1.5))

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        self.batches.append(images.shape)
        x = 255 * images.mean(axis=(1, 2, 3))
        points = np.stack([x, np.full_like(x, 7)], axis=1)[:, None].repeat(68, axis=1).astype(np.float32)
        return {"points": points, "confidence": np.ones(points.shape[:2], np.float32)}


def test_points_come_back_from_crops_around_the_annotation_in_the_order_of_the_faces(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    points, files = [], []
    for i in range(18):  # more than one batch
        file = tmp_path / f"{i}.png"
        cv2.imwrite(str(file), np.full((200, 200, 3), 10 + i, np.uint8))
        files.append(file)
        points.append(face_shape() * 60 + rng.uniform(30, 90, 2))
        points[-1][5] = NAN  # not annotated
    data = LandmarkSet("x", tuple(files), np.stack(points).astype(np.float32), np.full(18, NAN, np.float32))
    network = Brightness()
    located = locate_at_truth(network, data)
    assert [shape[0] for shape in network.batches] == [16, 2]
    for i, face in enumerate(points):
        low, high = np.nanmin(face, axis=0), np.nanmax(face, axis=0)
        side = 1.5 * (high - low).max()
        crop = np.array([10 + i, 7.0])  # the crop lies within the image: its brightness is the image's
        expected = (low + high) / 2 + ((crop + 0.5) / 32 - 0.5) * side
        np.testing.assert_allclose(located.points[i], np.tile(expected, (68, 1)), atol=0.01)


def test_with_a_detector_the_labelled_face_is_found_in_the_whole_image_or_missed(tmp_path: Path) -> None:
    discs = [Disc(RED, 100, 110, 80), Disc(RED, 200, 120, 80)]
    for i, disc in enumerate(discs):
        cv2.imwrite(str(tmp_path / f"{i}.png"), draw(disc))
    truth = np.stack([TEMPLATE * 40 + [100, 110], TEMPLATE * 40 + [60, 60]]).astype(np.float32)
    data = LandmarkSet("x", tuple(tmp_path / f"{i}.png" for i in range(2)), truth, np.full(2, NAN, np.float32))
    located = locate_by_detector(DiscAligner(), DiscDetector(), data)
    assert located.found.tolist() == [True, False]
    np.testing.assert_allclose(located.points[0], truth[0], atol=1.5)


def test_a_network_of_other_points_than_the_set_is_refused() -> None:
    network = Constant(Spec("landmarks", "small", (32, 32), landmarks=29), points=np.zeros((29, 2)))
    with pytest.raises(ModelError, match=r"'small' finds 29 landmarks, the set 300w has 68"):
        locate_at_truth(network, faces())
    with pytest.raises(ModelError, match=r"'small' finds 29 landmarks, the set 300w has 68"):
        locate_by_detector(network, DiscDetector(), faces())


class FindsItself(FakeRuntime):
    """Network that finds faces at given boxes, with all points in the middle, and an empty slot after them."""

    def __init__(self, *boxes: tuple[float, ...]) -> None:
        super().__init__(Spec("faces", "whole", (64, 64), stride=16, landmarks=68))
        self._boxes = list(boxes)

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        self.batches.append(images.shape)
        boxes = np.array([self._boxes.pop(0), (0, 0, 64, 64)], np.float32)[None]
        middle = (boxes[..., :2] + boxes[..., 2:]) / 2
        points = middle[:, :, None].repeat(68, axis=2)
        return {"boxes": boxes, "points": points, "confidence": points[..., 0], "valid": np.float32([[1, 0]])}


def test_a_network_that_finds_faces_itself_gets_images_and_may_miss(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((150, 150, 3), np.uint8))
    truth = np.stack([face_shape() * 80 + 30] * 2).astype(np.float32)
    data = LandmarkSet("x", (tmp_path / "a.png",) * 2, truth, np.full(2, NAN, np.float32))
    low, high = truth[0].min(axis=0), truth[0].max(axis=0)
    side = 51.2 * (high - low) / (high - low).max()  # of an image of 64 pixels the face takes 0.8
    inside = (*(31.5 - side / 2), *(31.5 + side / 2))
    model = Model("whole", "whole", FindsItself(inside, (0, 0, 9, 9)), {})
    located = locate_in_images(model, data, boxes=False)
    assert located.found.tolist() == [True, False]
    np.testing.assert_allclose(located.points[0], np.tile((low + high) / 2, (68, 1)), atol=0.01)
    with pytest.raises(
        ModelError,
        match=r"'whole' .* takes no boxes, like every exported .* own, or .* checkpoint",
    ):
        locate_in_images(model, data, boxes=True)


# --- measuring


def test_figures_are_by_every_norm_and_subset_in_percent() -> None:
    data = faces(subsets={"left": np.array([True, False, False]), "right": np.array([False, True, True])})
    a, b = data.points[0, 36], data.points[0, 45]
    eyes = float(np.linalg.norm(a - b))
    scores = measure(data, shifted(data, 0, eyes / 100, eyes / 20))
    assert set(scores) == {"io", "ip", "box", "diag"}
    assert scores["io"].keys() == {"all", "left", "right"}
    assert scores["io"]["all"]["nme"] == pytest.approx(2, rel=1e-3)
    assert scores["io"]["right"]["nme"] == pytest.approx(3, rel=1e-3)
    assert scores["io"]["right"]["faces"] == 2
    extent = np.ptp(data.points[0], axis=0)
    assert scores["box"]["right"]["nme"] == pytest.approx(3 * eyes / np.sqrt(extent.prod()), rel=1e-3)
    assert scores["diag"]["right"]["nme"] == pytest.approx(3 * eyes / np.hypot(*extent), rel=1e-3)


def test_the_eyes_are_measured_apart() -> None:
    data = faces()
    located = shifted(data, 0, 0, 0)
    located.points[:, 36:48] += 5  # eyes only
    scores = measure(data, located)["io"]["all"]
    assert scores["nme_eyes"] == pytest.approx(scores["nme"] * 68 / 12, rel=1e-3)


def test_faces_that_were_missed_fail_and_do_not_count_in_the_mean() -> None:
    data = faces()
    scores = measure(data, shifted(data, 0, 0, NAN))["io"]["all"]
    assert scores["nme"] == pytest.approx(0, abs=1e-4)
    assert scores["found"] == pytest.approx(200 / 3)
    assert scores["fr_10"] == pytest.approx(100 / 3)


def test_sets_whose_eye_corners_are_not_always_annotated_go_by_the_box() -> None:
    data = faces(boxes=np.tile(np.float32([0, 0, 30, 40]), (3, 1)))
    located = shifted(data, 5, 5, 5)
    assert usual_errors(data, located)[0] == "io"
    data.points[1, 36] = NAN
    norm, errors = usual_errors(data, located)
    assert norm == "box"
    np.testing.assert_allclose(errors, 5 / 1200**0.5, rtol=1e-4)
    scores = measure(data, shifted(data, 5, 5, 5))
    assert list(scores) == ["box", "diag", "tight-box", "tight-diag"]
    assert scores["diag"]["all"]["nme"] == pytest.approx(10, rel=1e-3)  # of the boxes that come with the set
    assert errors_by("io", data, shifted(data, 5, 5, 5)) is None


def test_aflw_is_measured_by_both_boxes_and_led_by_its_own() -> None:
    data = faces(4386, 19, "aflw", boxes=np.tile(np.float32([0, 0, 150, 150]), (4386, 1)))
    located = shifted(data, *[3] * 4386)
    lines = beside("aflw", over_seeds([measure(data, located)]), "chs")
    ours = {line.figure: (line.ours, line.theirs.value if line.theirs else None) for line in lines}
    assert ours["nme box"] == (pytest.approx(100 * 3 / 150, rel=1e-3), 1.36)
    width, height = np.ptp(data.points[0], axis=0)
    assert ours["nme tight-box"] == (pytest.approx(300 / np.sqrt(width * height), rel=1e-3), 1.91)
    assert ours["nme tight-diag"] == (pytest.approx(300 / np.hypot(width, height), rel=1e-3), 1.26)
    assert not [figure for figure in ours if figure.endswith(("io", "ip"))], "not even where all corners are annotated"


def test_eye_corners_in_one_place_are_not_divided_by() -> None:
    data = faces()
    data.points[2, 36] = data.points[2, 45]
    located = shifted(data, 1, 1, 1)
    norm, errors = usual_errors(data, located)
    assert norm == "box"
    assert np.isfinite(errors).all()
    assert next(iter(measure(data, located))) == "box"
    assert {line.figure for line in beside("300w", over_seeds([measure(data, located)]), "pwc")} >= {"nme box"}


def test_all_faces_are_the_full_set_only_where_their_number_is_the_published_one() -> None:
    whole = faces(507, 29, "cofw")
    assert measure(whole, shifted(whole, *[0] * 507))["io"].keys() == {"full"}
    part = faces(5, 29, "cofw")
    assert measure(part, shifted(part, *[0] * 5))["io"].keys() == {"all"}
    told = faces(3, subsets={"full": np.ones(3, bool)})
    assert measure(told, shifted(told, 0, 0, 0))["io"].keys() == {"full"}


def test_seeds_give_mean_and_deviation() -> None:
    data = faces()
    both = over_seeds([measure(data, shifted(data, *[shift] * 3)) for shift in (1, 3)])
    cell = both["io"]["all"]["nme"]
    assert cell["mean"] == pytest.approx(np.mean(cell["each"]), abs=1e-4)
    assert cell["each"][1] == pytest.approx(3 * cell["each"][0], rel=1e-3)
    assert cell["deviation"] == pytest.approx((cell["each"][1] - cell["each"][0]) / np.sqrt(2), rel=1e-3)


# --- beside the paper


def test_our_figures_stand_beside_the_papers_subset_by_subset() -> None:
    masks = {"helen": np.array([True, True, False]), "ibug": np.array([False, False, True])}
    data = faces(subsets=masks)
    lines = beside("300w", over_seeds([measure(data, shifted(data, 1, 1, 2))]), "pwc-hybrid")
    theirs = {(line.subset, line.figure): line.theirs.value for line in lines if line.theirs}
    assert theirs == {("helen", "nme io"): 3.15, ("ibug", "nme io"): 6.37}
    helen = next(line for line in lines if line.theirs)
    assert (helen.faces, helen.published_faces, helen.same_faces) == (2, 330, False)
    text = table(lines).splitlines()
    assert text[0].split() == ["subset", "faces", "figure", "ours", "paper", "gap"]
    (row,) = [line for line in text if line.startswith("helen") and "NME io" in line]
    assert "2 of 330" in row
    assert "3.15" in row
    assert row.split()[-1] == f"{helen.ours - 3.15:+.2f}"


def test_a_subset_that_is_all_there_is_stands_for_it() -> None:
    data = faces(subsets={"helen": np.ones(3, bool), "lfpw": np.zeros(3, bool)})
    lines = beside("300w", over_seeds([measure(data, shifted(data, 1, 1, 2))]), "pwc")
    assert {line.subset for line in lines} == {"helen"}


def test_norms_that_only_a_paper_uses_are_shown_where_it_does() -> None:
    data = faces(507, 29, "cofw")
    lines = beside("cofw", over_seeds([measure(data, shifted(data, *[1] * 507))] * 2), "chs")
    figures = {line.figure: line.theirs.value if line.theirs else None for line in lines}
    assert figures["nme ip"] == 4.56
    assert figures["auc_10 io"] == 68.33
    assert figures["nme_eyes io"] is None
    assert "nme box" not in figures
    plain = beside("cofw", over_seeds([measure(data, shifted(data, *[1] * 507))]), "sd-hrnet-distil")
    (nme,) = [line for line in plain if line.figure == "nme io"]
    assert "± 0.02" in table([nme]).splitlines()[1]


def test_a_part_that_a_paper_does_not_print_stands_beside_the_larger_one_that_it_is_of() -> None:
    helen = faces(subsets={"helen": np.array([True, True, True])})
    (line, *_) = lines = beside("300w", over_seeds([measure(helen, shifted(helen, 1, 1, 2))]), "sd-hrnet-slim")
    assert (line.subset, line.theirs and line.theirs.value, line.published_faces) == ("helen", 3.02, 554)
    assert "3.02 (common)" in table(lines)
    assert "3 of 554" in table(lines)
    both = faces(subsets={"helen": np.array([True, True, False]), "common": np.array([True, True, True])})
    lines = beside("300w", over_seeds([measure(both, shifted(both, 1, 1, 2))]), "sd-hrnet-slim")
    assert {line.subset for line in lines if line.theirs} == {"common"}


def test_paired_differences_are_over_the_faces_that_both_have() -> None:
    first, second = np.array([0.1, 0.2, NAN, 0.3], np.float32), np.array([0.2, 0.4, 0.1, NAN], np.float32)
    pair = paired(first, second)
    assert (pair["faces"], pair["difference"]) == (2, pytest.approx(15))
    assert pair["standard_error"] == pytest.approx(5)


# --- networks of every kind


def test_a_run_is_opened_by_its_folder_or_its_checkpoint(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "run")
    for name in (tmp_path / "run", tmp_path / "run" / "best.pt"):
        with opened(str(name)) as model:
            assert model.system == "pwc-hybrid"
            assert model.about["step"] == 7
            assert model.runtime(np.zeros((2, 3, 64, 64), np.float32))["points"].shape == (2, 68, 2)


def test_a_checkpoint_is_read_as_asked_and_a_file_as_it_was_exported(tmp_path: Path) -> None:
    run, images = write_checkpoint(tmp_path / "run"), np.random.default_rng(0).random((2, 3, 64, 64), np.float32)
    points = []
    for decoding in (None, "arg_max", "soft_arg_max"):
        with opened(str(run), decoding=decoding) as model:
            points.append(model.runtime(images)["points"])
    np.testing.assert_array_equal(points[0], points[1])
    assert np.abs(points[1] - points[2]).max() > 1
    with pytest.raises(ModelError, match=r"'landmarks-68' has its decoding inside; give best.pt, or export"):
        opened("landmarks-68", decoding="arg_max").__enter__()


def test_files_and_shipped_networks_are_opened_and_detectors_refused() -> None:
    with opened(str(zoo.models()["landmarks-68"].path)) as model:
        assert model.system == "landmarks-68"
        assert model.about == {"provider": "CPUExecutionProvider"}
    with opened("landmarks-68") as model:
        assert model.runtime.spec.landmarks == 68
    with pytest.raises(ModelError, match=r"'face-detector' is a detector; give a network that finds landmarks"):
        opened("face-detector").__enter__()
    with pytest.raises(ModelError, match=r"neither a file nor the name of a network"):
        opened("nothing").__enter__()
