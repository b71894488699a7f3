"""Runs of one ``nasion train``: its settings, a trial without training, and the training itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ....engines.output_paths import write_file
from ...machine import short
from .watching import watching

if TYPE_CHECKING:
    import torch

    from ....trainers.training.loop import Schedule
    from ....trainers.training.recipes import Options, Recipe


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
        from ....trainers.training.processes import rank

        return rank() == 0

    def _schedule(self, options: Options, folder: Path | None = None) -> Schedule:
        """Return the schedule of a run; a warm-up that is not given is that of the run that ``folder`` holds."""
        from ....trainers import checkpoint
        from ....trainers.training.settings import adjusted

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
        from ....trainers.data import training_faces

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

        from ....trainers.counting import parameters
        from ....trainers.training.preview import preview as sheet

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

        from ....trainers import checkpoint
        from ....trainers.training.curves import draw_curves, write_scalars
        from ....trainers.training.loop import train as loop
        from ....trainers.training.settings import save_settings

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
    from ....trainers.training.loop import moved

    return moved(batch, device)


def spread(results: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """Yield a line for each figure: mean and standard deviation (n - 1) over the runs."""
    from ....trainers.metrics import mean_and_deviation

    yield f"{len(results)} seeds, mean ± standard deviation:"
    for name in results[0]:
        mean, deviation = mean_and_deviation([result[name] for result in results])
        yield f"  {name}: {mean:.5f}" + (f" ± {deviation:.5f}" if len(results) > 1 else "")
