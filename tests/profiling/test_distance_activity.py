"""Activity by distance from control wells: by hand, by scipy and scikit-learn, and by drawn screens."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mscnn.bench import drawn_activity
from mscnn.bench.drawn_activity import Layout, draw
from mscnn.profiling.distance_activity import choose, distance_test, largest_share_p, p_values, q_values
from mscnn.profiling.profile_table import ProfileTable
from mscnn.profiling.replicates import COLUMNS, activity

NULL = np.exp([2.0, 1.0, 0.0, -1, -1, -2, -3, -4])  # k = 2, u = 1, excesses 2 and 1


@pytest.fixture(autouse=True)
def fewer_features(monkeypatch):
    monkeypatch.setattr(drawn_activity, "FEATURES", 100)


def screen(*, plates: int = 3, controls: int = 16, wells: int = 1, treatments: int = 30, active: int = 10, seed: int = 0,
           kind: str = "gaussian", effect: float = 4.0) -> ProfileTable:
    """Wells as `mscnn bench activity` draws them, with all metadata."""
    drawn = draw(Layout(kind, plates, controls, wells, treatments, active), seed, effect)
    number = drawn.metadata.groupby("Metadata_Plate").cumcount()
    metadata = drawn.metadata.assign(
        Metadata_Concentration=1.0, Metadata_MOA="", Metadata_Week="", Scored=True,
        Metadata_Well=[f"{'ABCDEFGHIJKLMNOP'[each % 16]}{each // 16 + 1:02d}" for each in number])
    return ProfileTable(metadata, drawn.features_SF, drawn.names)


def chosen(wells: ProfileTable):
    return choose(*activity(wells, "DMSO", draws=500), wells, "DMSO")


def test_p_by_hand():
    """Up to u the share; beyond u 3/9 of the tail: at ln d = 3 (1 + 3 / 3) ** -2; and 1/90 at least."""
    p_T, least = p_values(np.exp([-5.0, -1.0, -0.5, 0.0, 3.0, 50.0]), NULL)
    assert p_T == pytest.approx([1, 6 / 9, 4 / 9, 4 / 9, 3 / 9 / 4, 1 / 90])
    assert least == pytest.approx(1 / 90)


def test_the_tail_is_that_of_an_f_distribution():
    rng = np.random.default_rng(0)
    null_N, new_T = rng.pareto(3, 100) + 1, np.array([3.0, 4.0, 6.0])
    u = np.sort(null_N)[-26]
    mean = np.log(null_N[null_N > u] / u).mean()
    assert p_values(new_T, null_N)[0] == pytest.approx(26 / 101 * stats.f.sf(np.log(new_T / u) / mean, 2, 50))


@pytest.mark.parametrize(("draw_wells", "is_exact"), [
    (lambda rng, size: np.exp(rng.exponential(size=size)), True),      # Pareto
    (lambda rng, size: np.sqrt(rng.chisquare(20, size)), False)])      # distance of Gaussian wells
def test_p_is_as_small_as_it_says_and_no_smaller(draw_wells, is_exact):
    """Of 36 null distances p below 1/37 can only be of the tail."""
    rng = np.random.default_rng(0)
    p_values_of_new = np.concatenate([p_values(draw_wells(rng, 50), draw_wells(rng, 36))[0] for _ in range(3000)])
    shares = [(p_values_of_new <= limit).mean() for limit in (0.2, 0.01, 0.005)]
    assert all(share < 1.1 * limit for share, limit in zip(shares, (0.2, 0.01, 0.005), strict=True))
    if is_exact:  # but for screens in which one of the 36 is too far out for the tail
        assert shares == pytest.approx([0.2, 0.01, 0.005], rel=0.15)


def test_one_control_well_too_far_out_leaves_p_a_share():
    far = np.append(np.exp(np.linspace(0, 1, 35)), 1e9)
    assert p_values(np.array([1e12, 5.0]), far)[0] == pytest.approx([1 / 37, 2 / 37])
    assert p_values(np.array([5.0]), far)[1] == 1 / 37


def test_the_largest_share_of_exponential_values():
    assert largest_share_p(0.75, 2) == pytest.approx(0.5)  # of two: uniform
    values = np.random.default_rng(0).exponential(size=(20_000, 9))
    assert largest_share_p(0.4, 9) == pytest.approx((values.max(1) / values.sum(1) >= 0.4).mean(), abs=0.01)


@pytest.mark.parametrize("kind", ["gaussian", "plates", "t3"])
def test_of_treatments_without_effect_hardly_any_is_active(kind):
    """By nominal rates one screen in twenty has an active treatment; p below 0.05 has one treatment in twenty."""
    p_values_of = [distance_test(wells, "DMSO", numbers(wells), 40).p_T for wells in (
        screen(kind=kind, plates=3, controls=8, treatments=40, active=0, seed=seed) for seed in range(8))]
    assert sum((q_values(p_T) < 0.05).any() for p_T in p_values_of) <= 1
    assert np.mean(p_values_of < np.float64(0.05)) < 0.07


def numbers(wells: ProfileTable) -> np.ndarray:
    return wells.metadata["Metadata_Compound"].replace("DMSO", "-1").astype(int).to_numpy()


def test_single_wells_have_a_q_and_active_ones_come_first():
    wells = screen()
    found, hits = chosen(wells)
    active = hits["Metadata_Compound"][hits["Active"]].astype(int)
    assert set(range(10)) == set(active[active < 10])
    assert (active >= 10).sum() <= 1
    assert list(hits) == COLUMNS
    assert (found.test, found.judged, found.active, found.can_decide) == ("distance", 30, len(active), True)
    assert set(hits["Test"]) == {"distance"}
    assert hits["Q_Value"].to_numpy() == pytest.approx(stats.false_discovery_control(hits["P_Value"]))
    assert found.note.startswith(
        "q is of the distance from control wells (replicates cannot decide: each treatment has one well only; add "
        "replicate wells); by 48 distances of control wells p is 0.002 or more")
    assert "for a q < 0.05 2 of 30 treatments must be so far" in found.note


def test_the_effect_is_the_distance_that_was_tested():
    wells = screen(active=0, treatments=40)
    _, hits = chosen(wells)
    assert stats.spearmanr(hits["Effect_Size"], -hits["P_Value"]).statistic > 0.99  # one null: alike but for ties
    assert hits["Effect_Size"].median() == pytest.approx(1, abs=0.1)  # wells like control wells


def test_control_wells_that_pose_as_compounds_are_not_active():
    wells = screen(controls=24)
    is_fake = (wells.metadata["Metadata_Compound"] == "DMSO") & (wells.metadata.index % 3 == 0)
    wells.metadata.loc[is_fake, "Metadata_Compound"] = "fake"
    wells.metadata.loc[is_fake, "Metadata_Concentration"] = np.arange(is_fake.sum()).astype(float)
    _, hits = chosen(wells)
    fake = hits[hits["Metadata_Compound"] == "fake"]
    assert (len(fake), fake["Active"].sum()) == (24, 0)
    assert stats.kstest(fake["P_Value"], "uniform", alternative="greater").pvalue > 0.01
    assert hits["Active"].sum() >= 10


def test_replicates_are_used_where_they_decide_for_most():
    wells = screen(plates=6, wells=6, treatments=4, active=2)
    found, hits = activity(wells, "DMSO", draws=2000)
    assert found.can_decide
    same, same_hits = choose(found, hits, wells, "DMSO")
    assert same == found
    pd.testing.assert_frame_equal(same_hits, hits)
    more = screen(plates=6, treatments=5, active=0, seed=1)
    treated = more.select(more.metadata["Metadata_Compound"] != "DMSO")
    treated.metadata["Metadata_Compound"] = "single " + treated.metadata["Metadata_Compound"]
    both = ProfileTable(pd.concat([wells.metadata, treated.metadata], ignore_index=True),
                        np.concatenate([wells.features_SF, treated.features_SF]), wells.names)
    found, hits = chosen(both)
    assert (found.test, found.judged, set(hits["Test"])) == ("distance", 9, {"distance"})
    assert found.note.startswith("q is of the distance from control wells (5 of 9 treatments have one well only)")


def test_two_wells_are_compared_with_two_control_wells():
    """Six control wells on six plates: 18 pairs of different plates; and treatments of 4 wells one by one."""
    test = distance_test(wells := screen(plates=6, controls=6, wells=2, seed=1), "DMSO", numbers(wells), 30)
    assert test.nulls == [18]
    assert test.least_T == pytest.approx(1 / 190)
    test = distance_test(wells := screen(plates=6, controls=6, wells=4), "DMSO", numbers(wells), 30)
    assert test.nulls == [36]


def test_units_plate_offsets_and_order_do_not_matter():
    wells = screen(plates=3, controls=8)
    treatment_S, rng = numbers(wells), np.random.default_rng(0)
    expected = distance_test(wells, "DMSO", treatment_S, 30).p_T
    plate_S = wells.metadata["Metadata_Plate"].astype(int).to_numpy()
    scaled = wells.features_SF * np.exp(5 * rng.normal(size=100)) + 7 * rng.normal(size=(3, 100))[plate_S]
    found = distance_test(dataclasses.replace(wells, features_SF=scaled), "DMSO", treatment_S, 30).p_T
    assert found == pytest.approx(expected, rel=1e-6)
    order = rng.permutation(len(treatment_S))
    assert distance_test(wells.select(order), "DMSO", treatment_S[order], 30).p_T == pytest.approx(expected, rel=1e-6)


def test_constant_features_change_nothing_and_those_that_control_wells_lack_are_left_out():
    wells = screen(plates=3, controls=8)
    expected = distance_test(wells, "DMSO", numbers(wells), 30).p_T
    rare = np.zeros(len(wells.metadata))
    rare[[0, 30]] = 1e-3  # one control well, and one treated
    more = np.column_stack([wells.features_SF, np.full(len(rare), 3.0), rare])
    found = distance_test(dataclasses.replace(wells, features_SF=more), "DMSO", numbers(wells), 30).p_T
    assert found == pytest.approx(expected)


def test_what_cannot_be_tested_is_said():
    wells = screen(plates=2, controls=8)
    is_control = wells.is_control("DMSO")
    few = wells.select(~is_control | (wells.metadata.groupby("Metadata_Plate").cumcount() < 3).to_numpy())
    found, hits = chosen(few)
    assert (found.test, found.judged, found.active) == ("replicates", 0, 0)
    assert found.note.endswith("the distance from control wells cannot decide: 0 wells of DMSO on plates with 4 or more "
                               "are too few; 8 are needed")
    assert set(hits["Test"]) == {""}

    one = wells.select(~is_control | (wells.metadata["Metadata_Plate"] == "0").to_numpy())
    test = distance_test(one, "DMSO", numbers(one), 30)
    assert np.isnan(test.p_T).sum() == 15
    assert test.why_not == "15 of 30 treatments are on plates with fewer than 4 control wells; add some"
    found, hits = chosen(one)
    assert (found.judged, found.can_decide, sorted(set(hits["Test"]))) == (15, True, ["", "distance"])
    assert hits["Q_Value"].isna().tolist() == [False] * 15 + [True] * 15

    alike = dataclasses.replace(wells, features_SF=np.ones_like(wells.features_SF))
    assert chosen(alike)[0].note.endswith("all wells of DMSO are alike; see whether their profiles are right")
    none = wells.select(~is_control)
    before = activity(none, "DMSO", draws=100)
    assert choose(*before, none, "DMSO")[0] == before[0]
    assert "0 wells of DMSO" in before[0].note


def test_duplicate_wells_and_doses_that_are_not_given_are_tested():
    wells = screen(plates=3, controls=8)
    wells.metadata.loc[wells.metadata["Metadata_Compound"] == "3", "Metadata_Concentration"] = np.nan
    wells.features_SF[1] = wells.features_SF[0]
    _, hits = chosen(wells)
    assert hits["P_Value"].notna().all()
    assert len(hits) == 30


def test_a_table_without_plates_is_one_plate():
    wells = screen(plates=1, controls=24)
    wells.metadata["Metadata_Well"] = "A01"  # control wells are taken in order of name
    bare = dataclasses.replace(wells, metadata=wells.metadata.drop(columns=["Metadata_Plate", "Metadata_Well"]))
    expected = distance_test(wells, "DMSO", numbers(wells), 30).p_T
    assert distance_test(bare, "DMSO", numbers(wells), 30).p_T == pytest.approx(expected)


def test_profiles_before_a_correction_are_tested():
    """A correction has seen all control wells, and so brings them nearer than treated wells."""
    wells = screen()
    found = chosen(wells)
    corrected = dataclasses.replace(wells, features_SF=wells.features_SF * 0 + 1)
    other = choose(*activity(corrected, "DMSO", draws=100), wells, "DMSO")
    assert other[1].set_index("Metadata_Compound")["P_Value"].to_dict() == (
        found[1].set_index("Metadata_Compound")["P_Value"].to_dict())
