"""File of a journal: written chunk by chunk, and read the same way; a damaged end is left out."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ....engines.closing import Closing
from ....engines.errors import SourceError
from ....engines.output_paths import writing
from ...sinks.whole import WholeFile
from .records import APPEARANCE, FORMAT, Chunk, End, JournalFrame, JournalHeader, sealed, unsealed

_LAST_LINE = 1 << 16  # bytes in which the last line of a journal is looked for


@dataclass(frozen=True, slots=True)
class Whole:
    """Whole part of a journal.

    Attributes:
        header: its header; None if there is not even that.
        bytes: length of the whole part.
        chunks: number of whole chunks.
        frames: number of frames in them.
        last: last frame, None if there is none.
        pixels: checksum of the pixels of that frame.
        end: end of the journal; None if the work is not finished.
    """

    header: JournalHeader | None = None
    bytes: int = 0
    chunks: int = 0
    frames: int = 0
    last: JournalFrame | None = None
    pixels: int = 0
    end: End | None = None


class Journal(Closing):
    """Journal that is being written."""

    def __init__(self, path: Path, *, keep: int = 0) -> None:
        """Open a journal.

        Args:
            path: its file.
            keep: bytes of the whole part to keep; 0 starts the journal from the beginning.

        Raises:
            SinkError: the file cannot be written.
        """
        self._path = path
        with writing(path):
            if keep:
                os.truncate(path, keep)
            self._file = WholeFile(path, append=bool(keep))

    def begin(self, header: JournalHeader) -> None:
        """Write the header."""
        self._append(header.to_bytes())

    def add(self, chunk: Chunk) -> None:
        """Append a chunk, all of it or nothing, and synchronise the file to the disk.

        Raises:
            SinkError: it cannot be written; the file ends with the chunk before.
        """
        self._append(chunk.to_bytes())

    def extend(self, lines: bytes) -> None:
        """Append chunks that were made elsewhere, as ``Chunk.to_bytes`` gives them; see ``add``."""
        self._append(lines)

    def finish(self, end: End) -> None:
        """Close the journal with its last line."""
        self._append(sealed({"end": True, **asdict(end)}))

    def _append(self, data: bytes) -> None:
        with writing(self._path):
            self._file.write(data)
            self._file.sync()

    def close(self) -> None:
        """Close the file."""
        with writing(self._path):
            self._file.close()


def read_header(path: Path) -> JournalHeader:
    """Return the header of a journal.

    Raises:
        SourceError: the file cannot be read, is not a journal, or has a later format.
    """
    with _open(path) as file:
        header = _header(file.readline(), path)
    if header is None:
        raise SourceError(f"{str(path)!r} is not a journal; give one that nasion annotate wrote")
    return header


def read_chunks(path: Path) -> Iterator[Chunk]:
    """Yield the whole chunks of a journal, one at a time.

    Raises:
        SourceError: the file cannot be read, or is damaged; the message names the line.
    """
    for _, frames, closing in _chunks(path):
        if "end" in closing:
            return
        appearance = {
            int(track): np.array(values, np.float32) / np.float32(APPEARANCE)
            for track, values in closing["appearance"].items()
        }
        parsed = [JournalFrame.from_values(json.loads(line)) for line in frames]
        yield Chunk(closing["chunk"], parsed, appearance, closing["pixels"])


def is_finished(path: Path) -> bool:
    """Return whether a journal has its end.

    Raises:
        SourceError: the file cannot be read.
    """
    with _open(path) as file:
        file.seek(max(path.stat().st_size - _LAST_LINE, 0))
        last = file.read().rpartition(b'\n{"end":')[2]
    return bool(last.endswith(b"}\n") and last.count(b"\n") == 1)


def whole_part(path: Path) -> Whole:
    """Return the part of a journal that is whole, for resuming.

    Raises:
        SourceError: the file is not a journal, or is damaged before its last line.
    """
    if not path.exists():
        return Whole()
    with _open(path) as file:
        first = file.readline()
        header = _header(first, path)
    if header is None:
        return Whole()
    chunks = count = pixels = 0
    size, last = len(first), None
    for place, frames, closing in _chunks(path):
        if "end" in closing:
            return Whole(header, place, chunks, count, last, pixels, End(closing["frames"], closing["damage"]))
        size, chunks, count, pixels = place, chunks + 1, count + len(frames), closing["pixels"]
        last = JournalFrame.from_values(json.loads(frames[-1]))
    return Whole(header, size, chunks, count, last, pixels)


def _open(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise SourceError(f"{str(path)!r} cannot be read: {error.strerror}; give a journal") from error


def _header(line: bytes, path: Path) -> JournalHeader | None:
    """Parse the first line of a journal; None if it was not written completely."""
    begin = b'{"journal":'
    if not line.endswith(b"\n") and (line.startswith(begin) or begin.startswith(line)):
        return None
    try:
        version = json.loads(line)["journal"]
        if version > FORMAT:
            raise SourceError(f"{str(path)!r} has format {version}; this version reads up to {FORMAT}; update nasion")
        return JournalHeader.from_values(unsealed(line))
    except (ValueError, TypeError, KeyError) as error:
        if line.startswith(begin):
            raise SourceError(
                f"{str(path)!r}: its first line is damaged; annotate the input from the beginning with --force"
            ) from error
        raise SourceError(f"{str(path)!r} is not a journal; give one that nasion annotate wrote") from error


def _chunks(path: Path) -> Iterator[tuple[int, list[bytes], dict[str, Any]]]:
    """Yield for each whole chunk, and for the end, the place in the file after it, its frame lines and closing line.

    Raises:
        SourceError: a chunk before the end of the file is damaged.
    """
    with _open(path) as file:
        place = len(file.readline())
        frames: list[bytes] = []
        for number, line in enumerate(file, start=2):
            place += len(line)
            if not line.startswith((b'{"chunk":', b'{"end":')):
                frames.append(line)
                continue
            if not line.endswith(b"\n"):
                return
            try:
                closing = unsealed(line, zlib.crc32(b"".join(frames)))
            except ValueError as error:
                if file.read(1):
                    raise SourceError(
                        f"{str(path)!r}: the chunk that ends in line {number} is damaged ({error}); annotate the "
                        "input from the beginning with --force"
                    ) from error
                return
            yield place, frames, closing
            frames = []
