"""Recordings: rotated by time and size, the oldest removed, readable after a crash, and suspended on a full disk."""

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import av
import numpy as np
import pytest

from nasion.engines.errors import NasionError, SinkError
from nasion.realtime.faces.drawing import drawing
from nasion.realtime.faces.frame import Frame
from nasion.realtime.live import recording
from nasion.realtime.live.live import live
from nasion.realtime.live.recording import Recorder, Recording
from nasion.realtime.live.results import LiveResult
from tests.support.commands import ENVIRONMENT
from tests.support.live.waiting import wait_until

NOISE = np.random.default_rng(0).integers(0, 255, (8, 240, 320, 3), np.uint8)


def result(index, size=(64, 48), connection=1, image=None):
    if image is None:
        image = np.full((size[1], size[0], 3), index % 255, np.uint8)
    return LiveResult("door", Frame(image, index / 10, index), [], 1.7e9 + index / 10, 0.01, connection)


def record(folder, results, **options):
    recorder = Recorder(Recording(folder, draw=drawing(()), **options), "door")
    for each in results:
        recorder.put(each)
        while recorder._results.ready:  # the encoder must not drop any here
            time.sleep(0.001)
    recorder.end()
    recorder.join(60)
    return recorder


def lengths(folder):
    """Return the number of frames of each file, the oldest first."""
    found = []
    for path in sorted(folder.glob("door/*.mp4")):
        with av.open(str(path)) as file:
            found.append(sum(1 for _ in file.decode(video=0)))
    return found


def test_files_are_rotated_by_time(tmp_path):
    record(tmp_path, map(result, range(25)), rotate=1)
    assert lengths(tmp_path) == [10, 10, 5]
    names = sorted(path.name for path in tmp_path.glob("door/*"))
    assert names[0] == "door_20231114T221320.000Z.mp4"


def test_the_status_after_the_end_names_no_file_and_the_size_of_all(tmp_path):
    status = record(tmp_path, map(result, range(25)), rotate=1).status()
    sizes = [path.stat().st_size for path in tmp_path.glob("door/*")]
    assert (status.path, status.bytes, len(sizes)) == ("", sum(sizes), 3)


def test_the_recording_of_a_source_that_has_ended_is_finished(tmp_path):
    with live({"door": "pattern:?seconds=0.3"}, max_faces=1, record=Recording(tmp_path)) as hub:
        for _ in hub:
            pass
        hub._members["door"].recorder.join(60)
        status = hub.source("door").recording
        sizes = [path.stat().st_size for path in tmp_path.glob("door/*")]
        assert (status.path, status.bytes, len(sizes)) == ("", sum(sizes), 1)


def test_another_size_or_connection_begins_another_file(tmp_path):
    sizes = [(64, 48)] * 3 + [(32, 48)] * 2
    results = [result(i, size) for i, size in enumerate(sizes)]
    results += [replace(result(i, (32, 48)), connection=2) for i in (5, 6)]
    record(tmp_path, results)
    assert lengths(tmp_path) == [3, 2, 2]


def test_the_oldest_files_are_removed_at_the_size_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "_CLEAN", 0.0)
    other = tmp_path / "door" / "holiday.mp4"
    other.parent.mkdir()
    other.write_bytes(bytes(2_000_000))
    recorder = record(tmp_path, (result(i, image=NOISE[i % 8]) for i in range(100)), rotate=1, keep_bytes=1_000_000)
    files = sorted(tmp_path.glob("door/door_*"))
    assert sum(path.stat().st_size for path in files) < 1_250_000
    assert files[0].name > "door_20231114T221320.000Z.mp4", "the first is gone"
    assert recorder.status().bytes > 0
    assert other.exists(), "files of others are never removed"


def test_at_the_size_limit_of_two_sources_a_file_being_written_is_never_removed(tmp_path, monkeypatch):
    begun = []
    begin = Recording.begin
    monkeypatch.setattr(Recording, "begin", lambda *given: begun.append(begin(*given)) or begun[-1])
    shared = Recording(tmp_path, draw=drawing(()), rotate=3600, keep_bytes=1_000_000)
    door, yard = Recorder(shared, "door"), Recorder(shared, "yard")
    door.put(result(0))  # the oldest file of all, which stays open
    wait_until(lambda: begun and begun[0].exists(), patience=60)
    for index in range(1, 100):
        yard.put(result(index, image=NOISE[index % 8]))
        wait_until(lambda: not yard._results.ready, patience=60, every=0.001)
        assert begun[0].exists(), "it is being written"
    yard.end()
    yard.join(60)
    kept = sum(path.exists() for path in begun)
    assert len(begun) > kept > 3
    assert [path for path in begun if path.exists()] == [begun[0], *begun[1 - kept :]], "the oldest are gone"
    assert sum(path.stat().st_size for path in tmp_path.glob("*/*")) <= 1_000_000
    door.put(result(1))
    door.end()
    door.join(60)
    assert lengths(tmp_path) == [2]


def test_files_of_many_sources_end_earlier_so_that_the_limit_holds(tmp_path):
    shared = Recording(tmp_path, keep_bytes=1_600_000)
    assert not shared.is_large(200_000)
    assert shared.is_large(200_001)
    for index in range(8):
        shared.begin(f"camera{index}", 1.7e9)
    assert not shared.is_large(100_000)
    assert shared.is_large(100_001)
    assert not Recording(tmp_path).is_large(1 << 50)


def test_a_full_disk_suspends_the_recording_and_is_reported_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(recording, "_RETRY", 0.0)
    full = [True]
    write = recording.VideoSink.write

    def limited(self, frame, faces):
        if full[0]:
            raise SinkError(os.strerror(errno.ENOSPC))
        write(self, frame, faces)

    monkeypatch.setattr(recording.VideoSink, "write", limited)
    recorder = Recorder(Recording(tmp_path, draw=drawing(())), "door")
    for i in range(20):
        if i == 10:
            assert "No space left" in recorder.status().error
            full[0] = False
        recorder.put(result(i))
        while recorder._results.ready:
            time.sleep(0.001)
        time.sleep(0.01)
    recorder.end()
    recorder.join(60)
    assert sum(lengths(tmp_path)) >= 9
    assert recorder.status().error == ""
    assert caplog.text.count("recording is suspended") == 1
    assert caplog.text.count("recording again") == 1


def test_a_killed_process_leaves_readable_files(tmp_path):
    program = (
        "import sys, nasion\nfrom pathlib import Path\nfrom nasion.realtime.live.recording import Recording\n"
        "with nasion.live({'door': 'pattern:live?seconds=100'}, record=Recording(Path(sys.argv[1]))) as hub:\n"
        "    for n, result in enumerate(hub):\n"
        "        print(n, flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    for _ in range(90):
        assert process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (count,) = lengths(tmp_path)
    assert count > 10


@pytest.mark.parametrize(("options", "message"), [({"rotate": 0}, "rotate=0"), ({"keep_bytes": 5}, "keep_bytes=5")])
def test_wrong_options_are_refused(tmp_path, options, message):
    with pytest.raises(NasionError, match=message):
        Recording(tmp_path, **options)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="cannot be reached"):
        Recording(tmp_path / "file" / "folder")
