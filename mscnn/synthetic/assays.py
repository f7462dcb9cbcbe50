"""Assays of a drawn screen: which compounds are active in which assay, by their mechanisms.

    mscnn synth --out plates --assays 40

Shapes: C compounds, A assays.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mscnn.core import csv_safe
from mscnn.core.files import write_atomically

FLIPPED = 0.05  # share of the values that do not follow the mechanism
EMPTY = 1 / 3   # share of the cells that were not measured
STREAM = 7      # of random numbers: apart from those of plates and fields


def write_assays(path: Path, compounds: Sequence[tuple[str, str]], number: int, seed: int) -> None:
    """Write a table of so many assays. compounds: (name, mechanism), "" for an inert one, which no assay finds active."""
    values_CA = draw_assays([mechanism for _, mechanism in compounds], number, seed)
    width = len(str(number))
    table = pd.DataFrame(values_CA, columns=[f"assay-{place:0{width}d}" for place in range(1, number + 1)]).astype("Int64")
    table.insert(0, "compound", [name for name, _ in compounds])
    with write_atomically(path) as unfinished:
        csv_safe.write_csv(table, unfinished)


def draw_assays(mechanisms: Sequence[str], number: int, seed: int) -> np.ndarray:
    """Return values (C, A): 1 active, 0 inactive, NaN not measured.

    An assay finds some of the mechanisms active, from one to half of them.  FLIPPED of the values are the other one, and
    EMPTY of the cells are empty.
    """
    rng = np.random.default_rng([seed, STREAM])
    known = sorted(set(mechanisms) - {""})
    values_CA = np.zeros((len(mechanisms), number))
    for values_C in values_CA.T:
        active = set(rng.permutation(known)[:rng.integers(1, max(len(known) // 2, 1) + 1)].tolist())
        values_C[:] = [mechanism in active for mechanism in mechanisms]
    values_CA = np.where(rng.random(values_CA.shape) < FLIPPED, 1 - values_CA, values_CA)
    empty = rng.permutation(values_CA.size)[:round(EMPTY * values_CA.size)]
    values_CA.flat[empty] = np.nan
    return values_CA
