"""Sections for MultiQC: their structure as its documentation of custom content has it, and their numbers by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from mscnn.cli import check, score
from mscnn.core import files
from mscnn.core.errors import DataError
from mscnn.data.tables.problems import Problem
from mscnn.evaluation import results
from mscnn.evaluation.assay_scores import AssayScores, Estimate
from mscnn.evaluation.readout_scores import EvaluationScores
from mscnn.evaluation.scoring import Score
from mscnn.report import multiqc, multiqc_scores
from tests.conftest import make_table
from tests.profiling.drawn import screen

# https://docs.seqera.io/multiqc/custom_content: keys of a section, of pconfig of a table and of its headers
SECTION = {"id", "parent_id", "parent_name", "parent_description", "section_name", "description", "plot_type", "pconfig",
           "headers", "data"}
PCONFIG = {"id", "title", "namespace"}
HEADER = {"title", "description", "format", "suffix", "min", "max", "scale", "hidden"}


def section(path: Path) -> dict:
    """Return the data of a file, whose structure is that of a table."""
    content = json.loads(path.read_text())
    assert path.name == content["id"] + "_mqc.json"  # the ending by which MultiQC finds it
    assert set(content) == SECTION
    assert content["plot_type"] == "table"
    assert set(content["pconfig"]) == PCONFIG
    columns = {key for row in content["data"].values() for key in row}
    assert set(content["headers"]) == columns, "a header for each column, and none without values"
    for header in content["headers"].values():
        assert {"title", "description"} <= set(header) <= HEADER
    assert all(isinstance(value, int | float | str) for row in content["data"].values() for value in row.values())
    return content["data"]


@pytest.fixture
def table():
    """Two plates: P1 with a compound at two doses and a control well of two fields, P/2 with a compound; rows from 2."""
    rows = [("P1", "A01", "a", 1.0, "M"), ("P1", "A02", "a", 3.0, "M"), ("P1", "A03", "DMSO", 0.0, ""),
            ("P1", "A03", "dmso", 0.0, ""), ("P/2", "A01", "<b>", np.nan, "N")]
    made = make_table(rows, "plate well compound concentration mechanism")
    made.frame.index = range(2, 7)
    return made


def test_a_screen_and_its_plates_are_counted(tmp_path, table):
    problems = [Problem(3, "x.tif", "missing", "files are missing; find them"), Problem(4, "y.tif", "missing",
                "files are missing; find them"), Problem(6, "s/sites.csv", "odd", "names are odd; mend them"),
                Problem(5, "s/moa.csv", "of another table", "names are odd; mend them"),
                Problem(None, "s/sites.csv", "whole", "<i>; no")]
    multiqc.write_check(tmp_path, Path("s/sites.csv"), table, problems)
    assert section(tmp_path / multiqc.CHECK) == {"s∕sites": {
        "fields": 5, "plates": 2, "wells": 4, "compounds": 2, "treatments": 3, "mechanisms": 2, "problems": 5}}
    assert section(tmp_path / multiqc.PLATES) == {
        "P1": {"fields": 4, "wells": 3, "compounds": 1, "controls": 1, "problems": 2},
        "P∕2": {"fields": 1, "wells": 1, "compounds": 1, "controls": 0, "problems": 1}}
    assert section(tmp_path / multiqc.PROBLEMS) == {
        "files are missing": {"number": 2, "remedy": "find them"}, "names are odd": {"number": 2, "remedy": "mend them"},
        "&lt;i&gt;": {"number": 1, "remedy": "no"}}


def test_names_cannot_bring_code_into_the_report(tmp_path, table):
    table.frame["plate"] = "<script>alert(1)</script>"
    multiqc.write_check(tmp_path, Path("<img>/x.csv"), table, [Problem(2, "a", "b", "c; <script>")])
    for name in multiqc.OF_CHECK:
        assert section(tmp_path / name)
        assert "<script" not in (tmp_path / name).read_text()
        assert "<img" not in (tmp_path / name).read_text()


def test_a_check_replaces_the_sections_of_an_earlier_one(tiny_screen, tmp_path):
    out = tmp_path / "out"
    check.main(["--sites", str(tiny_screen), "--out", str(out)])
    assert section(out / multiqc.CHECK) == {f"{tmp_path.name}∕sites": {
        "fields": 12, "plates": 1, "wells": 12, "compounds": 3, "treatments": 3, "mechanisms": 3, "problems": 0}}
    assert section(out / multiqc.PLATES) == {
        "00123": {"fields": 12, "wells": 12, "compounds": 3, "controls": 3, "problems": 0}}
    assert not (out / multiqc.PROBLEMS).exists()
    (tmp_path / "a_B02_DNA.tif").unlink()
    with pytest.raises(DataError, match="1 problem,"):
        check.main(["--sites", str(tiny_screen), "--out", str(out)])
    assert section(out / multiqc.PLATES)["00123"]["problems"] == 1
    assert list(section(out / multiqc.PROBLEMS)) == ["files are missing"]
    tiny_screen.write_text("no,table\n1,2\n")
    with pytest.raises(DataError):
        check.main(["--sites", str(tiny_screen), "--out", str(out)])
    assert section(out / multiqc.CHECK) == {f"{tmp_path.name}∕sites": {"problems": 1}}
    assert list(section(out / multiqc.PROBLEMS)) == ["the table cannot be read"]
    assert not (out / multiqc.PLATES).exists()


def scored(out: Path, **values) -> dict:
    out.mkdir(parents=True, exist_ok=True)
    levels = {level: Score(0, 0) for level in ("fields", "wells", "treatments", "compounds")}
    files.write_json(out / results.SCORES, EvaluationScores(**levels | values).to_json())
    multiqc_scores.write_scores(out)
    return section(out / results.MULTIQC)


def test_an_evaluation_is_a_row_of_shares_and_totals(tmp_path):
    assert scored(tmp_path / "run" / "evaluation", fields=Score(3, 4), treatments=Score(1, 8)) == {
        "run∕evaluation": {"fields": 75.0, "fields_total": 4, "treatments": 12.5, "treatments_total": 8}}


def test_an_evaluation_of_assays_is_a_row_of_their_means(tmp_path):
    assays = AssayScores(5, Estimate(0.75, 0.5, 0.9), Estimate(0.25, 0.1, 0.5), 0.2, {})
    assert scored(tmp_path / "run" / "evaluation", assays=assays) == {
        "run∕evaluation": {"auc": 0.75, "average_precision": 0.25}}


def test_an_evaluation_without_a_score_has_no_section(tmp_path):
    scored(tmp_path, fields=Score(3, 4))
    with pytest.raises(FileNotFoundError):
        scored(tmp_path)
    assert not (tmp_path / results.MULTIQC).exists()


def test_profiles_are_a_row_a_table(tmp_path):
    for name, seed in (("one", 0), ("other", 1)):
        screen(0.3, seed=seed).to_csv(tmp_path / f"{name}.csv", index=False)
    score.main([str(tmp_path / "one.csv"), str(tmp_path / "other.csv"), "--out", str(tmp_path / "out"), "--bootstrap", "50",
                "--permutations", "20"])
    tables = json.loads((tmp_path / "out" / "scores.json").read_text())["tables"]
    expected = {name: {key: value for protocol in ("nsc", "nscb") for of in [one[protocol]] for key, value in (
        (protocol, 100 * of["correct"] / of["total"]), (f"{protocol}_total", of["total"]),
        (f"{protocol}_map", of["mean_average_precision"]["mean"]))} for name, one in tables.items()}
    assert section(tmp_path / "out" / score.MULTIQC) == expected
    assert expected["one"]["nsc"] < 100  # a number that says something


def test_profiles_without_a_score_leave_no_section_of_earlier_ones(tmp_path):
    screen().to_csv(tmp_path / "one.csv", index=False)
    few = ["--out", str(tmp_path / "out"), "--bootstrap", "50", "--permutations", "20"]
    score.main([str(tmp_path / "one.csv"), *few])
    assert (tmp_path / "out" / score.MULTIQC).exists()
    screen().assign(Metadata_MOA="").to_csv(tmp_path / "one.csv", index=False)
    score.main([str(tmp_path / "one.csv"), *few])
    assert not (tmp_path / "out" / score.MULTIQC).exists()
