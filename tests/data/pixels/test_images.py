import hashlib

import imagecodecs
import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from mscnn.core.errors import DataError, ImageError
from mscnn.data.pixels.images import Header, agree, fit, inspect, read_header, read_site

RNG = np.random.default_rng(0)


def counts(*shape: int, dtype: type = np.uint16) -> np.ndarray:
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_reads_back(tmp_path, compression, dtype):
    pixels, path = counts(128, 256, dtype=dtype), str(tmp_path / "a.tif")
    tifffile.imwrite(path, pixels, compression=compression)
    assert read_header(path) == (1, 128, 256, np.dtype(dtype).name)
    np.testing.assert_array_equal(read_site([path]), pixels[None])


@pytest.mark.parametrize(("shape", "options", "to_chw"), [
    ((2, 128, 256), {"photometric": "minisblack"}, lambda p: p),                                # pages
    ((128, 256, 3), {"photometric": "rgb"}, lambda p: p.transpose(2, 0, 1)),                    # interleaved
    ((4, 128, 256), {"metadata": {"axes": "CYX"}, "ome": True, "photometric": "minisblack"}, lambda p: p),
    ((1, 128, 256), {"metadata": {"axes": "ZYX"}, "imagej": True}, lambda p: p),
])
def test_tiff_with_several_channels_becomes_channels_first(tmp_path, shape, options, to_chw):
    pixels, path = counts(*shape), str(tmp_path / "a.ome.tif")
    tifffile.imwrite(path, pixels, **options)
    np.testing.assert_array_equal(read_site([path]), to_chw(pixels))
    assert read_header(path)[:3] == to_chw(pixels).shape


@pytest.mark.parametrize(("shape", "dtype"), [((128, 256), np.uint8), ((128, 256), np.uint16), ((128, 256, 3), np.uint8)])
def test_png_reads_back(tmp_path, shape, dtype):
    pixels, path = counts(*shape, dtype=dtype), str(tmp_path / "a.png")
    Image.fromarray(pixels).save(path)
    expected = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    np.testing.assert_array_equal(read_site([path]), expected)
    assert read_header(path) == (*expected.shape, np.dtype(dtype).name)


def test_one_file_per_channel_is_stacked_in_order(tmp_path):
    planes = [counts(128, 128) for _ in range(3)]
    paths = [str(tmp_path / f"{n}.tif") for n in range(3)]
    for path, plane in zip(paths, planes, strict=True):
        tifffile.imwrite(path, plane)
    np.testing.assert_array_equal(read_site(paths), np.stack(planes))
    tifffile.imwrite(paths[1], counts(128, 256))
    with pytest.raises(ImageError, match=r"1\.tif.*\(1, 128, 256\)"):
        read_site(paths)


def test_damaged_files_are_never_read_as_pixels(tmp_path):
    whole = tmp_path / "whole.tif"
    tifffile.imwrite(whole, counts(128, 128), compression="zlib")
    (tmp_path / "cut.tif").write_bytes(whole.read_bytes()[:9000])
    Image.fromarray(counts(128, 128, dtype=np.uint8)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:9000])
    (tmp_path / "text.png").write_text("not an image")
    for name in ("cut.tif", "cut.png", "text.png", "absent.tif"):
        with pytest.raises(ImageError, match=f"{name}: (unreadable|missing)"):
            read_site([str(tmp_path / name)])


def test_pages_written_one_by_one_are_channels_and_others_are_refused(tmp_path):
    planes, path = [counts(128, 128) for _ in range(3)], str(tmp_path / "pages.stk")
    with tifffile.TiffWriter(path) as tiff:
        for plane, compression in zip(planes, (None, "zlib", None), strict=True):
            tiff.write(plane, compression=compression)
    assert read_header(path) == (3, 128, 128, "uint16")
    np.testing.assert_array_equal(read_site([path]), np.stack(planes))
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(planes[0])
        tiff.write(planes[0][:64, :64])  # a thumbnail
    with pytest.raises(ImageError, match="holds 2 images of different sizes"):
        read_header(path)


@pytest.mark.parametrize(("shape", "compression", "rest"), [((128, 128), None, 0.99), ((3, 128, 128), "lzw", 0.5)])
def test_a_tiff_that_was_cut_short_is_known_by_its_header(tmp_path, shape, compression, rest):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, counts(*shape), compression=compression, photometric="minisblack")
    raw = path.read_bytes()
    path.write_bytes(raw[:int(rest * len(raw))])
    with pytest.raises(ImageError, match="cut short"):
        read_header(str(path))


# Damage to the tags of a TIFF: tifffile would read zeros, or whatever lies behind the pixels, without a word.
LAYOUTS = {"Strip": {"rowsperstrip": 16}, "Tile": {"tile": (32, 32)}, "Strip alone": {"rowsperstrip": 128}}
ABSENT = "strips or tiles are not there"


def change(path, tag: str, to, page: int = 0) -> None:
    """Overwrite the values of a tag by what `to` makes of them."""
    with tifffile.TiffFile(path, mode="r+") as tiff:
        found = tiff.pages.get(page, aspage=True).tags[tag]
        found.overwrite(to(found.value))


def refusal(path) -> str:
    """Why a site is refused, in one line that names its file."""
    with pytest.raises(ImageError) as problem:
        read_site([str(path)])
    assert str(problem.value).startswith(f"{path}: unreadable (")
    assert "\n" not in str(problem.value)
    return str(problem.value)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("tag", "to", "reason"), [
    ("Offsets", lambda values: (*values[:-1], 0), ABSENT),
    ("ByteCounts", lambda values: (*values[:-1], 0), ABSENT),
    ("Offsets", lambda values: (*values[:-1], values[-1] + 10), "cut short"),  # the last one ends with the file
    ("ByteCounts", lambda values: (*values[:-1], values[-1] + 10), "cut short"),
    ("ByteCounts", lambda values: (*values[:-1], values[-1] // 2), ""),  # the decoder says so, or the sum of bytes
])
def test_strips_and_tiles_that_are_not_whole_are_never_read_as_zeros(tmp_path, compression, layout, tag, to, reason):
    pixels, path = counts(128, 128), tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, compression=compression, metadata=None, **LAYOUTS[layout])
    np.testing.assert_array_equal(read_site([str(path)]), pixels[None])
    change(path, layout.split()[0] + tag, to)
    assert reason in refusal(path)


@pytest.mark.parametrize("compression", [None, "lzw"])
@pytest.mark.parametrize(("layout", "tags", "to", "reason"), [
    ("Strip", ["StripOffsets", "StripByteCounts"], lambda values: values[:-1], "lists 7 strips or tiles of 8"),
    ("Strip", ["StripByteCounts"], lambda values: values[:-1], "lists 7 strips or tiles of 8"),
    ("Strip", ["ImageLength"], lambda rows: 2 * rows, "lists 8 strips or tiles of 16"),
    ("Strip", ["RowsPerStrip"], lambda rows: rows // 2, "lists 8 strips or tiles of 16"),
    ("Tile", ["TileOffsets", "TileByteCounts"], lambda values: values[:-1], "lists 15 strips or tiles of 16"),
    ("Tile", ["ImageLength"], lambda rows: 2 * rows, "lists 16 strips or tiles of 32"),
    ("Tile", ["TileWidth"], lambda columns: columns // 2, "lists 16 strips or tiles of 32"),
    ("Strip alone", ["ImageLength"], lambda rows: rows + 1, "lists 1 strips or tiles of 2"),
])
def test_a_tiff_that_lists_too_few_strips_or_tiles_is_refused(tmp_path, compression, layout, tags, to, reason):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, counts(128, 128), compression=compression, metadata=None, **LAYOUTS[layout])
    for tag in tags:
        change(path, tag, to)
    assert reason in refusal(path)


def test_raw_pixels_that_would_reach_into_what_lies_behind_them_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, counts(2, 128, 128), photometric="minisblack", metadata=None)
    change(path, "StripByteCounts", lambda values: (values[0] - 1,))
    assert "hold 32767 bytes, its pixels take 32768" in refusal(path)


@pytest.mark.parametrize("compression", [None, "lzw"])
@pytest.mark.parametrize("options", [{"metadata": None}, {"metadata": {"axes": "CYX"}},
                                     {"metadata": {"axes": "CYX"}, "ome": True}])
def test_a_later_page_of_a_tiff_is_checked_like_the_first(tmp_path, compression, options):
    pixels, path = counts(3, 128, 128), tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, compression=compression, photometric="minisblack", **options)
    np.testing.assert_array_equal(read_site([str(path)]), pixels)
    change(path, "StripOffsets", lambda values: (0,), page=2)
    assert ABSENT in refusal(path)


def test_an_image_that_ome_metadata_promises_and_the_file_lacks_is_refused(tmp_path):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, counts(2, 128, 128), photometric="minisblack", metadata={"axes": "CYX"})
    change(path, "ImageDescription", lambda text: text.replace('SizeC="2"', 'SizeC="3"'))
    assert "one of its images is not there" in refusal(path)


def test_what_pillow_would_silently_change_is_refused(tmp_path):
    (tmp_path / "deep.png").write_bytes(imagecodecs.png_encode(counts(128, 128, 3)))  # 16-bit colour, cut to 8 by pillow
    Image.fromarray(counts(128, 128, dtype=np.uint8)).save(tmp_path / "lossy.jpg")
    Image.fromarray(counts(128, 128, dtype=np.uint8) > 9).save(tmp_path / "bits.png")
    reasons = {"deep.png": "16-bit samples in 3 channels", "lossy.jpg": "JPEG; only TIFF", "bits.png": "mode 1"}
    for name, reason in reasons.items():
        with pytest.raises(ImageError, match=reason):
            read_site([str(tmp_path / name)])


def test_every_file_that_does_not_fit_is_listed(tmp_path):
    for name, pixels in {"good1.tif": counts(128, 128), "good2.tif": counts(128, 128), "wide.tif": counts(128, 256),
                         "float.tif": np.zeros((128, 128), np.float32),
                         "bytes.tif": counts(128, 128, dtype=np.uint8)}.items():
        tifffile.imwrite(tmp_path / name, pixels)
    Image.new("P", (128, 128)).save(tmp_path / "palette.png")
    names = ["good1.tif", "wide.tif", "float.tif", "bytes.tif", "palette.png", "absent.tif", "good2.tif"]
    found = inspect([[str(tmp_path / name)] for name in names])
    with pytest.raises(DataError) as refusal:
        agree(found, files_per_site=1, channels=())
    text = str(refusal.value)
    for part in ("5 of 7", "wide.tif: 1 x 128x256 uint16, most are 1 x 128x128 uint16", "float.tif: float32 samples",
                 "bytes.tif: 1 x 128x128 uint8", "palette.png: unreadable (ValueError: pixel mode P",
                 "absent.tif: missing"):
        assert part in text
    assert "good" not in text


def test_the_number_of_channels_must_fit_the_names(tmp_path):
    rgb, grey = [["rgb.png", 3, 128, 128, "uint8"]], [["grey.png", 1, 128, 128, "uint8"]]
    assert agree(rgb, files_per_site=1, channels=("a", "b", "c")) == Header(3, 128, 128, "uint8")
    assert agree(grey, files_per_site=2, channels=("a", "b")).channels == 2
    with pytest.raises(DataError, match=r"3 channels, but 2 are named \(a, b\)"):
        agree(rgb, files_per_site=1, channels=("a", "b"))
    with pytest.raises(DataError, match="each of 2 files a site holds 3 channels"):
        agree(rgb, files_per_site=2, channels=("a", "b"))


def test_fit_crops_at_the_centre_and_pads_by_mirroring():
    site = np.arange(2 * 4 * 6).reshape(2, 4, 6)
    np.testing.assert_array_equal(fit(site, (2, 4)), site[:, 1:3, 1:5])
    np.testing.assert_array_equal(fit(site, (4, 6)), site)
    assert fit(site, None) is site
    padded = fit(site, (6, 4))  # one row more above and below, one column less at each side
    np.testing.assert_array_equal(padded, site[:, [0, 0, 1, 2, 3, 3]][:, :, 1:5])


# sha256 of the decoded counts and their statistics, once computed with ImageJ-independent means (raw bytes behind the
# uncompressed strips); keys are the wells, which are unique among the six.
ORIGINALS = {"B02_s2_w4": (448, 32368, 4017.36, 3242.13), "B02_s2_w2": (384, 12992, 2289.30, 995.47),
             "B02_s3_w1": (176, 10688, 714.61, 490.02), "E05_s1_w2": (768, 59232, 4494.10, 2846.68),
             "E02_s2_w2": (448, 40496, 1126.01, 1665.32), "F02_s4_w1": (432, 16464, 798.99, 339.42)}


def test_the_original_tiffs_decode_to_their_raw_bytes_and_statistics(shared_data):
    folder = shared_data / "bbbc021_original_tiff"
    labels = pd.read_csv(folder / "labels.csv")
    assert len(labels) == 6
    for name in labels["filename"]:
        path = folder / name
        site = read_site([str(path)])
        assert (site.shape, site.dtype) == ((1, 1024, 1280), np.uint16)
        low, high, mean, sd = next(value for key, value in ORIGINALS.items() if key in path.name)
        assert (site.min(), site.max()) == (low, high)
        assert (round(site.mean(), 2), round(site.std(), 2)) == (mean, sd)
        with Image.open(path) as image:  # an independent decoder
            np.testing.assert_array_equal(site[0], np.asarray(image))
        raw = path.read_bytes()  # uncompressed: the counts themselves lie in the file
        assert hashlib.sha256(site[0].tobytes()).digest() in {
            hashlib.sha256(raw[start:start + site.nbytes]).digest() for start in _strip_starts(path)}


def _strip_starts(path) -> list[int]:
    with tifffile.TiffFile(path) as tiff:
        assert tiff.pages[0].is_contiguous
        return [tiff.pages[0].dataoffsets[0]]


@pytest.mark.parametrize(("axes", "what"), [("ZYX", "focal planes"), ("TYX", "time points")])
def test_a_stack_is_taken_for_channels_only_where_they_are_named(tmp_path, axes, what):
    path = str(tmp_path / "a.tif")
    tifffile.imwrite(path, counts(3, 128, 128), imagej=True, metadata={"axes": axes})
    with pytest.raises(DataError, match=rf"a\.tif: holds 3 {what}, not channels; choose among them with"):
        agree(inspect([[path]]), files_per_site=1, channels=())
    assert agree(inspect([[path]]), files_per_site=1, channels=("a", "b", "c")).channels == 3
