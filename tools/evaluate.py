"""``nasion evaluate``: any networks of ours on the labelled test sets, through the tracker itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from cyclopts import Parameter

Set = Literal["detector", "300w", "ytf68", "aflw68", "presence", "negatives"]
ALL: tuple[Set, ...] = get_args(Set)


def evaluate(
    sets: list[Set] | None = None,
    *,
    data: Path,
    model: str = "landmarks-68",
    detector: str = "face-detector",
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
    card: bool = False,
) -> None:
    """Measure detector, landmarks, presence and confidence on the test parts; misses count as failures.

    Args:
        sets: what to measure (default: all).
        data: folder that holds 300w, aflw68, ytf68, wider and negatives.
        model: landmark network, by shipped name or file.
        detector: detector network, by shipped name or file.
        json_file: also write the figures, with command, machine, versions and date, to this file.
        card: also write the figures into the cards of the networks, for those who ship them.
    """
    from ..engines.zoo import model_path

    chosen = sets or list(ALL)
    measured = {name: _measure(name, data, model, detector) for name in chosen}
    print(json.dumps(measured, indent=1))
    report = _provenance(chosen) | {
        "model": Path(model).name,
        "detector": Path(detector).name,
        "measured": measured,
    }
    if json_file:
        json_file.write_text(json.dumps(report, indent=1) + "\n")
    if card:
        for network, of_detector in ((detector, True), (model, False)):
            part = {name: value for name, value in measured.items() if (name == "detector") == of_detector}
            _add_to_card(model_path(network).with_suffix(".json"), _provenance(chosen) | part)


def _measure(name: Set, data: Path, model: str, detector: str) -> dict[str, Any]:
    from ..engines.runtime import open_runtime
    from ..engines.zoo import model_path
    from ..realtime.tracker import Tracker
    from ..trainers import evaluation

    if name in ("detector", "presence"):
        on_network = {"detector": evaluation.evaluate_detector, "presence": evaluation.presence_auc}[name]
        with open_runtime(model_path(detector if name == "detector" else model)) as runtime:
            return dict(on_network(runtime, data))
    through_tracker = {
        "300w": evaluation.evaluate_300w,
        "ytf68": evaluation.evaluate_ytf68,
        "aflw68": evaluation.evaluate_aflw68,
        "negatives": evaluation.evaluate_negatives,
    }[name]
    with Tracker(model=model, detector=detector, smooth="none") as tracker:
        return through_tracker(tracker, data)


def _provenance(chosen: Sequence[Set]) -> dict[str, Any]:
    import datetime

    from .bench import machine, versions

    return {
        "command": f"nasion evaluate {' '.join(chosen)} --data DATA",
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions": versions(),
    }


def _add_to_card(path: Path, measured: dict[str, Any]) -> None:
    card = json.loads(path.read_text())
    card["measured"] = card["measured"] | measured
    path.write_text(json.dumps(card, indent=1) + "\n")
