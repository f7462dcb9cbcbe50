"""Focal planes and time points are chosen by the user's word."""

import pytest

from mscnn.core.errors import UsageError
from mscnn.data.vendors.choose import choose_time, choose_z, parse_z, uneven_stacks, without_projections
from mscnn.data.vendors.planes import planes_of

# Site 1 has five planes of DNA and one of ER, site 2 four planes of DNA, at two times each.
PLANES = planes_of([
    {"plate": "P", "well": "A01", "site": site, "channel": name, "z": z, "time": time, "path": f"{site}{name}{z}{time}"}
    for time in (0, 7)
    for site, name, levels in (("1", "DNA", (5, 3, 1, 2, 4)), ("1", "ER", (3,)), ("2", "DNA", (4, 1, 2, 3)))
    for z in levels])
ONE_TIME = PLANES[PLANES["time"] == 0]


def test_several_times_need_a_choice():
    with pytest.raises(UsageError, match=r"2 time points \(0, 7\); choose one with --time N"):
        choose_time(PLANES, None)
    with pytest.raises(UsageError, match=r"--time 1: the folder holds time points 0, 7"):
        choose_time(PLANES, 1)
    chosen, line = choose_time(PLANES, 7)
    assert (set(chosen["time"]), len(chosen), line) == ({7}, 10, "time point 7 of 0, 7")
    assert choose_time(ONE_TIME, None)[1] == ""
    assert choose_time(ONE_TIME, 0)[1] == ""


def test_several_focal_planes_need_a_choice():
    with pytest.raises(UsageError, match=r"up to 5 focal planes \(1, 2, 3, 4, 5\); choose with --z max"):
        choose_z(ONE_TIME, "")
    with pytest.raises(UsageError, match=r"--z 9: the folder holds focal planes 1, 2, 3, 4, 5"):
        choose_z(ONE_TIME, "9")


@pytest.mark.parametrize(("z", "expected"), [
    ("middle", ["1DNA30", "1ER30", "2DNA30"]), ("3", ["1DNA30", "1ER30", "2DNA30"])])
def test_one_plane_is_chosen(z, expected):
    """Of five the third; of four the third, the upper one of the two in the middle; a single one is its own middle."""
    assert choose_z(ONE_TIME, z)[0]["path"].tolist() == expected


def test_a_channel_without_the_chosen_plane_is_refused_and_sites_without_it_are_counted():
    with pytest.raises(UsageError, match=r"--z 5: no plane of channel ER is there; .* with --channels"):
        choose_z(ONE_TIME, "5")
    chosen, line = choose_z(ONE_TIME[ONE_TIME["channel"] == "DNA"], "5")
    assert chosen["path"].tolist() == ["1DNA50"]
    assert line == "focal plane 5 of 1, 2, 3, 4, 5; 1 sites have none there and are left out"
    later = PLANES[(PLANES["time"] == 7) & (PLANES["channel"] == "ER")]
    planes = PLANES.drop(index=later.index)
    with pytest.raises(UsageError, match=r"--time 7: no plane of channel ER is there"):
        choose_time(planes, 7)
    planes = PLANES[(PLANES["time"] == 0) | (PLANES["site"] == "1")]
    assert choose_time(planes, 7)[1] == "time point 7 of 0, 7; 1 sites have none there and are left out"


@pytest.mark.parametrize(("z", "expected"), [
    ("max", ["1DNA1", "1DNA2", "1ER0"]), ("middle", ["1DNA1", "1DNA2", "1ER0"]), ("0", ["1DNA0", "1DNA1", "1DNA2", "1ER0"]),
    ("", ["1DNA0", "1DNA1", "1DNA2", "1ER0"])])
def test_a_projection_counts_where_its_planes_do_not(z, expected):
    planes = planes_of([{"plate": "P", "well": "A01", "site": "1", "channel": name, "z": level, "path": f"1{name}{level}"}
                        for name, levels in (("DNA", (0, 1, 2)), ("ER", (0,))) for level in levels])
    assert without_projections(planes, z)["path"].tolist() == expected


def test_a_maximum_takes_all_planes_in_their_order():
    chosen, line = choose_z(ONE_TIME, "max")
    assert chosen["path"].tolist() == [*(f"1DNA{z}0" for z in range(1, 6)), "1ER30", *(f"2DNA{z}0" for z in range(1, 5))]
    assert line == "maximum over 1 to 5 focal planes"


def test_single_planes_at_different_heights_need_no_choice():
    planes = ONE_TIME[ONE_TIME["path"].isin(["1DNA50", "1ER30", "2DNA20"])]
    for z in ("", "max", "middle"):
        assert (len(choose_z(planes, z)[0]), choose_z(planes, z)[1]) == (3, "")


@pytest.mark.parametrize("text", ["", "-1", "1.5", "first", "min"])
def test_no_choice(text):
    with pytest.raises(UsageError, match="give max, middle"):
        parse_z(text)


def test_spellings_of_a_choice():
    assert [parse_z(text) for text in ("auto", "MAX", " middle ", "012")] == ["", "max", "middle", "012"]


def test_a_stack_that_has_lost_planes_is_known_by_the_others_of_its_plate():
    assert uneven_stacks(ONE_TIME) == ["plate P well A01 site 2 channel DNA: 4 of 5 focal planes"]
    assert uneven_stacks(ONE_TIME[ONE_TIME["site"] == "1"]) == []
    assert uneven_stacks(ONE_TIME.assign(plate=ONE_TIME["site"])) == []
