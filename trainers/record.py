"""What a run leaves behind: one JSON Lines file, one object a report."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

from ..engines.closing import Closing

log = logging.getLogger(__name__)


class Record(Closing):
    """Appends to ``record.jsonl`` in the run's folder, and to the log; every line is complete when written."""

    def __init__(self, folder: Path) -> None:
        """Open or continue the record in ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "record.jsonl"
        self._file = self.path.open("a")

    def write(self, kind: str, **values: Any) -> None:
        """Add one report with the time of day."""
        line = json.dumps({"kind": kind, "at": round(time.time(), 1), **values})
        self._file.write(line + "\n")
        self._file.flush()
        log.info("%s", line)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_record(path: Path) -> list[dict[str, Any]]:
    """All reports of a ``record.jsonl``."""
    return [json.loads(line) for line in path.read_text().splitlines()]
