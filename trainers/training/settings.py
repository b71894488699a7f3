"""Settings of a training run: read from a TOML file, and saved beside the run as they were resolved."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ...engines.errors import NasionError
from ...engines.output_paths import write_file
from .schedule import Schedule

SETTINGS = "settings.toml"
_SCHEDULE = "schedule"  # table of the resolved schedule, for readers; it is not read again


def read_settings(path: Path) -> dict[str, Any]:
    """Return the options in a TOML file by name, with underscores.

    Raises:
        NasionError: the file cannot be read, is not TOML, or holds something else than options.
    """
    try:
        values = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise NasionError(f"--config {str(path)!r}: cannot be read ({error.strerror or error})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise NasionError(f"--config {str(path)!r}: is not TOML ({error})") from error
    options = {name.replace("-", "_"): value for name, value in values.items() if name != _SCHEDULE}
    for name, value in options.items():
        if not isinstance(value, str | int | float | bool):
            raise NasionError(f"--config {str(path)!r}: {name} is {value!r:.60}; give a text, a number, true or false")
    return options


def save_settings(folder: Path, options: Mapping[str, Any], schedule: Schedule) -> Path:
    """Write ``settings.toml``: the options, so that ``--config`` repeats the run, and the resolved schedule.

    Raises:
        SinkError: it cannot be written.
    """
    lines = [f"{name} = {_toml(value)}" for name, value in options.items() if value is not None]
    resolved = asdict(schedule)
    optimisers = resolved.pop("optimisers")
    lines += [
        "",
        f"[{_SCHEDULE}]",
        *(f"{name} = {_toml(value)}" for name, value in resolved.items() if value is not None),
    ]
    for optimiser in optimisers:
        lines += ["", f"[[{_SCHEDULE}.optimisers]]"]
        lines += [f"{name} = {_toml(value)}" for name, value in optimiser.items() if value is not None]
    write_file(folder / SETTINGS, "\n".join(lines) + "\n")
    return folder / SETTINGS


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'


def adjusted(
    schedule: Schedule,
    *,
    lr: float | None = None,
    warmup: int | None = None,
    validate_every: int | None = None,
    patience: int | None = None,
    ema: float | None = None,
) -> Schedule:
    """Return a schedule with the settings that are given.

    Without ``warmup``, a warm-up of more than a fifth of the run is shortened to a tenth.

    Args:
        schedule: schedule of the recipe, with the steps of the run.
        lr: peak learning rate; with several optimisers, of the one with the highest, the others in proportion.
        warmup: steps over which the learning rate rises.
        validate_every, patience, ema: see ``Schedule``.

    Raises:
        NasionError: a value is not allowed.
    """
    for name, value, most in (("lr", lr, 10.0), ("validate-every", validate_every, None), ("patience", patience, None)):
        if value is not None and (not value > 0 or (most is not None and value > most)):
            raise NasionError(
                f"--{name} is {value:g}; give a number above 0" + (f" and up to {most:g}" if most else "")
            )
    if ema is not None and not 0 <= ema < 1:
        raise NasionError(f"--ema is {ema:g}; give a number from 0 (none) to below 1")
    if warmup is not None and warmup < 0:
        raise NasionError(f"--warmup is {warmup}; give a number of steps from 0")
    highest = max(each.learning_rate for each in schedule.optimisers)
    factor = 1.0 if lr is None else lr / highest
    optimisers = tuple(
        replace(
            each,
            learning_rate=each.learning_rate * factor,
            warmup=_warmup(each.warmup, schedule.steps) if warmup is None else warmup,
        )
        for each in schedule.optimisers
    )
    given: dict[str, Any] = {"validate_every": validate_every, "patience": patience, "ema": ema}
    return replace(
        schedule, optimisers=optimisers, **{name: value for name, value in given.items() if value is not None}
    )


def _warmup(usual: int, steps: int) -> int:
    return usual if usual <= steps // 5 else max(1, steps // 10)
