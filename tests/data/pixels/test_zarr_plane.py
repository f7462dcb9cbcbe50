"""Planes of Zarr arrays: the right one, and none that was not copied."""

import json
import sys

import numpy as np
import pytest
import zarr

from mscnn.core.errors import ImageError, UsageError
from mscnn.data.pixels.zarr_plane import read_zarr_header, read_zarr_plane, require_zarr_plane

SHAPE = (2, 3, 4, 10, 14)  # T C Z Y X
COUNTS = np.arange(1, 1 + np.prod(SHAPE), dtype="uint16").reshape(SHAPE)
LAYOUTS = {
    "v2": {"zarr_format": 2, "chunks": (1, 1, 1, 4, 8)},
    "v2, nested, big-endian": {"zarr_format": 2, "chunks": (1, 2, 3, 10, 14), "dtype": ">u2",
                               "chunk_key_encoding": {"name": "v2", "separator": "/"}},
    "v3": {"zarr_format": 3, "chunks": (1, 1, 1, 10, 7)},
    "v3 in shards": {"zarr_format": 3, "chunks": (1, 1, 1, 4, 4), "shards": (1, 1, 2, 8, 8)},
    "v3, gzip": {"zarr_format": 3, "chunks": (2, 3, 4, 5, 5), "compressors": zarr.codecs.GzipCodec()},
}


def write(folder, counts=COUNTS, *, dtype="uint16", **options):
    array = zarr.create_array(zarr.storage.LocalStore(folder), shape=counts.shape, dtype=dtype, **options)
    array[...] = counts
    return str(folder)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_planes_are_counted_in_c_order(tmp_path, layout):
    path = write(tmp_path / "0", **LAYOUTS[layout])
    assert read_zarr_header(path) == (10, 14, "uint16", 24)
    for number, (t, c, z) in enumerate(np.ndindex(2, 3, 4)):
        plane = read_zarr_plane(path, number)
        np.testing.assert_array_equal(plane, COUNTS[t, c, z])
        assert plane.dtype == "uint16"
        assert plane.dtype.isnative


def test_an_array_of_one_plane_has_plane_0(tmp_path):
    path = write(tmp_path / "0", COUNTS[0, 0, 0].astype("float32"), dtype="float32", chunks=(4, 4))
    assert read_zarr_header(path) == (10, 14, "float32", 1)
    np.testing.assert_array_equal(read_zarr_plane(path, 0), COUNTS[0, 0, 0])


@pytest.mark.parametrize("number", [-1, 24, 10**20])
def test_a_plane_that_is_not_there_is_refused(tmp_path, number):
    path = write(tmp_path / "0", **LAYOUTS["v3"])
    with pytest.raises(ImageError, match=f"has no plane {number}, but 24 planes"):
        read_zarr_plane(path, number)


def test_only_the_chunks_of_the_plane_are_read(tmp_path):
    path = write(tmp_path / "0", **LAYOUTS["v2"])
    for file in (tmp_path / "0").iterdir():
        if file.name[0].isdigit() and not file.name.startswith("1.2.0."):
            file.write_bytes(b"no chunk")
    np.testing.assert_array_equal(read_zarr_plane(path, 20), COUNTS[1, 2, 0])
    with pytest.raises(ImageError, match=r"cut short or damaged .*copy the folder again"):
        read_zarr_plane(path, 19)


@pytest.mark.parametrize("layout", ["v2", "v3", "v3 in shards"])
def test_a_plane_without_chunks_is_cut_short_and_not_black(tmp_path, layout):
    path = write(tmp_path / "0", **LAYOUTS[layout])
    start = {"v2": "0.0.1.", "v3": "c/0/0/1/", "v3 in shards": "c/0/0/0/"}[layout]
    for file in list((tmp_path / "0").rglob("*")):
        if file.is_file() and str(file.relative_to(path)).startswith(start):
            file.unlink()
    for refuse in (require_zarr_plane, read_zarr_plane):
        with pytest.raises(ImageError, match=r"0: plane 1 is cut short: none of its \d chunks is there; copy"):
            refuse(path, 1)
    require_zarr_plane(path, 4)
    np.testing.assert_array_equal(read_zarr_plane(path, 4), COUNTS[0, 1, 0])


def test_chunks_of_zeros_that_the_writer_left_out_are_zeros(tmp_path):
    counts = COUNTS[0, 0].copy()
    counts[:, :4] = 0
    path = write(tmp_path / "0", counts, zarr_format=2, chunks=(1, 4, 14), config={"write_empty_chunks": False})
    assert not (tmp_path / "0" / "1.0.0").exists()
    np.testing.assert_array_equal(read_zarr_plane(path, 1), counts[1])


def test_a_chunk_lost_beside_a_stored_chunk_of_zeros_is_refused(tmp_path):
    counts = COUNTS[0, 0].copy()
    counts[:, :4] = 0
    path = write(tmp_path / "0", counts, zarr_format=2, chunks=(1, 4, 14), config={"write_empty_chunks": True})
    (tmp_path / "0" / "1.2.0").unlink()
    with pytest.raises(ImageError, match="plane 1 is cut short: 1 of its 3 chunks are not there, though its writer"):
        read_zarr_plane(path, 1)


@pytest.mark.parametrize("fill", [None, 7])
def test_a_chunk_is_never_read_as_a_fill_value_other_than_0(tmp_path, fill):
    path = write(tmp_path / "0", COUNTS[0, 0], zarr_format=2, chunks=(1, 4, 14))
    facts = json.loads((tmp_path / "0" / ".zarray").read_text())
    (tmp_path / "0" / ".zarray").write_text(json.dumps({**facts, "fill_value": fill}))
    (tmp_path / "0" / "1.2.0").unlink()
    with pytest.raises(ImageError, match="plane 1 is cut short: 1 of its 3 chunks are not there"):
        require_zarr_plane(path, 1)


@pytest.mark.parametrize("layout", ["v2", "v3", "v3 in shards"])
def test_a_chunk_that_is_cut_short_is_refused(tmp_path, layout):
    path = write(tmp_path / "0", **LAYOUTS[layout])
    chunks = [file for file in (tmp_path / "0").rglob("*") if file.is_file() and file.name.rpartition(".")[2].isdigit()]
    first = min(chunks)
    first.write_bytes(first.read_bytes()[:-9])
    with pytest.raises(ImageError, match="cut short or damaged"):
        read_zarr_plane(path, 0)


def test_a_pickle_is_never_decoded(tmp_path):
    path = write(tmp_path / "0", **LAYOUTS["v2"])
    facts = json.loads((tmp_path / "0" / ".zarray").read_text())
    for change in ({"compressor": {"id": "pickle"}}, {"filters": [{"id": "pickle"}]}):
        (tmp_path / "0" / ".zarray").write_text(json.dumps({**facts, **change}))
        with pytest.raises(ImageError, match="is packed by pickle, which mscnn does not read"):
            read_zarr_plane(path, 0)


def test_codecs_within_shards_are_looked_at(tmp_path):
    path = write(tmp_path / "0", **LAYOUTS["v3 in shards"])
    text = (tmp_path / "0" / "zarr.json").read_text()
    (tmp_path / "0" / "zarr.json").write_text(text.replace('"zstd"', '"numcodecs.pickle"'))
    with pytest.raises(ImageError, match="is packed by pickle"):
        read_zarr_header(path)


@pytest.mark.parametrize(("change", "reason"), [
    ({"dtype": "|S4", "fill_value": None}, "only integers and floats"),
    ({"shape": [5], "chunks": [5]}, "no planes of pixels"),
    ({"shape": [0, 10, 14], "chunks": [1, 4, 14]}, "no planes of pixels"),
    ({"shape": [1, 2**20, 2**20], "chunks": [1, 4, 14]}, r"promises 1,099,511,627,776 samples a plane"),
    ({"shape": [10**30, 10, 14]}, "promises 1,0.* planes, at most"),
    ({"shape": [2**20, 2**10, 2**10], "chunks": [2**20, 2**10, 2**10]}, "chunks of shape"),
    ({"shape": "wide"}, "its metadata cannot be used"), ({"chunks": None}, "its metadata cannot be used"),
    ({"dtype": "<u9"}, "its metadata cannot be used"), ({"order": "Q"}, "its metadata cannot be used"),
])
def test_metadata_that_are_no_image_are_refused_in_one_line(tmp_path, change, reason):
    path = write(tmp_path / "0", COUNTS[0, 0], zarr_format=2, chunks=(1, 4, 14))
    facts = json.loads((tmp_path / "0" / ".zarray").read_text())
    (tmp_path / "0" / ".zarray").write_text(json.dumps({**facts, **change}))
    with pytest.raises(ImageError, match=reason) as caught:
        read_zarr_plane(path, 0)
    assert str(caught.value).startswith(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_array_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / ".zarray").write_text('{"shape": [1')
    zarr.create_group(tmp_path / "group", zarr_format=3)
    reasons = {"no": "missing", "empty": "holds no Zarr array", "cut": "cannot be read", "group": "a group"}
    for name, reason in reasons.items():
        with pytest.raises(ImageError, match=reason):
            read_zarr_header(str(tmp_path / name))


def test_without_zarr_the_remedy_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "0", **LAYOUTS["v3"])
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(UsageError, match=r'pip install "mscnn\[plates\]"'):
        read_zarr_header(path)
