"""Splits of the sites into training and test side: pure functions of the site table, checked, and written to a file.

Sites without a mechanism are on the training side, where only label-free training reads them, unless they are named.

DMSO wells are controls: they may train, and whole wells of them are held out where that is asked.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mscnn.core import csv_safe, identity
from mscnn.core.errors import DataError, UsageError
from mscnn.core.record_files import read_json
from mscnn.data.tables.available import CHANGED
from mscnn.data.tables.folds import fold_compounds, pick, plates, treated_compounds
from mscnn.data.tables.hold_out import parse_names
from mscnn.data.tables.left_out import LeftOut
from mscnn.data.tables.sides import (
    OF_WELLS,
    TEST,
    TRAIN,
    UNUSED,
    Split,
    assert_apart,
    by_compounds,
    by_wells,
    control_wells,
    leave_plate_out,
    leave_week_out,
    random,
    with_controls,
)
from mscnn.data.tables.site_table import SiteTable
from mscnn.data.tables.text_csv import read_csv

LEFT_OUT = "left_out.json"


@dataclass(frozen=True)
class SplitRecord:
    """A split as a checkpoint holds it."""

    method: str
    held_out: list[str]            # the compounds on the test side, in alphabetical order, as in Split
    leaks: str                     # why a score on it flatters, or ""
    sha256: str                    # over the sites' metadata and sides together
    sites: dict[str, int]          # how many on each side
    trained: dict[str, list[str]]  # "compounds", "mechanisms", "weeks" and "plates" on the training side
    unlearnable: list[str]         # mechanisms on the test side alone; assays of one class on the training side
    sides: list[str] = field(default_factory=list)  # of each site in the table's order; empty in a summary
    wells: list[str] = field(default_factory=list)  # "plate well" that are held out by themselves, as in Split
    control_wells: int = 0         # how many of these are control wells
    meaning: str = ""              # what a score says, where it says nothing of new compounds; or ""
    chosen: str = ""               # what --split-method auto uses, and why; or ""
    left_out: LeftOut | None = None  # fields that --leave-out left out; None: none were
    notes: list[str] = field(default_factory=list)  # sites without images that were left out, told with every score

    def summary(self) -> dict[str, Any]:
        """Return all but the sides and the sites that were left out, as split.json and evaluation.json hold it.

        Notes only where there are any.
        """
        content = asdict(replace(self, left_out=self.left_out.summary() if self.left_out else None))
        return {name: value for name, value in content.items() if name != "sides" and (name != "notes" or value)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "SplitRecord":
        """Return the record of asdict or of a summary; counts and mechanisms that it lacks are empty."""
        given = {"sites": {}, "unlearnable": [], **content}
        if given.get("left_out") is not None:
            given["left_out"] = LeftOut.from_json(given["left_out"])
        return cls(**{entry.name: given[entry.name] for entry in fields(cls) if entry.name in given})


def make_split(table: SiteTable, *, split: str, hold_out: str = "none", folds: int = 5, fold: int = 0,
               test_fraction: float = 0.1, hold_out_controls: float = 0.0, seed: int = 0,
               within: np.ndarray | None = None, needs_labels: bool = True) -> Split:
    """Split sites by compound, week, plate, well or at random. Raises UsageError or DataError naming what does not fit.

    test_fraction: share of the fields (random), or of the wells of each class on each plate (wells).
    hold_out_controls: share of the control wells of each plate that are held out beside compounds.
    within: (S,) bool, the sites that are split; the others are on neither side.
    needs_labels: refuse a training side with fewer than two mechanisms, or with assays of one class alone.
    """
    if within is not None:
        inner = make_split(table.select(within), split=split, hold_out=hold_out, folds=folds, fold=fold,
                           test_fraction=test_fraction, hold_out_controls=hold_out_controls, seed=seed,
                           needs_labels=needs_labels)
        return expanded(inner, table, within, needs_labels=needs_labels)
    if split == "random":
        return _checked(random(table, test_fraction, seed), table, needs_labels)
    if split == "wells":
        return _checked(by_wells(table, test_fraction, seed, fold), table, needs_labels)
    if split == "leave-plate-out":
        return _checked(leave_plate_out(table, pick(plates(table), fold, split)), table, needs_labels)
    held_out = parse_names(hold_out, treated_compounds(table)) if split == "hold-out" else pick(
        fold_compounds(table, split=split, folds=folds, seed=seed), fold, split)
    return of_compounds(table, split, held_out, hold_out_controls=hold_out_controls, fold=fold, seed=seed,
                        needs_labels=needs_labels)


def of_compounds(table: SiteTable, method: str, compounds: list[str], *, hold_out_controls: float, fold: int, seed: int,
                 needs_labels: bool) -> Split:
    """Return the split that holds these compounds out, and control wells where any compound is.  As make_split."""
    made = (leave_week_out(table, set(compounds)) if method == "leave-week-out" else
            by_compounds(method, table, compounds))
    if hold_out_controls and len(made.test()):
        made = with_controls(made, table, hold_out_controls, seed, fold)
    return _checked(made, table, needs_labels)


def expanded(inner: Split, table: SiteTable, within: np.ndarray, *, needs_labels: bool) -> Split:
    """Return the split of the sites of a table at a mask as one of the whole table; the others are on neither side."""
    side = np.full(len(table), UNUSED, dtype=object)
    side[within] = inner.side
    return _checked(replace(inner, side=side.astype(str)), table, needs_labels)


def training_side(path: Path, table: SiteTable) -> np.ndarray:
    """Return (S,) bool, the training side of a split.csv that `write` wrote for this table. Raises DataError."""
    return read_sides(path, table) == TRAIN


def read_sides(path: Path, table: SiteTable) -> np.ndarray:
    """Return (S,) the side of each site in a split.csv that `write` wrote for this table. Raises DataError."""
    rows = csv_safe.unescape_table(read_csv(path))
    if "side" not in rows or rows.drop(columns="side").to_csv(index=False) != _site_rows(table).to_csv(index=False):
        raise DataError(f"{path}: is no split of this table; name the split.csv of a run on the same table")
    return rows["side"].to_numpy()


def write(split: Split, table: SiteTable, folder: Path) -> None:
    """Write split.csv, the side of each site, and split.json, a summary with a SHA-256 over the rows of the table.

    left_out.json has the sites that --leave-out left out, where it did.
    """
    csv_safe.write_csv(_rows(split, table), folder / "split.csv")
    (folder / "split.json").write_text(json.dumps(to_record(split, table).summary(), indent=1) + "\n")
    if table.left_out:
        (folder / LEFT_OUT).write_text(json.dumps(table.left_out.to_json(), indent=1) + "\n")


def read_left_out(folder: Path) -> LeftOut | None:
    """Return the sites that were left out of a training, by the file that `write` wrote; None where it wrote none."""
    path = folder / LEFT_OUT
    return read_json(path, LeftOut, "train again") if path.exists() else None


def to_record(split: Split, table: SiteTable) -> SplitRecord:
    """Return the record of a split of this table."""
    assays = "" if table.assays is None else table.assays.digest()
    digest = hashlib.sha256((_rows(split, table).to_csv(index=False) + assays).encode()).hexdigest()
    return SplitRecord(
        split.method, list(split.held_out), split.leaks, digest,
        sites={side: int((split.side == side).sum()) for side in (TRAIN, TEST, UNUSED)},
        trained={f"{column}s": trained_on(split, table, column) for column in ("compound", "mechanism", "week", "plate")},
        unlearnable=unlearnable(split, table), sides=split.side.tolist(), wells=[*split.wells],
        control_wells=len(control_wells(split, table)) if split.wells else 0, meaning=split.meaning, chosen=split.chosen,
        left_out=table.left_out, notes=list(table.notes))


def restore(record: SplitRecord, table: SiteTable) -> Split:
    """Return the split of a checkpoint for the same table read again. Raises DataError where the table has changed."""
    require_same_left_out(record, table)
    split = Split(record.method, np.array(record.sides), tuple(record.held_out), record.leaks, tuple(record.wells),
                  record.meaning, record.chosen)
    if len(split.side) != len(table) or to_record(split, table).sha256 != record.sha256:
        if record.notes or table.notes:
            raise DataError(f"{CHANGED}, or name a table to score with --sites", [
                f"{when}: {note}" for when, notes in (("in training", record.notes), ("now", table.notes))
                for note in notes or ["no site is left out"]])
        assays = "," if table.assays is None else ", or its assays,"
        raise DataError("the site table is not the one that the checkpoint was trained on (its split's SHA-256 differs);"
                        f" restore it{assays} or name a table to score with --sites")
    return split


def require_same_left_out(record: SplitRecord, table: SiteTable) -> None:
    """Raise DataError where a table leaves out other fields than the table of a split did."""
    before, now = (found.left_out for found in (record, table))
    if (before and before.sha256) != (now and now.sha256):
        raise DataError(f"the training had {before or 'no field left out'}, the table now has {now or 'none'}; give "
                        "--leave-out the file that it had then, with the same flags")


def trained_on(split: Split, table: SiteTable, column: str) -> list[str]:
    """Return the compounds, mechanisms, weeks or plates on the training side; an unknown one is left out."""
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
    lines = [f"asked auto, using {split.chosen}"] if split.chosen else []
    lines.append(f"{split.method}: {counts} fields")
    if split.leaks:
        lines.append(f"LEAKS: {split.leaks}")
    else:
        lines.append(f"held out: {'; '.join(_held_out(split, table)) or 'nothing'}")
    if split.meaning:
        lines.append(split.meaning)
    if untrained := unlearnable(split, table):
        why = "only on the held-out side, so always wrong" if table.assays is None else \
            f"assays of one class among the training compounds, so not learnt: {len(untrained)}"
        lines.append(f"{why}: {'; '.join(untrained)}")
    return "; ".join(lines)


def _rows(split: Split, table: SiteTable) -> pd.DataFrame:
    return _site_rows(table).assign(side=split.side)


def _site_rows(table: SiteTable) -> pd.DataFrame:
    return table.frame[["plate", "week", "well", "site", "compound", "concentration", "mechanism"]]


def _held_out(split: Split, table: SiteTable) -> list[str]:
    """Return the names of the compounds that are held out, and the number of wells that are by themselves."""
    controls, names = len(control_wells(split, table)), [*split.held_out]
    if split.method in OF_WELLS:
        plates_of = len(set(identity.normal_forms(table.frame["plate"][split.side == TEST], "plate")))
        new = [f"compounds that are not trained on: {', '.join(names)}"] if names else []
        return [f"{len(split.wells)} wells on {plates_of} plate{'' if plates_of == 1 else 's'}, {controls} of them control "
                f"wells", *new]
    return [*names, f"control wells: {controls}"] if controls else names


def _checked(split: Split, table: SiteTable, needs_labels: bool) -> Split:
    """Assert that nothing leaks where nothing may, and refuse a split that leaves nothing to learn from."""
    train = table.frame[split.side == TRAIN]
    if not split.leaks:
        assert_apart(split, table)
    mechanisms = set(train["mechanism"]) - {""}
    if needs_labels and table.assays is not None:
        if len(unlearnable(split, table)) == len(table.assays.names):
            raise UsageError(f"holding out {', '.join(split.held_out) or 'nothing'} leaves no assay with active and "
                             "inactive compounds to train on; hold out fewer compounds, or measure more")
    elif needs_labels and len(mechanisms) < 2:
        raise UsageError(f"holding out {', '.join(split.held_out) or 'nothing'} leaves {len(mechanisms)} "
                         "mechanisms to train on; hold out fewer compounds")
    return split
