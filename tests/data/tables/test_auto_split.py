"""Which split a table gets by itself: each rule on a table that was made for it."""

import pytest

from mscnn.core.errors import UsageError
from mscnn.data.tables.auto_split import auto_split
from mscnn.data.tables.splits import TEST, TRAIN, describe, restore, to_record
from tests.conftest import make_table


def screen(compounds: dict[str, str], plates=("P1", "P2"), controls: int = 5, control: str = "DMSO"):
    """Two wells of each compound (name: mechanism) and so many control wells on each plate, two fields a well."""
    rows = [(plate, f"{'BCDEFGHIJK'[number]}{column:02}", name, mechanism)
            for plate in plates for number, (name, mechanism) in enumerate(compounds.items()) for column in (3, 4)]
    rows += [(plate, f"A{number + 1:02}", "DMSO", control) for plate in plates for number in range(controls)]
    return make_table([row for row in rows for _ in range(2)], "plate well compound mechanism")


def wells_on(split, table, side):
    return {tuple(row) for row in table.frame.loc[split.side == side, ["plate", "well"]].to_numpy()}


def test_compounds_are_held_out_where_mechanisms_have_several():
    table = screen({"a": "M", "b": "M", "c": "N", "d": "N", "lone": "O"})
    split = auto_split(table, seed=1)
    test = table.frame[split.side == TEST]
    assert split.method == "k-fold"
    assert split.held_out == tuple(sorted(set(test["compound"]) - {"DMSO"}))
    assert len(split.held_out) == 1  # 4 groups of the 4 compounds that have a partner
    assert split.held_out != ("lone",)
    controls = test[test["compound"] == "DMSO"]
    assert controls.groupby("plate")["well"].nunique().to_dict() == {"P1": 1, "P2": 1}  # a fifth of 5
    assert not wells_on(split, table, TEST) & wells_on(split, table, TRAIN)
    told = describe(split, table)
    assert told.startswith("asked auto, using k-fold by compound, fold 0 of 4, and 20% of the control wells of each plate: "
                           "4 compounds are not alone of their mechanism; k-fold: ")
    assert f"held out: {split.held_out[0]}; control wells: 2" in told
    assert [auto_split(table, seed=1, fold=fold).held_out for fold in range(4)] != [split.held_out] * 4
    assert {auto_split(table, seed=1, fold=fold).held_out[0] for fold in range(4)} == {"a", "b", "c", "d"}


def test_wells_are_held_out_where_no_mechanism_has_two_compounds():
    split = auto_split(table := screen({"a": "M", "b": "N"}), seed=1)
    assert (split.method, split.held_out) == ("wells", ())
    assert "no mechanism has two compounds" in split.chosen
    assert "nothing of new compounds" in split.meaning
    assert len(wells_on(split, table, TEST)) == 2 * 3  # of each plate one well of each class
    assert "held out: 6 wells on 2 plates, 2 of them control wells; held out are wells of comp" in describe(split, table)


@pytest.mark.parametrize(("compounds", "method"), [(1, "wells"), (4, "wells"), (5, "k-fold")])
def test_one_effect_holds_compounds_out_from_five_on(compounds, method):
    split = auto_split(screen({f"c{number}": "M" for number in range(compounds)}))
    assert split.method == method
    assert (f"a single mechanism, of {compounds} compounds" in split.chosen) is (method == "wells")


def test_named_compounds_win_and_none_is_a_name():
    table = screen({"a": "M", "b": "M", "c": "N", "d": "N"})
    assert auto_split(table, hold_out="c").held_out == ("c",)
    assert auto_split(table, hold_out="c").method == "hold-out"
    assert not auto_split(table, hold_out="c").wells  # control wells only where that is asked
    assert len(auto_split(table, hold_out="c", hold_out_controls=0.2).wells) == 2
    assert not len(auto_split(table, hold_out="none").test())


@pytest.mark.parametrize(("compounds", "control", "why"), [
    ({"a": "", "b": ""}, "", "that of the control counted: 0"),
    ({"a": "", "b": ""}, "DMSO", "that of the control counted: 1"),
    ({"a": "M", "b": "M"}, "", "that of the control counted: 1"),
])
def test_nothing_is_held_out_where_nothing_can_be_told_apart(compounds, control, why):
    split = auto_split(screen(compounds, control=control), needs_labels=False)
    assert not len(split.test())
    assert why in split.chosen


def test_a_network_that_sees_all_images_holds_nothing_out():
    split = auto_split(screen({"a": "M", "b": "M", "c": "N", "d": "N"}), sees_all=True, needs_labels=False)
    assert not len(split.test())
    assert "fitted without it" in split.chosen


def test_control_wells_without_a_mechanism_stay_on_the_training_side():
    split = auto_split(table := screen({"a": "M", "b": "M", "c": "N", "d": "N"}, control=""), needs_labels=False)
    assert len(split.held_out) == 1
    assert not split.wells
    assert "no control wells: the control is no class here" in describe(split, table)


def test_too_few_mechanisms_to_train_on_are_refused_as_ever():
    with pytest.raises(UsageError, match="leaves 1 mechanisms to train on"):
        auto_split(screen({"a": "M", "b": "M"}, control=""))


def test_a_resumed_run_gets_the_same_split():
    table = screen({"a": "M", "b": "M", "c": "N", "d": "N"})
    record = to_record(auto_split(table, seed=3), table)
    assert to_record(auto_split(table, seed=3), table) == record
    restored = restore(record, table)
    assert (restored.chosen, restored.wells) == (record.chosen, tuple(record.wells))
    assert to_record(auto_split(table, seed=4), table).sha256 != record.sha256


def test_inner_folds_split_the_training_side_alone():
    table = screen({"a": "M", "b": "M", "c": "N", "d": "N"})
    within = table.frame["compound"].ne("a").to_numpy()
    split = auto_split(table, within=within)
    assert set(split.side[~within]) == {"unused"}
    assert len(split.test())
