"""Mechanisms that rearrange the parts of cells, and leave what a field holds of each part as it is.

Under each mechanism cells are as many, and have the same vesicles, nuclei, fibres and light, as in DMSO.  Averages over a
field see little of a mechanism: wells and compounds differ more in density, brightness and size than mechanisms do.

    python -m pytest tests/synthetic/test_arrangements.py
"""

import zlib
from dataclasses import dataclass, fields

import numpy as np

DOSES_UM = (10.0, 3.0)      # of each compound; both are annotated with its mechanism
EFFECTS = (1.0, 0.8)        # share of a compound's strength at these doses
RARE = 0.25                 # share of the cells whose vesicles or fibres respond, under a mechanism of rare responders
RARE_NUCLEI = 0.2           # the same of nuclei


@dataclass(frozen=True, kw_only=True)
class Arrangement:
    """How the parts of a well's cells are arranged; the defaults are DMSO.  Each number is a share or a balance."""

    rows: float = 0.0            # share of the cells whose vesicles form a row, as others' form a clump
    circles: float = 0.0         # share of the cells whose vesicles form a circle
    targets: float = 0.0         # share of the cells whose fibres run around the centre, as others' run straight
    chevrons: float = 0.0        # share of the cells whose fibres bend at the middle of the cell
    bars: float = 0.0            # share of the nuclei that are bars, as others are discs or rings
    crosses: float = 0.0         # share of the nuclei that are crosses
    across: float = 0.0          # straight fibres, 1: all across the cell's long axis; -1: all along it; 0: half of each
    larger_nucleus: float = 0.0  # of two nuclei, 1: vesicles are beside the larger; -1: the smaller; 0: either
    chains: float = 0.0          # four neighbours, 1: always a chain; -1: always three around one; 0: half of each


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a well's cells look like under any arrangement: the nuisance. Relative to the mean of the screen."""

    density: float = 1.0     # of groups of cells
    size: float = 1.0        # of cells
    vesicles: float = 1.0    # number in each cell
    dna: float = 1.0         # brightness of nuclei
    vesicle: float = 1.0     # brightness of a vesicle
    body: float = 1.0        # brightness of cell bodies
    contrast: float = 1.0    # of fibres
    rings: float = 1.0       # number of nuclei that are rings
    twins: float = 1.0       # number of cells with two nuclei
    focus: float = 1.0       # blur


DMSO = Arrangement()
SPREAD = Look(density=0.15, size=0.05, vesicles=0.15, dna=0.15, vesicle=0.15, body=0.15, contrast=0.15, rings=0.3,
              twins=0.15, focus=0.12)  # sd of the logarithm between wells, and between compounds

MECHANISMS: dict[str, Arrangement] = {
    "Rows of vesicles": Arrangement(rows=RARE),
    "Circles of vesicles": Arrangement(circles=RARE),
    "Targets of fibres": Arrangement(targets=RARE),
    "Chevrons of fibres": Arrangement(chevrons=RARE),
    "Bar nuclei": Arrangement(bars=RARE_NUCLEI),
    "Cross nuclei": Arrangement(crosses=RARE_NUCLEI),
    "Fibres across": Arrangement(across=1.0),
    "Fibres along": Arrangement(across=-1.0),
    "Larger nucleus": Arrangement(larger_nucleus=1.0),
    "Smaller nucleus": Arrangement(larger_nucleus=-1.0),
    "Chains of cells": Arrangement(chains=1.0),
    "Rosettes of cells": Arrangement(chains=-1.0),
}


def arrangement(compound: str, mechanism: str, dose_uM: float, seed: int) -> Arrangement:
    """Return the arrangement under a compound: that of DMSO for mechanism "". Compounds differ in strength."""
    if not mechanism:
        return DMSO
    strength = np.random.default_rng([seed, 0, zlib.crc32(compound.encode())]).uniform(0.8, 1.0)
    effect = float(strength) * EFFECTS[DOSES_UM.index(dose_uM)]
    full = MECHANISMS[mechanism]
    return Arrangement(**{f.name: effect * getattr(full, f.name) for f in fields(Arrangement)})


def vary(look: Look, rng: np.random.Generator) -> Look:
    """Return a look with each number multiplied by a log-normal factor, whose spread is SPREAD."""
    return Look(**{f.name: float(getattr(look, f.name) * np.exp(rng.normal(0, getattr(SPREAD, f.name))))
                   for f in fields(Look)})
