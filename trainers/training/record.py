"""Record of a training run: a JSON Lines file with one object per report."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...engines.closing import Closing
from ...engines.output_paths import writing
from ...realtime.sinks.whole import WholeFile

log = logging.getLogger(__name__)


class Record(Closing):
    """Writer of ``record.jsonl`` in the run's folder, and of the log. Each line is written as a whole."""

    def __init__(self, folder: Path, *, silent: bool = False) -> None:
        """Open the record in ``folder``, appending to an existing one; a ``silent`` record writes nothing.

        Raises:
            SinkError: the file cannot be written.
        """
        self.path = folder / "record.jsonl"
        self._file: WholeFile | None = None
        if not silent:
            with writing(self.path):
                folder.mkdir(parents=True, exist_ok=True)
                _drop_torn_line(self.path)
                self._file = WholeFile(self.path, append=True)

    def write(self, kind: str, **values: Any) -> None:
        """Append one report with its Unix time.

        Raises:
            SinkError: the disk is full.
        """
        if self._file is None:
            return
        line = json.dumps({"kind": kind, "at": round(time.time(), 1), **values})
        with writing(self.path):
            self._file.write(f"{line}\n".encode())
        log.log(logging.DEBUG if kind == "train" else logging.INFO, "%s", line)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def read_record(path: Path) -> list[dict[str, Any]]:
    """Return all reports of a ``record.jsonl``; a torn line is left out with a warning."""
    return list(_reports(path))


def _reports(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        report = _report(line)
        if report is None:
            log.warning("%s, line %d is torn and left out: %.60r", path, number, line)
        else:
            yield report


def _report(line: str) -> dict[str, Any] | None:
    try:
        report = json.loads(line)
    except ValueError:
        return None
    return report if isinstance(report, dict) and "kind" in report else None


def _drop_torn_line(path: Path) -> None:
    """Remove the last line of a record if a crash tore it, with a warning.

    Raises:
        OSError: the file cannot be read or written.
    """
    if not path.is_file():
        return
    content = path.read_bytes()
    whole, _, last = content.rpartition(b"\n")
    if last:
        log.warning("%s: its last line was torn by a crash and is dropped: %.60r", path, last.decode(errors="replace"))
        with path.open("r+b") as file:
            file.truncate(len(whole) + 1 if whole else 0)


class Means:
    """Means of named losses, each over the steps in which it appeared."""

    def __init__(self, sums: Mapping[str, tuple[float, int]] | None = None) -> None:
        """Start empty, or with the ``sums`` of another instance."""
        self.sums = dict(sums or {})

    def add(self, values: Mapping[str, float]) -> None:
        """Add the losses of one step."""
        for name, value in values.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = (total + value, count + 1)

    def take(self) -> dict[str, float]:
        """Return the means and reset them."""
        means = {name: float(f"{total / count:.5g}") for name, (total, count) in self.sums.items()}
        self.sums = {}
        return means
