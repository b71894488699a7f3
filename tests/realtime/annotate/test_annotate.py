"""Whole annotations: every frame once, independent of processes, and one bad file of many."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from shutil import copy

import av
import cv2
import numpy as np
import pytest

import nasion
from nasion.engines.errors import MissingExtra, NasionError, SinkError, SourceError
from nasion.realtime.annotate.annotating import annotate_input
from nasion.realtime.annotate.inputs import find_inputs
from nasion.realtime.annotate.workers import processes
from nasion.realtime.sources.synthetic import CameraMotion
from nasion.tools.commands.annotate import _listed

from ...support.commands import run
from .conftest import CHUNK, FRAMES


def outputs(folder: Path) -> dict[str, bytes]:
    """The content of every file by its name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def records(path: Path) -> list[dict]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[1:]]


def test_every_frame_is_there_once_with_its_number_time_and_all_measures(clip: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    (result,) = nasion.annotate(clip, tmp_path, progress=lambda *args: told.append(args))
    assert (result.complete, result.frames, result.identities) == (True, FRAMES, 1)
    assert told[-1] == ("clip", FRAMES, FRAMES)
    found = records(tmp_path / "clip.jsonl")
    with av.open(str(clip)) as video:
        times = [round(float(frame.time), 6) for frame in video.decode(video=0)]
    assert [frame["frame"] for frame in found] == list(range(FRAMES))
    assert [frame["time"] for frame in found] == times
    seen = [frame["faces"][0] for frame in found if frame["faces"]]
    assert {"yaw", "pitch", "roll", "eye_left", "eye_right", "mouth"} <= seen[0].keys()
    live = [len(faces) for _, faces in nasion.track(clip)]
    assert sum(len(frame["faces"]) for frame in found) >= sum(live)


def test_every_takes_each_frame_whose_number_is_a_multiple(clip: Path, tmp_path: Path) -> None:
    nasion.annotate(clip, tmp_path, every=4)
    assert [frame["frame"] for frame in records(tmp_path / "clip.jsonl")] == list(range(0, FRAMES, 4))


@pytest.mark.parametrize("independent", [False, True])
def test_images_have_their_names_and_one_that_is_damaged_is_reported(
    images: Path, tmp_path: Path, independent: bool
) -> None:
    formats = ["jsonl", "csv", "parquet"]
    (result,) = nasion.annotate(images, tmp_path, independent=independent, formats=formats)
    assert (result.frames, result.unread, result.complete, result.error) == (5, 1, False, "")
    assert result.problems[0].startswith(f"{images / 'photo5.jpg'}: ")
    for suffix in formats:
        read = list(nasion.read(tmp_path / f"{images.name}.{suffix}"))
        assert [frame.file for frame, _ in read] == [f"photo{number}.jpg" for number in range(5)]
        assert all(len(faces) == 1 for _, faces in read)


def test_independent_images_are_those_of_detect(images: Path, tmp_path: Path) -> None:
    nasion.annotate(images / "photo*.jpg", tmp_path, independent=True)
    paths = [images / f"photo{number}.jpg" for number in range(5)]
    for (_, faces), expected in zip(
        nasion.read(tmp_path / f"{images.name}.jsonl"), nasion.detect(list(map(str, paths))), strict=True
    ):
        assert np.abs(faces[0].landmarks - expected[0].landmarks).max() < 0.02


def test_one_bad_file_of_several_is_reported_and_the_others_are_complete(clip: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    (videos / "deeper").mkdir(parents=True)
    copy(clip, videos / "one.mp4")
    copy(clip, videos / "deeper" / "two.mp4")
    (videos / "bad.mp4").write_bytes(b"no video")
    done = run("annotate", videos, "--out", tmp_path / "out", "--json", "-")
    assert done.returncode == 1
    assert "1 of 3 inputs" in done.stderr
    assert "bad.mp4" in done.stderr
    found = {each["name"]: each for each in json.loads(done.stdout)["inputs"]}
    assert {name: each["frames"] for name, each in found.items()} == {"one": FRAMES, "deeper/two": FRAMES, "bad": 0}
    assert (tmp_path / "out" / "deeper" / "two.jsonl").exists()


def test_a_video_that_ends_early_keeps_the_frames_before_the_damage(clip: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mkv"
    with av.open(str(clip)) as source, av.open(str(cut), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (result,) = nasion.annotate(cut, tmp_path / "out")
    assert 0 < result.frames < FRAMES
    assert len(records(tmp_path / "out" / "cut.jsonl")) == result.frames


def test_processes_change_no_byte_and_give_the_results_in_order(clip: Path, images: Path, tmp_path: Path) -> None:
    other = copy(clip, tmp_path / "other.mp4")
    paths = [clip, images, other]
    one = nasion.annotate(paths, tmp_path / "one", formats=["jsonl", "coco"])
    two = nasion.annotate(paths, tmp_path / "two", formats=["jsonl", "coco"], workers=2)
    assert [result.name for result in two] == [result.name for result in one] == ["clip", images.name, "other"]
    journals = [sorted((tmp_path / name).glob("*.journal")) for name in ("one", "two")]
    assert [len(paths) for paths in journals] == [3, 3]
    # the processes have the usual length of chunks, because the test changes that of this process only
    assert (tmp_path / "one" / f"{images.name}.jsonl").read_bytes() == (
        tmp_path / "two" / f"{images.name}.jsonl"
    ).read_bytes()


def test_a_process_that_crashes_loses_its_input_only(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import os, nasion.realtime.annotate.annotating as a\n"
        "import nasion.realtime.sources as s\n"
        "from nasion.realtime.annotate.workers import processes as p\n"
        "def serve(*given, serve=p._serve):\n"
        "    was = p.annotate_input\n"
        "    p.annotate_input = lambda job, *rest: os._exit(9) if job.input.name == 'bad' else was(job, *rest)\n"
        "    serve(*given)\n"
    )
    module = tmp_path / "crashing.py"
    module.write_text(script + "p._serve = serve\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("a", "bad", "b"):
        copy(clip, tmp_path / f"{name}.mp4")
    paths = [str(tmp_path / f"{name}.mp4") for name in ("a", "bad", "b")]
    main = (
        f"import crashing, nasion\nif __name__ == '__main__':\n    found = nasion.annotate({paths}, 'out', workers=2)\n"
    )
    main += "    print([(each.name, each.frames, each.error) for each in found])\n"
    (tmp_path / "main.py").write_text(main)
    start = "import runpy, sys; sys.path.insert(0, '.'); runpy.run_path('main.py', run_name='__main__')"
    done = run(script=start, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = {name: (frames, error) for name, frames, error in eval(done.stdout)}
    assert found["a"] == found["b"] == (FRAMES, "")
    assert "status 9" in found["bad"][1]


def test_a_defect_in_one_input_does_not_lose_the_others(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    copy(clip, tmp_path / "bad.mp4")

    def failing(job, *rest):
        if job.input.name == "bad":
            raise ZeroDivisionError("a defect")
        return annotate_input(job, *rest)

    monkeypatch.setattr(processes, "annotate_input", failing)
    bad, good = nasion.annotate([tmp_path / "bad.mp4", clip], tmp_path / "out")
    assert bad.error == "ZeroDivisionError: a defect"
    assert good.complete
    assert "Traceback" in caplog.text


def test_existing_outputs_are_not_replaced_and_options_are_checked(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "clip.jsonl").write_text("mine")
    with pytest.raises(SinkError, match="already exists; replace it with --force"):
        nasion.annotate(clip, tmp_path)
    assert (tmp_path / "clip.jsonl").read_text() == "mine"
    for options, message in (
        ({"every": 0}, "every=0"),
        ({"workers": 0}, "workers=0"),
        ({"formats": ["xml"]}, "format 'xml' is unknown"),
        ({"obscure": "smear"}, "choose from blur, pixelate, box"),
        ({"obscure": "blur", "every": 2}, "leaves frames out"),
        ({"resume": True, "force": True}, "give one of them"),
        ({"detect_every": 3}, "detect_interval"),
    ):
        with pytest.raises(NasionError, match=message):
            nasion.annotate(clip, tmp_path / "other", **options)
    with pytest.raises(SourceError, match="does not exist"):
        nasion.annotate("nothing.mp4", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_inputs_come_from_files_folders_globs_and_get_names_of_their_own(
    clip: Path, images: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "all"
    (folder / "b").mkdir(parents=True)
    for name in ("a.mp4", "a.mkv", "b/c.mp4", "b/2.png", "b/10.png", ".hidden.mp4", "notes.txt"):
        (folder / name).touch()
    found = find_inputs([folder, *[str(folder / "*.mp4")]])
    assert [each.name for each in found] == ["a-mkv", "a-mp4", "b", "b/c"]
    assert [path.name for path in found[2].images] == ["2.png", "10.png"]
    loose = find_inputs([images / "photo1.jpg", clip, images / "photo0.jpg"])
    assert [(each.name, len(each.images)) for each in loose] == [(images.name, 2), ("clip", 0)]
    assert find_inputs([folder], without=folder / "b")[-1].name == "a-mp4"


def test_paths_that_lead_nowhere_are_reported_and_the_others_are_annotated(clip: Path, tmp_path: Path) -> None:
    missing, found, empty = nasion.annotate(
        [tmp_path / "clip.mp4", clip, tmp_path / "*.mkv"], tmp_path / "out", every=9
    )
    assert "does not exist" in missing.error
    assert "matches no file" in empty.error
    assert (found.name, found.complete) == ("clip-mp4-2", True)  # as it would be with the other file
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["clip-mp4-2.journal", "clip-mp4-2.jsonl"]


def test_an_image_that_cannot_be_read_is_named(images: Path, tmp_path: Path) -> None:
    done = run("annotate", images, "--out", tmp_path, "--json", "-", "--every", "5")
    assert done.returncode == 1
    assert f"{images}: 1 of its images cannot be read: {images / 'photo5.jpg'}: " in done.stderr
    (found,) = json.loads(done.stdout)["inputs"]
    assert found["unread"] == len(found["problems"]) == 1
    assert "photo5.jpg" in (tmp_path / f"{images.name}.html").read_text()


def test_a_bad_match_of_a_glob_does_not_hide_the_others(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    copy(clip, tmp_path / "b.mp4")
    empty, found = find_inputs([tmp_path / "*"])
    assert "has neither video nor image" in empty.problem
    assert (found.name, found.problem) == ("b", "")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_what_cannot_be_read_twice_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (tmp_path / "pipe.mp4", "/dev/zero"):
        with pytest.raises(SourceError, match="cannot be read several times; write it to a file first"):
            nasion.annotate(path, tmp_path / "out")
    with pytest.raises(SourceError, match="is a URL, and annotations are made of files"):
        nasion.annotate("rtsp://camera.local/stream", tmp_path / "out")
    done = run("annotate", "-", "--out", tmp_path / "out", input="a video")
    assert done.returncode == 1
    assert "is a pipe or a device" in done.stderr


def test_an_input_is_annotated_once_however_its_path_is_written(
    clip: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clip.parent)
    videos = ["clip.mp4", clip, f"../{clip.parent.name}/clip.mp4", clip.parent, "*.mp4"]
    assert [each.source for each in find_inputs(videos)] == ["clip.mp4"]
    monkeypatch.chdir(images)
    photos = ["photo0.jpg", images / "photo0.jpg", images / "photo1.jpg", "photo*.jpg"]
    assert [len(each.images) for each in find_inputs(photos)] == [6]
    assert [len(each.images) for each in find_inputs([images, "photo0.jpg"])] == [6]
    assert find_inputs(["."])[0].name == images.name


def test_names_of_any_length_and_in_any_bytes_are_allowed(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "named"
    folder.mkdir()
    names = [b"x" * 240 + b".mp4", b"y" * 251 + b".mp4", b"caf\xe9.mp4"]
    for name in names:
        copy(clip, os.fsdecode(bytes(folder) + b"/" + name))
    formats = ["jsonl", "csv", "parquet", "coco", "cvat", "pts", "vtt"]
    results = nasion.annotate(folder, tmp_path / "out", every=9, formats=formats, report=True)
    assert [result.error for result in results] == [""] * 3
    assert [len(os.fsencode(result.name)) for result in results] == [4, 240, 240]
    photos = tmp_path / "photos"
    photos.mkdir()
    name = os.fsdecode(b"caf\xe9.png")
    cv2.imwrite(str(tmp_path / "face.png"), CameraMotion(seconds=0.1).render(0))
    (tmp_path / "face.png").rename(photos / name)
    (result,) = nasion.annotate(photos, tmp_path / "two", formats=formats[:-1], overlay=True, independent=True)
    assert result.error == ""
    assert json.loads((tmp_path / "two" / "photos.coco.json").read_text())["images"][0]["file_name"] == r"caf\xe9.png"
    assert (tmp_path / "two" / "photos.overlay" / name).exists()


def test_formats_are_checked_before_the_work(clip: Path, images: Path, tmp_path: Path) -> None:
    (result,) = nasion.annotate(clip, tmp_path / "out", formats="jsonl, vtt", every=9)
    assert [path.name for path in result.files] == ["clip.journal", "clip.jsonl", "clip.vtt"]
    with pytest.raises(NasionError, match="vtt has times"):
        nasion.annotate([clip, images], tmp_path / "none", formats=["vtt"], independent=True)
    with pytest.raises(NasionError, match="the outputs cannot go there; give another folder, such as"):
        nasion.annotate(images, images)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pyarrow.parquet", None)
        with pytest.raises(MissingExtra, match="pyarrow"):
            nasion.annotate(clip, tmp_path / "none", formats=["parquet"])
    assert not (tmp_path / "none").exists()


def test_a_list_names_the_inputs(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(f"\ufeff{clip}\r\n\r\n".encode())
    done = run("annotate", "--list", tmp_path / "list.txt", "--out", tmp_path / "out", "--every", "9")
    assert done.returncode == 0, done.stderr
    assert "clip" in done.stdout
    assert "nothing to annotate" in run("annotate", "--out", tmp_path / "out").stderr
    assert CHUNK < FRAMES


@pytest.mark.parametrize("columns", [["path"], ["number", "path"], ["anything"]])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_names_the_inputs_in_its_column_path(tmp_path: Path, columns: list[str], suffix: str) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(
        {name: ["a, b.mp4", "c.mp4"] for name in columns} | ({"number": [1, 2]} if "number" in columns else {})
    )
    file = tmp_path / f"list.{suffix}"
    table.to_csv(file, index=False) if suffix == "csv" else table.to_parquet(file)
    assert list(_listed(file)) == ["a, b.mp4", "c.mp4"]


def test_a_table_whose_column_is_unknown_or_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("file,size\na.mp4,1\n")
    with pytest.raises(SourceError, match="has the columns file, size; name the one with the paths path"):
        list(_listed(tmp_path / "a.csv"))
    (tmp_path / "a.parquet").write_text("no table")
    with pytest.raises(SourceError, match=r"cannot be read .*give a Parquet file"):
        list(_listed(tmp_path / "a.parquet"))
