import errno
import gc
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch

from mscnn.cli.pack import PackSettings
from mscnn.core import config
from mscnn.core.errors import DataError, ImageError, UsageError
from mscnn.data.pixels import pack as packing
from mscnn.data.pixels import packed, plate_file
from mscnn.data.pixels.augment import Jitter
from mscnn.data.pixels.dataset_scale import DatasetScale
from mscnn.data.pixels.images import Header, read_site
from mscnn.data.pixels.read_pixels import read_pixels
from mscnn.data.pixels.reader import FieldReader
from mscnn.data.tables.image_source import ImageSource, Plane, pack_source
from mscnn.data.tables.site_table import SiteTable
from mscnn.distributed.world import World
from mscnn.training import checkpoint, prepare_data
from tests.conftest import ROOT, make_table, run_python

PLATES, SITES, SHAPE = ("P10", "P2"), 3, (2, 128, 136)
RECORD = -(-2 * 128 * 136 * 2 // 4096) * 4096


def write_images(folder: Path, dtype: str = "uint16") -> SiteTable:
    """Two plates of three sites, whose rows alternate, with a file a channel; pixels are noise."""
    rng, rows = np.random.default_rng(0), []
    folder.mkdir(exist_ok=True)
    for site in range(SITES):
        for plate in PLATES:
            names = [str(folder / f"{plate}_{site}_{channel}.tif") for channel in range(2)]
            for name in names:
                tifffile.imwrite(name, rng.integers(0, np.iinfo(dtype).max, SHAPE[1:], dtype=dtype, endpoint=True))
            treatment = ("taxol", "m") if site else ("DMSO", "")
            rows.append((*treatment, plate, f"B0{site + 2}", float(site), tuple(names)))
    return SiteTable(make_table(rows, "compound mechanism plate well concentration files").frame, ("DNA", "Actin"))


def pack(table: SiteTable, out: Path, dtype: str = "uint16", **wishes) -> int:
    return packing.pack(table, Header(*SHAPE, dtype), out, screen="sites", workers=2, **wishes)


@pytest.fixture
def pair(tmp_path) -> tuple[SiteTable, Path]:
    """A table and its pack."""
    table = write_images(tmp_path / "images")
    pack(table, tmp_path / "pack")
    return table, tmp_path / "pack"


# What comes back

@pytest.mark.parametrize("dtype", ["uint16", "uint8"])
def test_a_pack_gives_back_table_pixels_and_fingerprint(tmp_path, dtype):
    table = write_images(tmp_path / "images", dtype)
    pack(table, tmp_path / "pack", dtype)
    again = packed.read_packed(tmp_path / "pack")
    assert again.channels == table.channels
    assert again.fingerprint() == table.fingerprint()
    assert prepare_data.with_shape(again, (128, 128), World()).shape == (2, 128, 128)
    for site in range(len(table)):
        pixels = read_pixels(again, site)
        np.testing.assert_array_equal(pixels, read_site(table.frame["files"][site]))
        assert pixels.dtype == np.dtype(dtype)
    assert packed.verify(again) == []


@pytest.mark.parametrize("mode", ["dataset", "field"])
def test_minibatches_are_those_of_the_images_to_the_last_bit(pair, mode):
    table, folder = pair
    normalisation = DatasetScale(mode, (1000.0, 30.5), (77.7, 3.1))
    jitter = Jitter(flips=True, quarter_turns=True, gain=0.3, offset=0.3)
    for size in (None, (128, 128), (256, 256)):
        direct, stored = (FieldReader(one, normalisation, size) for one in (table, packed.read_packed(folder)))
        for sites in ([3, 0, 5], [1], range(6)):
            for how in ((None,), (jitter, (7, 1))):
                torch.testing.assert_close(stored.read(np.array(sites), *how), direct.read(np.array(sites), *how),
                                           rtol=0, atol=0)


def test_the_layout_is_the_one_that_is_documented(pair):
    table, folder = pair
    assert sorted(path.name for path in folder.iterdir()) == ["index.parquet", "pack.json", "plate-0001.fields",
                                                              "plate-0002.fields"]
    description = json.loads((folder / "pack.json").read_text())
    assert description["plates"] == {"plate-0001.fields": "P2", "plate-0002.fields": "P10"}  # in natural order
    raw = (folder / "plate-0001.fields").read_bytes()
    assert len(raw) == 4096 + 3 * (RECORD + 4)
    magic, version, records, dtype, *numbers = struct.unpack("<8sII8sIIII64sII", raw[:112])
    assert (magic, version, records, dtype.rstrip(b"\0")) == (b"MSCNNPCK", 1, 3, b"<u2")
    assert numbers[:4] == [*SHAPE, 4096]
    for record in range(3):
        site = read_site(table.frame["files"][2 * record + 1])  # P2 is in every second row
        start = 4096 + record * RECORD
        assert raw[start:start + site.nbytes] == site.astype("<u2").tobytes()
        assert struct.unpack_from("<I", raw, 4096 + 3 * RECORD + 4 * record)[0] == zlib.crc32(site.astype("<u2").tobytes())
    assert numbers[5] == zlib.crc32(raw[-12:])
    assert numbers[6] == zlib.crc32(raw[:108])


def test_blocks_of_pixels_are_averaged_and_rounded(tmp_path):
    table = write_images(tmp_path / "images")
    pack(table, tmp_path / "small", blocks=(4, 4))
    small = packed.read_packed(tmp_path / "small")
    assert packed.inspect(small)[0] == Header(2, 32, 34, "uint16")
    site = read_site(table.frame["files"][4]).astype(float)
    assert read_pixels(small, 4)[1, 2, 3] == round(site[1, 8:12, 12:16].mean())
    pack(table, tmp_path / "squeezed", blocks=(4, 8))
    squeezed = packed.read_packed(tmp_path / "squeezed")
    assert packed.inspect(squeezed)[0] == Header(2, 32, 17, "uint16")
    assert read_pixels(squeezed, 4)[1, 2, 3] == round(site[1, 8:12, 24:32].mean())
    assert [packed.describe(tmp_path / name).downscale for name in ("small", "squeezed")] == [4, "4x8"]
    with pytest.raises(UsageError, match="downscale must divide both sides of a field, 128x136, got 16"):
        pack(table, tmp_path / "odd", blocks=(16, 16))
    for text, blocks in (("2", (2, 2)), ("4x5", (4, 5)), ("4X5", (4, 5))):
        assert PackSettings(sites="x", out="x", downscale=text).blocks() == blocks
    for text in ("0", "4x", "x5", "4x5x6", "-2", "2.5", ""):
        with pytest.raises(UsageError, match=f"must be a number of pixels, or HEIGHTxWIDTH like 4x5, got '{text}'"):
            PackSettings(sites="x", out="x", downscale=text)


def test_sites_without_a_mechanism_are_counted_when_a_pack_leaves_them_out(tiny_screen, tmp_path):
    sites = tiny_screen
    rows = pd.read_csv(sites, dtype=str)
    rows.loc[rows["Metadata_Compound"] == "c", "Metadata_MOA"] = ""
    rows.to_csv(sites, index=False)
    done = run_python("-m", "mscnn", "pack", "--sites", sites, "--out", tmp_path / "pack")
    assert "3 of 12 sites are left out: their mechanism is not known; --only all packs them" in done.stdout
    rows.loc[rows["Metadata_Compound"] != "DMSO", "Metadata_MOA"] = ""
    rows.to_csv(sites, index=False)
    done = run_python("-m", "mscnn", "pack", "--sites", sites, "--out", tmp_path / "none")
    assert done.returncode == 3
    assert "no treated site has a known mechanism; name its column with --columns mechanism=COLUMN" in done.stderr


def test_a_pack_can_be_packed_again(pair, tmp_path):
    table, folder = pair
    half = ("--out", tmp_path / "half", "--downscale", 2, "--only", "all")
    done = run_python("-m", "mscnn", "pack", "--packed", folder, *half)
    assert done.returncode == 0, done.stderr
    pack(table, tmp_path / "direct", blocks=(2, 2))
    halves = [packed.read_packed(tmp_path / name) for name in ("half", "direct")]
    for site in range(6):
        np.testing.assert_array_equal(*(read_pixels(half, site) for half in halves))


def test_what_was_read_does_not_stay_in_memory(pair):
    fields = FieldReader(packed.read_packed(pair[1]), DatasetScale("dataset", (0.0, 0.0), (1.0, 1.0)), None)
    fields.read(np.arange(6))
    tracemalloc.start()
    fields.read(np.arange(6))
    left, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert left < RECORD


def test_records_are_read_by_many_threads_at_once(pair):
    table, folder = pair
    again, images = packed.read_packed(folder), [read_site(files) for files in table.frame["files"]]
    with ThreadPoolExecutor(8) as pool:
        sites = [*range(6)] * 50
        for site, pixels in zip(sites, pool.map(lambda site: read_pixels(again, site), sites), strict=True):
            np.testing.assert_array_equal(pixels, images[site])


def test_a_record_that_comes_in_pieces_is_put_together(pair, monkeypatch):
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, buffers, start: preadv(file, [buffers[0][:1000]], start))
    assert packed.verify(packed.read_packed(pair[1])) == []


def test_a_plate_file_is_closed_with_the_last_that_uses_it(pair):
    path = pair[1] / "plate-0001.fields"
    open_files = len(os.listdir("/proc/self/fd"))
    plate = plate_file.PlateFile(path)
    assert len(os.listdir("/proc/self/fd")) == open_files + 1
    del plate
    os.truncate(path, 60)
    with pytest.raises(DataError, match="its header is damaged"):
        plate_file.PlateFile(path)
    gc.collect()  # the refusal's traceback held the second
    assert len(os.listdir("/proc/self/fd")) == open_files


# What is refused, by name

def damage(path: Path, place: int, bits: int = 1) -> None:
    raw = bytearray(path.read_bytes())
    raw[place] ^= bits
    path.write_bytes(raw)


@pytest.mark.parametrize("place", [0, SHAPE[1] * SHAPE[2], 2 * SHAPE[0] * SHAPE[1] * SHAPE[2] - 1])
def test_a_flipped_bit_names_its_record(pair, place):
    damage(pair[1] / "plate-0002.fields", 4096 + RECORD + place, 0x10)
    table = packed.read_packed(pair[1])
    read_pixels(table, 0)
    with pytest.raises(ImageError, match=r"plate-0002.fields: record 1 is damaged \(CRC-32 \w{8}, written as \w{8}\);"):
        read_pixels(table, 2)
    assert [what.partition("(")[0] for what in packed.verify(table)] == \
        [f"{pair[1]}/plate-0002.fields: record 1 is damaged "]


@pytest.mark.parametrize(("size", "message"), [
    (4096 + RECORD + 7, r"its header promises \d+,\d+; record 1 of 3 is the first that is not whole"),
    (4096 + 3 * RECORD + 11, "its header promises"), (60, "its header is damaged, or it is no plate file"),
    (0, "its header is damaged, or it is no plate file")])
def test_a_file_that_was_cut_short_names_the_first_record_that_is_not_there(pair, size, message):
    path = pair[1] / "plate-0001.fields"
    os.truncate(path, size)
    with pytest.raises(DataError, match="things are wrong") as refusal:
        prepare_data.with_shape(packed.read_packed(pair[1]), (128, 128), World())
    (line,) = refusal.value.details
    assert line.startswith(f"{path}: ")
    assert message.split("promises")[0] in line
    if "record" in message:
        assert "record 1 of 3 is the first that is not whole" in line


@pytest.mark.parametrize("size", [0, 4096 + 7, 4096 + RECORD, 4096 + 3 * RECORD + 11])
def test_a_file_that_is_cut_short_while_it_is_used_is_named(pair, size):
    path, table = pair[1] / "plate-0001.fields", packed.read_packed(pair[1])
    read_pixels(table, 1)
    whole = path.stat().st_size
    os.truncate(path, size)
    with pytest.raises(ImageError, match=rf"^{path}: was cut short while it was in use, to {size:,} bytes of {whole:,};"):
        read_pixels(table, 1)


def test_a_record_that_is_gone_when_it_is_read_is_named_though_the_file_has_its_size_again(pair, monkeypatch):
    table = packed.read_packed(pair[1])
    read_pixels(table, 1)
    monkeypatch.setattr(os, "preadv", lambda file, buffers, start: 0)  # as at the end of the file
    with pytest.raises(ImageError, match=r"plate-0001.fields: was cut short while it was in use"):
        read_pixels(table, 1)


def test_an_error_of_the_disk_names_file_and_record(pair, monkeypatch):
    table = packed.read_packed(pair[1])
    read_pixels(table, 3)

    def fail(file, buffers, start):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(ImageError, match=r"plate-0001.fields: record 1 cannot be read \(Input/output error\); copy"):
        read_pixels(table, 3)


def test_damage_to_headers_and_tables_is_noticed(pair):
    path = pair[1] / "plate-0001.fields"
    for place, message in ((20, "its header is damaged"), (4096 + 3 * RECORD + 2, "its table of CRC-32s is damaged")):
        damage(path, place)
        with pytest.raises(DataError, match=message):
            plate_file.PlateFile(path)
        damage(path, place)
    plate_file.PlateFile(path)


def test_a_file_of_another_version_is_not_guessed_at(pair):
    path = pair[1] / "plate-0001.fields"
    raw = bytearray(path.read_bytes())
    raw[8] = 2
    raw[108:112] = struct.pack("<I", zlib.crc32(raw[:108]))
    path.write_bytes(raw)
    with pytest.raises(DataError, match="version 2 with pages of 4096, this program reads version 1"):
        plate_file.PlateFile(path)


def test_a_stale_index_names_the_first_record_that_it_does_not_fit(pair, tmp_path):
    """A plate file that was packed from other images, with the old index."""
    other = write_images(tmp_path / "images")
    tifffile.imwrite(other.frame["files"][3][0], np.zeros(SHAPE[1:], np.uint16))  # P2, record 1
    pack(other, tmp_path / "other")
    (tmp_path / "other/plate-0001.fields").replace(pair[1] / "plate-0001.fields")
    header, wrong = packed.inspect(packed.read_packed(pair[1]))
    assert header == Header(*SHAPE, "uint16")
    (line,) = wrong
    assert "plate-0001.fields: record 1 is not the one of the index" in line
    assert "plate P2 well B03 site 3" in line


def test_names_of_an_index_are_printed_without_their_control_characters(pair):
    table = packed.read_packed(pair[1])
    records = [(path, number, crc32 ^ 1) for path, number, crc32 in table.frame["record"]]
    _, wrong = packed.inspect(SiteTable(table.frame.assign(plate="P\x1b[2J\n", record=records), table.channels))
    assert len(wrong) == 2
    assert all("plate P\\x1b[2J\\n well" in line for line in wrong)


def test_an_index_that_was_edited_or_is_missing_is_refused(pair):
    _, folder = pair
    damage(folder / "index.parquet", 100)
    with pytest.raises(DataError, match=r"index.parquet: is not the index that pack.json names \(SHA-256 differs\)"):
        packed.read_packed(folder)
    (folder / "index.parquet").unlink()
    with pytest.raises(DataError, match=r"index.parquet: cannot be read \(No such file"):
        packed.read_packed(folder)
    (folder / "pack.json").unlink()
    with pytest.raises(DataError, match="the folder is no pack, or packing has not ended: run the same"):
        packed.read_packed(folder)
    (folder / "pack.json").write_text(json.dumps({"format": "mscnn packed fields", "version": 9}))
    with pytest.raises(DataError, match="version 9, this program reads 'mscnn packed fields' version 1"):
        packed.read_packed(folder)
    (folder / "pack.json").write_text("[]")
    with pytest.raises(DataError, match="None version None, this program reads"):
        packed.read_packed(folder)
    (folder / "pack.json").write_text(json.dumps({"format": "mscnn packed fields", "version": 1}))
    with pytest.raises(DataError, match=r"pack.json: lacks 'control'; pack that folder again"):
        packed.read_packed(folder)


def test_an_index_that_leads_out_of_its_folder_is_not_followed(pair):
    _, folder = pair
    index = pd.read_parquet(folder / "index.parquet").assign(file="../secret.fields")
    index.to_parquet(folder / "index.parquet")
    description = json.loads((folder / "pack.json").read_text())
    description["index_sha256"] = hashlib.sha256((folder / "index.parquet").read_bytes()).hexdigest()
    (folder / "pack.json").write_text(json.dumps(description))
    with pytest.raises(DataError, match=r"index.parquet: names '../secret.fields', which is no plate file of the folder"):
        packed.read_packed(folder)


# Going on after whatever happens

def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def pack_and_die(table: SiteTable, out: Path, line: int) -> None:
    """In a process of its own, which is killed at the so many-th line that pack.py runs, if it comes so far."""
    def count(frame, event, argument):
        nonlocal line
        if frame.f_code.co_filename != packing.__file__:
            return None
        line -= event == "line"
        if line == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return count

    sys.settrace(count)
    pack(table, out)
    os._exit(0)


def test_a_run_killed_at_any_moment_goes_on_to_the_same_files(pair, tmp_path):
    table, folder = pair
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.data.pixels.test_packed"])
    out, rng, codes = tmp_path / "again", random.Random(0), []
    for _ in range(20):
        process = processes.Process(target=pack_and_die, args=(table, out, rng.randrange(1, 300)))
        process.start()
        process.join()
        codes.append(process.exitcode)
        if codes[-1] == 0:
            assert contents(out) == contents(folder)
            shutil.rmtree(out)
    assert {0, -signal.SIGKILL} == set(codes)  # some were killed, and some came to the end from where others had left off
    pack(table, out)
    assert contents(out) == contents(folder)


def test_plates_that_are_there_are_kept_and_those_whose_images_changed_are_not(pair):
    table, folder = pair
    times = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.fields")}
    assert pack(table, folder) == 2
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("*.fields")} == times
    tifffile.imwrite(table.frame["files"][1][0], np.full(SHAPE[1:], 5, np.uint16))
    assert pack(table, folder) == 1
    assert (read_pixels(packed_afresh(folder), 1)[0] == 5).all()
    assert pack(table.select(table.frame["plate"] == "P10"), folder) == 0  # another number now
    assert sorted(path.name for path in folder.glob("plate*")) == ["plate-0001.fields"]


def packed_afresh(folder: Path) -> SiteTable:
    """As another process would read it."""
    plate_file.open_plate_file.cache_clear()
    return packed.read_packed(folder)


def test_a_damaged_image_costs_its_plate_alone(tmp_path):
    table = write_images(tmp_path / "images")
    broken = Path(table.frame["files"][2][1])  # P10
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-100])
    with pytest.raises(DataError, match="1 plates hold damaged images") as refusal:
        pack(table, tmp_path / "pack")
    assert str(broken) in refusal.value.details[0]
    assert sorted(path.name for path in (tmp_path / "pack").iterdir()) == ["plate-0001.fields"]
    broken.write_bytes(whole)
    assert pack(table, tmp_path / "pack") == 1
    assert packed.verify(packed.read_packed(tmp_path / "pack")) == []


def test_a_pack_that_is_being_changed_is_none_until_it_is_whole(pair):
    table, folder = pair
    Path(table.frame["files"][1][0]).write_bytes(b"II*\0")
    with pytest.raises(DataError, match="1 plates hold damaged images"):
        pack(table, folder)
    with pytest.raises(DataError, match="the folder is no pack, or packing has not ended"):
        packed.read_packed(folder)


def test_each_file_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    happened = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(packing.os, name, lambda *given, name=name, real=real: happened.append(name) or real(*given))
    pack(write_images(tmp_path / "images"), tmp_path / "pack")
    assert happened == 4 * ["fsync", "replace", "fsync"]  # two plates, index and description; each file, then its folder


def test_a_pack_is_not_packed_into_itself(pair):
    before = contents(pair[1])
    done = run_python("-m", "mscnn", "pack", "--packed", pair[1], "--out", pair[1] / "." / "")
    assert (done.returncode, contents(pair[1]) == before) == (2, True)
    assert "is the pack that is read; name another folder" in done.stderr


def test_the_untreated_wells_are_those_of_the_pack(pair):
    assert packed.read_packed(pair[1]).control == packed.read_packed(pair[1], "dmso").control == "DMSO"
    with pytest.raises(UsageError, match="was packed with untreated wells 'DMSO', got --control water; say --control DMSO"):
        packed.read_packed(pair[1], "water")


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path):
    table = write_images(tmp_path / "images")
    with pytest.raises(UsageError, match=r"images holds P10_0_0.tif, which is no part of a pack; name a new folder"):
        pack(table, tmp_path / "images")
    assert len(list((tmp_path / "images").iterdir())) == 12


def test_too_little_room_is_said_before_anything_is_written(tmp_path, monkeypatch):
    table = write_images(tmp_path / "images")
    monkeypatch.setattr(packing.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 2 * RECORD}))
    with pytest.raises(UsageError, match=r"GiB are free, the next plate takes 0\.00; make room"):
        pack(table, tmp_path / "pack")
    assert list((tmp_path / "pack").iterdir()) == []


def test_a_disk_that_is_full_ends_in_one_line_and_leaves_nothing_half_done(tmp_path):
    """A limit on the size of files stands for the disk."""
    program = ("import resource; from pathlib import Path; from tests.data.pixels.test_packed import pack, write_images\n"
               "from mscnn.core.errors import run\n"
               f"folder = Path({str(tmp_path)!r}); table = write_images(folder / 'images')\n"
               "resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))\n"
               "run(lambda: pack(table, folder / 'pack'))")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 2, done.stderr
    assert "plate-0001.fields cannot be written (File too large); make room" in done.stderr
    assert list((tmp_path / "pack").iterdir()) == []


# The commands

def test_training_and_evaluation_on_packed_fields_are_those_on_images(tiny_screen, tmp_path):
    folder, elsewhere = tiny_screen.parent / "pack", tiny_screen.parent / "elsewhere"
    done = run_python("-m", "mscnn", "pack", "--sites", tiny_screen, "--out", folder)
    assert done.returncode == 0, done.stderr
    assert "12 fields of 1 plate (0 there before)" in done.stdout
    for run, data in (("direct", ("--sites", tiny_screen)), ("packed", ("--packed", folder))):
        done = run_python("train.py", "screen", *data, "--hold-out", "b", "--minibatch", 4, "--max-steps", 2, "--run-dir",
                          tmp_path / run, "--threads", 1)
        assert done.returncode == 0, done.stderr
    direct, stored = (checkpoint.read(tmp_path / run)[1] for run in ("direct", "packed"))
    for name, value in direct.network.items():
        torch.testing.assert_close(stored.network[name], value, rtol=0, atol=0)
    assert direct.split == stored.split
    folder.rename(elsewhere)
    for run, moved in (("direct", ()), ("packed", ("--data", elsewhere))):
        done = run_python("evaluate.py", "--checkpoint", tmp_path / run, "--out", tmp_path / run / "evaluation",
                          "--examples", "0", *moved)
        assert done.returncode == 0, done.stderr
    direct, stored = (tmp_path / run / "evaluation" / "predictions.csv" for run in ("direct", "packed"))
    assert direct.read_text() == stored.read_text()
    damage(elsewhere / "plate-0001.fields", 5000)
    done = run_python("-m", "mscnn", "verify", elsewhere)
    assert done.returncode == 3
    assert "record 0 is damaged" in done.stderr


def test_bbbc021s_taxol_controls_are_dropped_when_training_says_so(tmp_path):
    table = write_images(tmp_path / "images")
    frame = table.frame.assign(compound="taxol", mechanism="m", well=["B11", "B11", "B02", "G02", "C03", "D03"],
                               concentration=[0.3, 1.0, 0.3, 0.3, 0.1, 0.3])
    packing.pack(SiteTable(frame, table.channels), Header(*SHAPE, "uint16"), tmp_path / "pack", screen="bbbc021")
    for taxol, sites in (("keep", [0, 1, 2, 3, 4, 5]), ("drop", [1, 2, 4, 5])):
        found = prepare_data.load_sites(config.Data(packed=str(tmp_path / "pack"), taxol_controls=taxol))
        assert found.fingerprint() == SiteTable(frame, table.channels).select(np.array(sites)).fingerprint()


def test_a_pack_of_other_options_is_not_written_over(pair):
    table, folder = pair
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    fewer = table.select(table.frame["plate"] == "P10")
    for other, wishes, words in ((table, {"blocks": (4, 4)}, "downscale 1, now 4"),
                                 (replace(table, control="water"), {}, "control 'DMSO', now 'water'"),
                                 (fewer, {}, "fields that are not packed now, such as plate P2 well")):
        with pytest.raises(UsageError, match=f"holds a pack made with .*{words}.*--overwrite true"):
            pack(other, folder, overwrite=False, **wishes)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert pack(table, folder, overwrite=False) == 2  # the same once more
    assert pack(fewer, folder, overwrite=True) == 0


def test_plates_of_an_unfinished_pack_are_not_written_over_in_another_shape(pair):
    table, folder = pair
    (folder / packed.DESCRIPTION).unlink()
    with pytest.raises(UsageError, match=r"shape and type .* \(plate-0001\.fields\), now"):
        pack(table, folder, overwrite=False, blocks=(4, 4))
    assert pack(table, folder, overwrite=False) == 2


def test_other_planes_of_the_same_files_are_packed_anew(tmp_path):
    """The files are as they were; the table names other planes of them."""
    path = str(tmp_path / "stack.tif")
    stack_ZHW = np.random.default_rng(0).integers(0, 999, (3, *SHAPE[1:]), dtype=np.uint16)
    tifffile.imwrite(path, stack_ZHW, photometric="minisblack")

    def table(*numbers: int) -> SiteTable:
        source = pack_source(ImageSource(tuple(Plane(path, number) for number in numbers)))
        rows = [("taxol", "m", "P1", "B02", 1.0, (source, pack_source(ImageSource((Plane(path, 0),)))))]
        return SiteTable(make_table(rows, "compound mechanism plate well concentration files").frame, ("DNA", "Actin"))

    for numbers, kept in (((1,), 0), ((1,), 1), ((2,), 0), ((1, 2), 0), ((1, 2), 1)):
        assert pack(table(*numbers), tmp_path / "pack") == kept
        found = read_pixels(packed_afresh(tmp_path / "pack"), 0)
        np.testing.assert_array_equal(found, np.stack([stack_ZHW[list(numbers)].max(axis=0), stack_ZHW[0]]))
