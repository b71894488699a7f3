from __future__ import annotations

import pytest

from nasion.trainers.evaluation.published import PAPERS, SIZES, SYSTEMS, TABLES, in_true_boxes, printed, published
from nasion.trainers.systems import all_recipes


def test_a_system_is_looked_up_by_set() -> None:
    found = {result.subset: result for result in published("sd-hrnet-distil", "300w")}
    assert {subset: result.value for subset, result in found.items()} == {
        "common": 2.93,
        "challenging": 5.32,
        "full": 3.40,
    }
    assert found["challenging"].spread == 0.05
    assert found["full"].source == "sd-hrnet, table 2"
    assert {result.norm for result in found.values()} == {"io"}


def test_several_tables_of_one_set_come_together() -> None:
    full = {(r.measure, r.norm): r.value for r in published("chs", "cofw")}
    assert full[("nme", "ip")] == 4.56
    assert full[("auc_10", "io")] == 68.33
    assert full[("fr_10", "io")] == 0


def test_nothing_printed_is_an_empty_answer() -> None:
    assert published("landmarks-68", "300w") == ()
    assert published("pwc", "wflw") == ()


def test_a_recipe_finds_its_row_under_another_name_and_its_own_number_comes_first() -> None:
    assert published("sd-hrnet-cofw", "cofw")[0].value == 3.69
    awing = {(r.subset, r.norm): r.value for r in published("chs-awing", "300w")}
    assert awing["full", "ip"] == 4.44  # of the ablation; 4.31 is what the paper quotes
    assert awing["full", "io"] == 3.07


PRINTED_TWICE = {("sd-hrnet-distil", "300w", "full", "nme", "io")}  # 3.40 in table 2, 3.39 in table 6


def test_the_last_row_of_the_distillation_table_is_the_whole_method() -> None:
    (table,) = [table for table in TABLES if (table.paper, table.number) == ("sd-hrnet", "table 6")]
    assert table.rows.keys() <= all_recipes().keys()
    assert table.rows["sd-hrnet-distil"] == (3.39,)
    assert "3.40 in table 2" in table.note
    assert {r.value for r in published("sd-hrnet-distil", "300w") if r.subset == "full"} == {3.40}


def test_aflw_stands_beside_the_paper_by_the_box_that_the_paper_divides_by() -> None:
    chs = {(r.measure, r.norm): r.value for r in published("chs", "aflw")}
    assert chs == {
        ("nme", "diag"): 0.96,
        ("nme", "box"): 1.36,
        ("auc_7", "box"): 81.1,
        ("nme", "tight-diag"): 1.26,
        ("nme", "tight-box"): 1.91,
        ("auc_7", "tight-box"): 73.5,
    }
    norms = {name: {r.norm for r in published(name, "aflw")} for name in ("rdfn", "rht-r", "rht-stm")}
    assert norms == {"rdfn": {"box"}, "rht-r": {"tight-box", "tight-diag"}, "rht-stm": {"tight-diag"}}


def test_true_boxes_have_a_row_of_their_own() -> None:
    assert {in_true_boxes(name) for name in ("rdfn", "rdfn-landmarks")} == {"rdfn-gt"}
    assert in_true_boxes("rdfn-gca") == "rdfn-gca", "an ablation without numbers"


def test_every_row_has_a_value_for_each_subset_and_no_number_is_there_twice() -> None:
    seen = set()
    for table in TABLES:
        assert table.paper in PAPERS
        for name, values in (*table.rows.items(), *table.spread.items()):
            assert len(values) == len(table.subsets), (table.number, name)
        for row in table.rows:
            keys = {(row, table.set, subset, table.measure, table.norm) for subset in table.subsets}
            assert keys & seen <= PRINTED_TWICE, (table.number, row)
            seen |= keys
        assert table.spread.keys() <= table.rows.keys()


def test_all_numbers_are_percent() -> None:
    for table in TABLES:
        for values in table.rows.values():
            low, high = {"nme": (0.5, 30), "fr_10": (0, 15), "auc_7": (50, 90), "auc_10": (30, 80)}[table.measure]
            assert all(low <= value <= high for value in values), (table.paper, table.number)


def test_a_full_set_lies_between_its_parts() -> None:
    for table in TABLES:
        if "common" in table.subsets:
            assert all(common < full < challenging for common, challenging, full in table.rows.values())


def test_the_full_set_of_300w_is_the_mean_of_its_554_and_135_faces() -> None:
    """A slip in typing would show here."""
    tables = [each for each in TABLES if each.set == "300w" and each.subsets == ("common", "challenging", "full")]
    rows = [(name, row) for each in tables if each.measure == "nme" for name, row in each.rows.items()]
    assert len(rows) > 15
    for system, (common, challenging, full) in rows:
        assert (554 * common + 135 * challenging) / 689 == pytest.approx(full, abs=0.025), system


def test_of_several_rows_parts_and_whole_are_of_the_same_one() -> None:
    """RHT-R is exported with the neutral face, of which only the whole of 300W is printed."""
    by_eye_corners = [(r.subset, r.value) for r in published("rht-r", "300w") if (r.measure, r.norm) == ("nme", "io")]
    assert by_eye_corners == [("full", 2.88)]
    assert {r.value for r in published("rht-r", "cofw") if r.measure == "nme"} == {4.42}


def test_the_total_of_the_pwc_study_is_the_mean_over_its_sets() -> None:
    faces = {"helen": 330, "lfpw": 224, "ibug": 135, "indoor": 300, "outdoor": 300}
    for system in (name for name in SYSTEMS if name.startswith("pwc")):
        parts = [*published(system, "300w"), *published(system, "300w-private")]
        (whole,) = published(system, "300w+300w-private")
        assert "no nasion command measures" in whole.source
        total = whole.value
        assert sum(faces[r.subset] * r.value for r in parts) / 1289 == pytest.approx(total, abs=0.011), system


def test_printed_figures_know_how_exact_they_are() -> None:
    assert printed("24.15 M") == (24_150_000, pytest.approx(5_000))
    assert printed("4.3 G") == (4.3e9, pytest.approx(5e7))
    assert printed("82,947,658") == (82_947_658, 0.5)
    assert all(printed(size.parameters) for size in SIZES.values() if size.parameters)
