"""What a run leaves behind for people: one JSON Lines file, one object a report."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...engines.closing import Closing
from ...engines.output_paths import writing
from ...realtime.sinks.whole import WholeFile

log = logging.getLogger(__name__)


class Record(Closing):
    """Appends to ``record.jsonl`` in the run's folder, and to the log; every line is complete when written."""

    def __init__(self, folder: Path, *, silent: bool = False) -> None:
        """Open or continue the record in ``folder``; a ``silent`` one writes nothing anywhere.

        Raises:
            SinkError: it cannot be written.
        """
        self.path = folder / "record.jsonl"
        self._file: WholeFile | None = None
        if not silent:
            with writing(self.path):
                folder.mkdir(parents=True, exist_ok=True)
                self._file = WholeFile(self.path, append=True)

    def write(self, kind: str, **values: Any) -> None:
        """Add one report with the time of day.

        Raises:
            SinkError: there is no room for it.
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
    """All reports of a ``record.jsonl``."""
    return [json.loads(line) for line in path.read_text().splitlines()]


class Means:
    """Means of named losses, each over the steps in which it appeared."""

    def __init__(self, sums: Mapping[str, tuple[float, int]] | None = None) -> None:
        """Start at nothing, or at the ``sums`` of another."""
        self.sums = dict(sums or {})

    def add(self, values: Mapping[str, float]) -> None:
        """Take note of one step."""
        for name, value in values.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = (total + value, count + 1)

    def take(self) -> dict[str, float]:
        """The means, and start at nothing again."""
        means = {name: float(f"{total / count:.5g}") for name, (total, count) in self.sums.items()}
        self.sums = {}
        return means
