"""Names of wells and their places."""

import pytest

from mscnn.data.tables.wells import well_name, well_place


def test_names_and_places_of_all_wells_of_1536_are_each_others_inverse():
    places = [(row, column) for row in range(32) for column in range(48)]
    names = [well_name(*place) for place in places]
    assert [well_place(name) for name in names] == places
    assert len(set(names)) == 1536
    assert (names[0], names[47], names[25 * 48], names[26 * 48], names[-1]) == ("A01", "A48", "Z01", "AA01", "AF48")


@pytest.mark.parametrize("spelling", ["B2", "b02", "B002", "R02C02", "r2c2", "B - 2", "B-02", "B 2"])
def test_spellings_of_a_well(spelling):
    assert well_place(spelling) == (1, 1)


@pytest.mark.parametrize("text", ["", "A0", "A49", "AG1", "1A", "BA1", "R33C1", "R1C49", "A1B", "-1"])
def test_no_well(text):
    assert well_place(text) is None


@pytest.mark.parametrize("place", [(-1, 0), (32, 0), (0, 48), (0, -1)])
def test_no_place(place):
    with pytest.raises(ValueError, match="no place on a plate"):
        well_name(*place)
