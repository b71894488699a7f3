"""Tables of the papers' networks for ``figures.py``, from the reports of ``studies.py``.

All tables except ``equal_steps`` are of the first version of the recipes.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

from reports import FIRST, STUDIES, better_reading, measured, read, studies, table

from nasion.trainers.evaluation.paper_files import Table
from nasion.trainers.evaluation.published import ROWS, in_true_boxes, published
from nasion.trainers.evaluation.published import TABLES as PUBLISHED

IN_MASKS = "300w in masks"  # results of `nasion evaluate-papers 300w --masks`
STAGES = tuple(f"sd-hrnet-{stage}" for stage in ("teacher", "supernet", "slim", "none", "peer", "distil", "256"))


def runs() -> str:
    """Return the table of the measured runs next to the papers."""
    rows = []
    for report in measured():
        ours = report["measured"]["300w"]
        best = _best(report)
        rows.append(
            [
                report["study"],
                _options(report["command"]),
                f"{report['minutes']:.0f}",
                f"{report['samples']:,}",
                f"{100 * best['nme']:.2f}",
                f"{100 * best['nme_soft']:.2f}" if "nme_soft" in best else "",
                f"{_late_gain(report):.0f}",
                f"{_on_helen(report):.2f}",
                _printed(ours["published"]),
                f"{report['checkpoint']['bytes'] / 1e6:.1f} MB, `{report['checkpoint']['sha256'][:16]}…`",
            ]
        )
    head = [
        "run",
        "options",
        "minutes",
        "samples",
        "held-out NME %",
        "by soft-argmax",
        "reduction in the second half, %",
        "HELEN test NME %",
        "paper",
        "checkpoint",
    ]
    return table(head, rows)


def equal_steps() -> str:
    """Return the table of the studies with equal steps of the network, made with the current version of the recipes."""
    reports = [read(path) for path in sorted(STUDIES.glob("*.json"))] if STUDIES.is_dir() else []
    rows = []
    for report in reports:
        best, figures = _best(report) if "nme" in report["validation_curve"][-1] else {}, report["measured"]
        ways = ("300w", "300w by soft_arg_max", "300w by arg_max", "300w by face-detector", IN_MASKS)
        found = [f"{_on_helen(report, way):.2f}" if way in figures else "" for way in ways]
        held = f"{100 * better_reading(best):.2f}" if best else ""
        settings = [str(report["recipe_version"]), f"{report['network_steps']:,}", f"{report['minutes']:.0f}"]
        rows.append([report["study"], *settings, held, *found])
    head = ["run", "recipe version", "network steps", "minutes", "held-out NME %", "HELEN, own decoding"]
    head += ["by soft-argmax", "by arg-max", "with our detector", "in masks"]
    return table(head, rows) if rows else "No study has been run with these versions of the recipes yet.\n"


def _late_gain(report: dict[str, Any]) -> float:
    """Return the reduction of the held-out error in the second half of a run, in percent, by the better decoding."""
    errors = {line["step"]: better_reading(line) for line in report["validation_curve"]}
    half = min(errors, key=lambda step: abs(step - report["steps"] / 2))
    return 100 * (1 - min(errors.values()) / errors[half])


def orderings() -> str:
    """Return the table of the PWC variants, sorted by the paper's error on HELEN, next to ours."""
    printed = next(each for each in PUBLISHED if each.paper == "pwc" and "helen" in each.subsets)
    theirs = {name: values[printed.subsets.index("helen")] for name, values in printed.rows.items()}
    reports = {report["study"]: report for report in measured() if report["study"].startswith("pwc")}
    ours = {name: _on_helen(report) for name, report in reports.items()}
    rows = []
    for name in sorted(reports, key=lambda name: (theirs.get(name, 100.0), name)):
        best, soft = _best(reports[name]), "300w by soft_arg_max"
        row = [f"`{name}`", f"{theirs[name]:.2f}" if name in theirs else "", f"{ours[name]:.2f}"]
        row += [f"{_on_helen(reports[name], soft):.2f}" if soft in reports[name]["measured"] else ""]
        row += [f"{100 * best['nme']:.2f}", f"{100 * best['nme_soft']:.2f}" if "nme_soft" in best else ""]
        rows.append([*row, f"{reports[name]['samples']:,}"])
    better = {name: min(_on_helen(report, way) for way in report["measured"]) for name, report in reports.items()}
    pairs = [pair for pair in combinations(theirs.keys() & ours.keys(), 2) if theirs[pair[0]] != theirs[pair[1]]]
    agreed, read_better = (
        sum((theirs[a] < theirs[b]) == (errors[a] < errors[b]) for a, b in pairs) for errors in (ours, better)
    )
    head = [
        "variant",
        "paper, HELEN",
        "ours, HELEN",
        "by soft-argmax",
        "held-out",
        "by soft-argmax",
        "crops seen",
    ]
    found = f"\nPairs in the paper's order: {agreed} of {len(pairs)}; by the better of both decodings {read_better}.\n"
    return table(head, rows) + found


def cascades() -> str:
    """Return the table of CHS: hourglasses alone, with selective features, and with four regression stages as well."""
    rows = []
    for report in (report for report in measured() if report["study"].startswith("chs")):
        helen = report["measured"]["300w"]["ip"]["helen"]
        best = _best(report)
        row = [f"`{report['study']}`", _theirs(_recipe(report), "300w", "full", "ip"), f"{helen['nme']:.2f}"]
        row += [f"{_on_helen(report):.2f}", f"{100 * best['nme_maps']:.2f}", f"{100 * best['nme']:.2f}"]
        rows.append([*row, f"{report['samples']:,}"])
    head = ["recipe", "paper, inter-pupil, 300W", "HELEN, inter-pupil", "inter-ocular"]
    return table([*head, "held-out: maps", "last stage", "crops seen"], rows)


def stages() -> str:
    """Return the table of the SD-HRNet stages, each starting from the previous one, without and with masks."""
    rows = []
    for name in STAGES:
        if not (FIRST / f"{name}.json").is_file():
            continue
        report = read(FIRST / f"{name}.json")
        recipe, soft = _recipe(report), report["validation_curve"]
        theirs = [_theirs(recipe, faces, "common") for faces in ("300w", "masked300w")]
        rows.append(
            [
                f"`{name}`",
                theirs[0],
                f"{_on_helen(report):.2f}",
                f"{100 * min(line['nme_soft'] for line in soft):.2f}",
                theirs[1],
                f"{_on_helen(report, IN_MASKS):.2f}",
                f"{report['minutes']:.0f}",
            ]
        )
    head = ["run", "paper, HELEN and LFPW", "ours, HELEN", "held-out", "paper, in masks"]
    return table([*head, "ours, HELEN in masks", "minutes"], rows)


def _theirs(recipe: str, faces: str, subset: str, norm: str = "io") -> str:
    """Return the published error of a recipe on a part of a set, or an empty text if there is none."""
    kind = (subset, "nme", norm)
    found = [each for each in published(recipe, faces) if (each.subset, each.measure, each.norm) == kind]
    return f"{found[0].value:.2f}" if found else ""


def masks() -> str:
    """Return the table of RHT with and without its transformations, on faces without and with synthetic masks."""
    rows = []
    for report in (report for report in measured() if report["study"].startswith("rht")):
        best, recipe = _best(report), _recipe(report)
        row = [f"`{report['study']}`", _theirs(recipe, "300w", "full"), f"{_on_helen(report):.2f}"]
        row += [f"{_on_helen(report, IN_MASKS):.2f}", f"{100 * best['nme']:.2f}", f"{100 * best['nme_masked']:.2f}"]
        rows.append([*row, f"{100 * (best['nme_masked'] - best['nme']):.2f}"])
    head = ["run", "paper, 300W", "ours, HELEN", "in masks", "held-out", "in masks", "increase by masks"]
    return table(head, rows)


def _recipe(report: dict[str, Any]) -> str:
    recipe: str = report["command"].split()[2]
    return recipe


def _best(report: dict[str, Any]) -> dict[str, Any]:
    """Return the validation of the best checkpoint."""
    best: dict[str, Any] = min(report["validation_curve"], key=lambda line: line["nme"])
    return best


def _on_helen(report: dict[str, Any], measured: str = "300w") -> float:
    error: float = report["measured"][measured]["io"]["helen"]["nme"]
    return error


def detection() -> str:
    """Return the table of RDFN: bounding boxes and landmarks from whole images."""
    report = read(FIRST / "rdfn.json")
    held = min(report["validation_curve"], key=lambda line: line["nme_lost"])
    test = {by: report["measured"][name]["io"]["helen"] for by, name in (("true", "300w"), ("own", "300w by own"))}
    rows = [
        ["held-out images: average precision at IoU 0.5", f"{held['ap']:.3f}"],
        ["held-out images: recall", f"{held['recall']:.3f}"],
        ["images without a face: false alarms", f"{100 * held['false_alarms']:.1f} %"],
        ["HELEN test, in its own boxes: found", f"{test['own']['found']:.1f} %"],
        ["HELEN test, in its own boxes: NME", f"{test['own']['nme']:.2f} %"],
        ["HELEN test, in true boxes: NME", f"{test['true']['nme']:.2f} %"],
    ]
    return table(["RDFN", ""], rows)


def paper_sizes() -> str:
    """Return the table of short runs at the size of the papers, which check that the loss falls."""
    rows = []
    for report in studies(of_full_size=True):
        (_, first), (_, last) = report["loss_curve"][0], report["loss_curve"][-1]
        options = _options(report["command"], hidden=("--threads", "--clock"))
        rows.append(
            [
                report["study"].removeprefix("full-"),
                options,
                f"{report['minutes']:.1f}",
                f"{first:.4g}",
                f"{last:.4g}",
                f"{last / first:.2f}",
            ]
        )
    return table(["recipe", "options", "minutes", "first ten losses", "last ten losses", "last / first"], rows)


def _options(command: str, *, hidden: tuple[str, ...] = ("--threads", "--minutes")) -> str:
    """Return the options of a run that differ from the recipe's defaults, without those in columns of their own."""
    words = command.split()[3:-2]
    pairs = [f"{name} {value}" for name, value in zip(words[::2], words[1::2], strict=True)]
    return "`" + " ".join(pair for pair in pairs if not pair.startswith(hidden)) + "`"


def _printed(published: list[dict[str, Any]]) -> str:
    """Return the paper's error on HELEN, else on HELEN and LFPW together, else on the whole test part of 300W."""
    errors = {each["subset"]: each["value"] for each in published if (each["measure"], each["norm"]) == ("nme", "io")}
    for subset, note in (("helen", ""), ("common", " (with LFPW)"), ("full", " (full)")):
        if subset in errors:
            return f"{errors[subset]:.2f}{note}"
    return ""


def results() -> str:
    """Return the table of all published results, with ours where we have the data."""
    ours = _by_system()
    rows = [
        [
            f"{each.paper} {each.number}",
            f"`{system}`",
            each.set,
            f"{each.measure} {each.norm}",
            " / ".join(each.subsets),
            " / ".join(f"{value:g}" for value in values),
            *_ours(each, ours.get(system)),
        ]
        for each in PUBLISHED
        for system, values in each.rows.items()
    ]
    return table(
        ["published in", "system", "set", "measure", "parts", "published", "ours", "training data and time"], rows
    )


Found = tuple[dict[str, Any], str]  # results on 300W, and the training data and time


def _by_system() -> dict[str, Found]:
    """Return our runs by row of the papers' tables; a run named like the row is preferred to others of its recipe."""
    rows = [(report, row, found) for report in measured() for row, found in _of_systems(report).items()]
    return {row: found for exact in (False, True) for report, row, found in rows if (report["study"] == row) == exact}


def _of_systems(report: dict[str, Any]) -> dict[str, Found]:
    recipe, figures = _recipe(report), report["measured"]
    cost = f"1,845 faces of 300W, {report['minutes']:.0f} minutes of a core, recipe version 1"
    if "300w by own" in figures:  # the network finds faces itself
        return {recipe: (figures["300w by own"], cost), in_true_boxes(recipe): (figures["300w"], cost)}
    return dict.fromkeys((recipe, *ROWS.get(recipe, ())), (figures["300w"], cost))


def _ours(row: Table, found: Found | None) -> list[str]:
    """Return our figure of the same kind, on the part of the set that we have, with training data and time.

    Heat maps of a cascade (CHS, table 8) are another network than its last stage: the one that ``NAME-maps`` measures.
    """
    figures, cost = found or ({}, "")
    if row.subsets == ("heat maps",):
        return ["", ""]
    helen = figures.get(row.norm, {}).get("helen", {}) if row.set == "300w" else {}
    return [f"{helen[row.measure]:.2f} (helen)", cost] if row.measure in helen else ["", ""]


TABLES = {
    "studies": runs,
    "equal_steps": equal_steps,
    "orderings": orderings,
    "cascades": cascades,
    "masks": masks,
    "stages": stages,
    "detection": detection,
    "paper_sizes": paper_sizes,
    "results": results,
}
