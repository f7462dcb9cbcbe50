"""Words for numbers of things."""

from mscnn.core.words import number_of


def test_one_thing_is_singular_and_thousands_are_parted():
    assert [number_of(number, "compound") for number in (0, 1, 2, 1200)] == [
        "0 compounds", "1 compound", "2 compounds", "1,200 compounds"]
