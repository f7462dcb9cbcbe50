"""Known compounds of a training, kept beside its checkpoint, and new ones compared with them; screens are drawn."""

import numpy as np
import pandas as pd
import pytest

from mscnn.core.errors import DataError
from mscnn.evaluation import known_profiles, profile_scores
from mscnn.profiling import known, profile_table, treatment_profiles
from mscnn.profiling.correction import correct
from tests.profiling.drawn import screen

RULES = {"aggregate_wells": "mean", "aggregate_treatments": "median", "draws": 50, "seed": 0}


def training(scored: tuple[str, ...] = ("c1", "c2", "c3", "c4", "c10", "c11")) -> pd.DataFrame:
    """A drawn screen; the network was trained on all compounds but those that are scored."""
    return screen().assign(Metadata_Scored=lambda frame: frame["Metadata_Compound"].isin([*scored, "DMSO"]))


def another(offset: float = 0.0) -> pd.DataFrame:
    """Other wells of compounds of the same mechanisms, none of which is known; all features are shifted."""
    frame = screen(seed=5, unknown=1)
    features = [name for name in frame if name.startswith("f")]
    return frame.assign(**{name: frame[name] + offset for name in features}, Metadata_Compound=[
        name if name == "DMSO" else f"new {name}" for name in frame["Metadata_Compound"]])


def test_wells_with_a_mechanism_and_of_the_control_are_kept_and_read_for_the_same_checkpoint_alone(tmp_path):
    wells = known_profiles.of_fields(pd.concat([training()] * 2), "dmso", "mean")
    known_profiles.write(wells, "abc", tmp_path)
    found = known_profiles.read(tmp_path, "abc")
    expected = training().query("Metadata_MOA != ''")
    assert len(found.metadata) == len(expected)  # two fields are one well
    assert "c0" not in set(found.metadata["Metadata_Compound"])  # its mechanism is not known
    counts = found.metadata.groupby("Metadata_Compound")["Scored"].first()
    assert counts[["c1", "c5", "DMSO"]].tolist() == [True, False, True]
    np.testing.assert_allclose(np.sort(found.features_SF, axis=0), np.sort(
        expected[found.names].to_numpy(np.float32), axis=0))
    assert known_profiles.read(tmp_path, "other") is None
    assert known_profiles.read(tmp_path / "nothing", "abc") is None
    (tmp_path / known_profiles.FILE).write_text("no parquet")
    with pytest.raises(DataError, match=r"known_profiles\.parquet.*remove it, and it is written anew"):
        known_profiles.read(tmp_path, "abc")


def test_new_treatments_are_compared_with_the_trainings_after_each_plate_is_corrected_by_its_own_controls():
    """The other screen is shifted by 50: the neighbours are those of the same wells as one screen, corrected by plate."""
    wells = known_profiles.of_fields(training(), "DMSO", "mean")
    found = known_profiles.compare(profile_table.from_frame(another(50.0), "new"), wells, "DMSO", **RULES)
    mechanism = {f"new c{number}": f"m{number % 6}" for number in range(18)}
    first = found.first[found.first["Metadata_MOA"] == ""]
    assert len(first) == 36  # 18 compounds at two doses
    right = first["Nearest_MOA"] == first["Metadata_Compound"].map(mechanism)
    assert right.mean() > 0.9
    assert found.note == ""
    # By hand: one table of both, its plates told apart.
    both = pd.concat([another(), training().query("Metadata_MOA != ''").assign(
        Metadata_Plate=lambda frame: "T" + frame["Metadata_Plate"])])
    both["Metadata_Scored"] = both["Metadata_Scored"].fillna(True).astype(bool)
    corrected, _ = correct(treatment_profiles.wells(profile_table.from_frame(both, "both")), normalise="mad", sphere=False,
                           control="DMSO")
    expected = known.compare_with_known(*treatment_profiles.of_wells(corrected, "DMSO"), draws=50)
    pd.testing.assert_frame_equal(found.nearest, expected.nearest)
    assert found.score == expected.score
    assert found.score.left_out == 6  # compounds that the network was not trained on: they alone calibrate p


def test_without_enough_controls_all_wells_are_scaled_together_and_a_note_says_so():
    new = another()
    found = known_profiles.compare(profile_table.from_frame(new[new["Metadata_Compound"] != "DMSO"], "new"),
                                   known_profiles.of_fields(training(), "DMSO", "mean"), "DMSO", **RULES)
    assert found.note == known_profiles.SCALED_TOGETHER
    assert len(found.first)


def test_a_compound_is_no_neighbour_of_itself_in_another_spelling_and_one_trained_on_is_a_neighbour_only():
    new = another().replace({"Metadata_Compound": {"new c1": "C1 ", "new c5": "C5"}})
    new["Metadata_MOA"] = new["Metadata_Compound"].map({"C1 ": "m1", "C5": "m5"}).fillna("")
    found = known_profiles.compare(profile_table.from_frame(new, "new"),
                                   known_profiles.of_fields(training(), "DMSO", "mean"), "DMSO", **RULES)
    own = found.first[found.first["Metadata_Compound"].isin(["C1", "C5"])]
    assert len(own) == 4
    assert not (own["Nearest_Compound"] == own["Metadata_Compound"]).any()
    assert not own["Nearest_Compound"].isin(["c1", "c5"]).any()
    assert found.score.left_out == 6  # C5 was trained on, and calibrates nothing


def test_an_evaluation_of_another_screen_lists_the_trainings_compounds(tmp_path, monkeypatch):
    monkeypatch.setattr(profile_scores, "DRAWS", 50)
    options = {"aggregate_wells": "mean", "aggregate_treatments": "median", "seed": 0}
    reference = known_profiles.of_fields(training(), "DMSO", "mean")
    evidence = profile_scores.write(another(), None, "DMSO", tmp_path, **options, reference=reference)
    found, lists = profile_scores.read(tmp_path, "remedy")
    assert set(lists["nearest.csv"]["Nearest_Compound"]) <= set(reference.metadata["Metadata_Compound"])
    assert len(lists["nearest.csv"]) == 5 * 36
    assert found.tables["network"].numbers.known.left_out == 6
    assert (evidence.can_decide, evidence.least_p) == (True, 1 / 7)
    assert len(evidence.hits) == 36
    # One treatment alone: its profiles cannot be scored, and its neighbours are listed all the same.
    one = another().query("Metadata_Compound == 'new c1' and Metadata_Concentration == 1.0").head(1)
    evidence = profile_scores.write(one, None, "DMSO", tmp_path / "..", **options, reference=reference)
    assert evidence.hits is None
    assert evidence.first.query("Metadata_MOA == ''")["Metadata_Compound"].tolist() == ["new c1"]
    assert evidence.activity_note.startswith("no row but DMSO has a mechanism")
