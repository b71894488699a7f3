"""Files joined end to end, such as with ``cat``, in formats of which FFmpeg reads the first one only."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_FLV = b"FLV\x01"
_SEARCHED = 1 << 22  # bytes after the last packet in which the beginning of the next file is looked for
_TS_PACKET, _TS_SYNC = 188, b"\x47"  # packet of a transport stream, and its first byte
_TS_STEPS = (_TS_PACKET, 192, 204)  # bytes from one packet to the next: with a time before, or a check sum after each


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
    return None


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
        content = file.read(min(end - begin, _SEARCHED) + _TS_PACKET)
    step = next((size for size in _TS_STEPS if content[size : size + 1] == _TS_SYNC), None)
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
