"""Every public name has an example in its docstring, which runs, and a place in the API reference."""

from __future__ import annotations

import ast
import doctest
import re
import shutil
from pathlib import Path

import pytest

import nasion
from nasion.engines.tensorrt.photograph import PHOTOGRAPH
from nasion.realtime.values.schemes import SCHEMES

from ..conftest import ROOT

DOCSTRINGS = {name: getattr(nasion, name).__doc__ for name in nasion.__all__}
METHODS = {"Face.crop": nasion.Face.crop.__doc__}
PAGE = (ROOT / "docs" / "python" / "api.md").read_text(encoding="utf-8")


def _schemes() -> str:
    """The docstring of ``nasion.schemes``, a mapping, which Python does not keep."""
    body = ast.parse((ROOT / "realtime" / "values" / "schemes.py").read_text(encoding="utf-8")).body
    place = next(i for i, node in enumerate(body) if isinstance(node, ast.AnnAssign) and _name(node) == "schemes")
    text = ast.literal_eval(body[place + 1].value)  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def _name(node: ast.AnnAssign) -> str:
    return node.target.id if isinstance(node.target, ast.Name) else ""


DOCSTRINGS["schemes"] = _schemes()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from nasion.realtime.sources.synthetic import CameraMotion, write_clip

    path = tmp_path_factory.mktemp("clip") / "video.mp4"
    write_clip(path, CameraMotion(seconds=0.5))
    return path


@pytest.mark.parametrize("name", [*DOCSTRINGS, *METHODS])
def test_every_public_name_has_an_example_that_runs(
    name: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in ("to_detections", "to_key_points"):
        pytest.importorskip("supervision")
    shutil.copy(PHOTOGRAPH, tmp_path / "face.png")
    shutil.copy(clip, tmp_path)
    monkeypatch.chdir(tmp_path)
    text = (DOCSTRINGS | METHODS)[name] or ""
    example = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    assert example.examples, f"{name} has no example in its docstring"
    said: list[str] = []
    failed, _ = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example, out=said.append)
    SCHEMES.pop("mine-5", None)  # of the example of add_scheme
    assert not failed, "".join(said)


def test_the_readme_lists_every_public_name() -> None:
    listed = (ROOT / "README.md").read_text(encoding="utf-8").partition("\nPublic names: ")[2].partition(". Every")[0]
    assert sorted(re.findall(r"`(\w+)`", listed)) == sorted(nasion.__all__)


def test_the_reference_has_every_public_name() -> None:
    assert set(re.findall(r"^::: nasion\.(\w+)$", PAGE, re.MULTILINE)) == set(nasion.__all__)
