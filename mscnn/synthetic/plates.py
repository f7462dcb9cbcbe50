"""Synthetic screens with known answers: plates of drawn cells in the file layout of BBBC021 v1, images and both CSVs.

    python -c "from mscnn.synthetic.plates import *; write_plates('/tmp/plates', mechanisms=DEMO_MECHANISMS)"
"""

import datetime
import math
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile

from mscnn.core.process_pool import spawned_pool
from mscnn.synthetic.phenotypes import MECHANISMS, NUM_ACTIVE_DOSES, dose_series, treated
from mscnn.synthetic.render import render_field

DEMO_MECHANISMS = ("Actin disruptors", "DNA damage", "Eg5 inhibitors", "Epithelial", "Microtubule destabilizers",
                   "Microtubule stabilizers")
CONTROL_DOSE_UM = 0.3                      # of taxol, in six wells of every plate
CAMERA_OFFSET = 400.0                      # counts

_SHORT = {"Actin disruptors": "actin", "Aurora kinase inhibitors": "aurora", "Cholesterol-lowering": "cholesterol",
          "DNA damage": "dna-damage", "DNA replication": "dna-replication", "Eg5 inhibitors": "eg5",
          "Epithelial": "epithelial", "Kinase inhibitors": "kinase", "Microtubule destabilizers": "destabilizer",
          "Microtubule stabilizers": "stabilizer", "Protein degradation": "degradation",
          "Protein synthesis": "synthesis"}
_DMSO_WELLS = ("B02", "C02", "D02", "E11", "F11", "G11")
_TAXOL_WELLS = ("B11", "C11", "D11", "E02", "F02", "G02")
_WAVELENGTH = {"DAPI": 1, "Tubulin": 2, "Actin": 4}
_COUNTS = np.array([2400, 6500, 7500], np.float32)        # counts of relative fluorescence 1: DNA, tubulin, actin
_SMEAR = np.array([60, 250, 300], np.float32)             # background fluorescence of medium and plastic, counts


@dataclass(frozen=True, kw_only=True)
class Compound:
    """One row of a week's plates."""

    name: str
    mechanism: str              # "" for the inert fillers, which are not annotated
    week: int                   # 1, 2, ...
    row: str                    # "B".."G" of every plate of that week
    doses_uM: tuple[float, ...]  # eight, descending, in columns 3..10


class Well(NamedTuple):
    """What is in a well."""

    name: str                   # B02 .. G11
    compound: str
    dose_uM: float


class Field(NamedTuple):
    """Everything that determines the pixels of one field, and nothing else."""

    seed: int
    week: int
    plate: str
    well: Well
    site: int
    replicate: int
    mechanism: str


class Camera(NamedTuple):
    """One plate's optics and staining, by channel: DNA, tubulin, actin."""

    gain: np.ndarray            # (3,) of the plate, staining of its week included
    illumination: np.ndarray    # (3, H, W), mean 1


def write_plates(out_dir: str | os.PathLike, *, mechanisms: Sequence[str] = DEMO_MECHANISMS,
                 compounds_per_mechanism: int = 3, plates_per_week: int = 2, sites_per_well: int = 1,
                 height: int = 128, width: int = 128, nucleus_px: float | None = None, seed: int = 0,
                 workers: int = 1, progress: Callable[[int, int], None] | None = None) -> None:
    """Write 16-bit TIFFs, one per channel, BBBC021_v1_image.csv and BBBC021_v1_moa.csv into out_dir.

    nucleus_px: diameter of an untreated nucleus; by default 36 at 1024 rows, 9.5 at 128.
    workers: processes; the bytes do not depend on it.
    progress: called with (fields done, fields in all) after every field.
    """
    plan = compounds(mechanisms, compounds_per_mechanism)
    if nucleus_px is None:
        nucleus_px = _nucleus_px(height)
    out = Path(out_dir)
    todo = list(_fields(plan, plates_per_week, sites_per_well, seed))
    for plate in {field.plate for field in todo}:
        (out / plate).mkdir(parents=True, exist_ok=True)
    write = partial(_write_field, out=out, height=height, width=width, nucleus_px=nucleus_px)
    with spawned_pool(workers) if workers > 1 else nullcontext() as pool:
        done = pool.map(write, todo, chunksize=10) if pool else map(write, todo)
        for i, _ in enumerate(done, 1):
            if progress:
                progress(i, len(todo))
    _write_text(out / "BBBC021_v1_moa.csv", _moa_csv(plan))
    _write_text(out / "BBBC021_v1_image.csv", _image_csv(todo))


def compounds(mechanisms: Sequence[str] = DEMO_MECHANISMS, compounds_per_mechanism: int = 3) -> list[Compound]:
    """The plan of a screen: six compounds a week, those of one mechanism in different weeks where there are enough.

    Rows left over in the last weeks hold inert compounds of mechanism "".
    """
    unknown = [m for m in mechanisms if m not in MECHANISMS]
    if unknown or len(set(mechanisms)) < len(mechanisms) or not mechanisms:
        raise ValueError(f"mechanisms must be different ones of {sorted(MECHANISMS)}, got {list(mechanisms)}")
    if not 1 <= compounds_per_mechanism <= 26:
        raise ValueError(f"compounds_per_mechanism must be in 1..26, got {compounds_per_mechanism}")
    num_weeks = math.ceil(len(mechanisms) * compounds_per_mechanism / 6)
    weeks: list[list[tuple[str, str]]] = [[] for _ in range(num_weeks)]
    for variant in range(compounds_per_mechanism):
        for i, mechanism in enumerate(mechanisms):
            name = f"{_SHORT[mechanism]}-{chr(ord('a') + variant)}"
            name = "taxol" if name == "stabilizer-a" else name
            first = (i + variant) % num_weeks
            free = [w % num_weeks for w in range(first, first + num_weeks) if len(weeks[w % num_weeks]) < 6]
            week = min(free, key=lambda w: sum(other == mechanism for _, other in weeks[w]))
            weeks[week].append((name, mechanism))
    num_inert = 0
    for week in weeks:
        while len(week) < 6:
            week.append((f"inert-{chr(ord('a') + num_inert)}", ""))
            num_inert += 1
    return [Compound(name=name, mechanism=mechanism, week=w, row=row, doses_uM=dose_series(name))
            for w, week in enumerate(weeks, 1) for row, (name, mechanism) in zip("BCDEFG", week, strict=True)]


def num_fields(plan: Sequence[Compound], plates_per_week: int, sites_per_well: int) -> int:
    """Fields of view in all, 60 wells a plate."""
    return len({compound.week for compound in plan}) * plates_per_week * 60 * sites_per_well


def held_out_compounds(mechanisms: Sequence[str] = DEMO_MECHANISMS, compounds_per_mechanism: int = 3) -> list[str]:
    """Names of the last compound of every mechanism, never taxol: what a model is tested on and never trained on."""
    if compounds_per_mechanism < 2:
        raise ValueError(f"compounds_per_mechanism must be at least 2 to hold one out, got {compounds_per_mechanism}")
    plan = compounds(mechanisms, compounds_per_mechanism)
    return [max(c.name for c in plan if c.mechanism == m and c.name != "taxol") for m in mechanisms]


def untreated(site: int, height: int, width: int) -> np.ndarray:
    """(3, H, W) uint16 camera counts of one field of a DMSO well, for whoever needs pixels and no screen."""
    field = Field(seed=0, week=1, plate="none", well=Well("B02", "DMSO", 0.0), site=site, replicate=1, mechanism="")
    return _counts(field, height, width, _nucleus_px(height))


def write_tiff(path: Path, counts_HW: np.ndarray, compression: str | None = None) -> None:
    """One channel of one field; compression: a name that tifffile knows, such as lzw."""
    tifffile.imwrite(path, counts_HW, photometric="minisblack", metadata=None, software="mscnn synthetic",
                     compression=compression)


def camera(seed: int, week: int, plate: str, height: int, width: int) -> Camera:
    """A plate's gain, 0.7 .. 1.4 times its week's staining, and illumination, some +-20 %, for all of its wells."""
    rng = np.random.default_rng([seed, 2, zlib.crc32(plate.encode())])
    staining = np.exp(np.random.default_rng([seed, 1, week]).uniform(-0.15, 0.15, 3))
    gain = staining * np.exp(rng.uniform(np.log(0.72), np.log(1.38), 3))
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    tilt, dome = rng.uniform(-0.08, 0.08, (3, 2, 1, 1)), rng.uniform(0.05, 0.18, (3, 1, 1))
    light = 1 + tilt[:, 0] * y + tilt[:, 1] * x - dome * (x * x + y * y)
    return Camera(gain.astype(np.float32), (light / light.mean((1, 2), keepdims=True)).astype(np.float32))


# ---- the plan, field by field


def _wells(week: list[Compound]) -> list[Well]:
    """The 60 wells of one plate, row by row."""
    fixed = {name: Well(name, "DMSO", 0.0) for name in _DMSO_WELLS}
    fixed |= {name: Well(name, "taxol", CONTROL_DOSE_UM) for name in _TAXOL_WELLS}
    series = {f"{c.row}{column:02}": Well(f"{c.row}{column:02}", c.name, dose)
              for c in week for column, dose in enumerate(c.doses_uM, 3)}
    return [(fixed | series)[f"{row}{column:02}"] for row in "BCDEFG" for column in range(2, 12)]


def _fields(plan: list[Compound], plates_per_week: int, sites_per_well: int, seed: int) -> Iterator[Field]:
    mechanism = {c.name: c.mechanism for c in plan} | {"taxol": "Microtubule stabilizers", "DMSO": ""}
    for week in sorted({c.week for c in plan}):
        wells = _wells([c for c in plan if c.week == week])
        for replicate in range(plates_per_week):
            plate = f"Week{week}_{20121 + 2000 * week + 20 * replicate:05}"
            for well in wells:
                for site in range(1, sites_per_well + 1):
                    yield Field(seed, week, plate, well, site, replicate + 1, mechanism[well.compound])


def _file_names(field: Field) -> list[str]:
    """DNA, tubulin, actin. As in reality, they do not share a GUID, and the files of week 4 have no prefix."""
    day = datetime.date(2007, 6, 15) + datetime.timedelta(weeks=field.week - 1)
    prefix = "" if field.week == 4 else f"Week{field.week}_{day:%d%m%y}_"
    rng, names = np.random.default_rng(_key(field, 3)), []
    for w in _WAVELENGTH.values():
        h = rng.bytes(16).hex().upper()
        guid = f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
        names.append(f"{prefix}{field.well.name}_s{field.site}_w{w}{guid}.tif")
    return names


def _key(field: Field, purpose: int) -> list[int]:
    """The key of a random stream: it depends on the place in the screen, never on the process that draws."""
    return [field.seed, purpose, zlib.crc32(f"{field.plate} {field.well.name}".encode()), field.site]


# ---- pixels and files


def _nucleus_px(height: int) -> float:
    """Diameter of an untreated nucleus: 36 at 1024 rows, 9.5 at 128."""
    return 36 * (height / 1024) ** 0.64


def _write_field(field: Field, *, out: Path, height: int, width: int, nucleus_px: float) -> None:
    counts = _counts(field, height, width, nucleus_px)
    for name, image in zip(_file_names(field), counts, strict=True):
        aside = out / field.plate / f".{name}.part"
        write_tiff(aside, image)
        os.replace(aside, out / field.plate / name)


def _counts(field: Field, height: int, width: int, nucleus_px: float) -> np.ndarray:
    """(3, H, W) uint16 camera counts of one field."""
    look = treated(field.well.compound, field.mechanism, field.well.dose_uM, field.seed)
    seeding = float(np.exp(np.random.default_rng(_key(field, 4)[:-1]).normal(0, 0.12)))    # of the well, all its sites
    rng = np.random.default_rng(_key(field, 5))
    light = render_field(replace(look, count=look.count * seeding), height, width, nucleus_px, rng)
    plate = camera(field.seed, field.week, field.plate, height, width)
    signal = (light * _COUNTS[:, None, None] + _SMEAR[:, None, None]) * plate.gain[:, None, None] * plate.illumination
    noise = rng.standard_normal(signal.shape, np.float32) * np.sqrt(20.0**2 + 8.0 * signal)      # read and shot noise
    # The camera has 12 bits, stored in the upper ones: counts are multiples of 16.
    return (np.clip(np.round((CAMERA_OFFSET + signal + noise) / 16), 0, 4095) * 16).astype(np.uint16)


def _image_csv(fields: list[Field]) -> str:
    """Numbers bare, text quoted, concentrations with six decimals, as in the official file."""
    lines = ["TableNumber,ImageNumber,"
             + "".join(f'"Image_FileName_{c}","Image_PathName_{c}",' for c in _WAVELENGTH)
             + '"Image_Metadata_Plate_DAPI","Image_Metadata_Well_DAPI",Replicate,"Image_Metadata_Compound",'
             "Image_Metadata_Concentration"]
    imaged: Counter[int] = Counter()                 # ImageNumber counts the fields of a week, TableNumber is the week
    for field in fields:
        imaged[field.week] += 1
        files = "".join(f'"{name}","Week{field.week}/{field.plate}",' for name in _file_names(field))
        lines.append(f'{field.week},{imaged[field.week]},{files}"{field.plate}","{field.well.name}",{field.replicate},'
                     f'"{field.well.compound}",{field.well.dose_uM:.6f}')
    return "\n".join(lines) + "\n"


def _moa_csv(plan: list[Compound]) -> str:
    active = [(c.name, dose, c.mechanism) for c in plan if c.mechanism for dose in c.doses_uM[:NUM_ACTIVE_DOSES]]
    rows = [f'"{name}",{dose:.6f},"{mechanism}"' for name, dose, mechanism in [*active, ("DMSO", 0.0, "DMSO")]]
    return "\n".join(['"compound",concentration,"moa"', *rows]) + "\n"


def _write_text(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.part")
    aside.write_text(text)
    os.replace(aside, path)
