import pytest

from mscnn.data.vendors.name_patterns import METAXPRESS, PATTERNS, fitting_patterns

# Names as microscopes and public data sets write them, and the fields that the vendor's manual gives them.
NAMES = {
    "Week1_150607_B02_s1_w107447158-AC92-4844-8909-16A6C9D7C2B1.tif":
        ("MetaXpress", {"plate": "Week1_150607", "well": "B02", "site": "1", "channel": "1"}),
    "G10_s1_w1BEDC2073-A983-4B98-95E9-84466707A25D.tif": ("MetaXpress", {"well": "G10", "site": "1", "channel": "1"}),
    "val screen_B02_s1_w2D1E11FCC-8DCD-42F5-B2BD-B270F2E9223D.tif":
        ("MetaXpress", {"plate": "val screen", "well": "B02", "site": "1", "channel": "2"}),
    "ADSAStaphInfection2_A01_w2247376DD-6ADD-442D-AE47-F54A05F3EA94.tif":
        ("MetaXpress", {"plate": "ADSAStaphInfection2", "well": "A01", "channel": "2"}),
    "9987_B02.TIF": ("MetaXpress", {"plate": "9987", "well": "B02"}),
    "9987_B02_s10.TIF": ("MetaXpress", {"plate": "9987", "well": "B02", "site": "10"}),
    "A01_s10_w12.tif": ("MetaXpress", {"well": "A01", "site": "10", "channel": "12"}),
    "exp_B02_C03_s1_w1.tif": ("MetaXpress", {"plate": "exp_B02", "well": "C03", "site": "1", "channel": "1"}),
    "x_AF48_s1_w10ABCDEF01-2345-6789-ABCD-EF0123456789.tif":
        ("MetaXpress", {"plate": "x", "well": "AF48", "site": "1", "channel": "10"}),
    "A01_s001_w1_z002_t003.tif": ("MetaXpress", {"well": "A01", "site": "001", "channel": "1", "z": "002", "time": "003"}),
    "B7_01_1_3_DAPI_001.tif":
        ("Gen5", {"well": "B7", "step": "01", "order": "1", "site": "3", "channel": "DAPI", "time": "001"}),
    "B3_02_1_12Z4_Bright Field_002.tif": ("Gen5", {"well": "B3", "step": "02", "order": "1", "site": "12", "z": "4",
                                                  "channel": "Bright Field", "time": "002"}),
    "A1ROI1_01_1_1Z0_Confocal DAPI_001.tif":
        ("Gen5", {"well": "A1", "region": "ROI1", "step": "01", "order": "1", "site": "1", "z": "0",
                  "channel": "Confocal DAPI", "time": "001"}),
    "MFGTMP_141029170001_A01f00d0.TIF":
        ("Cellomics", {"plate": "MFGTMP_141029170001", "well": "A01", "site": "00", "channel": "0"}),
    "AS_09125_050116030001_D03f12d2.png": ("Cellomics", {"plate": "AS_09125_050116030001", "well": "D03", "site": "12",
                                                        "channel": "2"}),
    "Exp_R_p00_z03_0_A01f00d1.tif": ("Cellomics", {"plate": "Exp_R", "z": "03", "time": "0", "well": "A01", "site": "00",
                                                  "channel": "1"}),
    "plate1_A01_T0001F002L01A01Z03C04.tif":
        ("CellVoyager", {"plate": "plate1", "well": "A01", "time": "0001", "site": "002", "z": "03", "channel": "04"}),
    "W0001F0001T0001Z001C1.tif": ("CQ1", {}), "W1F001T0001Z001C1.tif": ("CQ1", {}),
    "r02c03f04p05-ch6sk7fk1fl1.tiff": ("Harmony", {"row": "02", "column": "03", "site": "04", "z": "05", "channel": "6",
                                                  "time": "7"}),
    "B - 02(fld 01 wv DAPI - DAPI).tif":
        ("IN Cell Analyzer", {"row": "B", "column": "02", "site": "01", "channel": "DAPI - DAPI"}),
    "A - 1(fld 1 wv UV - DAPI z 2 time 3).tif": ("IN Cell Analyzer", {"row": "A", "column": "1", "site": "1",
                                                                     "channel": "UV - DAPI", "z": "2", "time": "3"}),
    "B - 02(fld 01 wv Blue - FITC - time 04 - 500 ms).tif":
        ("IN Cell Analyzer", {"row": "B", "column": "02", "site": "01", "channel": "Blue - FITC", "time": "04"}),
    "B - 4(fld 1 wv Cy5 - Cy5- time 2 - 600 ms).tif":
        ("IN Cell Analyzer", {"row": "B", "column": "4", "site": "1", "channel": "Cy5 - Cy5", "time": "2"}),
    "Plate1_HA41_B - 01(fld 1 wv 390 - Blue).tif":
        ("IN Cell Analyzer", {"plate": "Plate1_HA41", "row": "B", "column": "01", "site": "1", "channel": "390 - Blue"}),
    "A - 01(fld 1).tif": ("IN Cell Analyzer", {"row": "A", "column": "01", "site": "1"}),
    "A1--W00001--P00002--Z00003--T00004--DAPI.tif":
        ("ScanR", {"well": "A1", "site": "00002", "z": "00003", "time": "00004", "channel": "DAPI"}),
    "--W00001--P00001--Z00000--T00000--cherry.tif": ("ScanR", {}),
    "-B012--PO01--LO002--CO3--SL005--PX32500--PW0080--IN0020--TM281--X014580--Y011262--Z210710--T0000257564--WE00013.tif":
        ("ACQUIFER", {"well": "B012", "site": "01", "time": "002", "channel": "3", "z": "005"}),
    "WE00020---B005--PO01--LO001--CO6--SL010--PX16250--PW0040--IN0020--TM246--X050299--Y019906--Z212275--T1375574652.tif":
        ("ACQUIFER", {"well": "B005", "site": "01", "time": "001", "channel": "6", "z": "010"}),
}


@pytest.mark.parametrize("name", NAMES)
def test_each_name_fits_the_pattern_of_its_microscope_alone_and_has_its_fields(name):
    fitting = fitting_patterns([name])
    assert [pattern.name for pattern in fitting] == [NAMES[name][0]]
    match = fitting[0].regex.fullmatch(name)
    assert {field: value for field, value in match.groupdict().items() if value is not None} == NAMES[name][1]


@pytest.mark.parametrize("name", ["image.tif", "s_C001.tif", "experiment1.tif", "A1.tif", "B02.jpg", "B02_s1_w1.tif.tmp",
                                  ".tif", "iamac01file.c01", "9987_B02_s1_w1_thumb.tif", "fov1_z0.tif", "IMG_0001.tif"])
def test_other_names_fit_none(name):
    assert fitting_patterns([name]) == []


def test_nearly_all_names_must_fit():
    named = [f"P_{row}{column:02}_s1_w1.tif" for row in "ABCDEFGHIJ" for column in range(1, 10)]
    assert fitting_patterns([*named, *(f"note{number}.tif" for number in range(10))]) == [METAXPRESS]
    assert fitting_patterns([*named, *(f"note{number}.tif" for number in range(11))]) == []
    assert fitting_patterns([]) == []


def test_names_of_numbered_wells_have_a_template_that_fits_them():
    templates = {pattern.name: pattern.template.format(wells=96) for pattern in PATTERNS if pattern.template}
    assert templates == {"CQ1": "W{well96}F{site}T{time}Z{z}C{channel}.tif",
                         "ScanR": "*--W{well96}--P{site}--Z{z}--T{time}--{channel}.tif"}
