"""Networks by name: those shipped in the wheel, each with a model card, and those in a folder of the user.

A card states what a network is, its SHA-256, licence, training data, recipe, measured error and cost.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..output_paths import reaching

FOLDER = Path(__file__).parent
VARIABLE = "NASION_MODELS"
"""Environment variable that names the folder of the user's own models."""

SUFFIXES = (".onnx", ".pt2")


@dataclass(frozen=True, slots=True)
class Card:
    """Model card of one shipped network.

    Attributes:
        name: name for ``--model`` or ``--detector``.
        file: file name of the network, in the folder of the card.
        about: what the network is, in one line.
        task: task of its spec, e.g. ``landmarks``.
        size: (width, height) of its input in pixels.
        scheme: name of its landmark scheme; empty for a detector.
        sha256: SHA-256 of that file.
        bytes: length of that file.
        licence: licence of the network.
        data: training data.
        recipe: the training command and the results of the run.
        measured: figures of ``nasion evaluate``, with machine, versions and date.
        cost: CPU time in milliseconds per face (per image for a detector) on one core of ONNX Runtime, with command,
            machine, versions and date.
    """

    name: str
    file: str
    about: str
    task: str
    size: tuple[int, int]
    scheme: str
    sha256: str
    bytes: int
    licence: str
    data: str
    recipe: dict[str, Any]
    measured: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Path of the network file."""
        return FOLDER / self.file

    @property
    def error(self) -> str:
        """Measured error: NME on 300W, or average precision of a detector; empty if it was not measured."""
        if "detector" in self.measured:
            return f"AP {self.measured['detector']['own_size']['average_precision']:.3f}"
        return f"NME {self.measured['300w']['nme_percent']:.2f} %" if "300w" in self.measured else ""

    def check(self) -> None:
        """Compare the SHA-256 of the file with that of the card.

        Raises:
            ModelError: the file is missing or is not the one that the card describes.
        """
        if not self.path.is_file():
            raise ModelError(f"model {self.name!r}: {self.path} is missing; install nasion again")
        found = hashlib.sha256(self.path.read_bytes()).hexdigest()
        if found != self.sha256:
            raise ModelError(
                f"model {self.name!r}: {self.path} has SHA-256 {found[:12]}…, its card says {self.sha256[:12]}…; "
                "the file is damaged or was replaced: install nasion again"
            )


def models() -> dict[str, Card]:
    """Return the cards of all shipped networks by name."""
    cards = (Card(**json.loads(path.read_text())) for path in sorted(FOLDER.glob("*.json"), key=lambda path: path.stem))
    return {card.name: card for card in cards}


def own_models() -> dict[str, Path]:
    """Return the ``.onnx`` and ``.pt2`` files in the folder named by NASION_MODELS; none if the variable is not set.

    The name of a network is the file name without suffix.

    Raises:
        ModelError: the folder is missing, or two networks would have the same name.
    """
    if not (named := os.environ.get(VARIABLE)):
        return {}
    folder, found = Path(named), dict[str, Path]()
    with reaching(folder, ModelError, named=f"{VARIABLE}={named!r}"):
        if not folder.is_dir():
            raise ModelError(f"{VARIABLE}={named!r} is not a folder; set it to the folder of your models, or unset it")
        files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and path.is_file())
    shipped = models()
    for path in files:
        if path.stem in shipped:
            raise ModelError(
                f"{str(path)!r} has the name of a shipped network; rename it, or move it out of {VARIABLE}"
            )
        if path.stem in found:
            raise ModelError(
                f"{str(path)!r} and {found[path.stem].name!r} have the same name; rename one, or move it out of "
                f"{VARIABLE}"
            )
        found[path.stem] = path
    return found


def model_path(model: str | Path) -> Path:
    """Return the path of a model.

    The name of a shipped network gives its file, after a check against its card; the name of a network in the folder
    NASION_MODELS gives that file. Any other value is a path, which is returned as given.

    Raises:
        ModelError: ``model`` is neither a name nor a file, the shipped file is damaged, or the folder is not usable.
    """
    name, shipped, own = str(model), models(), own_models()
    if name in shipped:
        card = shipped[name]
        card.check()
        return card.path
    if name in own:
        return own[name]
    path = Path(model)
    with reaching(path, ModelError, named=f"model {name!r}"):
        is_file = path.is_file()
    if not is_file:
        mine = f"; in {VARIABLE}: {', '.join(own) or 'none'}" if VARIABLE in os.environ else ""
        raise ModelError(
            f"model {name!r} is neither a file nor the name of a network; "
            f"shipped networks: {', '.join(shipped) or 'none'}{mine}"
        )
    return path
