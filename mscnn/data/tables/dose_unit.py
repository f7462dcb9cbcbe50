"""The unit of a table's concentrations, where the table says it: in a column of its own, or in the name of the column.

Exercised by `pytest tests/data/tables/test_dose_unit.py`.
"""

from pathlib import Path

import pandas as pd

from mscnn.core import identity
from mscnn.core.errors import UsageError
from mscnn.core.logs import log
from mscnn.core.units import one_spelling
from mscnn.data.plate_maps.units import find_unit, split_unit
from mscnn.data.tables.problems import Problem, rows_of
from mscnn.data.tables.text_csv import plain_name

COLUMNS = ("concentrationunit", "concentrationunits", "concunit", "doseunit")  # by plain_name; `mscnn table`: the first
SEVERAL = ("concentrations are in another unit than most; convert them to one unit, or say by --concentration-unit that "
           "all numbers are of one")


def table_unit(table: pd.DataFrame, column: str) -> str:
    """Return the unit of the concentrations, "" where the table does not tell; `µM or µg/ml` where rows differ.

    table: all columns as text; column: that holds the concentrations, "" where none does.
    """
    given = _column(table)
    try:
        units = sorted(set(_units(given)) or {_shown(text) for text in [split_unit(column)[1]] if text})
    except UsageError:
        log.warning("column %s holds no units; name that of the concentrations with --concentration-unit", given.name)
        return ""
    if len(units) > 1:
        log.warning("concentrations have several units: %s; give a table for each to compare doses", ", ".join(units))
    return " or ".join(units)


def unlike_units(table: pd.DataFrame, frame: pd.DataFrame, path: Path) -> list[Problem]:
    """Return the doses whose numbers cannot be compared with those of other rows, each a problem of the table at path.

    Two units of one kind cannot, such as nM and µM, nor two units of one compound: 1 nM and 1 µM of it would be one
    treatment.  Compounds in µM beside antibodies in µg/ml, or a control in %, are no problem.
    table: as in `table_unit`; frame: compound and concentration of its rows, a number.
    """
    try:
        units = _units(_column(table))
    except UsageError:  # which table_unit tells
        return []
    units = units[frame.loc[units.index, "concentration"] > 0]
    kinds = units.map(lambda unit: known.written if (known := find_unit(unit)) else unit)
    compounds = identity.normal_forms(frame.loc[units.index, "compound"])
    numbers = [units.groupby(groups).transform("nunique") for groups in (kinds, compounds)]
    unlike = units[(numbers[0] > 1) | (numbers[1] > 1)]
    if unlike.empty:
        return []
    most = unlike.mode()[0]
    return [Problem(row, str(path), f"a concentration in {unit}, where most are in {most}", SEVERAL)
            for row, unit in rows_of(unlike[unlike != most])]


def _column(table: pd.DataFrame) -> pd.Series:
    """Return the first column of units; an empty one where there is none."""
    found = [name for name in table.columns if plain_name(name) in COLUMNS]
    return table[found[0]] if found else pd.Series("", table.index)


def _units(column: pd.Series) -> pd.Series:
    """Return the units of the rows that tell one, as they are shown. Raises UsageError for a text that is no unit."""
    texts = column.str.strip()
    texts = texts[~texts.map(identity.is_not_known).astype(bool)]
    return texts.map({text: _shown(text) for text in texts.unique()})


def _shown(text: str) -> str:
    """Return a unit as it is shown: micromolar, umol/l and um are µM.  Numbers are not converted, so nM stays nM."""
    known = find_unit(text)
    return known.written if known and known.factor == 1.0 else one_spelling(text)
