"""``nasion demo``: makes a clip by moving a virtual camera over a photograph, and tracks it."""

from __future__ import annotations

from pathlib import Path

from ..engines.errors import SinkError
from .track import DEFAULTS, Outputs, run


def demo(*, out: Path = Path("nasion-demo"), force: bool = False) -> None:
    """Make a short clip, track it and show what comes out.

    Args:
        out: folder for clip.mp4, tracked.mp4 and faces.jsonl.
        force: replace them where they exist.
    """
    DEFAULTS.tracker().close()  # what is missing shows before the clip is made
    clip, tracked, faces = out / "clip.mp4", out / "tracked.mp4", out / "faces.jsonl"
    _prepare(out, (clip, tracked, faces), force=force)
    _render(clip)
    run(str(clip), Outputs(tracked, faces, force=force), DEFAULTS)
    print(f"\n{tracked} shows the result; {faces} holds the points.")


def _prepare(folder: Path, files: tuple[Path, ...], *, force: bool) -> None:
    taken = [str(file) for file in files if file.exists()]
    if taken and not force:
        raise SinkError(
            f"{', '.join(taken)} already exists; give another folder with --out, or replace it with --force"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"cannot make the folder {str(folder)!r}: {error.strerror}; give another with --out") from error


def _render(clip: Path) -> None:
    from ..realtime.sources.camera_motion import CameraMotion, write_clip

    print(f"making {clip}")
    write_clip(clip, CameraMotion())
