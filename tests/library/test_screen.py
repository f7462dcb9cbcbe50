"""mscnn.read_screen: the table, what may be done with it, and the way back to a site table."""

from pathlib import Path

import pandas as pd
import pytest

import mscnn
from mscnn.data.pixels.packed import read_packed
from mscnn.data.tables.bbbc021 import find_csvs, read_bbbc021
from mscnn.data.tables.site_table import METADATA, PUBLIC_NAMES, read_sites
from mscnn.library.screen import to_sites
from mscnn.synthetic.plates import write_plates
from mscnn.synthetic.screen_plan import DEMO_MECHANISMS
from tests.conftest import run_python
from tests.library.conftest import CHANNELS, train


@pytest.fixture(scope="module")
def pack(tmp_path_factory, screen) -> Path:
    out = tmp_path_factory.mktemp("pack") / "pack"
    assert run_python("-m", "mscnn", "pack", "--sites", screen, "--out", out).returncode == 0
    return out


def test_a_row_names_a_site_and_its_files(screen):
    table = mscnn.read_screen(sites=screen)
    assert list(table) == [*PUBLIC_NAMES.values(), "FileName_DNA", "FileName_RNA"]
    first = table.iloc[0]
    assert (first["Metadata_Plate"], first["Metadata_Concentration"], first["Metadata_MOA"]) == ("00123", 0.3, "bright")
    assert first["FileName_RNA"] == str(screen.parent / "00123_B2_RNA.tif")
    assert len(table) == 20


def kept(table: pd.DataFrame, folder: Path) -> dict[str, pd.DataFrame]:
    """A table in all the ways in which it may be kept."""
    table.to_parquet(folder / "table.parquet")
    table.to_csv(folder / "table.csv", index=False)
    half = len(table) // 2
    return {"itself": table, "concat": pd.concat([table.iloc[:half], table.iloc[half:]]),
            "reset": table.iloc[::-1].reset_index(drop=True).iloc[::-1],
            "parquet": pd.read_parquet(folder / "table.parquet"), "csv": pd.read_csv(folder / "table.csv", dtype=str),
            "csv as it says": pd.read_csv(folder / "table.csv", dtype=str, keep_default_na=False)}


@pytest.mark.parametrize("source", ["sites", "packed"])
def test_a_table_survives_what_is_done_with_tables(source, screen, pack, tmp_path):
    expected = read_sites(screen) if source == "sites" else read_packed(pack)
    columns = [*METADATA, "files" if source == "sites" else "record"]
    table = mscnn.read_screen(**{source: screen if source == "sites" else pack})
    for name, one in kept(table, tmp_path).items():
        back = to_sites(one, CHANNELS, "DMSO")
        assert back.channels == expected.channels
        for column in columns:
            assert back.frame[column].tolist() == expected.frame[column].tolist(), (name, column)
    chosen = table[table["Metadata_Compound"] == "c"]
    assert to_sites(chosen, CHANNELS, "DMSO").frame["well"].tolist() == chosen["Metadata_Well"].tolist()


def test_channels_are_those_of_the_run_in_its_order(screen):
    """Whatever the order of the table's columns, and whatever other channels it has."""
    table = mscnn.read_screen(sites=screen)
    expected = read_sites(screen).frame["files"].tolist()
    moved = table.assign(FileName_Actin="actin.tif")[[*reversed(list(table)), "FileName_Actin"]]
    assert to_sites(moved, CHANNELS, "DMSO").frame["files"].tolist() == expected
    assert to_sites(moved, ("RNA",), "DMSO").frame["files"].tolist() == [files[1:] for files in expected]


def test_what_is_not_given_stays_not_given(screen, tmp_path):
    rows = pd.read_csv(screen, dtype=str).head(4).drop(columns="Metadata_Week")
    rows.loc[0, ["Metadata_Concentration", "Metadata_MOA"]] = ""
    rows.loc[1, "Metadata_Concentration"] = "0.30000000000000004"  # the dose 0.3, as a float may write it
    rows.to_csv(screen.parent / "gaps.csv", index=False)
    for one in kept(mscnn.read_screen(sites=screen.parent / "gaps.csv"), tmp_path).values():
        back = to_sites(one, CHANNELS, "DMSO").frame
        assert back["mechanism"].tolist() == ["", *rows["Metadata_MOA"][1:]]
        assert back["concentration"].isna().tolist() == [True, False, False, False]
        assert back["concentration"][1] == 0.3
        assert set(back["week"]) == {""}


def test_a_chosen_part_can_be_packed_and_trained_on(screen, tmp_path):
    """Its CSV lies elsewhere, so that --image-root says which folder the images are below."""
    table = mscnn.read_screen(sites=screen, channels=["RNA", "DNA"])
    chosen = table[table["Metadata_Compound"] != "a"]
    chosen.to_csv(tmp_path / "chosen.csv", index=False)
    done = run_python("-m", "mscnn", "pack", "--sites", tmp_path / "chosen.csv", "--image-root", screen.parent, "--out",
                      tmp_path / "pack")
    assert done.returncode == 0, done.stderr
    packed = mscnn.read_screen(packed=tmp_path / "pack")
    assert packed["Metadata_Well"].tolist() == chosen["Metadata_Well"].tolist()
    assert packed["Channels"].unique().tolist() == ["RNA,DNA"]
    run = mscnn.load_run(train(tmp_path / "run", "--sites", tmp_path / "chosen.csv", "--image-root", screen.parent.parent))
    assert (run.channels, run.held_out) == (["RNA", "DNA"], ["b", "d"])
    assert len(run.predict(chosen)) == 16


def test_a_bbbc021_table_is_that_of_its_reader(tmp_path):
    write_plates(tmp_path, mechanisms=DEMO_MECHANISMS[:2], compounds_per_mechanism=1,
                 plates_per_week=1, height=32, width=32)
    expected = read_bbbc021(*find_csvs(tmp_path), taxol_controls="keep")
    table = mscnn.read_screen(bbbc021=tmp_path, taxol_controls="keep")
    got = to_sites(table, expected.channels, "DMSO").frame
    assert got.to_dict("list") == expected.frame.to_dict("list")
    assert len(mscnn.read_screen(bbbc021=tmp_path)) == len(read_bbbc021(*find_csvs(tmp_path)))




def test_columns_and_channels_as_python_or_as_text(screen, tmp_path):
    rows = pd.read_csv(screen, dtype=str).rename(columns={"Metadata_Compound": "Drug", "Metadata_MOA": "Class"})
    rows.to_csv(screen.parent / "renamed.csv", index=False)
    expected = mscnn.read_screen(sites=screen, channels=["RNA"])
    as_python, as_text = ({"compound": "Drug", "mechanism": "Class"}, ["RNA"]), ("compound=Drug,mechanism=Class", "RNA")
    for columns, channels in (as_python, as_text):
        pd.testing.assert_frame_equal(
            mscnn.read_screen(sites=screen.parent / "renamed.csv", columns=columns, channels=channels), expected)
    moved = tmp_path / "moved.csv"
    rows.to_csv(moved, index=False)
    pd.testing.assert_frame_equal(
        mscnn.read_screen(sites=str(moved), columns={"compound": "Drug", "mechanism": "Class"}, channels=("RNA",),
                          image_root=screen.parent), expected)


@pytest.mark.parametrize(("options", "message"), [
    ({}, "exactly one of bbbc021=DIR, sites=CSV and packed=DIR, got none"),
    ({"sites": "a.csv", "packed": "b"}, "got sites and packed"),
    ({"packed": "b", "channels": ["DNA"]}, "channels was settled when the fields were packed"),
    ({"packed": "nowhere"}, "there is no such folder"),
    ({"sites": "nowhere.csv"}, r"nowhere\.csv: there is no such file"),
    ({"sites": "a.csv", "taxol_controls": "no"}, "taxol_controls must be drop or keep, got 'no'"),
    ({"sites": "a.csv", "channels": ["DNA, RNA"]}, "holds a comma"),
    ({"sites": "a.csv", "columns": {"compound": "Drug, name"}}, "holds a comma"),
])
def test_what_names_no_screen_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        mscnn.read_screen(**options)


def test_a_pack_with_another_control_is_refused(pack):
    with pytest.raises(ValueError, match="packed with untreated wells 'DMSO'"):
        mscnn.read_screen(packed=pack, control="water")
    for name in ("packed", "sites", "bbbc021"):
        with pytest.raises(ValueError, match=f"{name} is empty; give a path"):
            mscnn.read_screen(**{name: " "})


@pytest.mark.parametrize(("change", "message"), [
    (lambda table: table.head(0), "no rows; look at the filter"),
    (lambda table: table.filter(like="Metadata_"), "does not say where its pixels are"),
    (lambda table: table.rename(columns={"FileName_RNA": "FileName_Actin"}),
     "trained on channels DNA, RNA, the table has DNA, Actin; rename the column of RNA to FileName_RNA"),
    (lambda table: pd.concat([table, table.drop(columns="FileName_RNA")]), "20 of 40 rows are empty in FileName_DNA or"),
    (lambda table: table.assign(Metadata_Concentration="much"), "Metadata_Concentration has values that are no numbers"),
])
def test_tables_without_their_pixels_are_refused(screen, change, message):
    with pytest.raises(ValueError, match=message):
        to_sites(change(mscnn.read_screen(sites=screen)), CHANNELS, "DMSO")


def test_packed_and_other_files_do_not_mix(screen, pack):
    packed = mscnn.read_screen(packed=pack)
    with pytest.raises(ValueError, match=r"records of plate files \(20 rows\), a file per channel \(20 rows\); give those"):
        to_sites(pd.concat([mscnn.read_screen(sites=screen), packed]), CHANNELS, "DMSO")
    with pytest.raises(ValueError, match="trained on channels RNA, DNA, the table's fields hold DNA, RNA"):
        to_sites(packed, ("RNA", "DNA"), "DMSO")
    with pytest.raises(ValueError, match="lacks column Channels"):
        to_sites(packed.drop(columns="Channels"), CHANNELS, "DMSO")
    with pytest.raises(ValueError, match="and lacks Packed_Record"):
        to_sites(packed.drop(columns="Packed_Record"), CHANNELS, "DMSO")
    with pytest.raises(ValueError, match="must be whole numbers"):
        to_sites(packed.assign(Packed_Record="first"), CHANNELS, "DMSO")
