"""``nasion convert``: write the journal of an annotation, or a corrected CVAT file, in other formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ...engines.errors import printable
from ..machine import provenance
from ..options import Parts, read_parts
from ..results import Json, json_results


def convert(
    path: Path,
    /,
    *,
    format: Annotated[Parts, Parameter(converter=read_parts, n_tokens=1, show_default=False)] = Parts(()),  # noqa: B008
    out: Path | None = None,
    overlay: bool = False,
    journal: Path | None = None,
    force: bool = False,
    quiet: bool = False,
    json: Json = None,
) -> None:
    """Write what nasion annotate found in other formats; the source is read again only for --overlay.

    Args:
        path: a NAME.journal of nasion annotate, or a file in the format CVAT 1.1 (.xml) that was corrected by hand.
        format: formats, separated by commas: jsonl, csv, parquet, coco, cvat, pts (a folder of files) and vtt.
        out: folder of the outputs (default: that of PATH).
        overlay: also write a video, or images, with the faces drawn in.
        journal: journal that a CVAT file came from (default: NAME.journal beside NAME.cvat.xml or NAME.xml).
        force: replace files that exist.
        quiet: print warnings and errors only.
        json: also write the counts and the names of the files to this file; - for standard output (default: none).
    """
    from ...realtime.annotate.converting import convert as write

    with json_results(json, force=force, inputs=[path], silent=quiet) as to_json:
        files, counts = write(path, out, formats=format, overlay=overlay, journal=journal, force=force)
        print(f"{counts.frames:,} frames with {counts.faces:,} faces of {len(counts.ids):,} identities")
        print(*(printable(f"{file} is written") for file in files), sep="\n")
        figures = {"frames": counts.frames, "faces": counts.faces, "identities": len(counts.ids)}
        to_json.write(provenance() | figures | {"files": [str(file) for file in files]})
