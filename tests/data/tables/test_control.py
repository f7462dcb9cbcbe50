"""A control that is nowhere: untreated wells under another name are seen."""

from dataclasses import replace

import pytest

from mscnn.core.errors import UsageError
from mscnn.data.tables.control import look_alikes, note_absence, require_control
from tests.conftest import make_table


@pytest.mark.parametrize("untreated", ["DMSO", "dmso 0.1%", "Vehicle", "vehicle control", "neg_ctrl", "DSMO", "NegCon",
                                       "water", "Untreated", "mock-treated", "CTRL1", "dimethyl sulfoxide", "DMS0"])
def test_untreated_wells_of_another_name_are_refused_and_named(untreated):
    table = replace(make_table([("a", "M"), ("b", "N"), (untreated, "none of these")]), control="D.M.S.O")
    with pytest.raises(UsageError, match=r"no well of D\.M\.S\.O, the control") as refusal:
        require_control(table)
    assert f": {untreated} would count as treated; name the untreated wells with --control" in str(refusal.value)


def test_a_mechanism_of_untreated_wells_gives_a_catalogue_number_away():
    table = make_table([("a", "M"), ("BRD-K01", "vehicle"), ("BRD-K02", "kinase")])
    assert look_alikes(table) == ["BRD-K01"]


@pytest.mark.parametrize(("names", "control", "note"), [
    (["a", "DMSO"], "dmso\u00a0", ""),                  # it is there
    (["a", "vehicle"], "none", ""),                     # the user says that there is none
    (["a", "taxol", "ALLN"], "DMSO", "the screen seems to have no untreated wells")])
def test_a_screen_without_anything_like_it_is_trained_on_with_a_word(names, control, note):
    table = replace(make_table([(name, f"M{number}") for number, name in enumerate(names)]), control=control)
    require_control(table)
    assert note in note_absence(table)
    assert bool(note) == bool(note_absence(table))
