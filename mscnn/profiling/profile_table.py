"""Read a table of profiles, of this or any other program: metadata and features.

A row is a field, a well or a treatment.  Columns: Metadata_Compound, Metadata_Concentration, Metadata_MOA, Metadata_Week
(or Metadata_Batch), which NSCB needs, optionally Metadata_Plate and Metadata_Well.  All other numeric columns are features.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mscnn.core import foreign_table, identity
from mscnn.core.errors import DataError, UsageError
from mscnn.core.foreign_table import NUMBER, OTHER, TRUTH, ForeignTable
from mscnn.data.tables.site_table import PUBLIC_NAMES
from mscnn.profiling import h5ad

NEEDED = ("Metadata_Compound", "Metadata_Concentration", "Metadata_MOA")
BATCHES = ("Metadata_Week", "Metadata_Batch")
SCORED = "Metadata_Scored"  # false: the network was trained on it, so that it may be a neighbour but does not count
PLACES = ("Metadata_Plate", "Metadata_Well")
_NO_FEATURES = ("Metadata_", "Image_Metadata_", "Probability_", "Predicted_", "ImageNumber", "TableNumber", "ObjectNumber",
                "Unnamed: ")
REMEDY = "mend the table"
LARGEST = 1e100  # of a feature, either sign: sums of squares stay finite
_NAN = ["", "nan", "NaN", "NA", "N/A", "null", "None"]


@dataclass(frozen=True)
class ProfileTable:
    """Profiles with their metadata."""

    metadata: pd.DataFrame   # a row per profile: NEEDED, Metadata_Week ("" where not known), and those of PLACES that the
                             # file has; all text but the concentration; and Scored: bool, False for a profile that is a
                             # neighbour only
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
        return identity.is_name(self.metadata["Metadata_Compound"], control).to_numpy()


def read(path: Path, *, prefixes: tuple[str, ...] = (), drop_nan: bool = False) -> ProfileTable:
    """Read .csv, .csv.gz, .parquet or .h5ad. Raises DataError or UsageError naming the columns or rows that do not fit.

    prefixes: of the features; empty: all numeric columns.  drop_nan: leave out features that are not finite in some row;
    else they are refused.
    """
    return _from_table(_read_file(path), prefixes=prefixes, drop_nan=drop_nan)


def from_frame(table: pd.DataFrame, source: str, *, prefixes: tuple[str, ...] = (), drop_nan: bool = False) -> ProfileTable:
    """Return the profiles of a data frame with the columns of a file; source: its name, for errors; the rest as in read."""
    return _from_table(foreign_table.from_frame(table, source, REMEDY), prefixes=prefixes, drop_nan=drop_nan)


def _from_table(table: ForeignTable, *, prefixes: tuple[str, ...], drop_nan: bool) -> ProfileTable:
    source = table.source
    batch = next((name for name in BATCHES if name in table.columns), None)
    missing = [name for name in NEEDED if name not in table.columns]
    if missing:
        raise DataError(f"{source}: no column {', '.join(missing)}; add it, or rename the one that holds it "
                        f"(it has {_some(list(table.columns))})")
    names = _with_prefix(table, prefixes) if prefixes else _numeric(table)
    if not names:
        raise UsageError(f"{source}: no feature columns" + (f" that start with {' or '.join(prefixes)}" if prefixes else "")
                         + f"; it has {_some(list(table.columns))}")
    columns = {name: name for name in (*NEEDED, *(name for name in PLACES if name in table.columns))}
    columns |= {"Metadata_Week": batch} if batch else {}
    metadata = pd.DataFrame({name: table.text(column).str.strip() for name, column in columns.items()})
    if batch is None:
        metadata["Metadata_Week"] = ""
    metadata["Metadata_Concentration"] = numbers(metadata["Metadata_Concentration"], source)
    for name in ("Metadata_MOA", "Metadata_Week"):
        metadata[name] = metadata[name].where(~metadata[name].map(identity.is_not_known).astype(bool), "")
    metadata["Scored"] = _scored(table) if SCORED in table.columns else True
    refuse_spellings(metadata, source)
    metadata["Metadata_MOA"] = _of_treatments(metadata)
    names, features_SF = _features(table, names, drop_nan)
    return ProfileTable(metadata, features_SF, names)


def _with_prefix(table: ForeignTable, prefixes: tuple[str, ...]) -> list[str]:
    """Return the columns with one of some prefixes. Raises UsageError for a prefix that no column has, or metadata."""
    for prefix in prefixes:
        if not prefix.strip() or prefix.startswith(_NO_FEATURES) or any(name.startswith(prefix) for name in _NO_FEATURES):
            raise UsageError(f"--features {','.join(prefixes)}: {prefix!r} is no prefix of features alone; name others")
        if not any(name.startswith(prefix) for name in table.columns):
            raise UsageError(f"{table.source}: no feature columns that start with {prefix}; it has "
                             f"{_some(list(table.columns))}")
    return [name for name in table.columns if name.startswith(prefixes)]


def _scored(table: ForeignTable) -> np.ndarray:
    """Return whether each row counts, (S,). Raises DataError for what is neither true nor false."""
    texts = table.text(SCORED).str.strip().str.casefold()
    if not (fits := texts.isin(["true", "1", "false", "0"])).all():
        raise DataError(f"{table.source}: {SCORED} holds {texts[~fits].iloc[0][:40]!r}, neither true nor false; {REMEDY}")
    return texts.isin(["true", "1"]).to_numpy()


def _of_treatments(metadata: pd.DataFrame) -> pd.Series:
    """Return the mechanism of each row; a row without one has that of its treatment, where its other rows name one."""
    names = metadata["Metadata_MOA"]
    treatments = metadata.groupby(["Metadata_Compound", "Metadata_Concentration"], dropna=False).ngroup()
    known = names[names != ""].groupby(treatments).agg(["first", "nunique"])
    single = treatments.map(known["first"][known["nunique"] == 1].to_dict())
    return names.where((names != "") | single.isna(), single)


def refuse_spellings(metadata: pd.DataFrame, source: str) -> None:
    """Raise DataError for names that are written in more than one way: one compound would be its own neighbour."""
    found = {name: identity.spellings(metadata[name]) for name in
             ("Metadata_Compound", "Metadata_MOA", "Metadata_Week", "Metadata_Plate") if name in metadata}
    if set(PLACES) <= set(metadata):
        plate, well = PLACES
        wells = identity.normal_table(metadata, {"plate": plate, "well": well})
        wells = wells.assign(name=metadata[well]).drop_duplicates()
        found[well] = [sorted(names) for names in wells.groupby(["plate", "well"])["name"].agg(list) if len(names) > 1]
    for name, groups in found.items():
        if groups:
            raise DataError(f"{source}: {name} holds names in more than one spelling; choose one of each",
                            [", ".join(map(ascii, group)) for group in groups])


def _read_file(path: Path) -> ForeignTable:
    if path.suffix == ".parquet":
        return foreign_table.read_parquet(path, REMEDY)
    if path.suffix == ".h5ad":
        return h5ad.read(path, REMEDY)
    if not path.name.endswith((".csv", ".csv.gz")):
        raise UsageError(f"{path}: profiles are read from .csv, .csv.gz, .parquet or .h5ad, got "
                         f"{path.suffix or 'no ending'}; convert them")
    # Metadata as the text it is: a compound NA is no missing value.
    return foreign_table.read_csv(path, "give a CSV in UTF-8, with a header and a row a profile",
                                  is_number=lambda name: not name.startswith("Metadata_"), missing=_NAN)


def _numeric(table: ForeignTable) -> list[str]:
    """Return the columns of numbers that are no identifiers; of text, those whose first filled value is a number."""
    def is_number(name: str) -> bool:
        if (kind := table.kind(name)) in (TRUTH, OTHER):
            return False
        if kind == NUMBER:
            return True
        filled = next((value for value in table.text(name) if value.strip()), "")
        return not filled or pd.notna(pd.to_numeric(filled, errors="coerce"))

    return [name for name in table.columns if not name.startswith(_NO_FEATURES) and is_number(name)]


def _features(table: ForeignTable, names: list[str], drop_nan: bool) -> tuple[list[str], np.ndarray]:
    """Return the names of the features that are left, and their values as finite numbers (S, F)."""
    features_SF, source = np.empty((table.rows, len(names))), table.source
    for position, name in enumerate(names):
        if table.kind(name) in (NUMBER, OTHER):
            features_SF[:, position] = table.numbers(name)
        else:
            features_SF[:, position] = pd.to_numeric(table.text(name), errors="coerce")
    finite_F = (np.abs(features_SF) <= LARGEST).all(axis=0)
    if not finite_F.all() and not drop_nan:
        bad = [f"{name}: {int((~(np.abs(features_SF[:, position]) <= LARGEST)).sum())} of {table.rows} rows"
               for position, name in enumerate(names) if not finite_F[position]]
        raise DataError(f"{source}: {len(bad)} of {len(names)} features are not finite numbers everywhere; mend them, or "
                        "leave these features out with --drop-nan true", bad)
    if not finite_F.any():
        raise DataError(f"{source}: no feature is a finite number in all of the {table.rows} rows; mend the table")
    return [name for name, finite in zip(names, finite_F, strict=True) if finite], features_SF[:, finite_F]


def numbers(column: pd.Series, source: str) -> pd.Series:
    """Return concentrations as numbers of six significant digits (identity.dose); NaN where they are not given."""
    texts = text(column)
    found = pd.to_numeric(texts.where(texts != ""), errors="coerce").astype(float)
    if (wrong := (found.isna() & ~texts.map(identity.is_not_known).astype(bool)) | np.isinf(found)).any():
        raise DataError(f"{source}: Metadata_Concentration has values that are no numbers; mend them",
                        sorted(set(texts[wrong])))
    return found.map(identity.dose)


def text(column: pd.Series) -> pd.Series:
    """Return text without blanks around it; a missing value is "". A week 1.0, of a column of numbers with gaps, is "1"."""
    table = foreign_table.from_frame(column.to_frame("column"), f"column {column.name}", REMEDY)
    return table.text("column").str.strip().set_axis(column.index).rename(column.name)


def _some(names: list[str]) -> str:
    """Join at most twelve names, columns of metadata first."""
    names = sorted(names, key=lambda name: not name.startswith("Metadata_"))
    return ", ".join(name[:60] for name in names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
