"""Wells of all plates with what is shown of them: predictions, known mechanisms, measures and flags of quality."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mscnn.core import identity
from mscnn.data.tables import wells as well_names
from mscnn.data.tables.site_table import natural
from mscnn.report.run import Run

TEXTS = ("Metadata_Week", "Metadata_Compound", "Metadata_MOA", "Predicted_MOA", "Flags")
PLATE, WELL = "Metadata_Plate", "Metadata_Well"
# Rows and columns of plates that are made.
FORMATS = ((2, 3), (4, 6), (6, 8), (8, 12), (16, 24), (32, 48))
MEASURES = {"Cells": "cells", "Focus": "focus", "Intensity": "brightness", "Saturated": "saturated", "Debris": "debris"}


@dataclass(frozen=True)
class Plates:
    """All wells of a run."""

    names: list[str]           # of the plates, in natural order
    rows: int                  # of the smallest plate that holds all wells
    columns: int
    frame: pd.DataFrame        # a row per well: PLATE, WELL, Metadata_Week, Metadata_Compound, Metadata_Concentration,
                               # Metadata_MOA, Predicted_MOA, Probability_*, measures, Flags; Row and Column from 0 or -1;
                               # Control: bool
    measures: dict[str, str]   # {column of a measure: title}


def of_run(run: Run, quality: pd.DataFrame | None) -> Plates:
    """Return the wells that were predicted or measured."""
    wells = run.tables["wells"].drop_duplicates([PLATE, WELL])
    measures: dict[str, str] = {}
    if quality is not None:
        measured, measures = _of_fields(quality)
        wells = wells.merge(measured, on=[PLATE, WELL], how="outer", suffixes=("", "_measured"))
        for name in ("Metadata_Compound", "Metadata_Concentration"):
            wells[name] = wells[name].where(wells[name].notna(), wells.pop(f"{name}_measured"))
    texts = [name for name in TEXTS if name in wells]
    wells = wells.assign(**{name: wells[name].astype(object).where(wells[name].notna(), "") for name in texts})
    places = [well_names.well_place(name) or (-1, -1) for name in wells[WELL]]
    wells = wells.assign(Row=[row for row, _ in places], Column=[column for _, column in places],
                         Control=identity.is_name(wells["Metadata_Compound"], run.description.control).to_numpy())
    rows, columns = _smallest(wells["Row"].max(), wells["Column"].max()) if len(wells) else FORMATS[0]
    order = sorted(wells[PLATE].unique(), key=natural)
    return Plates(order, rows, columns, wells.reset_index(drop=True), measures)


def _of_fields(quality: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return a row per well: means of its fields, and all their flags; and titles of the measures."""
    names = [name for name in quality if name.startswith("Quality_") and quality[name].notna().any()]
    grouped = quality.groupby([PLATE, WELL], sort=True)
    flags = grouped["Flags"].agg(_union)
    found = grouped.agg({"Metadata_Compound": "first", "Metadata_Concentration": "first", **dict.fromkeys(names, "mean")})
    return found.assign(Flags=flags).reset_index(), {name: _title(name) for name in names}


def _union(parts: pd.Series) -> str:
    return ";".join(sorted({flag for part in parts for flag in part.split(";")} - {""}))


def _title(name: str) -> str:
    """Return the title of a measure: Quality_Focus_DNA is "focus, DNA"."""
    what, _, channel = name.removeprefix("Quality_").partition("_")
    return MEASURES.get(what, what.lower()) + (f", {channel}" if channel else "")


def _smallest(last_row: float, last_column: float) -> tuple[int, int]:
    """Return rows and columns of the smallest plate with these places, counted from 0."""
    return next(((rows, columns) for rows, columns in FORMATS if last_row < rows and last_column < columns), FORMATS[-1])


def most_frequent(plates: Plates, column: str) -> dict[tuple[str, float], str]:
    """Return {(compound, concentration or -1): the entry of a column that most of its wells have}."""
    named = plates.frame[plates.frame[column] != ""]
    keys = [named["Metadata_Compound"], named["Metadata_Concentration"].fillna(-1)]
    return {(str(compound), float(dose)): str(entries.mode().iloc[0])
            for (compound, dose), entries in named.groupby(keys)[column]} if len(named) else {}


def to_numbers(values: pd.Series | np.ndarray, digits: int = 4) -> list[float | None]:
    """Return numbers as JSON holds them, of so many digits; None for NaN."""
    return [None if value != value else float(f"{value:.{digits}g}") for value in np.asarray(values, float).tolist()]
