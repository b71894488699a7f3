"""``nasion models``: networks that can be given by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from ...engines.errors import NasionError, printable
from ..machine import provenance
from ..results import Json, json_results

_COLUMNS = ("name", "task", "size", "scheme", "error", "cost", "licence")
_NOTES = """
error: NME on the 330 faces of the HELEN test set, inter-ocular, through the tracker; AP at IoU 0.5 on WIDER FACE images
cost: CPU time on one core, per face; for a detector per image of that size
{licences}
"""


def models(*, json: Json = None, force: bool = False) -> None:
    """List the networks that --model and --detector find by name: those shipped, and your own.

    Your own networks are the .onnx and .pt2 files in the folder that the environment variable NASION_MODELS names; the
    file name without suffix is the name of the network.

    Args:
        json: also write the list, with the whole model cards, to this file; - for standard output (default: none).
        force: replace that file.
    """
    with json_results(json, force=force) as to_json:
        found = [*_shipped(), *_own()]
        print(table(found), end="")
        to_json.write(provenance() | {"models": found})


def _shipped() -> Iterator[dict[str, Any]]:
    from ...engines.zoo import models as shipped

    for card in shipped().values():
        yield {**asdict(card), "error": card.error, "place": str(card.path), "problem": ""}


def _own() -> Iterator[dict[str, Any]]:
    """Yield the networks of the user, with what their spec says; ``problem`` tells why a file cannot be read."""
    from ...engines.select import open_runtime
    from ...engines.zoo import own_models
    from ...realtime.values.scheme_files import scheme_of_spec

    for name, path in own_models().items():
        entry = {"name": name, "place": str(path), "problem": ""}
        try:
            with open_runtime(path, device="cpu") as runtime:
                spec = runtime.spec
                scheme = scheme_of_spec(spec)
        except NasionError as error:
            yield {**entry, "problem": str(error)}
        else:
            yield {**entry, "task": spec.task, "size": spec.size, "scheme": scheme.name if scheme else spec.scheme}


def table(found: list[dict[str, Any]]) -> str:
    """Return the networks as a plain-text table; with the path of each of the user's own below it."""
    licences = list(dict.fromkeys(each["licence"] for each in found if each.get("licence")))
    rows = [_COLUMNS, *(_row(each, licences) for each in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    text = [lines[0]]
    for line, each in zip(lines[1:], found, strict=True):
        text.append(line)
        if not each.get("sha256"):
            text.append(f"  {printable(each['problem'] or each['place'])}")
    named = "\n".join(f"licence {number}: {licence}" for number, licence in enumerate(licences, 1))
    return "\n".join([*text, _NOTES.format(licences=named)])


def _row(each: Mapping[str, Any], licences: list[str]) -> tuple[str, ...]:
    size = "x".join(map(str, each["size"])) if "size" in each else ""
    cost = f"{each['cost']['ms']:.1f} ms" if each.get("cost") else ""
    licence = str(licences.index(each["licence"]) + 1) if each.get("licence") else ""
    task = "not readable" if each["problem"] else each["task"]
    return printable(each["name"]), task, size, each.get("scheme", ""), each.get("error", ""), cost, licence
