"""Reading of images from image files, videos and MATLAB files.

A path that continues below a file names an image inside it, counted from 1 as in the annotations:
``vid.avi/17`` is the 17th frame, ``COFW_test_color.mat/IsT/17`` the 17th image of the array ``IsT``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...engines.closing import Closing
from ...realtime.values.arrays import Image
from .base import DataError
from .readers.matlab import open_hdf5

T = TypeVar("T")

BYTES_KEPT = 4 << 30
"""Bytes of decoded images that a stream of samples caches; the larger sets do not fit into memory."""


class ImageReader(Closing):
    """Reader of images. A video stays open until another one is read, so frames in order need no seeking."""

    def __init__(self) -> None:
        """Create a reader; files are opened on demand."""
        self._video: cv2.VideoCapture | None = None
        self._opened: tuple[int, Path] | None = None

    def __reduce__(self) -> tuple[type[ImageReader], tuple[()]]:
        return ImageReader, ()  # an open video cannot be pickled; the other process opens it again

    def read(self, path: Path) -> Image:
        """Read an image as BGR uint8.

        Raises:
            DataError: it is missing or cannot be decoded.
        """
        if path.is_file():
            return _decoded(path)
        holder = next((parent for parent in path.parents if parent.is_file()), None)
        if holder is None or not path.name.isdigit():
            raise DataError(f"{path}: image is missing")
        *names, number = path.relative_to(holder).parts
        return _element(holder, names[0], int(number)) if names else self._frame(holder, int(number))

    def close(self) -> None:
        """Close the video, if one is open."""
        if self._video is not None:
            self._video.release()
        self._video = self._opened = None

    def _frame(self, path: Path, number: int) -> Image:
        video = self._open(path)
        if int(video.get(cv2.CAP_PROP_POS_FRAMES)) != number - 1:
            video.set(cv2.CAP_PROP_POS_FRAMES, number - 1)
        done, image = video.read()
        if not done:
            raise DataError(f"{path}: frame {number} cannot be read; the annotation refers to it")
        return image.astype(np.uint8, copy=False)

    def _open(self, path: Path) -> cv2.VideoCapture:
        # A forked process must not use the parent's open file: both would move the same file position. It could not
        # close a multi-threaded decoder either, since the threads exist only in the parent.
        if self._video is None or self._opened != (os.getpid(), path):
            self.close()
            self._video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
            self._opened = os.getpid(), path
            if not self._video.isOpened():
                self.close()
                raise DataError(f"{path}: not a video that can be decoded")
        return self._video


def _decoded(path: Path) -> Image:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    if is_cut_short(data):
        raise DataError(f"{path}: the image is cut short: its end is missing; give the whole file")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise DataError(f"{path}: not an image that can be decoded")
    return image.astype(np.uint8, copy=False)


def is_cut_short(data: bytes) -> bool:
    """Return True if the end of an image in JPEG, PNG or WebP is missing, of which OpenCV decodes a part.

    In a JPEG the marker of the end (FF D9) follows the last marker of a scan (FF DA); a preview inside comes before.
    """
    if data.startswith(b"\xff\xd8"):
        return data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-(1 << 16) :]
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return len(data) < int.from_bytes(data[4:8], "little") + 8
    return False


def _element(path: Path, name: str, number: int) -> Image:
    """Read image ``number`` of a cell array of images. In the file MATLAB's axes are reversed and colours are RGB."""
    with open_hdf5(path, name) as file:
        cells = file[name][()].ravel()
        if not 1 <= number <= len(cells):
            raise DataError(f"{path}: {name} holds {len(cells)} images; number {number} was requested")
        pixels = np.ascontiguousarray(file[cells[number - 1]][()].T).astype(np.uint8, copy=False)
    if pixels.ndim == 2:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False)
    return np.ascontiguousarray(pixels[..., ::-1])


def read_image(path: Path) -> Image:
    """Read an image as BGR uint8.

    Raises:
        DataError: it is missing or cannot be decoded.
    """
    with ImageReader() as reader:
        return reader.read(path)


def read_images(paths: Iterable[Path]) -> Iterator[Image]:
    """Read images one after another, as BGR uint8; frames of a video in order need no seeking.

    Raises:
        DataError: an image is missing or cannot be decoded.
    """
    with ImageReader() as reader:
        for path in paths:
            yield reader.read(path)


def pixels_of(image: Image) -> Tensor:
    """Return a BGR image as a tensor (H,W,3) of RGB bytes, which ``batch_of_pixels`` stacks."""
    return torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def batch_of_pixels(images: Sequence[Tensor]) -> Tensor:
    """Stack images of ``pixels_of`` into (B,3,H,W), 0..1.

    The memory layout is channels-last, which training asks for. One conversion of the whole batch takes half the time
    of one for each image and of moving the channels afterwards.
    """
    return torch.stack(list(images)).permute(0, 3, 1, 2).float().mul_(1 / 255)


class SampleStream(Dataset[T]):
    """Endless, reproducible stream of samples: sample i depends only on the seed, not on the process or the order."""

    def __init__(self, seed: int) -> None:
        """Create the stream of ``seed``."""
        self.seed = seed
        self._reader = ImageReader()
        self._decoded: dict[Path, Image] = {}
        self._room = BYTES_KEPT

    def __len__(self) -> int:
        return 1 << 40

    def generator(self, index: int) -> np.random.Generator:
        """Return the random generator of sample ``index``."""
        return np.random.default_rng([self.seed, index])

    def image(self, path: Path) -> Image:
        """Return a decoded image, cached while there is room. Callers must not modify it."""
        kept = self._decoded.get(path)
        if kept is not None:
            return kept
        image = self._reader.read(path)
        if image.nbytes <= self._room:
            self._decoded[path] = image
            self._room -= image.nbytes
        return image
