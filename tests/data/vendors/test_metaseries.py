import math
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from mscnn.core.errors import DataError
from mscnn.data.vendors.metaseries import pixel_size


def metaseries(size="1.3672", units="um", state="on") -> str:
    """A description as MetaXpress writes it, shortened."""
    return ('<MetaData>\n<prop id="Description" type="string" value="Exposure: 100 ms&#13;&#10;a"/>\n<PlaneInfo>\n'
            f'<prop id="spatial-calibration-state" type="bool" value="{state}"/>\n'
            f'<prop id="spatial-calibration-x" type="float" value="{size}"/>\n'
            f'<prop id="spatial-calibration-units" type="string" value="{units}"/>\n</PlaneInfo>\n</MetaData>\n')


def write(path: Path, description: str | None, **options) -> Path:
    tifffile.imwrite(path, np.zeros((4, 4), np.uint16), description=description, metadata=None, **options)
    return path


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_calibration_is_the_width_of_a_pixel_in_either_order_of_bytes(tmp_path, order):
    assert pixel_size(write(tmp_path / "a.tif", metaseries(), byteorder=order)) == 1.3672


@pytest.mark.parametrize(("size", "units", "state", "micrometres"), [
    ("650", "nm", "on", 0.65), ("0.65", "Microns", "on", 0.65), ("1", "pixel", "on", math.nan),
    ("1", "um", "off", math.nan), ("0", "um", "on", math.nan), ("inf", "um", "on", math.nan), ("x", "um", "on", math.nan)])
def test_other_units_are_converted_and_what_is_no_size_is_not_known(tmp_path, size, units, state, micrometres):
    found = pixel_size(write(tmp_path / "a.tif", metaseries(size, units, state)))
    assert found == pytest.approx(micrometres, nan_ok=True)


@pytest.mark.parametrize("description", [None, "ImageJ=1.54", "<MetaData><PlaneInfo>", "<MetaData/>"])
def test_other_descriptions_tell_no_size(tmp_path, description):
    assert math.isnan(pixel_size(write(tmp_path / "a.tif", description)))


def test_files_that_are_cut_short_or_no_images_tell_no_size(tmp_path):
    whole = write(tmp_path / "a.tif", metaseries()).read_bytes()
    for length in (0, 3, 6, 8, 9, 20, 60, 130):
        (tmp_path / "b.tif").write_bytes(whole[:length])
        assert math.isnan(pixel_size(tmp_path / "b.tif")), length
    (tmp_path / "c.tif").write_bytes(os.urandom(1000))
    assert math.isnan(pixel_size(tmp_path / "c.tif"))
    assert math.isnan(pixel_size(tmp_path / "none.tif"))


def test_a_pipe_or_a_link_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.tif")
    write(tmp_path / "a.tif", metaseries())
    (tmp_path / "link.tif").symlink_to(tmp_path / "a.tif")
    assert math.isnan(pixel_size(tmp_path / "pipe.tif"))
    assert math.isnan(pixel_size(tmp_path / "link.tif"))


def test_entities_are_refused_in_one_line(tmp_path):
    bomb = '<?xml version="1.0"?><!DOCTYPE MetaData [<!ENTITY a "b">]>' + metaseries("&a;")
    with pytest.raises(DataError, match="declares entities or a DTD") as refusal:
        pixel_size(write(tmp_path / "a.tif", bomb))
    assert "\n" not in str(refusal.value)


def test_real_images_are_calibrated_as_their_metadata_says(shared_data):
    folder = shared_data / "formats/imagexpress/exported/9987_Plate_3435/TimePoint_1"
    for path in sorted(folder.glob("*.TIF")):
        with tifffile.TiffFile(path) as tiff:
            assert pixel_size(path) == tiff.metaseries_metadata["PlaneInfo"]["spatial-calibration-x"] == 1.3672
