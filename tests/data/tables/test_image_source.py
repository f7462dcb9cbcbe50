"""Image sources as texts."""

import pytest

from mscnn.data.tables.image_source import ImageSource, Plane, pack_source, show_source, source_paths, unpack_source

SOURCES = [
    ImageSource((Plane("a b/c|#.tif", None),)),
    ImageSource((Plane("a.tif", 0),)),
    ImageSource((Plane("a.tif", None), Plane("b.tif", None))),
    ImageSource((Plane("a.tif", 0), Plane("a.tif", 12), Plane("b", 3))),
    ImageSource((Plane("a.tif", None),), (0.0, 1.0)),
    ImageSource((Plane("1", 2), Plane("3", 4)), (-0.1, 1e-300)),
]


@pytest.mark.parametrize("source", SOURCES)
def test_packing_loses_nothing(source):
    assert unpack_source(pack_source(source)) == source
    assert source_paths(pack_source(source)) == list(dict.fromkeys(plane.path for plane in source.planes))


def test_a_whole_file_is_its_path():
    assert pack_source(SOURCES[0]) == "a b/c|#.tif"


def test_sources_are_shown_on_one_line_without_zero_bytes():
    assert [show_source(pack_source(source)) for source in SOURCES[1:4]] == [
        "a.tif plane 0", "maximum of 2 planes from a.tif", "maximum of 3 planes from a.tif plane 0"]
