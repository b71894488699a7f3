"""Write the measured tables into README and docs from the JSON that our commands wrote: python docs/figures.py

Tables stand between ``<!-- figures: NAME -->`` and ``<!-- end -->``. ``--check`` changes nothing and fails where a
table is not the one that the JSON gives.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ZOO, BENCH = ROOT / "engines" / "zoo", ROOT / "docs" / "bench"
PAGES = (ROOT / "README.md", ROOT / "docs" / "models.md", ROOT / "docs" / "benchmarks.md")
BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def where(measured: dict[str, Any]) -> str:
    machine, versions = measured["machine"], measured["versions"]
    return (
        f"\n{machine['cpu']}, {machine['cores']} cores, {machine['system'].split('-with')[0]}; "
        f"ONNX Runtime {versions['onnxruntime']}, OpenCV {versions['opencv-python']}, PyAV {versions['av']}; "
        f"{measured['date'][:10]}; `{measured['command']}`.\n"
    )


def landmarks() -> str:
    measured = read(ZOO / "landmarks-68.json")["measured"]

    def row(name: str, figures: dict[str, Any]) -> list[str]:
        keys = ("faces", "found_percent", "nme_percent", "failure_percent", "auc_10")
        values = [f"{figures[key]:.4g}" if key != "nme_percent" else f"{figures[key]:.2f}" for key in keys]
        return [name, *values]

    rows = [
        row("300W HELEN test, inter-ocular", measured["300w"]),
        row("YouTube Faces test, inter-ocular, raw", measured["ytf68"]),
        row("the same after a constant offset per point", measured["ytf68"]["corrected"]),
        row("AFLW-68 test, box size", measured["aflw68"]),
        *(
            row(f"of these, turned by {degrees}", measured["aflw68"][band])
            for band, degrees in (
                ("yaw_0", "less than 20°"),
                ("yaw_20", "20–45°"),
                ("yaw_45", "45–75°"),
                ("yaw_75", "75° and more"),
            )
        ),
    ]
    return table(["set", "faces", "found %", "NME %", "failures at 10 % (misses count), %", "AUC 10"], rows) + where(
        measured
    )


def presence() -> str:
    measured = read(ZOO / "landmarks-68.json")["measured"]
    shown, alarms = measured["presence"], measured["negatives"]
    tracked = f"{alarms['with_a_tracked_face']} of {alarms['faceless_pictures']}"
    rows = [
        ["presence: labelled faces against background, AUC", f"{shown['auc']:.4f}"],
        ["labelled faces kept at the threshold, %", f"{shown['faces_kept_percent']:.2f}"],
        ["squares of background kept, %", f"{shown['background_kept_percent']:.2f}"],
        ["faceless pictures in which the tracker reports a face", tracked],
        *(
            [f"confidence: foretells a point error above 10 %, {name}, AUC", f"{measured[key]['confidence_auc']:.3f}"]
            for key, name in (("300w", "HELEN"), ("ytf68", "YouTube Faces"), ("aflw68", "AFLW-68"))
        ),
    ]
    return table(["", ""], rows)


def detector() -> str:
    measured = read(ZOO / "face-detector.json")["measured"]
    figures = measured["detector"]
    rows = []
    for key, name in ((k, k.replace("_", " ")) for k in figures if isinstance(figures[k], dict)):
        part = figures[key]
        alarms = f"{part['pictures_with_false_alarm']} of {part['faceless_pictures']}"
        rows.append([name, str(part["faces"]), f"{part['average_precision']:.3f}", f"{part['recall']:.3f}", alarms])
    head = [
        "input",
        "faces of 24 px and more",
        "AP at IoU 0.5",
        f"recall at {figures['threshold']}",
        "faceless pictures alarmed",
    ]
    return table(head, rows) + where(measured)


def speed() -> str:
    report = read(BENCH / "portrait.json")
    rows = []
    for stage in report["results"][0]["costs"]:
        row = [stage]
        for result in report["results"]:
            cost = result["costs"][stage]
            row += [f"{cost['cpu']['mean']:.2f}", f"{cost['wall']['median']:.2f}", f"{cost['wall']['p95']:.2f}"]
        rows.append(row)
    head = ["ms a frame"]
    for result in report["results"]:
        name = f"{result['threads']} thread{'s' if result['threads'] > 1 else ''}"
        head += [f"{name}: CPU mean", "wall median", "wall p95"]
    lines = "".join(
        f"\n{result['threads']} thread{'s' if result['threads'] > 1 else ''}: {result['fps']:.0f} FPS on decoded "
        f"frames, {result['threaded']['fps']:.0f} FPS from the file through the threads."
        for result in report["results"]
    )
    return table(head, rows) + lines + "\n" + where(report)


def networks() -> str:
    rows = []
    for name in ("face-detector", "landmarks-68"):
        card = read(ZOO / f"{name}.json")
        recipe = card["recipe"]
        rows.append(
            [
                name,
                f"{card['bytes'] / 1e6:.2f} MB",
                f"{recipe['parameters']:,}",
                f"{recipe['steps']:,}",
                f"`{card['sha256'][:16]}…`",
            ]
        )
    return table(["network", "size", "parameters", "steps trained", "SHA-256"], rows)


def comparison() -> str:
    report = read(BENCH / "landmark-networks.json")
    rows = [
        [
            run["network"],
            run["crop"],
            f"{run['cpu_ms']:.2f}",
            f"{run['parameters']:,}",
            f"{run['minutes']:.0f}",
            f"{run['steps']:,}",
        ]
        + [f"{100 * run['validation'][key]:.2f}" for key in ("nme_300w", "nme_aflw68", "nme_ytf68")]
        for run in report["runs"]
    ]
    head = [
        "network",
        "crop",
        "CPU ms a crop, 1 thread",
        "parameters",
        "minutes trained",
        "steps",
        "300W %",
        "AFLW-68 %",
        "YTF %",
    ]
    return table(head, rows)


TABLES = {
    "landmarks": landmarks,
    "presence": presence,
    "detector": detector,
    "speed": speed,
    "networks": networks,
    "comparison": comparison,
}


def filled(page: Path) -> str:
    return BLOCK.sub(lambda block: block[1] + TABLES[block[2]]() + block[3], page.read_text())


def main() -> None:
    stale = [page for page in PAGES if filled(page) != page.read_text()]
    if "--check" in sys.argv:
        sys.exit(f"stale tables in {', '.join(p.name for p in stale)}; run: python docs/figures.py" if stale else 0)
    for page in stale:
        page.write_text(filled(page))


if __name__ == "__main__":
    main()
