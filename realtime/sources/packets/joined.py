"""Files joined end to end, such as with ``cat``, in formats of which FFmpeg reads the first one only."""

from __future__ import annotations

from io import SEEK_END
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO

from .endings import TS_PACKET, TS_STEPS, TS_SYNC, asf_length, swf_length

BOUNDED = ("mxf", "ogg", "swf")
"""Formats of which FFmpeg reads the files as one, and wrongly, unless each is given alone."""
_FLV, _SWF = b"FLV\x01", b"FWS"
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_HEADER = 1 << 16  # bytes
_OGG_PAGE, _OGG_FIRST = b"OggS\0", b"OggS\0\2"  # a page, and one that begins a stream
_OGG_LONGEST = 1 << 16  # bytes of a page
_MXF_PARTITION = bytes.fromhex("060e2b34020501010d0102010102")  # a header; the byte after tells whether it is closed
_MXF_KEY = 16  # bytes
_SEARCHED = 1 << 22  # bytes after the last packet in which the beginning of the next file is looked for


def next_file(path: Path, container: str, begin: int, end: int) -> int | None:
    """Return the first byte of the file that follows in a file of joined ones; None if there is none.

    Args:
        path: the joined file.
        container: name of its format in FFmpeg.
        begin: first byte of the file that is being read.
        end: byte after its last packet, or an earlier one after its header.
    """
    with path.open("rb") as file:
        if container == "flv":
            file.seek(max(end, begin + len(_FLV)))
            place = file.read(_SEARCHED).find(_FLV)
            return None if place < 0 else max(end, begin + len(_FLV)) + place
        if container.startswith("mov"):
            return _next_mp4(file, begin, path.stat().st_size)
        find = {"asf": _next_asf, "mxf": _next_mxf, "ogg": _next_ogg, "swf": _next_swf}.get(container)
        return None if find is None else find(file, begin)


def _next_asf(file: BinaryIO, begin: int) -> int | None:
    file.seek(begin)
    length = asf_length(file.read(_ASF_HEADER))
    return None if length is None else _if_there(file, begin + length, _ASF)


def _next_swf(file: BinaryIO, begin: int) -> int | None:
    file.seek(begin)
    length = swf_length(file.read(8))
    return None if length is None else _if_there(file, begin + length, _SWF)


def _next_mxf(file: BinaryIO, begin: int) -> int | None:
    """Return the first byte of the header that follows the footer, of which the first header tells the place."""
    place = begin
    while _if_there(file, place, _MXF_PARTITION[:4]) is not None:
        file.seek(place)
        item = file.read(_MXF_KEY + 9).ljust(_MXF_KEY + 9, b"\0")
        extra = item[_MXF_KEY] & 0x7F if item[_MXF_KEY] & 0x80 else 0  # bytes of a long length
        content = place + _MXF_KEY + 1 + extra
        length = int.from_bytes(item[_MXF_KEY + 1 : _MXF_KEY + 1 + extra], "big") if extra else item[_MXF_KEY]
        if not item.startswith(_MXF_PARTITION):
            place = content + length
        elif place > begin:
            return place
        else:
            file.seek(content + 24)
            footer = int.from_bytes(file.read(8), "big")
            if not footer:
                return None
            place = begin + footer
    return None


def _next_ogg(file: BinaryIO, begin: int) -> int | None:
    """Return the first byte of a page that begins a stream, if the last page is not of one of the first streams."""
    with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        streams, place = set[bytes](), begin
        while content[place : place + len(_OGG_FIRST)] == _OGG_FIRST and place + 27 <= len(content):
            streams.add(content[place + 14 : place + 18])
            table = place + 27
            sizes = content[table : table + content[place + 26]]
            place = table + len(sizes) + sum(sizes)
        last = content.rfind(_OGG_PAGE, max(len(content) - 2 * _OGG_LONGEST, place))
        if not streams or last < 0 or content[last + 14 : last + 18] in streams:
            return None
        found = content.find(_OGG_FIRST, place)
        return None if found < 0 else found


def _if_there(file: BinaryIO, place: int, start: bytes) -> int | None:
    """Return ``place`` if the file has these bytes there."""
    if place >= file.seek(0, SEEK_END):
        return None
    file.seek(place)
    return place if file.read(len(start)) == start else None


def _next_mp4(file: BinaryIO, begin: int, size: int) -> int | None:
    """Return the first byte of a second MP4 file: of a box ``ftyp`` after the index and the data of the first."""
    place, kinds = begin, set[bytes]()
    while place + 8 <= size:
        file.seek(place)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if kind == b"ftyp" and {b"moov", b"mdat"} <= kinds:
            return place
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length < 8 or not kind.isalnum():  # up to the end of the file, or not a box
            return None
        kinds.add(kind)
        place += length
    return None


def next_table(path: Path, begin: int, end: int, *, stream: int) -> int | None:
    """Return the first byte of the table of programs with which a transport stream begins; None if there is none.

    It is the last one before the next image. FFmpeg may give that image together with the one before, so the place of
    its packet does not tell.

    Args:
        path: the joined file.
        begin: first byte of the last image of one transport stream.
        end: first byte of an image of the next one.
        stream: PID of both.
    """
    with path.open("rb") as file:
        file.seek(begin)
        content = file.read(min(end - begin, _SEARCHED) + TS_PACKET)
    step = next((size for size in TS_STEPS if content[size : size + 1] == TS_SYNC), None)
    if step is None:
        return None
    table = None
    for place in range(step, len(content) - 3, step):
        pid, starts = (content[place + 1] & 0x1F) << 8 | content[place + 2], content[place + 1] & 0x40
        if pid == stream and starts:
            break
        if pid == 0:
            table = begin + place
    return table
