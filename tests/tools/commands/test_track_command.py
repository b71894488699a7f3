"""``nasion track``: times and sizes, its outputs, its table, and what is left when something breaks."""

import io
import json
import os
import re
import subprocess

import av
import pytest

from nasion.engines.errors import SinkError, SourceError
from nasion.realtime import sources
from nasion.realtime.sinks import JsonLinesSink
from nasion.realtime.sources import SourceInfo
from nasion.tools.main import main as nasion
from nasion.tools.options import parse_size, parse_time

from ...support.commands import fake_tracker, run

IN_INT8 = "(; in int8, because it has VNNI)?"

__all__ = ["fake_tracker"]  # a fixture


# --- times and sizes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("0.5", 0.5), (".5", 0.5), ("5.", 5), ("1:30", 90), ("01:02:03.25", 3723.25), ("90:00", 5400)],
)
def test_a_time_is_seconds_or_a_clock(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-3", "1:2:3:4", "1:", "nan", "1e3", ".", "1:."])
def test_what_is_not_a_time_is_refused(text):
    with pytest.raises(ValueError, match="give seconds, MM:SS or HH:MM:SS"):
        parse_time(text)


def test_a_size_is_width_by_height():
    assert parse_size("1280x720") == (1280, 720)
    for text in ("", "1280", "0x720", "1280x720x3", "-1x5"):
        with pytest.raises(ValueError, match="for example 1280x720"):
            parse_size(text)


# --- outputs and table


def test_it_says_what_runs_the_networks_and_why(capsys):
    with pytest.raises(SystemExit) as end:
        nasion(["track", "pattern:?seconds=0.2", "--device", "cpu"])
    assert end.value.code == 0
    told = capsys.readouterr().out
    assert re.match(f"Running on the CPU; the CPU was asked for{IN_INT8}\n", told)


def test_without_a_gpu_one_calm_line_says_so(capsys, monkeypatch):
    monkeypatch.setattr("nasion.engines.gpu.driver.LIBRARY", "libnothing.so.1")
    with pytest.raises(SystemExit) as end:
        nasion(["track", "pattern:?seconds=0.2"])
    assert end.value.code == 0
    printed = capsys.readouterr()
    begin = f"Running on the CPU; no NVIDIA GPU found{IN_INT8}\nNothing is saved: add --out tracked.mp4"
    assert re.match(begin, printed.out)
    assert "libnothing" not in printed.out + printed.err
    assert printed.err == ""


def test_tracking_writes_its_outputs_and_prints_a_table(fake_tracker, tmp_path, capsys):
    out, landmarks = tmp_path / "out.mp4", tmp_path / "faces.jsonl"
    with pytest.raises(SystemExit) as end:
        nasion(
            [
                "track",
                "pattern:?seconds=0.4",
                "--size",
                "128x96",
                "--out",
                str(out),
                "--landmarks",
                str(landmarks),
            ]
        )
    assert end.value.code == 0
    rows = [json.loads(line) for line in landmarks.read_text().splitlines()[1:]]
    assert [row["frame"] for row in rows] == list(range(12))
    with sources.open_source(out) as source:
        assert sum(1 for _ in source) == 12
    printed = capsys.readouterr().out
    for text in (
        r"frames +12\n",
        r"faces +12 in 12 frames",
        r"identities +1\n",
        r"dropped +0\n",
        r"FPS +[\d.]+\n",
    ):
        assert re.search(text, re.sub(" +\n", "\n", printed))
    for stage in ("decode", "write"):
        assert re.search(rf"^{stage}( +\d+\.\d\d){{6}}", printed, re.MULTILINE)
    assert printed.endswith(f"\n{out} shows the result\n{landmarks} holds the landmarks\n")
    assert "Nothing is saved" not in printed


def test_without_an_output_it_says_how_to_save_and_prints_the_table(fake_tracker, capsys):
    with pytest.raises(SystemExit):
        nasion(["track", "pattern:?seconds=0.2", "--size", "64x48"])
    printed = capsys.readouterr().out
    assert re.search(r"frames +6", printed)
    assert printed.count("Nothing is saved: add --out tracked.mp4 ") == 1


@pytest.mark.parametrize("outputs", [[], ["--landmarks", "faces.jsonl"], ["--json", "run.json"]])
def test_quiet_prints_nothing_and_writes_all_the_same(outputs, fake_tracker, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nasion.tools.terminal.progress.PLAIN_EVERY", 0.0)
    with pytest.raises(SystemExit) as end:
        nasion(["track", "pattern:?seconds=0.2", "--size", "64x48", "--quiet", *outputs])
    assert end.value.code == 0
    assert capsys.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == outputs[1:]


def test_landmarks_go_to_standard_output_and_nothing_else_does(fake_tracker, tmp_path, capsys):
    figures = tmp_path / "run.json"
    with pytest.raises(SystemExit) as end:
        nasion(["track", "pattern:?seconds=0.2", "--size", "64x48", "--landmarks", "-", "--json", str(figures)])
    assert end.value.code == 0
    header, *rows = map(json.loads, capsys.readouterr().out.splitlines())
    assert header["landmarks"] == 68
    assert [row["frame"] for row in rows] == list(range(6))
    assert json.loads(figures.read_text())["frames"] == 6


def test_standard_output_takes_one_thing(fake_tracker):
    with pytest.raises(SystemExit, match="--landmarks and --json are both -; give one of them the name of a file"):
        nasion(["track", "pattern:", "--landmarks", "-", "--json", "-"])
    with pytest.raises(SystemExit, match="--out and --landmarks are both -; give one of them the name of a file"):
        nasion(["track", "pattern:", "--out", "-", "--landmarks", "-"])


def test_a_video_goes_to_standard_output_and_nothing_else_does():
    done = run("track", "pattern:?seconds=0.2", "--size", "64x48", "--out", "-", text=False)
    assert done.returncode == 0, done.stderr
    with av.open(io.BytesIO(done.stdout)) as container:
        assert container.format.name.startswith("matroska")
        assert sum(1 for _ in container.decode(video=0)) == 6


def test_a_reader_that_has_gone_ends_the_run_in_silence():
    reading, writing = os.pipe()
    os.close(reading)
    done = run("track", "pattern:", "--landmarks", "-", capture_output=False, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_nothing_is_overwritten_without_force(fake_tracker, tmp_path):
    landmarks = tmp_path / "faces.csv"
    landmarks.write_text("mine")
    arguments = ["track", "pattern:?seconds=0.1", "--size", "64x48", "--landmarks", str(landmarks)]
    with pytest.raises(SystemExit, match="replace it with --force"):
        nasion(arguments)
    assert landmarks.read_text() == "mine"
    with pytest.raises(SystemExit):
        nasion([*arguments, "--force"])
    assert landmarks.read_text().startswith("# format: 2")


def test_a_source_that_breaks_off_leaves_what_was_written_and_the_table(fake_tracker, tmp_path, capsys, monkeypatch):
    class Broken:
        info = SourceInfo("broken.mp4", 64, 48)

        def __iter__(self):
            with open_source("pattern:?seconds=0.1", size=(64, 48)) as good:
                yield from good
            raise SourceError("broken.mp4: damaged after 0.1 s")

        def close(self):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    open_source = sources.open_source
    monkeypatch.setattr(sources, "open_source", lambda *_, **__: Broken())
    landmarks = tmp_path / "faces.jsonl"
    with pytest.raises(SystemExit, match=r"broken\.mp4: damaged after 0\.1 s"):
        nasion(["track", "broken.mp4", "--landmarks", str(landmarks)])
    assert len(landmarks.read_text().splitlines()) == 1 + 3
    assert re.search(r"frames +3", capsys.readouterr().out)


def test_an_error_of_closing_a_file_comes_after_the_table(fake_tracker, tmp_path, capsys, monkeypatch):
    def fail(sink):
        raise SinkError("the disk is full")

    monkeypatch.setattr(JsonLinesSink, "close", fail)
    with pytest.raises(SystemExit, match="the disk is full"):
        nasion(["track", "pattern:?seconds=0.1", "--size", "64x48", "--landmarks", str(tmp_path / "faces.jsonl")])
    assert re.search(r"frames +3", capsys.readouterr().out)
