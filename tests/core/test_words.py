"""Numbers and lists in sentences."""

import pytest

from mscnn.core.words import counted, examples


@pytest.mark.parametrize(("number", "noun", "plural", "text"), [
    (1, "compound", "", "1 compound"), (0, "compound", "", "0 compounds"), (1200, "compound", "", "1,200 compounds"),
    (2, "day of assay", "days of assay", "2 days of assay")])
def test_one_thing_is_singular(number, noun, plural, text):
    assert counted(number, noun, plural) == text


def test_a_long_list_is_cut_and_stays_on_one_line():
    assert examples(["a", "b\nc"], 2) == "a, b\\nc"
    assert examples(["a", "b", "c", "d"], 2, "; ") == "a; b and 2 more"
