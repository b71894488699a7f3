"""Miniature copies of the published data sets, in the very layouts that a user downloads; the faces are cartoons.

Coordinates that the writers take and return are 0-based; the files hold what their publishers would have written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import h5py
import numpy as np
import scipy.io
from numpy.typing import NDArray

from nasion.realtime.values.arrays import FloatArray, Image

from .labelled import background, face_shape, write_pts

SIZE = 64  # pixels of a side of every image


def face(number: int, landmarks: int = 68) -> FloatArray:
    """The points (landmarks, 2) of face ``number``, each elsewhere in the image."""
    return face_shape(landmarks) * np.float32(30 + number % 5) + np.float32([10 + number % 7, 12 + number % 3])


def numbered_image(number: int) -> Image:
    """An image that cannot be taken for another one, whatever compression does to it: its mean tells its number."""
    image = background(np.random.default_rng(number), SIZE) // 8
    image[:32] += np.uint8(8 * number)
    return image


def write_image(path: Path, number: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), numbered_image(number))
    return path


def write_folder(folder: Path, numbers: Sequence[int], *, suffix: str = ".jpg") -> None:
    """A ``.pts`` file beside each image."""
    for number in numbers:
        write_image(folder / f"image_{number:04}{suffix}", number)
        write_pts(folder / f"image_{number:04}.pts", face(number))


def write_300w(root: Path) -> Path:
    """All folders of 300W with one to three faces each: 3 + 2 + 1 to train; 2 + 1 + 3 to test; 2 + 1 private."""
    folders: Mapping[str, Sequence[int]] = {
        "helen/trainset": (0, 1, 2),
        "lfpw/trainset": (3, 4),
        "afw": (5,),
        "helen/testset": (6, 7),
        "lfpw/testset": (8,),
        "ibug": (9, 10, 11),
    }
    for name, numbers in folders.items():
        write_folder(root / name, numbers)
    write_folder(root / "01_Indoor", (12, 13), suffix=".png")
    write_folder(root / "02_Outdoor", (14,), suffix=".png")
    return root


def write_300w_boxes(root: Path) -> None:
    """iBUG's boxes: a file a folder, a cell of structs, 1-based corners; box i starts at (i, 2 i), 0-based."""
    (root / "Bounding Boxes").mkdir()
    for name in ("helen/trainset", "lfpw/trainset", "afw"):
        files = sorted((root / name).glob("*.jpg"))
        cells = np.empty((1, len(files)), object)
        for i, file in enumerate(files):
            box = np.array([[i + 1.0, 2 * i + 1.0, i + 31.0, 2 * i + 41.0]])
            cells[0, i] = {"imgName": file.name.replace("_", " _"), "bb_detector": box, "bb_ground_truth": box + 100}
        table = root / "Bounding Boxes" / f"bounding_boxes_{name.replace('/', '_')}.mat"
        scipy.io.savemat(table, {"bounding_boxes": cells})


def write_wflw(root: Path, *, faces: int = 4) -> Path:
    """WFLW with ``faces`` faces in train and test, of which face i has attribute i; two share an image."""
    lists = root / "WFLW_annotations" / "list_98pt_rect_attr_train_test"
    lists.mkdir(parents=True)
    for part in ("train", "test"):
        lines = []
        for number in range(faces):
            name = f"{number // 2}--Parade/{part} {number // 2}.jpg"
            write_image(root / "WFLW_images" / name, number // 2)
            points = " ".join(f"{value:.6f}" for value in face(number, 98).ravel())
            attributes = " ".join(str(int(i == number)) for i in range(6))
            lines.append(f"{points} {10 + number} 12 45 50 {attributes} {name}\n")
        (lists / f"list_98pt_rect_attr_{part}.txt").write_text("".join(lines))
    return root


def write_cofw(root: Path, *, faces: int = 3) -> Path:
    """COFW's two files; the second image is grey, face i has i occluded points, box i starts at (i, 4), 0-based."""
    root.mkdir(parents=True, exist_ok=True)
    for part, suffix in (("train", "Tr"), ("test", "T")):
        points = np.stack([face(number, 29) for number in range(faces)]) + 1
        occluded = np.arange(29) < np.arange(faces)[:, None]
        with h5py.File(root / f"COFW_{part}_color.mat", "w") as file:
            write_cells(file, f"Is{suffix}", [numbered_image(number) for number in range(faces)], grey=1)
            file[f"phis{suffix}"] = np.concatenate([points[..., 0], points[..., 1], occluded], axis=1).T
            file[f"bboxes{suffix}"] = np.array([[i + 1, 5, 40, 44] for i in range(faces)], float).T
    return root


def write_cells(file: h5py.File, name: str, images: Sequence[Image], *, grey: int) -> None:
    """A MATLAB cell array of RGB images, of which one is grey: references, and axes in reverse order."""
    cells = file.create_dataset(name, (1, len(images)), dtype=h5py.ref_dtype)
    for i, image in enumerate(images):
        pixels: NDArray[np.uint8] = image[..., 1] if i == grey else image[..., ::-1]
        cells[0, i] = file.create_dataset(f"#refs#/{name}{i}", data=pixels.T).ref


def write_cofw68(folder: Path, *, faces: int = 3) -> Path:
    """The 68 points of COFW's test images; of face i the first i points are occluded."""
    (folder / "test_annotations").mkdir(parents=True)
    for number in range(faces):
        occluded = (np.arange(68) < number).astype(np.uint8)[None]
        file = folder / "test_annotations" / f"{number + 1}_points.mat"
        scipy.io.savemat(file, {"Points": (face(number) + 1).astype(float), "Occ": occluded})
    boxes = np.array([[number + 1, 5, 40, 44] for number in range(faces)], np.int16)
    scipy.io.savemat(folder / "cofw68_test_bboxes.mat", {"bboxes": boxes})
    return folder


def write_aflw(root: Path, *, faces: int = 6, images: bool = True, **changed: NDArray[np.generic]) -> Path:
    """AFLW's 19 points, ``ra`` in falling order; every second face has a hidden point. ``changed`` replaces arrays."""
    root.mkdir(parents=True, exist_ok=True)
    names = [f"{(0, 2, 3)[i % 3]}/image{i:05}.jpg" for i in range(faces)]
    points = np.stack([face(number, 19) for number in range(faces)]).astype(float)
    seen = np.ones((faces, 19))
    seen[1::2, 3] = 0
    arrays: dict[str, NDArray[np.generic]] = {
        "nameList": np.array([[np.array([name])] for name in names] + [[None]], object)[:-1],
        "data": np.concatenate([points[..., 0], points[..., 1]], axis=1),
        "bbox": np.array([[i, i + 40, 5, 50] for i in range(faces)], float),
        "mask_new": seen,
        "ra": np.arange(faces, 0, -1)[None],
    }
    scipy.io.savemat(root / "AFLWinfo_release.mat", arrays | changed)
    for number, name in enumerate(names if images else []):
        write_image(root / "flickr" / name, number)
    return root


def write_merl_rav(root: Path, *, organised: bool) -> Path:
    """One face a pose and part; point 0 hidden by the face itself, point 1 by something.

    Organised, the images lie beside the labels; else labels lie apart from AFLW's images, one of which has two
    faces.
    """
    number = 0
    for part in ("trainset", "testset"):
        for pose in ("frontal", "left", "lefthalf", "right", "righthalf"):
            name = f"image{number // 2:05}_{number % 2 + 1}" if pose == "frontal" else f"image{100 + number:05}"
            values = face(number) + 1
            values[0], values[1] = -1, -values[1]
            rows = "\n".join(f"{x:.4f} {y:.4f}" for x, y in values)
            top = root / ("merl_rav_organized" if organised else "merl_rav_labels") / pose / part
            folder = top if organised else top / "labels"
            folder.mkdir(parents=True)
            (folder / f"{name}.pts").write_text(f"version: 1\nn_points:  68\n{{\n{rows}\n}}\n")
            stem = name if organised else name.split("_")[0]
            write_image((folder if organised else root / "aflw" / "flickr" / "2") / f"{stem}.jpg", number)
            number += 1
    return root


def write_300vw(root: Path, *, videos: Sequence[str] = ("001", "114", "203", "410"), frames: int = 5) -> Path:
    """Videos with B-frames and few key frames; frame i shows image i, and all but the third are annotated."""
    for video in videos:
        (root / video / "annot").mkdir(parents=True)
        write_video(root / video / "vid.avi", frames)
        for i in range(frames):
            if i != 2:
                write_pts(root / video / "annot" / f"{i + 1:06}.pts", face(i))
    return root


def write_video(path: Path, frames: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(25))
        stream.width = stream.height = SIZE
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        stream.codec_context.max_b_frames, stream.codec_context.gop_size = 2, 12
        for i in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered_image(i), format="bgr24")))
        container.mux(stream.encode())
