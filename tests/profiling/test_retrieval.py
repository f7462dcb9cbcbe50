"""Retrieval in tables of several networks: each query in its own, against scikit-learn by hand."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import special_ortho_group
from sklearn.metrics import average_precision_score

from mscnn.core.errors import DataError
from mscnn.profiling import retrieval, score_table
from mscnn.profiling.profile_table import ProfileTable
from mscnn.profiling.retrieval import compare, retrieval_over_folds

COMPOUNDS, FIELDS, FEATURES = 9, 4, 6  # three mechanisms; fields of a compound, two in a well
FEW = {"draws": 50, "permutations": 20}


def table(signal: float, held_out: set[int] | None = None, seed: int = 0) -> ProfileTable:
    """Fields of compounds c0 to c8 of mechanisms m0 to m2; held_out: the compounds that are scored, None: all."""
    rng, rows = np.random.default_rng(seed), []
    for number in range(COMPOUNDS):
        rows += [(f"c{number}", 1.0, f"m{number % 3}", "P1", f"{'BC'[field // 2]}{number + 2:02d}", f"W{number // 3 % 2}",
                  held_out is None or number in held_out) for field in range(FIELDS)]
    names = [f"Metadata_{name}" for name in ("Compound", "Concentration", "MOA", "Plate", "Well", "Week")]
    metadata = pd.DataFrame(rows, columns=[*names, "Scored"])
    centres = np.eye(3, FEATURES)[np.arange(COMPOUNDS) % 3].repeat(FIELDS, axis=0)
    return ProfileTable(metadata, signal * centres + rng.normal(size=(len(metadata), FEATURES)),
                        [f"f{number}" for number in range(FEATURES)])


def folds() -> list[ProfileTable]:
    """Three networks, each with features of its own."""
    return [table(1.0, {number, number + 3, number + 6}, seed=number) for number in range(3)]


def by_hand(profiles: ProfileTable) -> dict[str, float]:
    """The average precision of each scored compound in one table."""
    features = (profiles.features_SF - profiles.features_SF.mean(axis=0)) / profiles.features_SF.std(axis=0)
    keys = [profiles.metadata[name] for name in ("Metadata_Compound", "Metadata_Well")]
    of_compounds = pd.DataFrame(features).groupby(keys).mean().groupby(level=0).median()
    units = of_compounds.div(np.linalg.norm(of_compounds, axis=1), axis=0)
    cosine, mechanisms = units @ units.T, of_compounds.index.str[1:].astype(int) % 3
    scored = set(profiles.metadata["Metadata_Compound"][profiles.metadata["Scored"]])
    return {name: average_precision_score((mechanisms == mechanisms[at])[of_compounds.index != name],
                                          cosine.loc[name][of_compounds.index != name])
            for at, name in enumerate(of_compounds.index) if name in scored}


def test_each_query_is_ranked_in_the_network_of_its_fold():
    expected = {}
    for one in folds():
        expected |= by_hand(one)
    found = retrieval_over_folds(folds(), **FEW)
    assert {row.compound: row.nsc.average_precision for row in found.treatments} == pytest.approx(expected)
    assert found.nsc.mean_average_precision.mean == pytest.approx(np.mean(list(expected.values())))
    assert (found.nsc.total, found.nsc.interval.compounds, found.trained) == (9, 9, [])
    alone = retrieval_over_folds(folds()[:1], **FEW)  # of c0, c3, c6; the others are neighbours only
    assert (alone.nsc.total, len(alone.trained)) == (3, 6)
    assert alone.nsc.mean_average_precision.mean == pytest.approx(np.mean([expected[name] for name in ("c0", "c3", "c6")]))


def test_networks_that_name_their_features_otherwise_are_as_good():
    """Another rotation of the features in each fold would make nonsense of similarities between folds."""
    known = [table(3.0, {number, number + 3, number + 6}, seed=number) for number in range(3)]
    rotated = [ProfileTable(one.metadata, one.features_SF @ special_ortho_group(FEATURES, seed=number).rvs(), one.names)
               for number, one in enumerate(known)]
    assert retrieval_over_folds(rotated, **FEW).nsc.mean_average_precision.mean > 0.9


def test_one_table_is_scored_as_by_the_command():
    expected = score_table.score(table(1.0), similarity="cosine", normalise="standard", sphere=False, control="DMSO",
                                 aggregate_wells="mean", aggregate_treatments="median", taxol_controls="drop", bootstrap=50,
                                 permutations=20, seed=3, numbers=False)
    assert retrieval_over_folds([table(1.0)], seed=3, **FEW) == expected.scores


def test_folds_that_do_not_belong_together_are_refused():
    with pytest.raises(DataError, match="held out in more than one fold"):
        retrieval_over_folds([*folds(), folds()[0]])
    other = folds()[1]
    with pytest.raises(DataError, match="fold 1 are of other treatments than those of fold 0; evaluate each fold with"):
        retrieval_over_folds([folds()[0], other.select((other.metadata["Metadata_Compound"] != "c8").to_numpy())])
    for nothing in ([], [table(1.0, set())]):
        with pytest.raises(DataError, match="no profile is of a held-out treatment"):
            retrieval_over_folds(nothing)


def test_the_network_is_compared_with_the_best_table_in_pairs():
    tables = {"noise": table(0.0, seed=4), "some": table(1.0, seed=5)}
    found = compare(tables, [table(6.0, seed=6)])
    assert (found.best, list(found.rows())) == ("some", [retrieval.NETWORK, "noise", "some"])
    apart = [1 - precision for precision in by_hand(tables["some"]).values()]  # the network's are all 1
    assert found.difference.difference == pytest.approx(np.mean(apart))
    assert 0 < found.difference.low < found.difference.difference < found.difference.high <= max(apart)
    assert retrieval.RetrievalComparison.from_json(found.to_json()) == found
    assert retrieval.lines(found)[0].startswith("the network                mAP 1.000, NSC 9/9, NSCB")
    without = compare(tables, [], note="why")
    assert retrieval.lines(without)[-1] == "the network: why"
    assert (without.network, without.difference, without.note, without.best) == (None, None, "why", "some")
    with pytest.raises(DataError, match="scored on other treatments than the tables: 6 differ"):
        compare(tables, folds()[:1])


def test_doses_do_not_make_the_interval_of_a_difference_narrower():
    def scores(precisions, doses):
        return SimpleNamespace(treatments=[
            SimpleNamespace(compound=f"c{number}", concentration=dose, counts=True,
                            nsc=SimpleNamespace(average_precision=precision, scorable=True))
            for number, precision in enumerate(precisions) for dose in doses])

    ours, theirs = np.random.default_rng(0).uniform(size=(2, 9))
    one, both = (retrieval._difference(scores(ours, doses), scores(theirs, doses), 0) for doses in ([1.0], [1.0, 3.0]))
    assert both.difference == pytest.approx((ours - theirs).mean())
    assert (both.low, both.high) == pytest.approx((one.low, one.high))
