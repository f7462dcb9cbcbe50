"""`mscnn bench table` draws plates that `mscnn table` reads whole."""

import pandas as pd
import pytest

from mscnn.bench import plate_index
from mscnn.bench.plate_index import FORMATS, Image
from mscnn.bench.settings import TableSettings
from mscnn.core.errors import DataError
from mscnn.data.make_table import TableOptions, find_images

IMAGES = [Image(row, column, site, channel)
          for row in (0, 15) for column in (0, 23) for site in (1, 2) for channel in (1, 2)]


@pytest.mark.parametrize("name", FORMATS)
def test_every_image_that_is_drawn_is_in_the_table(tmp_path, name):
    (tmp_path / "P1").mkdir()
    FORMATS[name](tmp_path / "P1", IMAGES)
    rows = find_images(tmp_path, TableOptions(channels={})).rows
    assert rows[["Metadata_Plate", "Metadata_Well", "Metadata_Site"]].to_numpy().tolist() == [
        ["P1", well, site] for well in ("A01", "A24", "P01", "P24") for site in ("1", "2")]
    assert sum(str(column).startswith("FileName_") for column in rows) == 2


def test_the_table_of_results_has_medians():
    results = {"planes": 100, **{name: {"seconds": [1.0, 2.0, 9.0], "cpu": [0.5, 0.6, 0.7], "mib": [100.0, 110.0, 120.0]}
                                 for name in FORMATS}}
    assert "harmony         2.00         0.60  110" in plate_index.table(results)


def test_a_run_is_measured_and_one_that_fails_is_told(tmp_path):
    (tmp_path / "P1").mkdir()
    FORMATS["names"](tmp_path / "P1", IMAGES)
    seconds, cpu, mib = plate_index._run(tmp_path, tmp_path / "sites.csv")
    assert seconds > 0 < cpu
    assert 30 < mib < 2000
    assert len(pd.read_csv(tmp_path / "sites.csv")) == 8
    with pytest.raises(DataError, match="mscnn table failed"):
        plate_index._run(tmp_path, tmp_path / "sites.csv")


def test_defaults_are_those_of_a_large_plate():
    settings = TableSettings()
    assert 384 * settings.sites * settings.channels == 17280
