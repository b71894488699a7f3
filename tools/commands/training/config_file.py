"""Options of ``nasion train`` from a TOML file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from pathlib import Path

from ....engines.errors import NasionError


def words_of_config(words: Sequence[str], command: Callable[..., None]) -> list[str]:
    """Return the words of a command line with the options of its ``--config`` file; those on the line go first.

    Args:
        words: words of the command line, with ``--config`` among them.
        command: function of the command, whose parameters are the options.

    Raises:
        NasionError: the file cannot be read, or names an option that the command does not have.
    """
    from ....trainers.training.settings import read_settings

    path = next((word.partition("=")[2] for word in words if word.startswith("--config=")), None)
    if path is None:
        place = words.index("--config") + 1
        if place >= len(words):
            raise NasionError("--config needs a value: give the name of a TOML file")
        path = words[place]
    options = read_settings(Path(path))
    known = set(signature(command).parameters) - {"config"}
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
