"""``nasion evaluate-papers``: runs of several seeds and recipes, reports, curves, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nasion.engines.errors import NasionError
from nasion.tools.commands.evaluate_papers import evaluate_papers
from nasion.tools.results import finite

from ...support.data_sets.labelled import write_data
from ...support.model_files.trained import write_checkpoint

NAN = float("nan")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def test_the_command_measures_several_seeds_and_writes_draws_and_prints(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [str(write_checkpoint(tmp_path / f"seed-{k}", seed=k)) for k in range(2)]
    report, plot = tmp_path / "r.json", tmp_path / "ced.svg"
    evaluate_papers(["300w"], data=data, model=runs, json=report, plot=plot, device="cpu")
    out = capsys.readouterr().out
    assert "300w, test part, 13 faces, crops around the annotated landmarks; pwc-hybrid" in out
    assert "13 of 330" in out
    assert "±" in out
    written = json.loads(report.read_text())
    assert written.keys() >= {"command", "date", "machine", "versions", "system", "models", "measured"}
    assert [model["model"] for model in written["models"]] == ["seed-0/best.pt", "seed-1/best.pt"]
    cell = written["measured"]["300w"]["norms"]["io"]["helen"]["nme"]
    assert len(cell["each"]) == 2
    assert cell["deviation"] > 0
    assert {row["value"] for row in written["measured"]["300w"]["published"]} == {3.15, 3.36, 6.37}
    assert str(tmp_path) not in report.read_text()
    assert "seed-1/best.pt" in plot.read_text()


def test_networks_of_several_recipes_are_reported_and_drawn_each_with_their_paired_differences(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [str(write_checkpoint(tmp_path / name, name)) for name in ("pwc-hybrid", "pwc")]
    report, plot = tmp_path / "r.json", tmp_path / "ced.svg"
    evaluate_papers(["300w"], data=data, model=runs, each=True, json=report, plot=plot, device="cpu")
    written = json.loads(report.read_text())
    assert [each["system"] for each in written["each"]] == ["pwc-hybrid", "pwc"]
    assert all("nme" in each["measured"]["300w"]["norms"]["io"]["helen"] for each in written["each"])
    (pair,) = written["paired"]["300w"]
    errors = [each["measured"]["300w"]["norms"]["io"]["helen"]["nme"]["mean"] for each in written["each"]]
    assert pair["difference"] == pytest.approx(errors[1] - errors[0], abs=1e-2)
    assert pair["faces"] == 13
    assert "percentage points over 13 faces" in capsys.readouterr().out
    drawn = plot.read_text()
    assert "pwc-hybrid/best.pt" in drawn
    assert "pwc/best.pt" in drawn
    assert "eyes" in drawn


def test_the_command_measures_a_shipped_network_through_our_detector(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate_papers(["300w", "ytf68"], data=data, model=["landmarks-68"], detector="face-detector", paper="pwc")
    out = capsys.readouterr().out
    assert "faces found by face-detector; pwc" in out
    assert "3.34" in out  # the paper's HELEN
    assert "ytf68, test part" in out


def test_a_network_with_a_detector_of_its_own_is_measured_with_and_without_it(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(write_checkpoint(tmp_path / "run", "rdfn"))
    cut = "images cut around the annotated landmarks, which span 0.8 of the side"
    evaluate_papers(["300w"], data=data, model=[run], device="cpu")
    assert f"{cut}, true boxes; rdfn-gt\n" in capsys.readouterr().out
    evaluate_papers(["300w"], data=data, model=[run], detector="own", device="cpu")
    assert f"{cut}, boxes of its own detector; rdfn\n" in capsys.readouterr().out
    with pytest.raises(NasionError, match=r"finds faces itself: give --detector own"):
        evaluate_papers(["300w"], data=data, model=[run], detector="face-detector")
    with pytest.raises(NasionError, match=r"'landmarks-68' has no detector of its own"):
        evaluate_papers(["300w"], data=data, model=["landmarks-68"], detector="own")


def test_a_report_of_faces_that_were_all_missed_is_valid_json(data: Path, tmp_path: Path) -> None:
    run, report = str(write_checkpoint(tmp_path / "run")), tmp_path / "r.json"
    evaluate_papers(["300w"], data=data, model=[run], detector="face-detector", json=report, device="cpu")

    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    cell = json.loads(report.read_text(), parse_constant=refuse)["measured"]["300w"]["norms"]["io"]["all"]
    assert cell["found"]["mean"] < 100
    assert cell["fr_10"]["mean"] > 0
    assert finite({"nme": {"each": [NAN, 1.0]}}) == {"nme": {"each": [None, 1.0]}}


def test_what_cannot_be_measured_together_says_so(data: Path, tmp_path: Path) -> None:
    runs = [str(write_checkpoint(tmp_path / name, name)) for name in ("pwc-hybrid", "pwc")]
    with pytest.raises(NasionError, match=r"different recipes: pwc-hybrid, pwc; .* with --each"):
        evaluate_papers(["300w"], data=data, model=runs)
    with pytest.raises(NasionError, match=r"different recipes: pwc-hybrid, pwc; .* with --each"):
        evaluate_papers(["300w"], data=data, model=runs, paper="pwc")
    with pytest.raises(NasionError, match=r"are the same run, with one seed; leave one out"):
        evaluate_papers(["300w"], data=data, model=[runs[0], runs[0]])
    wider = str(write_checkpoint(tmp_path / "wider", "pwc", width=1 / 32))
    with pytest.raises(NasionError, match=r"of one recipe but differ in width 0.015625 and 0.03125; .* --each"):
        evaluate_papers(["300w"], data=data, model=[runs[1], wider], paper="pwc")
    with pytest.raises(NasionError, match=r"takes no reference faces; --references needs best.pt of rht-r"):
        evaluate_papers(["300w"], data=data, model=runs[:1], references="300w")
    with pytest.raises(NasionError, match=r"no paper reports results of 'x'; known: pwc-direct"):
        evaluate_papers(["300w"], data=data, model=runs[:1], paper="x")
    with pytest.raises(NasionError, match=r"ced\.gif: curves are drawn as \.svg or \.png"):
        evaluate_papers(["300w"], data=data, model=runs[:1], plot=tmp_path / "ced.gif")
