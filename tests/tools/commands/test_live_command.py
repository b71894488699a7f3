"""``nasion live``: lines of all sources, summary, recordings, signals, and messages."""

import json
import signal
import subprocess
import sys

import pytest

from nasion.realtime.exchange.reading import read
from nasion.tools.main import _with_default_address
from nasion.tools.main import main as nasion
from tests.support.commands import ENVIRONMENT, run

COMMAND = [sys.executable, "-c", "from nasion.tools.main import main; main()", "live"]


def test_lines_name_their_source_and_only_they_are_on_standard_output(tmp_path):
    done = run("live", "a=pattern:?seconds=1", "b=pattern:?seconds=1&seed=1", "--landmarks", "-", "--max-fps", "10")
    assert done.returncode == 0, done.stderr
    header, *lines = map(json.loads, done.stdout.splitlines())
    assert (header["format"], header["landmarks"], header["scheme"]) == (2, 68, "ibug-68")
    assert {line["source"] for line in lines} == {"a", "b"}
    for line in lines:
        assert line["captured"].endswith("Z")
        assert line["latency_ms"] >= 0
        assert {"frame", "time", "connection", "width", "height", "faces"} <= set(line)


def test_a_file_of_landmarks_a_report_and_recordings(tmp_path):
    lines, report = tmp_path / "faces.jsonl", tmp_path / "report.json"
    given = [
        "pattern:?seconds=1",
        "--landmarks",
        lines,
        "--json",
        report,
        "--record",
        tmp_path / "rec",
        "--draw",
        "none",
    ]
    done = run("live", *given)
    assert done.returncode == 0, done.stderr
    assert "Running on the CPU" in done.stdout
    (source,) = json.loads(report.read_text())["sources"]
    assert (source["name"], source["state"]) == ("pattern-seconds-1", "ended")
    assert len(lines.read_text().splitlines()) >= 2
    assert list(tmp_path.glob("rec/pattern-seconds-1/*.mp4"))
    again = run("live", *given)
    assert again.returncode == 1
    assert "already exists" in again.stderr


def test_a_file_of_sources(tmp_path):
    (tmp_path / "sources.toml").write_text('door = "pattern:?seconds=0.5"\n[yard]\nsource = "pattern:?seconds=0.5"\n')
    done = run("live", "--sources", tmp_path / "sources.toml", "--json", "-")
    assert done.returncode == 0, done.stderr
    assert [source["name"] for source in json.loads(done.stdout)["sources"]] == ["door", "yard"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_signal_ends_it_alike(tmp_path, number):
    lines = tmp_path / "faces.jsonl"
    with subprocess.Popen(
        [*COMMAND, "a=pattern:live?seconds=600", "rtsp://127.0.0.1:9/live", "--landmarks", "-"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for _ in range(5):
            assert process.stdout.readline()
        process.send_signal(number)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "stopped by" in errors
    assert all(json.loads(line) for line in rest.splitlines())
    assert not lines.exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "no source is given"),
        (["nowhere.mp4"], "'nowhere.mp4' does not exist"),
        (["a=0", "a=1"], "'a' exists already"),
        (["srt://camera:9000"], "SRT"),
        (["0", "--roi", "1,2,3"], "is not a part"),
        (["0", "--rotate", "soon"], "not a duration"),
        (["0", "--keep-size", "much"], "not a size"),
        (["0", "--landmarks", "faces.csv"], "allowed: .jsonl"),
        (["0", "--landmarks", "-", "--json", "-"], "both -"),
        (["0", "--serve", "0.0.0.0:8765"], "a token is needed"),
        (["0", "--sources", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_messages_say_what_is_wrong(given, message, capsys, monkeypatch):
    monkeypatch.delenv("NASION_TOKEN", raising=False)
    monkeypatch.setattr("nasion.realtime.sources.has_protocol", lambda scheme: False)
    with pytest.raises(SystemExit) as ended:
        nasion(["live", *given])
    assert message in str(ended.value) + "".join(capsys.readouterr())


def test_a_source_that_fails_alone_ends_with_status_1(tmp_path):
    damaged = tmp_path / "film.mp4"
    damaged.write_bytes(b"no video at all" * 100)
    done = run("live", damaged, "--quiet")
    assert done.returncode == 1
    assert "film.mp4" in done.stderr


def test_no_password_is_shown(tmp_path):
    report = tmp_path / "report.json"
    address = "rtsp://admin:hunter2@127.0.0.1:9/live?token=abcdef"
    done = run("live", f"door={address}", "--no-reconnect", "--json", report, "--record", tmp_path / "rec")
    shown = done.stdout + done.stderr + report.read_text()
    assert done.returncode == 1
    assert "127.0.0.1" in shown
    assert "hunter2" not in shown
    assert "abcdef" not in shown


def test_serve_without_an_address():
    words = ["live", "--serve", "0", "--landmarks", "-"]
    assert _with_default_address(words) == ["live", "--serve=", "0", "--landmarks", "-"]
    assert _with_default_address(["live", "0", "--serve"]) == ["live", "0", "--serve="]
    for address in ("127.0.0.1:80", "[::1]:80", ":8080", "localhost:1"):
        assert _with_default_address(["live", "--serve", address]) == ["live", "--serve", address]
    assert _with_default_address(["track", "--serve", "0"]) == ["track", "--serve", "0"]


def test_streams_of_a_clip_are_measured(tmp_path):
    report = tmp_path / "streams.json"
    done = run(
        "bench", "pattern:?seconds=2", "--streams", "1,2", "--fps", "5", "--seconds", "2", "--json", report
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(report.read_text())["rows"]
    assert [row["streams"] for row in rows] == [1, 2]
    for row in rows:
        assert 0 < row["fps_per_stream"] <= 7
        assert row["latency_ms"]["p50"] <= row["latency_ms"]["p95"] <= row["latency_ms"]["p99"]
        assert sum(row["batches"].values()) == round(row["aligner_calls_per_s"] * row["seconds"])
        assert {"dropped", "faces_per_frame", "cpu_per_stream", "memory_per_stream_mb", "mean_batch", "gpu"} <= set(row)
    refused = run("bench", "pattern:", "--streams", "0")
    assert refused.returncode
    assert "--streams" in refused.stdout + refused.stderr


def test_the_file_of_several_sources_is_read_back_with_their_names_and_has_blinks_for_each(tmp_path):
    lines = tmp_path / "faces.jsonl"
    given = ("a=pattern:?seconds=0.4", "b=pattern:?seconds=0.4&seed=1", "--landmarks", lines)
    assert run("live", *given).returncode == 0
    with read(lines) as frames:
        found = {(frame.source, frame.connection): len(faces) for frame, faces in frames}
    assert found == {("a", 1): 1, ("b", 1): 1}
    told = run("blinks", lines).stdout
    assert "a, connection 1" in told
    assert "b, connection 1" in told
