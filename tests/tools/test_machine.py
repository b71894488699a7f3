"""Provenance of reports: the command as it was given, without passwords and folders of this machine."""

from __future__ import annotations

import sys

import pytest

from nasion.tools.machine import provenance, short


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        ("/data/people/anna/film.mp4", "anna/film.mp4"),
        ("/film.mp4", "film.mp4"),
        ("film.mp4", "film.mp4"),
        ("../data/film.mp4", "../data/film.mp4"),
        ("--json=/data/people/anna/bench.json", "--json=anna/bench.json"),
        ("door=/data/people/anna/film.mp4", "door=anna/film.mp4"),
        ("rtsp://anna:secret@camera/stream?channel=/1", "rtsp://***@camera/stream?***"),
        ("-", "-"),
    ],
)
def test_the_command_is_shown_without_passwords_and_folders(
    argument: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/opt/bin/nasion", "bench", argument])
    assert provenance()["command"] == f"nasion bench {shown}"


def test_a_command_that_is_given_is_kept() -> None:
    assert provenance("nasion evaluate --data DATA")["command"] == "nasion evaluate --data DATA"
    assert short(None) == "."
