"""Image formats that Pillow lacks: PFM in colour, and DPX, OpenEXR, Radiance, PAM and SGI, which FFmpeg decodes."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from ...values.arrays import Image
from ..conversion import Converter, to_bgr

COLOUR_PFM = rb"PF\s+(\d+)\s+(\d+)\s+(\S+)\s"
"""First bytes of a PFM file in colour: width, height, and a factor that is negative for the order of Intel's bytes."""
BY_FFMPEG = rb"SDPX|XPDS|v/1\x01|P7\n|#\?RAD|\x01\xda[\x00\x01][\x01\x02]"
"""First bytes of the image files that FFmpeg decodes."""
SUFFIXES = (".dpx", ".exr", ".hdr", ".pam", ".sgi")
"""Their suffixes."""
JPEG_XL = rb"\xff\x0a|\x00{3}\x0cJXL "
"""First bytes of JPEG XL, which neither Pillow nor FFmpeg decodes."""

_EXR = b"v/1\x01"
_ROWS = {0: 1, 1: 1, 2: 1, 3: 16, 4: 32, 5: 16, 6: 32, 7: 32, 8: 32, 9: 256}  # of a chunk, by the compression
_SPECIAL = 0x1A00  # flags of tiled, deep and multi-part files


def size_by_ffmpeg(path: Path) -> tuple[int, int]:
    """Return width and height of an image file that FFmpeg decodes.

    Raises:
        ValueError: it is damaged.
    """
    try:
        with _opened(path) as container:
            stream = container.streams.video[0]
            return stream.width, stream.height
    except (av.FFmpegError, IndexError) as error:
        raise _damage(error) from None


def read_by_ffmpeg(path: Path) -> Image:
    """Decode an image file with FFmpeg.

    Raises:
        ValueError: it is damaged.
        SourceError: its colours cannot be converted.
    """
    data = path.read_bytes()
    if data.startswith(_EXR) and _is_cut_exr(data):  # FFmpeg would show the rest black
        raise ValueError("the file is truncated")
    try:
        with _opened(path) as container:
            return to_bgr(next(container.decode(video=0)), Converter())
    except (av.FFmpegError, StopIteration) as error:
        raise _damage(error) from None


def read_colour_pfm(path: Path, width: int, height: int, begin: int, *, swapped: bool) -> NDArray[np.float32]:
    """Return the values of a PFM file in colour as (h, w, 3), in the order blue, green, red.

    Args:
        path: the file.
        width: width in pixels.
        height: height in pixels.
        begin: first byte of the values.
        swapped: True if the last byte of a value comes first.

    Raises:
        ValueError: the file is truncated.
    """
    count = width * height * 3
    values = np.fromfile(path, "<f4" if swapped else ">f4", count, offset=begin)
    if len(values) < count:
        raise ValueError("the file is truncated")
    return values.reshape(height, width, 3)[::-1, :, ::-1].astype(np.float32)


def _opened(path: Path) -> InputContainer:
    return av.open(str(path), options={"pattern_type": "none"})  # s%d.dpx is itself, not s1.dpx, s2.dpx …


def _damage(error: Exception) -> ValueError:
    return ValueError((isinstance(error, av.FFmpegError) and error.strerror) or "no image in it")


def _is_cut_exr(data: bytes) -> bool:
    """Return True if a chunk of rows lies beyond the end of an OpenEXR file, according to its table of chunks."""
    place, height, rows = 8, 0, 1
    while data[place]:
        kind = data.index(0, data.index(0, place) + 1)  # after the name comes the type
        size, begin = int.from_bytes(data[kind + 1 : kind + 5], "little"), kind + 5
        if data.startswith(b"dataWindow\0", place):
            _, top, _, bottom = np.frombuffer(data, "<i4", 4, begin).tolist()
            height = bottom - top + 1
        elif data.startswith(b"compression\0", place):
            rows = _ROWS.get(data[begin], 1)
        place = begin + size
    if int.from_bytes(data[4:8], "little") & _SPECIAL:
        return False
    last = max(np.frombuffer(data, "<u8", -(-height // rows), place + 1).tolist(), default=0)
    return last + 8 + int.from_bytes(data[last + 4 : last + 8], "little") > len(data)
