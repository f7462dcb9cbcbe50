"""Which pages of a TIFF are images of counts; tifffile writes what is read, and refused."""

import numpy as np
import pytest
import tifffile

from mscnn.core.errors import ImageError
from mscnn.data.pixels.images import read_header, read_source
from mscnn.data.tables.image_source import ImageSource, Plane, pack_source

RNG = np.random.default_rng(8)
COUNTS = RNG.integers(0, 256, (48, 64), dtype=np.uint8)
RAMP = np.arange(256, dtype=np.uint16) * 257
NOTHING = np.zeros(256, np.uint16)


@pytest.mark.parametrize("colours", [(RAMP, RAMP, RAMP), (NOTHING, RAMP, NOTHING)], ids=["grey", "green"])
def test_the_numbers_of_a_false_colour_are_counts(tmp_path, colours):
    path = str(tmp_path / "false_colour.tif")
    tifffile.imwrite(path, COUNTS, photometric="palette", colormap=np.stack(colours))
    np.testing.assert_array_equal(read_source(path), COUNTS[None])


@pytest.mark.parametrize("colours", [RNG.integers(0, 65536, (3, 256), dtype=np.uint16), np.stack([RAMP[::-1]] * 3),
                                     np.stack([NOTHING] * 3)], ids=["mixed", "falling", "all alike"])
def test_the_numbers_of_other_palettes_are_no_counts(tmp_path, colours):
    path = str(tmp_path / "palette.tif")
    tifffile.imwrite(path, COUNTS, photometric="palette", colormap=colours)
    with pytest.raises(ImageError, match=r"numbers of colours in a palette.*save it as grey values"):
        read_header(path)
    with pytest.raises(ImageError, match="numbers of colours in a palette"):  # nor are those of one page
        read_header(pack_source(ImageSource((Plane(path, 0),))))


def test_counts_that_fall_with_the_light_are_refused(tmp_path):
    path = str(tmp_path / "inverted.tif")
    tifffile.imwrite(path, COUNTS, photometric="miniswhite")
    with pytest.raises(ImageError, match="0 is white in it"):
        read_header(path)


def test_colours_that_are_no_red_green_and_blue_are_refused(tmp_path):
    path = str(tmp_path / "inks.tif")
    tifffile.imwrite(path, np.stack([COUNTS] * 4, axis=-1), photometric="separated")
    with pytest.raises(ImageError, match="its colours are CMYK"):
        read_header(path)


def test_a_tiff_that_does_not_tell_its_colours_is_read(tmp_path):
    """As tifffile takes a missing tag for MinIsWhite, which it is not."""
    path = tmp_path / "no_tag.tif"
    tifffile.imwrite(path, COUNTS, photometric="miniswhite")
    written = path.read_bytes()
    tag = (262).to_bytes(2, "little") + (3).to_bytes(2, "little")
    assert written.count(tag) == 1
    path.write_bytes(written.replace(tag, (263).to_bytes(2, "little") + (3).to_bytes(2, "little")))
    np.testing.assert_array_equal(read_source(str(path)), COUNTS[None])


@pytest.mark.parametrize(("other", "options"), [
    (COUNTS[::4, ::4], {"subfiletype": 1}),
    (np.stack([COUNTS] * 3, -1)[::4, ::4], {"subfiletype": 1, "photometric": "rgb"}),
    (COUNTS > 9, {"subfiletype": 4, "photometric": "minisblack"})], ids=["thumbnail", "colour thumbnail", "mask"])
@pytest.mark.parametrize("is_first", [False, True])
def test_thumbnails_and_masks_beside_an_image_are_left_out(tmp_path, other, options, is_first):
    path = str(tmp_path / "with_more.tif")
    pages = [(COUNTS.astype(np.uint16) * 3, {"photometric": "minisblack"}), (other, options)]
    with tifffile.TiffWriter(path) as tiff:
        for pixels, more in pages[::-1] if is_first else pages:
            tiff.write(pixels, **more)
    assert read_header(path) == (1, 48, 64, "uint16")
    np.testing.assert_array_equal(read_source(path), COUNTS[None].astype(np.uint16) * 3)


def test_images_of_two_sizes_that_nothing_tells_apart_are_refused_with_the_remedy(tmp_path):
    path = str(tmp_path / "two_sizes.tif")
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(COUNTS)
        tiff.write(COUNTS[::2, ::2])
    with pytest.raises(ImageError, match=r"2 images of different sizes.*Frame_<Channel>"):
        read_header(path)
    np.testing.assert_array_equal(read_source(pack_source(ImageSource((Plane(path, 0),)))), COUNTS[None])
