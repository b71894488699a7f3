"""The networks that ship in the wheel, each with a card: SHA-256, licence, data, recipe, measured error."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..output_paths import reaching

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of one shipped network.

    Attributes:
        name: what ``--model`` calls it.
        file: file name of the network beside the card.
        sha256: of that file.
        bytes: its length.
        licence: under which terms it may be used.
        data: what it was trained on.
        recipe: the command that trains it, and what the run came to.
        measured: figures by ``nasion evaluate``, with machine, versions and date.
    """

    name: str
    file: str
    sha256: str
    bytes: int
    licence: str
    data: str
    recipe: dict[str, Any]
    measured: dict[str, Any]

    @property
    def path(self) -> Path:
        """Where the network lies."""
        return FOLDER / self.file

    def check(self) -> None:
        """Compare the file with the card.

        Raises:
            ModelError: the file is missing or not the one that the card describes.
        """
        if not self.path.is_file():
            raise ModelError(f"model {self.name!r}: {self.path} is missing; install nasion again")
        found = hashlib.sha256(self.path.read_bytes()).hexdigest()
        if found != self.sha256:
            raise ModelError(
                f"model {self.name!r}: {self.path} has SHA-256 {found[:12]}…, its card says {self.sha256[:12]}…; "
                "the file is damaged or was exchanged: install nasion again"
            )


def models() -> dict[str, Card]:
    """All shipped networks by name."""
    cards = (Card(**json.loads(path.read_text())) for path in sorted(FOLDER.glob("*.json")))
    return {card.name: card for card in cards}


def model_path(model: str | Path) -> Path:
    """Path of a shipped network by its name, checked, or of a file of the user's, as given.

    Raises:
        ModelError: neither a shipped name nor a file.
    """
    shipped = models()
    if str(model) in shipped:
        card = shipped[str(model)]
        card.check()
        return card.path
    path = Path(model)
    with reaching(path, ModelError, named=f"model {str(model)!r}"):
        is_file = path.is_file()
    if not is_file:
        raise ModelError(
            f"model {str(model)!r} is neither a file nor shipped; shipped are: {', '.join(shipped) or 'none'}"
        )
    return path
