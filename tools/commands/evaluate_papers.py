"""``nasion evaluate-papers``: errors of networks in crops around annotated landmarks, next to the papers' figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...engines.errors import NasionError
from ...realtime.tracking.options import OWN
from ..machine import provenance, short
from ..results import Json, json_results

if TYPE_CHECKING:
    from ...engines.runtime import Runtime
    from ...realtime.values.arrays import FloatArray
    from ...trainers.data import LandmarkSet
    from ...trainers.evaluation.comparison import Line
    from ...trainers.evaluation.tracking import Located
    from ...trainers.systems.locating import Model

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
    each: bool = False,
    references: str | None = None,
    json: Json = None,
    plot: Path | None = None,
    force: bool = False,
    quiet: bool = False,
    device: str = "auto",
) -> None:
    """Measure networks on the test parts of data sets as the papers do, and compare with the papers' figures.

    Crops are around the annotated landmarks; with --detector they are those that our detector and the tracker make.
    Bounding boxes of a set only normalise errors; they never define crops.

    Args:
        sets: sets to measure on (default: 300w).
        data: folder that holds the sets, each under its own name.
        model: landmark network: best.pt of nasion train or its folder, a file of nasion export, or the name of a
            shipped network. Give it several times for one recipe trained with several seeds: mean and standard
            deviation are reported.
        detector: detector, by shipped name or file; "own" for a network that finds faces itself (default:
            none, crops are around the annotated landmarks).
        paper: recipe whose published figures are shown next to ours (default: the networks' own).
        decoding: decoding of a checkpoint's heat maps, for recipes with a choice (default: the recipe's).
        masks: paint a synthetic mask over the lower half of each face, to measure how much a network depends on it.
        each: report every --model by itself, with the paired differences of their errors from the first one; they may
            be of different recipes, and --plot draws all of them.
        references: for RHT, set whose training faces are the references: also report the error with the best match,
            with random ones and with the neutral one (tables VI and VII); takes minutes (default: none).
        json: also write the results, with command, machine, versions and date, to this file; - for standard output
            (default: none).
        plot: also draw the cumulative error curves over all landmarks and over those of the eyes, as .svg or .png
            (default: none).
        force: replace files that exist.
        quiet: print warnings and errors only.
        device: for checkpoints: auto (a GPU if there is one), cpu or cuda:N.
    """
    networks = [*model, *([detector] if detector else [])]
    with json_results(json, force=force, inputs=networks, others={"--plot": plot}, silent=quiet) as to_json:
        comparison = PaperComparison(data, detector, paper, decoding, masks, each, references, device, quiet)
        to_json.write(comparison.run(model, sets or ["300w"], plot))


@dataclass(frozen=True, slots=True)
class PaperComparison:
    """PaperComparison of networks with their papers; the fields are the options of ``evaluate-papers``."""

    data: Path
    detector: str | None
    paper: str | None
    decoding: Literal["arg_max", "soft_arg_max"] | None
    masks: bool
    each: bool
    references: str | None
    device: str
    quiet: bool = False

    def run(self, names: Sequence[str], sets: Sequence[str], plot: Path | None) -> dict[str, Any]:
        """Measure, print and draw, and return the report."""
        from ...trainers.data import read_set
        from ...trainers.metrics import check_drawing
        from ...trainers.systems.locating import opened
        from .training.places import device_named

        read = {name: read_set(name, self.data, part="test") for name in sets}  # fails before any long work
        if self.masks:  # not the set that the papers report
            read = {(worn := f"{name} in masks"): replace(faces, name=worn) for name, faces in read.items()}
        if plot:
            check_drawing(plot)
        with ExitStack() as open_networks:
            device = device_named(self.device)
            models = [
                open_networks.enter_context(opened(name, device=device, decoding=self.decoding)) for name in names
            ]
            groups = [[model] for model in models] if self.each else [models]
            systems = [self._system(group) for group in groups]
            for model in models if self.references else ():
                _check_references(model)
            detector = self._open_detector(open_networks, models)
            located = {name: [self._locate(model, detector, faces) for model in models] for name, faces in read.items()}
            reports = [
                self._report(system, group, read, self._of(models, group, located))
                for system, group in zip(systems, groups, strict=True)
            ]
        if plot:
            _draw(" and ".join(dict.fromkeys(systems)), models, read, located, plot)
        command = f"nasion evaluate-papers {' '.join(self._words(sets, names))} --data DATA"
        if not self.each:
            return provenance(command) | reports[0]
        return provenance(command) | {"each": reports, "paired": _paired(models, read, located)}

    @staticmethod
    def _of(
        models: Sequence[Model], group: Sequence[Model], located: Mapping[str, Sequence[Located]]
    ) -> dict[str, list[Located]]:
        """Return what the networks of a group have located, by set."""
        return {
            name: [found for model, found in zip(models, each, strict=True) if any(model is one for one in group)]
            for name, each in located.items()
        }

    def _report(
        self,
        system: str,
        models: Sequence[Model],
        read: Mapping[str, LandmarkSet],
        located: Mapping[str, Sequence[Located]],
    ) -> dict[str, Any]:
        """Measure, print and return the results of one network, trained once or with several seeds."""
        measured = {
            name: self._measure(system, faces, located[name], self._crops(models[0]), models)
            for name, faces in read.items()
        }
        about = [{"model": short(model.name), **model.about} for model in models]
        return {"system": system, "models": about, "measured": measured}

    def _words(self, sets: Sequence[str], names: Sequence[str]) -> list[str]:
        """Return the words of the command, for the report."""
        words = [*sets, *(f"--model {short(name)}" for name in names)]
        words += [f"--detector {short(self.detector)}"] if self.detector else []
        words += [f"--paper {self.paper}"] if self.paper else []
        words += [f"--decoding {self.decoding}"] if self.decoding else []
        words += [f"--references {self.references}"] if self.references else []
        return words + ["--masks"] * self.masks + ["--each"] * self.each

    def _system(self, models: Sequence[Model]) -> str:
        """Return the row of the papers' tables for the networks; some papers have a separate row for true boxes."""
        from ...trainers.evaluation.published import in_true_boxes

        systems = list(dict.fromkeys(model.system for model in models))
        if len(systems) > 1:
            raise NasionError(
                f"the networks are of different recipes: {', '.join(systems)}; mean and deviation are over "
                "seeds of one recipe: report each by itself with --each"
            )
        _check_seeds(models)
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

        with Progress(silent=self.quiet) as progress:

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

    def _measure(
        self, system: str, faces: LandmarkSet, located: Sequence[Located], crops: str, models: Sequence[Model]
    ) -> dict[str, Any]:
        """Measure one set, print the results and return them for the report."""
        from ...trainers.evaluation.comparison import beside, measure, over_seeds
        from ...trainers.evaluation.published import published

        scores = over_seeds([measure(faces, each) for each in located])
        shown = f"; {short(models[0].name)}" if self.each else ""
        print(f"\n{faces.name}, test part, {len(faces)} faces, {crops}; {system}{shown}")
        print(table(beside(faces.name, scores, system)))
        results = [asdict(result) for result in published(system, faces.name)]
        report = {"faces": len(faces), "crops": crops, "norms": scores, "published": results}
        return report | ({"references": self._referred(faces, models)} if self.references else {})

    def _referred(self, faces: LandmarkSet, models: Sequence[Model]) -> list[dict[str, float]]:
        """Print and return the NME of each network for each way to choose the reference face."""
        from ...trainers.data import read_set
        from ...trainers.systems.rht.recipes import reference_figures

        assert self.references is not None
        pool, results = read_set(self.references, self.data, part="train"), []
        for model in models:
            figures = reference_figures(model.learner, faces, pool)
            print(f"references from {self.references}, {short(model.name)}:")
            print("\n".join(f"  {name.removeprefix('nme_'):14} {100 * value:.2f}" for name, value in figures.items()))
            results.append(figures)
        return results


def _check_references(model: Model) -> None:
    """Check that a network compares faces with a reference that can be chosen."""
    from ...trainers.systems.rht.learner import RHTLearner

    if not isinstance(model.learner, RHTLearner) or not model.learner.compares:
        raise NasionError(
            f"model {short(model.name)!r} takes no reference faces; --references needs best.pt of rht-r or of another "
            "recipe of RHT with a transformation"
        )


def _check_seeds(models: Sequence[Model]) -> None:
    """Check that checkpoints of one recipe differ in their seeds only."""
    trained = [model for model in models if "options" in model.about]
    settings = [{"version": model.about["version"], **model.about["options"]} for model in trained]
    for model, setting in zip(trained[1:], settings[1:], strict=True):
        free = {"seed", "start", "teacher"}  # each seed has its own earlier stages
        differ = [name for name in setting if name not in free and setting[name] != settings[0].get(name)]
        if differ:
            given = ", ".join(f"{name} {settings[0].get(name)} and {setting[name]}" for name in differ)
            raise NasionError(
                f"{short(trained[0].name)!r} and {short(model.name)!r} are of one recipe but differ in {given}; "
                "mean and deviation are over seeds of one recipe: report each by itself with --each"
            )
        if setting == settings[0]:
            raise NasionError(
                f"{short(trained[0].name)!r} and {short(model.name)!r} are the same run, with one seed; leave one out"
            )


def _draw(
    title: str,
    models: Sequence[Model],
    read: Mapping[str, LandmarkSet],
    located: Mapping[str, Sequence[Located]],
    plot: Path,
) -> None:
    """Draw the error curves of all networks and sets, over all landmarks and over those of the eyes."""
    from ...trainers.evaluation.comparison import usual_errors
    from ...trainers.metrics import draw_error_curves

    panels: dict[str, dict[str, FloatArray]] = {}
    norms = set()
    for part, eyes in (("all landmarks", False), ("eyes", True)):
        panels[part] = {}
        for name, faces in read.items():
            for model, found in zip(models, located[name], strict=True):
                alone = name if len(models) == 1 else short(model.name)
                norm, panels[part][f"{name}, {alone}" if len(read) > 1 and alone != name else alone] = usual_errors(
                    faces, found, eyes=eyes
                )
                norms.add(norm)
    draw_error_curves(panels, plot, title=f"{title}, divided by {', '.join(sorted(norms))}")


def _paired(
    models: Sequence[Model], read: Mapping[str, LandmarkSet], located: Mapping[str, Sequence[Located]]
) -> dict[str, list[dict[str, Any]]]:
    """Print and return the differences of the errors of each face between the first network and each other one."""
    from ...trainers.evaluation.comparison import paired, usual_errors

    results: dict[str, list[dict[str, Any]]] = {}
    for name, faces in read.items():
        _, first = usual_errors(faces, located[name][0])
        results[name] = []
        for model, found in zip(models[1:], located[name][1:], strict=True):
            each = paired(first, usual_errors(faces, found)[1])
            print(
                f"{name}: {short(model.name)} minus {short(models[0].name)}: {each['difference']:+.2f} "
                f"± {each['standard_error']:.2f} percentage points over {each['faces']} faces"
            )
            results[name].append({"model": short(model.name), "minus": short(models[0].name), **each})
    return results


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
