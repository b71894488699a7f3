"""Formats of annotations: one file for each input and format, or one folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ....engines.errors import NasionError
from ...sinks.landmarks import CsvSink, JsonLinesSink, ParquetSink
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


FORMATS: Mapping[str, Format] = {
    "jsonl": Format(".jsonl", lambda path, annotations: TableExport(JsonLinesSink(path, annotations.header))),
    "csv": Format(".csv", lambda path, annotations: TableExport(CsvSink(path, annotations.header))),
    "parquet": Format(".parquet", lambda path, annotations: TableExport(ParquetSink(path, annotations.header))),
    "coco": Format(".coco.json", CocoExport),
    "cvat": Format(".cvat.xml", CvatExport),
    "pts": Format(".pts", PtsExport),
    "vtt": Format(".vtt", VttExport),
}
"""Formats by name."""


def chosen_formats(names: Sequence[str]) -> tuple[str, ...]:
    """Return the formats asked for, each once.

    Raises:
        NasionError: a format does not exist.
    """
    for name in names:
        if name not in FORMATS:
            raise NasionError(f"format {name!r:.60} is unknown; allowed: {', '.join(FORMATS)}")
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
