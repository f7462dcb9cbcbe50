"""From a folder to rows: what is missing, chosen, left out, and where paths start."""

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from mscnn.core.errors import DataError, UsageError
from mscnn.data.make_table import TableOptions, find_images, with_folders
from mscnn.data.tables.site_table import read_sites
from mscnn.data.tables.wells import well_name, well_place
from tests import microscopes
from tests.data.vendors.test_htd import htd_text

ALL = TableOptions(channels={}, z="max")


@pytest.fixture
def screen(tmp_path) -> Path:
    microscopes.write_harmony(tmp_path / "screen")
    return tmp_path / "screen"


def options(**values) -> TableOptions:
    return TableOptions(**{"channels": {}, "z": "1"} | values)


def test_the_lines_say_what_is_there(screen):
    found = find_images(screen, ALL)
    assert found.lines == [
        "format      Harmony V5; 2 indexes, 64 planes", "plates      2: BR01 (4 wells, 8 sites), BR02 (4 wells, 8 sites)",
        "sites       16 of 8 wells", "channels    DNA, Actin", "pixel size  0.65 µm", "maximum over 2 focal planes"]


def test_planes_that_are_not_there_are_refused_or_counted(screen):
    gone = sorted(screen.rglob("r02c02f01p01*.tiff"))
    for path in gone:
        path.unlink()
    with pytest.raises(DataError, match=r"4 of 32 files that the index names are not there.*--allow-missing") as refused:
        find_images(screen, options())
    assert str(gone[0].relative_to(screen)) in refused.value.details
    found = find_images(screen, options(allow_missing=True))
    assert len(found.rows) == 16
    assert "4 of 32 files are not there; their rows are kept" in found.lines


def test_planes_that_are_not_chosen_may_be_gone(screen):
    for path in screen.rglob("*p02*.tiff"):
        path.unlink()
    assert len(find_images(screen, options()).rows) == 16


def test_sites_that_lack_a_channel_are_refused_left_out_or_chosen_around(screen):
    index = next(screen.glob("BR01*/Images/Index.idx.xml"))
    text = index.read_text(encoding="utf-8-sig")
    start, end = text.index('<Image Version="1"><id>0</id>'), text.index('<Image Version="1"><id>2</id>')
    index.write_text(text[:start] + text[end:], encoding="utf-8")
    with pytest.raises(DataError, match="1 sites lack a channel") as refused:
        find_images(screen, ALL)
    assert refused.value.details == ["plate BR01 well B02 site 1: no DNA"]
    assert len(find_images(screen, TableOptions(channels={}, z="max", allow_missing=True)).rows) == 15
    assert len(find_images(screen, TableOptions(channels={"Actin": "A"}, z="max")).rows) == 16


def test_several_focal_planes_are_never_chosen_in_silence(screen):
    with pytest.raises(UsageError, match="up to 2 focal planes"):
        find_images(screen, options(z=""))


def test_links_to_folders_are_told_and_followed_where_allowed(tmp_path, screen):
    (tmp_path / "lab").mkdir()
    os.symlink(screen, tmp_path / "lab" / "plates")
    (tmp_path / "lab" / "readme.txt").write_text("")
    with pytest.raises(DataError, match="holds no image files"):
        find_images(tmp_path / "lab", ALL)
    assert len(find_images(tmp_path / "lab", TableOptions(channels={}, z="max", follow_links=(screen,))).rows) == 16


def test_a_stated_range_of_values_is_a_column(screen):
    assert set(find_images(screen, options(value_range="0.0 1.0")).rows["Metadata_ValueRange"]) == {"0.0 1.0"}


@pytest.mark.parametrize(("table", "folder", "needs_root"), [
    ("sites.csv", "screen/P", False), ("screen/sites.csv", "P", False), ("screen/P/sites.csv", None, True),
    ("other/sites.csv", None, True)])
def test_folders_start_from_the_table_where_it_lies_above_them(tmp_path, table, folder, needs_root):
    (tmp_path / "screen" / "P").mkdir(parents=True)
    (tmp_path / "screen" / "P" / "a.tif").write_text("")
    rows = pd.DataFrame({"Metadata_Plate": ["P"], "Metadata_Well": ["A01"], "Metadata_Compound": ["=x"],
                         "FileName_DNA": ["a.tif"], "PathName_DNA": ["P"]})
    found, asks = with_folders(rows, tmp_path / "screen", tmp_path / table)
    assert asks is needs_root
    assert found["PathName_DNA"].tolist() == [folder or str(tmp_path / "screen" / "P")]
    (tmp_path / table).parent.mkdir(exist_ok=True)
    found.to_csv(tmp_path / table, index=False)
    sites = read_sites(tmp_path / table, image_root=tmp_path / "screen" if asks else None)
    assert sites.files(0) == (str(tmp_path / "screen" / "P" / "a.tif"),)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_plate_of_zarr_is_read_from_its_own_folder_as_from_the_one_above(tmp_path, version):
    microscopes.write_ome_zarr(tmp_path, version)
    plate = next(path for path in tmp_path.iterdir() if path.is_dir())
    above, own = (find_images(place, options(z="max")).rows for place in (tmp_path, plate))
    above = above[above["Metadata_Plate"].isin(own["Metadata_Plate"])].reset_index(drop=True)
    for name in (name for name in above if name.startswith("PathName_")):
        above[name] = above[name].str.removeprefix(f"{plate.name}/")
    assert len(own) > 0
    assert own.equals(above)


def test_wells_of_zarr_that_are_not_there_are_refused_or_left_out(tmp_path):
    microscopes.write_ome_zarr(tmp_path, "0.4")
    plate = next(path for path in tmp_path.iterdir() if path.is_dir())
    whole = find_images(plate, options(z="max")).rows
    well = json.loads((plate / ".zattrs").read_text())["plate"]["wells"][0]["path"]
    shutil.rmtree(plate / well)
    with pytest.raises(DataError, match=r"wells or images .* are not there: 1; .*--allow-missing") as refused:
        find_images(plate, options(z="max"))
    assert refused.value.details == [f"{well}: the folder is not there"]
    found = find_images(plate, options(z="max", allow_missing=True))
    lost = well_name(*well_place(well.replace("/", "")))
    assert found.rows.equals(whole[whole["Metadata_Well"] != lost].reset_index(drop=True))
    assert 0 < len(found.rows) < len(whole)
    assert f"1 wells or images that the index lists are not there and left out, such as {well}" in found.lines
    (next(plate.rglob("*/*/*/.zattrs"))).unlink()  # metadata that are lost: the image may be there
    with pytest.raises(DataError, match="wells or images of the plate cannot be used: 1; copy the plate again"):
        find_images(plate, options(z="max", allow_missing=True))


def test_an_image_of_zarr_that_is_not_there_may_be_left_out_alone(tmp_path):
    microscopes.write_ome_zarr(tmp_path, "0.5")
    plate = next(path for path in tmp_path.iterdir() if path.is_dir())
    whole = find_images(plate, options(z="max")).rows
    well = json.loads((plate / "zarr.json").read_text())["attributes"]["ome"]["plate"]["wells"][0]["path"]
    image = json.loads((plate / well / "zarr.json").read_text())["attributes"]["ome"]["well"]["images"][0]["path"]
    shutil.rmtree(plate / well / image)
    with pytest.raises(DataError, match="wells or images that the index lists are not there: 1"):
        find_images(plate, options(z="max"))
    assert len(find_images(plate, options(z="max", allow_missing=True)).rows) == len(whole) - 1


def test_a_plate_of_zarr_is_known_by_its_attributes_alone_and_without_them_refused(tmp_path):
    microscopes.write_ome_zarr(tmp_path / "screen", "0.4")
    (tmp_path / "screen" / "notes.txt").write_text("of a download")
    whole = find_images(tmp_path / "screen", options(z="max")).rows
    plates = [path for path in (tmp_path / "screen").iterdir() if path.is_dir()]
    for plate in plates:
        (plate / ".zgroup").unlink()
    assert find_images(tmp_path / "screen", options(z="max")).rows.equals(whole)
    for plate in plates:
        (plate / ".zattrs").unlink()
    with pytest.raises(DataError, match=r"holds Zarr, such as .*, that is no OME-Zarr plate; copy the plate with the meta"):
        find_images(tmp_path / "screen", options(z="max"))


@pytest.mark.parametrize("has_htd", [True, False])
def test_projections_are_no_planes_of_a_maximum_and_may_be_chosen(tmp_path, has_htd):
    files = [f"TimePoint_1/{step}P1_{well}_s{site}_w{wave}.TIF" for well in ("A02", "B01") for site in (1, 2)
             for wave in (1, 2) for step in ("", *(("ZStep_1/", "ZStep_2/") if wave == 1 else ()))]
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    if has_htd:
        (tmp_path / "P1.HTD").write_text(htd_text())
    found = find_images(tmp_path, ALL)
    first, second = (name for name in found.rows if name.startswith("FileName_"))
    assert found.rows[first][0] == "TimePoint_1/ZStep_1/P1_A02_s1_w1.TIF|TimePoint_1/ZStep_2/P1_A02_s1_w1.TIF"
    assert found.rows[second][0] == "P1_A02_s1_w2.TIF"
    assert "4 projections do not count for --z max: their focal planes are there" in found.lines
    assert find_images(tmp_path, options(z="0")).rows[first][0] == "P1_A02_s1_w1.TIF"


def test_a_plate_whose_index_is_gone_is_told(screen):
    next(screen.glob("BR01*/Images/Index.idx.xml")).unlink()
    found = find_images(screen, ALL)
    assert any(line.startswith("32 image files or Zarr folders are in no index and left out, such as BR01")
               for line in found.lines)


def test_a_table_without_rows_is_refused_and_a_plate_that_is_lost_is_named(screen):
    index = next(screen.glob("BR01*/Images/Index.idx.xml"))
    index.write_text(index.read_text(encoding="utf-8-sig").replace("Actin", "Tubulin"), encoding="utf-8")
    with pytest.raises(DataError, match=r"all sites lack a channel; choose channels that all have with --channels\n"):
        find_images(screen, TableOptions(channels={}, z="max", allow_missing=True))
    found = find_images(screen, TableOptions(channels={"DNA": "DNA", "Actin": "Actin"}, z="max", allow_missing=True))
    assert any("8 sites lack a channel and are left out" in line and line.endswith("no site is left of BR01")
               for line in found.lines)


def write_sheet(folder: Path, *rows: str) -> Path:
    for name in ("a.tif", "b.tif"):
        (folder / name).touch()
    (folder / "samplesheet.csv").write_text("\n".join(["channel,path,plate,well,site,drug,exposure", *rows]) + "\n")
    return folder


def test_what_differs_between_the_channels_of_a_site_is_left_out_with_a_note(tmp_path):
    found = find_images(write_sheet(tmp_path, "DNA,a.tif,P,A01,1,taxol,10", "ER,b.tif,P,A01,1,taxol,20"), options(z=""))
    assert found.rows["Metadata_Drug"].tolist() == ["taxol"]
    assert "Metadata_Exposure" not in found.rows
    assert "columns that differ within a site are left out: Metadata_Exposure" in found.lines


def test_two_compounds_of_one_site_are_refused(tmp_path):
    folder = write_sheet(tmp_path, "DNA,a.tif,P,A01,1,taxol,10", "ER,b.tif,P,A01,1,DMSO,10")
    with pytest.raises(DataError, match="Metadata_Drug differs within a site"):
        find_images(folder, options(z=""))


@pytest.mark.parametrize(("name", "header", "row", "more"), [
    ("load_data.csv", "FileName_DNA,Metadata_Plate,Metadata_Well,Metadata_Site,Metadata_PixelSize", "a.tif,P,A01,1,0.5",
     {}),
    ("load_data.csv", "FileName_DNA,Metadata_Plate,Metadata_Well,Image_Metadata_Well,Metadata_Site", "a.tif,P,A01,x,1",
     {"Metadata_Well_other": "x"}),
    ("s.csv", "channel,path,plate,Metadata_Well,well,site", "DNA,a.tif,P,A01,x,1", {"Metadata_Well_other": "x"}),
    ("s.csv", "channel,path,plate,well,site,my col,my_col", "DNA,a.tif,P,A01,1,7,8",
     {"Metadata_My_col": "7", "Metadata_My_col_other": "8"}),
    ("s.csv", "channel,path,plate,well,site,Metadata_PixelSize", "DNA,a.tif,P,A01,1,0.5", {})])
def test_columns_that_would_have_one_name_are_kept_apart(tmp_path, name, header, row, more):
    (tmp_path / "a.tif").touch()
    (tmp_path / name).write_text(f"{header}\n{row}\n")
    found = find_images(tmp_path, options(z="")).rows
    assert found[["Metadata_Plate", "Metadata_Well", "Metadata_Site"]].to_numpy().tolist() == [["P", "A01", "1"]]
    assert {name: found[name].item() for name in map(str, found) if name.endswith("_other") or "My" in name} == more
    assert found.get("Metadata_PixelSize", pd.Series(["0.5"])).tolist() == ["0.5"]


def test_a_stack_that_has_lost_planes_is_refused_or_told(tmp_path):
    """MetaXpress: the index does not name its files."""
    microscopes.write_metaxpress(tmp_path)
    next((tmp_path / "BR01" / "TimePoint_1" / "ZStep_2").glob("BR01_B02_s1_w1*.tif")).unlink()
    for z in ("max", "middle"):
        with pytest.raises(DataError, match="1 channels of sites have fewer focal planes") as refused:
            find_images(tmp_path, TableOptions(channels={}, z=z))
        assert refused.value.details == ["plate BR01 well B02 site 1 channel DNA: 1 of 2 focal planes"]
        assert any("have fewer focal planes" in line for line in
                   find_images(tmp_path, TableOptions(channels={}, z=z, allow_missing=True)).lines)
    assert len(find_images(tmp_path, TableOptions(channels={}, z="1")).rows) == 16


def test_notes_of_several_indexes_are_one_line(tmp_path):
    microscopes.write_metaxpress(tmp_path)
    assert "32 thumbnails were left out (so in 2 indexes)" in find_images(tmp_path, ALL).lines


def test_a_plate_of_zarr_without_metadata_is_refused_and_a_group_that_is_no_plate_told(tmp_path):
    microscopes.write_ome_zarr(tmp_path, "0.4")
    (tmp_path / "BR01.zarr" / ".zattrs").write_text("")
    with pytest.raises(DataError, match=r"BR01\.zarr: no readable OME-Zarr"):
        find_images(tmp_path, ALL)
    (tmp_path / "BR01.zarr" / ".zattrs").write_text("{}")
    assert any("1 image files or Zarr folders are in no index and left out, such as BR01.zarr" in line
               for line in find_images(tmp_path, ALL).lines)


def test_copies_of_a_plate_of_metaxpress_are_refused(tmp_path):
    microscopes.write_metaxpress(tmp_path / "a")
    microscopes.write_metaxpress(tmp_path / "b")
    with pytest.raises(DataError, match=r"2 names of plates .*--plates folder"):
        find_images(tmp_path, ALL)
