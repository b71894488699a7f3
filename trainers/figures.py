"""Writing of matplotlib figures to files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from ..engines.output_paths import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_figure(figure: Figure, file: Path) -> None:
    """Write a figure as .svg or .png, by the suffix of ``file``.

    Raises:
        SinkError: the file cannot be written.
    """
    drawn, kind = io.BytesIO(), file.suffix.removeprefix(".")
    figure.savefig(drawn, format=kind, metadata={"Date": None} if kind == "svg" else None)
    write_file(file, drawn.getvalue())
