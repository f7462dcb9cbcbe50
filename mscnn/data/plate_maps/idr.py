"""Annotations of the Image Data Resource: idrNNNN-screenA-annotation.csv, -library.txt and -processed.txt, a row a well.

They name no image files.  Exercised by `pytest tests/data/plate_maps/test_idr.py`.
"""

import re
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

import pandas as pd

from mscnn.core import identity
from mscnn.core.errors import DataError
from mscnn.data.plate_maps.units import common_unit
from mscnn.data.tables.text_csv import read_csv
from mscnn.data.tables.wells import well_name, well_place

_ROLES = {  # names of columns without case, brackets and punctuation, the best first
    "plate": ("plate", "plate name", "plate barcode"), "well": ("well", "well name"),
    "Metadata_Compound": (
        "compound name", "compound", "drug", "drug name", "treatment", "compound identifier", "compound id", "reagent name",
        "reagent identifier", "sirna pool identifier", "sirna identifier", "orf identifier", "gene symbol"),
    "Metadata_Concentration": ("compound concentration", "concentration", "drug concentration", "dose", "compound dose"),
    "Metadata_Unit": ("concentration unit", "concentration units", "compound concentration unit", "dose unit", "unit"),
    "Metadata_MoA": ("compound moa", "compound mechanism of action", "mechanism of action", "moa", "mechanism",
                     "compound class")}
_MARKS = ("characteristics", "term source", "experimental condition", "channels")  # what starts a column of IDR
_IGNORED = re.compile(r"term source \d+ (ref|accession)", re.IGNORECASE)
_REMEDY = "give an annotation file of IDR, with columns Plate, Well and Compound Name"


def is_idr_header(header: Sequence[str]) -> bool:
    """Return whether these columns are those of an annotation of IDR."""
    plain = [_plain(name)[0] for name in header]
    return {"plate", "well"} <= set(plain) and any(name.strip().lower().startswith(_MARKS) for name in header)


def read_idr_annotations(path: Path) -> pd.DataFrame:
    """Return an annotation of IDR as text: columns plate, well (A01) and Metadata_*, one row a well.

    Metadata_Compound, Metadata_Concentration, Metadata_Unit and Metadata_MoA have fixed names, "" where not known.  Other
    columns keep theirs, as Metadata_Organism for Characteristics [Organism].  Measured columns, and accessions of
    ontologies, are left out.  Raises DataError for another table, and for wells that have two treatments.
    """
    table = read_csv(path)
    columns = [str(name) for name in table]
    table = table[~table[columns[0]].str.startswith("#")]  # explanations below the header of a template
    found = {role: _find(columns, names) for role, names in _ROLES.items()}
    if missing := [role.removeprefix("Metadata_") for role in ("plate", "well", "Metadata_Compound") if not found[role]]:
        raise DataError(f"{path}: has no column for {' and '.join(missing).lower()}; {_REMEDY}")
    frame = pd.DataFrame({role: table[column].str.strip() if column else "" for role, column in found.items()}, table.index)
    if unit := _plain(found["Metadata_Concentration"])[1]:
        frame["Metadata_Unit"] = [common_unit(own, unit) for own in frame["Metadata_Unit"]]
        frame.loc[frame["Metadata_Concentration"] == "", "Metadata_Unit"] = ""
    frame["well"] = _wells(frame["well"], path)
    for column in columns:
        if column not in found.values() and not _IGNORED.match(column) and not _is_measured(column, table[column]):
            frame[_name(column, set(frame))] = table[column].str.strip()
    return _one_a_well(frame, path)


def _find(columns: Sequence[str], names: Sequence[str]) -> str:
    """Return the column with the best of these names, "" where there is none."""
    plain: dict[str, str] = {}
    for column in columns:
        plain.setdefault(_plain(column)[0], column)
    return next((plain[name] for name in names if name in plain), "")


def _plain(column: str) -> tuple[str, str]:
    """Return a column's name without case and brackets, and its unit.

    Compound Concentration (uM) and Experimental Condition [Compound concentration (uM)] -> compound concentration, uM.
    """
    inner = re.fullmatch(r"(?:experimental condition|characteristics|comment)\s*\[(.*)\]", column.strip(), re.IGNORECASE)
    match = re.fullmatch(r"(.*?)\s*[(\[]([^()\[\]]*)[)\]]\s*", inner[1] if inner else column.strip())
    name, unit = (match[1], match[2]) if match else (inner[1] if inner else column, "")
    return " ".join(re.sub(r"[\W_]+", " ", name).lower().split()), unit.strip()


def _name(column: str, taken: Set[Any]) -> str:
    """Return the name Metadata_* of another column: that within its brackets."""
    inner = re.fullmatch(r"(?:experimental condition|characteristics|comment)\s*\[(.*)\]", column.strip(), re.IGNORECASE)
    bare = re.sub(r"\W+", "_", inner[1] if inner else column).strip("_") or "Column"
    name = f"Metadata_{bare}"
    return next(one for one in (name, *(f"{name}_{number}" for number in range(2, len(taken) + 3))) if one not in taken)


def _is_measured(column: str, values: pd.Series) -> bool:
    """Return whether a column is a measurement: numbers with decimals, under a name without brackets."""
    is_number = values.str.fullmatch(r"-?\d*\.\d+(e[+-]?\d+)?|", case=False)
    return "[" not in column and bool(is_number.all()) and bool((values != "").any())


def _wells(wells: pd.Series, path: Path) -> pd.Series:
    places = {well: well_place(well) for well in wells.unique()}
    if wrong := [f"{well!r}" for well, place in places.items() if place is None]:
        raise DataError(f"{path}: {len(wrong)} wells are no places on a plate; write them A01 to AF48", wrong)
    return wells.map({well: well_name(*place) for well, place in places.items() if place})


def _one_a_well(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return the first row of each well. Raises DataError where others have another treatment."""
    treatment = ["Metadata_Compound", "Metadata_Concentration", "Metadata_Unit", "Metadata_MoA"]
    keys = frame.assign(plate=identity.normal_forms(frame["plate"]))
    different = keys[["plate", "well", *treatment]].drop_duplicates()
    twice = different[different.duplicated(["plate", "well"], keep=False)]
    if len(twice):
        number = len(twice[["plate", "well"]].drop_duplicates())
        shown = frame.loc[twice.index, ["plate", "well", *treatment]].itertuples(name=None)
        raise DataError(f"{path}: {number} wells have more than one treatment; give a row a well",
                        [f"row {row}: plate {plate} well {well}: {' '.join(filter(None, told))}"
                         for row, plate, well, *told in shown])
    kept = frame.loc[~keys.duplicated(["plate", "well"])]
    return kept.reset_index(drop=True).astype("str")
