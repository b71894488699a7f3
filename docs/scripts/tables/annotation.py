"""Tables of ``nasion annotate``: what looking ahead gains, speed, memory and kills."""

from __future__ import annotations

from reports import BENCH, read, table, where


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
            f"look-ahead and all formats, by tenths of {memory['frames']:,} frames with {memory['faces']:,} faces",
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


TABLES = {
    "look_ahead": look_ahead,
    "annotation_speed": annotation_speed,
    "annotation_kills": annotation_kills,
    "annotation_memory": annotation_memory,
    "annotation_many": annotation_many,
}
