"""Formats of annotations: one file for each input and format, or one folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ....engines.errors import NasionError
from ...sinks.landmarks import CsvSink, JsonLinesSink, ParquetSink, pyarrow
from ..look_ahead.annotation import Annotated
from .base import Annotations, Export, TableExport
from .coco import CocoExport
from .cvat import CvatExport
from .pts import PtsExport
from .subtitles import VttExport
from .whole import aside

__all__ = ["FORMATS", "Annotations", "Export", "chosen_formats", "export"]


@dataclass(frozen=True, slots=True)
class Format:
    """Format of an export.

    Attributes:
        suffix: what follows the name of the input.
        make: opens an export at a path, for annotations.
    """

    suffix: str
    make: Callable[[Path, Annotations], Export]


_ROW_GROUP = 16_000  # rows; the writer keeps an index entry for each group and column until the end


def _parquet(path: Path, annotations: Annotations) -> Export:
    return TableExport(ParquetSink(path, annotations.header, row_group=_ROW_GROUP))


FORMATS: Mapping[str, Format] = {
    "jsonl": Format(".jsonl", lambda path, annotations: TableExport(JsonLinesSink(path, annotations.header))),
    "csv": Format(".csv", lambda path, annotations: TableExport(CsvSink(path, annotations.header))),
    "parquet": Format(".parquet", _parquet),
    "coco": Format(".coco.json", CocoExport),
    "cvat": Format(".cvat.xml", CvatExport),
    "pts": Format(".pts", PtsExport),
    "vtt": Format(".vtt", VttExport),
}
"""Formats by name."""


def chosen_formats(names: str | Sequence[str], *, independent: bool = False) -> tuple[str, ...]:
    """Return the formats asked for, each once.

    Args:
        names: names of formats; a text may have several, separated by commas.
        independent: the annotations are those of independent images, which have no times.

    Raises:
        NasionError: a format does not exist, or does not suit independent images.
        MissingExtra: a .parquet file needs pyarrow, which is not installed.
    """
    if isinstance(names, str):
        names = [name.strip() for name in names.split(",")]
    for name in names:
        if name not in FORMATS:
            raise NasionError(f"format {name!r:.60} is unknown; allowed: {', '.join(FORMATS)}")
    if independent and "vtt" in names:
        raise NasionError("vtt has times, which independent images do not have; leave it out")
    if "parquet" in names:
        pyarrow()
    return tuple(dict.fromkeys(names))


def export(annotations: Annotations, paths: Mapping[str, Path], *, also: Sequence[Callable[[Annotated], None]]) -> None:
    """Write annotations in several formats at once. Each file appears complete, or not at all.

    Args:
        annotations: the annotations.
        paths: path by name of the format.
        also: further receivers of every frame.

    Raises:
        SinkError: a file cannot be written.
        MissingExtra: a .parquet file needs pyarrow, which is not installed.
    """
    with ExitStack() as finished, ExitStack() as opened:
        exports = [
            opened.enter_context(FORMATS[name].make(finished.enter_context(aside(path)), annotations))
            for name, path in paths.items()
        ]
        for annotated in annotations:
            for each in exports:
                each.write(annotated)
            for receive in also:
                receive(annotated)
        for each in exports:
            each.finish()
