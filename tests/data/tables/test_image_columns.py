"""Columns that name images, as CellProfiler's LoadData has them, and projections and ranges beside them."""

from pathlib import Path

import pandas as pd
import pytest

from mscnn.core.errors import DataError
from mscnn.data.tables.image_columns import image_sources
from mscnn.data.tables.image_source import Plane, unpack_source
from mscnn.data.tables.problems import Problem
from mscnn.data.tables.site_table import read_sites


def sources(root: Path, columns: dict[str, list[str]], channels=(), file_column=None) -> tuple[list, list[Problem], tuple]:
    table = pd.DataFrame(columns, dtype=str)
    table.index += 2
    problems: list[Problem] = []
    found, names = image_sources(table, file_column, channels, root / "sites.csv", root, problems)
    return found, problems, names


def planes(root: Path, text: str) -> list[tuple[str, int | None]]:
    return [(str(Path(plane.path).relative_to(root)), plane.number) for plane in unpack_source(text).planes]


def test_a_frame_is_a_plane_of_its_file(tmp_path):
    found, problems, names = sources(tmp_path, {
        "FileName_DNA": ["a.tif", "b.tif"], "Frame_DNA": ["0", ""],
        "FileName_ER": ["a.tif", "b2.tif"], "Frame_ER": ["12", ""]})
    assert (problems, names) == ([], ("DNA", "ER"))
    assert [[planes(tmp_path, text) for text in row] for row in found] == [
        [[("a.tif", 0)], [("a.tif", 12)]], [[("b.tif", None)], [("b2.tif", None)]]]


def test_a_projection_lists_files_frames_or_both(tmp_path):
    (tmp_path / "sub").mkdir()
    found, problems, _ = sources(tmp_path, {
        "FileName_DNA": ["a.tif|b.tif", "c.tif", "d.tif|e.tif", "f|g.tif"], "PathName_DNA": ["D:\\x\\sub"] * 4,
        "Frame_DNA": ["", "0|3|4", "1|2", ""], "Metadata_Projection": ["max", "Max", "max", ""]})
    assert problems == []
    assert [planes(tmp_path, row[0]) for row in found] == [
        [("sub/a.tif", None), ("sub/b.tif", None)], [("sub/c.tif", 0), ("sub/c.tif", 3), ("sub/c.tif", 4)],
        [("sub/d.tif", 1), ("sub/e.tif", 2)], [("sub/f|g.tif", None)]]


def test_a_range_of_values_belongs_to_each_row(tmp_path):
    found, problems, _ = sources(tmp_path, {"filename": ["a.tif", "b.tif"], "Metadata_ValueRange": ["0 1.5", ""]},
                                 file_column="filename")
    assert problems == []
    assert [unpack_source(row[0]).value_range for row in found] == [(0.0, 1.5), None]
    assert unpack_source(found[0][0]).planes == (Plane(str(tmp_path / "a.tif"), None),)


@pytest.mark.parametrize(("columns", "reason"), [
    ({"Frame_DNA": "1.5"}, "frame '1.5'"), ({"Frame_DNA": "-1"}, "frame '-1'"), ({"Frame_DNA": "0|1"}, "frame '0|1'"),
    ({"Metadata_Projection": "mean"}, "'mean' is no projection"), ({"Metadata_ValueRange": "1 0"}, "'1 0' is no range"),
    ({"Metadata_ValueRange": "0"}, "'0' is no range"), ({"Metadata_ValueRange": "0 nan"}, "'0 nan' is no range"),
    ({"FileName_DNA": "a|b", "Frame_DNA": "0|1|2", "Metadata_Projection": "max"}, "frame '0|1|2' of 2 file(s)"),
    ({"FileName_DNA": "a|../b", "Metadata_Projection": "max"}, "leaves the image root"),
    ({"FileName_DNA": "a||b", "Metadata_Projection": "max"}, "is empty")])
def test_what_does_not_fit_is_a_problem_of_its_row(tmp_path, columns, reason):
    _, problems, _ = sources(tmp_path, {name: [value] for name, value in ({"FileName_DNA": "a.tif"} | columns).items()})
    assert [problem.row for problem in problems] == [2]
    assert reason in problems[0].reason


def test_the_files_of_a_single_column_may_hold_the_channels_that_are_named(tmp_path):
    found, problems, names = sources(tmp_path, {"FileName_1": ["a.tif"], "PathName_1": ["x"]}, channels=("R", "G", "B"))
    assert (problems, names, len(found[0])) == ([], ("R", "G", "B"), 1)


@pytest.mark.parametrize("channels", [("Actin",), ("DNA", "Actin")])
def test_a_wrong_name_of_a_channel_is_no_channel_of_the_files(tmp_path, channels):
    with pytest.raises(DataError, match="no FileName_ column for channels Actin; it has DNA"):
        sources(tmp_path, {"FileName_DNA": ["a.tif"]}, channels=channels)


def test_a_plane_that_two_places_share_is_found_in_projections_too(tmp_path):
    rows = {"Metadata_Plate": "P", "Metadata_Well": ["A01", "A02", "A03"], "Metadata_Compound": "a",
            "FileName_DNA": ["a|b", "c|b", "a"], "Frame_DNA": ["0|1", "0|1", "1"],
            "Metadata_Projection": ["max", "max", ""]}
    pd.DataFrame(rows).to_csv(tmp_path / "sites.csv", index=False)
    problems: list[Problem] = []
    read_sites(tmp_path / "sites.csv", problems=problems)
    assert [(problem.row, problem.reason) for problem in problems] == [(3, "the same plane as row 2")]
