"""OME-Zarr plates: as an independent writer makes them, as the specification shows them, and damaged."""

import json
import shutil

import numpy as np
import pytest
import zarr
from ome_zarr.format import FormatV04, FormatV05
from ome_zarr.writer import write_image, write_plate_metadata, write_well_metadata

from mscnn.core.errors import DataError
from mscnn.data.pixels.zarr_plane import read_zarr_plane
from mscnn.data.vendors import ome_zarr_plate
from mscnn.data.vendors.planes import ReadOptions, list_folder
from tests.data.vendors.folders import read_single_index

WELLS = {"A/1": ["0", "1"], "B/03": ["0"]}
WINDOW = {"min": 0, "max": 65535, "start": 0, "end": 65535}
LABELS = [{"label": name, "color": "FFFFFF", "window": WINDOW} for name in ("DNA", "Actin")]
UNITS = {"z": "micrometer", "y": "micrometer", "x": "micrometer"}


def counts_of(well, image):
    """Return counts (T, C, Z, Y, X) of which every plane has one value: well, image, t, c, z as digits."""
    values = 10000 * (1 + list(WELLS).index(well)) + 1000 * int(image) + np.arange(2)[:, None, None] * 100
    planes = values + np.arange(2)[:, None] * 10 + np.arange(3)
    return np.broadcast_to(planes[..., None, None], (2, 2, 3, 16, 24)).astype("uint16")


def write_plate(folder, version):
    fmt = {"0.4": FormatV04(), "0.5": FormatV05()}[version]
    root = zarr.create_group(folder, zarr_format=2 if version == "0.4" else 3)
    write_plate_metadata(root, ["A", "B"], ["1", "2", "03"], list(WELLS), fmt=fmt, name="BR001")
    for well, images in WELLS.items():
        group = root.require_group(well)
        write_well_metadata(group, images, fmt=fmt)
        for image in images:
            write_image(counts_of(well, image), group.require_group(image), fmt=fmt, axes="tczyx", scale_factors=[2],
                        scale={"t": 1.0, "c": 1.0, "z": 2.0, "y": 0.65, "x": 0.325}, axes_units=UNITS,
                        omero={"channels": LABELS})
    return folder


def read(folder, **options):
    return read_single_index(ome_zarr_plate, folder, **options)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("place", ["screen", "plate"])
def test_every_plane_is_where_an_independent_writer_put_it(tmp_path, version, place):
    plate = write_plate(tmp_path / "screen" / "P1.ome.zarr", version)
    root = tmp_path / "screen" if place == "screen" else plate
    index = read(root)
    assert index.format == f"OME-Zarr plate {version}"
    assert (index.notes, index.problems) == ((), ())
    assert len(index.planes) == 3 * 2 * 2 * 3
    assert set(index.planes["plate"]) == {"BR001"}
    assert sorted(set(zip(index.planes["well"], index.planes["site"], strict=True))) == [
        ("A01", "0"), ("A01", "1"), ("B03", "0")]
    for plane in index.planes.itertuples():
        pixels = read_zarr_plane(str(root / plane.path), plane.frame)
        well = {"A01": "A/1", "B03": "B/03"}[plane.well]
        assert pixels.shape == (16, 24)
        assert (pixels == counts_of(well, plane.site)[plane.time, plane.order, plane.z, 0, 0]).all()
        assert plane.channel == LABELS[plane.order]["label"]
        assert plane.pixel_size == 0.325


@pytest.mark.parametrize(("least", "level", "size"), [
    ((16, 24), 0, 0.325), ((9, 2), 0, 0.325), ((8, 12), 1, 0.65), ((1, 1), 1, 0.65), ((99, 1), 0, 0.325)])
def test_the_smallest_level_that_is_large_enough_is_read(tmp_path, least, level, size):
    index = read(write_plate(tmp_path / "p.zarr", "0.5"), level_size=least)
    names = [entry["path"] for entry in json.loads(
        (tmp_path / "p.zarr/A/1/0/zarr.json").read_text())["attributes"]["ome"]["multiscales"][0]["datasets"]]
    assert {path.rpartition("/")[2] for path in index.planes["path"]} == {names[level]}
    assert set(index.planes["pixel_size"]) == {size}
    assert index.notes == (("3 images are smaller than 99x1; their full size is used",) if least == (99, 1) else ())


def write_json(folder, attributes, *, shape=(1, 1, 8, 8), v3=False):
    """Write a group, and below it the levels that its attributes name, without pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    if v3:
        (folder / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}))
    else:
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
        (folder / ".zattrs").write_text(json.dumps(attributes))
    scales = attributes.get("ome", attributes).get("multiscales", [])
    for level in [level for scale in scales for level in scale["datasets"]]:
        (folder / level["path"]).mkdir(parents=True)
        (folder / level["path"] / ("zarr.json" if v3 else ".zarray")).write_text(json.dumps({"shape": shape}))


def with_axes(axes):
    return {"multiscales": [{"axes": list(axes), "datasets": [{"path": "0"}]}]}


IMAGE = {"multiscales": [{"axes": [{"name": name} for name in "czyx"], "datasets": [{"path": "0"}]}]}


def small_plate(folder, *, plate=None, well=None, image=None, shape=(1, 1, 8, 8)):
    """Write a plate of one image in A/1 by hand; the arguments replace metadata."""
    write_json(folder, {"plate": {"name": "P", "rows": [{"name": "A"}], "columns": [{"name": "1"}],
                                  "wells": [{"path": "A/1", "rowIndex": 0, "columnIndex": 0}], **(plate or {})}})
    write_json(folder / "A" / "1", {"well": {"images": [{"path": "0"}], **(well or {})}})
    write_json(folder / "A" / "1" / "0", {**IMAGE, **(image or {})}, shape=shape)
    return folder


def test_the_specification_s_plate_with_two_acquisitions(tmp_path, shared_data):
    example = shared_data / "formats" / "ome_zarr" / "v05_iohub"
    attributes = {name: json.loads((example / f"{name}.json").read_text())["attributes"]
                  for name in ("plate", "well", "image")}
    write_json(tmp_path / "p", attributes["plate"], v3=True)
    for well in ("A/1", "A/2", "A/3", "B/1", "B/2", "B/3"):
        write_json(tmp_path / "p" / well, attributes["well"], v3=True)
        for image in "0123":
            write_json(tmp_path / "p" / well / image, attributes["image"], v3=True, shape=(1, 2, 3, 8, 8))
    index = read(tmp_path)
    planes = index.planes
    assert index.problems == ()
    assert set(planes["plate"]) == {"test"}
    assert len(planes) == 6 * 4 * 2 * 3
    assert set(planes["pixel_size"]) == {0.5}
    assert set(zip(planes["site"], planes["Metadata_Acquisition"], strict=True)) == {
        ("0", "1"), ("1", "1"), ("2", "2"), ("3", "2")}
    assert index.notes == ("2 acquisitions are in one plate (1, 2), as sites of their own; choose by Metadata_Acquisition",)
    first = planes[(planes["well"] == "B03") & (planes["site"] == "3")]
    assert first["path"].unique().tolist() == ["p/B/3/3/0"]
    assert first["frame"].tolist() == [0, 1, 2, 3, 4, 5]
    assert first["z"].tolist() == [0, 1, 2, 0, 1, 2]
    assert first["order"].tolist() == [0, 0, 0, 1, 1, 1]


def test_the_layout_of_bioformats2raw(tmp_path):
    plate = small_plate(tmp_path / "p.zarr")
    attributes = json.loads((plate / ".zattrs").read_text())
    (plate / ".zattrs").write_text(json.dumps({"bioformats2raw.layout": 3, **attributes}))
    write_json(plate / "OME", {"series": ["A/1/0"]})
    assert read(tmp_path).planes["path"].tolist() == ["p.zarr/A/1/0/0"]


@pytest.mark.parametrize("name", [".zattrs", ".zgroup"])
def test_a_file_of_metadata_stands_for_its_folder(tmp_path, name):
    listing = list_folder(small_plate(tmp_path / "p.zarr"))
    assert ome_zarr_plate.read(listing, name, ReadOptions()).planes["path"].tolist() == ["A/1/0/0"]


@pytest.mark.parametrize(("scale", "unit", "size"), [
    ([1, 1, 3, 2.5], "nanometer", 0.0025), ([1, 1, 3, 0.002], "millimeter", 2.0), ([1, 1, 3, 2.5], None, None),
    ([1, 1, 3, 2.5], "parsec", None), ([2.5], "micrometer", None), ([1, 1, 1, 0], "micrometer", None),
    ([1, 1, 1, -1], "micrometer", None), ([1, 1, 1, 10**400], "micrometer", None), ([1, 1, 1, "1"], "micrometer", None)])
def test_the_size_of_a_pixel_is_known_only_with_a_unit(tmp_path, scale, unit, size):
    axes = [{"name": name, "unit": unit} if unit else {"name": name} for name in "czyx"]
    level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}
    index = read(small_plate(tmp_path / "p", image={"multiscales": [{"axes": axes, "datasets": [level]}]}))
    [found] = index.planes["pixel_size"]
    assert found == pytest.approx(size) if size else np.isnan(found)


def test_the_scale_of_all_levels_counts_besides_that_of_one(tmp_path):
    axes = [{"name": name, "unit": "micrometer"} for name in "czyx"]
    scales = [[{"type": "scale", "scale": [1, 1, 1, factor]}, {"type": "translation", "translation": [9] * 4}]
              for factor in (0.5, 0.25)]
    level = {"path": "0", "coordinateTransformations": scales[0]}
    image = {"multiscales": [{"axes": axes, "datasets": [level], "coordinateTransformations": scales[1]}]}
    assert read(small_plate(tmp_path / "p", image=image)).planes["pixel_size"].tolist() == [0.125]


def test_channels_without_names_are_numbers_and_those_of_one_name_get_theirs(tmp_path):
    omero = {"channels": [{"label": "GFP"}, {"label": "GFP"}, {"color": "FF0000"}]}
    index = read(small_plate(tmp_path / "p", image={"omero": omero}, shape=(4, 1, 8, 8)))
    assert index.planes["channel"].tolist() == ["GFP 0", "GFP 1", "2", "3"]
    assert index.notes == ("1 images have channels of one name; their numbers are added",)


@pytest.mark.parametrize(("changes", "reason"), [
    ({"plate": {"wells": [{"path": "A/../../x"}]}}, "leaves the plate"),
    ({"plate": {"wells": [{"path": "/etc"}]}}, "leaves the plate"),
    ({"plate": {"wells": [{"path": "A"}]}}, "outside of the plate"),
    ({"plate": {"wells": [{"path": "B/1"}]}}, "outside of the plate"),
    ({"plate": {"wells": [{"path": "A/1", "rowIndex": 1}]}}, "has rowIndex 1, and 'A' is number 0"),
    ({"plate": {"wells": [{"path": "A/1", "columnIndex": "x"}]}}, "has columnIndex x"),
    ({"plate": {"columns": [{"name": "99"}], "wells": [{"path": "A/99"}]}}, "no place on a plate"),
    ({"plate": {"wells": "A1"}}, "no list of wells"), ({"plate": {"rows": 8}}, "no list of rows"),
    ({"plate": {"columns": [{"name": "1"}, {"name": "2"}], "wells": [{"path": "A/2"}]}}, "A/2: the folder is not there"),
    ({"well": {"images": 3}}, "no list of images"), ({"well": {"images": [{"path": "7"}]}}, "7: the folder is not there"),
    ({"well": {"images": [{"path": "../0"}]}}, "leaves the well"), ({"image": {"multiscales": []}}, "lists no multiscales"),
    ({"image": {"multiscales": [{"datasets": []}]}}, "lists no levels"),
    ({"image": with_axes("yxc")}, "do not end with y x"), ({"image": with_axes("cyx")}, "4 axes, the metadata list 3"),
    ({"image": with_axes("qcyx"), "shape": (2, 1, 8, 8)}, "axis 'q' is none of"),
    ({"shape": (2**30, 2, 8, 8)}, "promises 2,147,483,648 planes"), ({"shape": (1, 1, 0, 8)}, "which is no image"),
    ({"shape": "x"}, "which is no image")])
def test_what_does_not_fit_is_a_problem(tmp_path, changes, reason):
    index = read(small_plate(tmp_path / "p", **changes))
    assert len(index.planes) == 0
    [problem] = index.problems
    assert reason in problem.reason


def test_a_level_beside_the_image_is_a_problem(tmp_path):
    plate = small_plate(tmp_path / "p")
    text = (plate / "A/1/0/.zattrs").read_text()
    for path in ("../../0/0", "/tmp", "C:\\\\x", ""):
        (plate / "A/1/0/.zattrs").write_text(text.replace('"path": "0"', f'"path": "{path}"'))
        [problem] = read(plate).problems
        assert "of a level leaves the image" in problem.reason


def test_all_that_is_damaged_is_told_at_once(tmp_path):
    plate = write_plate(tmp_path / "p.zarr", "0.4")
    (plate / "A/1/0/.zattrs").write_text('{"multiscales": [')
    shutil.rmtree(plate / "A/1/1/0" if (plate / "A/1/1/0").exists() else plate / "A/1/1/s0")
    (plate / "B/03/.zattrs").unlink()
    index = read(plate)
    assert [problem.file for problem in index.problems] == ["A/1/0", "A/1/1", "B/03"]
    assert [reason for problem in index.problems for reason in ("cut short", "is not there", "are not there")
            if reason in problem.reason] == ["cut short", "is not there", "are not there"]
    assert len(index.planes) == 0


def test_a_plate_that_is_cut_short_is_refused_in_one_line(tmp_path):
    plate = small_plate(tmp_path / "p")
    (plate / ".zattrs").write_text((plate / ".zattrs").read_text()[:-20])
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"no readable OME-Zarr \(.zattrs is cut short .*copy the plate again") as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[1]", "[" * 100000, '"plate"', "\xff", '{"plate": 1}', '{"plate": {}}'])
def test_metadata_that_are_no_plate_are_refused_in_one_line(tmp_path, text):
    write_json(tmp_path / "p", {})
    (tmp_path / "p" / ".zattrs").write_text(text, encoding="latin-1")
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_image_that_is_no_plate_is_refused_in_one_line(tmp_path):
    write_json(tmp_path / "i.zarr", IMAGE)
    with pytest.raises(DataError, match=r"holds an image without a plate; name the folder of an OME-Zarr plate"):
        read(tmp_path)


def test_zarr_beside_other_formats_is_left_alone(tmp_path):
    write_json(tmp_path / "labels.zarr", IMAGE)
    zarr.create_array(tmp_path / "a.zarr", shape=(3,), dtype="uint8")
    (tmp_path / "Index.idx.xml").touch()
    assert ome_zarr_plate.find(list_folder(tmp_path)) == []
