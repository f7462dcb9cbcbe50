"""Read a table of profiles, of this or any other program: metadata and features.

A row is a field, a well or a treatment.  Columns: Metadata_Compound, Metadata_Concentration, Metadata_MOA, Metadata_Week
(or Metadata_Batch), optionally Metadata_Plate and Metadata_Well.  All other numeric columns are features.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet

from mscnn.core import csv_safe, identity
from mscnn.core.errors import DataError, UsageError
from mscnn.data.tables.site_table import PUBLIC_NAMES

NEEDED = ("Metadata_Compound", "Metadata_Concentration", "Metadata_MOA")
BATCHES = ("Metadata_Week", "Metadata_Batch")
SCORED = "Metadata_Scored"  # false: the network was trained on it, so that it may be a neighbour but does not count
PLACES = ("Metadata_Plate", "Metadata_Well")
_NO_FEATURES = ("Metadata_", "Image_Metadata_", "Probability_", "Predicted_", "ImageNumber", "TableNumber", "ObjectNumber",
                "Unnamed: ")
_NAN = ["", "nan", "NaN", "NA", "N/A", "null", "None"]


@dataclass(frozen=True)
class ProfileTable:
    """Profiles with their metadata."""

    metadata: pd.DataFrame   # a row per profile: NEEDED, Metadata_Week, and those of PLACES that the file has; all text but
                             # the concentration; and Scored: bool, False for a profile that is a neighbour only
    features_SF: np.ndarray  # (S, F) float64, finite
    names: list[str]         # of the F features

    def select(self, rows: np.ndarray) -> "ProfileTable":
        """Return the profiles at a boolean mask or at positions."""
        chosen = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows, dtype=int)
        return ProfileTable(self.metadata.iloc[chosen].reset_index(drop=True), self.features_SF[chosen], self.names)

    def sites(self) -> pd.DataFrame:
        """Return the metadata with the names of a site table; a well that is not given is ""."""
        names = {public: name for name, public in PUBLIC_NAMES.items()}
        return self.metadata.rename(columns=names).assign(**({} if "Metadata_Well" in self.metadata else {"well": ""}))

    def is_control(self, control: str) -> np.ndarray:
        """Return (S,) bool: rows of untreated wells, by their compound, in any spelling."""
        return (identity.normal_forms(self.metadata["Metadata_Compound"]) == identity.normal_form(control)).to_numpy()


def read(path: Path, *, prefixes: tuple[str, ...] = (), drop_nan: bool = False) -> ProfileTable:
    """Read .csv, .csv.gz or .parquet. Raises DataError or UsageError naming the columns or rows that do not fit.

    prefixes: of the features; empty: all numeric columns.  drop_nan: leave out features that are not finite in some row;
    else they are refused.
    """
    return from_frame(_read_file(path), str(path), prefixes=prefixes, drop_nan=drop_nan)


def from_frame(table: pd.DataFrame, source: str, *, prefixes: tuple[str, ...] = (), drop_nan: bool = False) -> ProfileTable:
    """Return the profiles of a data frame with the columns of a file; source: its name, for errors; the rest as in read."""
    batch = next((name for name in BATCHES if name in table), None)
    missing = [name for name in NEEDED if name not in table] + ([] if batch else [" or ".join(BATCHES)])
    if missing:
        raise DataError(f"{source}: no column {', '.join(missing)}; add it, or rename the one that holds it "
                        f"(it has {_some(list(table))})")
    names = [name for name in table if name.startswith(prefixes)] if prefixes else _numeric(table)
    if not names:
        raise UsageError(f"{source}: no feature columns" + (f" that start with {' or '.join(prefixes)}" if prefixes else "")
                         + f"; it has {_some(list(table))}")
    metadata = table[[*NEEDED, *(name for name in PLACES if name in table)]].assign(Metadata_Week=table[batch])
    for name in metadata:
        metadata[name] = numbers(metadata[name], source) if name == "Metadata_Concentration" else text(metadata[name])
    for name in ("Metadata_MOA", "Metadata_Week"):
        metadata[name] = metadata[name].where(~metadata[name].map(identity.is_not_known).astype(bool), "")
    metadata["Scored"] = text(table[SCORED]).str.lower().isin(["true", "1"]) if SCORED in table else True
    refuse_spellings(metadata, source)
    names, features_SF = _features(table, names, source, drop_nan)
    return ProfileTable(metadata.reset_index(drop=True), features_SF, names)


def refuse_spellings(metadata: pd.DataFrame, source: str) -> None:
    """Raise DataError for names that are written in more than one way: one compound would be its own neighbour."""
    for name in ("Metadata_Compound", "Metadata_MOA", "Metadata_Week", "Metadata_Plate"):
        if name in metadata and (groups := identity.spellings(metadata[name])):
            raise DataError(f"{source}: {name} holds names in more than one spelling; choose one of each",
                            [", ".join(map(ascii, group)) for group in groups])


def _read_file(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        try:
            return pyarrow.parquet.read_table(path).to_pandas()
        except (OSError, pyarrow.ArrowException) as problem:
            raise DataError(f"{path}: no readable parquet file ({str(problem).splitlines()[0]}); write it again") from None
    if not path.name.endswith((".csv", ".csv.gz")):
        raise UsageError(f"{path}: profiles are read from .csv, .csv.gz or .parquet, got {path.suffix or 'no ending'}; "
                         "convert them")
    try:  # metadata as the text it is: a compound NA is no missing value
        return csv_safe.read_csv(path, is_number=lambda name: not name.startswith("Metadata_"), missing=_NAN)
    except (OSError, EOFError, zlib.error, ValueError) as problem:  # pandas' own errors are ValueErrors
        raise DataError(f"{path}: cannot be read ({str(problem).splitlines()[0]}); give a CSV in UTF-8, with a header and "
                        "a row a profile") from None


def _numeric(table: pd.DataFrame) -> list[str]:
    """Return the columns of numbers that are no identifiers; of a CSV, those whose first filled value is a number."""
    def is_number(column: pd.Series) -> bool:
        if pd.api.types.is_numeric_dtype(column):
            return not pd.api.types.is_bool_dtype(column)
        filled = column[column.notna() & (column != "")]
        return not len(filled) or pd.notna(pd.to_numeric(filled.iloc[0], errors="coerce"))

    return [name for name in table if not name.startswith(_NO_FEATURES) and is_number(table[name])]


def _features(table: pd.DataFrame, names: list[str], source: str, drop_nan: bool) -> tuple[list[str], np.ndarray]:
    """Return the names of the features that are left, and their values as finite numbers (S, F)."""
    features_SF = np.empty((len(table), len(names)))
    for position, name in enumerate(names):
        features_SF[:, position] = pd.to_numeric(table[name], errors="coerce")
    finite_F = np.isfinite(features_SF).all(axis=0)
    if not finite_F.all() and not drop_nan:
        bad = [f"{name}: {int((~np.isfinite(features_SF[:, position])).sum())} of {len(table)} rows"
               for position, name in enumerate(names) if not finite_F[position]]
        raise DataError(f"{source}: {len(bad)} of {len(names)} features are not finite numbers everywhere; mend them, or "
                        "leave these features out with --drop-nan true", bad)
    if not finite_F.any():
        raise DataError(f"{source}: no feature is a finite number in all of the {len(table)} rows; mend the table")
    return [name for name, finite in zip(names, finite_F, strict=True) if finite], features_SF[:, finite_F]


def numbers(column: pd.Series, source: str) -> pd.Series:
    """Return concentrations as numbers of six significant digits (identity.dose); NaN where they are not given."""
    texts = text(column)
    found = pd.to_numeric(texts.where(texts != ""), errors="coerce").astype(float)
    if (wrong := found.isna() & ~texts.map(identity.is_not_known).astype(bool)).any():
        raise DataError(f"{source}: Metadata_Concentration has values that are no numbers; mend them",
                        sorted(set(texts[wrong])))
    return found.map(identity.dose)


def text(column: pd.Series) -> pd.Series:
    """Return text without blanks around it; a missing value is "". A week 1.0, of a column of numbers with gaps, is "1"."""
    if pd.api.types.is_float_dtype(column):
        return column.map(lambda value: "" if pd.isna(value) else f"{value:.15g}")
    return column.where(column.notna(), "").astype(str).str.strip()


def _some(names: list[str]) -> str:
    """Join at most twelve names, columns of metadata first."""
    names = sorted(names, key=lambda name: not name.startswith("Metadata_"))
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
