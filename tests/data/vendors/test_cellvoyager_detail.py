import pytest

from mscnn.core.errors import DataError
from mscnn.data.vendors.cellvoyager_detail import read_detail
from tests.data.vendors.cellvoyager_folder import SPACE, detail, setting
from tests.data.vendors.harmony_folder import folder

PLATE_FILE = f'<bts:WellPlate bts:Name="%s" {SPACE}/>'


def test_plate_pixel_sizes_and_stains_are_told_beside_the_records(tmp_path):
    listing = folder(tmp_path, {"m/MeasurementDetail.mrf": detail(RowCount=32, ColumnCount=48),
                                "m/S.MES": setting({1: " DNA ", 2: "", 3: ""}, {1: "no", 2: "Alexa 488"})})
    found = read_detail(listing, "m")
    assert (found.plate, found.system, found.rows, found.columns, found.notes) == ("BR9", "CV8000", 32, 48, ())
    assert found.pixel_sizes == {1: 0.325, 2: 0.65}
    assert found.stains == {1: "DNA", 2: "Alexa 488", 3: ""}


@pytest.mark.parametrize(("plate", "title", "name"), [
    ("BR9", "run", "BR9"), ("", "run", "run"), ("NoPlateID", "run", "run"), ("AssayPlate_Greiner_#655090", "run", "run"),
    ("AssayPlate7", "run", "AssayPlate7"), ("", "", "m"), (" ", "noplateid", "m")])
def test_the_name_of_the_plate_is_none_that_stands_for_no_name(tmp_path, plate, title, name):
    assert read_detail(folder(tmp_path, {"m/MeasurementDetail.mrf": detail(plate, Title=title)}), "m").plate == name


def test_the_plate_file_names_the_plate_if_the_detail_does_not(tmp_path):
    listing = folder(tmp_path, {"m/p.wpi": PLATE_FILE % "BR8"})
    assert read_detail(listing, "m").plate == "BR8"
    listing = folder(tmp_path, {"m/q.wpi": PLATE_FILE % "BR7"})
    assert read_detail(listing, "m").plate == "m"  # of two plate files neither


def test_a_measurement_at_the_root_has_the_name_of_its_folder(tmp_path):
    (tmp_path / "run7").mkdir()
    assert read_detail(folder(tmp_path / "run7", {"MeasurementData.mlf": ""}), "").plate == "run7"


def test_what_is_not_there_is_noted(tmp_path):
    found = read_detail(folder(tmp_path, {"m/MeasurementData.mlf": "", "other/s.mes": setting({1: "DNA"})}), "m")
    assert found.notes == ("there is no MeasurementDetail.mrf, so pixel sizes and the size of the plate are not known",
                           "there is no .mes file, so channels have numbers and no names")
    found = read_detail(folder(tmp_path, {"m/MeasurementDetail.mrf": detail()}), "m")
    assert found.notes == ("there is no s.mes, so channels have numbers and no names",)


def test_the_only_setting_of_a_folder_is_taken_where_none_is_named(tmp_path):
    assert read_detail(folder(tmp_path, {"m/x.mes": setting({1: "DNA"})}), "m").stains == {1: "DNA"}
    listing = folder(tmp_path, {"m/MeasurementDetail.mrf": detail(MeasurementSettingFileName="gone.mes")})
    assert read_detail(listing, "m").stains == {}  # x.mes is not the one that is named


@pytest.mark.parametrize("size", ["", "0", "-0.3", "x", None])
def test_a_pixel_size_that_is_none_is_not_known(tmp_path, size):
    listing = folder(tmp_path, {"m/MeasurementDetail.mrf": detail(channels={1: size, 2: "0.5"})})
    assert read_detail(listing, "m").pixel_sizes == {2: 0.5}


@pytest.mark.parametrize("name", ["MeasurementDetail.mrf", "s.mes", "p.wpi"])
def test_a_file_that_is_cut_short_is_refused(tmp_path, name):
    texts = {"MeasurementDetail.mrf": detail(""), "s.mes": setting({1: "DNA"}), "p.wpi": PLATE_FILE % "BR8"}
    texts["MeasurementDetail.mrf"] = texts["MeasurementDetail.mrf"].replace("20230918_run", "")
    listing = folder(tmp_path, {f"m/{other}": text[:-5] if other == name else text for other, text in texts.items()})
    with pytest.raises(DataError, match=rf"{name}: is cut short or no XML .*; copy it again from the measurement$"):
        read_detail(listing, "m")
