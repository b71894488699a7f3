"""``nasion evaluate``: accuracy of the tracker, with the shipped or your own networks, on published data sets."""

from __future__ import annotations

import json as json_module
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from ...engines.errors import ModelError, NasionError
from ...engines.output_paths import check_output_paths, write_file
from ..machine import provenance, short
from ..results import Json, json_results

if TYPE_CHECKING:
    from ...engines.runtime import Runtime
    from ...trainers.evaluation.tracking import Watch

Set = Literal[
    "detector",
    "300w",
    "ytf68",
    "aflw68",
    "presence",
    "negatives",
    "infants",
    "close-ups",
    "shifts",
    "tracking",
    "look-ahead",
    "measures",
    "own",
]
SETS: tuple[Set, ...] = get_args(Set)
BY_NAME = (
    "infants",
    "close-ups",
    "shifts",
    "tracking",
    "look-ahead",
    "measures",
    "own",
)  # measured only if they are named
LANDMARKS = 68  # of all the sets
Rules = Literal["ours", "bytetrack", "oc-sort"]


def evaluate(
    sets: list[str] | None = None,
    *,
    data: Path,
    model: str = "landmarks-68",
    detector: str = "face-detector",
    rules: Rules = "ours",
    json: Json = None,
    report: Path | None = None,
    card: bool = False,
    force: bool = False,
    quiet: bool = False,
) -> None:
    """Measure the detector, and landmarks, presence and false alarms through the tracker, on test parts of data sets.

    The set "tracking" stands for videos made of faces of the test part of 300W, whose truth is known: crossings,
    occlusions, fast motion, rotations, close-ups, small faces, disturbances. "look-ahead" stands for such videos with
    nasion annotate next to live mode (needs the package trackeval). "measures" stands for the head pose on AFLW and on
    rotations of known size, and for openings and blinks under blur, distance and yaw. These three take minutes.
    Faces that no training has seen, of kinds that no test part covers: "infants" are babies at all in-plane angles,
    "close-ups" are faces of half to 1.2 times the image's side, and "shifts" is the movement of landmarks if the
    region in which they are looked for is moved and scaled by 10 %.

    The set "own" stands for labelled faces of your own, in any format of docs/data.md. It is the default if DATA holds
    no published set; the landmark network must have the scheme of the labels.

    The networks are the shipped ones, or your own. Faces that are missed count as failures. For figures next to those
    of the papers, in crops around annotated landmarks: nasion evaluate-papers.

    Args:
        sets: detector, 300w, ytf68, aflw68, presence, negatives, infants, close-ups, shifts, tracking, look-ahead,
            measures or own (default: the first six; own alone if DATA holds none of the others).
        data: folder that holds the sets, each under its own name; or labelled faces of your own.
        model: landmark network: a shipped name, a file, a checkpoint, or the folder of a run of nasion train.
        detector: detector, as --model.
        rules: for "tracking": our tracker, or the published rules of ByteTrack or OC-SORT with our networks, on the
            scenarios in which the association of faces matters.
        json: also write the results, with command, machine, versions and date, to this file; - for standard output
            (default: none).
        report: for "own": folder for tables of the errors by face and by landmark, a sheet of the worst faces and the
            error curve (default: none).
        card: also write the results into the model cards, for maintainers who ship them; with --force.
        force: replace files that exist, and results in the cards.
        quiet: print warnings and errors only.
    """
    from ...engines.zoo import model_path
    from ..terminal.progress import Progress

    if card:
        _check_cards((detector, model), force=force)
    chosen = [_set(name) for name in sets or _default_sets(data)]
    if report is not None:
        from ...trainers.evaluation.own import REPORT

        if chosen != ["own"]:
            raise NasionError("--report is for the set own alone: nasion evaluate own --data FOLDER --report FOLDER")
        for name in REPORT:
            check_output_paths({"--report": report / name}, force=force)
    if rules != "ours" and chosen != ["tracking"]:
        raise NasionError(f"--rules {rules} is for the set tracking alone: nasion evaluate tracking --rules {rules}")
    with json_results(json, force=force, inputs=[model, detector], silent=quiet) as to_json:
        with Progress(silent=quiet) as progress:
            measured: dict[str, dict[str, Any]] = {
                name: _measure_own(data, model, detector, report, progress)
                if name == "own"
                else _measure(name, data, model, detector, rules, progress)
                for name in chosen
            }
        print(table(measured))
        results = provenance(f"nasion evaluate {' '.join([*chosen, *_given(model, detector, rules)])} --data DATA")
        if card:
            for network, of_detector in ((detector, True), (model, False)):
                part = {name: value for name, value in measured.items() if (name == "detector") == of_detector}
                if part:
                    _add_to_card(model_path(network).with_suffix(".json"), results | part)
        to_json.write(results | {"model": short(model), "detector": short(detector), "measured": measured})


def _given(model: str, detector: str, rules: Rules) -> Iterator[str]:
    """Yield the options that are not the default ones."""
    if model != "landmarks-68":
        yield f"--model {short(model)}"
    if detector != "face-detector":
        yield f"--detector {short(detector)}"
    if rules != "ours":
        yield f"--rules {rules}"


def _default_sets(data: Path) -> list[Set]:
    """Return the sets to measure if none is named."""
    from ...trainers.data import recognised
    from ...trainers.data.readers.own.faces import is_own

    if data.is_file() or (data.is_dir() and not recognised(data) and is_own(data)):
        return ["own"]
    return [name for name in SETS if name not in BY_NAME]


@contextmanager
def opened(name: str) -> Iterator[Runtime]:
    """Open a network for the tracker: a shipped one by name, a file, or the checkpoint of a run.

    Raises:
        ModelError: there is no such network.
    """
    from ...engines.select import open_runtime
    from ...engines.zoo import model_path

    if Path(name).is_dir() or Path(name).suffix == ".pt":
        from ...trainers.evaluation.tracking import ModuleRuntime
        from ...trainers.systems import load_trained
        from ...trainers.training.recipes import checkpoint_named

        trained = load_trained(checkpoint_named(name))
        with ModuleRuntime(trained.network, trained.spec) as runtime:
            yield runtime
    else:
        with open_runtime(model_path(name)) as runtime:
            yield runtime


def _measure_own(data: Path, model: str, detector: str, report: Path | None, watch: Watch) -> dict[str, Any]:
    from ...realtime.tracking.tracker import Tracker
    from ...realtime.values.scheme_files import scheme_of_spec
    from ...trainers.data import sound_faces
    from ...trainers.data.readers.own.faces import read_own
    from ...trainers.evaluation.own import measure_own, write_report

    with opened(model) as aligns, opened(detector) as finds:
        faces = sound_faces(read_own(data, scheme=scheme_of_spec(aligns.spec)))
        with Tracker.from_networks(finds, aligns, smooth="none") as tracker:
            measured = measure_own(aligns, faces, tracker, watch=watch)
    if report is not None:
        print("\n".join(f"{file}" for file in write_report(measured, report)))
    return measured.figures()


def _set(name: str) -> Set:
    for known in SETS:
        if name == known:
            return known
    raise NasionError(
        f"the tracker is measured on {', '.join(SETS)}, not on {name!r}; for other sets: nasion evaluate-papers"
    )


def _measure(name: Set, data: Path, model: str, detector: str, rules: Rules, watch: Watch) -> dict[str, Any]:
    from ...realtime.tracking.tracker import Tracker
    from ...trainers.evaluation import held_out
    from ...trainers.evaluation import tracking as evaluation

    if name in ("detector", "presence"):
        on_network = {"detector": evaluation.evaluate_detector, "presence": evaluation.presence_auc}[name]
        with opened(detector if name == "detector" else model) as runtime:
            return dict(on_network(runtime, data, watch))
    if name == "tracking":
        from ...trainers.evaluation.scenarios.run import IDENTITIES, evaluate_tracking
        from ...trainers.evaluation.scenarios.sort_tracker import SortTracker

        with opened(detector) as finds, opened(model) as aligns:
            if rules != "ours":
                build = partial(SortTracker, rules, finds, aligns)
                return dict(evaluate_tracking(build, aligns, data, watch, scenarios=IDENTITIES))
            return dict(evaluate_tracking(partial(Tracker.from_networks, finds, aligns), aligns, data, watch))
    if name == "look-ahead":
        from ...trainers.evaluation.scenarios.ahead import evaluate_look_ahead

        with Tracker(model=model, detector=detector) as tracker:
            _check_landmarks(tracker.networks.aligner.landmarks, model, name)
            return dict(evaluate_look_ahead(tracker, data, watch))
    if name == "measures":
        from ...trainers.evaluation.measures.run import evaluate_measures

        with opened(detector) as finds, opened(model) as aligns:
            _check_landmarks(aligns.spec.landmarks, model, name)
            return dict(evaluate_measures(finds, aligns, data, watch))
    if name == "shifts":
        from ...realtime.tracking.aligner import Aligner

        with opened(model) as aligns:
            _check_landmarks(aligns.spec.landmarks, model, name)
            return dict(held_out.evaluate_shifted_regions(Aligner(aligns), aligns.spec.crop_margin, data, watch))
    through_tracker = {
        "infants": held_out.evaluate_infants,
        "close-ups": held_out.evaluate_close_ups,
        "300w": evaluation.evaluate_300w,
        "ytf68": evaluation.evaluate_ytf68,
        "aflw68": evaluation.evaluate_aflw68,
        "negatives": evaluation.evaluate_negatives,
    }[name]
    with (
        opened(detector) as finds,
        opened(model) as aligns,
        Tracker.from_networks(finds, aligns, smooth="none") as tracker,
    ):
        if name != "negatives":
            _check_landmarks(tracker.networks.aligner.landmarks, model, name)
        return through_tracker(tracker, data, watch)


def _check_landmarks(found: int, model: str, name: Set) -> None:
    if found != LANDMARKS:
        raise ModelError(f"model {model!r} finds {found} landmarks, the set {name} has {LANDMARKS}")


def table(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the results as a plain-text table, one row per figure."""
    rows = [(name, *figure) for name, figures in measured.items() for figure in _figures(figures)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (f"{name:{widths[0]}}  {figure:{widths[1]}}  {value:>{widths[2]}}" for name, figure, value in rows)
    return "\n".join(lines)


def _figures(values: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    """Yield the name and the text of every figure; names of nested ones begin with that of their part."""
    for name, value in values.items():
        title = f"{within}{name.replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _figures(value, f"{title}, ")
        else:
            yield title, _shown(value)


def _shown(value: float | Sequence[float] | None) -> str:
    if isinstance(value, Sequence):
        return " ".join(map(_shown, value))
    return "-" if value is None else f"{value:g}"


def _check_cards(networks: Sequence[str], *, force: bool) -> None:
    """Check that the networks have cards and that results in them may be replaced."""
    from ...engines.zoo import model_path

    for network in dict.fromkeys(networks):
        card = model_path(network).with_suffix(".json")
        if not card.is_file():
            raise NasionError(f"--card: {network!r} has no card {str(card)!r}; write one with: nasion export --card")
        check_output_paths({"--card": card}, force=force, remedy="replace its figures with --force")


def _add_to_card(path: Path, measured: Mapping[str, Any]) -> None:
    card = json_module.loads(path.read_text())
    card["measured"] = card["measured"] | measured
    write_file(path, json_module.dumps(card, indent=1) + "\n")
