"""The unit of a table's concentrations, where the table says it."""

import pandas as pd
import pytest

from mscnn.core import config
from mscnn.core.errors import DataError
from mscnn.data.read_screen import read_screen
from mscnn.data.tables.dose_unit import table_unit
from mscnn.data.tables.problems import Problem


@pytest.mark.parametrize(("column", "units", "found"), [
    ("Metadata_Concentration", ["\u00b5M", "", "NA"], "\u00b5M"),    # as `mscnn table` writes it; the control has none
    ("Metadata_Concentration", ["micromolar", "uM"], "\u00b5M"),
    ("Metadata_Concentration", ["nM", "nM"], "nM"),                  # numbers are not converted
    ("Metadata_Concentration", ["\u00b5M", "ug/ml"], "\u00b5M or \u00b5g/ml"),
    ("Metadata_Concentration", ["x" * 50], ""),
    ("Concentration (nM)", None, "nM"), ("dose_uM", None, "\u00b5M"), ("doseum", None, "\u00b5M"),
    ("Metadata_Concentration", None, ""), ("", None, "")])
def test_a_column_of_units_counts_then_the_name_of_the_column(column, units, found):
    table = pd.DataFrame({"a": [""] * len(units or [""])})
    if units:
        table["Metadata_ConcentrationUnit"] = units
    assert table_unit(table, column) == found


def test_a_mixture_is_told(caplog):
    table_unit(pd.DataFrame({"Dose_Unit": ["nM", "%"]}), "dose")
    assert "concentrations have several units: %, nM" in caplog.text


def test_the_setting_counts_before_the_table(tiny_screen, caplog):
    text = tiny_screen.read_text()
    assert read_screen(config.Table(sites=str(tiny_screen))).unit == ""
    tiny_screen.write_text(text.replace("Metadata_Concentration", "Metadata_Concentration (nM)"))
    assert read_screen(config.Table(sites=str(tiny_screen))).unit == "nM"
    assert read_screen(config.Table(sites=str(tiny_screen), concentration_unit="uM")).unit == "\u00b5M"
    assert "the table says that concentrations are in nM, and they are shown in \u00b5M" in caplog.text


MIXED = "compound,Metadata_Plate,Metadata_Well,file,dose,dose_unit\n" + "".join(
    f"{compound},P1,B{number:02},{number}.tif,{dose},{unit}\n"
    for number, (compound, dose, unit) in enumerate(
        [("a", 1, "uM"), ("a", 3, "\u00b5M"), ("a", 1, "{}"), ("DMSO", 0.1, "%")], 1))


@pytest.mark.parametrize("unit", ["nM", "ug/ml"])
def test_doses_of_a_compound_in_two_units_are_refused_unless_the_setting_says_their_unit(tmp_path, unit):
    path = tmp_path / "sites.csv"
    path.write_text(MIXED.format(unit))
    with pytest.raises(DataError, match="are in another unit than most: 1; convert them to one unit, or say by "
                                        "--concentration-unit") as refusal:
        read_screen(config.Table(sites=str(path)))
    shown = unit.replace("ug", "\u00b5g")
    assert refusal.value.details == [f"row 4: a concentration in {shown}, where most are in \u00b5M"]
    found: list[Problem] = []
    read_screen(config.Table(sites=str(path)), found)
    assert [problem.row for problem in found] == [4]
    assert read_screen(config.Table(sites=str(path), concentration_unit="nM")).unit == "nM"


def test_units_of_several_kinds_are_no_problem_where_each_compound_has_one(tmp_path):
    path = tmp_path / "sites.csv"
    path.write_text(MIXED.format("ug/ml").replace("a,P1,B03", "antibody,P1,B03"))
    assert read_screen(config.Table(sites=str(path))).unit == "% or \u00b5M or \u00b5g/ml"
    path.write_text(MIXED.format("nM").replace("a,P1,B03", "b,P1,B03"))
    with pytest.raises(DataError, match="another unit than most: 1"):
        read_screen(config.Table(sites=str(path)))
