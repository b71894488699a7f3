"""The English of the project: openings of docstrings, and words that have a plainer one."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import ROOT

FOLDERS = ("engines", "realtime", "trainers", "tools", "tests", "docs/scripts", ".ci")
MODULES = {folder: sorted((ROOT / folder).rglob("*.py")) for folder in FOLDERS}
SOURCES = sorted(
    path
    for folder, suffixes in (("engines/operators", "c cpp cu cuh h txt"), ("tests", "c cpp h"), (".ci", ""))
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and path.suffix[1:] in suffixes.split(" ")
)
"""Files of other languages, checked as a whole."""
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])

OPENINGS = re.compile(r"^(What|Where|Whether|How|Which|Who|Whose|When|Why|Is|Are|Does|Do|Can)\b")
BANNED = re.compile(
    r"\b(mend|mended|nobody|wish|anew|afresh|in vain|quickest|of no consequence|is told|are told|be told|twins?"
    r"|pictures?|to be had|to and fro|heed(s|ed|ing)?|passed over|carries no|for want of|of no use|lest)\b"
    r"|(?<!there )\bis no (?!longer\b|faster\b|more\b)",
    re.IGNORECASE,
)
QUOTED = re.compile(r"``[^`]*``|`[^`]*`|\"[^\"]*\"|'[^']*'|<!--.*?-->|```.*?```", re.DOTALL)
"""Names, options and quotations, in which a banned word is not prose."""


def functions(module: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of every class and function of a module, with spaces between the words."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, node.name.replace("_", " ")


def docstrings(module: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of every docstring of a module."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "lineno", 1), text


def comments(module: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of every comment; one of several lines is one text."""
    begin, lines = 0, list[str]()
    for token in tokenize.generate_tokens(io.StringIO(module.read_text(encoding="utf-8")).readline):
        if token.type == tokenize.COMMENT:
            if lines and token.start[0] != begin + len(lines):
                yield begin, " ".join(lines)
                lines = []
            begin = token.start[0] - len(lines)
            lines.append(token.string.strip(" #"))
    if lines:
        yield begin, " ".join(lines)


def messages(module: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of every string of three words or more, with ``x`` for the values put into it."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        match node:
            case ast.JoinedStr(values=values):
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in values)
            case ast.Constant(value=str(text)):
                pass
            case _:
                continue
        if len(text.split()) > 2:
            yield node.lineno, text


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_open_with_a_verb_or_a_noun_phrase(folder: str) -> None:
    wrong = [
        f"{module.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for module in MODULES[folder]
        for line, text in docstrings(module)
        if OPENINGS.match(text)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_and_prose_in_code_have_no_banned_word(folder: str) -> None:
    wrong = [
        f"{module.relative_to(ROOT)}:{line}: {found[0]}"
        for module in MODULES[folder]
        if module != Path(__file__)
        for line, text in (*functions(module), *docstrings(module), *comments(module), *messages(module))
        if (found := BANNED.search(QUOTED.sub("", text)))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.relative_to(ROOT).as_posix())
def test_sources_of_other_languages_have_no_banned_word(source: Path) -> None:
    lines = enumerate(source.read_text(encoding="utf-8").splitlines(), start=1)
    assert not [f"{number}: {line}" for number, line in lines if BANNED.search(line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_pages_have_no_banned_word(page: Path) -> None:
    text = QUOTED.sub("", page.read_text(encoding="utf-8"))
    wrong = sorted({found[0] for found in BANNED.finditer(text)})
    assert not wrong, wrong
