"""Maps of the Broad Institute."""

import pytest

from mscnn.core.errors import DataError
from mscnn.data.plate_maps.read_map import read_plate_map
from tests.data.plate_maps.maps import reasons, treatments

BARCODES = "Assay_Plate_Barcode,Plate_Map_Name,Batch\nSQ1,M-1,1\nSQ2,m-2,1\nSQ3,M-1,2\n"
HEADER = "plate_map_name\twell_position\tbroad_sample\tmg_per_ml\tmmoles_per_liter\tsolvent\n"
FIRST = HEADER + "M-1\tA01\t\t\t\tDMSO\nM-1\ta02\tBRD-1\t2\t0.005\tDMSO\nM-1\tA03\tBRD-2\t0.5\t\tDMSO\n"
SECOND = HEADER + "m-2\tA01\tBRD-3\t1\t10\tDMSO\nm-2\tA02\t\t\t\tempty\n"
OF_FIRST = {"A01": ("DMSO", None, "", ""), "A02": ("BRD-1", 5, "µM", ""), "A03": ("BRD-2", 500, "µg/ml", "")}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "barcode_platemap.csv").write_text(BARCODES)
    (tmp_path / "platemap").mkdir()
    (tmp_path / "platemap" / "M-1.txt").write_text(FIRST)
    (tmp_path / "platemap" / "M-2.TXT").write_text(SECOND)
    (tmp_path / "platemap" / "M-9.txt").write_text(SECOND)
    return tmp_path


def test_each_plate_has_the_wells_of_its_map(folder):
    found = read_plate_map(folder / "barcode_platemap.csv")
    expected = {f"{plate} {well}": one for plate in ("SQ1", "SQ3") for well, one in OF_FIRST.items()}
    expected |= {"SQ2 A01": ("BRD-3", 10000, "µM", ""), "SQ2 A02": ("", None, "", "")}
    assert treatments(found) == expected
    assert found.wells["Metadata_broad_sample"].tolist()[:3] == ["", "BRD-1", "BRD-2"]
    assert found.wells["Metadata_mg_per_ml"].tolist()[:3] == ["", "2", "0.5"]
    assert found.format == "Broad barcode_platemap"
    assert found.notes[0] == "M-1: 1 wells without broad_sample are DMSO"
    assert found.notes[-1] == f"left out: 1 files of {folder / 'platemap'} that no plate uses"


def test_the_folder_may_be_named(folder):
    assert treatments(read_plate_map(folder)) == treatments(read_plate_map(folder / "barcode_platemap.csv"))


def test_a_map_alone_is_of_every_plate(folder):
    found = read_plate_map(folder / "platemap" / "M-1.txt")
    assert treatments(found) == OF_FIRST
    assert found.notes == ("1 wells without broad_sample are DMSO", "mmoles_per_liter is read as mM; where it is of the "
                           "source plate, the doses in the wells are lower")


def test_maps_that_are_not_there_are_noted_and_refused_where_none_is(folder):
    (folder / "platemap" / "M-1.txt").unlink()
    found = read_plate_map(folder)
    assert found.wells["plate"].unique().tolist() == ["SQ2"]
    assert f"2 plates have no map, as 1 maps are not in {folder / 'platemap'}: M-1" in found.notes
    (folder / "platemap" / "M-2.TXT").unlink()
    with pytest.raises(DataError, match=r"none of its maps is in .*; put there M-1, m-2"):
        read_plate_map(folder)


def test_faults_of_barcodes_and_maps_are_problems_together(folder):
    (folder / "barcode_platemap.csv").write_text(BARCODES + "SQ1,m-2,1\n,M-1,1\nSQ5,../M-1,1\n")
    (folder / "platemap" / "M-2.TXT").write_text(SECOND.replace("A02", "Z99"))
    assert reasons(read_plate_map(folder)) == [
        (5, "plate SQ1 has maps M-1 and m-2"), (6, "plate '' has map 'M-1'"), (7, "plate 'SQ5' has map '../M-1'"),
        (3, "well 'Z99' is no place on a plate")]


def test_the_rule_of_the_untreated_does_not_hold_for_other_columns(tmp_path):
    (tmp_path / "map.csv").write_text("well,compound,broad_sample\nA1,,\nA2,a,BRD-1\n")
    assert [one[0] for one in treatments(read_plate_map(tmp_path / "map.csv")).values()] == ["", "a"]


def test_the_map_of_lincs(shared_data):
    folder = shared_data / "formats" / "broad_platemap" / "lincs"
    found = treatments(read_plate_map(folder / "platemap" / "C-7161-01-LM6-001.txt"))
    assert len(found) == 384
    assert found["A02"] == ("DMSO", None, "", "")
    assert found["A08"] == ("BRD-K25114078-003-08-1", 3333.33, "µM", "")   # 3.33333333333076923 mmoles_per_liter
    assert found["A19"] == ("BRD-K25361343-001-01-6", 10000, "µM", "")     # 9.99999999999999999
    assert found["B12"] == ("BRD-K25140590-001-03-0", 41.1523, "µM", "")   # 0.0411522633769230769
    assert sum(one[0] == "DMSO" for one in found.values()) == 24
    of_all = read_plate_map(folder)
    plates = ["SQ00015125", "SQ00015119", "SQ00015118", "SQ00015117", "SQ00015116"]
    assert of_all.wells["plate"].value_counts().to_dict() == dict.fromkeys(plates, 384)
    assert "135 plates have no map, as 27 maps are not in" in of_all.notes[-1]
    assert of_all.problems == ()


def test_wells_without_a_solvent_are_not_untreated_where_others_have_one(tmp_path):
    text = HEADER + "M-1\tA01\tNA\tNA\tNA\tNA\nM-1\tA02\tNA\tNA\tNA\tDMSO\nM-1\tA03\tBRD-1\t2\t0.005\tDMSO\n"
    (tmp_path / "M-1.txt").write_text(text)
    found = read_plate_map(tmp_path / "M-1.txt")
    assert treatments(found) == {"A01": ("", None, "", ""), "A02": ("DMSO", None, "", ""), "A03": ("BRD-1", 5, "µM", "")}
    assert found.notes[0] == "1 wells without broad_sample are DMSO"
    assert "1 wells have no compound: A01" in found.notes


def test_wells_with_a_gene_are_not_untreated(tmp_path):
    """As guides of which only some have an identifier."""
    (tmp_path / "guides.csv").write_text("well,gene_name,broad_sample\nA1,KRAS,NA\nA2,AKT1,BRDN1\nA3,NA,NA\n")
    assert treatments(read_plate_map(tmp_path / "guides.csv")) == {
        "A01": ("", None, "", ""), "A02": ("BRDN1", None, "", ""), "A03": ("DMSO", None, "", "")}


def test_a_name_of_the_perturbation_counts_before_the_identifier(tmp_path):
    (tmp_path / "guides.csv").write_text("well,gene_name,pert_name,broad_sample\nA1,KRAS,KRAS-2,NA\nA2,AKT1,AKT1-1,BRDN1\n")
    assert treatments(read_plate_map(tmp_path / "guides.csv")) == {"A01": ("KRAS-2", None, "", ""),
                                                                   "A02": ("AKT1-1", None, "", "")}


@pytest.mark.parametrize("header", ["plate_barcode,platemap_file", "barcode,time_point,platemap_file", "Plate,Platemap"])
def test_tables_of_barcodes_with_other_names_of_columns_are_read(tmp_path, header):
    middle = "24," if "time_point" in header else ""
    (tmp_path / "Barcodes.csv").write_text(f"{header}\nP1,{middle}first.csv\nP2,{middle}second\n")
    (tmp_path / "first.csv").write_text("well,treatment\nA1,a\n")
    (tmp_path / "second.csv").write_text("well,treatment\nA1,b\n")
    assert treatments(read_plate_map(tmp_path / "Barcodes.csv")) == {"P1 A01": ("a", None, "", ""),
                                                                     "P2 A01": ("b", None, "", "")}
