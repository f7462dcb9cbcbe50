"""Several tables on the same treatments, against each table's own score and a bootstrap by hand."""

import numpy as np
import pandas as pd
import pytest

from mscnn.core.errors import DataError
from mscnn.profiling import profile_table, score_table, side_by_side
from mscnn.profiling.side_by_side import SideBySide, compare, on_same_treatments
from tests.profiling.drawn import screen
from tests.profiling.test_score_table import OPTIONS

MEASURED = OPTIONS | {"numbers": True, "bootstrap": 200}


def tables(**frames: pd.DataFrame) -> dict:
    return {name: profile_table.from_frame(frame, name) for name, frame in frames.items()}


def test_treatments_that_a_table_lacks_are_left_out_of_all():
    one, other = screen(), screen(seed=1)
    one = one[~((one["Metadata_Compound"] == "c1") & (one["Metadata_Concentration"] == 0.1))]
    other = other[~other["Metadata_Compound"].isin(["c2", "c3"])].assign(
        Metadata_Compound=other["Metadata_Compound"].replace({"c4": " C4", "DMSO": "dmso"}))
    chosen, left_out = on_same_treatments(tables(one=one, other=other), "DMSO")
    assert left_out == {"one": 4, "other": 1}
    for table in chosen.values():
        treated = table.metadata[~table.is_control("DMSO")]
        assert len(treated[["Metadata_Compound", "Metadata_Concentration"]].drop_duplicates()) == 36 - 5
        assert table.is_control("DMSO").sum() == 48
    assert {*chosen["other"].metadata["Metadata_Compound"]} >= {"C4", "dmso"}


def test_tables_of_other_screens_and_of_other_mechanisms_are_refused():
    renamed = screen().assign(Metadata_Compound=lambda frame: "x" + frame["Metadata_Compound"])
    with pytest.raises(DataError, match="no treatment in common: their compounds differ") as refusal:
        on_same_treatments(tables(one=screen(), other=renamed), "DMSO")
    assert refusal.value.details == ["one: c0, c1, c10, c11, c12 ...", "other: xc0, xc1, xc10, xc11, xc12 ..."]
    in_nanomolar = screen().assign(Metadata_Concentration=lambda frame: 1000 * frame["Metadata_Concentration"])
    with pytest.raises(DataError, match="compounds agree, concentrations do not; give all tables one unit"):
        on_same_treatments(tables(one=screen(), other=in_nanomolar), "DMSO")
    relabelled = screen().replace({"Metadata_MOA": {"m1": "m9"}})
    with pytest.raises(DataError, match="mechanisms of treatments differ between the tables") as refusal:
        on_same_treatments(tables(one=screen(), other=relabelled), "DMSO")
    assert refusal.value.details[0] == "c1 0.1: m1 (one); m9 (other)"


def test_a_number_is_that_of_the_table_alone_and_its_difference_is_in_pairs():
    frames = tables(weak=screen(0.2), strong=screen(2.0, seed=1))
    alone = {name: score_table.score(table, **MEASURED) for name, table in frames.items()}
    chosen, left_out = on_same_treatments(frames, "DMSO")
    found = compare({name: score_table.score(table, **MEASURED) for name, table in chosen.items()}, left_out)
    assert (found.tables, found.treatments, found.left_out) == (["weak", "strong"], 32, {"weak": 0, "strong": 0})
    ranked = found.numbers["mAP, other compounds"]
    assert [value.value for value in ranked] == [one.nsc.mean_average_precision.mean for one in alone.values()]
    assert ranked[0].difference is None
    precision = pd.DataFrame({name: {(row.compound, row.concentration): row.nsc.average_precision for row in one.treatments}
                              for name, one in alone.items()})
    change = (precision["strong"] - precision["weak"]).groupby(level=0).mean()
    drawn = np.random.default_rng(1).choice(change.to_numpy(), (4000, len(change))).mean(axis=1)
    assert ranked[1].difference.difference == pytest.approx(change.mean())
    expected = np.quantile(drawn, [0.025, 0.975])
    assert [ranked[1].difference.low, ranked[1].difference.high] == pytest.approx(expected, abs=0.02)
    activity = next(values for name, values in found.numbers.items() if name.startswith("mAP against controls, chance"))
    assert activity[1].value == alone["strong"].numbers.activity.mean_average_precision
    assert activity[1].difference.low > 0
    assert found.numbers["plate of control wells, chance 0.17"][1].difference is None
    assert SideBySide.from_json(found.to_json()) == found


def test_a_table_against_itself_differs_by_nothing():
    frames = tables(one=screen(), other=screen())
    scores = {name: score_table.score(table, **MEASURED) for name, table in frames.items()}
    found = compare(scores, {"one": 0, "other": 0})
    paired = [values[1].difference for values in found.numbers.values() if values[1].difference]
    assert len(paired) == 6
    assert all((change.difference, change.low, change.high) == (0, 0, 0) for change in paired)
    lines = list(side_by_side.lines(found))
    assert lines[0] == "32 treatments with a mechanism in all of 2 tables"
    assert lines[2].split()[-2:] == ["[+0.000,", "+0.000]"]


def test_a_number_that_one_table_lacks_is_a_dash():
    frames = tables(one=screen(), other=screen().drop(columns="Metadata_Week"))
    scores = {name: score_table.score(table, **MEASURED) for name, table in frames.items()}
    found = compare(scores, {"one": 0, "other": 0})
    assert [value.value is None for value in found.numbers["mAP, other batches"]] == [False, True]
    assert any(line.startswith("mAP, other batches") and line.endswith(" -") for line in side_by_side.lines(found))


def test_a_mechanism_that_one_table_lacks_is_the_others():
    chosen, _ = on_same_treatments(tables(one=screen(), other=screen().assign(Metadata_MOA="")), "DMSO")
    assert chosen["other"].metadata["Metadata_MOA"].tolist() == chosen["one"].metadata["Metadata_MOA"].tolist()


def test_numbers_of_other_rankings_or_other_wells_are_not_subtracted():
    """Without plates, wells are ranked with all control wells: another chance, so another row."""
    frames = tables(one=screen(), other=screen().drop(columns="Metadata_Plate"))
    scores = {name: score_table.score(table, **MEASURED) for name, table in frames.items()}
    found = compare(scores, {"one": 0, "other": 0}).numbers
    ranked = [[value.value is None for value in values] for name, values in found.items() if "against controls" in name]
    assert sorted(ranked) == [[False, True]] * 2 + [[True, False]] * 2


def test_treatments_are_paired_in_any_spelling_and_where_both_count():
    respelt = screen(seed=1).assign(Metadata_Compound=lambda frame: frame["Metadata_Compound"].str.upper())
    trained = screen().assign(Metadata_Scored=lambda frame: frame["Metadata_Compound"] != "c1")
    frames = tables(one=trained, other=respelt)
    alone = {name: score_table.score(table, **MEASURED) for name, table in frames.items()}
    found = compare(alone, {"one": 0, "other": 0}).numbers["mAP, other compounds"][1].difference
    precision = [{(row.compound.lower(), row.concentration): row.nsc.average_precision for row in one.treatments
                  if row.counts} for one in alone.values()]
    shared = sorted(set(precision[0]) & set(precision[1]))
    assert len(shared) == 30
    assert found.difference == pytest.approx(np.mean([precision[1][key] - precision[0][key] for key in shared]))
