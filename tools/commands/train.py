"""``nasion train``: train a network by a recipe, or resume a run."""

from __future__ import annotations

import json as json_module
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

from cyclopts import Parameter

from ...engines.errors import NasionError, SinkError
from ...engines.output_paths import check_output_paths, is_folder, reaching, write_file
from ..machine import provenance, short
from ..results import Json, json_results
from ..terminal.progress import Progress

if TYPE_CHECKING:
    import torch

    from ...trainers.training.loop import Schedule, Watch
    from ...trainers.training.recipes import Options, Recipe
    from ...trainers.training.state import State

RECORD_LOG = "nasion.trainers"


def train(
    recipe: str,
    *,
    data: Path,
    out: Path | None = None,
    minutes: float | None = None,
    clock: Literal["wall", "cpu"] = "wall",
    brief: bool = False,
    steps: int | None = None,
    batch: int | None = None,
    seed: int = 0,
    seeds: int | None = None,
    threads: int = 0,
    workers: int = 0,
    device: str = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    set_: Annotated[str, Parameter(name="--set")] = "300w",
    size: int | None = None,
    width: float | None = None,
    stacks: int | None = None,
    scheme: Path | None = None,
    val: Path | None = None,
    val_share: float | None = None,
    group: str | None = None,
    network: str | None = None,
    margin: float | None = None,
    negatives: Path | None = None,
    start: Path | None = None,
    teacher: Path | None = None,
    backbone_weights: Path | None = None,
    budget: float | None = None,
    skip_bad: int = 0,
    extend: bool = False,
    wait: float = 30.0,
    lr: float | None = None,
    warmup: int | None = None,
    validate_every: int | None = None,
    patience: int | None = None,
    ema: float | None = None,
    config: Path | None = None,
    preview: Path | None = None,
    dry_run: bool = False,
    json: Json = None,
    force: bool = False,
    quiet: bool = False,
) -> None:
    """Train a network, or resume the run in OUT.

    Ctrl-C, or another signal that ends a process, writes a checkpoint first. On several GPUs, with one process each:
    torchrun --nproc-per-node N -m -- nasion.tools.main train RECIPE ...

    Args:
        recipe: name of the recipe; an unknown name lists all recipes.
        data: folder that holds the data sets, each under its own name: 300w, wflw, wider ...
        out: folder of the run (default runs/RECIPE); receives record.jsonl, latest.pt, best.pt, curve.svg and
            scalars.csv; from the recipe landmarks also the errors of the held-out faces (faces.csv, points.csv,
            worst.jpg, error-curve.svg) and card.json.
        minutes: budget of training time; the learning rate follows it if it ends before the steps do. A recipe may
            have a faster schedule for it (default: no limit).
        clock: clock of --minutes: wall, or cpu, the CPU time of the process over all its threads, which does not
            depend on other load of the machine.
        brief: use the recipe's schedule for short runs, as --minutes does, with --steps alone.
        steps: optimiser steps of the whole run (default: the recipe's; where a paper counts epochs, that many epochs
            of the set as published).
        batch: batch size over all processes (default: the recipe's).
        seed: seed of initial weights and samples.
        seeds: train this many times, with seeds 0, 1, ..., each in its own folder; prints mean and deviation
            (default: once, with --seed).
        threads: threads of torch (default: all cores).
        workers: processes that prepare samples (default: none).
        device: auto (a GPU if there is one), cpu or cuda:N.
        precision: bf16 computes operations that are safe in bfloat16 in it.
        set_: data set to train on, for the recipes of the papers.
        size: side of the crop in pixels (default: the recipe's).
        width: number of channels relative to the paper (default: the recipe's).
        stacks: number of hourglasses, for the recipes of CHS (default: 4, the paper's).
        scheme: TOML file of the landmark scheme, for the recipe landmarks (default: the scheme that the labels name, or
            the usual one with that many landmarks).
        val: folder or file of labels for validation, for landmarks and detector (default: a part of --data).
        val_share: share of --data that is held out for validation (default: 0.1).
        group: what stays together when a part is held out: image, video (frames of one video, and images whose names
            differ in their last number only), folder, or a column of the labels (default: image).
        network: size of a network with random weights, for the recipe landmarks with --start none: landmarks-68 or
            accurate (default: landmarks-68).
        margin: side of the crop over the extent of the landmarks, for the recipe landmarks (default: estimated, so that
            crops show whole faces).
        negatives: folder of images without faces, for the recipes landmarks and detector (default: none).
        start: initial weights. For the recipes landmarks and detector: a shipped network (landmarks-68, accurate,
            face-detector), an .onnx file, a checkpoint, the folder of a run, or none for random weights (default:
            landmarks-68, face-detector). For the other shipped networks: a checkpoint (default: none). For recipes that
            have one: checkpoint of the previous stage.
        teacher: checkpoint of the teacher network, for recipes with distillation (default: none).
        backbone_weights: public weights of the backbone (default: from scratch).
        budget: cost that pruning keeps, in million multiply-accumulates (default: prune at the paper's
            threshold).
        skip_bad: number of files that may be left out because they cannot be read; each is reported. Without it, the
            run stops at the first one, after a checkpoint.
        extend: resume a run with a higher number of --steps than before; its learning rate follows the new number.
        wait: minutes that a process of torchrun waits for one that hangs, before it ends with an error.
        lr: peak learning rate (default: the recipe's).
        warmup: steps over which the learning rate rises (default: the recipe's, or a tenth of a shorter run).
        validate_every: steps between validations (default: the recipe's).
        patience: validations without improvement after which the run ends (default: none, the whole schedule is run).
        ema: decay of the moving average of the weights that is validated and saved; 0 for none (default: the
            recipe's).
        config: TOML file with any of these options by name, and recipe; those of the command line go before it. OUT
            receives the settings of the run as settings.toml, which is such a file (default: none).
        preview: only write a sheet of augmented training samples with their labels to this file, .jpg or .png
            (default: none).
        dry_run: only read the data, build the network, compute the losses of one batch, and print what would be done.
        json: also write the figures of the best checkpoint of each run to this file; - for standard output (default:
            none).
        force: replace that file, and best.pt and curves in OUT if they belong to no run that could be resumed.
        quiet: print warnings and errors only.
    """
    given = {name: value for name, value in locals().items() if name not in ("json", "force", "config", "extend")}
    import cv2
    import torch

    from ...trainers.systems import recipe_named
    from ...trainers.training.processes import joined
    from ...trainers.training.recipes import Options

    chosen = recipe_named(recipe)
    _check_numbers(seed=(seed, 0), threads=(threads, 0), workers=(workers, 0), seeds=(seeds, 1), skip_bad=(skip_bad, 0))
    if not wait > 0:
        raise NasionError(f"--wait is {wait:g}; give a number of minutes above 0")
    if threads:
        torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    options = Options(
        set=set_,
        size=size,
        width=width,
        stacks=stacks,
        seed=seed,
        start=start,
        teacher=teacher,
        backbone_weights=backbone_weights,
        budget=budget,
        minutes=minutes,
        brief=brief,
        batch=batch,
        scheme=scheme,
        val=val,
        val_share=val_share,
        group=group,
        network=network,
        margin=margin,
        negatives=negatives,
        skip_bad=skip_bad,
    )
    chosen.check(options)
    if chosen.starts_from and start is None:
        options = replace(options, start=Path(chosen.starts_from))
    folder, inputs = out or Path("runs") / recipe, (start, teacher, backbone_weights, scheme, config)
    check_output_paths({"--preview": preview}, force=force, suffixes=(".jpg", ".png"), inputs=inputs)
    for each in [folder] if seeds is None else [folder / f"seed-{k}" for k in range(seeds)]:
        check_folder(each, force=force, inputs=inputs)
    with (
        json_results(json, force=force, inputs=inputs, silent=quiet) as to_json,
        joined(device_named(device), patience=wait) as place,
    ):
        changes = {
            "lr": lr,
            "warmup": warmup,
            "validate_every": validate_every,
            "patience": patience,
            "ema": ema,
        }
        job = Job(chosen, data, clock, steps, workers, place, precision, skip_bad, extend, changes, given, quiet)
        if dry_run or preview is not None:
            job.show(options, preview)
            return
        if seeds is None:
            runs = [job.run(options, folder)]
        else:
            runs = [job.run(replace(options, seed=k), folder / f"seed-{k}") for k in range(seeds)]
        if job.speaks:
            if seeds is not None:
                print("\n".join(spread([run["figures"] for run in runs])))
            to_json.write(provenance() | {"recipe": recipe, "runs": runs})


def _check_numbers(**given: tuple[int | None, int]) -> None:
    """Check that whole numbers are in the range that torch and the system allow."""
    for name, (value, least) in given.items():
        most = {"threads": 1024, "workers": 1024}.get(name, 2**31 - 1)
        if value is not None and not least <= value <= most:
            raise NasionError(f"--{name.replace('_', '-')} is {value}; give a whole number from {least} to {most}")


def check_folder(folder: Path, *, force: bool, inputs: Sequence[Path | None] = ()) -> None:
    """Check that a run in ``folder`` replaces only files of the run that it resumes.

    Raises:
        SinkError: it would replace other files and ``force`` is not given; or files are inputs or cannot be written.
    """
    with reaching(folder, SinkError, named=f"--out {str(folder)!r}"):
        if not is_folder(folder):
            return
        goes_on = (folder / "latest.pt").exists()
        begun = goes_on or (folder / "record.jsonl").exists()
    own = {"latest.pt": True, "record.jsonl": True, "best.pt": goes_on, "curve.svg": begun, "curve.png": begun}
    remedy = "give another folder, or replace it with --force"
    for name, is_own in own.items():
        check_output_paths({"--out": folder / name}, force=force or is_own, inputs=inputs, remedy=remedy)


def device_named(name: str) -> torch.device:
    """Return the torch device for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        NasionError: the name is unknown, or there is no such GPU.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise NasionError(f"device {name!r} is unknown; allowed: auto, cpu, cuda, cuda:N")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise NasionError(f"device {name!r}: torch sees {torch.cuda.device_count()} GPUs here; allowed: auto, cpu")
    return torch.device(name)


@dataclass(frozen=True, slots=True)
class Job:
    """Settings shared by all runs of one command."""

    recipe: Recipe
    data: Path
    clock: Literal["wall", "cpu"]
    steps: int | None
    workers: int
    device: torch.device
    precision: Literal["fp32", "bf16"]
    skip_bad: int = 0
    extend: bool = False
    changes: Mapping[str, Any] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)
    quiet: bool = False

    @property
    def speaks(self) -> bool:
        """True if this is the process that writes and prints."""
        from ...trainers.training.processes import rank

        return rank() == 0

    def _schedule(self, options: Options, folder: Path | None = None) -> Schedule:
        """Return the schedule of a run; a warm-up that is not given is that of the run that ``folder`` holds."""
        from ...trainers import checkpoint
        from ...trainers.training.settings import adjusted

        own = self.recipe.schedule_for(options)
        steps = own.steps if self.steps is None else self.steps
        whole = replace(own, seed=options.seed, steps=steps, batch=options.batch or own.batch)
        schedule = adjusted(whole, **self.changes)
        if folder is None or self.changes.get("warmup") is not None or not (folder / "latest.pt").is_file():
            return schedule
        before = checkpoint.load(folder / "latest.pt").get("schedule", {}).get("optimisers", ())
        if len(before) != len(schedule.optimisers):
            return schedule
        optimisers = (
            replace(each, warmup=old.get("warmup", each.warmup))
            for each, old in zip(schedule.optimisers, before, strict=True)
        )
        return replace(schedule, optimisers=tuple(optimisers))

    def _surveyed(self, options: Options) -> Options:
        """Return the options with what follows from the data."""
        from ...trainers.data import training_faces

        if self.recipe.survey:
            return self.recipe.survey(self.data, options)
        return replace(options, faces=training_faces(options.set, self.data))

    def show(self, options: Options, preview: Path | None) -> None:
        """Print what a run would do, or write a sheet of its samples; nothing is trained.

        Raises:
            NasionError: the data, the options or the network are not right.
        """
        import torch
        from torch.utils.data import default_collate

        from ...trainers.counting import parameters
        from ...trainers.training.preview import preview as sheet

        options = self._surveyed(options)
        schedule = self._schedule(options)
        torch.manual_seed(options.seed)
        learner = self.recipe.build(options)
        prepared = self.recipe.prepare(learner, self.data, options)
        if preview is not None:
            import cv2

            _, encoded = cv2.imencode(preview.suffix, sheet(prepared.samples, learner.spec))
            write_file(preview, encoded.tobytes())
            print(f"{preview} shows training samples")
            return
        batch = (prepared.collate or default_collate)([prepared.samples[i] for i in range(schedule.batch)])
        losses = learner.to(self.device).losses(_on(batch, self.device), learner.objective(0))
        told = ", ".join(f"{name} {value.item():.3g}" for name, value in losses.items())
        rates = ", ".join(
            f"{each.learning_rate:g} ({each.objective}, warm-up {each.warmup})" for each in schedule.optimisers
        )
        spec = learner.spec
        print(
            f"recipe {self.recipe.name}: {parameters(learner):,} parameters, input {spec.size[0]}x{spec.size[1]}\n"
            f"{schedule.steps:,} steps of {schedule.batch} samples"
            + (f", at most {options.minutes:g} minutes" if options.minutes else "")
            + f"; validation every {schedule.validate_every:,} steps\n"
            f"learning rate {rates}; average of the weights {schedule.ema:g}\n"
            f"losses of the first batch: {told}\n"
            "nothing was trained; leave --dry-run out to begin"
        )

    def run(self, options: Options, folder: Path) -> dict[str, Any]:
        """Train once, and return steps, minutes and the figures of the best checkpoint."""
        import torch

        from ...trainers import checkpoint
        from ...trainers.training.curves import draw_curves, write_scalars
        from ...trainers.training.loop import train as loop
        from ...trainers.training.settings import save_settings

        options = self._surveyed(options)
        schedule = self._schedule(options, folder)
        torch.manual_seed(options.seed)
        try:
            with watching(self.recipe.name, silent=not self.speaks, quiet=self.quiet) as watch:
                learner = self.recipe.build(options)
                prepared = self.recipe.prepare(learner, self.data, options)
                state = loop(
                    learner,
                    prepared.samples,
                    schedule,
                    folder,
                    collate=prepared.collate,
                    validate=prepared.validate,
                    criterion=self.recipe.criterion,
                    minutes=options.minutes,
                    clock=self.clock,
                    workers=self.workers,
                    device=self.device,
                    precision=self.precision,
                    description=self.recipe.described(options),
                    watch=watch,
                    skip_bad=self.skip_bad,
                    extend=self.extend,
                )
        finally:  # draw the curves of a stopped run, too
            if self.speaks and (folder / "record.jsonl").is_file():
                save_settings(folder, self.given, schedule)
                draw_curves(folder)
                write_scalars(folder)
        if not self.speaks:
            return {}
        taken = f"{state.step} steps, {state.seconds / 60:.1f} minutes"
        print(f"{folder}: {taken}, best {self.recipe.criterion} {state.best:.4f}")
        if self.recipe.report:
            print(f"errors on held-out data: {', '.join(map(str, self.recipe.report(folder, self.data, options)))}")
        figures = checkpoint.load(folder / "best.pt")["figures"]
        return {"folder": short(str(folder)), "steps": state.step, "minutes": state.seconds / 60, "figures": figures}


def _on(batch: Any, device: torch.device) -> Any:
    """Return a batch with its tensors on ``device``."""
    from ...trainers.training.loop import moved

    return moved(batch, device)


def words_of_config(words: Sequence[str]) -> list[str]:
    """Return the words of a command line with the options of its ``--config`` file; those on the line go first.

    Raises:
        NasionError: the file cannot be read, or names an option that the command does not have.
    """
    from inspect import signature

    from ...trainers.training.settings import read_settings

    path = next((word.partition("=")[2] for word in words if word.startswith("--config=")), None)
    if path is None:
        place = words.index("--config") + 1
        if place >= len(words):
            raise NasionError("--config needs a value: give the name of a TOML file")
        path = words[place]
    options = read_settings(Path(path))
    known = set(signature(train).parameters) - {"config"}
    known = (known - {"set_"}) | {"set"}
    if unknown := [name for name in options if name.removesuffix("_") not in known]:
        raise NasionError(f"--config {path!r}: option {unknown[0]!r} is unknown; allowed: {', '.join(sorted(known))}")
    given = {word.partition("=")[0] for word in words}
    rest = list(words[1:])
    recipe = options.pop("recipe", None)
    if recipe is not None and not (rest and not rest[0].startswith("-")):
        rest = [str(recipe), *rest]
    added: list[str] = []
    for name, value in options.items():
        flag = f"--{name.removesuffix('_').replace('_', '-')}"
        if flag in given or value is False:
            continue
        added += [flag] if value is True else [flag, str(value)]
    return [words[0], *rest, *added]


def spread(results: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """Yield a line for each figure: mean and standard deviation (n - 1) over the runs."""
    from ...trainers.metrics import mean_and_deviation

    yield f"{len(results)} seeds, mean ± standard deviation:"
    for name in results[0]:
        mean, deviation = mean_and_deviation([result[name] for result in results])
        yield f"  {name}: {mean:.5f}" + (f" ± {deviation:.5f}" if len(results) > 1 else "")


@contextmanager
def watching(
    name: str, stream: TextIO | None = None, *, silent: bool = False, quiet: bool = False
) -> Iterator[Watch | None]:
    """Yield a callback that shows steps, losses and time left on a terminal; elsewhere log one JSON line per report.

    With ``quiet``, only warnings are shown; with ``silent``, nothing.
    """
    stream, log = stream or sys.stderr, logging.getLogger(RECORD_LOG)
    if silent:
        yield None
        return
    if quiet or not stream.isatty():
        with _logged(log, logging.StreamHandler(stream), logging.WARNING if quiet else logging.DEBUG):
            yield None
        return
    with Progress(stream=stream) as progress:

        def watch(state: State, part: float, losses: Mapping[str, float]) -> None:
            told = "  ".join(f"{name} {value:.3g}" for name, value in losses.items())
            progress(f"{name}, step", state.step, round(state.step / part), told)  # estimated if time ends the run

        with _logged(log, _Above(progress), logging.INFO):
            yield watch


class _Above(logging.Handler):
    """Logging handler that prints above the progress."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        self._progress.print(for_people(record.getMessage()))


def for_people(line: str) -> str:
    """Return a report of ``record.jsonl`` as text, for example ``validate, step 1,200: nme 0.0345``.

    Any other message is returned unchanged.
    """
    try:
        report = json_module.loads(line)
    except ValueError:
        return line
    values = {name: value for name, value in report.items() if isinstance(value, int | float)}
    values.pop("at", None)
    step = f", step {values.pop('step'):,}" if "step" in values else ""
    return f"{report['kind']}{step}: {', '.join(f'{name} {value:.4g}' for name, value in values.items())}".rstrip(": ")


@contextmanager
def _logged(log: logging.Logger, handler: logging.Handler, level: int) -> Iterator[None]:
    """Send ``log`` to ``handler`` within the context."""
    before = log.level
    log.addHandler(handler)
    log.setLevel(level)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
