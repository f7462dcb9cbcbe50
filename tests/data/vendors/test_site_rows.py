"""Planes become rows of a site table."""

import pytest

from mscnn.core.errors import DataError
from mscnn.data.vendors.planes import planes_of
from mscnn.data.vendors.site_rows import choose_channels, find_repeated, name_channels, site_rows, without_differing


def plane(site: str = "1", channel: str = "DNA", *, well: str = "A01", plate: str = "P", **values) -> dict:
    return {"plate": plate, "well": well, "site": site, "channel": channel, "path": f"{plate}/{well}{site}{channel}.tif",
            "order": {"DNA": 1, "ER": 2}.get(channel, 0)} | values


def test_rows_are_in_the_order_of_plates_wells_and_sites_and_channels_in_that_of_the_microscope():
    places = [("P10", "A01", "2"), ("P2", "B01", "1"), ("P2", "A10", "10"), ("P2", "A10", "9"), ("P2", "A09", "1")]
    planes = planes_of([plane(site, channel, well=well, plate=plate) for plate, well, site in places
                        for channel in ("ER", "DNA")])
    rows, lacking = site_rows(planes, projected=False)
    assert rows[["Metadata_Plate", "Metadata_Well", "Metadata_Site"]].to_numpy().tolist() == [
        ["P2", "A09", "1"], ["P2", "A10", "9"], ["P2", "A10", "10"], ["P2", "B01", "1"], ["P10", "A01", "2"]]
    assert list(rows)[3:] == ["FileName_DNA", "PathName_DNA", "FileName_ER", "PathName_ER"]
    assert rows.iloc[1][["FileName_ER", "PathName_ER"]].tolist() == ["A109ER.tif", "P2"]
    assert lacking == []


def test_a_site_that_lacks_a_channel_is_named_and_left_out():
    rows, lacking = site_rows(planes_of([plane("1"), plane("1", "ER"), plane("2", "ER")]), projected=False)
    assert rows["Metadata_Site"].tolist() == ["1"]
    assert lacking == ["plate P well A01 site 2: no DNA"]


def test_planes_of_a_projection_share_a_cell():
    """Files of one folder, of two folders, and planes of one file."""
    planes = planes_of([*(plane("1", z=z, path=f"sub/z{z}.tif") for z in (1, 2)),
                        *(plane("2", z=z, path=f"z{z}/a.tif") for z in (1, 2)),
                        *(plane("3", z=z, path="a.tif", frame=z) for z in (0, 1))])
    rows, _ = site_rows(planes, projected=True)
    assert rows[["PathName_DNA", "FileName_DNA", "Frame_DNA"]].to_numpy().tolist() == [
        ["sub", "z1.tif|z2.tif", ""], ["", "z1/a.tif|z2/a.tif", ""], ["", "a.tif", "0|1"]]
    assert set(rows["Metadata_Projection"]) == {"max"}


def test_what_the_index_knows_of_a_site_is_kept():
    planes = planes_of([plane("1", pixel_size=0.65, Metadata_Compound="taxol"), plane("2", Metadata_Compound="=x")])
    rows, _ = site_rows(planes, projected=False)
    assert rows[["Metadata_PixelSize", "Metadata_Compound"]].to_numpy().tolist() == [["0.65", "taxol"], ["", "=x"]]


def test_channels_get_names_that_a_list_can_hold():
    planes = name_channels(planes_of([plane(channel="Alexa, 488", order=1), plane(channel="", order=3),
                                      plane(channel="GFP", order=4), plane(channel="GFP", order=5)]))
    assert planes["channel"].tolist() == ["Alexa 488", "Channel3", "GFP (4)", "GFP (5)"]


def test_files_of_which_nothing_tells_the_channels_have_a_column_of_their_own():
    planes = planes_of([plane(channel="", path="sub/a.tif", order=0), plane("2", channel="", path="b.tif", order=0)])
    rows, _ = site_rows(name_channels(planes), projected=False)
    assert list(rows)[3:] == ["filename"]
    assert rows["filename"].tolist() == ["sub/a.tif", "b.tif"]


def test_channels_are_chosen_ordered_and_renamed():
    planes = choose_channels(planes_of([plane(), plane(channel="ER"), plane(channel="Mito")]), {"ER": "B", "DNA": "A"})
    assert list(site_rows(planes, projected=False)[0])[3::2] == ["FileName_B", "FileName_A"]
    with pytest.raises(DataError, match=r"no channel GFP; there are DNA, ER"):
        choose_channels(planes_of([plane(), plane(channel="ER")]), {"GFP": "GFP"})


def test_a_plane_that_is_there_twice_is_a_problem():
    problems = find_repeated(planes_of([plane(), plane(path="copy.tif"), plane(z=1), plane(time=1)]))
    assert [problem.file for problem in problems] == ["copy.tif"]
    assert "plate P well A01 site 1 channel DNA z 0 time 0 is there more than once" in problems[0].reason


def test_what_differs_within_a_site_is_not_known_of_it():
    planes = planes_of([plane("1", Metadata_Batch="a", Metadata_Exposure="10"),
                        plane("1", "ER", Metadata_Batch="a", Metadata_Exposure="20"),
                        plane("2", Metadata_Batch="b", Metadata_Exposure="10")])
    kept, differing = without_differing(planes)
    assert differing == ["Metadata_Exposure"]
    assert kept["Metadata_Batch"].tolist() == ["a", "a", "b"]
    assert "Metadata_Exposure" not in kept
