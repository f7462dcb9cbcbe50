"""Annotations of the Image Data Resource."""

import pytest

from mscnn.core.errors import DataError
from mscnn.data.plate_maps.idr import is_idr_header, read_idr_annotations
from mscnn.data.plate_maps.read_map import read_plate_map

HEADER = ("Plate,Well,Characteristics [Organism],Term Source 1 REF,Term Source 1 Accession,Compound Name,"
          "Compound Concentration (microMolar),Control Type,Channels,Nuclei_Area")
ROWS = ["24277,a1,Homo sapiens,NCBITaxon,NCBITaxon_9606,taxol,0.3,,Hoechst:DNA;Tritc:actin,1.25",
        "24277,B03,Homo sapiens,NCBITaxon,NCBITaxon_9606,DMSO,,negative control,Hoechst:DNA,2.5e3"]


def write(folder, header, rows, *, name="idr0000-screenA-annotation.csv", separator=","):
    path = folder / name
    path.write_text("\n".join([header, *rows]).replace(",", separator) + "\n")
    return path


@pytest.mark.parametrize(("name", "separator"), [("idr0000-screenA-annotation.csv", ","), ("idr0000-processed.txt", "\t")])
def test_wells_with_their_compounds(tmp_path, name, separator):
    frame = read_idr_annotations(write(tmp_path, HEADER, ROWS, name=name, separator=separator))
    assert frame.to_dict("list") == {
        "plate": ["24277", "24277"], "well": ["A01", "B03"], "Metadata_Compound": ["taxol", "DMSO"],
        "Metadata_Concentration": ["0.3", ""], "Metadata_Unit": ["microMolar", ""], "Metadata_MoA": ["", ""],
        "Metadata_Organism": ["Homo sapiens"] * 2, "Metadata_Control_Type": ["", "negative control"],
        "Metadata_Channels": ["Hoechst:DNA;Tritc:actin", "Hoechst:DNA"]}


def test_conditions_in_brackets_and_a_line_of_explanations(tmp_path):
    header = ("Plate\tWell\tReagent Identifier\tExperimental Condition [Compound concentration (nM)]\tCompound MoA\t"
              "Characteristics [Cell Line]\tComment [Cell Line]")
    rows = ["# the name of the plate\t# e.g. A1\t#\t#\t#\t#\t#", "P1\tA1\tB-12\t50\tkinase\tU2OS\tclone 2"]
    frame = read_idr_annotations(write(tmp_path, header, rows))
    assert frame.to_dict("records") == [{
        "plate": "P1", "well": "A01", "Metadata_Compound": "B-12", "Metadata_Concentration": "50", "Metadata_Unit": "nM",
        "Metadata_MoA": "kinase", "Metadata_Cell_Line": "U2OS", "Metadata_Cell_Line_2": "clone 2"}]


def test_a_row_a_phenotype_becomes_a_row_a_well_and_two_treatments_are_refused(tmp_path):
    assert len(read_idr_annotations(write(tmp_path, HEADER, [*ROWS, ROWS[0]]))) == 2
    with pytest.raises(DataError, match="1 wells have more than one treatment; give a row a well") as caught:
        read_idr_annotations(write(tmp_path, HEADER, [*ROWS, ROWS[0].replace("taxol", "nocodazole")]))
    assert caught.value.details == ["row 2: plate 24277 well A01: taxol 0.3 microMolar",
                                    "row 4: plate 24277 well A01: nocodazole 0.3 microMolar"]


def test_units_and_mechanisms_of_a_well_that_differ_are_refused(tmp_path):
    header = "Plate,Well,Characteristics [Organism],Compound Name,Concentration,Concentration Unit,MoA"
    row = "P,A1,Homo sapiens,taxol,10,uM,tubulin"
    assert len(read_idr_annotations(write(tmp_path, header, [row, row]))) == 1
    for other in (row.replace("uM", "nM"), row.replace("tubulin", "actin")):
        with pytest.raises(DataError, match="1 wells have more than one treatment"):
            read_idr_annotations(write(tmp_path, header, [row, other]))


def test_the_door_of_plate_maps_reads_them_and_names_negative_controls(tmp_path):
    rows = [*ROWS, "24277,B04,Homo sapiens,,,,,Negative Control,Hoechst:DNA,1.0",
            "24277,B05,Homo sapiens,,,,,,Hoechst:DNA,1.0", "24277,B06,Homo sapiens,,,,,negative,Hoechst:DNA,1.0",
            "24277,B07,Homo sapiens,,,,,positive,Hoechst:DNA,1.0"]
    plate_map = read_plate_map(write(tmp_path, HEADER, rows))
    assert plate_map.format == "annotations of IDR"
    assert plate_map.wells[["plate", "well", "compound", "unit"]].to_numpy().tolist() == [
        ["24277", "A01", "taxol", "µM"], ["24277", "B03", "DMSO", ""], ["24277", "B04", "DMSO", ""],
        ["24277", "B05", "", ""], ["24277", "B06", "", ""], ["24277", "B07", "", ""]]
    assert plate_map.wells["concentration"].iloc[0] == 0.3
    assert "1 negative controls without a compound are DMSO" in plate_map.notes


def test_other_tables_are_refused(tmp_path):
    with pytest.raises(DataError, match="has no column for well and compound; give an annotation file of IDR"):
        read_idr_annotations(write(tmp_path, "Plate,Image", ["P1,x"]))
    with pytest.raises(DataError, match="1 wells are no places on a plate") as caught:
        read_idr_annotations(write(tmp_path, HEADER, [ROWS[0].replace("a1", "1")]))
    assert caught.value.details == ["'1'"]
    with pytest.raises(DataError, match="there is no such file"):
        read_idr_annotations(tmp_path / "no.csv")


def test_headers_of_idr_are_recognised():
    assert is_idr_header(HEADER.split(","))
    assert not is_idr_header(["Plate", "Well", "Compound"])
    assert not is_idr_header(["Characteristics [Organism]", "Plate"])


def test_a_unit_that_contradicts_the_header_is_a_problem(tmp_path):
    header = "Plate,Well,Characteristics [Organism],Compound Name,Concentration (uM),Concentration Unit"
    assert read_plate_map(write(tmp_path, header, ["P,A1,Homo sapiens,taxol,10,µM"])).problems == ()
    assert len(read_plate_map(write(tmp_path, header, ["P,A1,Homo sapiens,taxol,10,nM"])).problems) == 1
