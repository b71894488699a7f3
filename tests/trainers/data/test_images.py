"""Images in files of their own, in videos and in MATLAB files."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from nasion.realtime.values.arrays import Image
from nasion.realtime.values.geometry import to_tensor
from nasion.trainers.data import (
    DataError,
    ImageReader,
    SampleStream,
    batch_of_pixels,
    pixels_of,
    read_image,
    read_images,
)
from nasion.trainers.data import images as images_module

from ...support.data_sets.published_layouts import numbered_image, write_cofw, write_image, write_video


def number_of(image: Image) -> int:
    """Return the number of a ``numbered_image``: its upper half is lighter by eight for each."""
    upper, lower = float(image[:30].mean()), float(image[34:].mean())
    plain = numbered_image(0)
    return round((upper - lower - float(plain[:30].mean()) + float(plain[34:].mean())) / 8)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "vid.avi"
    write_video(path, 20)
    return path


def frame_of(video: Path, number: int) -> Image:
    """Frame ``number``, from 1, by decoding all before it."""
    capture = cv2.VideoCapture(str(video))
    for _ in range(number):
        done, image = capture.read()
        assert done
    return image.astype(np.uint8)


@pytest.mark.parametrize("number", [20, 1, 13, 2, 19, 12])
def test_any_frame_of_a_video_is_the_right_one(video: Path, number: int) -> None:
    np.testing.assert_array_equal(read_image(video / str(number)), frame_of(video, number))


def test_frames_in_any_order_come_from_one_open_video(video: Path) -> None:
    order = [3, 4, 5, 18, 1, 2, 20]
    images = list(read_images([video / str(number) for number in order]))
    for number, image in zip(order, images, strict=True):
        np.testing.assert_array_equal(image, frame_of(video, number))


def test_the_frames_of_a_video_differ_so_that_a_wrong_one_would_show(video: Path) -> None:
    sums = [int(frame_of(video, number).sum()) for number in range(1, 21)]
    assert len(set(sums)) == 20


def test_a_frame_beyond_the_end_is_named(video: Path) -> None:
    with pytest.raises(DataError, match=r"vid\.avi: frame 21 cannot be read; the annotation refers to it"):
        read_image(video / "21")


def test_what_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no image")
    (tmp_path / "vid.avi").write_text("no video")
    with pytest.raises(DataError, match=r"a\.jpg: not an image that can be decoded"):
        read_image(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"vid\.avi: not a video that can be decoded"):
        read_image(tmp_path / "vid.avi" / "1")
    for missing in (tmp_path / "none.jpg", tmp_path / "a.jpg" / "first", tmp_path / "none.avi" / "1"):
        with pytest.raises(DataError, match="image is missing"):
            read_image(missing)


@pytest.mark.parametrize("number", [0, 4])
def test_a_number_beyond_the_images_of_a_matlab_file_is_named(tmp_path: Path, number: int) -> None:
    path = write_cofw(tmp_path) / "COFW_test_color.mat"
    with pytest.raises(DataError, match=rf"IsT holds 3 images; number {number} was requested"):
        read_image(path / "IsT" / str(number))


def test_a_reader_may_be_closed_twice_and_used_again(video: Path) -> None:
    reader = ImageReader()
    first = reader.read(video / "7")
    reader.close()
    reader.close()
    np.testing.assert_array_equal(reader.read(video / "7"), first)
    reader.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork processes")
def test_a_forked_process_opens_the_video_again(video: Path) -> None:
    with ImageReader() as reader:
        reader.read(video / "5")
        child = os.fork()
        if not child:
            wrong = any((reader.read(video / str(n)) != frame_of(video, n)).any() for n in (6, 7, 1))
            os._exit(int(wrong))
        for number in (6, 7, 8):
            np.testing.assert_array_equal(reader.read(video / str(number)), frame_of(video, number))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class Numbers(SampleStream[int]):
    """A stream of nothing but chance."""

    def __getitem__(self, index: int) -> int:
        return int(self.generator(index).integers(1 << 30))


def test_a_batch_of_pixels_is_laid_out_as_training_takes_it() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 10, 3), np.uint8)
    batch = batch_of_pixels([pixels_of(image) for image in images])
    expected = to_tensor(list(images), (0, 0, 0), (255, 255, 255), rgb=True)
    assert torch.equal(batch, torch.from_numpy(expected))
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_a_stream_keeps_images_while_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [write_image(tmp_path / f"{i}.png", i) for i in range(3)]
    monkeypatch.setattr(images_module, "BYTES_KEPT", 2 * numbered_image(0).nbytes)
    stream = Numbers(0)
    kept = [stream.image(file) for file in files]
    assert [stream.image(file) is image for file, image in zip(files, kept, strict=True)] == [True, True, False]
    np.testing.assert_array_equal(stream.image(files[2]), numbered_image(2))


def test_a_stream_travels_to_another_process_and_goes_on_the_same(video: Path) -> None:
    stream = Numbers(3)
    stream.image(video / "2")
    twin = pickle.loads(pickle.dumps(stream))
    assert [twin[i] for i in range(3)] == [stream[i] for i in range(3)]
    np.testing.assert_array_equal(twin.image(video / "9"), frame_of(video, 9))
