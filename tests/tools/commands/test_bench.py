import json
import re
import sys

import numpy as np
import pytest

from nasion.engines.closing import Closing
from nasion.engines.errors import NasionError, SourceError
from nasion.engines.spec import Spec
from nasion.realtime.sources import open_source
from nasion.realtime.sources.synthetic import CameraMotion, write_clip
from nasion.realtime.tracking import tracker
from nasion.realtime.tracking.options import TrackerOptions
from nasion.tools import measurement
from nasion.tools.main import main as nasion
from nasion.tools.measurement import Watched, load, measure


class FakeRuntime(Closing):
    """Sees one face, always at the same place of what it is shown."""

    provider, device, reason = "fake", "cpu", "a fake"
    threads = 1

    def __init__(self, task):
        self.closed = 0
        if task == "detector":
            self.spec = Spec(task="detector", name="fake-detector", size=(64, 64), stride=32)
        else:
            self.spec = Spec(task="landmarks", name="fake-68", size=(112, 112), landmarks=68, crop_margin=1.35)

    def __call__(self, images):
        count = len(images)
        if self.spec.task == "detector":
            box = np.array([16, 8, 46, 40], np.float32)
            return {"boxes": np.tile(box, (count, 1, 1)), "scores": np.ones((count, 1), np.float32)}
        turn = np.linspace(0, 2 * np.pi, 68)
        points = 55.5 + 41 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
        points[36:42], points[42:48] = (40, 45), (71, 45)
        return {
            "points": np.tile(points.astype(np.float32), (count, 1, 1)),
            "confidence": np.ones((count, 68), np.float32),
            "presence": np.ones(count, np.float32),
        }

    def close(self):
        self.closed += 1


@pytest.fixture
def fake_networks(monkeypatch):
    """The real tracker over networks that take no time to load."""
    tasks = {"face-detector": "detector", "landmarks-68": "landmarks"}
    monkeypatch.setattr(tracker, "_open", lambda model, shipped, options: FakeRuntime(tasks[shipped]))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "short.mp4"
    write_clip(path, CameraMotion((128, 96), seconds=0.7))
    return path


def test_the_report_names_clip_machine_versions_and_all_figures(clip, tmp_path, fake_networks, capsys, monkeypatch):
    path = tmp_path / "bench.json"
    arguments = ["bench", str(clip), "--repeat", "2", "--json", str(path), "--detect-interval", "0.233"]
    monkeypatch.setattr(sys, "argv", ["nasion", *arguments])
    with pytest.raises(SystemExit) as end:
        nasion(arguments)
    assert end.value.code == 0
    report = json.loads(path.read_text())
    assert report["clip"]["name"] == "short.mp4"
    assert (report["clip"]["frames"], report["clip"]["size"]) == (21, [128, 96])
    assert re.fullmatch(r"[0-9a-f]{64}", report["clip"]["sha256"])
    file, results = f"{clip.parent.name}/short.mp4", f"{tmp_path.name}/bench.json"  # paths of the machine are shortened
    assert report["command"] == f"nasion bench {file} --repeat 2 --json {results} --detect-interval 0.233"
    assert report["machine"]["cpu"]
    assert set(report["versions"]) >= {"nasion", "python", "numpy", "av", "onnxruntime"}
    assert report["peak_memory_bytes"] > report["decoded_bytes"] == 21 * 128 * 96 * 3
    result = report["results"][0]
    assert result["threads"] == 1
    assert list(result["costs"]) == ["detect", "align", "track", "networks", "pipeline", "end to end"]
    assert all(cost["count"] == 42 for cost in result["costs"].values())
    assert result["options"]["detect_interval"] == 0.233
    assert result["found"] == 1
    assert result["threaded"]["fps"] > 0
    printed = capsys.readouterr().out
    for row in ("detect", "align", "track", "networks", "pipeline", "end to end"):
        assert re.search(rf"^{row}( +\d+\.\d\d){{6}}", printed, re.MULTILINE)
    assert "fake-detector, fake on cpu, 1 threads" in printed
    assert "\n  a fake\n" in printed
    assert "peak memory" in printed


def test_networks_and_pipeline_add_up_to_the_whole(clip, fake_networks):
    costs = measure(load(clip), TrackerOptions(), repeat=1).costs
    assert costs["networks"].wall.mean + costs["pipeline"].wall.mean == pytest.approx(costs["end to end"].wall.mean)
    stages = sum(costs[stage].wall.mean for stage in ("detect", "align", "track"))
    assert stages == pytest.approx(costs["end to end"].wall.mean)


def test_the_detector_is_charged_for_the_frames_it_looks_at_only(clip, fake_networks):
    result = measure(load(clip), TrackerOptions(detect_interval=0.233), repeat=2)
    calls = 3 + 1  # the first frame at two sizes
    assert result.networks["detector"]["calls_per_frame"] == pytest.approx(calls / 21, abs=1e-4)
    assert result.networks["landmarks"]["calls_per_frame"] >= 20 / 21


def test_threads_that_are_given_are_the_only_ones_measured(clip, fake_networks, capsys):
    with pytest.raises(SystemExit):
        nasion(["bench", str(clip), "--repeat", "1", "--threads", "1"])
    assert re.findall(r"^(\d+) threads?$", capsys.readouterr().out, re.MULTILINE) == ["1"]


def test_only_so_much_is_decoded_and_the_report_says_so(clip, monkeypatch):
    assert str(load(clip)).startswith("21 frames of 128x96 decoded into 1 MB")
    assert load(clip).whole
    monkeypatch.setattr(measurement, "MOST_BYTES", 5 * 128 * 96 * 3)
    assert len(load(clip).frames) == 5
    assert "the beginning of the clip only" in str(load(clip))
    assert len(load(clip, 8).frames) == 8
    monkeypatch.setattr(measurement, "MOST_FRAMES", 3)
    assert len(load(clip).frames) == 3


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--repeat", "0"], "--repeat is 0; it must be at least 1"),
        (["--frames", "-1"], "--frames is -1"),
        (["--json", f"{__file__}/x.json"], "is not a folder"),
        (["--json", "."], "is a folder"),
        (["--json", __file__], "already exists"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(arguments, text, clip, monkeypatch):
    monkeypatch.setattr(measurement, "load", lambda *_: pytest.fail("work was begun"))
    with pytest.raises(SystemExit, match=re.escape(text)):
        nasion(["bench", str(clip), *arguments])


def test_a_watched_runtime_counts_calls_time_and_nothing_else():
    inner = FakeRuntime("landmarks")
    with Watched(inner) as watched:
        image = np.zeros((3, 3, 112, 112), np.float32)
        assert watched(image)["points"].shape == (3, 68, 2)
        assert (watched.spec, watched.provider, watched.threads) == (inner.spec, "fake", 1)
        assert watched.calls == 1
        assert watched.wall > 0
        assert watched.describe(2)["calls_per_frame"] == 0.5
        watched.forget()
        assert (watched.calls, watched.wall, watched.cpu) == (0, 0.0, 0.0)
    assert inner.closed == 1


def test_a_pattern_is_measured_and_nothing_live(fake_networks, tmp_path, capsys):
    path = tmp_path / "bench.json"
    with pytest.raises(SystemExit) as end:
        nasion(["bench", "pattern:?seconds=0.4", "--repeat", "1", "--threads", "1", "--json", str(path)])
    assert end.value.code == 0
    assert json.loads(path.read_text())["clip"]["sha256"] is None
    assert "pattern:?seconds=0.4: 12 frames" in capsys.readouterr().out
    with pytest.raises(
        SourceError, match=r"pattern:live is live, and a benchmark needs the same frames twice; give a file"
    ):
        load("pattern:live")


def test_a_clip_that_changed_under_the_benchmark_is_an_error(clip, fake_networks):
    loaded = load(clip)
    longer = measurement.Clip(str(clip), [*loaded.frames, *loaded.frames], True)
    with pytest.raises(NasionError, match="has it changed"):
        measure(longer, TrackerOptions(), repeat=1)


def test_the_shipped_networks_are_measured(clip):
    result = measure(load(clip), TrackerOptions(), repeat=1)
    assert 0.8 < result.found <= 1  # the face is covered for a moment
    assert result.networks["landmarks"]["provider"] == "CPUExecutionProvider"
    assert 0 < result.costs["networks"].cpu.mean < result.costs["end to end"].cpu.mean
    with open_source(clip) as source, tracker.Tracker() as ours:
        assert any(ours.update(frame) for frame in source)


def test_a_clip_from_standard_input_is_read_once_and_measured(fake_networks, clip, monkeypatch, capsys):
    with clip.open() as standard_input:
        monkeypatch.setattr(sys, "stdin", standard_input)
        with pytest.raises(SystemExit) as end:
            nasion(["bench", "-", "--repeat", "1", "--threads", "1", "--json", "-"])
    assert not end.value.code
    assert json.loads(capsys.readouterr().out)["clip"]["name"] == "standard-input"


def test_a_terminal_as_standard_input_is_refused(fake_networks, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SystemExit, match="no video comes from standard input; pipe one into it"):
        nasion(["bench", "-"])
