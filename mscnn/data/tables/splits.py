"""Splits of the sites into training and test side: pure functions of the site table, checked, and written to a file.

Sites without a mechanism are on the training side, where only label-free training reads them, unless they are named.

DMSO wells are controls: they may train, and only a random split tests them.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mscnn.core import csv_safe, identity
from mscnn.core.errors import DataError, UsageError
from mscnn.data.tables.available import CHANGED
from mscnn.data.tables.hold_out import parse_names
from mscnn.data.tables.sampler import Stream
from mscnn.data.tables.site_table import SiteTable, natural
from mscnn.data.tables.text_csv import read_csv

TRAIN, TEST, UNUSED = "train", "test", "unused"


@dataclass(frozen=True)
class Split:
    """Which sites are trained on, and which are held out."""

    method: str                # hold-out, leave-compound-out, leave-week-out, k-fold or random
    side: np.ndarray           # (S,) text: train, test or unused
    held_out: tuple[str, ...]  # the compounds on the test side, in alphabetical order
    leaks: str = ""            # why a score on the test side flatters, or ""

    def train(self) -> np.ndarray:
        """Return the positions of the sites on the training side."""
        return np.flatnonzero(self.side == TRAIN)

    def test(self) -> np.ndarray:
        """Return the positions of the sites on the test side."""
        return np.flatnonzero(self.side == TEST)


@dataclass(frozen=True)
class SplitRecord:
    """A split as a checkpoint holds it."""

    method: str
    held_out: list[str]            # the compounds on the test side, in alphabetical order
    leaks: str                     # why a score on it flatters, or ""
    sha256: str                    # over the sites' metadata and sides together
    sites: dict[str, int]          # how many on each side
    trained: dict[str, list[str]]  # "compounds", "mechanisms" and "weeks" on the training side
    unlearnable: list[str]         # mechanisms on the test side alone; assays of one class on the training side
    sides: list[str] = field(default_factory=list)  # of each site in the table's order; empty in a summary
    notes: list[str] = field(default_factory=list)  # sites that were left out of the table, with every score

    def summary(self) -> dict[str, Any]:
        """Return all but the sides, as split.json and evaluation.json hold it; notes only where there are any."""
        return {name: value for name, value in asdict(self).items() if name != "sides" and (name != "notes" or value)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "SplitRecord":
        """Return the record of asdict or of a summary; counts and mechanisms that it lacks are empty."""
        given = {"sites": {}, "unlearnable": [], "sides": [], "notes": [], **content}
        return cls(**{entry.name: given[entry.name] for entry in fields(cls)})


def make_split(table: SiteTable, *, split: str, hold_out: str = "none", folds: int = 5, fold: int = 0,
               test_fraction: float = 0.1, seed: int = 0, within: np.ndarray | None = None,
               needs_labels: bool = True) -> Split:
    """Split sites by compound, week or at random. Raises UsageError or DataError naming what does not fit.

    within: (S,) bool, the sites that are split; the others are on neither side.
    needs_labels: refuse a training side with fewer than two mechanisms, or with assays of one class alone.
    """
    if within is not None:
        inner = make_split(table.select(within), split=split, hold_out=hold_out, folds=folds, fold=fold,
                           test_fraction=test_fraction, seed=seed, needs_labels=needs_labels)
        side = np.full(len(table), UNUSED, dtype=object)
        side[within] = inner.side
        return _checked(replace(inner, side=side.astype(str)), table, needs_labels)
    if split == "random":
        return _checked(_random(table, test_fraction, seed), table, needs_labels)
    held_out = parse_names(hold_out, treated_compounds(table)) if split == "hold-out" else _pick(
        fold_compounds(table, split=split, folds=folds, seed=seed), fold, split)
    if split == "leave-week-out":
        return _checked(_leave_week_out(table, set(held_out)), table, needs_labels)
    side = np.where(is_among(table, "compound", held_out), TEST, TRAIN)
    return _checked(Split(split, side, tuple(sorted(set(table.frame["compound"][side == TEST])))), table, needs_labels)


def fold_compounds(table: SiteTable, *, split: str, folds: int = 5, seed: int = 0) -> list[list[str]]:
    """Return the compounds that each fold holds out, in the order of --fold; of leave-week-out all of the week.

    Compounds without a label are in no other fold.
    """
    if split == "leave-compound-out":
        return [[compound] for compound in treated_compounds(table.labelled())]
    if split == "k-fold":
        return grouped_folds(table, folds, seed)
    assert split == "leave-week-out", split
    if (table.frame["week"] == "").any():
        raise UsageError("split leave-week-out needs a week for every site; name the column with --columns week=COLUMN")
    home = home_weeks(table)
    return [sorted(compound for compound in home if home[compound] == week)
            for week in sorted(set(home.values()), key=natural)]


def training_side(path: Path, table: SiteTable) -> np.ndarray:
    """Return (S,) bool, the training side of a split.csv that `write` wrote for this table. Raises DataError."""
    return read_sides(path, table) == TRAIN


def read_sides(path: Path, table: SiteTable) -> np.ndarray:
    """Return (S,) the side of each site in a split.csv that `write` wrote for this table. Raises DataError."""
    rows = csv_safe.unescape_table(read_csv(path))
    if "side" not in rows or rows.drop(columns="side").to_csv(index=False) != _site_rows(table).to_csv(index=False):
        raise DataError(f"{path}: is no split of this table; name the split.csv of a run on the same table")
    return rows["side"].to_numpy()


def treated_compounds(table: SiteTable) -> list[str]:
    """Return the compounds other than the control, in alphabetical order."""
    return sorted(set(table.frame["compound"][~table.is_control()]))


def grouped_folds(table: SiteTable, folds: int, seed: int) -> list[list[str]]:
    """Return the labelled compounds in `folds` groups of near equal size, each mechanism spread over the groups."""
    labelled = table.labelled()
    mechanism_of = dict(zip(labelled.frame["compound"], labelled.frame["mechanism"], strict=True))
    compounds = treated_compounds(labelled)
    if folds > len(compounds):
        raise UsageError(f"folds is {folds}, but there are only {len(compounds)} compounds; use at most that many")
    shuffled = np.random.default_rng([Stream.FOLDS, seed]).permutation(compounds).tolist()
    by_mechanism = sorted(shuffled, key=lambda compound: mechanism_of[compound])  # stable: random within a mechanism
    return [sorted(by_mechanism[group::folds]) for group in range(folds)]


def home_weeks(table: SiteTable) -> dict[str, str]:
    """Return by compound the week in which most of its concentrations were run; of equal weeks the earlier.

    In BBBC021 a compound has one week.  Taxol is the exception: its control wells are in every week.
    """
    treated = table.frame[~table.is_control()]
    doses = treated.groupby(["compound", "week"])["concentration"].nunique().reset_index()
    doses["order"] = doses["week"].map(natural)
    doses = doses.sort_values(["order"], kind="stable").sort_values("concentration", ascending=False, kind="stable")
    first = doses.drop_duplicates("compound")
    return dict(zip(first["compound"], first["week"], strict=True))


def write(split: Split, table: SiteTable, folder: Path) -> None:
    """Write split.csv, the side of each site, and split.json, a summary with a SHA-256 over the rows of the table."""
    csv_safe.write_csv(_rows(split, table), folder / "split.csv")
    (folder / "split.json").write_text(json.dumps(to_record(split, table).summary(), indent=1) + "\n")


def to_record(split: Split, table: SiteTable) -> SplitRecord:
    """Return the record of a split of this table."""
    assays = "" if table.assays is None else table.assays.digest()
    digest = hashlib.sha256((_rows(split, table).to_csv(index=False) + assays).encode()).hexdigest()
    return SplitRecord(
        split.method, list(split.held_out), split.leaks, digest,
        sites={side: int((split.side == side).sum()) for side in (TRAIN, TEST, UNUSED)},
        trained={f"{column}s": trained_on(split, table, column) for column in ("compound", "mechanism", "week")},
        unlearnable=unlearnable(split, table), sides=split.side.tolist(), notes=list(table.notes))


def restore(record: SplitRecord, table: SiteTable) -> Split:
    """Return the split of a checkpoint for the same table read again. Raises DataError where the table has changed."""
    split = Split(record.method, np.array(record.sides), tuple(record.held_out), record.leaks)
    if len(split.side) != len(table) or to_record(split, table).sha256 != record.sha256:
        if record.notes or table.notes:
            raise DataError(f"{CHANGED}, or name a table to score with --sites", [
                f"{when}: {note}" for when, notes in (("in training", record.notes), ("now", table.notes))
                for note in notes or ["no site is left out"]])
        assays = "," if table.assays is None else ", or its assays,"
        raise DataError("the site table is not the one that the checkpoint was trained on (its split's SHA-256 differs);"
                        f" restore it{assays} or name a table to score with --sites")
    return split


def trained_on(split: Split, table: SiteTable, column: str) -> list[str]:
    """Return the compounds, mechanisms or weeks on the training side; an unknown one is left out."""
    return sorted(set(table.frame[column][split.side == TRAIN]) - {""})


def with_trained_spelling(table: SiteTable, record: SplitRecord) -> SiteTable:
    """Return a table whose mechanisms are written as those that a checkpoint was trained on, where they are the same."""
    trained = {identity.normal_form(name): name for name in record.trained["mechanisms"]}
    names = {name: trained.get(identity.normal_form(name), name) for name in table.frame["mechanism"].unique()}
    return replace(table, frame=table.frame.assign(mechanism=table.frame["mechanism"].map(names)))


def overlap(record: SplitRecord, table: SiteTable) -> list[str]:
    """Return a note on compounds of a table that a checkpoint was trained on, if there are any."""
    seen = identity.in_common(treated_compounds(table), record.trained["compounds"])
    return [f"the network was trained on {len(seen)} of these compounds, so its score on them says nothing of new ones: "
            f"{'; '.join(seen)}"] if seen else []


def unlearnable(split: Split, table: SiteTable) -> list[str]:
    """Return what cannot be learnt: mechanisms on the test side alone, or assays of one class on the training side."""
    if table.assays is not None:
        return table.assays.of_one_class(split.side == TRAIN)
    held_out = set(table.frame["mechanism"][split.side == TEST]) - {""}
    return sorted(held_out - set(identity.in_common(held_out, trained_on(split, table, "mechanism"))))


def describe(split: Split, table: SiteTable) -> str:
    """Return one line on a split for the log."""
    counts = ", ".join(f"{number} {side}" for side in (TRAIN, TEST, UNUSED) if (number := (split.side == side).sum()))
    lines = [f"{split.method}: {counts} fields"]
    if split.leaks:
        lines.append(f"LEAKS: {split.leaks}")
    else:
        lines.append(f"held out: {'; '.join(split.held_out) or 'nothing'}")
    if untrained := unlearnable(split, table):
        why = "only on the held-out side, so always wrong" if table.assays is None else \
            f"assays of one class among the training compounds, so not learnt: {len(untrained)}"
        lines.append(f"{why}: {'; '.join(untrained)}")
    return "; ".join(lines)


def is_among(table: SiteTable, column: str, names: Iterable[str]) -> np.ndarray:
    """Return (S,) bool, true where a column holds one of these names, in any spelling."""
    return identity.normal_forms(table.frame[column]).isin(list(map(identity.normal_form, names))).to_numpy()


def _rows(split: Split, table: SiteTable) -> pd.DataFrame:
    return _site_rows(table).assign(side=split.side)


def _site_rows(table: SiteTable) -> pd.DataFrame:
    return table.frame[["plate", "week", "well", "site", "compound", "concentration", "mechanism"]]


def _random(table: SiteTable, test_fraction: float, seed: int) -> Split:
    order = np.random.default_rng([Stream.RANDOM_SPLIT, seed]).permutation(len(table))
    num_test = max(1, round(test_fraction * len(table)))
    side = np.full(len(table), TRAIN, dtype=object)
    side[order[:num_test]] = TEST
    held_out = tuple(sorted(set(table.frame["compound"][side == TEST])))
    leaks = "fields of the same wells, plates and compounds are on both sides; this score says nothing of new compounds"
    return Split("random", side.astype(str), held_out, leaks)


def _leave_week_out(table: SiteTable, compounds: set[str]) -> Split:
    """Hold out these compounds of one week; leave unused the rest of that week, and those compounds in other weeks."""
    is_held_out = is_among(table, "compound", compounds)
    in_week = is_among(table, "week", [home_weeks(table)[min(compounds)]])
    side = np.select([is_held_out & in_week, is_held_out | in_week], [TEST, UNUSED], TRAIN)
    held_out = tuple(sorted(set(table.frame["compound"][side == TEST])))
    return Split("leave-week-out", side, held_out)


def _checked(split: Split, table: SiteTable, needs_labels: bool) -> Split:
    """Assert that nothing leaks where nothing may, and refuse a split that leaves nothing to learn from."""
    frame = table.frame
    train, test = frame[split.side == TRAIN], frame[split.side == TEST]
    assert set(test["compound"]) == set(split.held_out)
    if not split.leaks:
        assert not identity.in_common(train["compound"], test["compound"]), "a compound is on both sides"
        assert not table.is_control()[split.side == TEST].any(), "control wells are held out"
    if split.method == "leave-week-out":
        assert not identity.in_common(train["week"], test["week"]), "a week is on both sides"
    mechanisms = set(train["mechanism"]) - {""}
    if needs_labels and table.assays is not None:
        if len(unlearnable(split, table)) == len(table.assays.names):
            raise UsageError(f"holding out {', '.join(split.held_out) or 'nothing'} leaves no assay with active and "
                             "inactive compounds to train on; hold out fewer compounds, or measure more")
    elif needs_labels and len(mechanisms) < 2:
        raise UsageError(f"holding out {', '.join(split.held_out) or 'nothing'} leaves {len(mechanisms)} "
                         "mechanisms to train on; hold out fewer compounds")
    return split


def _pick(choices: list[list[str]], fold: int, split: str) -> list[str]:
    if fold >= len(choices):
        unit = {"leave-compound-out": "compounds", "leave-week-out": "weeks", "k-fold": "folds"}[split]
        raise UsageError(f"fold is {fold}, but there are {len(choices)} {unit}; use 0 to {len(choices) - 1}")
    return choices[fold]
