"""Write the tables of README and docs from the JSON results of our commands.

Usage: python docs/scripts/figures.py [--check]

One table has counts instead of measurements: the work of the kernels, from tools/kernels/roofline.py.

Tables are between ``<!-- figures: NAME -->`` and ``<!-- end -->``. ``--check`` changes nothing and fails if a table
differs from the JSON.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from reports import BENCH, ROOT, processor, read, table, value_of, where
from tables import annotation, cluster, files, gpu, live, measures, papers

from nasion.engines.zoo import models as cards

ZOO = ROOT / "engines" / "zoo"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs/commands").glob("*.md")))
BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def landmarks() -> str:
    measured = read(ZOO / "landmarks-68.json")["measured"]

    def row(name: str, figures: dict[str, Any]) -> list[str]:
        keys = ("faces", "found_percent", "nme_percent", "failure_percent", "auc_10_percent")
        values = [f"{figures[key]:.4g}" if key != "nme_percent" else f"{figures[key]:.2f}" for key in keys]
        return [name, *values]

    rows = [
        row("300W HELEN test, inter-ocular", measured["300w"]),
        row("YouTube Faces test, inter-ocular, raw", measured["ytf68"]),
        row("the same after a constant offset per landmark", measured["ytf68"]["corrected"]),
        row("AFLW-68 test, box size", measured["aflw68"]),
        *(
            row(f"of these, yaw {degrees}", measured["aflw68"][band])
            for band, degrees in (
                ("yaw_0", "less than 20°"),
                ("yaw_20", "20–45°"),
                ("yaw_45", "45–75°"),
                ("yaw_75", "75° or more"),
            )
        ),
    ]
    return table(["set", "faces", "found %", "NME %", "failures at 10 % (misses count), %", "AUC 10 %"], rows) + where(
        measured
    )


def presence() -> str:
    measured = read(ZOO / "landmarks-68.json")["measured"]
    shown, alarms = measured["presence"], measured["negatives"]
    tracked = f"{alarms['with_a_tracked_face']} of {alarms['faceless_images']}"
    rows = [
        ["score: labelled faces against background, AUC", f"{shown['auc']:.4f}"],
        ["labelled faces kept at the threshold, %", f"{shown['faces_kept_percent']:.2f}"],
        ["background squares kept, %", f"{shown['background_kept_percent']:.2f}"],
        ["images without a face in which the tracker reports one", tracked],
        *(
            [f"confidence: predicts a landmark error above 10 %, {name}, AUC", f"{measured[key]['confidence_auc']:.3f}"]
            for key, name in (("300w", "HELEN"), ("ytf68", "YouTube Faces"), ("aflw68", "AFLW-68"))
        ),
    ]
    return table(["", ""], rows)


def held_out() -> str:
    """Return the figures of faces of training sets that no training has seen."""
    report = read(BENCH / "held-out.json")
    shown, shifts = report["measured"], report["measured"]["shifts"]
    parts = {
        "babies at 12 in-plane angles, inter-ocular": shown["infants"],
        "close-ups of 300W at 6 sizes, box size": shown["close-ups"]["300w"],
        "close-ups of AFLW at 6 sizes, box size": shown["close-ups"]["aflw68-context"],
    }
    rows = [
        [name, str(each["faces"]), f"{each['not_found_percent']:.1f}", f"{each['nme_percent']:.2f}"]
        for name, each in parts.items()
    ]
    looks = (shifts[f"movement_{look}_percent"] for look in ("at_once", "second_look", "third_look"))
    return (
        table(["held-out faces", "views", "not found %", "NME %"], rows)
        + "\nRegions moved and scaled by ±10 % of their side move the landmarks of held-out 300W faces by "
        + "{:.2f} % of the inter-ocular distance; in a second and a third look, by {:.2f} and {:.2f} %.\n".format(
            *looks
        )
        + where(report)
    )


def calibration() -> str:
    """Return the calibration curve of the shipped landmark network, on crops that the fit has not used."""
    record = read(ZOO / "landmarks-68.json")["recipe"]["calibration"]
    figures = record["figures"]
    rows = [[f"{each['score']:.2f}", f"{each['right']:.2f}", str(each["crops"])] for each in figures["curve"]]
    auc, covered = figures["auc"], figures["covered"]
    return table(["mean score", "share with right landmarks", "crops"], rows) + (
        f"\nAUC of the score {auc['score']:.3f}, of the mean confidence {auc['confidence']:.3f}, of the presence "
        f"{auc['presence']:.3f}. From the default `min_score` of {figures['threshold']} on, "
        f"{figures['right_kept_percent']} % of the right and {figures['wrong_kept_percent']} % of the wrong landmarks "
        f"are kept; for covered faces, {covered['right_kept_percent']} % and {covered['wrong_kept_percent']} %. "
        f"{record['date'][:10]}; `{record['command']}`.\n"
    )


def detector() -> str:
    measured = read(ZOO / "face-detector.json")["measured"]
    figures = measured["detector"]
    rows = []
    for key, name in ((k, k.replace("_", " ")) for k in figures if isinstance(figures[k], dict)):
        part = figures[key]
        alarms = f"{part['images_with_false_alarm']} of {part['faceless_images']}"
        rows.append([name, str(part["faces"]), f"{part['average_precision']:.3f}", f"{part['recall']:.3f}", alarms])
    head = [
        "input",
        "faces of 24 px or more",
        "AP at IoU 0.5",
        f"recall at {figures['threshold']}",
        "images without a face: false alarms",
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
    head = ["ms per frame"]
    for result in report["results"]:
        name = f"{result['threads']} thread{'s' if result['threads'] > 1 else ''}"
        head += [f"{name}: CPU mean", "wall median", "wall p95"]
    lines = "".join(
        f"\n{result['threads']} thread{'s' if result['threads'] > 1 else ''}: {result['fps']:.0f} FPS on decoded "
        f"frames, {result['threaded']['fps']:.0f} FPS from the file through the threads."
        for result in report["results"]
    )
    return table(head, rows) + lines + "\n" + where(report)


def peers() -> str:
    """Return the CPU time of the tracker and its detector beside those of MediaPipe and YuNet."""
    report = read(BENCH / "peers.json")
    sides = (
        ("tracker, one face, 640×360", "tracker", "nasion", "MediaPipe Face Mesh 0.10.21", "mediapipe"),
        ("detector, float32, 640×384", "face-detector", "detector", "YuNet-n", "yunet"),
        ("detector, int8, 640×384", "face-detector-int8", "detector", "YuNet-n", "yunet"),
    )
    rows = []
    for label, key, ours, name, theirs in sides:
        found = report[key]
        ratios = [mine / other for mine, other in found["rounds"]]
        figures = [f"{found[side]:.2f}" for side in (ours, theirs)]
        rows.append(
            [label, figures[0], name, figures[1], f"{found['ratio']:.2f}", f"{min(ratios):.2f}–{max(ratios):.2f}"]
        )
    head = ["", "ms of CPU time", "peer", "its ms of CPU time", "ratio", "ratio in each round"]
    return table(head, rows) + where(report)


TRACKERS = {"before": "-before", "now": "", "ByteTrack": "-bytetrack", "OC-SORT": "-oc-sort"}


def tracking() -> str:
    """Return the table of the tracking scenarios: our tracker before and now, and published association rules."""
    measured = {
        name: read(BENCH / f"tracking{suffix}.json")["measured"]["tracking"] for name, suffix in TRACKERS.items()
    }
    rows = []
    for scenario, figures in measured["now"].items():
        runs = str(figures.get("runs", ""))
        for name in figures:
            if name not in ("runs", "frames"):
                parts = [each.get(scenario, {}) for each in measured.values()]
                values = [value_of(part[name]) if name in part else "" for part in parts]
                rows.append([scenario, name.replace("_", " "), runs, *values])
    return table(["scenario", "figure", "runs", *measured], rows) + where(read(BENCH / "tracking.json"))


def networks() -> str:
    rows = []
    for name, card in cards().items():
        size, recipe = "x".join(map(str, card.size)), card.recipe
        row = [name, card.about, size, f"{card.bytes / 1e6:.2f} MB", f"{recipe['parameters']:,}"]
        rows.append([*row, f"{recipe['steps']:,}", card.error, f"{card.cost['ms']:.1f}", f"`{card.sha256[:16]}…`"])
    head = ["network", "what it is", "input", "file", "parameters", "training steps", "error", "ms", "SHA-256"]
    costs = {card.cost["date"]: card.cost for card in cards().values()}
    return table(head, rows) + "".join(
        f"\nms: {cost['machine']['cpu']}, one core; ONNX Runtime {cost['versions']['onnxruntime']}; {date}; "
        f"`{cost['command']}`.\n"
        for date, cost in costs.items()
    )


def stored() -> str:
    """Return the table of the errors of the shipped networks of the papers, and of storing their weights as fp16."""
    rows = []
    for name, card in cards().items():
        if "stored" not in card.recipe:
            continue
        recipe, shift, tracked = card.recipe, card.recipe["stored"], card.measured["300w"]
        study = recipe["study"].removeprefix("docs/")
        row = [
            f"`{name}`",
            f"[{Path(study).stem}]({study})",
            f"`{recipe['export']}`",
            f"`{recipe['checkpoint'][:16]}…`",
        ]
        row += [
            f"{recipe['study_nme_percent']:.2f}",
            f"{tracked['nme_percent']:.2f}",
            f"{tracked['found_percent']:.1f}",
        ]
        rows.append([*row, f"{shift['mean_px']:.4f}", f"{shift['beyond_0.02_px_percent']:.1f}"])
    head = ["network", "study", "export", "checkpoint", "NME %, annotated crops", "NME %, tracker", "found %"]
    return table([*head, "fp16: mean shift, px", "shifted by more than 0.02 px, %"], rows)


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
        "CPU ms per crop, 1 thread",
        "parameters",
        "training minutes",
        "steps",
        "300W %",
        "AFLW-68 %",
        "YTF %",
    ]
    return table(head, rows)


def sizes() -> str:
    """Return the table of the counts of ``nasion networks --json`` next to the published figures."""

    def gap(percent: float | None) -> str:
        return "" if percent is None else "exact" if percent == 0 else f"{percent:+.2f} %"

    rows = []
    for each in read(BENCH / "networks.json")["networks"]:
        size, flops, gaps = each["size"], each["flops"], each["gap_percent"]
        rows.append(
            [
                each["name"],
                str(each["landmarks"]),
                f"{size['counted']:,}",
                size["printed"] or "",
                gap(gaps["parameters"]),
                f"{flops['counted'] / 1e9:.3f}",
                flops["printed"] or "",
                gap(gaps["macs"]),
                each["convention"],
            ]
        )
    head = ["network", "landmarks", "parameters", "published", "gap", "GMAC", "published", "gap", "counted as"]
    return table(head, rows)


def systems() -> str:
    """Return the table of the results of ``systems.py`` for all systems on two clips."""
    report = read(BENCH / "systems.json")
    rows = []
    for each in report["results"]:
        row = [each["title"]]
        for seen in (each["tracked"]["demo"], each["tracked"]["close-up"]):
            row += [f"{seen['with_a_face']} of {seen['frames']}", str(seen["identities"])]
            row.append(f"{100 * seen['apart']:.1f}" if seen["apart"] else "–")
        rows.append([*row, f"{each['cpu_ms']:.1f}"])
    of_clip = ["frames with a face", "face IDs", "distance, %"]
    head = [f"{clip}: {name}" for clip in ("demo", "close-up") for name in of_clip]
    machine, versions = report["machine"], report["versions"]
    return table(["system", *head, "CPU ms per frame"], rows) + (
        f"\n{processor(machine)}, {machine['cores']} cores, one thread; ONNX Runtime {versions['onnxruntime']}; "
        f"{report['date'][:10]}; `{report['command']}`.\n"
    )


def own_faces() -> str:
    """Return the errors of fine-tuning with few images, next to those of training from scratch."""
    report = read(BENCH / "own-faces.json")

    def row(name: str, found: dict[str, Any]) -> list[str]:
        crops, tracked = found["in_crops"], found["through_the_tracker"]
        figures = (crops["nme_percent"], crops["failure_percent"], tracked["found_percent"], tracked["nme_percent"])
        return [
            name,
            f"{found['seconds_of_cpu'] / 60:.1f}",
            f"{found['steps']:,}",
            *(f"{value:.2f}" for value in figures),
        ]

    rows = [row(name, found) for name, found in report["results"].items()]
    head = ["training", "minutes of CPU", "steps", "NME %", "failures at 10 %", "found %", "NME % tracked"]
    return table(head, rows) + where(report)


def training_speed() -> str:
    """Return the steps a second of trainings on one thread."""
    report = read(BENCH / "training-speed.json")
    rows = [
        [
            f"`{name}`" if "," not in name else f"`{name.split(',')[0]}`,{name.split(',')[1]}",
            str(found["batch"]),
            f"{found['steps_per_second']:.2f}",
            f"{found['milliseconds']:,.0f}",
            f"{found['data_percent']:.0f}",
        ]
        for name, found in report["measured"].items()
    ]
    return table(["recipe", "batch", "steps a second", "ms a step", "of it data, %"], rows) + where(report)


TABLES = {
    "own_faces": own_faces,
    "training_speed": training_speed,
    "peers": peers,
    "systems": systems,
    "sizes": sizes,
    **papers.TABLES,
    **measures.TABLES,
    **live.TABLES,
    **annotation.TABLES,
    **cluster.TABLES,
    **files.TABLES,
    **gpu.TABLES,
    "landmarks": landmarks,
    "presence": presence,
    "held_out": held_out,
    "detector": detector,
    "speed": speed,
    "tracking": tracking,
    "calibration": calibration,
    "networks": networks,
    "stored": stored,
    "comparison": comparison,
}


def filled(page: Path) -> str:
    return BLOCK.sub(lambda block: block[1] + TABLES[block[2]]() + block[3], page.read_text())


def main() -> None:
    stale = [page for page in PAGES if filled(page) != page.read_text()]
    if "--check" in sys.argv:
        sys.exit(
            f"stale tables in {', '.join(p.name for p in stale)}; run: python docs/scripts/figures.py" if stale else 0
        )
    for page in stale:
        page.write_text(filled(page))


if __name__ == "__main__":
    main()
