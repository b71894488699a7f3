"""Pictures, wherever they lie: in a file of their own, in a video, in a MATLAB file.

A path that goes on below a file names a picture within it, counted from 1 as the annotations count:
``vid.avi/17`` is the 17th frame, ``COFW_test_color.mat/IsT/17`` the 17th picture of the array ``IsT``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from torch.utils.data import Dataset

from ...engines.closing import Closing
from ...realtime.faces import Image
from .base import DataError
from .matlab import open_hdf5

T = TypeVar("T")

PICTURES_KEPT = 4 << 30
"""Bytes of decoded pictures that a stream of samples keeps; the larger sets don't fit into memory."""


class PictureReader(Closing):
    """Reads pictures; a video stays open until another one is asked for, so that frames in order cost no seeking."""

    def __init__(self) -> None:
        """Open nothing yet."""
        self._video: cv2.VideoCapture | None = None
        self._opened: tuple[int, Path] | None = None

    def __reduce__(self) -> tuple[type[PictureReader], tuple[()]]:
        return PictureReader, ()  # an open video does not travel to another process; it is opened anew there

    def read(self, path: Path) -> Image:
        """Read a picture as BGR uint8.

        Raises:
            DataError: it is missing or cannot be decoded.
        """
        if path.is_file():
            return _decoded(path)
        holder = next((parent for parent in path.parents if parent.is_file()), None)
        if holder is None or not path.name.isdigit():
            raise DataError(f"{path}: picture is missing")
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
            raise DataError(f"{path}: frame {number} cannot be read; the annotation asks for it")
        return image.astype(np.uint8, copy=False)

    def _open(self, path: Path) -> cv2.VideoCapture:
        # A forked process must not share the parent's open file, for both would move its one position; and it could
        # not close a decoder with threads, for they stayed with the parent.
        if self._video is None or self._opened != (os.getpid(), path):
            self.close()
            self._video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
            self._opened = os.getpid(), path
            if not self._video.isOpened():
                self.close()
                raise DataError(f"{path}: not a video that can be decoded")
        return self._video


def _decoded(path: Path) -> Image:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise DataError(f"{path}: not a picture that can be decoded")
    return image.astype(np.uint8, copy=False)


def _element(path: Path, name: str, number: int) -> Image:
    """Picture ``number`` of a cell array of pictures; MATLAB's axes are reversed in the file, its colours RGB."""
    with open_hdf5(path, name) as file:
        cells = file[name][()].ravel()
        if not 1 <= number <= len(cells):
            raise DataError(f"{path}: {name} holds {len(cells)} pictures; number {number} was asked for")
        pixels = np.ascontiguousarray(file[cells[number - 1]][()].T).astype(np.uint8, copy=False)
    if pixels.ndim == 2:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False)
    return np.ascontiguousarray(pixels[..., ::-1])


def read_image(path: Path) -> Image:
    """Read a picture as BGR uint8.

    Raises:
        DataError: it is missing or cannot be decoded.
    """
    with PictureReader() as reader:
        return reader.read(path)


def read_images(paths: Iterable[Path]) -> Iterator[Image]:
    """Read pictures one after another, as BGR uint8; frames of a video in their order cost no seeking.

    Raises:
        DataError: one is missing or cannot be decoded.
    """
    with PictureReader() as reader:
        for path in paths:
            yield reader.read(path)


class SampleStream(Dataset[T]):
    """An endless stream of samples: sample i is always the same for one seed, whoever draws it and when."""

    def __init__(self, seed: int) -> None:
        """Begin the stream of ``seed``."""
        self.seed = seed
        self._reader = PictureReader()
        self._decoded: dict[Path, Image] = {}
        self._room = PICTURES_KEPT

    def __len__(self) -> int:
        return 1 << 40

    def generator(self, index: int) -> np.random.Generator:
        """The source of all chance in sample ``index``."""
        return np.random.default_rng([self.seed, index])

    def picture(self, path: Path) -> Image:
        """A decoded picture, kept for the next time while there is room; not to be changed."""
        kept = self._decoded.get(path)
        if kept is not None:
            return kept
        image = self._reader.read(path)
        if image.nbytes <= self._room:
            self._decoded[path] = image
            self._room -= image.nbytes
        return image
