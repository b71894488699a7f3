"""``nasion.write``: annotated videos and landmark files from tracked frames."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ...engines.errors import NasionError
from ...engines.output_paths import check_output_paths
from ..faces.drawing import PARTS, drawing
from ..faces.face import Face
from ..faces.frame import Frame
from ..sinks import LANDMARK_SUFFIXES, Header, LateHeader, Sinks, sink_of
from ..sources import SourceInfo
from .records import FrameRecord

Written = tuple[Frame, Sequence[Face]] | tuple[FrameRecord, Sequence[Face]]
"""A frame and its faces; a frame without image is enough for a landmark file."""


def write(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    frames: Iterable[Written],
    *,
    parts: Collection[str] = PARTS,
    force: bool = False,
    info: SourceInfo | None = None,
    header: Header | None = None,
) -> int:
    """Write frames and their faces to a file: ``nasion.write("tracked.mp4", nasion.track("film.mp4"))``.

    Everything written before an error remains readable.

    Args:
        path: file to write, or several for the same frames. Its suffix chooses the kind: annotated video (.mp4, .mov,
            .mkv), annotated image of a single frame (.png, .jpg, .jpeg), or landmark file (.jsonl, .csv, .parquet), for
            ``nasion.read``.
        frames: pairs of a frame and its faces: the result of ``nasion.track``, of ``nasion.read`` for another landmark
            file, or any iterable, such as a generator that filters faces. The times of frames increase.
        parts: parts of each face to draw: ``box``, ``label``, ``landmarks``, ``lines``, ``axes`` and ``bars``.
        force: replace existing files. A file that is read is never replaced.
        info: description of the source, whose sound is copied to the video. By default that of ``nasion.track``; give
            ``video.info`` if ``frames`` is a generator over ``video``.
        header: header of landmark files, with landmark scheme, networks and versions. By default that of
            ``nasion.track`` or ``nasion.read``, else one made from the first frame; give ``video.header`` if ``frames``
            is a generator over ``video``.

    Returns:
        Number of frames written.

    Raises:
        NasionError: an item of ``frames`` is not a pair of frame and faces, or a part is unknown.
        SinkError: a file exists, cannot be written, or has another suffix; or a table gets faces with different numbers
            of landmarks.
        MissingExtra: a .parquet file needs pyarrow, which is not installed.

    Examples:
        >>> import nasion
        >>> nasion.write("tracked.mp4", nasion.track("video.mp4", end=0.1))
        3
        >>> nasion.write(["drawn.png", "faces.jsonl"], nasion.track("face.png"), parts=["box"])
        1
    """
    paths = [Path(each) for each in ([path] if isinstance(path, str | os.PathLike) else path)]
    source = info or getattr(frames, "info", None) or SourceInfo("", 0, 0)
    known: Header | None = header or getattr(frames, "header", None)
    written = known or LateHeader(source)
    with Sinks([sink_of(each, source, written, drawing(parts)) for each in paths]) as sinks:
        check_output_paths(
            {f"path {number}" if number else "path": each for number, each in enumerate(paths)},
            force=force,
            inputs=[*source.files, getattr(frames, "path", None)],
            remedy="give another name, or replace it with force=True",
        )
        draws = any(each.suffix.lower() not in LANDMARK_SUFFIXES for each in paths)
        count = 0
        for item in frames:
            frame, faces = _checked(item, draws=draws)
            if isinstance(written, LateHeader) and not count:
                written.value = _header_of(source, frame, faces)
            sinks.write(frame, faces)
            count += 1
    return count


def _checked(item: object, *, draws: bool) -> tuple[Frame, Sequence[Face]]:
    """Return an item of the frames, a pair of a frame and its faces.

    Raises:
        NasionError: it is something else, or a frame to draw on has no image.
    """
    match item:
        case (Frame() | FrameRecord() as frame, [*faces]) if all(isinstance(face, Face) for face in faces):
            if draws and isinstance(frame, FrameRecord):
                raise NasionError(
                    "the frames of a landmark file have no image to draw on; give those of nasion.track or of "
                    "nasion.open_source, with their faces"
                )
            return frame, faces  # type: ignore[return-value]  # a landmark file needs index and time only
    given = " ".join(repr(item).split())
    raise NasionError(
        f"write was given {given:.60} as a frame with its faces; give pairs (frame, faces) of a nasion.Frame and a "
        "list of nasion.Face, such as those of nasion.track"
    )


def _header_of(source: SourceInfo, frame: Frame, faces: Sequence[Face]) -> Header:
    """Return the header for frames of unknown origin, from the first one; without faces it has the usual scheme."""
    header = replace(Header.of(source), source=source.name or frame.source or "")
    if isinstance(frame, Frame):
        header = replace(header, width=frame.width, height=frame.height)
    if not faces:
        return header
    face, scheme = faces[0], faces[0].landmarks.scheme
    measured = {"pose": face.pose, "eyes": face.eye_opening, "mouth": face.mouth_opening}
    return replace(
        header,
        scheme=face.scheme or (scheme.name if scheme else ""),
        landmarks=len(face.landmarks),
        visibility=face.visibility is not None,
        measures=tuple(name for name, value in measured.items() if value is not None),
    )
