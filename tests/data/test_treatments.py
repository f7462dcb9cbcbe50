"""Plate maps and tables of compounds joined to rows of sites."""

import pandas as pd
import pytest

from mscnn.core.errors import DataError
from mscnn.data.plate_maps.compounds import read_compounds
from mscnn.data.plate_maps.read_map import read_plate_map
from mscnn.data.treatments import add_treatments, plain_columns

ROWS = pd.DataFrame({"Metadata_Plate": ["P1", "P1", "P2"], "Metadata_Well": ["A01", "A02", "A01"],
                     "Metadata_Site": ["1", "1", "1"], "FileName_DNA": ["a.tif", "b.tif", "c.tif"],
                     "Metadata_PixelSize": ["0.65"] * 3})


def joined(tmp_path, text: str, compounds: str = "", rows: pd.DataFrame = ROWS, **options):
    (tmp_path / "map.csv").write_text(text)
    (tmp_path / "compounds.csv").write_text(compounds)
    table = read_compounds(tmp_path / "compounds.csv") if compounds else None
    plate_map = read_plate_map(tmp_path / "map.csv") if text else None
    return add_treatments(rows, plate_map, table, **{"control": "DMSO", "drop_unmapped": False} | options)


def test_the_treatment_stands_between_the_place_and_the_images(tmp_path):
    rows, lines = joined(tmp_path, "well,drug,dose,batch\nA1,taxol,0.3 uM,x\na02,DMSO,,y\n",
                         "name,moa\nTaxol,stabiliser\n")
    assert list(rows) == ["Metadata_Plate", "Metadata_Well", "Metadata_Site", "Metadata_Compound", "Metadata_Concentration",
                          "Metadata_ConcentrationUnit", "Metadata_MOA", "Metadata_batch", "FileName_DNA",
                          "Metadata_PixelSize"]
    assert rows[list(rows)[3:8]].to_numpy().tolist() == [
        ["taxol", "0.3", "µM", "stabiliser", "x"], ["DMSO", "", "", "", "y"], ["taxol", "0.3", "µM", "stabiliser", "x"]]
    assert any(line.startswith("plate map ") for line in lines)


def test_wells_that_the_map_lacks_are_refused_all_at_once_or_dropped(tmp_path):
    text = "plate,well,compound\nP1,A01,a\n"
    with pytest.raises(DataError, match="--unmapped drop") as refused:
        joined(tmp_path, text)
    assert "plate P1 well A02 is not in the map" in str(refused.value)
    assert "plate P2 (1 sites) is not in the map" in str(refused.value)
    rows, lines = joined(tmp_path, text, drop_unmapped=True)
    assert rows["FileName_DNA"].tolist() == ["a.tif"]
    assert any("1 sites are of 1 plates that the map lacks: P2" in line for line in lines)


def test_a_map_of_other_plates_is_refused_even_where_wells_are_dropped(tmp_path):
    with pytest.raises(DataError, match="not one well of the images is in the plate map"):
        joined(tmp_path, "plate,well,compound\nQ,A01,a\n", drop_unmapped=True)


def test_an_index_that_names_compounds_needs_no_map_for_mechanisms(tmp_path):
    rows = ROWS.assign(Metadata_Compound=["a", "DMSO", "b"], Metadata_Concentration=["1", "", "2"])
    found, _ = joined(tmp_path, "", "compound,mechanism\na,kinase\nb,kinase\n", rows=rows)
    assert found[["Metadata_Compound", "Metadata_Concentration", "Metadata_MOA"]].to_numpy().tolist() == [
        ["a", "1", "kinase"], ["DMSO", "", ""], ["b", "2", "kinase"]]
    with pytest.raises(DataError, match="names no compounds; give a plate map"):
        joined(tmp_path, "", "compound,mechanism\na,kinase\n")


def test_a_map_counts_before_what_the_index_knows(tmp_path):
    found, _ = joined(tmp_path, "well,compound\nA1,a\nA2,DMSO\n", rows=ROWS.assign(Metadata_Compound="old"))
    assert found["Metadata_Compound"].tolist() == ["a", "DMSO", "a"]
    assert list(found).count("Metadata_Compound") == 1


def test_a_class_of_untreated_wells_is_asked_for_where_there_are_mechanisms(tmp_path):
    text = "well,compound,moa\nA1,a,kinase\nA2,dmso,\n"
    assert any(line.startswith("DMSO has no mechanism") for line in joined(tmp_path, text)[1])
    for fine in (text.replace("dmso,", "dmso,DMSO"), "well,compound\nA1,a\nA2,DMSO\n"):
        assert not any("no mechanism" in line for line in joined(tmp_path, fine)[1])


def test_a_plate_with_a_name_that_is_nearly_that_of_the_map_is_told(tmp_path):
    rows = ROWS.assign(Metadata_Plate="PL-1")
    with pytest.raises(DataError, match=r"plate PL-1 \(3 sites\) is not in the map; did you mean PL1\?"):
        joined(tmp_path, "plate,well,compound\nPL1,A01,a\nPL1,A02,b\n", rows=rows)


def test_columns_that_a_site_table_would_be_read_by_have_one_name_and_signed_numbers_are_numbers():
    rows = ROWS.assign(Metadata_FieldID="1", Metadata_Batch="x", Metadata_PositionX=["-4E-06", "", "2"],
                       Metadata_note=["-a", "1", ""], Metadata_barcode=["007", "1", "2"])
    found = plain_columns(rows)
    assert {"Metadata_FieldID_other", "Metadata_Batch", "Metadata_barcode"} <= set(found)
    assert found["Metadata_PositionX"].tolist()[::2] == [-4e-06, 2.0]
    assert found["Metadata_note"].tolist() == ["-a", "1", ""]
    assert found["Metadata_barcode"].tolist() == ["007", "1", "2"]


def test_doses_that_the_index_names_are_read_with_their_units_and_never_dropped(tmp_path):
    rows = ROWS.assign(Metadata_Compound=["a", "DMSO", "b"], Metadata_Concentration=["300 nM", "", "2 uM"])
    found, _ = joined(tmp_path, "", "compound,mechanism\na,kinase\nb,kinase\n", rows=rows)
    assert found[["Metadata_Concentration", "Metadata_ConcentrationUnit"]].to_numpy().tolist() == [
        ["0.3", "\u00b5M"], ["", ""], ["2", "\u00b5M"]]
    with pytest.raises(DataError, match="the index of the images: concentrations cannot be read: 1;"):
        joined(tmp_path, "", "compound,mechanism\na,kinase\n", rows=rows.assign(Metadata_Concentration=["low", "", "2"]))
