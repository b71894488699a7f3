"""``nasion evaluate-papers``: errors of networks in crops around annotated landmarks, next to the papers' figures."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...engines.errors import NasionError
from ..machine import provenance
from ..results import Json, json_results, short

if TYPE_CHECKING:
    from ...engines.runtime import Runtime
    from ...realtime.faces import FloatArray
    from ...trainers.data import LandmarkSet
    from ...trainers.evaluation.comparison import Line
    from ...trainers.evaluation.tracking import Located
    from ...trainers.systems.locating import Model

OWN = "own"

NAMES = {"nme": "NME", "nme_eyes": "NME of the eyes", "fr_8": "FR 8 %", "fr_10": "FR 10 %"}
NAMES |= {"auc_7": "AUC 7 %", "auc_10": "AUC 10 %"}


def evaluate_papers(
    sets: list[str] | None = None,
    *,
    data: Path,
    model: list[str],
    detector: str | None = None,
    paper: str | None = None,
    decoding: Literal["arg_max", "soft_arg_max"] | None = None,
    masks: bool = False,
    json: Json = None,
    plot: Path | None = None,
    force: bool = False,
    device: str = "auto",
) -> None:
    """Measure networks on the test parts of data sets as the papers do, and compare with the papers' figures.

    Crops are around the annotated landmarks; with --detector they are those that our detector and the tracker make.
    Bounding boxes of a set only normalise errors; they never define crops.

    Args:
        sets: sets to measure on (default: 300w).
        data: folder that holds the sets, each under its own name.
        model: landmark network: best.pt of nasion train or its folder, a file of nasion export, or the name of a
            shipped network. Give it several times for one network trained with several seeds: mean and standard
            deviation are reported.
        detector: detector, by shipped name or file; "own" for a network that finds faces itself (default:
            none, crops are around the annotated landmarks).
        paper: recipe whose published figures are shown next to ours (default: the networks' own).
        decoding: decoding of a checkpoint's heat maps, for recipes with a choice (default: the recipe's).
        masks: paint a synthetic mask over the lower half of each face, to measure how much a network depends on it.
        json: also write the results, with command, machine, versions and date, to this file; - for standard output
            (default: none).
        plot: also draw the cumulative error curves, as .svg or .png (default: none).
        force: replace files that exist.
        device: for checkpoints: auto (a GPU if there is one), cpu or cuda:N.
    """
    networks = [*model, *([detector] if detector else [])]
    with json_results(json, force=force, inputs=networks, others={"--plot": plot}) as to_json:
        to_json.write(Comparison(data, detector, paper, decoding, masks, device).run(model, sets or ["300w"], plot))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparison of networks with their papers; the fields are the options of ``evaluate-papers``."""

    data: Path
    detector: str | None
    paper: str | None
    decoding: Literal["arg_max", "soft_arg_max"] | None
    masks: bool
    device: str

    def run(self, names: Sequence[str], sets: Sequence[str], plot: Path | None) -> dict[str, Any]:
        """Measure, print and draw, and return the report."""
        from ...trainers.data import read_set
        from ...trainers.metrics import check_drawing, draw_error_curves
        from ...trainers.systems.locating import opened
        from .train import device_named

        read = {name: read_set(name, self.data, part="test") for name in sets}  # fails before any long work
        if self.masks:  # not the set that the papers report
            read = {(worn := f"{name} in masks"): replace(faces, name=worn) for name, faces in read.items()}
        if plot:
            check_drawing(plot)
        measured: dict[str, Any] = {}
        curves: dict[str, tuple[str, FloatArray]] = {}
        with ExitStack() as open_networks:
            device = device_named(self.device)
            models = [
                open_networks.enter_context(opened(name, device=device, decoding=self.decoding)) for name in names
            ]
            system, detector = self._system(models), self._open_detector(open_networks, models)
            for name, faces in read.items():
                located = [self._locate(model, detector, faces) for model in models]
                measured[name] = self._measure(system, faces, located, self._crops(models[0]))
                curves |= _curves(models, faces, located)
        if plot:
            norms = {label: norm for label, (norm, _) in curves.items()}
            title = f"{system}, divided by {', '.join(sorted(set(norms.values())))}"
            draw_error_curves({label: errors for label, (_, errors) in curves.items()}, plot, title=title)
        chosen = [*sets, *(f"--model {short(name)}" for name in names)]
        chosen += [f"--detector {short(self.detector)}"] if self.detector else []
        chosen += [f"--paper {self.paper}"] if self.paper else []
        chosen += [f"--decoding {self.decoding}"] if self.decoding else []
        chosen += ["--masks"] if self.masks else []
        about = [{"model": short(model.name), **model.about} for model in models]
        command = f"nasion evaluate-papers {' '.join(chosen)} --data DATA"
        return provenance(command) | {"system": system, "models": about, "measured": measured}

    def _system(self, models: Sequence[Model]) -> str:
        """Return the row of the papers' tables for the networks; some papers have a separate row for true boxes."""
        from ...trainers.evaluation.published import in_true_boxes

        systems = list(dict.fromkeys(model.system for model in models))
        if len(systems) > 1:
            raise NasionError(
                f"the networks are of different recipes: {', '.join(systems)}; mean and deviation are over "
                "seeds of one recipe: measure each recipe with its own command"
            )
        if self.paper:
            return self._known(self.paper)
        return in_true_boxes(systems[0]) if models[0].whole and self.detector is None else systems[0]

    @staticmethod
    def _known(name: str) -> str:
        from ...trainers.evaluation.published import ROWS, SYSTEMS

        if name not in SYSTEMS and name not in ROWS:
            raise NasionError(f"no paper reports results of {name!r}; known: {', '.join(SYSTEMS)}")
        return name

    def _open_detector(self, networks: ExitStack, models: Sequence[Model]) -> Runtime | None:
        from ...engines.select import open_runtime
        from ...engines.zoo import model_path

        for model in models:
            if self.detector and model.whole != (self.detector == OWN):
                own = f"finds faces itself: give --detector {OWN}"
                none = "has no detector of its own: give --detector face-detector"
                advice = own if model.whole else none
                raise NasionError(f"model {short(model.name)!r} {advice}, or leave --detector out for true boxes")
        if self.detector in (None, OWN):
            return None
        return networks.enter_context(open_runtime(model_path(self.detector)))

    def _locate(self, model: Model, detector: Runtime | None, faces: LandmarkSet) -> Located:
        from ...trainers.systems.locating import locate_at_truth, locate_by_detector, locate_in_images
        from ..terminal.progress import Progress

        with Progress() as progress:

            def watch(name: str, done: int, total: int) -> None:
                progress(f"{short(model.name)} on {name}", done, total)

            if model.whole:
                return locate_in_images(model, faces, boxes=self.detector is None, masks=self.masks, watch=watch)
            if detector is None:
                return locate_at_truth(model.runtime, faces, masks=self.masks, watch=watch)
            return locate_by_detector(model.runtime, detector, faces, masks=self.masks, watch=watch)

    def _crops(self, model: Model) -> str:
        """Describe the input of the network for users."""
        from ...trainers.systems.locating import FILL

        if model.whole:
            boxes = "true boxes" if self.detector is None else "boxes of its own detector"
            return f"images cut around the annotated landmarks, which span {FILL:g} of the side, {boxes}"
        return f"faces found by {short(self.detector)}" if self.detector else "crops around the annotated landmarks"

    def _measure(self, system: str, faces: LandmarkSet, located: Sequence[Located], crops: str) -> dict[str, Any]:
        """Measure one set, print the results and return them for the report."""
        from ...trainers.evaluation.comparison import beside, measure, over_seeds
        from ...trainers.evaluation.published import published

        scores = over_seeds([measure(faces, each) for each in located])
        print(f"\n{faces.name}, test part, {len(faces)} faces, {crops}; {system}")
        print(table(beside(faces.name, scores, system)))
        results = [asdict(result) for result in published(system, faces.name)]
        return {"faces": len(faces), "crops": crops, "norms": scores, "published": results}


def _curves(
    models: Sequence[Model], faces: LandmarkSet, located: Sequence[Located]
) -> dict[str, tuple[str, FloatArray]]:
    """Return the norm and the errors of the faces, by label of the curve."""
    from ...trainers.evaluation.comparison import usual_errors

    curves: dict[str, tuple[str, FloatArray]] = {}
    for model, each in zip(models, located, strict=True):
        label = faces.name if len(models) == 1 else f"{faces.name}, {short(model.name)}"
        curves[label] = usual_errors(faces, each)
    return curves


def table(lines: Sequence[Line]) -> str:
    """Return a plain-text table of our figures next to the paper's, in percent."""
    rows = [("subset", "faces", "figure", "ours", "paper", "gap"), *(_row(line) for line in lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligns = ("<", ">", "<", ">", ">", ">")
    text = (
        "  ".join(f"{cell:{align}{width}}" for cell, align, width in zip(row, aligns, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in text)


def _row(line: Line) -> tuple[str, ...]:
    figure, norm = line.figure.split()
    faces = str(line.faces) if line.same_faces else f"{line.faces} of {line.published_faces}"
    name, ours = f"{NAMES[figure]} {norm}", _value(line.ours, line.deviation or None)
    if line.theirs is None:
        return line.subset, faces, name, ours, "", ""
    theirs = line.theirs
    value = _value(theirs.value, theirs.spread) + (f" ({theirs.subset})" if theirs.subset != line.subset else "")
    return line.subset, faces, name, ours, value, f"{line.ours - theirs.value:+.2f}"


def _value(value: float, deviation: float | None) -> str:
    return f"{value:.2f}" if deviation is None else f"{value:.2f} ± {deviation:.2f}"
