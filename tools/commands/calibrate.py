"""``nasion calibrate``: make the score of a landmark network a probability."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from ...engines.errors import ModelError
from ...engines.output_paths import check_output_paths, write_file
from ..machine import provenance, short
from ..results import Json, json_results


def calibrate(
    model: str,
    *,
    data: Path,
    out: Annotated[Path, Parameter(alias="-o")],
    card: bool = False,
    json: Json = None,
    force: bool = False,
    quiet: bool = False,
) -> None:
    """Fit the score of a landmark network on held-out training faces, and write the network with it.

    The score of a face becomes the probability that the mean error of its landmarks is at most 10 % of the distance
    between the outer eye corners, and the default of --min-score the value that keeps 99.5 % of the right ones. Half
    of the crops are used to fit, the other half for the figures.

    Args:
        model: .onnx file, or the name of a shipped network.
        data: folder of the training data of the shipped networks; test parts are not used.
        out: .onnx file to write.
        card: also bring the model card beside --out up to date, for maintainers who ship the network.
        json: also write the figures, with machine and versions, to this file; - for standard output (default: none).
        force: replace files that exist.
        quiet: print warnings and errors only.
    """
    from ...engines.select import open_runtime
    from ...engines.zoo import model_path
    from ...realtime.tracking.aligner import Aligner

    path = model_path(model)
    check_output_paths({"--out": out}, force=force, suffixes=(".onnx",), inputs=[path])
    if path.suffix != ".onnx":
        raise ModelError(f"model {model!r} is a {path.suffix} file; give an .onnx file")
    with json_results(json, force=force, inputs=[path], others={"--out": out}, silent=quiet) as to_json:
        from ...trainers.data import TrainingData
        from ...trainers.evaluation.calibration import calibrate as fit_score
        from ...trainers.evaluation.calibration import crops_of
        from ...trainers.export.files import renew_card, with_spec

        _, held = TrainingData.read(data)
        with open_runtime(path, device="cpu") as runtime:
            runtime.spec = replace(runtime.spec, score=None)
            aligner = Aligner(runtime)
            spec, figures = fit_score(replace(runtime.spec, scheme=aligner.scheme), crops_of(aligner, held.faces))
        write_file(out, with_spec(path, spec))
        print(table(figures))
        report = provenance(f"nasion calibrate {short(model)} --data DATA --out {short(str(out))}")
        if card:
            print(f"card: {renew_card(out, report | {'figures': figures})}")
        to_json.write(report | {"figures": figures})


def table(figures: Mapping[str, Any]) -> str:
    """Return the figures and the calibration curve as plain text."""
    auc, covered = figures["auc"], figures["covered"]
    lines = [
        f"{figures['crops']} crops, landmarks right in {figures['right_percent']} %",
        f"AUC of score {auc['score']}, mean confidence {auc['confidence']}, presence {auc['presence']}",
        f"from score {figures['threshold']}: {figures['right_kept_percent']} % of the right ones kept, "
        f"{figures['wrong_kept_percent']} % of the wrong ones",
        f"covered faces: right in {covered['right_percent']} % of {covered['crops']} crops, of which "
        f"{covered['right_kept_percent']} % kept; {covered['wrong_kept_percent']} % of the wrong ones",
        "score  right  crops",
        *(f"{each['score']:5.2f}  {each['right']:5.2f}  {each['crops']:5}" for each in figures["curve"]),
    ]
    return "\n".join(lines)
