"""No compound, well or image is on two sides of any split, whatever the spellings and contradictions of a table.

Tables are drawn, with faults of all kinds; what is not refused must not leak.  The oracle has its own normal form.
"""

import hashlib
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from mscnn.core.errors import DataError, UsageError
from mscnn.data.pixels.pack import pack
from mscnn.data.pixels.packed import read_packed
from mscnn.data.pixels.read_pixels import read_pixels
from mscnn.data.tables.site_table import SiteTable, read_sites
from mscnn.data.tables.splits import TEST, TRAIN, fold_compounds, make_split
from mscnn.distributed.world import World
from mscnn.training import prepare_data

TABLES = 50
COMPOUNDS = ("Taxol", "ICI 182,780", "SB-203580", "cis platin", "5'-deoxy", "\u03b1-amanitin")
NAMES = ("compound", "mechanism", "plate", "week")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Images 0.tif to 27.tif, and a copy of each as c0.tif, l0.tif (a link), r0.tif (compressed as another file)."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number in range(28):
        tifffile.imwrite(folder / f"{number}.tif", rng.integers(0, 4000, (16, 16), dtype=np.uint16))
        shutil.copy(folder / f"{number}.tif", folder / f"c{number}.tif")
        (folder / f"l{number}.tif").symlink_to(folder / f"{number}.tif")
    return folder


def sound_rows() -> pd.DataFrame:
    """Six compounds of three mechanisms and DMSO: two wells each, on plates of two weeks, two sites a well."""
    rows = []
    for column, compound in enumerate((*COMPOUNDS, "DMSO"), 2):
        mechanism = "DMSO" if compound == "DMSO" else f"Kinase {column % 3}"
        for number in (1, 2):
            week = number if compound == "DMSO" else 1 + column % 2
            for site in ("1", "2"):
                rows.append([f"{len(rows)}.tif", f"P{week}", f"Week {week}", f"{'BC'[number - 1]}{column:02}", site,
                             compound, "0.3", mechanism])
    return pd.DataFrame(rows, columns=["filename", *NAMES[2:], "well", "site", "compound", "concentration", "mechanism"])


def respell(rng: np.random.Generator, name: str) -> str:
    """Return another spelling of a name."""
    place = int(rng.integers(len(name) + 1))
    return [name.upper(), name.lower(), name.replace(" ", "\u00a0"), f" {name}\u3000",
            name[:place] + "\u200b" + name[place:], name.replace("-", "\u2011"), name.replace("a", "\u0430"),
            name.replace("'", "\u2019"),
            "".join(chr(ord(letter) + 0xfee0) if "!" < letter < "~" else letter for letter in name)][rng.integers(9)]


RESPELT, TAKEN = (*NAMES, "well"), (*NAMES, "well", "filename")
FAULTS = len(RESPELT) + len(TAKEN) + 4


def plant(rng: np.random.Generator, table: pd.DataFrame, fault: int) -> None:
    """Change one row of a table: a spelling, a value of another row, a dose, a mechanism, or a copy of a file."""
    row = rng.integers(len(table))
    other = rng.choice(table.index[(table["plate"] == table.loc[row, "plate"]) & (table.index != row)])
    if fault < len(RESPELT):
        table.loc[row, RESPELT[fault]] = respell(rng, table.loc[row, RESPELT[fault]])
    elif fault < len(RESPELT) + len(TAKEN):
        role = TAKEN[fault - len(RESPELT)]
        table.loc[row, role] = table.loc[other, role]
    elif fault == FAULTS - 4:
        table.loc[row, "well"] = table.loc[row, "well"].replace("0", rng.choice(["", "00"]), 1)
    elif fault == FAULTS - 3:
        table.loc[row, "concentration"] = str(rng.choice(["0.30000000000000004", "0.3", "1", "nan", "0,3"]))
    elif fault == FAULTS - 2:
        table.loc[row, "mechanism"] = rng.choice(["", "N/A", "nan"])
    else:
        table.loc[row, "filename"] = rng.choice(["c", "l", "./"]) + table.loc[other, "filename"]


def plain(name: str) -> str:
    """Return the oracle's normal form: NFKC, caseless, without blanks and format characters, Cyrillic a as Latin."""
    name = name.replace("\u2011", "-").replace("\u2019", "'").replace("\u0430", "a")
    text = unicodedata.normalize("NFKC", name).casefold()
    return "".join(letter for letter in text if not letter.isspace() and unicodedata.category(letter) != "Cf")


def assert_no_leak(table: SiteTable, side: np.ndarray, contents: list[str], *, weeks: bool) -> None:
    """Compare what is on the training side with what is on the test side; control wells train only."""
    well = [f"{plain(plate)} {plain(name)[0]}{int(plain(name)[1:])}" for plate, name in
            zip(table.frame["plate"], table.frame["well"], strict=True)]
    facts = {"compound": list(map(plain, table.frame["compound"])), "well": well, "content": contents}
    if weeks:
        facts["week"] = list(map(plain, table.frame["week"]))
    for kind, values in facts.items():
        both = {value for value, where in zip(values, side, strict=True) if where == TRAIN} & \
            {value for value, where in zip(values, side, strict=True) if where == TEST}
        assert not both, (kind, both)


def assert_no_split_leaks(table: SiteTable, rng: np.random.Generator) -> int:
    """Try all splits of a table, and inner folds of each training side; return how many there were."""
    contents = [hashlib.sha256(read_pixels(table, site).tobytes()).hexdigest() for site in range(len(table))]
    names = ",".join(respell(rng, name) for name in rng.choice(COMPOUNDS, 2, replace=False))
    plans = [{"split": "hold-out", "hold_out": names}]
    for method in ("leave-compound-out", "k-fold", "leave-week-out"):
        folds = fold_compounds(table, split=method, folds=3)
        plans += [{"split": method, "folds": 3, "fold": fold} for fold in range(len(folds))]
    done = 0
    for plan in plans:
        try:
            split = make_split(table, **plan)
        except UsageError:  # too few mechanisms are left, or a compound has no known mechanism
            continue
        assert_no_leak(table, split.side, contents, weeks=plan["split"] == "leave-week-out")
        within = split.side == TRAIN
        inner = make_split(table, split="k-fold", folds=2, fold=0, within=within)
        assert_no_leak(table, inner.side, contents, weeks=False)
        assert not (inner.side[~within] != "unused").any()
        done += 1
    return done


def read(path: Path) -> SiteTable:
    """Read a table as training does."""
    table = read_sites(path).labelled()
    return prepare_data.with_channel_names(table, prepare_data.read_headers(table, World()))


def test_what_is_not_refused_does_not_leak(folder, tmp_path):
    refused = splits = 0
    for number in range(TABLES):
        rng, rows = np.random.default_rng(number), sound_rows()
        is_sound = number % 7 == 6
        for fault in () if is_sound else (number % FAULTS, *rng.integers(FAULTS, size=number % 3)):
            plant(rng, rows, fault)
        rows.to_csv(folder / "sites.csv", index=False)
        try:
            table = read(folder / "sites.csv")
        except DataError:
            assert not is_sound, "a sound table is refused"
            refused += 1
            continue
        splits += assert_no_split_leaks(table, rng)
        if number < 8:
            out = tmp_path / str(number)
            pack(table, prepare_data.read_headers(table, World()), out, screen="sites")
            assert_no_split_leaks(read_packed(out), rng)
    assert min(refused, TABLES - refused) > TABLES / 5
    assert splits > TABLES


def test_a_pack_that_holds_an_image_twice_is_refused(folder, tmp_path):
    """Such a pack can come of an earlier version, or of images that only pixels show to be alike."""
    rows = sound_rows()
    tifffile.imwrite(folder / "other.tif", tifffile.imread(folder / "0.tif"), compression="zlib")
    rows.loc[9, "filename"] = "other.tif"
    rows.to_csv(folder / "sites.csv", index=False)
    table = read(folder / "sites.csv")  # another file: only its pixels are those of 0.tif
    pack(table, prepare_data.read_headers(table, World()), tmp_path / "pack", screen="sites")
    with pytest.raises(DataError, match="1 images are copies of others") as refusal:
        prepare_data.read_headers(read_packed(tmp_path / "pack"), World())
    assert refusal.value.details == ["P1 B04 2: the same pixels as P1 B02 1"]
