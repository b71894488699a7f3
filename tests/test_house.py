"""The rules of the house: imports run one way, the wheel holds what it should, the docs tell the truth."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import nasion
from nasion.engines.tensorrt.photograph import PHOTOGRAPH

from .conftest import ROOT

DOCS = sorted(
    [
        ROOT / "README.md",
        *(ROOT / "docs").glob("*.md"),
        *(page for room in ("commands", "python") for page in (ROOT / "docs" / room).glob("*.md")),
    ]
)
ZOO = ("face-detector", "landmarks-68", "rdfn", "chs", "rht", "pwc", "sd-hrnet")
LINT = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)[^)]*\)")


def test_imports_run_one_way_and_the_runtime_never_imports_torch() -> None:
    pytest.importorskip("importlinter")
    result = subprocess.run(LINT, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_public_name_exists_and_has_a_docstring() -> None:
    assert set(nasion.__all__) <= set(dir(nasion))
    for name in set(nasion.__all__) - {"schemes"}:  # a mapping
        assert getattr(nasion, name).__doc__, name


def test_an_unknown_public_name_lists_those_there_are() -> None:
    with pytest.raises(AttributeError, match=r"public names: .*Tracker"):
        nasion.Detector  # noqa: B018


@pytest.fixture(scope="module")
def without_links(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout as Git makes it with core.symlinks=false: links are text files that hold their targets."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("engines", "realtime", "trainers", "tools"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    source = folder / "src" / "nasion"
    source.mkdir(parents=True)
    for path in (ROOT / "src" / "nasion").iterdir():
        if path.is_symlink():
            (source / path.name).write_text(str(path.readlink()))
        elif path.is_file():
            shutil.copy(path, source)
    return folder


def test_a_checkout_without_links_runs(without_links: Path) -> None:
    # -S: an editable installation of this checkout would be imported instead
    packages = [path for path in sys.path if path.endswith("-packages")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(without_links / "src"), *packages])}
    code = (
        "import nasion.engines.zoo, nasion.realtime.sinks.video, nasion.tools.main as main; "
        "print(main.__file__); main.main(['demo', '--help'])"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(without_links / "tools" / "main.py"))


@pytest.fixture(scope="module")
def wheel(without_links: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--quiet",
        "--wheel-dir",
        str(folder),
        str(without_links),
    ]
    subprocess.run(command, check=True)
    (file,) = folder.glob("*.whl")
    assert file.name.endswith("-py3-none-any.whl"), "pure Python: pip compiles nothing"
    return zipfile.ZipFile(file).namelist()


def test_the_wheel_has_no_top_level_name_but_nasion(wheel: list[str]) -> None:
    assert {name.split("/")[0] for name in wheel if ".dist-info" not in name} == {"nasion"}


def test_the_wheel_holds_models_photograph_licence_and_types(wheel: list[str]) -> None:
    expected = {
        "nasion/__init__.py",
        "nasion/__main__.py",
        "nasion/py.typed",
        "nasion/engines/operators/cuda/CMakeLists.txt",
        *(f"nasion/engines/zoo/{name}.{suffix}" for name in ZOO for suffix in ("onnx", "json")),
        "nasion/realtime/live/web/access/sign-in.html",
        *(f"nasion/realtime/live/web/page/{name}" for name in ("index.html", "page.js", "page.css", "openapi.json")),
        "nasion/realtime/tracking/tracker.py",
        "nasion/trainers/evaluation/test-parts.toml",
        *(f"nasion/trainers/evaluation/papers/{paper}.toml" for paper in ("pwc", "chs", "rdfn", "rht", "sd-hrnet")),
        "nasion/trainers/training/loop.py",
        "nasion/tools/main.py",
    }
    assert expected <= set(wheel)
    assert [name for name in wheel if name.startswith("nasion/engines/tensorrt/photographs/")]
    assert [name for name in wheel if name.endswith("licenses/LICENSE")]


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_every_link_in_the_docs_leads_somewhere(page: Path) -> None:
    broken = [target for target in LINK.findall(page.read_text()) if not (page.parent / target).exists()]
    assert not broken


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_every_python_example_in_the_docs_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nasion.realtime.sources.synthetic import CameraMotion, write_clip

    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    if blocks:
        write_clip(tmp_path / "video.mp4", CameraMotion(seconds=0.5))
        shutil.copy(PHOTOGRAPH, tmp_path / "face.png")
    for block in blocks:
        for package in ("torch", "PIL", "pandas", "polars", "supervision"):
            if f"import {package}" in block or f"from {package}" in block:
                pytest.importorskip(package)
        exec(compile(block, page.name, "exec"), {})


def test_every_command_in_the_readme_is_one_of_ours() -> None:
    from nasion.tools.main import application

    named = set(re.findall(r"(?:^|&& )nasion ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert "demo" in named
    assert named <= set(application())


def test_every_figure_in_the_docs_is_the_one_that_was_measured() -> None:
    pytest.importorskip("torch")
    result = subprocess.run(
        [sys.executable, "docs/scripts/figures.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_no_large_file_is_kept() -> None:
    folders = ("docs", "engines", "realtime", "trainers", "tools", "tests", "checkpoints")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    assert [str(path) for path in files if path.stat().st_size > 8_000_000] == []


def test_a_study_leaves_its_report_and_the_sha256_of_its_checkpoint() -> None:
    folders = [folder for name in ("studies", "studies-first") if (folder := ROOT / "docs" / "bench" / name).is_dir()]
    kept = sorted(path for folder in folders for path in folder.iterdir())
    assert {path.suffix for path in kept} == {".json"}
    for path in kept:
        report = json.loads(path.read_text())
        assert report["measured"] == {} or re.fullmatch(r"[0-9a-f]{64}", report["checkpoint"]["sha256"]), path.name


def test_no_record_names_a_folder_of_a_machine() -> None:
    folders = ("docs", "engines", "realtime", "trainers", "checkpoints")
    records = [path for folder in folders for path in (ROOT / folder).rglob("*.json*")]
    assert len(records) > 50
    local = re.compile(r"[\s\"'=](/(home|mnt|root|tmp|Users|usr|var|work)/[^\s\"']+)")
    assert {path.name: found[1] for path in records if (found := local.search(path.read_text()))} == {}


def test_the_tree_in_the_design_page_is_that_of_the_folders() -> None:
    result = subprocess.run(
        [sys.executable, "docs/scripts/tree.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


CROWDED = {
    *("docs", "engines/zoo", "tools/commands", "docs/bench", "docs/bench/studies", "docs/bench/studies-first"),
    "checkpoints",
}
"""Folders of one file for each subject, network, command, measurement or run; others have at most ``MOST`` entries."""
MOST = 14


def test_no_folder_has_more_than_about_a_dozen_entries() -> None:
    tops = [ROOT / name for name in ("engines", "realtime", "trainers", "tools", "tests", "docs")]
    folders = [path for top in tops for path in (top, *top.rglob("*")) if path.is_dir() and path.name != "__pycache__"]
    entries = {
        path.relative_to(ROOT).as_posix(): [each for each in path.iterdir() if each.name[:2] not in ("__", ".")]
        for path in folders
    }
    crowded = {name: len(found) for name, found in entries.items() if len(found) > MOST and name not in CROWDED}
    assert not crowded, "give these folders rooms"


LONGEST = 400


def test_no_module_has_more_than_400_lines() -> None:
    folders = ("engines", "realtime", "trainers", "tools", "tests", "docs", "src/nasion")
    modules = {path.resolve() for folder in folders for path in (ROOT / folder).rglob("*.py")}
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in modules}
    assert len(lengths) > 400
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}, "one subject for each module"


def test_every_folder_of_modules_has_a_contract_that_names_all_of_them() -> None:
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layered = [each for each in linter["contracts"] if "containers" in each]
    assert all(each["exhaustive"] for each in layered)
    named = [name for each in layered for name in each["containers"]]
    rooms = [
        path.parent for name in ("engines", "realtime", "trainers", "tools") for path in (ROOT / name).rglob("*.py")
    ]
    found = {".".join(("nasion", *room.relative_to(ROOT).parts)) for room in rooms if len(list(room.glob("*.py"))) > 1}
    assert sorted(named) == sorted(found)


def test_no_imports_run_in_a_circle() -> None:
    """Also not those within functions, and those for types alone."""
    grimp = pytest.importorskip("grimp")
    graph = grimp.build_graph("nasion", cache_dir=None)
    assert len(graph.modules) > 200
    TopologicalSorter({name: graph.find_modules_directly_imported_by(name) for name in graph.modules}).prepare()


def test_a_module_that_no_contract_names_is_found(without_links: Path, tmp_path: Path) -> None:
    pytest.importorskip("importlinter")
    copy = shutil.copytree(without_links, tmp_path / "checkout")
    for name in ("engines", "realtime", "trainers", "tools"):
        (copy / "src" / "nasion" / name).unlink()
        (copy / "src" / "nasion" / name).symlink_to(copy / name)
    (copy / "realtime" / "newcomer.py").touch()
    paths = [str(copy / "src"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    # -S: an editable installation would lead to the checkout
    command = [LINT[0], "-S", *LINT[1:]]
    result = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "newcomer" in result.stdout
