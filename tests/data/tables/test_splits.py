import json
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest

from mscnn.core.errors import DataError, UsageError
from mscnn.data.tables.assays import Assays
from mscnn.data.tables.bbbc021 import find_csvs, read_bbbc021
from mscnn.data.tables.folds import grouped_folds, home_weeks
from mscnn.data.tables.hold_out import parse_names
from mscnn.data.tables.splits import (
    TEST,
    TRAIN,
    UNUSED,
    Split,
    SplitRecord,
    _checked,
    describe,
    fold_compounds,
    make_split,
    overlap,
    restore,
    to_record,
    training_side,
    write,
)
from tests.conftest import make_table

# compound, mechanism, week, concentration: d is run in two weeks, mostly in Week2
ROWS = [("a", "M", "Week1", 1.0), ("a", "M", "Week1", 2.0), ("b", "M", "Week2", 1.0), ("c", "N", "Week10", 1.0),
        ("d", "N", "Week2", 1.0), ("d", "N", "Week2", 2.0), ("d", "N", "Week1", 2.0),
        ("DMSO", "DMSO", "Week1", 0.0), ("DMSO", "DMSO", "Week2", 0.0), ("DMSO", "DMSO", "Week10", 0.0)]
TABLE = make_table(ROWS, "compound mechanism week concentration")


def compounds_on(split, side):
    return sorted(set(TABLE.frame["compound"][split.side == side]))


def test_named_compounds_are_held_out_with_all_their_sites():
    split = make_split(TABLE, split="hold-out", hold_out="b, c")
    assert split.side.tolist() == [TRAIN, TRAIN, TEST, TEST, *[TRAIN] * 6]
    assert split.held_out == ("b", "c")
    assert not len(make_split(TABLE, split="hold-out", hold_out="none").test())


def test_names_with_commas_and_quotes():
    compounds = ["780", "ICI", "ICI-182,780", "3,3'-diaminobenzidine", "taxol"]
    assert parse_names("taxol,ICI-182,780", compounds) == ["ICI-182,780", "taxol"]
    assert parse_names("\"3,3'-diaminobenzidine\",taxol", compounds) == ["3,3'-diaminobenzidine", "taxol"]
    assert parse_names("3,3'-diaminobenzidine", compounds) == ["3,3'-diaminobenzidine"]
    assert parse_names("None", compounds) == []
    assert parse_names("taxol\nICI-182,780\r\n\n 780\n", compounds) == ["780", "ICI-182,780", "taxol"]  # a name a line
    assert parse_names("TAXOL, ICI\u2011182,780", compounds) == ["ICI-182,780", "taxol"]  # as the table writes them
    assert parse_names("a,b,c", ["a", "a,b", "b,c"]) == ["a", "b,c"]
    with pytest.raises(UsageError, match=r"no compound 'taxo', 'IC' .*did you mean ICI; taxol\?"):
        parse_names("ICI,taxo,IC", compounds)
    with pytest.raises(UsageError, match=r"no compound 'zzz'.*it has 780; ICI"):
        parse_names("zzz", compounds)
    with pytest.raises(UsageError, match="no compound 'DMSO'"):  # controls are not held out
        make_split(TABLE, split="hold-out", hold_out="DMSO")


def test_each_compound_is_left_out_once():
    left_out = [make_split(TABLE, split="leave-compound-out", fold=fold).held_out for fold in range(4)]
    assert left_out == [("a",), ("b",), ("c",), ("d",)]
    with pytest.raises(UsageError, match="fold is 4, but there are 4 compounds; use 0 to 3"):
        make_split(TABLE, split="leave-compound-out", fold=4)


def test_folds_hold_each_compound_once_and_spread_mechanisms():
    table = make_table([(f"{mechanism}{n}", mechanism) for mechanism in "MNO" for n in range(4)])
    folds = grouped_folds(table, 4, seed=3)
    assert sorted(compound for fold in folds for compound in fold) == sorted(set(table.frame["compound"]))
    assert all(sorted(name[0] for name in fold) == ["M", "N", "O"] for fold in folds)
    assert folds == grouped_folds(table, 4, seed=3) != grouped_folds(table, 4, seed=4)
    assert make_split(table, split="k-fold", folds=4, fold=2, seed=3).held_out == tuple(folds[2])
    with pytest.raises(UsageError, match="folds is 13, but there are only 12 compounds"):
        grouped_folds(table, 13, seed=0)


def test_a_week_is_left_out_with_its_own_compounds():
    assert home_weeks(TABLE) == {"a": "Week1", "b": "Week2", "c": "Week10", "d": "Week2"}
    split = make_split(TABLE, split="leave-week-out", fold=1)  # weeks in natural order: 1, 2, 10
    assert split.held_out == ("b", "d")
    # d's site in Week1 and the DMSO of Week2 may be on neither side
    assert split.side.tolist() == [TRAIN, TRAIN, TEST, TRAIN, TEST, TEST, UNUSED, TRAIN, UNUSED, TRAIN]


def test_weeks_of_bbbc021_score_each_treatment_once(shared_data):
    table = read_bbbc021(*find_csvs(shared_data / "bbbc021_csv"), taxol_controls="keep").labelled()
    weeks, scored = set(home_weeks(table).values()), []
    for fold in range(len(weeks)):
        split = make_split(table, split="leave-week-out", fold=fold)
        test = table.frame[split.side == TEST]
        scored += sorted(set(zip(test["compound"], test["concentration"], strict=True)))
    assert len(scored) == len(set(scored)) == 103


def test_a_random_split_says_that_it_leaks():
    split = make_split(TABLE, split="random", test_fraction=0.3, seed=1)
    assert sorted(split.side) == [TEST] * 3 + [TRAIN] * 7
    assert len(make_split(TABLE, split="random", test_fraction=0.5, seed=1).test()) == 5
    with pytest.raises(UsageError, match="mechanisms to train on"):
        make_split(TABLE, split="random", test_fraction=0.99)
    assert "same wells, plates and compounds" in split.leaks
    assert "LEAKS" in describe(split, TABLE)


def test_leaks_are_caught_whoever_makes_them():
    leaky = TABLE.frame["compound"].eq("b").to_numpy()
    for side, method in ((np.where(leaky, TEST, TRAIN), "hold-out"), (np.where(leaky, TEST, TRAIN), "leave-week-out")):
        if method == "hold-out":
            side = side.copy()
            side[0] = TEST  # one site of a, whose other site trains
        with pytest.raises(AssertionError, match="both sides"):
            _checked(Split(method, side, tuple(sorted(set(TABLE.frame["compound"][side == TEST])))), TABLE, True)
    control = np.where(TABLE.is_control(), TEST, TRAIN)
    with pytest.raises(AssertionError, match="control wells"):
        _checked(Split("hold-out", control, ("DMSO",)), TABLE, True)


def test_the_control_is_never_held_out_however_it_is_written():
    table = replace(make_table([("a", "M"), ("b", "N"), ("Water", "none"), ("c", "N")]), control="water")
    left_out = [make_split(table, split="leave-compound-out", fold=fold).held_out for fold in range(3)]
    assert left_out == [("a",), ("b",), ("c",)]
    assert "Water" not in home_weeks(table)


def test_ties_of_home_weeks_and_doses_not_fields_decide():
    table = make_table([("a", "M", "Week10", 1.0), ("a", "M", "Week9", 2.0),                      # tie: the earlier
                        ("b", "M", "Week1", 1.0), ("b", "M", "Week1", 1.0), ("b", "M", "Week1", 1.0),
                        ("b", "M", "Week2", 1.0), ("b", "M", "Week2", 2.0)],                # more doses on fewer fields
                       "compound mechanism week concentration")
    assert home_weeks(table) == {"a": "Week9", "b": "Week2"}


def test_splits_that_leave_nothing_to_learn_are_refused():
    with pytest.raises(UsageError, match="leaves 1 mechanisms to train on"):
        make_split(TABLE, split="hold-out", hold_out="a,b,c,d")
    with pytest.raises(UsageError, match="needs a week for every site"):
        make_split(make_table([("a", "M", ""), ("b", "N", "")], "compound mechanism week"), split="leave-week-out")


def test_a_mechanism_that_only_the_held_out_side_has_is_named():
    split = make_split(TABLE, split="hold-out", hold_out="c,d")
    assert "always wrong: N" in describe(split, TABLE)


def test_the_record_restores_only_over_the_same_table(tmp_path):
    split = make_split(TABLE, split="hold-out", hold_out="b")
    record = SplitRecord.from_json(json.loads(json.dumps(asdict(to_record(split, TABLE)))))
    assert record == to_record(split, TABLE)
    np.testing.assert_array_equal(restore(record, TABLE).side, split.side)
    with pytest.raises(DataError, match="not the one"):  # a side that was tampered with
        restore(replace(record, sides=[TRAIN, *record.sides[1:-1], TEST]), TABLE)
    for other in (TABLE.select(np.arange(9)), TABLE.select(np.arange(10)[::-1])):
        with pytest.raises(DataError, match="not the one"):
            restore(record, other)
    write(split, TABLE, tmp_path)
    rows = pd.read_csv(tmp_path / "split.csv")
    assert rows["side"].tolist() == split.side.tolist()
    summary = json.loads((tmp_path / "split.json").read_text())
    assert summary["sha256"] == record.sha256
    assert list(summary) == ["method", "held_out", "leaks", "sha256", "sites", "trained", "unlearnable",
                             "wells", "control_wells", "meaning", "chosen", "left_out"]
    assert replace(SplitRecord.from_json(summary), sides=record.sides) == record


def test_scoring_compounds_that_were_trained_is_pointed_out():
    record = to_record(make_split(TABLE, split="hold-out", hold_out="b"), TABLE)
    assert "trained on 1 of these compounds" in overlap(record, make_table([("a", "M"), ("e", "M"), ("DMSO", "DMSO")]))[0]
    assert overlap(record, make_table([("b", "M"), ("DMSO", "DMSO")])) == []


def test_folds_are_named_by_the_compounds_that_they_hold_out():
    assert fold_compounds(TABLE, split="leave-compound-out") == [["a"], ["b"], ["c"], ["d"]]
    assert fold_compounds(TABLE, split="leave-week-out") == [["a"], ["b", "d"], ["c"]]  # Week1, Week2, Week10
    for split in ("leave-compound-out", "leave-week-out", "k-fold"):
        names = fold_compounds(TABLE, split=split, folds=2)
        splits = [make_split(TABLE, split=split, folds=2, fold=fold) for fold in range(len(names))]
        assert [list(made.held_out) for made in splits] == names


def test_inner_folds_split_the_training_side_alone(tmp_path):
    outer = make_split(TABLE, split="hold-out", hold_out="a")
    write(outer, TABLE, tmp_path)
    within = training_side(tmp_path / "split.csv", TABLE)
    assert within.tolist() == (outer.side == TRAIN).tolist()
    inner = make_split(TABLE, split="leave-compound-out", fold=0, within=within)
    assert inner.side.tolist() == [UNUSED, UNUSED, TEST, *[TRAIN] * 7]  # a is gone, so that b comes first
    assert inner.held_out == ("b",)
    assert to_record(inner, TABLE).trained["compounds"] == ["DMSO", "c", "d"]
    assert (restore(to_record(inner, TABLE), TABLE).side == inner.side).all()


def test_the_split_of_another_table_is_refused(tmp_path):
    write(make_split(TABLE, split="hold-out", hold_out="a"), TABLE, tmp_path)
    with pytest.raises(DataError, match="is no split of this table"):
        training_side(tmp_path / "split.csv", TABLE.select(np.arange(5)))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="is no split of this table"):
        training_side(tmp_path / "other.csv", TABLE)


def test_sites_without_a_mechanism_are_trained_on_and_in_no_fold():
    table = make_table([("a", "x", "P1"), ("b", "", "P1"), ("c", "y", "P1"), ("DMSO", "", "P1"), ("d", "y", "P1")],
                       "compound mechanism plate")
    assert fold_compounds(table, split="leave-compound-out") == [["a"], ["c"], ["d"]]
    groups = fold_compounds(table, split="k-fold", folds=2)
    assert sorted(compound for group in groups for compound in group) == ["a", "c", "d"]
    split = make_split(table, split="leave-compound-out", fold=1)
    assert split.side.tolist() == [TRAIN, TRAIN, TEST, TRAIN, TRAIN]
    record = to_record(split, table)
    assert record.trained["mechanisms"] == ["x", "y"]
    assert record.trained["compounds"] == ["DMSO", "a", "b", "d"]
    with pytest.raises(UsageError, match="leaves 1 mechanisms to train on"):
        make_split(table, split="hold-out", hold_out="a")
    assert make_split(table, split="hold-out", hold_out="a", needs_labels=False).held_out == ("a",)
    predicted = make_split(table, split="hold-out", hold_out="b")  # and not scored
    assert (predicted.held_out, to_record(predicted, table).unlearnable) == (("b",), [])


@pytest.mark.parametrize("options", [
    {"split": "hold-out", "hold_out": "a"}, {"split": "random", "test_fraction": 0.3}, {"split": "leave-week-out"},
    {"split": "hold-out", "hold_out": "a", "within": np.arange(10) < 9}])
def test_what_needs_no_labels_may_be_left_without_a_mechanism(options):
    table = replace(TABLE, frame=TABLE.frame.assign(mechanism=""))
    assert make_split(table, **options, needs_labels=False).held_out
    with pytest.raises(UsageError, match="leaves 0 mechanisms to train on"):
        make_split(table, **options)


def with_assays(rows):
    """TABLE with assays x and y, rows: {compound: (x, y)}."""
    names = sorted(rows)
    values = np.array([*(rows[name] for name in names), (np.nan, np.nan)], np.float32)
    row = [names.index(name) if name in rows else len(names) for name in TABLE.frame["compound"]]
    return replace(TABLE, assays=Assays(["x", "y"], values, np.array(row)))


def test_assays_of_one_class_on_the_training_side_are_counted_and_part_of_the_digest():
    table = with_assays({"a": (1, 0), "b": (0, 1), "c": (0, 0)})
    split = make_split(table, split="hold-out", hold_out="b")
    assert to_record(split, table).unlearnable == ["y"]
    assert "assays of one class among the training compounds, so not learnt: 1: y" in describe(split, table)
    other = with_assays({"a": (1, 0), "b": (0, 1), "c": (0, np.nan)})
    assert len({to_record(split, each).sha256 for each in (TABLE, table, other)}) == 3
    with pytest.raises(DataError, match="restore it, or its assays, or name a table"):
        restore(to_record(split, table), other)


def test_a_split_needs_an_assay_with_both_classes_to_train_on():
    table = with_assays({"a": (1, 0), "b": (0, 1), "c": (0, 0)})
    with pytest.raises(UsageError, match="holding out a, b leaves no assay with active and inactive compounds"):
        make_split(table, split="hold-out", hold_out="a,b")
    one_mechanism = replace(table, frame=table.frame.assign(mechanism="M"))
    assert make_split(one_mechanism, split="hold-out", hold_out="c").held_out == ("c",)  # mechanisms are of no account


def test_folds_hold_out_compounds_with_assays():
    table = with_assays({"a": (1, 0), "c": (0, 0)})
    assert fold_compounds(table, split="leave-compound-out") == [["a"], ["c"]]
    assert sorted(grouped_folds(table, 2, seed=0)) == [["a"], ["c"]]
