"""The unit of a table's concentrations, where the table says it."""

import pandas as pd
import pytest

from mscnn.core import config
from mscnn.data.read_screen import read_screen
from mscnn.data.tables.dose_unit import table_unit


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
