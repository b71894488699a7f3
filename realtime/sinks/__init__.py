"""Outputs of a run, all checked before any work starts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from ...engines.errors import SinkError
from ...engines.output_paths import check_output_paths
from ..faces.drawing import PARTS, Draw, drawing
from ..faces.face import Face
from ..faces.frame import Frame
from ..sources.base import SourceInfo
from .base import STREAM, Sink
from .header import AnyHeader, Header, LateHeader
from .landmarks import CsvSink, JsonLinesSink, ParquetSink, StreamSink
from .video import IMAGE_SUFFIXES, VIDEO_SUFFIXES, ImageSink, VideoSink
from .window import WindowSink

__all__ = [
    "LANDMARK_SUFFIXES",
    "CsvSink",
    "Header",
    "ImageSink",
    "JsonLinesSink",
    "LateHeader",
    "ParquetSink",
    "Sink",
    "Sinks",
    "StreamSink",
    "VideoSink",
    "WindowSink",
    "open_sinks",
    "sink_of",
]

_LANDMARKS: dict[str, Callable[[Path, AnyHeader], Sink]] = {
    ".jsonl": JsonLinesSink,
    ".csv": CsvSink,
    ".parquet": ParquetSink,
}
LANDMARK_SUFFIXES = tuple(_LANDMARKS)


class Sinks(Sink):
    """Several sinks as one. ``close`` closes all of them, even if one raises an error."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        """Take ownership of ``sinks``."""
        self._sinks = tuple(sinks)

    @property
    def stopped(self) -> bool:
        """True once the user has closed one of the sinks, such as a window."""
        return any(sink.stopped for sink in self._sinks)

    def write(self, frame: Frame, faces: Sequence[Face]) -> None:
        """Write the frame to each sink."""
        for sink in self._sinks:
            sink.write(frame, faces)

    def close(self) -> None:
        """Close all sinks; an error of one is raised after all are closed."""
        with ExitStack() as stack:
            for sink in self._sinks:
                stack.callback(sink.close)


def open_sinks(
    *,
    out: str | Path | None = None,
    landmarks: str | Path | None = None,
    stream: TextIO | None = None,
    show: bool = False,
    info: SourceInfo,
    force: bool = False,
    header: AnyHeader | None = None,
    parts: Collection[str] = PARTS,
) -> Sinks:
    """Check all outputs and return them as one sink. Nothing is written before the first frame.

    Args:
        out: annotated video (.mp4, .mov, .mkv), or image (.png, .jpg, .jpeg) if the source is one image; ``-`` for a
            Matroska video on standard output.
        landmarks: landmark file (.jsonl, .csv or .parquet), or ``-`` for JSON Lines on ``stream``.
        stream: where ``-`` leads (default: standard output).
        show: open a window.
        info: description of the source; its sound is copied to the video.
        force: replace existing files.
        header: header of the landmark file; None to build it from ``info`` and 68 landmarks.
        parts: parts drawn of each face: ``box``, ``label``, ``landmarks``, ``lines``.

    Raises:
        SinkError: an output cannot be written, already exists, or is the source or the other output.
        MissingExtra: a .parquet file needs pyarrow, which is not installed.
    """
    paths = {"--out": out, "--landmarks": landmarks}
    wanted = {option: Path(path) for option, path in paths.items() if path is not None}
    sinks: list[Sink] = []
    if out is not None:
        sinks.append(_image_sink(wanted["--out"], info, drawing(parts)))
    if wanted.get("--landmarks") == STREAM:
        sinks.append(StreamSink(stream or sys.stdout, header or Header.of(info)))
    elif landmarks is not None:
        sinks.append(_landmarks(wanted["--landmarks"], header or Header.of(info)))
    files = {option: path for option, path in wanted.items() if path != STREAM}
    check_output_paths(files, force=force, inputs=info.files)
    if show:
        sinks.append(WindowSink(f"nasion: {info.name}", drawing(parts)))
    return Sinks(sinks)


def sink_of(path: Path, info: SourceInfo, header: AnyHeader, draw: Draw) -> Sink:
    """Return the sink of a file of any kind, which its suffix chooses.

    Raises:
        SinkError: the suffix is unknown, or an image is to hold more than one frame.
        MissingExtra: a .parquet file needs pyarrow, which is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in VIDEO_SUFFIXES + IMAGE_SUFFIXES + LANDMARK_SUFFIXES:
        allowed = ", ".join(VIDEO_SUFFIXES + IMAGE_SUFFIXES + LANDMARK_SUFFIXES)
        raise SinkError(f"path {str(path)!r} has suffix {path.suffix!r}; allowed: {allowed}")
    return _landmarks(path, header) if suffix in LANDMARK_SUFFIXES else _image_sink(path, info, draw)


def _image_sink(path: Path, info: SourceInfo, draw: Draw) -> Sink:
    if path == STREAM or path.suffix.lower() in VIDEO_SUFFIXES:
        return VideoSink(path, info, draw=draw)
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        allowed = ", ".join(VIDEO_SUFFIXES + IMAGE_SUFFIXES)
        raise SinkError(f"--out {str(path)!r} has suffix {path.suffix!r}; allowed: {allowed}")
    if info.frames != 1 and info.name:  # frames of unknown origin have no name; the sink refuses a second one
        raise SinkError(
            f"{str(path)!r} is an image, but {info.name!r} is not a single one; "
            f"give a video: {', '.join(VIDEO_SUFFIXES)}"
        )
    return ImageSink(path, draw)


def _landmarks(path: Path, header: AnyHeader) -> Sink:
    if path.suffix.lower() not in _LANDMARKS:
        allowed = ", ".join(_LANDMARKS)
        raise SinkError(f"--landmarks {str(path)!r} has suffix {path.suffix!r}; allowed: {allowed}")
    return _LANDMARKS[path.suffix.lower()](path, header)
