"""``nasion demo``: make a clip with a virtual camera over a photograph, and track it."""

from __future__ import annotations

from pathlib import Path

from ...engines.errors import SinkError
from ...engines.output_paths import check_output_paths, writing
from ...realtime.tracking.options import TrackerOptions
from ..results import Json, json_results
from .track import Outputs, run


def demo(*, out: Path = Path("nasion-demo"), json: Json = None, force: bool = False, quiet: bool = False) -> None:
    """Make a short clip, track it and print the results.

    Args:
        out: folder for clip.mp4, tracked.mp4 and faces.jsonl.
        json: also write the counts and times to this file; - for standard output (default: none).
        force: replace these files if they exist.
        quiet: print warnings and errors only.
    """
    from ...realtime.tracking.tracker import Tracker

    options = TrackerOptions()
    with json_results(json, force=force, silent=quiet) as to_json:
        Tracker(options).close()  # reports missing parts before the clip is made
        clip, tracked, faces = out / "clip.mp4", out / "tracked.mp4", out / "faces.jsonl"
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
        taken = "give another folder with --out, or replace it with --force"
        places = {"clip": clip, "video": tracked, "landmarks": faces, "--json": to_json.file}
        check_output_paths(places, force=force, remedy=taken)
        _render(clip)
        run(str(clip), Outputs(tracked, faces, force=force), options, {}, to_json, quiet=quiet)


def _render(clip: Path) -> None:
    from ...realtime.sources.synthetic import CameraMotion, write_clip

    print(f"making {clip}")
    try:
        write_clip(clip, CameraMotion())
    except SinkError:
        clip.unlink(missing_ok=True)  # an incomplete clip has no index and cannot be read
        raise
