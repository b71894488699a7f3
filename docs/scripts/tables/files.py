"""Tables of the corpus of video files and of mutated files."""

from __future__ import annotations

from typing import Any

from reports import BENCH, read, table


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


TABLES = {
    "corpus": corpus,
    "fuzzing": fuzzing,
}
