"""Which wells are held out, whole: a share of those of each class on each plate.

    python -m pytest tests/data/tables/test_held_out_wells.py

Shapes: S sites, W wells.
"""

import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from mscnn.core import identity
from mscnn.data.tables.sampler import Stream
from mscnn.data.tables.site_table import SiteTable

CONTROL = "\0control"  # class of the control wells: no name in normal form holds this letter


class Wells(NamedTuple):
    """The wells of a table."""

    number_S: np.ndarray     # of the well of each site
    plate_W: np.ndarray      # in normal form
    name_W: np.ndarray       # plate and well, in normal form
    class_W: np.ndarray      # CONTROL, or the mechanism in normal form; of assays the compound; "": not known


def wells(table: SiteTable) -> Wells:
    """Return the wells of a table, in any spelling one; the class is that of a well's first site with a class."""
    forms = identity.normal_table(table.frame, {role: role for role in ("plate", "well", "mechanism", "compound")})
    class_S = forms["mechanism" if table.assays is None else "compound"].where(~table.is_control(), CONTROL)
    groups = forms.assign(of=class_S.to_numpy()).groupby(["plate", "well"], sort=True)
    number_S = groups.ngroup().to_numpy()
    class_W = groups["of"].agg(lambda names: next(filter(None, names), ""))
    plate_W = class_W.index.get_level_values("plate").to_numpy(str)
    return Wells(number_S, plate_W, np.array([f"{plate} {well}" for plate, well in class_W.index]), class_W.to_numpy(str))


def choose(table: SiteTable, share: float, *, seed: int, turn: int = 0, among: np.ndarray | None = None) -> np.ndarray:
    """Return (S,) bool, the sites of the wells that are held out.

    Of the wells of a class on a plate the share is rounded; one at least is held out, and one at least is not.  Wells that
    are alone of their class on their plate are divided together over all plates.  turn: takes the next wells of the same
    order, so that 1 / share turns take each once, where that is a whole number and the wells divide by it.
    among: (S,) bool, sites whose wells may be held out; None: all with a class.
    """
    found = wells(table)
    may_W = found.class_W != ""
    if among is not None:
        may_W &= np.bincount(found.number_S, ~among, minlength=len(may_W)) == 0
    is_out_W = np.zeros(len(may_W), bool)
    for name, group in _groups(found, may_W):
        rng = np.random.default_rng([Stream.HELD_OUT_WELLS, seed, zlib.crc32(name.encode())])
        order, number = rng.permutation(group), int(np.clip(round(share * len(group)), 1, len(group) - 1))
        is_out_W[order[(turn * number + np.arange(number)) % len(group)]] = True
    return is_out_W[found.number_S]


def names_of(table: SiteTable, is_out: np.ndarray) -> tuple[str, ...]:
    """Return plate and well of the sites at a mask, as the table first writes each, in natural order of the table."""
    frame, number = table.frame[is_out], wells(table).number_S[is_out]
    first = frame[["plate", "well"]][~pd.Series(number, frame.index).duplicated()]
    return well_names(first["plate"], first["well"])


def well_names(plates: Iterable[str], wells: Iterable[str]) -> tuple[str, ...]:
    """Return the names of wells as a split records those that are held out: "plate well"."""
    return tuple(f"{plate} {well}" for plate, well in zip(plates, wells, strict=True))


def on_both_sides(table: SiteTable, one: np.ndarray, other: np.ndarray) -> list[str]:
    """Return the wells, in normal form, with sites in both of two masks."""
    found = wells(table)
    return found.name_W[np.intersect1d(found.number_S[one], found.number_S[other])].tolist()


def _groups(found: Wells, may_W: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name and the wells of each group of two wells or more that are divided together."""
    for of_class in sorted(set(found.class_W[may_W])):
        members = np.flatnonzero(may_W & (found.class_W == of_class))
        alone = []
        for plate in sorted(set(found.plate_W[members])):
            group = members[found.plate_W[members] == plate]
            if len(group) > 1:
                yield f"{of_class}\0{plate}", group
            else:
                alone += group.tolist()
        if len(alone) > 1:
            yield of_class, np.array(alone)
