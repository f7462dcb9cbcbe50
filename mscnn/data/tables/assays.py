"""A table of assays: a row a compound, a column an assay; 1 or 0, empty where the compound was not measured.

    python -m pytest tests/data/tables/test_assays.py

Shapes: C compounds of the table, S sites, A assays.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mscnn.core import identity
from mscnn.core.errors import DataError
from mscnn.core.logs import log
from mscnn.data.tables.problems import Problem, refuse, rows_of
from mscnn.data.tables.text_csv import plain_name, read_csv

COMPOUND = ("compound", "compoundname")  # names of the column of compounds, by plain_name
ACTIVE, INACTIVE = ("1", "true", "active", "positive"), ("0", "false", "inactive", "negative")  # values in normal form
_VALUES = {**dict.fromkeys(ACTIVE, 1.0), **dict.fromkeys(INACTIVE, 0.0)}


@dataclass(frozen=True, eq=False)
class Assays:
    """The assays of the compounds of a site table."""

    names: list[str]       # in alphabetical order
    values_CA: np.ndarray  # float32: 1 active, 0 inactive, NaN not measured; the last row, of no compound, is NaN
    row_S: np.ndarray      # of each site's compound in values_CA; the last for a compound that the table lacks

    def select(self, sites: np.ndarray) -> "Assays":
        """Return the assays of the sites at positions."""
        return replace(self, row_S=self.row_S[sites])

    def of_sites(self) -> np.ndarray:
        """Return the values (S, A) float32 of each site's compound."""
        return self.values_CA[self.row_S]

    def is_measured(self) -> np.ndarray:
        """Return (S,) bool, true where a site's compound was measured in at least one assay."""
        is_measured_C = ~np.isnan(self.values_CA).all(axis=1)
        return np.asarray(is_measured_C)[self.row_S]

    def of_one_class(self, is_trained_S: np.ndarray) -> list[str]:
        """Return the assays that these sites cannot teach: without an active compound, or without an inactive one."""
        values_CA = self.values_CA[np.unique(self.row_S[is_trained_S])]
        has_both_A = (values_CA == 0).any(axis=0) & (values_CA == 1).any(axis=0)
        return [name for name, has_both in zip(self.names, has_both_A, strict=True) if not has_both]

    def reordered(self, names: list[str]) -> "Assays":
        """Return these assays under other names in their order; those that the table lacks were not measured."""
        forms = {identity.normal_form(name): place for place, name in enumerate(self.names)}
        values_CA = np.full((len(self.values_CA), len(names)), np.nan, np.float32)
        for place, name in enumerate(names):
            if (own := forms.get(identity.normal_form(name))) is not None:
                values_CA[:, place] = self.values_CA[:, own]
        return Assays(names, values_CA, self.row_S)

    def digest(self) -> str:
        """Return a SHA-256 over the names and the value of each site: equal where the same is learnt from."""
        sha = hashlib.sha256(repr(self.names).encode())
        codes_CA = np.where(np.isnan(self.values_CA), 2, self.values_CA).astype(np.uint8)
        for row in self.row_S:
            sha.update(codes_CA[row].tobytes())
        return sha.hexdigest()


def read_assays(path: Path, compounds: pd.Series, column: str | None = None) -> Assays:
    """Read a table of assays for the sites of a screen; compounds are matched in any spelling.

    compounds: (S,) of each site.  column: name of the column of compounds, if it has another one than compound.
    Rows of one compound are joined.  Raises DataError listing the values that are neither 1, 0 nor missing, rows without
    a compound, and compounds with two values in one assay.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such table of assays; say where it is with --assays")
    table = read_csv(path)
    column = _compound_column(table, column, path)
    names = sorted(set(table.columns) - {column})
    _require_names(names, path)
    problems, keys = [], identity.normal_forms(table[column].str.strip())
    problems += [Problem(row, str(path), "no compound", "rows have no compound; fill it in, or take them out")
                 for row, name in rows_of(table[column]) if identity.is_missing(name)]
    values = pd.DataFrame({name: _numbers(table[name], path, problems) for name in names}, index=table.index)
    by_compound = values.groupby(keys)
    low, high = by_compound.min(), by_compound.max()
    problems += _contradictions(table, column, keys, (low != high) & low.notna(), path)
    refuse(problems, path)
    forms = identity.normal_forms(compounds)
    row_S = low.index.get_indexer(pd.Index(forms))
    values_CA = np.vstack([low.to_numpy(np.float32), np.full((1, len(names)), np.nan, np.float32)])
    assays = Assays(names, values_CA, np.where(row_S < 0, len(low), row_S))
    _log(assays, low, forms, path)
    return assays


def _compound_column(table: pd.DataFrame, given: str | None, path: Path) -> str:
    found = [given] if given in table.columns else [name for name in table.columns if plain_name(name) in COMPOUND]
    if len(found) != 1:
        raise DataError(f"{path}: {len(found) or 'no'} columns could hold the compound; name one of them compound", [
            f"column {name}" for name in found or table.columns])
    return str(found[0])


def _require_names(names: list[str], path: Path) -> None:
    """Raise DataError for a table without assays, and for names that are empty or written twice."""
    if not names:
        raise DataError(f"{path}: has a column of compounds and no assay; add a column an assay, with 1, 0 or nothing")
    if "" in names:
        raise DataError(f"{path}: a column has no name; name it, or take it out (a data frame is written with index=False)")
    if twice := identity.spellings(names):
        raise DataError(f"{path}: assays are named twice; rename them, or take one out",
                        [", ".join(map(ascii, group)) for group in twice])


def _numbers(texts: pd.Series, path: Path, problems: list[Problem]) -> pd.Series:
    """Return text as 1, 0 or NaN; add what is neither to the problems."""
    forms = texts.map({text: identity.number(text) for text in texts.unique()})
    is_missing = forms.map({form: identity.is_not_known(form) for form in forms.unique()}).astype(bool)
    numbers = forms.map(_VALUES)
    problems += [Problem(row, str(path), f"assay {texts.name}: {text!r} is neither active nor inactive",
                         "values are neither 1 nor 0; write 1, 0 or nothing, or take out a column that is no assay")
                 for row, text in rows_of(texts[numbers.isna() & ~is_missing])]
    return numbers.astype(float)


def _contradictions(table: pd.DataFrame, column: str, keys: pd.Series, differ: pd.DataFrame,
                    path: Path) -> list[Problem]:
    """Return a problem for each row of a compound with two values in an assay.  differ: by compound and assay."""
    found = []
    for key, is_twice in differ[differ.any(axis=1)].iterrows():
        rows = table.index[keys == key]
        for name in is_twice.index[is_twice]:
            listed = ", ".join(f"{table.at[row, name]!r} in row {row}" for row in rows)
            found += [Problem(int(row), str(path), f"compound {table.at[row, column]!r}, assay {name}: {listed}",
                              "values contradict another row of their compound; keep one") for row in rows]
    return found


def _log(assays: Assays, measured: pd.DataFrame, forms: pd.Series, path: Path) -> None:
    """Log how table and screen fit together. Raises DataError where no compound is in both with a value."""
    screened = set(forms)
    lacking = len(screened - set(measured.index))
    if not assays.is_measured().any():
        raise DataError(f"{path}: none of its {len(measured)} compounds is in the screen with a value (the screen has "
                        f"{len(screened)}, as {min(screened, default='')!r}); mend the names of compounds")
    there = measured[measured.index.isin(screened)]
    log.info("assays: %d of %d compounds, %.0f %% of the cells measured; compounds of the screen without any: %d; of the "
             "table, not in the screen: %d", len(assays.names), len(there), 100 * there.notna().to_numpy().mean(), lacking,
             len(measured) - len(there))
