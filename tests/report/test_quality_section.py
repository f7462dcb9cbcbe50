"""What the report shows of the quality of images."""

import base64
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd

from mscnn.data.tables.left_out import LeftOut
from mscnn.report import html as report
from mscnn.report import quality_section

DESCRIPTION = SimpleNamespace(control="dmso", left_out=None)


def fields(num: int = 60, **changed: object) -> pd.DataFrame:
    """A row per field; two fields a well, compounds by turns."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({
        "Metadata_Plate": "P1", "Metadata_Well": [f"{'BCDEFG'[row // 20]}{row // 2 % 10 + 2:02}" for row in range(num)],
        "Metadata_Site": "1", "Metadata_Compound": ["a", "DMSO"] * (num // 2), "Metadata_Concentration": 1.0,
        "Quality_Cells": rng.normal(50, 5, num).round(), "Quality_Focus_$x_1$": rng.normal(-1, 0.1, num),
        "Quality_Saturated_$x_1$": 0.0, "Quality_Intensity_$x_1$": 9.0, "Quality_P99_$x_1$": rng.normal(100, 5, num),
        "Flags": ""})
    return frame.assign(**changed)


def html(shown: quality_section.ShownQuality, description: object = DESCRIPTION) -> str:
    return report.environment().get_template("quality.html").module.section(shown, description)


def test_flags_are_counted_by_plate_and_the_worst_fields_come_first():
    flags = [""] * 60
    flags[3], flags[7], flags[9], flags[40] = "dim", "blurred", "blurred;saturated", "empty"
    frame = fields(Flags=flags, Metadata_Plate=["P1"] * 30 + ["P2"] * 30)
    frame.loc[9, "Quality_Focus_$x_1$"] = -4
    shown = quality_section.shown(frame, DESCRIPTION)
    assert shown.summary == "4 of 60 fields flagged: 2 blurred, 1 saturated, 1 empty, 1 dim"
    assert [(row.plate, row.fields, row.flagged, row.flags) for row in shown.plates] == [
        ("P1", 30, 3, {"blurred": 2, "saturated": 1, "dim": 1}), ("P2", 30, 1, {"empty": 1})]
    assert [row.flags for row in shown.worst] == ["empty", "blurred;saturated", "blurred", "dim"]
    page = html(shown)
    assert "2 blurred, 1 saturated, 1 dim" in page
    assert "blurred, saturated</td>" in page


def test_long_lists_are_cut_and_say_so():
    shown = quality_section.shown(fields(Flags="dim", Metadata_Plate=[f"P{n % 30}" for n in range(60)]), DESCRIPTION)
    assert (len(shown.plates), shown.num_plates, len(shown.worst), shown.num_flagged) == (20, 30, 20, 60)
    page = html(shown)
    assert "The first 20 of 30 plates" in page
    assert "The first 20 of 60 flagged fields" in page


def test_names_are_escaped_and_never_mathematics():
    frame = fields(Metadata_Compound="<script>", Flags="dim")
    page = html(quality_section.shown(frame, DESCRIPTION))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    drawing = base64.b64decode(re.search("base64,([^\"]+)", page)[1]).decode()
    assert drawing.count("<svg") == 1
    assert "mathdefault" not in drawing


def test_without_flags_there_are_no_tables_and_what_was_left_out_is_told():
    shown = quality_section.shown(fields(), DESCRIPTION)
    assert "<table>" not in html(shown)
    assert "0 of 60 fields flagged." in html(shown)
    left = SimpleNamespace(control="DMSO", left_out=LeftOut(12, 720, {"blurred": 9, "empty": 3}, ""))
    assert "12 of 720 fields left out: 9 blurred, 3 empty" in html(shown, left)


def test_a_large_edge_effect_is_listed_with_its_size():
    wells = [f"{row}{column:02}" for row in "ABCDEFGH" for column in range(1, 13)]
    is_rim = np.array([well[0] in "AH" or well[1:] in ("01", "12") for well in wells])
    frame = fields(96, Metadata_Well=wells, Metadata_Compound="DMSO")
    shown = quality_section.shown(frame, DESCRIPTION)
    assert (shown.edges, shown.num_judged) == ([], 1)
    assert "No plate of 1 with wells to compare has a large edge effect" in html(shown)
    frame["Quality_Cells"] -= 25 * is_rim  # five standard deviations
    page = html(shown := quality_section.shown(frame, DESCRIPTION))
    assert [edge.measure for edge in shown.edges] == ["Quality_Cells"]
    assert re.search(r"<td>Cells</td><td class=\"n\">-[456]\.\d sd</td><td class=\"n\">0\.001</td><td>control</td>", page)


def test_quality_that_was_not_measured_is_not_shown():
    assert quality_section.shown(None, DESCRIPTION) is None
    assert quality_section.shown(fields().iloc[:0], DESCRIPTION) is None


def test_fields_without_cells_or_focus_are_drawn_without_them():
    frame = fields(Quality_Cells=np.nan, **{"Quality_Focus_$x_1$": np.nan}, Flags="empty")
    page = html(quality_section.shown(frame, DESCRIPTION))
    assert '<td class="n">–</td>' in page
