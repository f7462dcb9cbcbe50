"""Plate maps joined to sites."""

import numpy as np
import pandas as pd
import pytest

from mscnn.core.errors import DataError
from mscnn.data.plate_maps.join import join_plate_map
from mscnn.data.plate_maps.plate_map import PlateMap
from tests.data.plate_maps.maps import read_text_map


def sites(*rows: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, index=range(10, 10 + len(rows)), columns=["plate", "well"], dtype="str")


def test_each_site_takes_the_row_of_its_plate_and_well(tmp_path):
    plate_map = read_text_map(tmp_path, "plate,well,drug,dose_uM,moa,gene\nP1,A1,a,1,m,G\np 2,A1,b,2,,\nP1,B02,DMSO,,,H\n")
    joined = join_plate_map(sites(("P 2", "a01"), ("P1", "B2"), ("P1", "A01"), ("p1", "R01C01")), plate_map)
    assert joined.columns.index.tolist() == [10, 11, 12, 13]
    assert joined.columns["compound"].tolist() == ["b", "DMSO", "a", "a"]
    np.testing.assert_equal(joined.columns["concentration"].tolist(), [2, np.nan, 1, 1])
    assert joined.columns["unit"].tolist() == ["µM", "", "µM", "µM"]
    assert joined.columns["mechanism"].tolist() == ["", "", "m", "m"]
    assert joined.columns["Metadata_gene"].tolist() == ["", "H", "G", "G"]
    assert (joined.lines, joined.unmatched) == ((), ())


def test_a_map_without_plates_counts_for_every_plate(tmp_path):
    plate_map = read_text_map(tmp_path, "well,drug\nA1,a\nA2,b\n")
    joined = join_plate_map(sites(("P1", "A1"), ("P2", "A1"), ("", "A2")), plate_map)
    assert joined.columns["compound"].tolist() == ["a", "a", "b"]
    assert joined.lines == ()


def test_a_well_that_a_full_map_lacks_takes_nothing(tmp_path):
    plate_map = read_text_map(tmp_path, "plate,well,drug\nP1,A1,a\nP1,A2,b\n")
    joined = join_plate_map(sites(("P1", "A3"), ("P2", "A2"), ("P1", "A2")), plate_map)
    assert joined.columns["compound"].tolist() == ["", "", "b"]


def test_what_does_not_join_is_counted_on_both_sides(tmp_path):
    plate_map = read_text_map(tmp_path, "plate,well,drug\nP1,A1,a\nP1,A2,b\nP1,A4,\nP8,A1,c\nP9,A1,d\nP9,A2,e\n")
    images = sites(("P1", "A1"), ("P1", "A3"), ("P1", "a03"), ("P3", "A1"), ("P3", "A2"), ("P1", "A4"))
    joined = join_plate_map(images, plate_map)
    assert joined.columns["compound"].tolist() == ["a", "", "", "", "", ""]
    assert joined.columns["concentration"].isna().all()
    assert joined.lines == (
        "2 sites are of 1 plates that the map lacks: P3 (its plates: P1, P8, P9)",
        "2 sites are in 1 wells that the map lacks: P1 A3",
        "1 sites are in 1 wells without a compound: P1 A4",
        "2 plates of the map have no images: P8, P9", "1 wells of the map have no images: P1 A02")
    assert [problem.reason for problem in joined.unmatched] == [
        "plate P3 (2 sites) is not in the map; its plates: P1, P8, P9", "plate P1 well A3 is not in the map",
        "plate P1 well A4: no compound"]


def test_many_wells_without_images_are_counted_with_examples(tmp_path):
    wells = "".join(f"A{column},a\n" for column in range(1, 13))
    joined = join_plate_map(sites(("P1", "A1")), read_text_map(tmp_path, "well,drug\n" + wells))
    assert joined.lines == ("11 wells of the map have no images: A02, A03, A04, A05, A06 and 6 more",)


def test_a_map_that_has_a_well_twice_is_refused():
    wells = pd.DataFrame([["", "A01", "a"], ["", "A01", "b"]], columns=["plate", "well", "compound"]).assign(
        concentration=1.0, unit="", mechanism="")
    with pytest.raises(DataError, match="has wells twice"):
        join_plate_map(sites(("P1", "A1")), PlateMap(wells, "list", "map.csv"))


def test_no_sites_take_nothing(tmp_path):
    joined = join_plate_map(sites(), read_text_map(tmp_path, "well,drug\nA1,a\n"))
    assert len(joined.columns) == 0
    assert joined.lines == ("1 wells of the map have no images: A01",)


def test_a_screen_of_100_plates_agrees_with_a_merge():
    rng = np.random.default_rng(0)
    names = [f"{row}{column:02}" for row in "ABCDEFGHIJKLMNOP" for column in range(1, 25)]
    wells = pd.DataFrame({"plate": np.repeat([f"P{n}" for n in range(100)], 384), "well": names * 100})
    wells = wells.assign(compound=[f"c{n}" for n in range(len(wells))], concentration=1.0, unit="µM", mechanism="")
    some = wells.iloc[rng.permutation(len(wells))[:30_000]].reset_index(drop=True)
    images = wells[["plate", "well"]].iloc[rng.integers(0, len(wells), 50_000)].reset_index(drop=True)
    expected = images.merge(some, "left", ["plate", "well"])["compound"].fillna("")
    joined = join_plate_map(images, PlateMap(some, "list", "map.csv"))
    assert joined.columns["compound"].tolist() == expected.tolist()
