"""Tables of the head pose, of openings and blinks, from the results of ``nasion evaluate measures``."""

from __future__ import annotations

from typing import Any

from reports import BENCH, read, table, value_of, where


def measures(part: str) -> dict[str, dict[str, Any]]:
    """Return one part of the results of ``nasion evaluate measures``."""
    found: dict[str, dict[str, Any]] = read(BENCH / "measures.json")["measured"]["measures"][part]
    return found


def yaw() -> str:
    titles = {
        "below_45": "less than 45°",
        "from_45": "45° or more",
        "yaw_0": "less than 20°",
        "yaw_20": "20–45°",
        "yaw_45": "45–75°",
        "yaw_75": "75° or more",
    }
    rows = [
        [titles[band], str(each["faces"]), str(each["found"])]
        + [f"{each[name]:.1f}" for name in ("error", "error_solvepnp", "error_labels", "error_constant")]
        for band, each in measures("yaw").items()
    ]
    head = [
        "labelled yaw",
        "faces",
        "found",
        "error, °",
        "cv2.solvePnP, °",
        "labelled landmarks, °",
        "constant guess, °",
    ]
    return table(head, rows) + where(read(BENCH / "measures.json"))


def rotations() -> str:
    rows = [
        [name, str(each["runs"]), *(f"{each[angle]:.2f}" for angle in ("yaw", "pitch", "roll"))]
        for name, each in measures("rotations").items()
    ]
    return table(["rotation", "runs", "yaw, °", "pitch, °", "roll, °"], rows)


def smoothed_pose() -> str:
    rows = [
        [name, *(f"{each[figure]:.3f}" for figure in ("jitter", "lag_frames", "error"))]
        for name, each in measures("steadiness").items()
    ]
    return table(["pose", "jitter at rest, °", "lag, frames", "error in motion, °"], rows)


def openings() -> str:
    rows = []
    for condition, each in measures("openings").items():
        row = [condition, f"{each['found']} of {each['faces']}"]
        for part in ("eyes", "mouth"):
            row += [value_of(each[part][figure], missing="–") for figure in ("measured", "label", "error", "bias")]
        rows.append(row)
    figures = ["measured", "mean label", "mean error", "bias"]
    head = ["images", "faces found", *(f"{part}: {name}" for part in ("eyes", "mouth") for name in figures)]
    return table(head, rows)


def blinks() -> str:
    rows = [
        [name, *(str(each[figure]) for figure in ("blinks", "found", "extra"))]
        for name, each in measures("blinks").items()
    ]
    return table(["video", "blinks", "found", "further ones"], rows)


def measures_cost() -> str:
    rows = [
        [f"faces {name}", f"{each['ms']:.3f}", f"{each['of_solvepnp']:.2f}", f"{each['of_tracking']:.3f}"]
        for name, each in measures("cost").items()
    ]
    return table(["all measures", "CPU ms a face", "over cv2.solvePnP", "over an update of the tracker"], rows)


TABLES = {
    "yaw": yaw,
    "rotations": rotations,
    "smoothed_pose": smoothed_pose,
    "openings": openings,
    "blinks": blinks,
    "measures_cost": measures_cost,
}
