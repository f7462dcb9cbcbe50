"""Kinds of TIFF that microscopes write, and planes of a file; tifffile or imagecodecs write what is read."""

import imagecodecs
import numpy as np
import pytest
import tifffile

from mscnn.core.errors import ImageError
from mscnn.data.pixels.images import read_header, read_site
from mscnn.data.tables.image_source import ImageSource, Plane, pack_source

RNG = np.random.default_rng(5)
PLANES = RNG.integers(0, 65536, (6, 64, 96), dtype=np.uint16)


def source(*planes: tuple, value_range=None) -> str:
    return pack_source(ImageSource(tuple(Plane(str(path), number) for path, number in planes), value_range))


@pytest.mark.parametrize("options", [
    {}, {"byteorder": ">"}, {"bigtiff": True}, {"tile": (32, 32)},
    {"tile": (32, 32), "compression": "zstd", "byteorder": ">"},
    {"compression": "lzw", "predictor": True}, {"compression": "zlib", "rowsperstrip": 7}, {"compression": "jpeg2000"},
    {"ome": True}, {"imagej": True, "byteorder": ">"}, {"compression": "packbits", "bigtiff": True}],
    ids=lambda options: ",".join(map(str, options)) or "plain")
def test_each_plane_of_each_kind_of_tiff_is_read_by_its_number(tmp_path, options):
    path = tmp_path / "stack.ome.tif" if "ome" in options else tmp_path / "stack.tif"
    pages = PLANES
    if "ome" in options or "imagej" in options:
        options = {**options, "metadata": {"axes": "ZYX"}}
    tifffile.imwrite(path, pages, photometric="minisblack", **options)
    for number in (0, 3, 5):
        assert read_header(source((path, number))) == (1, 64, 96, "uint16")
        np.testing.assert_array_equal(read_site([source((path, number))]), PLANES[number][None])


@pytest.mark.parametrize("bits", [12, 14])
def test_counts_of_12_and_14_bits_keep_their_values(tmp_path, bits):
    """As cameras write them: in 16-bit words, and packed."""
    pixels = (PLANES[0] >> (16 - bits)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "words.tif", pixels)
    np.testing.assert_array_equal(read_site([str(tmp_path / "words.tif")]), pixels[None])
    packed = imagecodecs.packints_encode(pixels, bits) if _packs() else None
    if packed is None:
        return
    tifffile.imwrite(tmp_path / "packed.tif", pixels, bitspersample=bits)
    np.testing.assert_array_equal(read_site([str(tmp_path / "packed.tif")]), pixels[None])


def _packs() -> bool:
    try:
        imagecodecs.packints_encode(np.zeros(8, np.uint16), 12)
    except NotImplementedError:
        return False
    return True


def test_a_maximum_is_over_planes_of_one_file_of_several_and_of_both(tmp_path):
    for number, plane in enumerate(PLANES):
        tifffile.imwrite(tmp_path / f"z{number}.tif", plane)
    tifffile.imwrite(tmp_path / "stack.tif", PLANES, photometric="minisblack")
    stack, files = tmp_path / "stack.tif", [(tmp_path / f"z{number}.tif", None) for number in range(6)]
    for planes, expected in (([(stack, 1), (stack, 4)], PLANES[[1, 4]]), (files, PLANES),
                             ([files[2], (stack, 0)], PLANES[[2, 0]])):
        np.testing.assert_array_equal(read_site([source(*planes)]), expected.max(axis=0)[None])


def test_a_channel_may_be_a_plane_and_another_a_maximum(tmp_path):
    stack = tmp_path / "stack.tif"
    tifffile.imwrite(stack, PLANES, photometric="minisblack")
    site = read_site([source((stack, 5)), source((stack, 0), (stack, 1))])
    np.testing.assert_array_equal(site, np.stack([PLANES[5], PLANES[:2].max(axis=0)]))


def test_float_samples_need_a_stated_range_and_become_16_bits_by_it(tmp_path):
    """By hand: 0 -> 0, 0.5 -> 32767.5, to the nearest even 32768, 1 -> 65535."""
    path = tmp_path / "float.tif"
    tifffile.imwrite(path, np.array([[0, 0.5], [0.25, 1]], np.float32))
    with pytest.raises(ImageError, match=r"float\.tif: float32 samples.*Metadata_ValueRange.*--value-range"):
        read_header(str(path))
    assert read_header(source((path, None), value_range=(0, 1))) == (1, 2, 2, "uint16")
    assert read_site([source((path, None), value_range=(0, 1))]).tolist() == [[[0, 32768], [16384, 65535]]]
    assert read_site([source((path, 0), value_range=(0, 2))]).tolist() == [[[0, 16384], [8192, 32768]]]
    assert read_site([source((path, 0), value_range=(-1, 1))]).tolist() == [[[32768, 49151], [40959, 65535]]]


@pytest.mark.parametrize(("values", "limits"), [([0.0, 1.5], (0, 1)), ([-0.1, 1.0], (0, 1)), ([np.nan, 0.5], (0, 1)),
                                                ([np.inf, 0.5], (0, 1))])
def test_values_outside_of_the_stated_range_are_refused(tmp_path, values, limits):
    tifffile.imwrite(tmp_path / "float.tif", np.array([values], np.float32))
    with pytest.raises(ImageError, match=r"float\.tif: values from .* outside of the stated 0 to 1"):
        read_site([source((tmp_path / "float.tif", None), value_range=limits)])


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint32, np.float64])
def test_other_types_of_samples_are_read_by_a_range(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0, 100]], dtype))
    with pytest.raises(ImageError, match=f"{np.dtype(dtype).name} samples"):
        read_site([str(tmp_path / "a.tif")])
    assert read_site([source((tmp_path / "a.tif", None), value_range=(0, 200))]).tolist() == [[[0, 32768]]]


def test_a_range_for_samples_that_need_none_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", PLANES[0])
    with pytest.raises(ImageError, match=r"uint16 samples, which need no range"):
        read_header(source((tmp_path / "a.tif", None), value_range=(0, 1)))


def test_planes_that_are_not_there_or_differ_are_refused(tmp_path):
    stack, other = tmp_path / "stack.tif", tmp_path / "other.tif"
    tifffile.imwrite(stack, PLANES, photometric="minisblack")
    tifffile.imwrite(other, PLANES[0, :32])
    for planes, message in (([(stack, 6)], "plane 6 of it is named, counted from 0, and it holds 6"),
                            ([(stack, 0), (other, 0)], r"other\.tif: 1 x 32x96 uint16, and 1 x 64x96 uint16 in"),
                            ([(tmp_path / "gone.tif", 0)], r"gone\.tif: missing")):
        with pytest.raises(ImageError, match=message):
            read_site([source(*planes)])


def test_a_plane_with_colours_is_no_channel_of_a_maximum(tmp_path):
    tifffile.imwrite(tmp_path / "rgb.tif", PLANES.reshape(2, 64, 96, 3), photometric="rgb")
    with pytest.raises(ImageError, match="3 channels in a plane"):
        read_site([source((tmp_path / "rgb.tif", 0), (tmp_path / "rgb.tif", 1))])


def test_a_stack_behind_one_page_header_is_refused_by_number(tmp_path):
    """ImageJ writes stacks of more than 4 GB so."""
    path = tmp_path / "stack.tif"
    with tifffile.TiffWriter(path, imagej=True) as tiff:
        tiff.write(PLANES, contiguous=True, metadata={"axes": "ZYX"})
    with tifffile.TiffFile(path) as tiff:
        num_pages = len(tiff.pages)
    if num_pages == 1:
        with pytest.raises(ImageError, match="behind a single page header"):
            read_header(source((path, 2)))
    else:
        np.testing.assert_array_equal(read_site([source((path, 2))]), PLANES[2][None])
