"""Files of flags that are written by hand, for a table of two plates with two wells of two fields each."""

from pathlib import Path

import numpy as np
import pytest

from mscnn.core import config
from mscnn.core.errors import DataError, UsageError
from mscnn.data.leave_out import leave_out, leave_out_again
from mscnn.data.read_screen import read_screen
from mscnn.data.tables import splits
from mscnn.data.tables.left_out import LeftOut
from mscnn.data.tables.site_table import SiteTable
from mscnn.evaluation.settings import EvaluationSettings
from mscnn.training import prepare_data
from tests.conftest import make_table

ALL = "blurred,saturated,debris,empty,dim,bright"
COMPOUNDS = {"B02": ("a", "m1"), "C03": ("b", "m2")}


@pytest.fixture
def table() -> SiteTable:
    rows = [(plate, well, site, *COMPOUNDS[well]) for plate in ("P1", "P2") for well in COMPOUNDS for site in ("1", "2")]
    return make_table(rows, "plate well site compound mechanism")


def write(path: Path, rows: list[str], columns: str = "Metadata_Plate,Metadata_Well,Metadata_Site,Flags") -> Path:
    path.write_text("\n".join([columns, *rows]) + "\n")
    return path


def names(table: SiteTable) -> list[str]:
    return [table.name(site) for site in range(len(table))]


def test_flagged_fields_are_left_out_in_any_spelling_and_counted(table, tmp_path, caplog):
    caplog.set_level("INFO")
    path = write(tmp_path / "q.csv", ["p1,b2,01,blurred", "P1,B02,2,", "P1,R03C03,1.0,Empty;blurred", "P2,C03,2,edge",
                                      "P1,C03,2,", "P2,B02,1,", "P2,B02,2,", "P2,C03,1,"])
    left = leave_out(table, path, ALL)
    assert names(left) == ["P1 B02 2", "P1 C03 2", "P2 B02 1", "P2 B02 2", "P2 C03 1", "P2 C03 2"]
    assert str(left.left_out) == "2 of 8 fields left out: 2 blurred, 1 empty"
    assert left.left_out.sites == [["P1", "B02", "1"], ["P1", "C03", "1"]]
    assert [record.message for record in caplog.records] == [f"{left.left_out} ({path})"]
    assert len(leave_out(table, path, "edge,empty")) == 6


def test_a_row_without_a_site_names_its_whole_well(table, tmp_path):
    path = write(tmp_path / "q.csv", ["P1,B02,debris", "P2,B02,"], "Metadata_Plate,Metadata_Well,Flags")
    assert names(leave_out(table, path, ALL)) == names(table)[2:]


def test_a_file_that_knows_only_some_fields_says_how_many(table, tmp_path, caplog):
    path = write(tmp_path / "q.csv", ["P1,B02,1,dim", "P9,B02,1,dim"])
    assert len(leave_out(table, path, ALL)) == 7
    assert "does not know 7 fields of the table; they are kept" in caplog.text
    assert "flags 1 fields or wells that are not in the table" in caplog.text


@pytest.mark.parametrize(("rows", "columns", "message"), [
    (["P9,B02,1,dim"], None, "knows none of the 8 fields of the table, such as P1 B02 1"),
    (["P1,B02,1,dim,x"], "Metadata_Plate,Metadata_Well,Metadata_Site,Flags,Verdict", "has unknown columns Verdict"),
    (["P1,B02,dim"], "Plate,Well,Flags", "lacks Metadata_Plate, Metadata_Well"),
    (["P1,B02,1,ugly"], None, "ugly is no flag; flags are blurred"),
    ([f"{plate},{well},,dim" for plate in ("P1", "P2") for well in COMPOUNDS], None, "leaves out all 8 fields"),
], ids=["other screen", "unknown column", "missing columns", "unknown flag", "all"])
def test_a_file_that_cannot_be_used_is_refused(table, tmp_path, rows, columns, message):
    path = write(tmp_path / "q.csv", rows, *([columns] if columns else []))
    with pytest.raises(DataError, match=message):
        leave_out(table, path, ALL)


def test_an_unknown_flag_on_the_command_line_is_refused(table, tmp_path):
    with pytest.raises(UsageError, match="--leave-out-flags ugly: ugly is no flag"):
        leave_out(table, write(tmp_path / "q.csv", ["P1,B02,1,dim"]), "ugly")


@pytest.mark.parametrize("settings", [
    lambda flags: config.Table(sites="sites.csv", leave_out_flags=flags),
    lambda flags: EvaluationSettings(checkpoint="run", sites="sites.csv", out="out", leave_out_flags=flags)])
def test_flags_without_a_file_of_flags_are_refused(settings):
    assert settings(ALL).leave_out is None
    with pytest.raises(UsageError, match="--leave-out-flags edge goes with --leave-out CSV, which is not given"):
        settings("edge")


def test_a_split_remembers_what_was_left_out_and_refuses_a_table_that_leaves_out_other_fields(table, tmp_path):
    left = leave_out(table, write(tmp_path / "q.csv", ["P1,B02,1,dim"]), ALL)
    split = splits.make_split(left, split="hold-out", hold_out="none")
    record = splits.SplitRecord.from_json(splits.to_record(split, left).__dict__ | {"left_out": left.left_out.to_json()})
    assert record.left_out == left.left_out
    splits.restore(record, leave_out_again(table, record.left_out))
    splits.write(split, left, tmp_path)
    assert splits.read_left_out(tmp_path) == left.left_out
    assert splits.SplitRecord.from_json(record.summary()).left_out == left.left_out.summary()
    with pytest.raises(DataError, match="the training had 1 of 8 fields left out: 1 dim, the table now has none"):
        splits.restore(record, table)
    other = leave_out(table, write(tmp_path / "q.csv", ["P1,B02,2,dim"]), ALL)
    with pytest.raises(DataError, match="give --leave-out the file that it had then"):
        splits.restore(record, other)


def test_what_a_training_left_out_is_left_out_again_without_its_file(table, tmp_path):
    path = write(tmp_path / "q.csv", ["P1,B02,1,dim", "P2,C03,,blurred"])
    left = leave_out(table, path, ALL)
    path.unlink()
    again = leave_out_again(table, left.left_out)
    assert names(again) == names(left)
    assert again.fingerprint() == left.select(np.arange(len(left))).fingerprint()  # rows counted anew, as in read_screen
    with pytest.raises(DataError, match="has 2 of the 3 fields that the training left out"):
        leave_out_again(table.select([1, 2, 3, 4, 5, 6, 7]), left.left_out)


def test_any_command_reads_the_screen_without_the_flagged_fields(tiny_screen, tmp_path):
    path = write(tmp_path / "q.csv", ["00123,B02,1,dim", "00123,C02,1,"])
    settings = config.Data(sites=str(tiny_screen), leave_out=str(path))
    read = read_screen(settings)
    assert (len(read), read.left_out.fields, list(read.frame.index)) == (11, 1, list(range(11)))
    assert len(prepare_data.load_sites(settings)) == 11
    assert len(read_screen(config.Data(sites=str(tiny_screen), leave_out=str(path), leave_out_flags="edge"))) == 12
    problems = []
    assert list(read_screen(settings, problems).frame.index) == list(range(3, 14))  # rows of the file, for `mscnn check`
    assert problems == []


def test_the_record_of_an_earlier_version_has_nothing_left_out(table):
    split = splits.make_split(table, split="hold-out", hold_out="none")
    content = {name: value for name, value in splits.to_record(split, table).__dict__.items() if name != "left_out"}
    assert splits.SplitRecord.from_json(content).left_out is None
    assert isinstance(LeftOut.from_json({"fields": 1, "total": 2, "flags": {}, "sha256": ""}), LeftOut)


def test_fields_of_a_well_without_site_numbers_are_left_out_together(tmp_path):
    table = make_table([("P1", "B02", "")] * 2 + [("P1", "C03", "")], "plate well site")
    path = write(tmp_path / "q.csv", ["P1,B02,,dim", "P1,B02,,", "P1,C03,,"])
    left = leave_out(table, path, ALL)
    assert names(left) == ["P1 C03 "]
    assert names(leave_out_again(table, left.left_out)) == names(left)
    assert left.left_out.fields == 2


@pytest.mark.parametrize(("content", "what"), [(None, "there is no such file"), ("", "holds no rows")])
def test_a_file_of_flags_that_is_not_there_or_empty_has_its_own_remedy(table, tmp_path, content, what):
    if content is not None:
        (tmp_path / "q.csv").write_text(content)
    with pytest.raises(DataError, match=rf"--leave-out .*q.csv: {what}.*; name the quality.csv that `mscnn check` wrote"):
        leave_out(table, tmp_path / "q.csv", ALL)
