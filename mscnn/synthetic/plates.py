"""Synthetic screens with known answers: plates of drawn cells in the file layout of BBBC021 v1, images and both CSVs.

    mscnn synth --out plates
"""

import datetime
import os
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile

from mscnn.core.files import write_atomically
from mscnn.core.process_pool import spawned_pool
from mscnn.synthetic.phenotypes import NUM_ACTIVE_DOSES, treated
from mscnn.synthetic.render import render_field
from mscnn.synthetic.screen_plan import DEMO_MECHANISMS, Field, Well, compounds, plan_fields, stream_key

CAMERA_OFFSET = 400.0                      # counts

_WAVELENGTH = {"DAPI": 1, "Tubulin": 2, "Actin": 4}
_COUNTS = np.array([2400, 6500, 7500], np.float32)        # counts of relative fluorescence 1: DNA, tubulin, actin
_SMEAR = np.array([60, 250, 300], np.float32)             # background fluorescence of medium and plastic, counts


class Camera(NamedTuple):
    """Optics and staining of one plate, by channel: DNA, tubulin, actin."""

    gain: np.ndarray          # (3,) of the plate, staining of its week included
    illumination: np.ndarray  # (3, H, W), mean 1


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
    active = [(c.name, dose, c.mechanism) for c in plan if c.mechanism for dose in c.doses_uM[:NUM_ACTIVE_DOSES]]
    draw = partial(_counts, height=height, width=width, nucleus_px=nucleus_px)
    write_screen(Path(out_dir), list(plan_fields(plan, plates_per_week, sites_per_well, seed)), active=active, draw=draw,
                 workers=workers, progress=progress)


def write_screen(out: Path, fields: list[Field], *, active: list[tuple[str, float, str]],
                 draw: Callable[[Field], np.ndarray], workers: int = 1,
                 progress: Callable[[int, int], None] | None = None) -> None:
    """Write a screen as `write_plates` does.

    active: annotated (compound, dose in uM, mechanism); draw: returns the camera counts (3, H, W) of a field.
    """
    for plate in {field.plate for field in fields}:
        (out / plate).mkdir(parents=True, exist_ok=True)
    write = partial(_write_field, out=out, draw=draw)
    with spawned_pool(workers) if workers > 1 else nullcontext() as pool:
        done = pool.map(write, fields, chunksize=10) if pool else map(write, fields)
        for number, _ in enumerate(done, 1):
            if progress:
                progress(number, len(fields))
    for name, text in (("BBBC021_v1_moa.csv", _moa_csv(active)), ("BBBC021_v1_image.csv", _image_csv(fields))):
        with write_atomically(out / name) as unfinished:
            unfinished.write_text(text)


def untreated(site: int, height: int, width: int) -> np.ndarray:
    """Draw one field of a DMSO well that belongs to no screen: (3, H, W) uint16 camera counts."""
    field = Field(seed=0, week=1, plate="none", well=Well("B02", "DMSO", 0.0), site=site, replicate=1, mechanism="")
    return _counts(field, height, width, _nucleus_px(height))


def expose(light: np.ndarray, field: Field, rng: np.random.Generator) -> np.ndarray:
    """Return the camera counts (3, H, W) uint16 of the fluorescence (3, H, W) of a field, on its plate."""
    plate = camera(field.seed, field.week, field.plate, *light.shape[1:])
    signal = (light * _COUNTS[:, None, None] + _SMEAR[:, None, None]) * plate.gain[:, None, None] * plate.illumination
    noise = rng.standard_normal(signal.shape, np.float32) * np.sqrt(20.0**2 + 8.0 * signal)      # read and shot noise
    # The camera has 12 bits, stored in the upper ones: counts are multiples of 16.
    return (np.clip(np.round((CAMERA_OFFSET + signal + noise) / 16), 0, 4095) * 16).astype(np.uint16)


def write_tiff(path: Path, counts_HW: np.ndarray, compression: str | None = None) -> None:
    """Write one channel of one field; compression: a name that tifffile knows, such as lzw."""
    tifffile.imwrite(path, counts_HW, photometric="minisblack", metadata=None, software="mscnn synthetic",
                     compression=compression)


def camera(seed: int, week: int, plate: str, height: int, width: int) -> Camera:
    """Draw a plate's gain, 0.7 to 1.4 times the staining of its week, and its illumination, which varies by some 20 %."""
    rng = np.random.default_rng([seed, 2, zlib.crc32(plate.encode())])
    staining = np.exp(np.random.default_rng([seed, 1, week]).uniform(-0.15, 0.15, 3))
    gain = staining * np.exp(rng.uniform(np.log(0.72), np.log(1.38), 3))
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    tilt, dome = rng.uniform(-0.08, 0.08, (3, 2, 1, 1)), rng.uniform(0.05, 0.18, (3, 1, 1))
    light = 1 + tilt[:, 0] * y + tilt[:, 1] * x - dome * (x * x + y * y)
    return Camera(gain.astype(np.float32), (light / light.mean((1, 2), keepdims=True)).astype(np.float32))


def _file_names(field: Field) -> list[str]:
    """Name the files of DNA, tubulin and actin. As in BBBC021, GUIDs differ, and week 4 has no prefix."""
    day = datetime.date(2007, 6, 15) + datetime.timedelta(weeks=field.week - 1)
    prefix = "" if field.week == 4 else f"Week{field.week}_{day:%d%m%y}_"
    rng, names = np.random.default_rng(stream_key(field, 3)), []
    for w in _WAVELENGTH.values():
        h = rng.bytes(16).hex().upper()
        guid = f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
        names.append(f"{prefix}{field.well.name}_s{field.site}_w{w}{guid}.tif")
    return names


def _nucleus_px(height: int) -> float:
    """Return the diameter of an untreated nucleus: 36 pixels at 1024 rows, 9.5 at 128."""
    return 36 * (height / 1024) ** 0.64


def _write_field(field: Field, *, out: Path, draw: Callable[[Field], np.ndarray]) -> None:
    """Write the TIFFs of a field. They are renamed when whole, and not flushed to the disk one by one: that is slow."""
    counts_CHW = draw(field)
    for name, counts_HW in zip(_file_names(field), counts_CHW, strict=True):
        unfinished = out / field.plate / f".{name}.part"
        write_tiff(unfinished, counts_HW)
        os.replace(unfinished, out / field.plate / name)


def _counts(field: Field, height: int, width: int, nucleus_px: float) -> np.ndarray:
    """Draw the camera counts (3, H, W) uint16 of one field."""
    phenotype = treated(field.well.compound, field.mechanism, field.well.dose_uM, field.seed)
    well_rng, rng = (np.random.default_rng(key) for key in (stream_key(field, 4)[:-1], stream_key(field, 5)))
    seeding = float(np.exp(well_rng.normal(0, 0.12)))  # how dense cells are: the same at all sites of a well
    light = render_field(replace(phenotype, count=phenotype.count * seeding), height, width, nucleus_px, rng)
    return expose(light, field, rng)


def _image_csv(fields: list[Field]) -> str:
    """Return BBBC021_v1_image.csv as the official file is: numbers bare, text quoted, six decimals of concentrations."""
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


def _moa_csv(active: list[tuple[str, float, str]]) -> str:
    """Return BBBC021_v1_moa.csv: the mechanism of each compound at its highest doses."""
    rows = [f'"{name}",{dose:.6f},"{mechanism}"' for name, dose, mechanism in [*active, ("DMSO", 0.0, "DMSO")]]
    return "\n".join(['"compound",concentration,"moa"', *rows]) + "\n"
