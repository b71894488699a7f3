"""Networks shipped in the wheel, each with a model card.

A card states SHA-256, licence, training data, recipe and measured error.
"""

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
    """Model card of one shipped network.

    Attributes:
        name: name for ``--model``.
        file: file name of the network, in the folder of the card.
        sha256: SHA-256 of that file.
        bytes: length of that file.
        licence: licence of the network.
        data: training data.
        recipe: the training command and the results of the run.
        measured: figures of ``nasion evaluate``, with machine, versions and date.
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
        """Path of the network file."""
        return FOLDER / self.file

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
                "the file is damaged or was exchanged: install nasion again"
            )


def models() -> dict[str, Card]:
    """Return the cards of all shipped networks by name."""
    cards = (Card(**json.loads(path.read_text())) for path in sorted(FOLDER.glob("*.json")))
    return {card.name: card for card in cards}


def model_path(model: str | Path) -> Path:
    """Return the path of a model.

    The name of a shipped network gives its file, after a check against its card. Any other value is a path, which is
    returned as given.

    Raises:
        ModelError: ``model`` is neither the name of a shipped network nor a file, or the shipped file is damaged.
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
