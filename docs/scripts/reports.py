"""Helpers shared by the scripts of this folder: reading JSON results of our commands, and writing tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "docs" / "bench"
STUDIES = BENCH / "studies"
FIRST = BENCH / "studies-first"
"""Reports of the first version of the recipes, which trained for equal minutes."""


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def studies(*, of_full_size: bool) -> list[dict[str, Any]]:
    """Return the reports of the first version, sorted by name: the short runs at the papers' size, or all others."""
    found = [read(path) for path in sorted(FIRST.glob("*.json"))]
    return [report for report in found if report["study"].startswith("full-") == of_full_size]


def measured() -> list[dict[str, Any]]:
    """Return the reports of the first version that were measured on test faces."""
    return [report for report in studies(of_full_size=False) if report["measured"]]


def better_reading(line: dict[str, Any]) -> float:
    """Return the error of a validation, by soft-argmax if that is reported and lower."""
    return min(line["nme"], line.get("nme_soft", line["nme"]))


def where(measured: dict[str, Any]) -> str:
    machine, versions = measured["machine"], measured["versions"]
    runtime = versions.get("onnxruntime") or versions["onnxruntime-gpu"]
    return (
        f"\n{processor(machine)}, {machine['cores']} cores, {machine['system'].split('-with')[0]}; "
        f"ONNX Runtime {runtime}, OpenCV {versions['opencv-python']}, PyAV {versions['av']}; "
        f"{measured['date'][:10]}; `{measured['command']}`.\n"
    )


def processor(machine: dict[str, Any]) -> str:
    """Return the model of the CPU, and whether it has VNNI if that was recorded."""
    if "vnni" not in machine:
        return str(machine["cpu"])
    return f"{machine['cpu']} {'with' if machine['vnni'] else 'without'} VNNI"


def value_of(value: float | None, *, missing: str = "infinite") -> str:
    return missing if value is None else f"{value:g}"
