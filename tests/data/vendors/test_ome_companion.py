"""OME-TIFF plates: planes where a hand-written XML puts them, and refusals."""

import numpy as np
import pytest
import tifffile

from mscnn.core.errors import DataError
from mscnn.data.vendors import ome_companion
from mscnn.data.vendors.planes import ReadOptions, list_folder

XMLNS = 'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
PIXELS = ('<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="8" SizeY="6" SizeZ="2" SizeC="2" SizeT="1" '
          'PhysicalSizeX="{size}" PhysicalSizeXUnit="{unit}"><Channel ID="Channel:0" Name="DNA"/><Channel ID="Channel:1"/>'
          "{blocks}</Pixels>")


def ome(*parts):
    return f'<?xml version="1.0" encoding="UTF-8"?><OME {XMLNS}>{"".join(parts)}</OME>'


def image(number, blocks, *, size="650", unit="nm"):
    return f'<Image ID="Image:{number}">{PIXELS.format(blocks=blocks, size=size, unit=unit)}</Image>'


def block(name, **numbers):
    values = "".join(f' {key}="{value}"' for key, value in numbers.items())
    return f'<TiffData{values}><UUID FileName="{name}">urn:uuid:{name}</UUID></TiffData>'


def plate(*wells, more="", size='Rows="2" Columns="3"'):
    """Write a plate of wells: row, column and IDs of images, whose samples are listed in reverse."""
    text = ""
    for row, column, images in wells:
        samples = [f'<WellSample ID="WellSample:{number}" Index="{number}"><ImageRef ID="Image:{number}"/></WellSample>'
                   for number in images]
        text += f'<Well ID="Well:{row}:{column}" Row="{row}" Column="{column}">{"".join(reversed(samples))}</Well>'
    return f'<Plate ID="Plate:1" Name="BR001" {size}>{text}{more}</Plate>'


def write_tiff(path, values, description=None):
    pages = np.broadcast_to(np.array(values, "uint16")[:, None, None], (len(values), 6, 8))
    tifffile.imwrite(path, pages, photometric="minisblack", description=description and description.encode(), metadata=None,
                     compression="zlib")  # tifffile reads plain pages of another file of a set from the first file


def read(folder, index=None):
    listing = list_folder(folder)
    [found] = ome_companion.find(listing)
    return ome_companion.read(listing, index or found, ReadOptions())


PLATE = plate((0, 0, [0, 1]), (1, 2, [2]))
FIRST = "".join(block("a.ome.tif", FirstC=place // 2, FirstZ=place % 2, IFD=place, PlaneCount=1) for place in range(4))
SECOND = block("sub/B.ome.tif", FirstZ=0, FirstC=0, IFD=1, PlaneCount=4)
THIRD = block("c0.ome.tif", FirstC=0) + block("c1.ome.tif", FirstC=1)
SITES = [image(0, FIRST), image(1, SECOND), image(2, THIRD)]


def write_set(folder, *, parts=None, name="p.companion.ome"):
    """Write a set whose pages hold 100 x image + 10 x channel + z."""
    (folder / "sub").mkdir()
    write_tiff(folder / "a.ome.tif", [0, 1, 10, 11])
    write_tiff(folder / "sub" / "b.ome.tif", [7, 100, 101, 110, 111])
    write_tiff(folder / "c0.ome.tif", [200, 201])
    write_tiff(folder / "c1.ome.tif", [210, 211])
    (folder / name).write_text(ome(*(parts or [PLATE, *SITES])), encoding="utf-8")
    return folder


@pytest.mark.parametrize("parts", [[PLATE, *SITES], [*SITES, PLATE], ["<StructuredAnnotations/>", *SITES[::-1], PLATE]])
def test_every_plane_is_on_the_page_that_the_xml_names(tmp_path, parts):
    index = read(write_set(tmp_path, parts=parts))
    assert (index.notes, index.problems) == ((), ())
    assert len(index.planes) == 3 * 2 * 2
    assert "Metadata_Acquisition" not in index.planes
    for plane in index.planes.itertuples():
        number = {("A01", "1"): 0, ("A01", "2"): 1, ("B03", "1"): 2}[plane.well, plane.site]
        pixels = tifffile.TiffFile(tmp_path / plane.path).pages[plane.frame].asarray()
        assert (pixels == 100 * number + 10 * plane.order + plane.z).all()
        assert plane.channel == ("DNA", "1")[plane.order]
        assert (plane.plate, plane.time, plane.pixel_size) == ("BR001", 0, 0.65)


def test_the_set_is_read_by_its_own_reader_alike(tmp_path):
    """tifffile reads a set of OME-TIFF by the XML in its first file: the same pages, by an independent way."""
    (tmp_path / "sub").mkdir()
    write_tiff(tmp_path / "sub" / "b.ome.tif", [7, 100, 101, 110, 111])
    write_tiff(tmp_path / "c0.ome.tif", [200, 201])
    write_tiff(tmp_path / "c1.ome.tif", [210, 211])
    xml = ome(PLATE, *SITES).replace("sub/B.", "sub/b.")
    write_tiff(tmp_path / "a.ome.tif", [0, 1, 10, 11], xml)
    index = read(tmp_path)
    assert index.problems == ()
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        series = [one.asarray().reshape(2, 2, 6, 8) for one in tiff.series]
    assert len(series) == 3
    for number, (_, site) in enumerate(index.planes.groupby(["well", "site"], sort=True)):
        for plane in site.itertuples():
            pixels = tifffile.TiffFile(tmp_path / plane.path).pages[plane.frame].asarray()
            np.testing.assert_array_equal(pixels, series[number][plane.order, plane.z])


def test_of_files_that_all_hold_the_xml_of_the_set_the_first_is_the_index(tmp_path):
    xml = ome(PLATE, *SITES).replace("sub/B.", "sub/b.")
    (tmp_path / "sub").mkdir()
    for name in ("a", "c0", "c1", "sub/b"):
        write_tiff(tmp_path / f"{name}.ome.tif", [0, 1, 2, 3], xml)
    assert ome_companion.find(list_folder(tmp_path)) == ["a.ome.tif"]


def test_a_file_s_own_xml_without_file_names_is_about_that_file(tmp_path):
    for name, well in (("x.ome.tif", 0), ("y.ome.tif", 1)):
        xml = ome(plate((0, well, [0])), image(0, "<TiffData/>", size="0.5", unit="µm"))
        write_tiff(tmp_path / name, [5, 6, 7, 8], xml)
    listing = list_folder(tmp_path)
    assert ome_companion.find(listing) == ["x.ome.tif", "y.ome.tif"]
    planes = ome_companion.read(listing, "y.ome.tif", ReadOptions()).planes
    assert planes["path"].tolist() == ["y.ome.tif"] * 4
    assert planes["frame"].tolist() == [0, 1, 2, 3]
    assert planes[["order", "z"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert set(planes["well"]) == {"A02"}
    assert set(planes["pixel_size"]) == {0.5}


def test_a_file_that_is_not_there_keeps_its_row(tmp_path):
    folder = write_set(tmp_path)
    (folder / "sub" / "b.ome.tif").unlink()
    index = read(folder)
    assert index.problems == ()
    assert "sub/B.ome.tif" in set(index.planes["path"])


def test_what_is_left_out_is_noted(tmp_path):
    empty = '<Well ID="Well:9" Row="1" Column="0"><WellSample ID="WellSample:9" Index="9"/></Well>'
    acquisitions = ('<PlateAcquisition ID="PA:0" Name="day 1"><WellSampleRef ID="WellSample:0"/></PlateAcquisition>'
                    '<PlateAcquisition ID="PA:1"><WellSampleRef ID="WellSample:2"/></PlateAcquisition>')
    title = '<Image ID="Image:99"><Pixels SizeX="16" SizeC="1"/></Image>'
    short = image(0, block("a.ome.tif", IFD=0, PlaneCount=3))
    wells = plate((0, 0, [0]), (1, 2, [2]), more=empty + acquisitions)
    index = read(write_set(tmp_path, parts=[title, short, SITES[2], wells]))
    assert index.notes == (
        "1 samples of wells have no image", "1 planes were not recorded: no page of a file holds them",
        "1 images belong to no well",
        "2 acquisitions are in one plate, as sites of their own; choose by Metadata_Acquisition")
    assert set(zip(index.planes["well"], index.planes["Metadata_Acquisition"], strict=True)) == {
        ("A01", "day 1"), ("B03", "PA:1")}
    assert len(index.planes) == 3 + 4


@pytest.mark.parametrize(("parts", "reason"), [
    ([plate((2, 0, [0])), SITES[0]], "row '2' column '0', counted from 0, is not on a plate of 2 rows and 3 columns"),
    ([plate((0, 3, [0])), SITES[0]], "is not on a plate of 2 rows and 3 columns"),
    ([plate(("A", 1, [0])), SITES[0]], "the well at row 'A' column '1'"),
    ([plate((40, 0, [0]), size=""), SITES[0]], "is not on a plate of at most 32 rows and at most 48 columns"),
    ([plate((0, 0, [5])), SITES[0]], "well A01: image Image:5 is not in the XML"),
    ([plate((0, 0, [0])), image(0, "")], "has no TiffData"),
    ([plate((0, 0, [0])), image(0, '<TiffData IFD="0"/>')], "does not name its file"),
    ([plate((0, 0, [0])), image(0, block("a.ome.tif", FirstC=2))], "TiffData lists planes -1 to"),
    ([plate((0, 0, [0])), image(0, block("a.ome.tif", IFD=0, PlaneCount=5))], "TiffData lists planes 0 to 5 of 4"),
    ([plate((0, 0, [0])), image(0, block("a.ome.tif", IFD=0, PlaneCount="x"))], "TiffData lists planes 0 to -1 of 4"),
    ([plate((0, 0, [0])), image(0, block("a.ome.tif", IFD="x", PlaneCount=1))], "TiffData has no page -1"),
    ([plate((0, 0, [0]), size='Rows="²" Columns="3"'), image(0, block("a.ome.tif", IFD=0, PlaneCount=5))],
     "TiffData lists planes 0 to 5 of 4"),
    ([plate((0, 0, [0])), SITES[0].replace('SizeC="2"', 'SizeC="2000000"')], "promises 4,000,000 planes"),
    ([plate((0, 0, [0])), SITES[0].replace('SizeC="2"', "")], "promises 0 planes"),
    ([plate((0, 0, [0])), SITES[0].replace('Name="DNA"', 'SamplesPerPixel="3"')], "has colour"),
    ([plate((0, 0, [0])), image(0, block("../a.ome.tif"))], "'../a.ome.tif' leaves the folder"),
    ([plate((0, 0, [0])), image(0, block("C:\\a.ome.tif"))], "leaves the folder"),
    ([plate((0, 0, [0])), image(0, block("/data/a.ome.tif"))], "leaves the folder")])
def test_what_does_not_fit_is_a_problem(tmp_path, parts, reason):
    index = read(write_set(tmp_path, parts=parts))
    [problem] = index.problems
    assert reason in problem.reason
    assert problem.reason.startswith("p.companion.ome: ")


def test_a_companion_that_is_cut_short_is_refused_in_one_line(tmp_path):
    folder = write_set(tmp_path)
    text = (folder / "p.companion.ome").read_text()
    for length in (200, len(text) // 2, len(text) - 8):
        (folder / "p.companion.ome").write_text(text[:length])
        with pytest.raises(DataError, match=r"ome: no readable OME-XML \(it is cut short .*copy the file") as caught:
            read(folder)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("head", [
    '<!DOCTYPE OME [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
    '<!DOCTYPE OME SYSTEM "http://x/y.dtd">',
    '<!DOCTYPE OME [<!ENTITY a SYSTEM "file:///etc/passwd">]>'])
def test_entities_and_dtds_are_refused(tmp_path, head):
    (tmp_path / "p.companion.ome").write_text(head + ome(PLATE, *SITES).partition("?>")[2])
    with pytest.raises(DataError, match="declares entities or a DTD, which are not read"):
        read(tmp_path)


def test_an_xml_without_a_plate_is_no_index(tmp_path):
    folder = write_set(tmp_path, parts=SITES)
    listing = list_folder(folder)
    assert ome_companion.find(listing) == []
    with pytest.raises(DataError, match="describes no plate with images"):
        ome_companion.read(listing, "p.companion.ome", ReadOptions())


def test_other_files_are_no_index(tmp_path):
    tifffile.imwrite(tmp_path / "image.ome.tif", np.zeros((2, 6, 8), "uint16"), ome=True)
    (tmp_path / "broken.ome.tif").write_bytes(b"II*\0....")
    (tmp_path / "notes.ome").write_text("WellSample")
    (tmp_path / "Index.idx.xml").write_text("<EvaluationInputData/>")
    assert ome_companion.find(list_folder(tmp_path)) == []
