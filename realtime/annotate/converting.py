"""Conversion of a journal, or of a CVAT file that was corrected by hand, to any format."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...engines.errors import NasionError, SourceError
from ...engines.output_paths import check_output_paths
from ..tracking.options import TrackerOptions
from ..values.source_options import MAX_PIXELS
from .alone import alone_in, remove_parts
from .exports import FORMATS, chosen_formats, export
from .exports.base import Annotations
from .exports.corrections import Corrected
from .inputs import Input
from .job import Job
from .journal import SUFFIX, is_finished
from .look_ahead.annotation import Annotation
from .rendering.render import OVERLAY, render, rendered_paths
from .results import Counts

_log = logging.getLogger(__name__)
_CVAT = (".cvat.xml", ".xml")


def convert(
    path: Path,
    out: Path | None = None,
    *,
    formats: Sequence[str] = (),
    overlay: bool = False,
    journal: Path | None = None,
    force: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> tuple[list[Path], Counts]:
    """Write the annotations of a journal, or of a corrected CVAT file, in other formats.

    Args:
        path: journal, or CVAT file (.xml).
        out: folder of the outputs; by default that of ``path``.
        formats: names of the formats; see ``exports.FORMATS``.
        overlay: also write a video, or images, with the faces drawn in; this reads the source again.
        journal: journal that a CVAT file came from; by default that of the same name beside it.
        force: replace files that exist.
        max_pixels: largest image file to decode, in width times height.

    Returns:
        Paths of the outputs, and counts.

    Raises:
        NasionError: a format is unknown, or nothing is to be written.
        SourceError: a file cannot be read, or the source has changed.
        SinkError: an output exists or cannot be written, or another run writes into the folder.
    """
    if not formats and not overlay:
        raise NasionError(f"nothing is to be written; give formats ({', '.join(FORMATS)}) or the overlay")
    names = chosen_formats(formats)
    stem, annotations = _opened(path, journal)
    header = annotations.journal
    chosen_formats(names, independent=header.kind == "images")
    folder = path.parent if out is None else out
    job = Job(
        _source(stem, annotations) if overlay else Input(stem, header.source),
        folder,
        names,
        TrackerOptions(),
        every=header.every,
        independent=header.kind == "images",
        overlay=overlay,
        obscure=header.obscure,
        max_pixels=max_pixels,
    )
    outputs = {name: job.path(FORMATS[name].suffix) for name in names}
    rendered = {name: place for name, place in rendered_paths(job).items() if name == OVERLAY}
    check_output_paths({**outputs, **rendered}, force=force, inputs=[path])
    counts = Counts()
    if not is_finished(annotations.path):
        _log.warning(
            "%r is not finished: the outputs end where it ends; complete it with nasion annotate --resume",
            str(annotations.path),
        )
    with alone_in(folder):
        remove_parts([folder])
        export(annotations, outputs, also=[counts])
        if rendered:
            render(job, annotations, rendered)
    return [*outputs.values(), *rendered.values()], counts


def _opened(path: Path, journal: Path | None) -> tuple[str, Annotations]:
    """Return the name of the outputs, and the annotations of a file."""
    if path.name.endswith(SUFFIX):
        if journal is not None:
            raise NasionError(f"{str(path)!r} is a journal itself; leave the other journal out")
        return path.name.removesuffix(SUFFIX), Annotation(path)
    suffix = next((each for each in _CVAT if path.name.lower().endswith(each)), None)
    if suffix is None:
        raise SourceError(f"{str(path)!r} is neither a journal ({SUFFIX}) nor a CVAT file (.xml); give one of them")
    stem = path.name[: -len(suffix)]
    beside = path.with_name(stem + SUFFIX)
    if journal is None and not beside.exists():
        raise SourceError(
            f"{str(path)!r} has no journal {str(beside)!r} beside it; give the one it came from: --journal"
        )
    return stem, Corrected(path, journal or beside)


def _source(name: str, annotations: Annotations) -> Input:
    """Return the input that was annotated. Whether its images are the same is seen when they are read.

    Raises:
        SourceError: the video is another one than that of the journal.
    """
    header = annotations.journal
    source = Input(name, header.source)
    if header.kind == "video":
        if source.content().figures != header.content:
            raise SourceError(f"{header.source}: its content has changed since it was annotated; annotate it again")
        return source
    images = [Path(header.source)] * int(header.content["images"])
    for annotated in annotations:
        images[annotated.frame.index] = Path(header.source) / annotated.frame.file
    return replace(source, images=tuple(images))
