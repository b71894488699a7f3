"""``nasion head``: fit the generic head of the head pose to labelled faces."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from ...engines.output_paths import check_output_paths, write_file
from ..machine import provenance
from ..results import Json, json_results

SOURCE = "landmarks of AFLW's training part with the labels of MERL-RAV (set aflw68); hidden ones are missing"


def head(
    *,
    data: Path,
    out: Annotated[Path, Parameter(alias="-o")],
    json: Json = None,
    force: bool = False,
    quiet: bool = False,
) -> None:
    """Fit the generic head of the head pose to the training part of AFLW, for maintainers.

    The result is the shape that fits the landmarks of all faces best when each may only be rotated, scaled and moved
    (rigid factorisation), in millimetres for pupils 63 mm apart. No test part is used.

    Args:
        data: folder that holds the set aflw68.
        out: .json file to write; the shipped one is realtime/measures/head.json.
        json: also write the number of faces and the spread of the landmarks, with machine and versions, to this file; -
            for standard output (default: none).
        force: replace files that exist.
        quiet: print warnings and errors only.
    """
    check_output_paths({"--out": out}, force=force, suffixes=(".json",))
    with json_results(json, force=force, others={"--out": out}, silent=quiet) as to_json:
        to_json.write(_fit(data, out))


def _fit(data: Path, out: Path) -> dict[str, Any]:
    """Fit the head, write it to ``out``, and return what it was made of."""
    from ...trainers.data import read_aflw68
    from ...trainers.evaluation.measures.head import fit_head

    faces = read_aflw68(data)
    fitted = fit_head(faces.points, faces.yaw)
    about = provenance("nasion head --data DATA --out realtime/measures/head.json")
    values = {
        "source": SOURCE,
        "command": about["command"],
        "date": about["date"],
        "points": fitted.points.round(2).tolist(),
        "spread": fitted.spread.round(2).tolist(),
        "hidden_from": fitted.hidden_from.round(0).tolist(),
    }
    lines = ",\n".join(f" {json_module.dumps(name)}: {json_module.dumps(value)}" for name, value in values.items())
    write_file(out, f"{{\n{lines}\n}}\n")
    spread = float(fitted.spread.mean())
    print(f"{out}: {len(faces)} faces; spread of the landmarks {spread:.1f} mm in the mean")
    return {**about, "faces": len(faces), "spread_mm": round(spread, 2)}
