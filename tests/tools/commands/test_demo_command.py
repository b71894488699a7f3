"""``nasion demo``: the files it makes, and those it leaves alone."""

import json
import re

import pytest

from nasion.tools.main import main as nasion

from ...support.commands import fake_tracker, run

__all__ = ["fake_tracker"]  # a fixture


def test_the_demo_starts_no_work_over_files_that_exist(fake_tracker, tmp_path):
    (tmp_path / "faces.jsonl").write_text("mine")
    with pytest.raises(SystemExit, match=r"faces\.jsonl' already exists; .* replace it with --force"):
        nasion(["demo", "--out", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["faces.jsonl"]


def test_a_link_to_nothing_is_named(fake_tracker, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(SystemExit, match=r"link': a link to '.*nowhere', which does not exist; .* remove the link"):
        nasion(["demo", "--out", str(tmp_path / "link")])
    assert not (tmp_path / "nowhere").exists()


def test_the_demo_makes_a_clip_tracks_it_and_prints_the_table(tmp_path):
    done = run("demo", "--out", tmp_path / "demo")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == [
        "clip.mp4",
        "faces.jsonl",
        "tracked.mp4",
    ]
    assert re.search(r"identities +1\n", re.sub(" +\n", "\n", done.stdout))
    rows = [json.loads(line) for line in (tmp_path / "demo" / "faces.jsonl").read_text().splitlines()[1:]]
    assert len(rows) == 300
    assert len(rows[0]["faces"]) == 1
    again = run("demo", "--out", tmp_path / "demo")
    assert again.returncode == 1
    assert "replace it with --force" in again.stderr
