"""A screen of inclusions in the file layout of BBBC021 v1: plates, weeks, two doses, twelve mechanisms.

    mscnn synth --kind inclusions --compounds 12 --plates 3 --out plates

The files of vesicles and inclusions are named Tubulin, and those of cell bodies Actin.
"""

import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from mscnn.synthetic import plates
from mscnn.synthetic.grouped_cells import Look, vary
from mscnn.synthetic.grouped_render import VESICLES, draw_grouped
from mscnn.synthetic.inclusions import DOSES_UM, MECHANISMS, draw_inclusions, strength
from mscnn.synthetic.screen_plan import Field, Well, spread_over_weeks, stream_key

PER_WEEK = 24                 # compounds; with two doses each they leave 12 of 60 wells to DMSO
_WELLS = [f"{row}{column:02}" for row in "BCDEFG" for column in range(2, 12)]
_SHORT = {mechanism: mechanism.removesuffix(" inclusions").lower() for mechanism in MECHANISMS}


def write_inclusion_plates(out: Path, *, mechanisms: Sequence[str] = tuple(MECHANISMS), compounds_per_mechanism: int = 12,
                           plates_per_week: int = 3, sites_per_well: int = 1, height: int = 256, width: int = 256,
                           seed: int = 0, workers: int = 1, progress: Callable[[int, int], None] | None = None) -> None:
    """Write images and both CSVs, as plates.write_plates does. Raises ValueError for unknown mechanisms."""
    weeks = plan(mechanisms, compounds_per_mechanism)
    active = [(name, dose, mechanism) for week in weeks for name, mechanism in week if mechanism for dose in DOSES_UM]
    plates.write_screen(out, plan_fields(weeks, plates_per_week, sites_per_well, seed), active=active,
                        draw=partial(draw_field, height=height, width=width), workers=workers, progress=progress)


def plan(mechanisms: Sequence[str], compounds_per_mechanism: int) -> list[list[tuple[str, str]]]:
    """Return the 24 compounds (name, mechanism) of each week; inert ones have mechanism "". Raises ValueError."""
    return spread_over_weeks(mechanisms, compounds_per_mechanism, names=_SHORT, per_week=PER_WEEK)


def plan_fields(weeks: list[list[tuple[str, str]]], plates_per_week: int, sites_per_well: int, seed: int) -> list[Field]:
    """Return every field of the screen. Each plate has a layout of its own, so that no well stands for a mechanism."""
    fields = []
    for number, week in enumerate(weeks, 1):
        contents = [(name, dose, mechanism) for name, mechanism in week for dose in DOSES_UM]
        contents += [("DMSO", 0.0, "")] * (len(_WELLS) - len(contents))
        for replicate in range(1, plates_per_week + 1):
            plate = f"Week{number}_{20121 + 2000 * number + 20 * (replicate - 1):05}"
            order = np.random.default_rng([seed, 6, zlib.crc32(plate.encode())]).permutation(len(contents))
            for well, place in zip(_WELLS, order, strict=True):
                name, dose, mechanism = contents[place]
                fields += [Field(seed, number, plate, Well(well, name, dose), site, replicate, mechanism)
                           for site in range(1, sites_per_well + 1)]
    return fields


def draw_field(field: Field, height: int, width: int) -> np.ndarray:
    """Draw the camera counts (3, H, W) uint16 of a field.

    Its look varies with the compound, and again with the well: so much that replicates are as unlike as compounds.
    """
    compound, well = field.well.compound, stream_key(field, 4)[:-1]
    look = vary(Look(), np.random.default_rng([field.seed, 5, zlib.crc32(compound.encode())]))
    look = vary(look, np.random.default_rng(well))
    share = strength(compound, field.well.dose_uM, field.seed) if field.mechanism else 0.0
    rng = np.random.default_rng(stream_key(field, 5))
    light = draw_grouped(look, height, width, rng)
    light[VESICLES] += draw_inclusions(field.mechanism, share, look, height, width, rng)
    return plates.expose(light, field, rng)
