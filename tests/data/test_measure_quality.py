"""quality.csv of drawn screens, by functions and by `mscnn check`."""

import logging
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from mscnn.cli import check
from mscnn.core.errors import DataError, UsageError
from mscnn.data import check_screen, measure_quality
from mscnn.data.pixels import quality
from mscnn.data.tables.site_table import SiteTable, read_sites
from tests.data.test_check_screen import here

CHANNELS = ("DNA", "RNA")


def discs(rng: np.random.Generator) -> np.ndarray:
    """(64, 64) uint16, bright discs on a background with noise."""
    rows, columns = np.mgrid[:64, :64]
    inside = sum(np.hypot(rows - row, columns - column) < 6 for row, column in rng.uniform(8, 56, (5, 2)))
    return (600 + 4000 * np.minimum(inside, 1) + rng.normal(0, 40, (64, 64))).astype(np.uint16)


@pytest.fixture
def sites(tmp_path) -> Path:
    """Twelve fields of two channels; that in row 5 of the table has no cells."""
    rng, rows = np.random.default_rng(0), []
    for row in range(2, 14):
        for channel in CHANNELS:
            plane = rng.normal(600, 40, (64, 64)).astype(np.uint16) if row == 5 else discs(rng)
            tifffile.imwrite(tmp_path / f"{row}_{channel}.tif", plane)
        names = [f"{row}_{channel}.tif" for channel in CHANNELS]
        rows.append([*names, "P1", f"B{row:02}", "1", "a=1" if row % 2 else "DMSO"])
    header = ["FileName_DNA", "FileName_RNA", *(f"Metadata_{name}" for name in ("Plate", "Well", "Site", "Compound"))]
    pd.DataFrame(rows, columns=header).assign(Metadata_MOA="").to_csv(tmp_path / "sites.csv", index=False)
    return tmp_path / "sites.csv"


def test_sites_whose_images_cannot_be_read_are_left_out_of_the_measures(sites):
    (sites.parent / "3_RNA.tif").write_bytes(b"no image")
    table = read_sites(sites)
    measured, measures = measure_quality.measure_screen(table, here)
    assert [measured.name(site) for site in range(len(measured))] == [
        table.name(site) for site in range(len(table)) if site != 1]
    assert list(measures) == quality.columns(CHANNELS)
    assert not measures.isna().any().any()


def test_a_screen_without_names_of_channels_or_without_images_is_measured_as_far_as_it_goes(sites):
    table = read_sites(sites)
    measured, measures = measure_quality.measure_screen(SiteTable(table.frame, ()), here)
    assert list(measures) == quality.columns(("Channel1", "Channel2"))
    assert measures["Quality_Cells"].isna().all()  # no name tells the channel of nuclei
    for path in sites.parent.glob("*.tif"):
        path.unlink()
    measured, measures = measure_quality.measure_screen(table, here)
    assert (len(measured), len(measures)) == (0, 0)


def test_quality_csv_holds_the_measures_and_flags_of_each_field(sites, tmp_path, caplog):
    caplog.set_level("INFO")
    table = read_sites(sites)
    measure_quality.write_quality(table, here, tmp_path / "quality.csv")
    written = pd.read_csv(tmp_path / "quality.csv", keep_default_na=False, dtype={"Metadata_Site": str})
    assert list(written)[:5] == [f"Metadata_{name}" for name in ("Plate", "Well", "Site", "Compound", "Concentration")]
    assert written["Metadata_Well"][written["Flags"] != ""].tolist() == ["B05"]
    assert written["Flags"].max() == "empty"
    _, measures = measure_quality.measure_screen(table, here)
    np.testing.assert_allclose(written[measures.columns].astype(float), measures, rtol=1e-5)  # of six digits
    assert f"quality: 1 of 12 fields flagged: 1 empty: {tmp_path / 'quality.csv'}" in caplog.text
    assert f"--leave-out {tmp_path / 'quality.csv'} leaves them out" in caplog.text


@pytest.fixture
def run_check(monkeypatch, sites):
    """`mscnn check` in this process, which starts no others."""
    logging.getLogger("mscnn").setLevel(logging.INFO)
    monkeypatch.setattr(check_screen, "readers", lambda workers: nullcontext(here))
    return lambda *arguments: check.main(["--sites", str(sites), "--image-size", "128x128", *map(str, arguments)])


def test_check_writes_quality_beside_problems(sites, tmp_path, run_check, caplog):
    (sites.parent / "3_RNA.tif").write_bytes(b"no image")
    for _ in range(2):  # the second replaces the files of the first
        with pytest.raises(DataError, match="1 problem,"):
            run_check("--out", tmp_path / "out")
    assert len(pd.read_csv(tmp_path / "out" / "problems.csv")) == 1
    assert len(pd.read_csv(tmp_path / "out" / "quality.csv")) == 11
    assert "1 of 11 fields flagged: 1 empty" in caplog.text
    assert "1 field not measured, as no image can be read" in caplog.text


def test_check_leaves_out_flagged_fields_and_does_not_write_over_the_file_that_names_them(tmp_path, run_check, caplog):
    run_check("--out", tmp_path / "out")
    flags = tmp_path / "out" / "quality.csv"
    with pytest.raises(UsageError, match="would be written over; name another folder with --out"):
        run_check("--out", tmp_path / "out", "--leave-out", flags)
    run_check("--out", tmp_path / "other", "--leave-out", flags, "--quality", "false")
    assert "1 of 12 fields left out: 1 empty" in caplog.text
    assert "fields      11 of 2 x 64x64 uint16" in caplog.text
    assert not (tmp_path / "other" / "quality.csv").exists()


def test_check_writes_over_no_quality_csv_of_others(tmp_path, run_check):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "quality.csv").write_text("sample,verdict\n")
    with pytest.raises(UsageError, match=r"holds quality\.csv, which this command would write over and did not write"):
        run_check("--out", tmp_path / "out")


def test_a_measure_that_fails_costs_nothing_else_of_a_check(tmp_path, run_check, monkeypatch):
    monkeypatch.setattr(quality, "measure", lambda site_CHW, nuclei: 1 / 0)
    with pytest.raises(DataError, match=r"not written: quality\.csv \(ZeroDivisionError"):
        run_check("--out", tmp_path / "out")
    assert (tmp_path / "out" / "plate_maps.csv").exists()
