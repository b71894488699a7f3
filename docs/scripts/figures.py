"""Write the tables of README and docs from the JSON results of our commands.

Usage: python docs/scripts/figures.py [--check]

One table has counts instead of measurements: the work of the kernels, from tools/kernels/roofline.py.

Tables are between ``<!-- figures: NAME -->`` and ``<!-- end -->``. ``--check`` changes nothing and fails if a table
differs from the JSON.
"""

from __future__ import annotations

import re
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import measure_tables
import study_tables
from reports import BENCH, ROOT, read, table, value_of, where

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


def streams() -> str:
    """Return the figures of many live streams of one clip."""
    report = read(BENCH / "live-streams.json")
    rows = []
    for row in report["rows"]:
        latency = [f"{row['latency_ms'][name]:.1f}" for name in ("p50", "p95", "p99")]
        work = [f"{row['cpu_per_stream']:.3f}", f"{row['memory_per_stream_mb']:.0f}", f"{row['mean_batch']:.2f}"]
        calls = [f"{row['aligner_calls_per_s']:.0f}", f"{row['detector_calls_per_s']:.0f}"]
        load = "" if row["load"] is None else f"{row['load']:.1f}"
        name, slowest = str(row["streams"]), f"{row['fps_per_stream']:.1f}"
        rows.append([name, slowest, *latency, f"{row['dropped']:,}", *work, *calls, load])
    head = [
        "streams",
        "FPS of the slowest",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "dropped",
        "cores a stream",
    ]
    head += ["MB a stream", "mean batch", "aligner calls/s", "detector calls/s", "load before"]
    return table(head, rows) + where(report)


def live_faults() -> str:
    """Return the time to reconnect after each kind of fault."""
    report = read(BENCH / "live-faults.json")
    rows = []
    for row in report["rows"]:
        seconds, lost = row["reconnect_s"], row["frames_lost"]
        rows.append([row["what"].rstrip("."), f"{seconds['median']:.1f}", f"{seconds['worst']:.1f}"])
        rows[-1] += [f"{lost['median']:.0f}", f"{lost['worst']:.0f}"]
    head = ["fault", "s to reconnect: median", "worst", "frames lost: median", "worst"]
    return table(head, rows) + where(report)


def live_soak() -> str:
    """Return what a long run with random faults began and ended with."""
    report = read(BENCH / "live-soak.json")
    rows = [
        [name, f"{report['start'][key]:.0f}", f"{report['end'][key]:.0f}"]
        for name, key in (("memory, MB", "memory_mb"), ("open handles", "handles"), ("threads", "threads"))
    ]
    faults = ", ".join(f"{count:,} {name}" for name, count in report["faults_of_the_server"].items())
    return table(["", "start", "end"], rows) + (
        f"\n{report['frames']:,} frames of {report['sources']} sources, {report['tracked']:,} of them tracked; faults: "
        f"{faults}; {report['losses']:,} connections lost, {report['reconnects']:,} restored; "
        f"{report['sources_changed']} sources removed and added, or paused.\n" + where(report)
    )


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


def look_ahead() -> str:
    """Return the table of the gain of looking ahead: live mode and annotation on each kind of scene."""
    measured = read(BENCH / "look-ahead.json")
    columns = {
        "error": "error %",
        "error_p90": "p90 %",
        "jitter": "jitter %",
        "missed": "missed %",
        "false": "false",
        "switches": "switches",
        "filled": "gaps filled %",
        "error_in_gaps": "error in gaps %",
        "MOTA": "MOTA",
        "IDF1": "IDF1",
        "HOTA": "HOTA",
    }
    rows = []
    for scene, modes in measured["measured"]["look-ahead"].items():
        for mode, figures in modes.items():
            values = ["" if figures[name] is None else f"{figures[name]:.4g}" for name in columns]
            rows.append([scene, mode.replace("_", "-"), *values])
    return table(["scenes", "mode", *columns.values()], rows) + where(measured)


def annotation_speed() -> str:
    """Return the table of the speed of annotation next to live mode and MediaPipe."""
    measured = read(BENCH / "annotate-speed.json")
    names = {
        "annotate": "`nasion annotate`, all measures, JSON Lines",
        "live": "`nasion.track`, all measures, JSON Lines",
        "mediapipe": "MediaPipe FaceMesh 0.10.21 in a loop, no output",
    }
    rows = [
        [text, f"{measured['measured'][name]['cpu_ms']:.2f}", f"{measured['measured'][name]['fps_per_core']:.0f}"]
        for name, text in names.items()
    ]
    return table(["", "ms of CPU time a frame", "frames a second per core"], rows) + where(measured)


def annotation_kills() -> str:
    """Return the line about runs that were killed and resumed."""
    measured = read(BENCH / "annotate-kills.json")
    kills = measured["measured"]
    tenths = ", ".join(map(str, kills["kills_in_each_tenth_of_the_run"]))
    text = (
        f"{kills['kills']} × `kill -9` at random moments, {kills['workers']} workers. Of {kills['files_compared']:,} "
        f"files of the resumed runs, {len(kills['differing'])} differ from those of an uninterrupted run. Kills by "
        f"tenths of the progress: {tenths}."
    )
    return f"{text}\n{where(measured)}"


def annotation_memory() -> str:
    """Return the table of the memory of annotations over the length of a video."""
    measured = read(BENCH / "annotate-memory.json")
    memory = measured["measured"]
    rows = [
        ["first pass, after each chunk of 512 frames", ", ".join(map(str, memory["first_pass_mb_by_chunk"]))],
        [
            f"look-ahead and exports, by tenths of {memory['frames']:,} frames",
            ", ".join(map(str, memory["mb_by_tenth"])),
        ],
    ]
    return table(["", "resident MB"], rows) + where(measured)


def annotation_many() -> str:
    """Return the table of the CPU time of many short inputs."""
    measured = read(BENCH / "annotate-many.json")
    rows = [
        [
            f"{each['inputs']:,} {kind}, {each['frames']:,} frames",
            *(f"{each[name]:.2f}" for name in ("cpu_ms", "networks_ms", "loading_s")),
        ]
        for kind, each in measured["measured"].items()
    ]
    head = ["", "ms of CPU time a frame", "of which the networks", "loading, once, s"]
    return table(head, rows) + where(measured)


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


def rtx() -> str:
    """Return the table of the builds of ``nasion rtx``: the shipped networks, then those of the papers."""
    reports = [read(BENCH / f"{name}.json") for name in ("rtx-shipped", "rtx")]
    rows = []
    for each in chain(*(report["results"] for report in reports)):
        nodes = sum(each["nodes"].values())
        row = [f"`{each['file'].removesuffix('.onnx')}`", each["precision"], each["profile"]]
        row += [f"{each['plugins']} of {nodes}" if nodes else "–", f"{each['layers']:,}", f"{each['seconds']:.1f}"]
        rows.append([*row, each["error"] or f"{each['bytes'] / 1e6:.1f}"])
    head = ["network", "precision", "batch x width x height", "plugins", "layers", "seconds", "MB"]
    return table(head, rows) + "".join(map(_built_where, reports))


def _built_where(report: dict[str, Any]) -> str:
    from nasion.engines.operators.library import source_hash

    machine, versions = report["machine"], report["versions"]
    built_of = {each["plugin_sources"] for each in report["results"]} - {""}
    plugins = "; with the current plugins" if built_of == {source_hash()} else "; with the plugins of that date"
    return (
        f"\n{machine['cpu']}, {machine['cores']} cores, no GPU; TensorRT-RTX {versions['tensorrt-rtx']}, onnx "
        f"{versions['onnx']}{plugins if built_of else ''}; {report['date'][:10]}; `{report['command']}`.\n"
    )


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
        f"\n{machine['cpu']}, {machine['cores']} cores, one thread; ONNX Runtime {versions['onnxruntime']}; "
        f"{report['date'][:10]}; `{report['command']}`.\n"
    )


def kernels() -> str:
    """Return the table of the least work of each call timed by ``nasion plugins bench``: counted, not measured."""
    from nasion.tools.kernels.cases import cases

    rows = []
    for case in cases():
        work = case.work
        counts = [f"{work.read / 1e6:.1f}", f"{work.written / 1e6:.1f}", f"{work.passes / 1e6:.2f}"]
        counts += [f"{work.instructions / 1e9:.2f}", f"{work.arithmetic / 1e9:.2f}"]
        rows.append([case.kernel, case.variant, case.size, *counts])
    counted = ["MB read", "MB written", "million passes", "10⁹ instructions", "10⁹ arithmetic"]
    return table(["kernel", "variant", "size", *counted], rows)


def corpus() -> str:
    """Return the table of the containers and codecs that are read, and how the annotated video compares."""
    report = read(BENCH / "corpus.json")
    rows = []
    for each in report["samples"]:
        size = "×".join(map(str, each["size"])) if "size" in each else ""
        told = [each.get(key) or "" for key in ("container", "video", "pixels", "sound")]
        rows.append([f"`{each['name']}`", *told, each["kind"], size, "; ".join(each["faults"]) or "equal"])
    made = f"\nMade by ffmpeg {report['ffmpeg']}; PyAV {report['versions']['av']}; {report['date'][:10]}; "
    head = ["file", "container", "codec", "pixels", "sound", "special", "size", "result"]
    return table(head, rows) + made + f"`{report['command']}`.\n"


def fuzzing() -> str:
    """Return the outcome of the mutated files."""
    report = read(BENCH / "fuzz.json")
    statuses, faults = report["statuses"], report["faults"]
    rows = [
        ["files", *(f"{count:,}" for count in (report["files"], *report["kinds"].values()))],
        ["faults", *(str(count) for count in (len(faults), *(_of_kind(faults, kind) for kind in report["kinds"])))],
    ]
    head = ["", "all", *report["kinds"]]
    ended = f"\n{statuses.get('done', 0):,} were tracked to their end, {statuses.get('error', 0):,} ended with an error"
    return table(head, rows) + f"{ended} in one message. {report['date'][:10]}; `{report['command']}`.\n"


def _of_kind(faults: list[dict[str, Any]], kind: str) -> int:
    return sum(each["name"].split("-")[1] == kind for each in faults)


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
    "corpus": corpus,
    "fuzzing": fuzzing,
    "peers": peers,
    "streams": streams,
    "live_faults": live_faults,
    "live_soak": live_soak,
    "kernels": kernels,
    "rtx": rtx,
    "systems": systems,
    "sizes": sizes,
    **study_tables.TABLES,
    **measure_tables.TABLES,
    "landmarks": landmarks,
    "presence": presence,
    "held_out": held_out,
    "detector": detector,
    "speed": speed,
    "tracking": tracking,
    "look_ahead": look_ahead,
    "annotation_speed": annotation_speed,
    "annotation_kills": annotation_kills,
    "annotation_memory": annotation_memory,
    "annotation_many": annotation_many,
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
