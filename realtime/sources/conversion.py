"""Conversion of decoded frames to upright BGR images, and its parameters for a GPU."""

from __future__ import annotations

import logging
import threading
from functools import cache
from typing import Any

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from ...engines.errors import SourceError
from ...engines.operators import reference
from ..images.transparency import over_white
from ..values.arrays import FloatArray, Image

_log = logging.getLogger(__name__)

# Colour matrices by their numbers in ITU-T H.273, which FFmpeg uses: those that it converts, and ours for a GPU.
_BT709, _BT601, _BT2020 = 1, 5, 9
_UNSPECIFIED = (0, 2, 3)  # 0 means RGB, which says nothing about a format of luma and chroma
_MATRICES: dict[int, reference.ColourStandard] = {
    _BT709: "bt709", 4: "bt601", _BT601: "bt601", 6: "bt601", 7: "bt709", _BT2020: "bt2020",
}  # fmt: skip
_LIMITED_RANGE, _FULL_RANGE = 1, 2
_HDR = {16: "PQ", 18: "HLG"}  # transfer functions
_MAPS_HDR = int(av.__version__.split(".")[0]) >= 18
_EXACT = 0x40010  # SWS_POINT | SWS_ACCURATE_RND, which PyAV names from version 18 on
_KEPT = threading.local()
_REPEATED = ("yuv420p", "yuvj420p", "nv12")  # formats whose chroma is repeated for 2 x 2 pixels
# Grey values of limited range, which FFmpeg leaves as they are.
_STRETCH = np.clip(np.rint((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8)


def _unknown_side_data(kind: type[SideDataType], value: object) -> SideDataType:
    """Return a side data type for a number without a name in PyAV."""
    member: Any = object.__new__(kind)
    member._name_, member._value_ = f"UNKNOWN_{value}", value
    return member  # type: ignore[no-any-return]


# Before version 19, PyAV cannot list the side data of a frame if it contains a type unknown to PyAV, such as EXIF.
if "_missing_" not in vars(SideDataType):
    SideDataType._missing_ = classmethod(_unknown_side_data)  # type: ignore[assignment]


class Orientation:
    """Display matrix of the frames of a stream, which is read from the first one and where the rotation changes.

    PyAV ties a frame whose side data is read to itself, so its memory waits for the garbage collector.
    """

    def __init__(self) -> None:
        """Start before the first frame."""
        self._rotation: int | None = None
        self._matrix: NDArray[np.int32] | None = None

    def of(self, frame: VideoFrame) -> NDArray[np.int32] | None:
        """Return the matrix of the next frame, as ``display_matrix`` does."""
        if frame.rotation != self._rotation:
            self._rotation = frame.rotation
            self._matrix = display_matrix(frame)
        return self._matrix


class Converter:
    """State of a conversion, kept from frame to frame of a stream.

    Attributes:
        reformat: FFmpeg's conversion, with its tables.
        orientation: the display matrix.
    """

    def __init__(self) -> None:
        """Start before the first frame."""
        self.reformat = VideoReformatter().reformat
        self.orientation: Orientation = Orientation()


def to_bgr(frame: VideoFrame, convert: Converter, *, exact: bool = True) -> Image:
    """Convert a frame to an upright BGR image on the host; a frame on a GPU is copied.

    The values are those of the video, exact to rounding. HDR (PQ and HLG) is mapped to BT.709, and transparent pixels
    are shown over white. If ``exact`` is False, the usual formats take a third of the time, with values that
    may differ by a few levels.

    Raises:
        SourceError: FFmpeg cannot convert its colours.
    """
    is_hdr = frame.color_trc in _HDR
    if not exact and not is_hdr and frame.format.name in _REPEATED:
        quick = convert.reformat(frame, format="bgr24", src_colorspace=colour_matrix(frame), threads=1)
        return _upright(np.asarray(quick.to_ndarray(), np.uint8), convert.orientation.of(frame))
    if is_hdr and not _MAPS_HDR:
        _warn_of_hdr(_HDR[frame.color_trc])
    has_alpha = _has_alpha(frame.format.name)
    # To planes: exact, and four times as fast as an exact conversion to BGR.
    planar = convert.reformat(
        _without_chroma_location(frame) if frame.format.name in _REPEATED and not is_hdr else frame,
        format="gbrap" if has_alpha else "gbrp",
        src_colorspace=colour_matrix(frame),
        interpolation=_EXACT,
        dst_color_trc=_BT709 if is_hdr else None,
        dst_color_primaries=_BT709 if is_hdr else None,
        threads=0 if is_hdr else 1,  # they speed up only the mapping of HDR
    )
    green, blue, red, *alpha = (_rows(plane)[:, : plane.width] for plane in planar.planes)
    image = np.asarray(cv2.merge([blue, green, red]), np.uint8)
    if frame.color_range == _LIMITED_RANGE and frame.format.name.startswith("gray"):
        image = np.asarray(cv2.LUT(image, _STRETCH), np.uint8)
    if alpha:
        image = over_white(image, alpha[0])
    return _upright(image, convert.orientation.of(frame))


def _upright(image: Image, matrix: NDArray[np.int32] | None) -> Image:
    return image if matrix is None else upright(image, matrix)


@cache
def _warn_of_hdr(name: str) -> None:
    """Log a warning once."""
    _log.warning(
        "the video is HDR (%s) and its images look flat: PyAV %s cannot map them to BT.709; pip install 'av>=18'",
        name,
        av.__version__,
    )


def _without_chroma_location(frame: VideoFrame) -> VideoFrame:
    """Return a copy that does not say where in 2 x 2 pixels its chroma was sampled, until the next call in this thread.

    FFmpeg then repeats the chroma, as our CUDA kernels do, so that images are the same on every device. One frame is
    used again and again: memory that is new for every frame takes as long as the conversion itself at 1080p.
    """
    copy: VideoFrame | None = getattr(_KEPT, "frame", None)
    kind = frame.width, frame.height, frame.format.name
    if copy is None or (copy.width, copy.height, copy.format.name) != kind:
        copy = _KEPT.frame = VideoFrame(*kind)
    copy.colorspace, copy.color_range = frame.colorspace, frame.color_range
    for target, source in zip(copy.planes, frame.planes, strict=True):
        width = min(target.line_size, source.line_size)
        _rows(target)[:, :width] = _rows(source)[:, :width]
    return copy


def _rows(plane: Any) -> NDArray[np.uint8]:
    """Return the bytes of a plane (h, line size); the pixels are followed by padding."""
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height]


@cache
def _has_alpha(pixel_format: str) -> bool:
    return any(component.is_alpha for component in VideoFormat(pixel_format).components)


def is_sideways(frame: VideoFrame) -> bool:
    """Return True if the width of the stored image is the height of the upright one."""
    matrix = display_matrix(frame)
    return matrix is not None and _turns(matrix)[0]


def is_wide_gamut(frame: VideoFrame) -> bool:
    """Return True if the converted image has the primaries of BT.2020."""
    return frame.color_primaries == _BT2020 and not (frame.color_trc in _HDR and _MAPS_HDR)


def colour_matrix(frame: VideoFrame) -> int:
    """Return the number in H.273 of the matrix with which the colours of a frame are stored.

    Without a tag it is BT.709 for HD and BT.601 for smaller sizes, as players assume.

    Raises:
        SourceError: FFmpeg cannot convert from it.
    """
    matrix = int(frame.colorspace)
    if matrix in _UNSPECIFIED:
        is_wide = frame.color_primaries == _BT2020 or frame.color_trc in _HDR
        return _BT2020 if is_wide else usual_matrix(frame.width, frame.height)
    if matrix not in _MATRICES:
        raise SourceError(
            f"colour matrix {matrix} of the video (ITU-T H.273) cannot be converted; convert the video to BT.709 first"
        )
    return matrix


def usual_matrix(width: int, height: int) -> int:
    """Return the number of the matrix of a video of this size: BT.709 for HD, BT.601 below."""
    return _BT709 if width >= 1280 or height > 576 else _BT601


def display_matrix(frame: VideoFrame) -> NDArray[np.int32] | None:
    """Return a copy of the 9 numbers that describe the rotation of the stored image, or None if it is upright."""
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    return None if matrix is None else np.frombuffer(matrix, np.int32).copy()


def upright(image: Image, matrix: NDArray[np.int32]) -> Image:
    """Return a C-contiguous copy, rotated and mirrored according to the display matrix (9 numbers, as in FFmpeg)."""
    return turned(image, *_turns(matrix))


def turned(image: Image, swapped: bool, left_right: bool, top_bottom: bool) -> Image:
    """Return a C-contiguous copy with x and y swapped and after that left and right, top and bottom mirrored."""
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
    """Return the matrix (3, 4) from Y, U, V and 1 to blue, green and red with which the frame is converted."""
    return reference.yuv_to_bgr(_MATRICES[colour_matrix(frame)], full_range=frame.color_range == _FULL_RANGE)
