"""All numbers of a table together: each as its own module gives it, and what cannot be had as a note."""

import numpy as np
import pandas as pd
import pytest

from mscnn.profiling import (
    clusters,
    correction,
    known,
    probes,
    profile_numbers,
    profile_table,
    replicates,
    treatment_profiles,
)
from mscnn.profiling.profile_numbers import CLUSTERS, HITS, NEAREST, ProfileNumbers, lines, measure, notes
from tests.profiling.drawn import screen


def measured(frame: pd.DataFrame, normalise: str = "none", **options):
    table = profile_table.from_frame(frame, "drawn")
    corrected, done = correction.correct(table, normalise=normalise, sphere=False, control="DMSO")
    return measure(table, corrected, done, "DMSO", draws=100, **options)


def test_each_number_is_that_of_its_module():
    found = measured(screen(), "mad")
    table = profile_table.from_frame(screen(), "drawn")
    wells = treatment_profiles.wells(correction.normalise_plates(table, "mad", "DMSO"))
    activity, hits = replicates.activity(wells, "DMSO")
    frame, profiles_TF = treatment_profiles.of_wells(wells, "DMSO")
    assert found.numbers.activity == activity
    pd.testing.assert_frame_equal(found.tables[HITS], hits)
    assert found.numbers.probes == probes.probes(wells, "DMSO", is_fitted=True)
    assert found.numbers.probes_before == probes.probes(treatment_profiles.wells(table), "DMSO", is_fitted=True)
    assert [probe.wells for probe in found.numbers.probes[:2]] == ["treated", "treated"]
    compared = known.compare_with_known(frame, profiles_TF, draws=100)
    assert found.numbers.known == compared.score
    pd.testing.assert_frame_equal(found.tables[NEAREST], compared.nearest)
    is_active = frame.merge(hits, on=["Metadata_Compound", "Metadata_Concentration"])["Active"].to_numpy()
    assert 2 < is_active.sum() < len(frame)
    pd.testing.assert_frame_equal(found.tables[CLUSTERS],
                                  clusters.cluster_treatments(frame[is_active], profiles_TF[is_active]).table)
    assert {name: list(table) for name, table in found.tables.items()} == profile_numbers.LISTS
    assert ProfileNumbers.from_json(found.numbers.to_json()) == found.numbers


def test_a_console_shows_each_number_with_what_it_is_compared_with():
    shown = "\n".join(lines(measured(screen(plate_effect=1.0), "z").numbers))
    for part in ("each plate scaled by its control wells (--normalise z); fitted on 48 rows of DMSO, 48 wells of 6 plates",
                 "with q < 0.05; mAP against control wells of the same plate", "groups of 3 control wells at one position",
                 "plate from profiles      balanced accuracy", "(before: ", "known or new mechanism   AUC", "(Jaccard"):
        assert part in shown
    assert "corrected" not in "\n".join(lines(measured(screen()).numbers))


def test_a_console_says_by_which_test_treatments_are_active():
    frame = screen(4.0)
    is_first = ~frame.duplicated(["Metadata_Compound", "Metadata_Concentration"])
    one_well = frame[is_first | (frame["Metadata_Compound"] == "DMSO")]
    found = measured(one_well, "mad")
    shown = "\n".join(lines(found.numbers))
    assert f"{found.numbers.activity.active:4d}/36   with q < 0.05, by distance from control wells\n" in shown
    assert "mAP against" not in shown  # there are no replicates
    assert "note: q is of the distance from control wells (replicates cannot decide: each treatment has one well" in shown
    uncorrected = measured(one_well, "none")  # the test sees profiles before any correction
    assert uncorrected.numbers.activity.active == found.numbers.activity.active
    assert found.numbers.says_something


@pytest.mark.parametrize(("change", "note"), [
    (lambda frame: frame[~frame.duplicated(["Metadata_Compound", "Metadata_Concentration"])
                         | (frame["Metadata_Compound"] == "DMSO")], "one well only"),
    (lambda frame: frame[frame["Metadata_Compound"] != "DMSO"], "DMSO"),
    (lambda frame: frame[frame["Metadata_Plate"] == "0-0"], "week from profiles: "),
    (lambda frame: frame.drop(columns=["Metadata_Plate", "Metadata_Well"]), "add Metadata_Plate"),
    (lambda frame: frame.drop(columns="Metadata_Well"), "table: no Metadata_Well: each row counts as a well"),
    (lambda frame: frame.assign(Metadata_Well=frame["Metadata_Well"].where(frame["Metadata_Compound"] != "c1", "")),
     "table: 6 rows without Metadata_Plate or Metadata_Well: each counts as a well"),
    (lambda frame: frame.assign(Metadata_Concentration=frame["Metadata_Concentration"].where(
        (frame["Metadata_Compound"] != "c1") | (frame["Metadata_Concentration"] > 0.5))),
     "table: 1 compound with concentrations in some rows only"),
    (lambda frame: frame.assign(Count=5.0), "table: Count are features, too"),
    (lambda frame: frame.assign(**{f"f{number}": 1.0 for number in range(12)}), "alike"),
    (lambda frame: frame.assign(Metadata_MOA=""), "known or new mechanism: ")])
def test_what_cannot_be_had_is_a_line_and_all_else_is_there(change, note):
    found = measured(change(screen()))
    said = [f"{what}: {why}" for what, why in notes(found.numbers)]
    assert any(note in line for line in said), said
    assert all("\n" not in line for line in said)
    assert {*found.tables} == {*profile_numbers.LISTS}
    assert len(found.numbers.probes) == 4


def test_a_constant_feature_and_doses_that_are_not_given_change_nothing():
    frame = screen()
    frame.loc[frame["Metadata_Concentration"] == 1.0, "Metadata_Concentration"] = np.nan
    found = measured(frame.assign(constant=3.0), "standard")
    expected = measured(screen(), "standard")
    assert found.numbers.activity == expected.numbers.activity
    assert len(found.tables[CLUSTERS]) == len(expected.tables[CLUSTERS]) > 0
    assert found.tables[CLUSTERS]["Metadata_Concentration"].isna().any()
