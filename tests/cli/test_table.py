"""`mscnn table` as a user runs it."""

import pandas as pd
import pytest

from mscnn.cli import table
from mscnn.core.errors import DataError, UsageError
from mscnn.data.tables.site_table import read_sites
from tests import microscopes


@pytest.fixture
def screen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    microscopes.write_harmony(tmp_path / "screen")
    microscopes.write_plate_map(tmp_path / "map.csv")
    return tmp_path


def run(*arguments: str) -> None:
    table.main(["screen", "--z", "max", "--out", "sites.csv", *arguments])


def test_the_table_is_read_back_as_it_was_meant(screen, caplog):
    caplog.set_level("INFO")
    (screen / "map.csv").write_text("well,compound,dose\nB2,=1+1,300 nM\nB3,'x,1 uM\nC2,-y,2 uM\nC3,DMSO,\n")
    (screen / "moa.csv").write_text("name,moa\n=1+1,@m\n")
    run("--platemap", "map.csv", "--compounds", "moa.csv", "--channels", "Actin,DNA=Hoechst")
    assert "now run: mscnn check --sites sites.csv" in caplog.text
    assert "'=1+1" in (screen / "sites.csv").read_text()
    sites = read_sites(screen / "sites.csv")
    assert sites.channels == ("Actin", "Hoechst")
    first = sites.frame.drop_duplicates("well").set_index("well")
    assert first["compound"].to_dict() == {"B02": "=1+1", "B03": "'x", "C02": "-y", "C03": "DMSO"}
    assert first["mechanism"].to_dict() == {"B02": "@m", "B03": "", "C02": "", "C03": ""}
    assert first["concentration"].iloc[:3].tolist() == [0.3, 1.0, 2.0]
    assert set(pd.read_csv(screen / "sites.csv")["Metadata_ConcentrationUnit"].dropna()) == {"µM"}


def test_the_command_to_run_next_may_be_copied_into_a_shell(screen, caplog):
    caplog.set_level("INFO")
    (screen / "screen").rename(screen / "my screen")
    (screen / "tables").mkdir()
    command = ["my screen", "--z", "max", "--out", "tables/all sites.csv", "--platemap", "map.csv"]
    table.main(command)
    assert "now run: mscnn check --sites 'tables/all sites.csv' --image-root 'my screen'\n" in caplog.text
    table.main([*command, "--control", "neg con", "--overwrite", "true"])
    assert "now run: mscnn check --sites 'tables/all sites.csv' --image-root 'my screen' --control 'neg con'" in caplog.text


def test_a_table_that_is_there_is_not_written_over(screen):
    run("--platemap", "map.csv")
    before = (screen / "sites.csv").read_bytes()
    with pytest.raises(UsageError, match=r"sites\.csv is there already.*--overwrite"):
        run()
    assert (screen / "sites.csv").read_bytes() == before
    run("--platemap", "map.csv", "--overwrite", "true")


def test_without_a_plate_map_the_table_says_what_it_lacks(screen, caplog):
    caplog.set_level("INFO")
    run()
    assert "the table has no compounds yet" in caplog.text
    assert "now run" not in caplog.text


@pytest.mark.parametrize(("option", "value", "message"), [
    ("--channels", "DNA=A,Actin=A", "'Actin=A' is empty or there twice"), ("--channels", "=A", "is empty or there twice"),
    ("--value-range", "1,0", "two ascending numbers"), ("--value-range", "0", "two ascending numbers"),
    ("--z", "first", "give max, middle"), ("--time", "x", "give the number"), ("--level-size", "x", "HEIGHTxWIDTH")])
def test_settings_that_cannot_be_meant_are_refused(screen, option, value, message):
    with pytest.raises(UsageError, match=message):
        run(f"{option}={value}")


@pytest.mark.parametrize("inside", [
    '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>', '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'])
def test_entities_in_an_index_are_refused(screen, inside):
    for index in screen.rglob("Index.idx.xml"):
        text = index.read_text(encoding="utf-8-sig")
        index.write_text(text.replace("<EvaluationInputData", inside + "<EvaluationInputData"), encoding="utf-8")
    with pytest.raises(DataError, match=r"Index\.idx\.xml: .*(entit|DTD|DOCTYPE)"):
        run()


def test_an_index_that_is_cut_short_is_refused_and_no_table_is_written(screen):
    index = next(screen.rglob("Index.idx.xml"))
    index.write_bytes(index.read_bytes()[:-500])
    with pytest.raises(DataError, match=r"Index\.idx\.xml: .*cut short"):
        run()
    assert not (screen / "sites.csv").exists()


def test_the_table_of_compounds_has_columns_of_its_own(screen):
    (screen / "targets.csv").write_text("substance,target_list\na,kinase\n")
    (screen / "map.csv").write_text("well,compound\nB2,a\nB3,b\nC2,c\nC3,DMSO\n")
    run("--platemap", "map.csv", "--compounds", "targets.csv", "--compound-columns", "mechanism=target_list")
    assert read_sites(screen / "sites.csv").frame.drop_duplicates("well")["mechanism"].tolist() == ["kinase", "", "", ""]


@pytest.mark.parametrize("out", ["sites.xlsx", "sites"])
def test_the_table_is_a_csv(screen, out):
    with pytest.raises(UsageError, match=r"must end with \.csv"):
        run(f"--out={out}")


def test_the_folder_of_the_table_is_made(screen):
    run("--out=new/folder/sites.csv")
    assert (screen / "new/folder/sites.csv").exists()
