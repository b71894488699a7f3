"""``nasion data``: check data sets in their published layouts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from ...engines.errors import SinkError
from ...engines.output_paths import check_output_paths, write_file
from ..machine import provenance, short
from ..results import Json, json_results

if TYPE_CHECKING:
    from ...realtime.values.arrays import Image
    from ...trainers.data import DetectionSet, Fault, LandmarkSet, Part
    from ...trainers.data.sheet import Counts

data = App(name="data", help="Check data sets in their published layouts.")

ROWS = 2  # rows of images on the sheet, for each part of a set
FAULTS = 20  # faults that are printed


@data.command
def check(
    path: Path,
    *,
    set_: Annotated[str | None, Parameter(name="--set")] = None,
    scheme: Path | None = None,
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    json: Json = None,
    force: bool = False,
    quiet: bool = False,
    decode: bool = False,
) -> None:
    """Read data sets, count their contents, name labels that cannot be right, and draw a sheet of faces.

    Args:
        path: a data set, or a folder that holds several; or labelled faces or boxes of your own (docs/data.md).
        set_: name of the set (default: all that are recognised); an unknown name lists all known ones.
        scheme: TOML file of the landmark scheme, for labelled faces of your own (default: the one that the labels name,
            or the usual one with that many landmarks).
        out: file for the sheet, .jpg or .png; an image of the set is refused (default: in the current folder, named
            after the set or the folder read). Occluded landmarks are red; bounding boxes of the set are blue.
        json: also write the counts to this file; - for standard output (default: none).
        force: replace files that exist.
        quiet: print warnings and errors only.
        decode: also decode every image, name those that cannot be read, and count the landmarks outside their image.
    """
    from rich.console import Console

    from ..terminal.progress import Progress

    file = out or Path(f"{set_ or path.resolve().name}-sheet.jpg")
    if file.suffix.lower() not in (".jpg", ".png"):
        raise SinkError(f"--out {str(file)!r}: suffix {file.suffix!r}; allowed: .jpg, .png")
    with json_results(json, force=force, others={"--out": file}, silent=quiet) as to_json:
        report = _Report(decode=decode)
        chosen = _chosen(path, set_, scheme)
        if not chosen:
            report.add_own(path, scheme)
        with Progress(silent=quiet) as progress:
            for number, (name, part) in enumerate(chosen, 1):
                progress("sets", number, len(chosen), f"{name}, {part}")
                report.add(name, path, part)
        check_output_paths({"--out": file}, force=force, inputs=report.files)
        to_json.spare(report.files)
        _write(file, report.blocks)
        Console().print(report.table)
        print(f"faces drawn: {file}")
        print("\n".join([*report.remarks, *_told(report.faults, report.damaged)]))
        to_json.write(
            provenance()
            | {"sheet": short(str(file)), "sets": report.counts}
            | {"scheme": report.remarks}
            | {"faults": [{"file": short(str(fault.file)), "problem": fault.problem} for fault in report.faults]}
            | {"damaged": [{"file": short(str(file)), "problem": problem} for file, problem in report.damaged.items()]}
        )


def _told(faults: Sequence[Fault], damaged: Mapping[Path, str]) -> Iterator[str]:
    """Yield the faults as lines of text, the first ones in full."""
    if damaged:
        yield f"{len(damaged)} files of labels cannot be read, or only in part; training refuses them:"
        yield from _first([f"{file}: {problem}" for file, problem in damaged.items()])
    if faults:
        count = f"{len(faults)} labels or images cannot be right"
        yield f"{count}; training refuses them, or leaves them out with --skip-bad:"
        yield from _first([str(fault) for fault in faults])
    if not faults and not damaged:
        yield "no label was found that cannot be right"


def _first(lines: Sequence[str]) -> Iterator[str]:
    for line in lines[:FAULTS]:
        yield f"  {line}"
    if len(lines) > FAULTS:
        yield f"  and {len(lines) - FAULTS} more, all of them in the file of --json"


def _chosen(path: Path, name: str | None, scheme: Path | None) -> list[tuple[str, Part]]:
    """Return the sets and parts to read; none for data of the user.

    Raises:
        DataError: the name is unknown, the set is not there, or no set is recognised.
    """
    from ...trainers.data import DataError, layout_of, recognised
    from ...trainers.data.readers.own.boxes import has_own_boxes
    from ...trainers.data.readers.own.faces import EXPECTED, is_own

    if name is None:
        if path.is_file() or scheme is not None:
            return []
        found = recognised(path)
        if not found and (is_own(path) or has_own_boxes(path)):
            return []
        if not found:
            raise DataError(
                f"{path}: no data set is recognised here; 'nasion data check {path} --set NAME' says what is missing "
                f"from a published one; of your own data: {EXPECTED}"
            )
        return found
    layout = layout_of(name)
    parts: list[Part] = [part for part in layout.marks if layout.find(path, part) is not None]
    if not parts:
        layout.home(path, next(iter(layout.marks)))  # its error says what is expected
    return [(name, part) for part in parts]


class _Report:
    """Counts, as a table and as data, and images of the sheet; each part of a set adds to all of them."""

    def __init__(self, *, decode: bool) -> None:
        from rich.table import Table

        self.table = Table(box=None, pad_edge=False)
        self.blocks: list[Image] = []
        self.counts: list[dict[str, Any]] = []
        self.files: set[Path] = set()
        self.faults: list[Fault] = []
        self.damaged: dict[Path, str] = {}
        self.remarks: list[str] = []
        self._decode = decode
        for name in ("set", "part", "subset"):
            self.table.add_column(name)
        for name in ("faces", "images", "landmarks", "missing", "occluded", "boxes", *(["outside"] if decode else [])):
            self.table.add_column(name, justify="right")

    def add(self, name: str, path: Path, part: Part) -> None:
        """Read a part of a set and add it to the report."""
        from ...trainers.data import read_set

        if name in ("wider", "negatives"):
            self._add_images(name, path, part)
        else:
            self._add_faces(read_set(name, path, part=part, checked=False), part)

    def add_own(self, path: Path, scheme: Path | None) -> None:
        """Read labelled faces of the user, or images with boxes, and add them to the report."""
        from ...realtime.values.scheme_files import read_scheme
        from ...trainers.data import FOREHEAD
        from ...trainers.data.own import mirror_faults
        from ...trainers.data.readers.own.boxes import has_own_boxes, read_own_boxes
        from ...trainers.data.readers.own.faces import is_own, read_own

        if scheme is None and has_own_boxes(path) and not (path.is_dir() and is_own(path, with_points=True)):
            self._add_boxes(read_own_boxes(path, forehead=FOREHEAD), "own")
            return
        faces = read_own(path, scheme=read_scheme(scheme) if scheme else None, damaged=self.damaged)
        self.remarks += mirror_faults(self._add_faces(faces, "own"))

    def _add_faces(self, found: LandmarkSet, part: str) -> LandmarkSet:
        """Add faces to the report, and return those without faults."""
        from ...trainers.data import landmark_faults, sheet

        self.files.update(found.files)
        faults = landmark_faults(found) + self._unreadable(found.files)
        self.faults += faults
        wrong = {fault.index for fault in faults}
        good = found.pick([i for i in range(len(found)) if i not in wrong]) if wrong else found
        self._row(found.name, part, None, sheet.count(found), sheet.outside(good) if self._decode else None)
        for name in found.subsets:
            self._row(found.name, part, name, sheet.count(sheet.subset(found, name)), None)
        cells = list(sheet.face_cells(good, ROWS * sheet.COLUMNS))
        self.blocks.append(sheet.block(f"{found.name}, {part}: {len(found)} faces", cells))
        return good

    def _add_images(self, name: str, path: Path, part: Part) -> None:
        from ...trainers.data import read_negatives, read_wider, sheet

        test = part == "test"
        found = read_wider(path, test=test) if name == "wider" else sheet.without_faces(read_negatives(path, test=test))
        self._add_boxes(found, part)

    def _add_boxes(self, found: DetectionSet, part: str) -> None:
        from ...trainers.data import box_faults, sheet

        self.files.update(found.files)
        unreadable = self._unreadable(found.files)
        self.faults += box_faults(found) + unreadable
        wrong = {fault.index for fault in unreadable}
        name, boxes = found.name, sum(len(each) for each in found.boxes)
        self.table.add_row(name, part, "", "", f"{len(found):,}", "", "", "", f"{boxes:,}")
        self.counts.append({"set": name, "part": part, "images": len(found), "boxes": boxes})
        good = found.pick([i for i in range(len(found)) if i not in wrong])
        cells = list(sheet.image_cells(good, ROWS * sheet.COLUMNS))
        self.blocks.append(sheet.block(f"{name}, {part}: {len(found)} images, {boxes} boxes", cells))

    def _unreadable(self, files: Sequence[Path]) -> list[Fault]:
        from ...trainers.data import unreadable

        return list(unreadable(files)) if self._decode else []

    def _row(self, name: str, part: str, subset: str | None, counts: Counts, outside: int | None) -> None:
        known = {
            "faces": counts.faces,
            "images": counts.images,
            "landmarks": counts.points,
            "missing": counts.missing,
            "occluded": counts.occluded,
            "boxes": counts.boxes,
            **({} if outside is None else {"outside": outside}),
        }
        names = ("", "", subset) if subset else (name, part, "")
        self.table.add_row(*names, *("–" if figure is None else f"{figure:,}" for figure in known.values()))
        self.counts.append({"set": name, "part": part, **({"subset": subset} if subset else {}), **known})


def _write(path: Path, blocks: list[Image]) -> None:
    import cv2
    import numpy as np

    _, encoded = cv2.imencode(path.suffix.lower(), np.concatenate(blocks))
    write_file(path, encoded.tobytes())
