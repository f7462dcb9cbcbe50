"""Faults are planted one by one in a screen without any; each must be found, with its row and file, and nothing else."""

import csv
import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from mscnn.core.errors import DataError, ImageError, printable
from mscnn.data.check_screen import check_files, plane_facts, plate_maps, summary
from mscnn.data.pixels import packed
from mscnn.data.pixels.images import read_header
from mscnn.data.tables.bbbc021 import find_csvs, read_bbbc021
from mscnn.data.tables.problems import Problem, in_order, write_csv
from mscnn.data.tables.site_table import read_sites
from mscnn.data.tables.wells import well_place
from mscnn.report.plates import MAX_PLATES, OTHER, _figure
from tests.conftest import ROOT, make_table, run_python
from tests.data.tables.test_bbbc021 import image_row, write_screen

RNG = np.random.default_rng(0)
WELLS = [("B02", "a", "1", "bright"), ("B03", "a", "3", "bright"), ("B04", "b", "1", "dark"), ("AF48", "dmso", "0", "DMSO")]


def pixels(*shape: int, dtype: type = np.uint16) -> np.ndarray:
    return RNG.integers(0, np.iinfo(dtype).max, shape or (64, 64), dtype=dtype)


@pytest.fixture
def screen(tmp_path) -> Path:
    """A row each for 4 wells of 2 plates and one without mechanism: rows 2 to 10, with files 2_DNA.tif, 2_RNA.tif, ..."""
    rows = [(f"P{week}", f"Week{week}", *well) for week in (1, 2) for well in WELLS] + [("P2", "Week2", "C02", "u", "", "")]
    table = pd.DataFrame(rows, columns=["plate", "week", "well", "compound", "concentration", "moa"])
    table["site"] = "1"
    for channel in ("DNA", "RNA"):
        table[f"FileName_{channel}"] = [f"{row}_{channel}.tif" for row in range(2, 11)]
        table[f"PathName_{channel}"] = "/far/away/images"
        for name in table[f"FileName_{channel}"]:
            (tmp_path / "root" / "images").mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(tmp_path / "root" / "images" / name, pixels())
    table.to_csv(tmp_path / "root" / "sites.csv", index=False)
    return tmp_path / "root" / "sites.csv"


def here(function, paths, what):
    """Reading without processes of its own."""
    return map(function, paths)


def found_in(sites: Path, **options) -> list[Problem]:
    problems: list[Problem] = []
    table = read_sites(sites, problems=problems, **options)
    return in_order([*problems, *check_files(table, sites, here)[0]])


def change(sites: Path, row: int, **values: str) -> None:
    """Write over cells of a row, counted as in the file."""
    table = pd.read_csv(sites, dtype=str, keep_default_na=False)
    table.loc[row - 2, list(values)] = list(values.values())
    table.to_csv(sites, index=False, quoting=csv.QUOTE_ALL)


def png(width: int, height: int, kind: int = 0) -> bytes:
    """A PNG of hardly any bytes with the header of a picture of any size. kind: 0 grey, 6 RGBA."""
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")


def write_tiff_bomb(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((16, 16), np.uint16), compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as tiff:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tiff.pages[0].tags[name].overwrite(60_000)


def lose_strip(path: Path) -> None:
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags["StripByteCounts"].overwrite(0)


def cut_png(path: Path) -> None:
    Image.fromarray(pixels()).save(path, format="png")
    path.write_bytes(path.read_bytes()[:4000])


def saturate(path: Path, number: int) -> None:
    counts = pixels() // 2
    counts.flat[:number] = 40_000
    tifffile.imwrite(path, counts)


@pytest.mark.parametrize(("plant", "reason"), [
    (lambda path: path.unlink(), "missing"),
    (lambda path: path.write_text("not an image"), "unreadable"),
    (lambda path: path.write_bytes(path.read_bytes()[:-5]), "cut short"),
    (lose_strip, "damaged or sparse: strips or tiles are not there"),
    (cut_png, "truncated"),
    (lambda path: tifffile.imwrite(path, pixels(64, 32)), "1 x 64x32 uint16, most are 1 x 64x64 uint16"),
    (lambda path: tifffile.imwrite(path, pixels(dtype=np.uint8)), "1 x 64x64 uint8, most are"),
    (lambda path: tifffile.imwrite(path, pixels(3, 64, 64), photometric="minisblack"), "3 x 64x64 uint16, most are"),
    (lambda path: tifffile.imwrite(path, np.zeros((64, 64), np.float32)), "float32 samples"),
    (lambda path: tifffile.imwrite(path, np.full((64, 64), 7, np.uint16)), "empty: all pixels are 7"),
    (lambda path: saturate(path, 205), "saturated: 5.0% of the pixels are at the maximum of 40000"),  # 4,096 x 5 % = 204.8
    (lambda path: tifffile.imwrite(path, tifffile.imread(path.with_name("2_RNA.tif")), compression="zlib"),
     "the same pixels as {folder}/2_RNA.tif, row 2 channel RNA"),
    (write_tiff_bomb, "promises 3,600,000,000 samples"),
    (lambda path: path.write_bytes(png(50_000, 50_000)), "DecompressionBombError"),
    (lambda path: (path.unlink(), os.mkfifo(path)), "not a regular file"),
    (lambda path: (path.unlink(), path.symlink_to("/etc/hostname")), "a link to /etc/hostname, outside of the image root"),
])
def test_a_fault_of_a_file_is_found_with_its_row_and_file(screen, plant, reason):
    path = screen.parent / "images" / "5_DNA.tif"
    plant(path)
    problem, = found_in(screen)
    assert (problem.row, problem.file) == (5, str(path))
    assert reason.format(folder=path.parent) in problem.reason


def test_what_is_nearly_a_fault_is_none(screen):
    folder = screen.parent / "images"
    saturate(folder / "5_DNA.tif", 204)
    (folder / "6_DNA.tif").rename(folder / "elsewhere.tif")
    (folder / "6_DNA.tif").symlink_to(folder / "elsewhere.tif")
    assert found_in(screen) == []


@pytest.mark.parametrize(("values", "row", "file", "reason"), [
    ({"FileName_RNA": "5_DNA.tif"}, 5, "images/5_DNA.tif", "the same file as row 5 channel DNA"),
    ({"FileName_RNA": "3_RNA.tif"}, 5, "images/3_RNA.tif", "the same file as row 3 channel RNA"),
    ({"well": "AG01"}, 5, "sites.csv", "'AG01' is no place"),
    ({"compound": "b", "moa": "odd"}, 5, "sites.csv", "'b' has more than one mechanism: 'dark' in row 4, 'odd' in row 5"),
    ({"concentration": "low"}, 5, "sites.csv", "'low' is no concentration"),
    ({"plate": ""}, 5, "sites.csv", "no plate"),
    ({"well": "B02", "compound": "a", "concentration": "1", "moa": "bright"}, 5, "sites.csv", "P1 B02 site 1"),
    ({"FileName_RNA": "../sites.csv"}, 5, "../sites.csv", "leaves the image root"),
    ({"PathName_RNA": "a\\..\\.."}, 5, "5_RNA.tif", "leaves the image root"),
    ({"FileName_RNA": ""}, 5, "", "is empty"),
    ({"FileName_RNA": "a\nb.tif"}, 5, "a\nb.tif", "a line break"),
    ({"PathName_RNA": "a\rb"}, 5, "5_RNA.tif", "a line break"),
    ({"FileName_RNA": "a\0b.tif"}, 5, "a\0b.tif", "a NUL"),
    ({"FileName_RNA": "/etc/hostname"}, 5, "images/etc/hostname", "missing"),  # looked for below the root, not there
])
def test_a_fault_of_the_table_is_found_with_its_row(screen, values, row, file, reason):
    change(screen, row, **values)
    problem = next(problem for problem in found_in(screen) if problem.row == row)
    assert problem.file == file or problem.file == str(screen.parent / file)
    assert reason in problem.reason
    assert not [other for other in found_in(screen) if other.kind != problem.kind]


@pytest.mark.parametrize("link", ["images", "images/deep"])
def test_folders_that_are_links_out_of_the_root_are_not_followed_in_training_either(screen, link, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("2_DNA.tif", "5_DNA.tif"):
        (outside / name).write_bytes((screen.parent / "images" / name).read_bytes())
    if link == "images":
        (screen.parent / "images").rename(tmp_path / "moved")
    (screen.parent / link).symlink_to(outside)
    change(screen, 5, PathName_DNA=f"/far/away/{link}")
    refused = [problem.row for problem in found_in(screen) if "outside of the image root" in problem.reason]
    assert set(refused) == ({5} if link == "images/deep" else set(range(2, 11)))
    with pytest.raises(DataError, match="links that leave the image root") as refusal:
        read_sites(screen)
    assert f"row 5: {screen.parent / link / '5_DNA.tif'}: a link to {outside / '5_DNA.tif'}" in str(refusal.value)


def test_an_image_root_that_is_a_link_itself_is_followed(screen, tmp_path):
    (tmp_path / "link").symlink_to(screen.parent)
    assert found_in(screen, image_root=tmp_path / "link") == []


@pytest.mark.parametrize(("role", "name", "other"), [
    ("compound", "b", "B"), ("moa", "dark", "d\u0430rk"), ("plate", "P1", "P\uff11"), ("week", "Week1", "Week\u200b1"),
    ("moa", "bright", "bright\u00a0")])
def test_each_spelling_of_a_name_is_shown_apart(screen, role, name, other):
    rows = pd.read_csv(screen, dtype=str, keep_default_na=False)
    row = rows.index[rows[role] == name][-1]
    rows.loc[row, role] = other
    rows.to_csv(screen, index=False)
    if other.strip() == name:  # blanks at the ends are no spelling
        assert found_in(screen) == []
        return
    problem, = (problem for problem in found_in(screen) if problem.row == row + 2 and "also written" in problem.reason)
    assert problem.reason.endswith(f"{other!a} is also written {name!a}")
    assert "written in more than one way; choose one spelling" in problem.kind


@pytest.mark.parametrize(("row", "values", "reason"), [
    (3, {"well": "B02", "site": "2"}, "plate 'P1' well 'B02' has more than one concentration: 1.0 in row 2, 3.0 in row 3"),
    (4, {"well": "B02", "site": "2"}, "plate 'P1' well 'B02' has more than one compound: 'a' in row 2, 'b' in row 4"),
    (4, {"week": "Week2"}, "plate 'P1' has more than one week: 'Week1' in row 2, 'Week2' in row 4"),
    (4, {"week": ""}, "plate 'P1' has more than one week: 'Week1' in row 2, '' in row 4"),
    (4, {"moa": "odd"}, "compound 'b' has more than one mechanism: 'odd' in row 4, 'dark' in row 8")])
def test_rows_that_contradict_each_other_are_both_named(screen, row, values, reason):
    change(screen, row, **values)
    lines = [problem for problem in found_in(screen) if problem.reason == reason]
    assert len(lines) == 2, found_in(screen)
    with pytest.raises(DataError, match=re.escape(reason)):  # and training refuses it
        read_sites(screen)


def test_doses_that_differ_by_rounding_are_one(screen):
    change(screen, 2, concentration="0.30000000000000004")
    change(screen, 6, concentration="0.3")
    assert read_sites(screen).frame["concentration"][[0, 4]].tolist() == [0.3, 0.3]


def test_training_refuses_all_kinds_of_faults_of_a_table_at_once(screen):
    change(screen, 3, concentration="low")
    change(screen, 4, FileName_DNA="../x.tif")
    change(screen, 7, compound="A")
    change(screen, 9, well="")
    with pytest.raises(DataError) as refusal:
        read_sites(screen)
    for part in ("concentrations are not numbers of 0 or more: 1;", "leave the image root: 1;", "more than one way: 2;",
                 "values are empty: 1;", "row 3: 'low'", "row 4: '/far/away/images' '../x.tif'",
                 "'A' is also written 'a'", "row 9: no well"):
        assert part in str(refusal.value)


def test_copies_within_a_file_of_several_channels_are_found(tmp_path):
    site = pixels(3, 64, 64)
    site[2] = site[0]
    tifffile.imwrite(tmp_path / "1.tif", site, photometric="minisblack")
    tifffile.imwrite(tmp_path / "2.tif", pixels(3, 64, 64), photometric="minisblack")
    (tmp_path / "sites.csv").write_text("filename,plate,well,compound,site\n1.tif,P,B02,x,1\n2.tif,P,B02,x,2\n")
    problem, = found_in(tmp_path / "sites.csv")
    assert (problem.row, problem.file) == (2, str(tmp_path / "1.tif"))
    assert problem.reason == f"channel 3 of 3: the same pixels as {tmp_path}/1.tif, row 2, channel 1 of 3"
    assert "3 channels, but 2 are named" in found_in(tmp_path / "sites.csv", channels=("a", "b"))[0].reason


def test_pixels_are_only_alike_in_the_same_shape_and_type():
    flat = np.arange(64, dtype=np.uint8)
    digests = {plane_facts(plane).digest for plane in
               (flat.reshape(8, 8), flat.reshape(4, 16), flat.view(np.uint16).reshape(8, 4))}
    assert len(digests) == 3
    assert plane_facts(flat.reshape(8, 8))[1:] == (0, 63, 1 / 64)


@pytest.mark.parametrize(("well", "place"), [("A1", (0, 0)), ("b02", (1, 1)), ("P24", (15, 23)), ("AF48", (31, 47)),
                                             ("AG1", None), ("A49", None), ("A0", None), ("02", None), ("BA1", None)])
def test_wells_are_places_on_plates_of_up_to_1536(well, place):
    assert well_place(well) == place


def test_bbbc021s_annotations_are_checked_too(tmp_path):
    moa = "compound,concentration,moa\nx,0.3,M\nx,0.3,N\ny,1,M\nz,low,M\n"
    csvs, problems = write_screen(tmp_path, image_row(dose="0.3") + image_row("B03", dose="much"), moa), []
    table = read_bbbc021(*csvs, problems=problems)
    places = [(problem.row, Path(problem.file).name, problem.reason.split(":")[0]) for problem in problems]
    assert places == [
        (3, "BBBC021_v1_image.csv", "'much' is no concentration"), (5, "BBBC021_v1_moa.csv", "'low' is no concentration"),
        (2, "BBBC021_v1_moa.csv", "x 0.3"), (3, "BBBC021_v1_moa.csv", "x 0.3"), (4, "BBBC021_v1_moa.csv", "y 1")]
    assert "annotated, but no row" in problems[-1].reason
    assert table.frame.index.tolist() == [2, 3]
    with pytest.raises(DataError) as refusal:  # without the one about images: a part of the screen trains
        read_bbbc021(*csvs)
    assert len(refusal.value.details) == 4


BOMBS = """
import resource, sys
from mscnn.data.pixels.images import read_header, read_site
from mscnn.core.errors import ImageError
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
for path in sys.argv[1:]:
    for read in (read_header, lambda path: read_site([path])):
        try:
            read(path)
        except ImageError as problem:
            print(problem)
print((peak() - before) // 1024)
"""


def test_bombs_are_refused_before_anything_is_allocated(tmp_path):
    write_tiff_bomb(tmp_path / "a.tif")
    (tmp_path / "b.png").write_bytes(png(50_000, 50_000))
    (tmp_path / "c.png").write_bytes(png(9_000, 9_000, kind=6))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1000
    command = [sys.executable, "-c", BOMBS, *map(str, sorted(tmp_path.iterdir()))]
    *lines, growth = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.splitlines()
    assert [line.split(": ")[0] for line in lines] == [str(tmp_path / name) for name in
                                                       ("a.tif", "a.tif", "b.png", "b.png", "c.png", "c.png")]
    assert "promises 3,600,000,000 samples" in lines[0]
    assert "DecompressionBombError" in lines[2]
    assert "promises 324,000,000 samples" in lines[4]
    assert int(growth) < 32  # MiB; the smallest of the three would take 309


def test_the_limit_of_samples_is_that_of_the_largest_file(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", pixels(64, 64))
    monkeypatch.setattr("mscnn.data.pixels.images.MAX_SAMPLES", 64 * 64)
    assert read_header(str(tmp_path / "a.tif")).height == 64
    monkeypatch.setattr("mscnn.data.pixels.images.MAX_SAMPLES", 64 * 64 - 1)
    with pytest.raises(ImageError, match="promises 4,096 samples"):
        read_header(str(tmp_path / "a.tif"))


def run_check(*arguments: object):
    return run_python("-m", "mscnn", "check", *arguments)


def test_a_screen_without_fault_is_summed_up_and_drawn(screen, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "problems.csv").write_text("of an earlier check")
    result = run_check("--sites", screen, "--out", tmp_path / "out", "--image-size", "128x128")
    assert (result.returncode, result.stderr) == (0, "")
    for line in ("fields      9 of 2 x 64x64 uint16, 18 images", "plates      2", "weeks       2",
                 "compounds   3 beside DMSO", "treatments  4", "doses       1 to 3 µM", "  DMSO       4",
                 "  bright     8", "  dark       4", "  not known  2"):
        assert line in result.stdout.splitlines()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "mscnn_check_mqc.json", "mscnn_plates_mqc.json", "plate_maps.csv", "plate_maps.png", "quality.csv"]
    with Image.open(tmp_path / "out" / "plate_maps.png") as picture:
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 10
    maps = pd.read_csv(tmp_path / "out" / "plate_maps.csv")
    last = maps[maps["plate"] == "P1"].iloc[-1]
    assert last[["well", "row", "column", "compound", "fields"]].tolist() == ["AF48", 31, 47, "dmso", 1]


def test_faults_of_several_kinds_are_all_listed_in_one_run(screen, tmp_path):
    folder = screen.parent / "images"
    (folder / "3_DNA.tif").unlink()
    cut_png(folder / "4_RNA.tif")
    tifffile.imwrite(folder / "5_DNA.tif", pixels(64, 32))
    tifffile.imwrite(folder / "6_DNA.tif", np.zeros((64, 64), np.uint16))
    change(screen, 7, concentration="low", FileName_RNA="../x.tif")
    (folder / "7_DNA.tif").unlink()  # the rest of a row that is wrong is looked at all the same
    change(screen, 8, well="=1+1")
    result = run_check("--sites", screen, "--out", tmp_path / "out", "--image-size", "128x128")
    assert result.returncode == 3
    with (tmp_path / "out" / "problems.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["row", "file", "reason"]
    assert [(row, Path(file).name) for row, file, _ in rows[1:]] == [
        ("3", "3_DNA.tif"), ("4", "4_RNA.tif"), ("5", "5_DNA.tif"), ("6", "6_DNA.tif"),
        ("7", "x.tif"), ("7", "7_DNA.tif"), ("7", "sites.csv"), ("8", "sites.csv")]
    assert f"{screen}: 8 problems, all listed in {tmp_path / 'out' / 'problems.csv'}" in result.stderr
    for line in (f"row 3: {folder / '3_DNA.tif'}: missing", "row 7: 'low' is no concentration"):
        assert f"  {line}" in result.stderr
    assert "files are missing: 2 in 2 of 2 plates: P1, P2; name the folder" in result.stdout
    assert not (tmp_path / "out" / "plate_maps.png").exists()


def test_what_training_will_need_is_named_though_it_is_no_fault(screen, tmp_path):
    """Without DMSO there are no untreated wells; pixels have two sizes."""
    sizes = ["0.65"] * 5 + ["0.325"] * 4
    pd.read_csv(screen, dtype=str, keep_default_na=False).assign(Metadata_PixelSize=sizes).to_csv(screen, index=False)
    change(screen, 5, compound="c", moa="odd")
    change(screen, 9, compound="c", moa="odd")
    found = run_check("--sites", screen, "--out", tmp_path / "out", "--image-size", "128x128").stdout
    assert "pixels have more than one size: 0.325 µm (4 sites), 0.65 µm (5 sites); bring images to one magnif" in found
    assert "no well of DMSO: the screen seems to have no untreated wells; name their compound with --control" in found


def test_a_table_or_folder_that_is_not_there_is_named_as_such(screen, tmp_path):
    absent = tmp_path / "absent"
    for words, message in ((("--sites", absent), "absent: there is no such file"),
                           (("--sites", screen, "--image-root", absent), f"{absent}: there is no such folder")):
        result = run_check(*words, "--out", tmp_path / "out")
        assert (result.returncode, message in result.stderr) == (3, True), result.stderr
    with pytest.raises(DataError, match="absent: there is no such folder; name one that `mscnn pack` wrote"):
        packed.describe(absent)


def test_a_table_that_cannot_be_read_and_settings_that_cannot_work_have_their_exit_codes(screen, tmp_path):
    screen.write_text(screen.read_text() + "one,value\n")
    result = run_check("--sites", screen, "--out", tmp_path / "out")
    assert (result.returncode, "row 11: 2 values" in result.stderr) == (3, True)
    assert "row 11: 2 values" in (tmp_path / "out" / "problems.csv").read_text()
    assert run_check("--sites", screen, "--out", screen).returncode == 2
    assert run_check("--packed", screen.parent).returncode == 2
    screen.rename(tmp_path / "problems.csv")
    assert run_check("--sites", tmp_path / "problems.csv", "--out", tmp_path).returncode == 2
    assert (tmp_path / "problems.csv").exists()


def test_no_cell_becomes_a_formula_and_no_name_a_line_of_its_own(tmp_path):
    path = tmp_path / "problems.csv"
    cells = ["=1", "+1", "-1", "@x", " =1", "a=1", "a\nb"]
    write_csv([Problem(None, cell, cell, "") for cell in cells], path)
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    assert [row[1] for row in rows] == [row[2] for row in rows] == ["'=1", "'+1", "'-1", "'@x", "' =1", "a=1", "a\\nb"]
    assert printable("µ\0\x1b[31m") == "µ\\x00\\x1b[31m"


def test_the_official_tables_join_with_a_tree_of_two_plates_resolving_folders_only(shared_data, tmp_path, monkeypatch):
    image_csv, moa_csv = find_csvs(shared_data / "bbbc021_csv")
    images, moa = (pd.read_csv(path, dtype=str, keep_default_na=False) for path in (image_csv, moa_csv))
    images = images[images["Image_Metadata_Plate_DAPI"].isin(["Week1_22123", "Week4_27481"])]
    shown = set(zip(images["Image_Metadata_Compound"], images["Image_Metadata_Concentration"].astype(float), strict=True))
    moa = moa[[key in shown for key in zip(moa["compound"], moa["concentration"].astype(float), strict=True)]]
    images.to_csv(tmp_path / image_csv.name, index=False)
    moa.to_csv(tmp_path / moa_csv.name, index=False)
    for channel in ("DAPI", "Tubulin", "Actin"):
        for folder, name in zip(images[f"Image_PathName_{channel}"], images[f"Image_FileName_{channel}"], strict=True):
            path = tmp_path / Path(folder).name / name
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels(8, 8)).save(path, format="png")
    resolved, realpath = [], os.path.realpath
    monkeypatch.setattr("os.path.realpath", lambda path: resolved.append(path) or realpath(path))
    problems: list[Problem] = []
    table = read_bbbc021(*find_csvs(tmp_path), taxol_controls="keep", problems=problems)
    assert len(resolved) <= 3  # the root and two folders of 1,440 files
    found, site = check_files(table, tmp_path, here)
    assert problems + found == []
    assert (len(table), site, len(plate_maps(table))) == (480, (3, 8, 8, "uint16"), 120)
    assert "images of each mechanism\n" in summary(table, site)


def test_the_original_images_pass(shared_data):
    assert found_in(shared_data / "bbbc021_original_tiff" / "labels.csv") == []


def test_plate_maps_state_their_question_and_n_and_give_each_mechanism_a_mark_of_its_own():
    rows = [("P000", f"B{number + 1}", f"c{number}", f"m{number:02}")
            for number in range(30)] + [("P001", "A01", "dmso", "DMSO"), ("P001", "A02", "u", "")]
    maps = plate_maps(make_table(rows, "plate well compound mechanism"))
    figure = _figure(maps, "DMSO")
    title, labels = figure.get_suptitle(), [text.get_text() for text in figure.legends[0].get_texts()]
    assert title == "Which mechanism is in which well?\nn = 2 plates, 32 wells, 32 fields"
    assert labels[-3:] == ["DMSO (1)", f"{OTHER} (6)", "not known (1)"]
    marks = {(tuple(drawn.get_facecolor().ravel()), drawn.get_paths()[0].vertices.tobytes())
             for drawn in figure.axes[0].collections}
    assert len(marks) == len(labels) == 24 + 3
    many = pd.concat([maps.assign(plate=f"Q{number}") for number in range(MAX_PLATES)])
    assert f"n = {MAX_PLATES:,} plates" in _figure(many, "DMSO").get_suptitle()
    assert "the first" in _figure(pd.concat([many, maps]), "DMSO").get_suptitle()
