"""Which format wrote a folder, and the names of its plates."""

import shutil

import pytest

from mscnn.core.errors import DataError, UsageError
from mscnn.data.vendors.find_index import BY_NAMES, READERS, read_folder
from mscnn.data.vendors.planes import ReadOptions, list_folder
from tests import microscopes

WRITERS = {"harmony": microscopes.write_harmony, "metaxpress": microscopes.write_metaxpress,
           "cellvoyager": microscopes.write_cellvoyager,
           "ome-zarr": lambda folder: microscopes.write_ome_zarr(folder, "0.5"),
           "load-data": microscopes.write_load_data}


@pytest.fixture(scope="module")
def screens(tmp_path_factory):
    """A folder for each format."""
    folder = tmp_path_factory.mktemp("screens")
    for name, write in WRITERS.items():
        write(folder / name)
    return folder


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_is_recognised_by_the_reader_of_its_format_alone(screens, name):
    listing = list_folder(screens / name)
    assert [other for other, reader in READERS.items() if other != BY_NAMES and reader.find(listing)] == [name]


@pytest.mark.parametrize("name", WRITERS)
def test_the_plates_of_all_indexes_are_read_together(screens, name):
    _, indexes = read_folder(screens / name, ReadOptions())
    assert sorted({plate for index in indexes for plate in index.planes["plate"]}) == ["BR01", "BR02"]
    planes = 32 if name == "load-data" else 64
    assert sum(len(index.planes) for index in indexes) == planes


def test_one_index_may_be_named_itself(screens):
    index = next((screens / "harmony").glob("BR02*/Images/Index.idx.xml"))
    _, [found] = read_folder(index, ReadOptions())
    assert set(found.planes["plate"]) == {"BR02"}


def test_two_plates_of_one_name_are_refused_and_may_be_named_by_their_folders(tmp_path):
    microscopes.write_harmony(tmp_path / "first")
    microscopes.write_harmony(tmp_path / "second")
    with pytest.raises(DataError, match=r"2 names of plates .*--plates folder") as refused:
        read_folder(tmp_path, ReadOptions())
    assert ("BR01 of first/BR01__2024-01-01T10_00_00-Measurement 1/Images/Index.idx.xml, BR01 of second/"
            in str(refused.value))
    _, found = read_folder(tmp_path, ReadOptions(), plates_by_folder=True)
    assert sorted({plate for index in found for plate in index.planes["plate"]}) == [
        f"{place}_BR0{number}__2024-01-01T10_00_00-Measurement 1" for place in ("first", "second") for number in (1, 2)]


def test_plates_of_ome_zarr_in_one_folder_may_be_named_by_their_own_folders(tmp_path):
    microscopes.write_ome_zarr(tmp_path, "0.4")
    plate = min(tmp_path.rglob(".zattrs"), key=lambda path: len(path.parts)).parent
    (tmp_path / "both").mkdir()
    for name in ("p1.zarr", "p2.zarr"):
        shutil.copytree(plate, tmp_path / "both" / name)
    with pytest.raises(DataError, match=r"--plates folder"):
        read_folder(tmp_path / "both", ReadOptions())
    _, found = read_folder(tmp_path / "both", ReadOptions(), plates_by_folder=True)
    assert [set(index.planes["plate"]) for index in found] == [{"p1.zarr"}, {"p2.zarr"}]


def test_two_formats_in_one_folder_are_named_and_one_may_be_chosen(tmp_path):
    microscopes.write_harmony(tmp_path / "a")
    microscopes.write_cellvoyager(tmp_path / "b")
    with pytest.raises(DataError, match=r"several formats; choose one with --format") as refused:
        read_folder(tmp_path, ReadOptions())
    assert "cellvoyager: b/BR01/MeasurementData.mlf" in str(refused.value)
    _, found = read_folder(tmp_path, ReadOptions(), format="cellvoyager")
    assert {index.format for index in found} == {"CellVoyager"}


def test_a_table_that_was_made_of_a_microscopes_folder_does_not_count(tmp_path):
    microscopes.write_harmony(tmp_path)
    (tmp_path / "load_data.csv").write_text("FileName_DNA,Metadata_Plate,Metadata_Well\na.tif,P,A01\n")
    _, found = read_folder(tmp_path, ReadOptions())
    assert all(index.format.startswith("Harmony") for index in found)


def test_what_is_not_recognised_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "one.tif").write_text("")
    with pytest.raises(DataError, match="--pattern"):
        read_folder(tmp_path, ReadOptions())
    with pytest.raises(DataError, match=r"notes\.txt: no index of Harmony.* is recognised"):
        read_folder(tmp_path / "notes.txt", ReadOptions())
    with pytest.raises(UsageError, match=r"--pattern x reads names of files, and --format harmony does not"):
        read_folder(tmp_path, ReadOptions(pattern="x"), format="harmony")


@pytest.mark.parametrize(("version", "name"), [("0.4", ".zattrs"), ("0.4", ".zgroup"), ("0.5", "zarr.json")])
def test_metadata_of_zarr_stand_for_their_plate(tmp_path, version, name):
    microscopes.write_ome_zarr(tmp_path, version)
    plate = min(tmp_path.rglob(name), key=lambda path: len(path.parts)).parent
    _, [named] = read_folder(plate / name, ReadOptions())
    _, [whole] = read_folder(plate, ReadOptions())
    assert named.planes.equals(whole.planes)
    assert len(named.planes) > 0


def test_a_table_that_is_named_itself_may_have_any_name(tmp_path):
    microscopes.write_load_data(tmp_path)
    table = next(tmp_path.rglob("load_data*.csv"))
    _, [whole] = read_folder(table, ReadOptions())
    renamed = table.rename(table.parent / "MyExpt_Image.csv")
    _, [named] = read_folder(renamed, ReadOptions())
    assert named.planes.equals(whole.planes)
    with pytest.raises(DataError, match="no index of Harmony is recognised"):
        read_folder(renamed, ReadOptions(), format="harmony")
    with pytest.raises(DataError, match="is recognised"):
        read_folder(renamed.rename(renamed.with_suffix(".tif")), ReadOptions())


def test_a_file_beside_an_index_is_refused_with_the_name_of_the_index(tmp_path):
    microscopes.write_cellvoyager(tmp_path)
    index = next(tmp_path.rglob("*.mlf"))
    beside = index.with_name("MeasurementDetail.mrf")
    assert beside.exists()
    with pytest.raises(DataError, match=r"is recognised; its folder holds MeasurementData.mlf; name one, or the folder"):
        read_folder(beside, ReadOptions())


def test_all_indexes_that_cannot_be_read_are_named_at_once(tmp_path):
    microscopes.write_harmony(tmp_path)
    for index in tmp_path.rglob("Index.idx.xml"):
        index.write_bytes(index.read_bytes()[:-9])
    with pytest.raises(DataError, match="2 of 2 indexes cannot be read") as refused:
        read_folder(tmp_path, ReadOptions())
    assert [line.count("cut short") for line in refused.value.details] == [1, 1]
