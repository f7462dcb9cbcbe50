"""Probes of profiles whose plates, weeks, rows and columns are known to differ, or not to."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from mscnn.profiling import probes as module
from mscnn.profiling.probes import Probe, probes
from mscnn.profiling.profile_table import ProfileTable


def screen(*, plates: int = 8, weeks: int = 4, controls: bool = True, seed: int = 0, features: int = 12) -> ProfileTable:
    """Noise on plates of 5 rows and 6 columns; the control everywhere in rows A and B, elsewhere a compound a well.

    A compound has the same place on all plates.
    """
    rows = [(f"P{plate}", f"{chr(65 + row)}{column + 1:02}", f"W{plate * weeks // plates}",
             "DMSO" if row < 2 else f"c{row} {column}", 1.0, "")
            for plate in range(plates) for row in range(0 if controls else 2, 5) for column in range(6)]
    names = [f"Metadata_{name}" for name in ("Plate", "Well", "Week", "Compound", "Concentration", "MOA")]
    metadata = pd.DataFrame(rows, columns=names).assign(Scored=True)
    profiles = np.random.default_rng(seed).normal(size=(len(rows), features))
    return ProfileTable(metadata, profiles, [f"F{number}" for number in range(features)])


def with_signal(wells: ProfileTable, of: pd.Series, size: float = 6.0, seed: int = 1) -> ProfileTable:
    """A profile of its own, far beyond the noise, for each value."""
    codes = pd.factorize(of)[0]
    signal = np.random.default_rng(seed).normal(size=(codes.max() + 1, wells.features_SF.shape[1]))
    return ProfileTable(wells.metadata, wells.features_SF + size * signal[codes], wells.names)


def by_name(wells: ProfileTable, **options: int) -> dict[str, Probe]:
    found = {probe.what: probe for probe in probes(wells, "DMSO", **options)}
    assert list(found) == ["plate", "week", "row", "column"]
    assert all(Probe.from_json(probe.to_json()) == probe for probe in found.values())
    return found


def letter(wells: ProfileTable) -> pd.Series:
    return wells.metadata["Metadata_Well"].str[0]


def number(wells: ProfileTable) -> pd.Series:
    return wells.metadata["Metadata_Well"].str[1:]


def test_noise_is_at_chance():
    for controls in (True, False):
        drawn = [by_name(screen(controls=controls, seed=seed)) for seed in range(10)]
        for what, chance in (("plate", 1 / 8), ("week", 1 / 4), ("row", 1 / 2 if controls else 1 / 3), ("column", 1 / 6)):
            found = [probes[what] for probes in drawn]
            assert {probe.chance for probe in found} == {chance}
            assert {probe.wells for probe in found} == {"control" if controls else "treated"}
            assert sum(probe.interval.low <= chance <= probe.interval.high for probe in found) >= 8
            assert np.mean([probe.balanced_accuracy for probe in found]) == pytest.approx(chance, abs=0.07)
            assert sum(probe.above_chance for probe in found) <= 1


def test_each_probe_says_what_it_read():
    found = by_name(screen())
    assert [(probe.wells, probe.unit, probe.classes, probe.left_out, probe.rows, probe.groups, probe.interval.compounds)
            for probe in found.values()] == [
        ("control", "well", 8, 0, 96, 96, 96), ("control", "plate", 4, 0, 96, 8, 8), ("control", "plate", 2, 0, 96, 8, 8),
        ("control", "plate", 6, 0, 96, 8, 8)]
    treated = by_name(screen(controls=False))
    assert [(probe.wells, probe.unit, probe.classes, probe.left_out, probe.rows, probe.groups, probe.interval.compounds)
            for probe in treated.values()] == [
        ("treated", "compound", classes, 0, 144, 18, 18) for classes in (8, 4, 3, 6)]
    assert [probe.note for probe in treated.values()] == [
        "", "plates are on both sides of the folds: what is read may be the plate", "", ""]


def test_plates_are_recognised_by_control_wells_and_weeks_are_not_recognised_by_plates():
    """A week is read on plates that were not seen: profiles of plates alone do not give it away."""
    wells = screen(plates=16)
    found = by_name(with_signal(wells, wells.metadata["Metadata_Plate"]))
    assert found["plate"].balanced_accuracy > 0.98
    assert found["plate"].above_chance
    assert not any(found[what].above_chance for what in ("week", "row", "column"))
    treated = screen(controls=False)
    found = by_name(with_signal(treated, treated.metadata["Metadata_Plate"]))
    assert found["plate"].balanced_accuracy > 0.98
    assert found["week"].balanced_accuracy > 0.98  # of compounds that were not seen, on plates that were: the note says so


def test_weeks_are_recognised_on_plates_that_were_not_seen():
    wells = screen(plates=12)
    found = by_name(with_signal(wells, wells.metadata["Metadata_Week"]))
    assert found["week"].balanced_accuracy > 0.98
    assert found["week"].above_chance
    assert found["plate"].balanced_accuracy == pytest.approx(1 / 3, abs=0.1)  # three plates a week, all alike


def test_edge_effects_are_read():
    wells = screen()
    found = by_name(with_signal(wells, number(wells)))
    assert found["column"].balanced_accuracy > 0.98
    assert found["row"].interval.low < 1 / 2
    treated = screen(controls=False)
    assert not by_name(with_signal(treated, treated.metadata["Metadata_Compound"]))["column"].above_chance
    found = by_name(with_signal(treated, letter(treated)))
    assert found["row"].balanced_accuracy > 0.98
    assert found["row"].above_chance


def test_a_compound_does_not_give_its_plate_away():
    """Each plate has compounds of its own, at three wells each: only they differ, and no plate can be read."""
    wells = screen(controls=False)
    compounds = wells.metadata["Metadata_Plate"] + letter(wells) + (number(wells) > "03").astype(str)
    confounded = ProfileTable(wells.metadata.assign(Metadata_Compound=compounds), wells.features_SF, wells.names)
    found = by_name(with_signal(confounded, compounds))
    assert found["plate"].groups == 48
    assert found["plate"].balanced_accuracy < 0.3
    assert not found["plate"].above_chance


def test_accuracy_is_balanced_over_classes():
    """P0 has many wells and is told apart; P1 and P2 are alike: right are 1, 1/2 and 1/2."""
    rows = [(f"P{plate}", f"A{well % 24 + 1:02}", "", f"c{well}", 1.0, "") for plate, count in ((0, 600), (1, 60), (2, 60))
            for well in range(count)]
    names = [f"Metadata_{name}" for name in ("Plate", "Well", "Week", "Compound", "Concentration", "MOA")]
    metadata = pd.DataFrame(rows, columns=names)
    profiles = np.random.default_rng(0).normal(size=(720, 3))
    profiles[metadata["Metadata_Plate"] == "P0", 0] += 20
    found = by_name(ProfileTable(metadata, profiles, list("abc")))["plate"]
    assert found.balanced_accuracy == pytest.approx(2 / 3, abs=0.08)
    assert (found.chance, found.above_chance) == (1 / 3, True)


def test_the_interval_resamples_groups():
    """One group has 60 of the 100 wells of each class and is right: whether it is drawn decides."""
    right, group = np.repeat([True, False], [60, 40]), np.repeat(np.arange(41), [60, *[1] * 40])
    accuracy, found = module._balanced(np.tile(right, 2), np.repeat([0, 1], 100), np.tile(group, 2), seed=0)
    draws = np.random.default_rng(1).multinomial(41, np.full(41, 1 / 41), size=20000)
    shares = 60 * draws[:, 0] / (60 * draws[:, 0] + draws[:, 1:].sum(axis=1))
    assert accuracy == 0.6
    assert [found.low, found.high] == pytest.approx(np.quantile(shares, [0.025, 0.975]), abs=0.02)
    _, found = module._balanced(np.ones(40, bool), np.arange(40) % 2, np.arange(40) // 2, seed=0)
    assert (found.low, found.high) == (pytest.approx(0.025 ** (1 / 20)), 1)  # all right in 20 groups: Clopper and Pearson
    _, found = module._balanced(np.zeros(40, bool), np.arange(40) % 2, np.arange(40) // 2, seed=0)
    assert (found.low, found.high) == (0, pytest.approx(stats.binomtest(0, 20).proportion_ci(method="exact").high))


def test_wells_of_a_class_that_was_not_fitted_are_not_scored():
    """All wells of class 2 are in one group: where they are held out, none could be right."""
    class_S, group_S = np.repeat([0, 0, 1, 1, 2], 4), np.repeat([0, 1, 0, 1, 2], 4)
    task = module._Task(np.arange(20), class_S, group_S, 0, False)
    right_S, is_scored_S = module._cross_validate(np.random.default_rng(0).normal(size=(20, 3)), task, 0)
    assert is_scored_S.tolist() == (class_S < 2).tolist()
    assert not right_S[class_S == 2].any()


def test_the_classifier_is_linear_discriminant_analysis():
    """Many wells, so that the shrinkage is slight: the predictions of scikit-learn's, with equal priors."""
    rng = np.random.default_rng(0)
    class_S = np.repeat([5, 7, 9], 1000)
    profiles = rng.normal(size=(3000, 4)) @ rng.normal(size=(4, 4)) + rng.normal(size=(3, 4))[class_S // 2 - 2]
    others = rng.normal(size=(2000, 4)) @ rng.normal(size=(4, 4))
    theirs = LinearDiscriminantAnalysis(solver="lsqr", priors=np.full(3, 1 / 3)).fit(profiles, class_S).predict(others)
    assert (module._predict(profiles, class_S, others) == theirs).mean() > 0.98
    few = np.append(np.arange(500), np.arange(1000, 3000))  # half of a class: the priors stay equal
    assert (module._predict(profiles[few], class_S[few], others) == theirs).mean() > 0.95


def test_more_features_than_wells_are_read():
    wells = screen(features=300)
    found = by_name(with_signal(wells, wells.metadata["Metadata_Plate"], size=1.0))
    assert found["plate"].balanced_accuracy > 0.95


def test_large_screens_are_sampled_by_compound_and_many_features_are_projected(monkeypatch):
    monkeypatch.setattr(module, "MOST_WELLS", 100)
    monkeypatch.setattr(module, "MOST_FEATURES", 5)
    fitted, predict = set(), module._predict
    monkeypatch.setattr(module, "_predict", lambda *tables: fitted.add(tables[0].shape[1]) or predict(*tables))
    wells = screen(controls=False)
    found = by_name(with_signal(wells, letter(wells)))
    assert (found["plate"].rows, found["plate"].groups) == (96, 12)  # of 18 compounds with 8 wells each
    assert fitted == {5}
    assert found["row"].note == "read from 96 wells of compounds drawn at random; read from 5 principal components at most"
    assert found["row"].balanced_accuracy > 0.98


def test_weeks_with_one_plate_are_left_out():
    wells = screen(plates=6)  # two weeks have two plates, and two have one
    found = by_name(wells)["week"]
    assert (found.wells, found.classes, found.left_out, found.groups, found.rows) == ("control", 2, 2, 4, 48)


def test_control_wells_in_few_columns_do_not_stand_for_all():
    wells = screen()
    elsewhere = wells.select((~wells.is_control("dmso") | (number(wells) < "03")).to_numpy())
    found = by_name(elsewhere)
    assert (found["column"].wells, found["column"].classes) == ("treated", 6)  # 2 of 6 with the control
    assert (found["plate"].wells, found["plate"].rows) == ("control", 32)


def test_what_cannot_be_read_is_said_and_the_rest_is_read():
    wells = screen()
    metadata = wells.metadata
    found = by_name(wells.select((metadata["Metadata_Plate"] == "P0").to_numpy()))
    assert (found["plate"].note, found["plate"].wells, found["plate"].balanced_accuracy) == (
        "all wells are of one plate; add wells of another", None, None)
    assert found["week"].note == "all wells are of one week; add wells of another"
    assert found["row"].wells == "treated"  # of two control rows none is on two plates
    assert found["column"].note.startswith("no two columns have 4 control wells of two plates, or 4 treated wells")

    found = by_name(dataclasses.replace(wells, metadata=metadata.assign(Metadata_Week="")))
    assert found["week"].note == "no week is known; add Metadata_Week"
    assert found["plate"].balanced_accuracy is not None
    found = by_name(dataclasses.replace(wells, metadata=metadata.drop(columns=["Metadata_Plate", "Metadata_Well"])))
    assert [probe.note for probe in found.values()][::2] == ["no plate is known; add Metadata_Plate",
                                                             "no row is known; add Metadata_Well, spelt as A01"]
    assert found["week"].wells == "treated"
    found = by_name(dataclasses.replace(wells, metadata=metadata.assign(Metadata_Well="somewhere")))
    assert found["column"].note == "no column is known; add Metadata_Well, spelt as A01"


def test_wells_of_unknown_plates_are_not_read():
    wells = screen()
    wells.metadata["Metadata_Plate"] = wells.metadata["Metadata_Plate"].replace("P0", "")
    found = by_name(wells)
    assert (found["plate"].classes, found["plate"].rows) == (7, 84)
    assert (found["column"].groups, found["column"].rows) == (7, 84)


def test_constant_profiles_are_not_read():
    wells = screen()
    found = by_name(ProfileTable(wells.metadata, np.ones_like(wells.features_SF), wells.names))
    assert {probe.note for probe in found.values()} == {"all profiles are alike; check the features"}
    constant = np.hstack([wells.features_SF, np.full((len(wells.metadata), 2), 3.0)])
    assert by_name(ProfileTable(wells.metadata, constant, wells.names))["plate"].balanced_accuracy is not None


def test_the_same_seed_gives_the_same_probes():
    wells = screen()
    assert probes(wells, "DMSO", seed=3) == probes(wells, "DMSO", seed=3)
