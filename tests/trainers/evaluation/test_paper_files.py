"""Files of the papers' figures: what is refused, with the file and the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasion.trainers.evaluation.paper_files import FOLDER, PaperFileError, read_paper, read_parts

GOOD = """
title = "Someone, A paper, 2023"
[recipes]
mine = ["theirs"]
[sizes.mine]
parameters = "1.5 M"
[[tables]]
number = "table 1"
set = "300w"
measure = "nme"
norm = "io"
subsets = ["common", "full"]
[tables.rows]
theirs = [3.10, 4]
[tables.spread]
theirs = [0.01, 0.02]
"""


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "some.toml").write_text(GOOD)
    paper = read_paper(tmp_path / "some.toml")
    (table,) = paper.tables
    assert (paper.title, paper.recipes) == ("Someone, A paper, 2023", {"mine": ("theirs",)})
    assert (table.paper, table.number, table.subsets, table.note) == ("some", "table 1", ("common", "full"), "")
    assert (table.rows, table.spread) == ({"theirs": (3.1, 4.0)}, {"theirs": (0.01, 0.02)})
    size = paper.sizes["mine"]
    assert (size.paper, size.parameters, size.flops, size.convention) == ("some", "1.5 M", None, "mac")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('title = "', 'titel = "', r"title is missing"),
        ('title = "', 'year = 2023\ntitle = "', r"unknown key 'year'; allowed: recipes, sizes, tables, title"),
        ("parameters", "params", r": sizes: mine: unknown key 'params'; allowed: .*parameters"),
        ('"1.5 M"', "1.5", r": sizes: mine: parameters is 1\.5; give a text"),
        ('"nme"', '"nmse"', r": tables 1: measure is 'nmse'; give one of nme, fr_10, auc_7, auc_10"),
        ('norm = "io"', 'norm = "eyes"', r": tables 1: norm is 'eyes'; give one of io, ip, box"),
        ('number = "table 1"', "", r": tables 1: number is missing"),
        ("[3.10, 4]", "[3.10]", r": tables 1: rows: theirs is \[3\.1\]; give a list of 2 numbers, one for each subset"),
        ("[3.10, 4]", '[3.10, "4"]', r": tables 1: rows: theirs is .*; give a list of 2 numbers"),
        ("theirs = [0.01", "ours = [0.01", r": tables 1: spread: unknown key 'ours'; allowed: theirs"),
        ('["theirs"]', '"theirs"', r": recipes: mine is 'theirs'; give a list of texts"),
        ("[[tables]]", "[tables]", r": tables is .*; give an array of tables"),
        ('title = "', "title = ", r"line 2"),
    ],
)
def test_what_is_wrong_is_named_with_the_file_and_the_place(
    before: str, after: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "some.toml"
    assert before in GOOD
    file.write_text(GOOD.replace(before, after, 1))
    with pytest.raises(PaperFileError, match=message) as refused:
        read_paper(file)
    assert str(refused.value).startswith(str(file))


def test_numbers_of_faces_are_whole(tmp_path: Path) -> None:
    (tmp_path / "parts.toml").write_text("[300w]\nfull = 689.5\n")
    with pytest.raises(PaperFileError, match=r"parts\.toml: 300w: full is 689\.5; give a whole number from 1"):
        read_parts(tmp_path / "parts.toml")
    with pytest.raises(PaperFileError, match=r"none\.toml: .*No such file"):
        read_parts(tmp_path / "none.toml")


def test_every_paper_has_a_file() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == {"pwc", "chs", "rdfn", "rht", "sd-hrnet"}
