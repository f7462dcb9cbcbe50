"""Layouts of an assay that Harmony writes."""

import pytest

from mscnn.core.errors import DataError
from mscnn.data.plate_maps.read_map import read_plate_map
from tests.data.plate_maps.maps import read_text_map, reasons, treatments


def well(row: object, column: object, value: str) -> str:
    return f"<Well><Row>{row}</Row><Col>{column}</Col><Value>{value}</Value><Color>1</Color></Well>"


def layer(name: str, *wells: str, kind: str = "string") -> str:
    return f"<Layer><Name>{name}</Name><ValueType>{kind}</ValueType>{''.join(wells)}</Layer>"


def layout(*layers: str, start: str = "", rows: object = 16) -> str:
    return (f'<?xml version="1.0" encoding="utf-8"?>{start}<AssayLayout xmlns="http://www.perkinelmer.com/PEHH/HarmonyV5">'
            f"<PlateCols>24</PlateCols><PlateRows>{rows}</PlateRows>{''.join(layers)}</AssayLayout>")


COMPOUND = layer("Compound", well(1, 1, "taxol"), well(2, 24, "DMSO"), well(3, 3, ""))


def test_layers_are_the_columns_of_a_map(tmp_path):
    found = read_text_map(tmp_path, layout(COMPOUND, layer("Concentration (nM)", well(1, 1, "300"), kind="double"),
                                           layer("Cell Type", well(1, 1, "U2OS")), layer("MOA", well(1, 1, ""))), "a.xml")
    assert treatments(found) == {"A01": ("taxol", 0.3, "µM", ""), "B24": ("DMSO", None, "", "")}
    assert found.wells["Metadata_Cell Type"].tolist() == ["U2OS", ""]
    assert (found.format, found.notes) == ("Harmony assay layout", ("layers without values are left out: MOA",))


def test_a_layout_within_another_element_is_read(tmp_path):
    inner = layout(COMPOUND).partition("?>")[2]
    found = read_text_map(tmp_path, f"<AssayLayouts><AssayLayoutEntry>{inner}</AssayLayoutEntry></AssayLayouts>", "a.xml")
    assert list(treatments(found)) == ["A01", "B24"]


def test_a_layer_is_chosen(tmp_path):
    text = layout(layer("Agent", well(1, 1, "a")), layer("Plan", well(1, 1, "b")))
    with pytest.raises(DataError, match=r"no layer is the compound; choose with .* its layers are Agent, Plan"):
        read_text_map(tmp_path, text, "a.xml")
    assert treatments(read_text_map(tmp_path, text, "a.xml", columns={"compound": "Agent"}))["A01"][0] == "a"
    with pytest.raises(DataError, match="no such layers"):
        read_text_map(tmp_path, text, "a.xml", columns={"compound": "agent"})
    with pytest.raises(DataError, match="more than one layer is the compound"):
        read_text_map(tmp_path, layout(COMPOUND, layer("Drug", well(1, 1, "b"))), "a.xml")


def test_wells_beyond_the_plate_and_repeated_wells_are_problems(tmp_path):
    found = read_text_map(tmp_path, layout(layer("Compound", well(17, 1, "a"), well(1, 25, "b"), well(2, 2, "c"),
                                                 well(2, 2, "d"), well(33, 1, "e"))), "a.xml")
    assert sorted(reason for _, reason in reasons(found)) == [
        "layer 'Compound' has row 2 column 2 twice", "well 'row 33 column 1' is no place on a plate",
        "well A25 is beyond the plate of 16 x 24 wells", "well Q01 is beyond the plate of 16 x 24 wells",
        "well row 33 column 1 is beyond the plate of 16 x 24 wells"]


@pytest.mark.parametrize(("text", "reason"), [
    (layout(COMPOUND)[:-30], "cut short or no XML"), (layout(layer("Compound", well("A", 1, "a"))), "no XML of a layout"),
    (layout(layer("Compound", well(1, 1, ""))), "has a value in no well of its layers .Compound."),
    (layout(), "without a layer"), ("<html><body/></html>", "XML of html, no layout"),
    (layout(COMPOUND, start='<!DOCTYPE x [<!ENTITY a "b">]>'), "declares a document type or entities"),
    (layout(COMPOUND, start='<!DOCTYPE x SYSTEM "file:///etc/passwd">'), "declares a document type or entities"),
    (layout(COMPOUND, rows="many"), "no XML of a layout"),
    ("<AssayLayout>" + "<a>" * 20 + "</a>" * 20 + "</AssayLayout>", "no layout of an assay")])
def test_other_xml_is_refused_in_one_line(tmp_path, text, reason):
    with pytest.raises(DataError, match=reason) as caught:
        read_text_map(tmp_path, text, "a.xml")
    assert "\n" not in str(caught.value)


def test_the_layout_of_the_operetta_has_no_values(shared_data):
    path = shared_data / "formats" / "harmony" / "operetta-compose" / "Assaylayout" / "Unnamed.xml"
    with pytest.raises(DataError, match="has a value in no well"):
        read_plate_map(path)
    with pytest.raises(DataError, match="no layout of an assay"):
        read_plate_map(path.parent.parent / "Images" / "Index.idx.xml")


def test_a_layer_of_units_that_contradicts_the_title_of_the_doses_is_a_problem(tmp_path):
    layers = (layer("Unit", well(1, 1, "nM")), layer("Concentration (uM)", well(1, 1, "3"), kind="double"))
    for ordered in (layers, layers[::-1]):
        found = read_text_map(tmp_path, layout(COMPOUND, *ordered), "a.xml")
        assert len(found.problems) == 1
