import pytest

from mscnn.data.vendors.plate_numbers import distinct_names, outside, well_at, whole


@pytest.mark.parametrize(("text", "number"), [
    ("1", 1), (" 012 ", 12), ("-3", -3), ("999999999", 999999999), ("1234567890", None), ("1.0", None), ("1_0", None),
    ("٣", None), ("", None), ("x", None), (None, None), ("--1", None)])
def test_only_short_whole_numbers_are_numbers(text, number):
    assert whole(text) == number


@pytest.mark.parametrize(("place", "well"), [
    ((2, 3, 8, 12), "B03"), ((8, 12, 8, 12), "H12"), ((9, 1, 8, 12), ""), ((1, 13, 8, 12), ""), ((0, 1, 8, 12), ""),
    ((1, 0, 8, 12), ""), ((32, 48, 32, 48), "AF48"), ((32, 48, None, None), "AF48"), ((33, 1, None, None), ""),
    ((33, 1, 48, 72), "")])
def test_a_well_is_inside_of_its_plate_and_of_1536_wells(place, well):
    assert well_at(*place) == well


def test_what_is_outside_is_told_with_the_size_of_the_plate():
    assert outside("a.tif", 9, 1, 8, 12) == "a.tif is in row 9 and column 1 of a plate of 8 x 12 wells"
    assert outside("a.tif", 40, 1, None, None) == "a.tif is in row 40 and column 1 of a plate of 32 x 48 wells"


def test_names_that_channels_share_get_their_numbers():
    names = {1: "DAPI", 2: " Alexa  488 ", 3: "dapi", 4: "", 5: ""}
    assert distinct_names(names, {key: f"C{key:02}" for key in names}) == {
        1: "DAPI C01", 2: "Alexa 488", 3: "dapi C03", 4: "C04", 5: "C05"}
