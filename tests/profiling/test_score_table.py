"""The steps from a table of profiles to its scores, one by one and together."""

import numpy as np
import pandas as pd
import pytest

from mscnn.core.errors import DataError
from mscnn.profiling import correction, profile_table, score_table
from mscnn.profiling.profile_table import ProfileTable
from tests.profiling.drawn import screen

OPTIONS = {"similarity": "cosine", "normalise": "none", "sphere": False, "control": "DMSO", "aggregate_wells": "mean",
           "aggregate_treatments": "median", "taxol_controls": "keep", "bootstrap": 20, "permutations": 20, "seed": 0,
           "numbers": False}


def drawn_table() -> ProfileTable:
    """Six compounds of two mechanisms and DMSO, whose features differ in scale and are correlated."""
    rng, rows = np.random.default_rng(0), []
    for week in ("1", "2"):
        for number in range(7):
            compound, mechanism = (f"c{number}", f"m{number % 2}") if number < 6 else ("DMSO", "DMSO")
            rows += [(compound, 0.3, mechanism, f"P{week}", f"{well}{number}", week) for well in "BCDE"]
    rows.append(("taxol", 0.3, "m0", "P1", "B11", "1"))
    names = [f"Metadata_{name}" for name in ("Compound", "Concentration", "MOA", "Plate", "Well", "Week")]
    metadata = pd.DataFrame(rows, columns=names).assign(Scored=True)
    mixed = rng.normal(size=(len(rows), 4)) @ rng.normal(size=(4, 4)) * [1, 10, 100, 1000] + [5, 50, 0, 0]
    return ProfileTable(metadata, mixed, ["a", "b", "c", "d"])


def test_a_table_is_normalised_then_sphered_where_asked():
    table = drawn_table()
    plain = score_table.score(table, **OPTIONS).scores
    over_rows = (table.features_SF - table.features_SF.mean(axis=0)) / table.features_SF.std(axis=0)
    for normalise in ("none", "standard", "z", "mad", "percentile"):
        for sphere in (False, True):
            by_hand = (table if normalise == "none" else ProfileTable(table.metadata, over_rows, table.names)
                       if normalise == "standard" else correction.normalise_plates(table, normalise, "DMSO"))
            by_hand = correction.whiten(by_hand, "DMSO") if sphere else by_hand
            expected = score_table.score(by_hand, **OPTIONS).scores
            got = score_table.score(table, **OPTIONS | {"normalise": normalise, "sphere": sphere}).scores
            assert got == expected
            assert (got == plain) == (normalise == "none" and not sphere)


def test_standard_needs_no_plate_and_leaves_a_constant_feature_at_0():
    table = drawn_table()
    constant = ProfileTable(table.metadata.drop(columns=["Metadata_Plate", "Metadata_Well"]),
                            np.column_stack([table.features_SF, np.full(len(table.metadata), 0.1)]), [*table.names, "e"])
    assert (np.abs(correction.standardise(constant).features_SF[:, 4]) < 1e-12).all()
    assert score_table.score(constant, **OPTIONS | {"normalise": "standard"}).nsc.total == 7  # c0 to c5, and taxol


def test_a_screen_without_weeks_has_all_scores_but_nscb():
    table = drawn_table()
    without = ProfileTable(table.metadata.assign(Metadata_Week=""), table.features_SF, table.names)
    scored, expected = (score_table.score(one, **OPTIONS) for one in (without, table))
    assert scored.nscb is None
    assert [row.nscb for row in (*scored.treatments, *scored.mechanisms)] == [None] * (len(scored.treatments) + 2)
    assert scored.nsc.mean_average_precision.mean == expected.nsc.mean_average_precision.mean
    assert "NSCB  nor same batch     not scored: no row has a week or batch" in str(scored)
    assert "mAP   of other batches" not in str(scored)
    assert scored.scores.from_json(scored.scores.to_json()) == scored.scores


def test_weeks_that_are_filled_in_part_leave_out_nscb_alone():
    table = drawn_table()
    weeks = table.metadata["Metadata_Week"].where(table.metadata.index % 9 > 0, "")
    partial, without = (score_table.score(ProfileTable(table.metadata.assign(Metadata_Week=given), table.features_SF,
                                                       table.names), **OPTIONS) for given in (weeks, ""))
    assert partial.scores == without.scores  # NSC and mAP need no week, and no null distribution is of some weeks only
    lacking = int(((weeks == "") & (table.metadata["Metadata_MOA"] != "DMSO")).sum())
    assert (partial.counts.weekless, without.counts.weekless) == (lacking, 0)
    assert f"not scored: {lacking} rows of a known mechanism without a week or batch; fill in Metadata_Week" in str(partial)


def test_no_treatment_right_of_none_is_a_note_with_a_remedy_and_never_a_score():
    """Each mechanism has one compound, as in the profiles of the held-out compounds of a small screen."""
    table = drawn_table()
    alone = ProfileTable(table.metadata.assign(Metadata_MOA=table.metadata["Metadata_Compound"]), table.features_SF,
                         table.names)
    scored = score_table.score(alone, **OPTIONS | {"numbers": True})
    assert (scored.nsc.total, "0/0" in str(scored)) == (0, False)
    reason = scored.not_scored()["nsc"]
    assert reason.startswith("no treatment that counts shares its mechanism with another compound; fill in Metadata_MOA")
    assert reason.endswith("`mscnn evaluate --profiles all`")
    assert any(line.endswith(f"not scored: {reason}") and line.startswith("NSC ") for line in scored.lines())
    assert f"NSC not scored: {reason}" in scored.notes()
    assert scored.to_json()["not_scored"]["nsc"] == reason
    assert set(score_table.score(table, **OPTIONS).to_json()["not_scored"]) == {"nscb"}  # all compounds are in all weeks


def test_a_table_of_which_nothing_can_be_said_is_refused():
    few = drawn_table().select([0, 8])
    with pytest.raises(score_table.NothingToMatch, match="nothing can be scored: no treatment that counts shares its"):
        score_table.score(ProfileTable(few.metadata.assign(Metadata_MOA=["x", "y"]), few.features_SF, few.names),
                          **OPTIONS | {"numbers": True})


def test_one_is_singular_where_a_console_counts():
    table = drawn_table()
    one = table.select((table.metadata["Metadata_Compound"] == "c0").to_numpy() | table.is_control("DMSO"))
    doses = [number % 4 / 2 for number in range(len(one.metadata))]
    one = ProfileTable(one.metadata.assign(Metadata_Concentration=doses), one.features_SF, one.names)
    shown = str(score_table.score(one, **OPTIONS | {"numbers": True}))
    assert "1 compound is too few to judge stability; 6 are needed" in shown


def test_taxol_controls_are_dropped_where_asked():
    counts = {keep: score_table.score(drawn_table(), **OPTIONS | {"taxol_controls": keep}).counts.rows
              for keep in ("keep", "drop")}
    assert counts == {"keep": 57, "drop": 56}


def test_a_table_without_mechanisms_is_measured_and_one_that_says_nothing_is_refused():
    table = profile_table.from_frame(screen().assign(Metadata_MOA=""), "drawn")
    found = score_table.score(table, **OPTIONS | {"numbers": True})
    assert (found.scores, found.nsc, found.treatments) == (None, None, [])
    assert found.numbers.activity.active > 0
    assert "not matched: no row but DMSO has a mechanism" in str(found)
    with pytest.raises(DataError, match="no row but DMSO has a mechanism"):
        score_table.score(table.select(np.arange(2)), **OPTIONS | {"numbers": True})
