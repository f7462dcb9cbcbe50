import numpy as np
import pandas as pd
import pytest

from mscnn.data.tables.pixel_size import mixed_pixel_sizes, pixel_sizes
from mscnn.data.tables.site_table import read_sites


def sizes(column: str, *values: str) -> list[float] | None:
    found = pixel_sizes(pd.DataFrame({"Metadata_Plate": ["P"] * len(values), column: list(values)}))
    return None if found is None else found.tolist()


@pytest.mark.parametrize(("column", "value"), [
    ("Metadata_PixelSize", "0.65"), ("pixel_size", " 0.65 "), ("Pixel Size (µm)", "0.65"), ("pixel_size_nm", "650"),
    ("PixelSizeX", "0.65"), ("Image_Metadata_PhysicalSizeX", "0.65 um"), ("PhysicalSizeX", "650 nm"), ("MPP", "0.65"),
    ("um_per_px", "0.65"), ("microns_per_pixel", "0.65"), ("ImageResolutionX", "6.5e-07"), ("PixelSize_um", "0,65"),
])
def test_pixel_sizes_are_micrometres(column, value):
    assert sizes(column, value) == pytest.approx([0.65], rel=1e-9)


@pytest.mark.parametrize("column", ["PixelSizeY", "Metadata_PixelSizeUnit", "Pixels", "PixelsPerMicron", "Size", "Plate"])
def test_other_columns_are_none_of_pixel_sizes(column):
    assert sizes(column, "0.65") is None


def test_values_that_are_no_sizes_are_not_known():
    np.testing.assert_array_equal(sizes("PixelSize", "", "n/a", "-1", "0", "wide", "1.2.3", "0.5 furlongs"), [np.nan] * 7)


def test_a_site_table_has_its_pixel_sizes_and_names_a_mixture(tmp_path):
    rows = ["plate,well,compound,filename,PixelSize", "P,A01,DMSO,1.tif,0.65", "P,A02,DMSO,2.tif,0.650001",
            "P,A03,a,3.tif,0.325", "P,A04,a,4.tif,"]
    for name in "1234":
        (tmp_path / f"{name}.tif").touch()
    (tmp_path / "sites.csv").write_text("\n".join(rows) + "\n")
    frame = read_sites(tmp_path / "sites.csv").frame
    np.testing.assert_array_equal(frame["pixel_size"], [0.65, 0.650001, 0.325, np.nan])
    assert "0.325 µm (1 sites), 0.65 µm (2 sites)" in mixed_pixel_sizes(frame["pixel_size"])
    assert mixed_pixel_sizes(frame["pixel_size"][:2]) == mixed_pixel_sizes(frame["pixel_size"][3:]) == ""
    assert mixed_pixel_sizes(None) == ""
