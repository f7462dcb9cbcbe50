"""Sides of the sites by one rule each: compounds, a week, a plate, wells, or fields at random; and that they are apart.

    python -m pytest tests/data/tables/test_splits.py
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from mscnn.core import identity
from mscnn.core.errors import UsageError
from mscnn.data.tables import held_out_wells
from mscnn.data.tables.folds import home_weeks
from mscnn.data.tables.sampler import Stream
from mscnn.data.tables.site_table import SiteTable

TRAIN, TEST, UNUSED = "train", "test", "unused"
OF_WELLS = ("wells", "leave-plate-out")  # methods that hold wells out whatever is in them
NEW_WELLS = ("held out are wells of compounds that were trained on: the score says how well the assay tells them apart in "
             "other wells of the same plates, and nothing of new compounds")
NEW_PLATE = ("held out is a plate of compounds that were trained on: the score says how well the assay tells them apart on "
             "another plate, and nothing of new compounds")


@dataclass(frozen=True)
class Split:
    """Which sites are trained on, and which are held out."""

    method: str                # hold-out, k-fold, leave-compound-out, leave-week-out, leave-plate-out, wells or random
    side: np.ndarray           # (S,) text: train, test or unused
    held_out: tuple[str, ...]  # the compounds on the test side, in alphabetical order; of wells and plates, those that are
                               # on no other side
    leaks: str = ""            # why a score on the test side flatters, or ""
    wells: tuple[str, ...] = ()  # "plate well" of the wells that are held out by themselves: all of the test side where
                                 # wells or plates are held out, control wells where compounds are
    meaning: str = ""          # what a score on the test side says, where it says nothing of new compounds; or ""
    chosen: str = ""           # what --split-method auto uses, and why; or ""

    def train(self) -> np.ndarray:
        """Return the positions of the sites on the training side."""
        return np.flatnonzero(self.side == TRAIN)

    def test(self) -> np.ndarray:
        """Return the positions of the sites on the test side."""
        return np.flatnonzero(self.side == TEST)


def is_among(table: SiteTable, column: str, names: Iterable[str]) -> np.ndarray:
    """Return (S,) bool, true where a column holds one of these names, in any spelling."""
    return identity.normal_forms(table.frame[column]).isin(list(map(identity.normal_form, names))).to_numpy()


def random(table: SiteTable, test_fraction: float, seed: int) -> Split:
    """Hold out a share of the fields at random; the split says that it leaks."""
    order = np.random.default_rng([Stream.RANDOM_SPLIT, seed]).permutation(len(table))
    num_test = max(1, round(test_fraction * len(table)))
    side = np.full(len(table), TRAIN, dtype=object)
    side[order[:num_test]] = TEST
    held_out = tuple(sorted(set(table.frame["compound"][side == TEST])))
    leaks = "fields of the same wells, plates and compounds are on both sides; this score says nothing of new compounds"
    return Split("random", side.astype(str), held_out, leaks)


def by_compounds(method: str, table: SiteTable, compounds: Iterable[str]) -> Split:
    """Hold out these compounds, in any spelling, with all their sites.  method: what the split is called."""
    side = np.where(is_among(table, "compound", compounds), TEST, TRAIN)
    return Split(method, side, tuple(sorted(set(table.frame["compound"][side == TEST]))))


def leave_week_out(table: SiteTable, compounds: set[str]) -> Split:
    """Hold out these compounds of one week; leave unused the rest of that week, and those compounds in other weeks."""
    is_held_out = is_among(table, "compound", compounds)
    in_week = is_among(table, "week", [home_weeks(table)[min(compounds)]])
    side = np.select([is_held_out & in_week, is_held_out | in_week], [TEST, UNUSED], TRAIN)
    held_out = tuple(sorted(set(table.frame["compound"][side == TEST])))
    return Split("leave-week-out", side, held_out)


def by_wells(table: SiteTable, share: float, seed: int, turn: int) -> Split:
    """Hold out a share of the wells of each class on each plate. Raises UsageError where no class has two wells."""
    is_out = held_out_wells.choose(table, share, seed=seed, turn=turn)
    if not is_out.any():
        raise UsageError("split wells needs a class with two wells, one to train on and one to hold out; there is none")
    return _of_known(Split("wells", np.where(is_out, TEST, TRAIN), ()), table, NEW_WELLS)


def leave_plate_out(table: SiteTable, spellings: list[str]) -> Split:
    """Hold out a plate, its control wells among it."""
    side = np.where(is_among(table, "plate", spellings), TEST, TRAIN)
    return _of_known(Split("leave-plate-out", side, ()), table, NEW_PLATE)


def with_controls(split: Split, table: SiteTable, share: float, seed: int, turn: int) -> Split:
    """Hold out a share of the control wells of each plate too: of leave-week-out, of the plates of that week."""
    may = table.is_control() & (split.side == (UNUSED if split.method == "leave-week-out" else TRAIN))
    is_out = held_out_wells.choose(table, share, seed=seed, turn=turn, among=may)
    return replace(split, side=np.where(is_out, TEST, split.side), wells=held_out_wells.names_of(table, is_out))


def control_wells(split: Split, table: SiteTable) -> tuple[str, ...]:
    """Return plate and well of the control wells that are held out."""
    return held_out_wells.names_of(table, table.is_control() & (split.side == TEST))


def assert_apart(split: Split, table: SiteTable) -> None:
    """Assert that no compound, week, plate or well that must be on one side is on both."""
    is_train, is_test = split.side == TRAIN, split.side == TEST
    trained, tested = _treated(table, is_train), _treated(table, is_test)
    shared = identity.in_common(tested, trained)
    is_alone = is_test if split.method in OF_WELLS else is_test & table.is_control()
    assert set(held_out_wells.names_of(table, is_alone)) == set(split.wells), "other wells or control wells are held out"
    assert split.method in OF_WELLS or not shared, "a compound is on both sides"
    assert tested - set(shared) == set(split.held_out), "other compounds are held out"
    assert not held_out_wells.on_both_sides(table, is_train, is_alone), "a well is on both sides"
    for method, unit in (("leave-week-out", "week"), ("leave-plate-out", "plate")):
        names = (table.frame[unit][side] for side in (is_train, is_test))
        assert split.method != method or not identity.in_common(*names), f"a {unit} is on both sides"


def _of_known(split: Split, table: SiteTable, meaning: str) -> Split:
    """Return a split of wells or plates with all that it holds out, and what its score says where compounds are known."""
    train, test = (_treated(table, split.side == side) for side in (TRAIN, TEST))
    known = set(identity.in_common(test, train))
    return replace(split, held_out=tuple(sorted(test - known)), meaning=meaning if known else "",
                   wells=held_out_wells.names_of(table, split.side == TEST))


def _treated(table: SiteTable, rows: np.ndarray) -> set[str]:
    return set(table.frame["compound"][rows & ~table.is_control()])
