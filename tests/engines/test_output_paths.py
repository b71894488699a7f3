"""Files that commands write: none replaces another without --force, none is an input, none goes through a dead link."""

import os
import types
import typing
from inspect import signature
from pathlib import Path

import pytest

from nasion.engines.errors import SinkError
from nasion.engines.output_paths import check_output_paths, user_cache, write_file
from nasion.tools.main import main as nasion

from ..support.commands import fake_tracker, functions

__all__ = ["fake_tracker"]  # a fixture

# command and option -> file that is written, in the arguments that name it as {}
WRITTEN = {
    ("track", "out"): ("out.mp4", "track pattern:?seconds=0.1 --out {}"),
    ("track", "landmarks"): ("faces.csv", "track pattern:?seconds=0.1 --landmarks {}"),
    ("track", "json"): ("x.json", "track pattern:?seconds=0.1 --json {}"),
    ("live", "landmarks"): ("faces.jsonl", "live pattern:?seconds=0.1 --landmarks {}"),
    ("live", "json"): ("x.json", "live pattern:?seconds=0.1 --json {}"),
    ("annotate", "json"): ("x.json", "annotate a.mp4 --out {folder}/out --json {}"),
    ("convert", "json"): ("x.json", "convert a.journal --json {}"),
    ("demo", "out"): ("faces.jsonl", "demo --out {folder}"),
    ("demo", "json"): ("x.json", "demo --json {}"),
    ("doctor", "json"): ("x.json", "doctor --json {}"),
    ("networks", "json"): ("x.json", "networks pwc --json {}"),
    ("bench", "json"): ("x.json", "bench pattern:?seconds=0.1 --json {}"),
    ("models", "json"): ("x.json", "models --json {}"),
    ("data check", "out"): ("x.jpg", "data check {folder} --out {}"),
    ("data check", "json"): ("x.json", "data check {folder} --json {}"),
    ("train", "out"): ("best.pt", "train landmarks-68 --data {folder} --out {folder}"),
    ("evaluate", "report"): ("faces.csv", "evaluate own --data {folder} --report {folder}"),
    ("train", "preview"): ("x.jpg", "train landmarks-68 --data {folder} --preview {}"),
    ("train", "json"): ("x.json", "train landmarks-68 --data {folder} --out {folder} --json {}"),
    ("evaluate", "json"): ("x.json", "evaluate --data {folder} --json {}"),
    ("evaluate-papers", "json"): ("x.json", "evaluate-papers --data {folder} --model m --json {}"),
    ("evaluate-papers", "plot"): ("x.svg", "evaluate-papers --data {folder} --model {folder}/m.onnx --plot {}"),
    ("blinks", "json"): ("x.json", "blinks {folder}/faces.jsonl --json {}"),
    ("head", "out"): ("x.json", "head --data {folder} --out {}"),
    ("head", "json"): ("x.json", "head --data {folder} --out {folder}/head.json --json {}"),
    ("calibrate", "out"): ("x.onnx", "calibrate landmarks-68 --data {folder} --out {}"),
    ("calibrate", "json"): ("x.json", "calibrate landmarks-68 --data {folder} --out {folder}/x.onnx --json {}"),
    ("check-recipes", "json"): ("x.json", "check-recipes pwc --data {folder} --json {}"),
    ("quantize", "out"): ("x.onnx", "quantize landmarks-68 {folder} --out {}"),
    ("quantize", "json"): ("x.json", "quantize landmarks-68 {folder} --out {folder}/x.onnx --json {}"),
    ("export", "out"): ("x.onnx", "export landmarks-68 --out {}"),
    ("export", "json"): ("x.json", "export landmarks-68 --out {folder}/x.onnx --json {}"),
    ("export", "card"): ("x.json", "export landmarks-68 --card --out {folder}/x.onnx"),
    ("compile", "out"): ("x.plan", "compile landmarks-68 --out {}"),
    ("compile", "json"): ("x.json", "compile landmarks-68 --json {}"),
    ("rtx", "json"): ("x.json", "rtx --json {}"),
    ("plugins bench", "json"): ("x.json", "plugins bench --json {}"),
    ("plugins build", "out"): ("libnasion_reference.so", "plugins build --out {folder}"),
    ("plugins build", "json"): ("x.json", "plugins build --out {folder}/libraries --json {}"),
    ("plugins where", "json"): ("x.json", "plugins where --json {}"),
}
ELSEWHERE = {  # in cards that are there, see below, in runs that are continued, and in folders with names by source
    ("annotate", "out"), ("annotate", "overlay"), ("annotate", "blur"), ("annotate", "pixelate"), ("annotate", "box"),
    ("convert", "out"), ("convert", "overlay"), ("live", "record"),
    ("evaluate", "card"), ("calibrate", "card"), ("quantize", "card"), ("check-recipes", "out"),
}  # fmt: skip
READ = {
    ("annotate", "list"), ("convert", "path"), ("convert", "journal"), ("live", "sources_file"),
    ("blinks", "landmarks"), ("head", "data"), ("check-recipes", "data"),
    ("data check", "path"), ("train", "data"), ("train", "start"), ("train", "teacher"), ("train", "backbone_weights"),
    ("train", "scheme"), ("train", "val"), ("train", "negatives"), ("train", "config"), ("data check", "scheme"),
    ("evaluate", "data"), ("evaluate-papers", "data"), ("calibrate", "data"), ("export", "data"), ("rtx", "python"),
    ("plugins build", "tensorrt"),
}  # fmt: skip
SWITCHES = {
    ("track", "show"), ("track", "reconnect"), ("live", "loop"), ("live", "no_reconnect"),
    ("annotate", "independent"), ("annotate", "no_report"),
    ("annotate", "resume"), ("data check", "decode"), ("evaluate-papers", "masks"),
    ("evaluate-papers", "each"), ("train", "brief"), ("train", "extend"), ("train", "dry_run"),
    ("export", "fp16"), ("export", "head"), ("compile", "fp16"), ("rtx", "fp16"), ("plugins build", "cuda"),
    ("plugins build", "verbose"),
}  # fmt: skip


def may_write(hint):
    """Return True if an option of this type may name or request a file: a path or a switch."""
    if typing.get_origin(hint) in (typing.Annotated, typing.Union, types.UnionType):
        return any(may_write(part) for part in typing.get_args(hint)[: 1 if hasattr(hint, "__metadata__") else None])
    return hint in (Path, bool)


def test_what_every_option_of_every_command_writes_is_known():
    found, forcing = set(), set()
    for command, function in functions():
        hints = typing.get_type_hints(function, include_extras=True)
        options = {(command, name) for name in signature(function).parameters if may_write(hints[name])}
        forcing |= {command for _, name in options if name == "force"}
        found |= {option for option in options if option[1] not in ("force", "quiet")}
    assert len(found) > 30
    assert found == {*WRITTEN, *ELSEWHERE, *READ, *SWITCHES}, "say here what a new option writes, or that it does not"
    assert forcing == {command for command, _ in (*WRITTEN, *ELSEWHERE)}


@pytest.fixture
def folder(tmp_path, monkeypatch, fake_tracker):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ended(arguments, name, folder):
    with pytest.raises(SystemExit) as end:
        nasion([part.replace("{folder}", str(folder)).replace("{}", str(folder / name)) for part in arguments.split()])
    return str(end.value.code)


@pytest.mark.parametrize(("name", "arguments"), WRITTEN.values(), ids=map(" ".join, WRITTEN))
def test_a_file_that_exists_is_not_replaced_without_force(name, arguments, folder):
    (folder / name).write_text("mine")
    text = ended(arguments, name, folder)
    assert f"{name}' already exists" in text
    assert "--force" in text
    assert (folder / name).read_text() == "mine"
    assert os.listdir(folder) == [name]


@pytest.mark.parametrize("force", ["", " --force"])
@pytest.mark.parametrize(("name", "arguments"), WRITTEN.values(), ids=map(" ".join, WRITTEN))
def test_nothing_is_written_through_a_link_that_leads_nowhere(name, arguments, force, folder, tmp_path_factory):
    nowhere = tmp_path_factory.mktemp("other") / "nowhere"
    (folder / name).symlink_to(nowhere)
    assert f"{name}' is a link to '{nowhere}', which does not exist" in ended(arguments + force, name, folder)
    assert not nowhere.exists()
    assert (folder / name).is_symlink()


def test_figures_in_the_shipped_cards_are_not_replaced_without_force(folder):
    text = ended("evaluate --data x --card", "", folder)
    assert "already exists; replace its figures with --force" in text


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("x.mp4", "bench {} --json {} --force"),
        ("x.plan", "compile {} --out {} --force"),
        ("x.onnx", "export {} --out {} --force"),
        ("x.json", "export {} --card --out {folder}/x.onnx --force"),
        ("x.onnx", "evaluate --data x --model {} --json {} --force"),
        ("x.onnx", "evaluate-papers --data x --model {} --plot {} --force"),
        ("x.onnx", "rtx {} --json {} --force"),
        ("best.pt", "train sd-hrnet-slim --data x --out {folder} --start {} --force"),
        ("latest.pt", "train sd-hrnet-distil --data x --out {folder} --teacher {} --force"),
    ],
)
def test_no_output_is_an_input(name, arguments, folder):
    (folder / name).write_text("mine")
    text = ended(arguments, name, folder)
    assert "is an input of this command; give another name" in text
    assert (folder / name).read_text() == "mine"


def test_two_outputs_are_two_files(folder):
    assert "--json and --plot are both" in ended(
        "evaluate-papers --data x --model m --json {} --plot {}", "x.svg", folder
    )


def test_a_run_goes_on_in_its_own_folder_and_a_build_in_its_own(folder):
    from nasion.engines.operators.library import check_folder as check_build
    from nasion.tools.commands.training.places import check_folder as check_run

    for name in ("latest.pt", "best.pt", "record.jsonl", "curve.svg"):
        (folder / name).touch()
    check_run(folder, force=False)
    (folder / "latest.pt").unlink()
    with pytest.raises(SinkError, match=r"best\.pt' already exists; give another folder, or replace it with --force"):
        check_run(folder, force=False)
    check_run(folder, force=True)
    (folder / "libnasion_reference.so").touch()
    with pytest.raises(SinkError, match=r"libnasion_reference\.so' already exists"):
        check_build(folder, force=False)
    (folder / "native.json").touch()
    check_build(folder, force=False)


def test_the_rule_itself(tmp_path):
    new, old, link, lost = (tmp_path / name for name in ("new", "old", "link", "lost"))
    old.touch()
    link.symlink_to(old)
    lost.symlink_to(tmp_path / "nowhere")
    check_output_paths({"--a": new, "--b": None}, force=False)
    check_output_paths({"--a": old, "--b": new}, force=True, inputs=[tmp_path / "other", tmp_path])
    for places, force, inputs, text in (
        ({"--a": link}, False, (), "already exists"),
        ({"--a": link}, True, (old,), "is an input of this command"),
        ({"--a": old, "--b": link}, True, (), "--a and --b are both"),
        ({"--a": tmp_path}, True, (), "is a folder"),
        ({"--a": old / "x"}, True, (), "old' is not a folder; give a name in another folder"),
        ({"--a": old / "new" / "x"}, True, (), "old' is not a folder; give a name in another folder"),
        ({"--a": lost / "x"}, True, (), "lost' is not a folder; give a name in another folder"),
        ({"--a": tmp_path / ("x" * 300)}, True, (), "cannot be reached: File name too long; give a shorter name"),
    ):
        with pytest.raises(SinkError, match=text):
            check_output_paths(places, force=force, inputs=inputs)


def test_missing_folders_are_created_with_the_file_and_not_before(tmp_path):
    path = tmp_path / "a" / "b" / "x"
    check_output_paths({"--a": path}, force=False)
    assert os.listdir(tmp_path) == []
    write_file(path, "text")
    assert path.read_text() == "text"


def test_a_file_that_finds_no_room_is_removed(tmp_path, monkeypatch):
    def full(path, data):
        path.open("wb").close()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(tmp_path), "write_bytes", full)
    with pytest.raises(SinkError, match=r"cannot write '.*x': No space left on device; free some space"):
        write_file(tmp_path / "x", b"1")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="the folders of Linux and macOS are checked")
def test_a_cache_is_where_the_system_keeps_caches_unless_a_variable_names_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NASION_THINGS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert user_cache("things", "NASION_THINGS") == tmp_path / ".cache" / "nasion" / "things"
    monkeypatch.setattr("sys.platform", "darwin")
    assert user_cache("things", "NASION_THINGS") == tmp_path / "Library" / "Caches" / "nasion" / "things"
    monkeypatch.setenv("NASION_THINGS", str(tmp_path / "mine"))
    assert user_cache("things", "NASION_THINGS") == tmp_path / "mine"
