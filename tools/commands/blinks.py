"""``nasion blinks``: the blinks of the faces in a landmark file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...engines.errors import printable
from ..machine import provenance, short
from ..results import Json, json_results

if TYPE_CHECKING:
    from ...realtime.measures.blinks import BlinkDetector


def blinks(landmarks: Path, /, *, json: Json = None, force: bool = False) -> None:
    """List the blinks of every face with start, end and duration in seconds, and their rate.

    A blink is a fall of the mean opening of both eyes below three quarters of their usual opening, and the return
    within 0.6 s. See docs/commands/measures.md for what blur, distance and yaw do to it.

    Args:
        landmarks: landmark file that nasion track --landmarks or nasion live wrote: .jsonl, .csv or .parquet. Each
            connection of each source of nasion live has a table of its own.
        json: also write the blinks to this file; - for standard output.
        force: replace that file.
    """
    from ...realtime.exchange.reading import read
    from ...realtime.measures.blinks import BlinkDetector

    with json_results(json, force=force, inputs=[landmarks]) as to_json:
        parts: dict[tuple[str, int], _Part] = {}
        with read(landmarks) as frames:
            for frame, faces in frames:
                key = frame.source, frame.connection
                part = parts.setdefault(key, _Part(BlinkDetector()))
                for face in faces:
                    part.seen.setdefault(face.id, [frame.time, frame.time])[1] = frame.time
                live = {"feed": frame.source, "connection": frame.connection} if frame.connection else {}
                part.rows += [asdict(blink) | live for blink in part.detector.update(frame.time, faces)]
        for (source, connection), part in parts.items() or [(("", 0), _Part(BlinkDetector()))]:
            if connection:
                print(printable(f"{source}, connection {connection}"))
            print(table(part.rows, part.seen))
        rows = [row for part in parts.values() for row in part.rows]
        to_json.write(provenance() | {"source": short(str(landmarks)), "blinks": rows})


@dataclass(slots=True)
class _Part:
    """Frames with identities of their own: those of a video, or of one connection of a live source.

    Attributes:
        detector: finds the blinks.
        seen: first and last time of each face.
        rows: blinks so far.
    """

    detector: BlinkDetector
    seen: dict[int, list[float]] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)


def table(rows: Sequence[Mapping[str, Any]], seen: Mapping[int, Sequence[float]]) -> str:
    """Return the blinks, and the number and rate of those of each face, as plain text."""
    lines = ["face  start s    end s  duration s"]
    lines += [
        f"{row['id']:4}  {row['start']:7.2f}  {row['end']:7.2f}  {row['end'] - row['start']:10.2f}" for row in rows
    ]
    for face, (first, last) in seen.items():
        count = sum(row["id"] == face for row in rows)
        minutes = (last - first) / 60
        rate = f", {count / minutes:.1f} a minute" if minutes else ""
        lines.append(f"face {face}: {count} blinks in {last - first:.1f} s{rate}")
    return printable("\n".join(lines), lines=True)
