"""A TIFF is its own pages, whatever its metadata say of other files; the oracle is what was written to it."""

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from mscnn.core.errors import ImageError
from mscnn.data.pixels.images import read_header, read_site
from mscnn.data.pixels.ome_xml import pixel_size

SHAPE = (128, 128)
PLANES = np.random.default_rng(0).integers(100, 4000, (6, *SHAPE), dtype=np.uint16)
OME = '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"{uuid}>{content}</OME>'


def plane(names: tuple[str, str] | None = None, ifd: int = 0, **first: int) -> str:
    """Return a TiffData of one plane. names: UUID and FileName of its file; first: C, Z or T."""
    place = "".join(f' First{axis}="{number}"' for axis, number in first.items())
    uuid = f'<UUID FileName="{names[1]}">{names[0]}</UUID>' if names else ""
    return f'<TiffData IFD="{ifd}" PlaneCount="1"{place}>{uuid}</TiffData>'


def ome(planes: list[str], *, uuid: str = "", order: str = "XYCZT", **sizes: int) -> str:
    """Return an OME-XML of one image."""
    lengths = {"C": 1, "Z": 1, "T": 1, "X": SHAPE[1], "Y": SHAPE[0]} | sizes
    text = "".join(f' Size{axis}="{length}"' for axis, length in lengths.items())
    content = f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="{order}" Type="uint16"{text}>{"".join(planes)}' \
              "</Pixels></Image>"
    return OME.format(uuid=f' UUID="{uuid}"' if uuid else "", content=content)


def write(path: Path, pages: np.ndarray, xml: str) -> Path:
    tifffile.imwrite(path, pages, photometric="minisblack", metadata=None, description=xml.encode())
    return path


def assert_own(path: Path, pages: np.ndarray) -> None:
    assert read_header(str(path)) == (len(pages), *SHAPE, "uint16")
    np.testing.assert_array_equal(read_site([str(path)]), pages)


@pytest.mark.parametrize("own", ["urn:0", "", "urn:all"])
@pytest.mark.parametrize("copied", [False, True])
def test_a_file_of_a_set_is_its_own_plane(tmp_path, own, copied):
    """own: the UUIDs of the files are apart, named by TiffData alone, or one for all."""
    names = [(own if own == "urn:all" else f"urn:{number}", f"{number}.ome.tif") for number in range(3)]
    xml = [plane(name, C=number) for number, name in enumerate(names)]
    for number, (uuid, name) in enumerate(names):
        write(tmp_path / name, PLANES[number:number + 1], ome(xml, uuid=uuid if own else "", C=3))
    for number, (_, name) in enumerate(names):
        path = (tmp_path / name).rename(tmp_path / f"renamed{number}.tif") if copied else tmp_path / name
        assert_own(path, PLANES[number:number + 1])


def test_a_file_of_a_set_with_several_pages_is_those_pages(tmp_path):
    names = [("urn:0", "0.ome.tif"), ("urn:1", "1.ome.tif")]
    xml = ome([plane(name, z, C=c, Z=z) for c, name in enumerate(names) for z in range(3)], uuid="urn:1", C=2, Z=3)
    assert_own(write(tmp_path / "1.ome.tif", PLANES[:3], xml), PLANES[:3])


@pytest.mark.parametrize("elsewhere", ["../outside/other.tif", "{root}/outside/other.tif", "pipe", "absent.tif"])
def test_no_file_that_the_metadata_name_is_opened(tmp_path, elsewhere):
    (tmp_path / "outside").mkdir()
    (tmp_path / "images").mkdir()
    tifffile.imwrite(tmp_path / "outside" / "other.tif", PLANES[5])
    os.mkfifo(tmp_path / "images" / "pipe")  # an open would wait for ever
    other = ("urn:1", elsewhere.format(root=tmp_path))
    both = ome([plane(("urn:0", "a.tif"), C=0), plane(other, C=1)], uuid="urn:0", C=2)
    assert_own(write(tmp_path / "images" / "a.tif", PLANES[:1], both), PLANES[:1])
    alone = ome([plane(other)], uuid="urn:0")  # not a plane of this file
    assert_own(write(tmp_path / "images" / "a.tif", PLANES[:1], alone), PLANES[:1])


@pytest.mark.parametrize("content", [
    '<BinaryOnly MetadataFile="set.companion.ome" UUID="urn:0"/>', '<BinaryOnly MetadataFile="../pipe" UUID="urn:0"/>', ""])
def test_a_file_without_a_description_of_its_own_is_its_pages(tmp_path, content):
    planes = [plane(("urn:0", "a.ome.tif"), C=0), plane(("urn:1", "b.tif"), C=1)]
    (tmp_path / "set.companion.ome").write_text(ome(planes, C=2))
    xml = OME.format(uuid=' UUID="urn:1"', content=content)
    assert_own(write(tmp_path / "a.ome.tif", PLANES[:2], xml), PLANES[:2])


def test_damaged_xml_leaves_the_pages(tmp_path):
    for xml in ("<OME>&undefined;</OME>", ome([plane(C=0)]).replace('SizeC="1"', 'SizeC="many"')):
        assert_own(write(tmp_path / "a.ome.tif", PLANES[:1], xml), PLANES[:1])


@pytest.mark.parametrize("names", [None, ("urn:0", "first name.ome.tif")])
def test_the_planes_of_a_file_of_its_own_are_in_the_order_of_its_xml(tmp_path, names):
    """With the name of the file, too, under which it was written."""
    xml = ome([plane(names, ifd=2 - c, C=c) for c in range(3)], C=3)
    assert_own(write(tmp_path / "a.ome.tif", PLANES[:3], xml), PLANES[[2, 1, 0]])


@pytest.mark.parametrize(("sizes", "reason"), [({"C": 3, "Z": 2}, "not one image of one or more channels"),
                                               ({"C": 7}, "one of its images is not there")])
def test_axes_and_lost_pages_of_a_file_of_its_own_are_seen(tmp_path, sizes, reason):
    planes = [plane(ifd=sizes["C"] * z + c, C=c, Z=z) for z in range(sizes.get("Z", 1)) for c in range(sizes["C"])]
    path = write(tmp_path / "a.ome.tif", PLANES, ome(planes, **sizes))
    with pytest.raises(ImageError, match=reason):
        read_site([str(path)])


@pytest.mark.parametrize("kind", ["MMStack", "NDTiff"])
def test_files_of_micro_manager_are_their_own_pages(tmp_path, kind):
    """One channel of two; tifffile would search the folder for the other one."""
    for number in range(2):
        name = f"set_{kind}_{number}.ome.tif" if kind == "MMStack" else f"set_{kind}_{number}.tif"
        _write_micro_manager(tmp_path / name, PLANES[number], kind, number)
    if kind == "NDTiff":
        (tmp_path / "NDTiff.index").write_bytes(_index_entry(0) + _index_entry(1))
    for number, path in enumerate(sorted(tmp_path.glob("*_[01].*tif"))):
        assert_own(path, PLANES[number:number + 1])


@pytest.mark.parametrize(("attributes", "expected"), [
    ('PhysicalSizeX="0.65"', 0.65), ('PhysicalSizeX="650" PhysicalSizeXUnit="nm"', 0.65), ("", None),
    ('PhysicalSizeX="6.5e-4" PhysicalSizeXUnit="mm"', 0.65), ('PhysicalSizeX="1" PhysicalSizeXUnit="pixel"', None),
    ('PhysicalSizeX="nan"', None), ('PhysicalSizeX="0"', None), ('PhysicalSizeX="wide"', None)])
def test_the_size_of_a_pixel_is_in_micrometres(attributes, expected):
    found = pixel_size(ome([]).replace("<Pixels ", f"<Pixels {attributes} "))
    assert found == (expected if expected is None else pytest.approx(expected, rel=1e-12))
    assert pixel_size("no XML") is pixel_size("<OME/>") is None


def _write_micro_manager(path: Path, pixels: np.ndarray, kind: str, channel: int) -> None:
    """Write a TIFF of one page with the header of Micro-Manager's format; all numbers are little-endian."""
    summary = json.dumps({"MicroManagerVersion": "2.0", "Frames": 1, "Channels": 2, "Slices": 1, "Positions": 1,
                          "Prefix": "set"}).encode()
    start = 40 + len(summary) + len(summary) % 2
    tags = [(256, 4, 1, SHAPE[1]), (257, 4, 1, SHAPE[0]), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1),
            (273, 4, 1, start + 162), (277, 3, 1, 1), (278, 4, 1, SHAPE[0]), (279, 4, 1, pixels.nbytes),
            (51123, 2, 3, int.from_bytes(b"{}\0\0", "little"))]
    page = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    page = page.ljust(162, b"\0") + pixels.tobytes()
    index = struct.pack("<II5I", 3453623, 1, channel, 0, 0, 0, start)
    if kind == "NDTiff":
        middle = struct.pack("<IIII", 483729, 2, 2355492, len(summary))
        middle = (middle + summary).ljust(start - 8, b"\0")
    else:
        middle = struct.pack("<8I", 54773648, start + len(page), 483765892, 0, 99384722, 0, 2355492, len(summary))
        middle = (middle + summary).ljust(start - 8, b"\0")
    path.write_bytes(struct.pack("<2sHI", b"II", 42, start) + middle + page + index)


def _index_entry(channel: int) -> bytes:
    """Return the entry of a plane in NDTiff.index."""
    axes, name = json.dumps({"channel": channel}).encode(), f"set_NDTiff_{channel}.tif".encode()
    return struct.pack("<I", len(axes)) + axes + struct.pack("<I", len(name)) + name \
        + struct.pack("<8I", 202, SHAPE[1], SHAPE[0], 1, 0, 0, 0, 0)
