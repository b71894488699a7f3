"""Conversion of decoded frames to upright BGR images, and its parameters for a GPU."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from ...engines.operators import reference
from ..faces import FloatArray, Image

# Colour matrices by their numbers in ITU-T H.273, which FFmpeg uses. For all others, and for 2 (unspecified), FFmpeg
# converts with BT.601, whatever the size of the image.
_MATRICES: dict[int, reference.ColourStandard] = {1: "bt709", 7: "bt709", 9: "bt2020", 10: "bt2020"}
_FULL_RANGE = 2


def _unknown_side_data(kind: type[SideDataType], value: object) -> SideDataType:
    """Return a side data type for a number without a name in PyAV."""
    member: Any = object.__new__(kind)
    member._name_, member._value_ = f"UNKNOWN_{value}", value
    return member  # type: ignore[no-any-return]


# Before version 19, PyAV cannot list the side data of a frame if it contains a type unknown to PyAV, such as EXIF.
if "_missing_" not in vars(SideDataType):
    SideDataType._missing_ = classmethod(_unknown_side_data)  # type: ignore[assignment]


def to_bgr(frame: VideoFrame, convert: VideoReformatter) -> Image:
    """Convert a frame to an upright BGR image on the host; a frame on a GPU is copied."""
    # Threads do not speed up the conversion of a single frame.
    image: Any = convert.reformat(frame, format="bgr24", threads=1).to_ndarray()
    matrix = display_matrix(frame)
    # Copy, so that FFmpeg gets its buffer back at once. With a new buffer for each frame, reading takes a third longer,
    # all of it page faults (measured at 640x360 and at 1080p).
    return image.copy() if matrix is None else upright(image, matrix)


def display_matrix(frame: VideoFrame) -> NDArray[np.int32] | None:
    """Return the 9 numbers that describe the rotation of the stored image, or None if it is upright."""
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    return None if matrix is None else np.frombuffer(matrix, np.int32)


def upright(image: Image, matrix: NDArray[np.int32]) -> Image:
    """Return a C-contiguous copy, rotated and mirrored according to the display matrix (9 numbers, as in FFmpeg)."""
    swapped, left_right, top_bottom = _turns(matrix)
    if swapped:
        image = np.asarray(cv2.transpose(image), np.uint8)
    if left_right or top_bottom:
        image = np.asarray(cv2.flip(image, -1 if left_right and top_bottom else int(left_right)), np.uint8)
    return np.array(image, order="C")


def to_stored(matrix: NDArray[np.int32], width: int, height: int) -> FloatArray:
    """Return the transform (2, 3) from pixels of the upright image to pixels of the stored one, width x height."""
    swapped, left_right, top_bottom = _turns(matrix)
    wide, high = (height, width) if swapped else (width, height)  # size of the upright image
    x = [-1, 0, wide - 1] if left_right else [1, 0, 0]
    y = [0, -1, high - 1] if top_bottom else [0, 1, 0]
    return np.array([y, x] if swapped else [x, y], np.float32)


def _turns(matrix: NDArray[np.int32]) -> tuple[bool, bool, bool]:
    """Decompose a display matrix.

    Returns:
        Three bools: True if x and y are swapped; after that, if left and right, and if top and bottom are mirrored.
    """
    a, b, _, c, d = (int(value) for value in matrix[:5])  # x' = a x + c y, y' = b x + d y
    swapped = abs(b) > abs(a)
    if swapped:
        a, d = c, b
    return swapped, a < 0, d < 0


def colour_of(frame: VideoFrame) -> reference.Array:
    """Return the matrix (3, 4) from Y, U, V and 1 to blue, green and red with which FFmpeg converts the frame."""
    standard = _MATRICES.get(frame.colorspace, "bt601")
    return reference.yuv_to_bgr(standard, full_range=frame.color_range == _FULL_RANGE)
