"""Ends of files that are cut, found where the container tells how much there should be."""

from __future__ import annotations

from collections.abc import Callable
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO

ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_HEADER = 1 << 16  # bytes in which the header of ASF has its properties
_TAIL = 1 << 17  # bytes that hold the last packet of any of these formats
_PACK, _PACK_BYTES = b"\0\0\1\xba", 14  # start of a pack of a program stream, and the bytes of its header
_NUT_INDEX = bytes.fromhex("4e58dd672f23e64e")
_Y4M_FRAME = b"FRAME"
_DV_FRAMES = (120_000, 144_000)  # bytes of a frame with 525 and with 625 lines, of which all kinds of DV have multiples
TS_PACKET, TS_SYNC = 188, b"\x47"  # packet of a transport stream, and its first byte
TS_STEPS = {TS_PACKET: 0, 192: 4, 204: 0}  # bytes from one packet to the next, and those before it, as of a time


def is_cut(path: Path, container: str, begin: int) -> bool:
    """Return True if a file ends before its container says; False also if the container does not say.

    Args:
        path: the file.
        container: name of its format in FFmpeg.
        begin: first byte of the part of the file that was read last.
    """
    check = _CHECKS.get(container)
    if check is None:
        return False
    with path.open("rb") as file:
        return check(file, begin, path.stat().st_size)


def asf_length(header: bytes) -> int | None:
    """Return the number of bytes that an ASF file should have; None if it was recorded live, and does not say."""
    place = header.find(ASF_PROPERTIES)
    if place < 0:
        return None
    is_live = header[place + 88 : place + 89] != b"" and header[place + 88] & 1
    return None if is_live else int.from_bytes(header[place + 40 : place + 48], "little")


def _asf(file: BinaryIO, begin: int, size: int) -> bool:
    file.seek(begin)
    length = asf_length(file.read(_HEADER))
    return length is not None and begin + length > size


def swf_length(header: bytes) -> int | None:
    """Return the number of bytes that an SWF file should have; None if it is compressed, and does not say."""
    return int.from_bytes(header[4:8], "little") if header.startswith(b"FWS") else None


def _swf(file: BinaryIO, begin: int, size: int) -> bool:
    file.seek(begin)
    length = swf_length(file.read(8))
    return length is not None and begin + length > size


def _ogg(file: BinaryIO, _begin: int, size: int) -> bool:
    """Return True if the last page goes on beyond the end."""
    tail = _tail(file, size)
    page = tail.rfind(b"OggS")
    if page < 0:
        return False
    content = page + 27 + tail[page + 26] if page + 27 <= len(tail) else len(tail) + 1
    return content > len(tail) or content + sum(tail[page + 27 : content]) > len(tail)


def _transport_stream(file: BinaryIO, begin: int, size: int) -> bool:
    """Return True if the last packet is not complete."""
    file.seek(begin)
    head = file.read(5 * 204)
    for step, sync in TS_STEPS.items():
        if all(head[place : place + 1] == TS_SYNC for place in range(sync, len(head), step)):
            rest = (size - begin) % step
            file.seek(size - rest + sync)
            return rest > sync and file.read(1) == TS_SYNC and rest - sync < TS_PACKET
    return False


def _program_stream(file: BinaryIO, _begin: int, size: int) -> bool:
    """Return True if the last packet goes on beyond the end."""
    tail = _tail(file, size)
    place = tail.rfind(_PACK)
    if place < 0 or place + _PACK_BYTES > len(tail):
        return place >= 0
    is_mpeg2 = tail[place + 4] >> 6 == 1
    place += _PACK_BYTES + (tail[place + 13] & 7) if is_mpeg2 else 12
    while tail[place : place + 3] == b"\0\0\1" and place + 6 <= len(tail) and tail[place + 3] >= 0xBB:
        place += 6 + int.from_bytes(tail[place + 4 : place + 6], "big")
    return place > len(tail)


def _nut(file: BinaryIO, _begin: int, size: int) -> bool:
    """Return True if the file has no index, whose length is written before the last check sum."""
    tail = _tail(file, size)
    length = int.from_bytes(tail[-12:-4], "big")
    if length < size:
        file.seek(size - length)
        return file.read(len(_NUT_INDEX)) != _NUT_INDEX
    return True


def _dv(file: BinaryIO, begin: int, size: int) -> bool:
    """Return True if the last frame is not complete."""
    file.seek(begin + 3)
    return bool((size - begin) % _DV_FRAMES[file.read(1) >= b"\x80"])


def _y4m(file: BinaryIO, begin: int, size: int) -> bool:
    """Return True if the last frame is not complete; all are as long as the first."""
    with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        first = content.find(_Y4M_FRAME, begin)
        second = content.find(_Y4M_FRAME, first + len(_Y4M_FRAME))
    return 0 <= first < second and (size - first) % (second - first) != 0


def _tail(file: BinaryIO, size: int) -> bytes:
    file.seek(max(size - _TAIL, 0))
    return file.read()


_CHECKS: dict[str, Callable[[BinaryIO, int, int], bool]] = {
    "asf": _asf,
    "dv": _dv,
    "mpeg": _program_stream,
    "mpegts": _transport_stream,
    "nut": _nut,
    "ogg": _ogg,
    "swf": _swf,
    "yuv4mpegpipe": _y4m,
}
