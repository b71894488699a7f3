"""Write the tree of docs/design.md from the folders and the first lines of their modules.

The command is ``python docs/scripts/tree.py [--check]``; with ``--check`` it only checks that the page is up to date.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "design.md"
BEGIN, END = "<!-- tree -->\n", "<!-- end of tree -->\n"
FOLDERS = ("engines", "realtime", "trainers", "tools")
WIDTH = 30


def first_line(module: Path) -> str:
    """Return the first line of a module's docstring, without its full stop."""
    text = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return text.split("\n")[0].rstrip(".")


def lines(folder: Path, depth: int = 0) -> Iterator[str]:
    """Yield a line for a folder, then for its modules and its folders."""
    yield f"{'  ' * depth}{folder.name}/".ljust(WIDTH) + " " + first_line(folder / "__init__.py")
    inside = sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name))
    for path in inside:
        if path.is_dir() and (path / "__init__.py").is_file():
            yield from lines(path, depth + 1)
        elif path.suffix == ".py" and path.name != "__init__.py":
            yield f"{'  ' * (depth + 1)}{path.name}".ljust(WIDTH) + " " + first_line(path)


def tree() -> str:
    """Return the tree as a block of text."""
    return "```\n" + "".join(f"{line.rstrip()}\n" for name in FOLDERS for line in lines(ROOT / name)) + "```\n"


def main() -> None:
    """Write the page, or check it."""
    page = PAGE.read_text(encoding="utf-8")
    head, rest = page.split(BEGIN)
    _, tail = rest.split(END)
    wanted = head + BEGIN + tree() + END + tail
    if sys.argv[1:] == ["--check"]:
        sys.exit(None if page == wanted else "docs/design.md: the tree is out of date; run python docs/scripts/tree.py")
    PAGE.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
