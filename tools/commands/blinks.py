"""``nasion blinks``: the blinks of the faces in a landmark file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...engines.errors import printable
from ..machine import provenance, short
from ..results import Json, json_results


def blinks(landmarks: Path, /, *, json: Json = None, force: bool = False) -> None:
    """List the blinks of every face with start, end and duration in seconds, and their rate.

    A blink is a fall of the mean opening of both eyes below three quarters of their usual opening, and the return
    within 0.6 s. See docs/commands/measures.md for what blur, distance and yaw do to it.

    Args:
        landmarks: landmark file that nasion track --landmarks wrote: .jsonl, .csv or .parquet.
        json: also write the blinks to this file; - for standard output.
        force: replace that file.
    """
    from ...realtime.exchange.reading import read
    from ...realtime.measures.blinks import blinks as found_in

    with json_results(json, force=force, inputs=[landmarks]) as to_json:
        seen: dict[int, list[float]] = {}  # first and last time of each face
        tracked = []
        with read(landmarks) as frames:
            for frame, faces in frames:
                for face in faces:
                    seen.setdefault(face.id, [frame.time, frame.time])[1] = frame.time
                tracked.append((frame, faces))
        rows = [asdict(blink) for blink in found_in(tracked)]
        print(table(rows, seen))
        to_json.write(provenance() | {"source": short(str(landmarks)), "blinks": rows})


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
