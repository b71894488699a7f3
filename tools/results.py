"""The option ``--json``: results of a command as JSON, in a file or on standard output."""

from __future__ import annotations

import json as json_module
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated, Any, TextIO

from cyclopts import Parameter

from ..engines.errors import SinkError, printable
from ..engines.output_paths import check_output_paths, write_file

Json = Annotated[Path | None, Parameter(name="--json", allow_leading_hyphen=True)]
"""Type of the option: the name of a file, or ``-`` for standard output."""


class Results:
    """Destination of the results of a command: the file or stream that ``--json`` names, or none.

    Attributes:
        file: the file, None for the stream or none.
    """

    def __init__(self, file: Path | None, stream: TextIO | None = None) -> None:
        """Write to ``file``, else to ``stream``, else nowhere."""
        self.file, self._stream = file, stream

    @property
    def wanted(self) -> bool:
        """True if results are written."""
        return self.file is not None or self._stream is not None

    def spare(self, inputs: Iterable[str | Path | None]) -> None:
        """Check that the file is none of ``inputs``, which are known only after the work has begun.

        Raises:
            SinkError: it is one of them.
        """
        check_output_paths({"--json": self.file}, force=True, inputs=inputs)

    def write(self, results: Mapping[str, Any]) -> None:
        """Write the results as one JSON object."""
        text = json_module.dumps(finite(results), indent=1, allow_nan=False, default=str) + "\n"
        if self.file is not None:
            write_file(self.file, text)
            print(f"{printable(self.file)} holds all figures")
        elif self._stream is not None:
            self._stream.write(text)


@contextmanager
def json_results(
    json: Path | None,
    *,
    force: bool,
    inputs: Iterable[str | Path | None] = (),
    others: Mapping[str, Path | None] | None = None,
    silent: bool = False,
) -> Iterator[Results]:
    """Check the output files of a command, and yield the destination of its results.

    With ``--json -``, the JSON is all that goes to standard output; tables that are printed within the context are left
    out, as with ``silent``.

    Args:
        json: value of ``--json``; None: results are not written.
        force: replace files that exist.
        inputs: files that the command reads, which no output may replace.
        others: further output files, by option.
        silent: leave out all that is printed within the context.

    Raises:
        SinkError: a file cannot be written, exists, or is an input or another output.
    """
    file = None if str(json) == "-" else json
    if str(file).startswith("-"):  # an option: the value is missing
        raise SinkError(f"--json {str(file)!r} is not a file; give the name of a file, or - for standard output")
    check_output_paths({"--json": file, **(others or {})}, force=force, inputs=inputs)
    results = Results(file, sys.stdout if file is not json else None)
    if not silent and file is json:
        yield results
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield results


def finite(value: Any) -> Any:
    """Return the value with NaN and infinity replaced by None: JSON lacks them, and no found face gives such errors."""
    if isinstance(value, Mapping):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
