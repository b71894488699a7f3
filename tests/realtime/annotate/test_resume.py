"""Runs that are stopped at any moment go on to the same bytes."""

from __future__ import annotations

import os
import random
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path
from time import sleep

import pytest

import nasion
from nasion.engines.errors import SourceError
from nasion.realtime.annotate.journal import whole_part

from ...support.commands import ENVIRONMENT, run
from .conftest import CHUNK
from .kills import SCRIPT, killed_runs
from .test_annotate import outputs

FORMATS = ["jsonl", "csv", "parquet", "coco", "cvat", "pts", "vtt"]


@pytest.fixture(scope="module")
def whole(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of an uninterrupted run."""
    from nasion.realtime.annotate import job

    out = tmp_path_factory.mktemp("whole")
    before, job.CHUNK = job.CHUNK, CHUNK
    nasion.annotate(clip, out, formats=FORMATS)
    job.CHUNK = before
    return out


def test_a_journal_that_ends_anywhere_is_continued_to_the_same_bytes(clip: Path, whole: Path, tmp_path: Path) -> None:
    expected = outputs(whole)
    journal = expected["clip.journal"]
    chooser = random.Random(0)
    ends = [0, 1, 11, journal.index(b"\n"), journal.index(b"\n") + 1, len(journal) - 1, len(journal)]
    ends += [chooser.randrange(len(journal)) for _ in range(8)]
    for end in ends:
        (tmp_path / "clip.journal").write_bytes(journal[:end])
        (result,) = nasion.annotate(clip, tmp_path, formats=FORMATS, resume=True)
        assert result.complete
        assert outputs(tmp_path) == expected, f"cut after {end} bytes"


def test_the_whole_part_of_a_journal_ends_with_a_chunk(whole: Path, tmp_path: Path) -> None:
    journal = (whole / "clip.journal").read_bytes()
    part = whole_part(whole / "clip.journal")
    assert part.end is not None
    assert (part.bytes, part.frames) == (len(journal), part.end.frames)
    cut = tmp_path / "cut.journal"
    cut.write_bytes(journal[:-30])
    assert whole_part(cut).end is None
    assert whole_part(cut).frames == part.frames


def test_a_flipped_bit_in_a_journal_is_noticed_wherever_it_is(whole: Path, tmp_path: Path) -> None:
    journal = (whole / "clip.journal").read_bytes()
    first = journal.index(b"\n")
    *_, last = (found.start() for found in re.finditer(rb"\n\{", journal))
    chooser, path = random.Random(0), tmp_path / "clip.journal"
    places = [*chooser.sample(range(first), 10), *chooser.sample(range(first, last), 30), *range(last + 2, last + 20)]
    for place in places:
        damaged = bytearray(journal)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        try:
            part = whole_part(path)
        except SourceError as error:
            assert "damaged" in str(error) or "is not a journal" in str(error)  # noqa: PT017
        else:  # the end is written again
            assert part.end is None, place


def test_resume_begins_where_nothing_is_there_and_leaves_what_is_complete(clip: Path, tmp_path: Path) -> None:
    nasion.annotate(clip, tmp_path, resume=True)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    nasion.annotate(clip, tmp_path, resume=True)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    (tmp_path / "clip.jsonl").unlink()
    nasion.annotate(clip, tmp_path, resume=True, formats=["jsonl", "vtt"])
    assert {path.name for path in tmp_path.iterdir()} == {"clip.journal", "clip.jsonl", "clip.vtt"}


def test_resume_with_something_else_is_refused_with_the_difference(clip: Path, images: Path, tmp_path: Path) -> None:
    video = tmp_path / "clip.mp4"
    video.write_bytes(clip.read_bytes())
    out = tmp_path / "out"
    nasion.annotate(video, out)
    for options, message in (
        ({"every": 2}, "every was 1 and is 2"),
        ({"max_faces": 1}, "options max_faces was None and is 1"),
        ({"model": "sd-hrnet"}, "models landmarks name was"),
        ({"obscure": "box"}, "obscure was '' and is 'box'"),
    ):
        (result,) = nasion.annotate(video, out, resume=True, **options)
        assert message in result.error
    with video.open("ab") as file:
        file.write(b"x")
    (result,) = nasion.annotate(video, out, resume=True)
    assert "content bytes was" in result.error
    assert "--force" in result.error
    (result,) = nasion.annotate(video, out, force=True)
    assert result.complete


def test_a_file_in_place_of_a_journal_is_never_continued(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "clip.journal").write_text("Dear diary\n")
    (result,) = nasion.annotate(clip, tmp_path, resume=True)
    assert "is not a journal" in result.error
    assert (tmp_path / "clip.journal").read_text() == "Dear diary\n"


def test_kill_9_at_random_moments_loses_nothing(tmp_path: Path) -> None:
    for found in killed_runs(tmp_path, kills=3, seed=1):
        assert found["differing"] == []
    assert found["kills"] == 3


def test_sigterm_stops_the_run_and_it_goes_on(clip: Path, whole: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        SCRIPT,
        "annotate",
        str(clip),
        "--out",
        str(tmp_path),
        "--format",
        ",".join(FORMATS),
        "--no-report",
    ]
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    journal = tmp_path / "clip.journal"
    while process.poll() is None and not (journal.exists() and journal.stat().st_size > 2000):
        pass
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()
    assert process.returncode in (0, 128 + signal.SIGTERM), errors
    done = run(*command[3:], "--resume", script=SCRIPT)
    assert done.returncode == 0, done.stderr
    assert outputs(tmp_path) == outputs(whole)


def test_a_full_disk_leaves_whole_chunks_and_no_partial_output(clip: Path, whole: Path, tmp_path: Path) -> None:
    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))  # bytes of a file

    arguments = ["annotate", str(clip), "--out", str(tmp_path), "--format", ",".join(FORMATS), "--no-report"]
    done = run(*arguments, script=SCRIPT, preexec_fn=limited)
    assert done.returncode == 1
    assert "cannot write" in done.stderr
    assert ".part-" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["clip.journal"]
    assert 0 < whole_part(tmp_path / "clip.journal").frames < whole_part(whole / "clip.journal").frames
    done = run(*arguments, "--resume", script=SCRIPT)
    assert done.returncode == 0, done.stderr
    assert outputs(tmp_path) == outputs(whole)


def test_workers_end_with_a_killed_parent_and_the_run_goes_on_to_the_same_bytes(
    clip: Path, images: Path, tmp_path: Path
) -> None:
    names = ["annotate", clip, images, "--format", ",".join(FORMATS), "--no-report", "--quiet", "--workers", "2"]
    paused = tmp_path / "paused.py"  # the exports of both workers are under way when the parent is killed
    paused.write_text(
        "import pathlib, time\n"
        "from nasion.realtime.annotate.workers import processes\n"
        "from nasion.realtime.annotate.exports.cvat import CvatExport\n"
        "def write(self, annotated, write=CvatExport.write):\n"
        "    write(self, annotated)\n"
        "    pathlib.Path(f'{self._path}.seen').touch()\n"
        "    time.sleep(0.3)\n"
        "def serve(*given, serve=processes._serve):\n"
        "    CvatExport.write = write\n"
        "    serve(*given)\n"
        "processes._serve = serve\n"
    )
    main = "import nasion.tools.main\nnasion.tools.main.main()"
    assert run(*names, "--out", tmp_path / "whole", script=main).returncode == 1  # an image is damaged
    out = tmp_path / "out"
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ENVIRONMENT['PYTHONPATH']}"}
    with (tmp_path / "errors").open("w") as errors:
        command = [sys.executable, "-c", f"import paused, {main[7:]}", *map(str, names), "--out", str(out)]
        process = subprocess.Popen(command, env=environment, stderr=errors)
        while process.poll() is None and len(list(out.glob("*.seen")) + list(out.glob(".*.seen"))) < 2:
            sleep(0.02)
        second = run(*names, "--out", out, "--force", script=main)
        process.kill()
        process.wait()
    done = run(*names, "--out", out, "--resume", script=main)
    assert "another run writes into" in second.stderr
    assert done.returncode == 1, done.stderr
    assert "of its images cannot be read" in done.stderr
    assert "Traceback" not in (tmp_path / "errors").read_text()
    assert outputs(out) == outputs(tmp_path / "whole")
