"""quality.parquet of fields whose measures are known."""

import numpy as np
import pandas as pd
import pytest
import tifffile

from mscnn.core.errors import DataError
from mscnn.data.pixels import quality
from mscnn.data.tables.site_table import SiteTable, read_sites
from mscnn.distributed.world import World
from mscnn.evaluation import quality_file
from tests.conftest import make_table


class ShareOfRanks(World):
    """A rank of several: sums are left as they are, and what this rank has found is gathered."""

    def sum_array(self, array: np.ndarray) -> np.ndarray:
        return array

    def gather(self, value):
        return [value]


def drawn_measures(table: SiteTable, **changed: list[float]) -> pd.DataFrame:
    values = {"Quality_Cells": 20.0, "Quality_Focus_DNA": -1.0, "Quality_Saturated_DNA": 0.0,
              "Quality_Intensity_DNA": 100.0, "Quality_P05_DNA": 50.0, "Quality_P99_DNA": 900.0,
              "Quality_Debris_DNA": 700.0}
    return pd.DataFrame(values | {f"Quality_{name}": value for name, value in changed.items()}, index=range(len(table)))


def test_each_site_is_measured_once_by_one_of_the_ranks(tiny_screen):
    table = read_sites(tiny_screen)
    alone = quality_file.measure_sites(table, World())
    assert list(alone) == quality.columns(("DNA", "RNA"))
    shares = [quality_file.measure_sites(table, ShareOfRanks(rank=rank, size=3)) for rank in range(3)]
    pd.testing.assert_frame_equal(sum(shares), alone)
    assert all(((share != 0).any(axis=1)).sum() == len(table) // 3 for share in shares)
    by_hand = quality.measure(np.stack([tifffile.imread(path) for path in table.files(4)]), nuclei=0)
    np.testing.assert_array_equal(alone.iloc[4], by_hand)


def test_damaged_images_are_all_named(tiny_screen):
    table = read_sites(tiny_screen)
    for site in (2, 5):
        with open(table.files(site)[1], "wb") as file:
            file.write(b"no image")
    with pytest.raises(DataError, match="2 images are damaged") as found:
        quality_file.measure_sites(table, World())
    assert len(found.value.details) == 2


def test_what_was_written_is_read_and_summed_up_in_the_log(tmp_path, caplog):
    caplog.set_level("INFO")
    table = make_table([("B02", "=a")] * 2 + [("C03", "DMSO")], "well compound")
    measures = drawn_measures(table, Saturated_DNA=[0.5, 0.0, 0.0], Focus_DNA=[-1, -1.1, np.nan])
    quality_file.write(table, measures, tmp_path)
    found = quality_file.read(tmp_path)
    pd.testing.assert_frame_equal(found[measures.columns], measures, check_exact=True)
    assert found["Flags"].tolist() == ["saturated", "", ""]
    assert found["Metadata_Compound"].tolist() == ["=a", "=a", "DMSO"]
    assert found["Metadata_Concentration"].tolist() == [1.0] * 3
    assert f"quality: 1 of 3 fields flagged: 1 saturated: {tmp_path / 'quality.parquet'}" in caplog.text


def test_an_evaluation_without_the_file_has_no_quality(tmp_path):
    assert quality_file.read(tmp_path) is None


@pytest.mark.parametrize("change", [lambda frame: frame.drop(columns="Flags"),
                                    lambda frame: frame.assign(Quality_Focus_DNA="sharp"),
                                    lambda frame: frame.assign(Quality_Focus_DNA=np.inf)],
                         ids=["column missing", "text", "infinite"])
def test_a_changed_file_is_refused(tmp_path, change):
    table = make_table([("B02",)], "well")
    quality_file.write(table, drawn_measures(table), tmp_path)
    change(pd.read_parquet(tmp_path / "quality.parquet")).to_parquet(tmp_path / "quality.parquet")
    with pytest.raises(DataError, match="evaluate again"):
        quality_file.read(tmp_path)


def test_wells_have_means_of_their_fields_and_all_their_flags():
    table = make_table([("P1", "B02"), ("P1", "B02"), ("P2", "B02")], "plate well")
    frame = pd.concat([table.frame[["plate", "well"]].rename(columns={"plate": "Metadata_Plate", "well": "Metadata_Well"}),
                       drawn_measures(table, Cells=[10, 20, np.nan], Focus_DNA=[-1, -3, -2], Saturated_DNA=[0.1, 0.3, 0])],
                      axis=1).assign(Flags=["dim;edge", "edge", ""])
    wells = quality_file.per_well(frame)
    names = ["Metadata_Plate", "Metadata_Well", "Fields", "Flagged_Fields", "Cells", "Focus_DNA", "Saturated_DNA",
             "Intensity_DNA", "Flags"]
    assert wells.loc[0, names].tolist() == ["P1", "B02", 2, 2, 15.0, -2.0, 0.2, 100.0, "dim;edge"]
    assert np.isnan(wells.loc[1, "Cells"])
    assert wells["Flags"].tolist() == ["dim;edge", ""]
