"""The unit of a table's concentrations, where the table says it: in a column of its own, or in the name of the column.

Exercised by `pytest tests/data/tables/test_dose_unit.py`.
"""

import pandas as pd

from mscnn.core import identity
from mscnn.core.errors import UsageError
from mscnn.core.logs import log
from mscnn.core.units import one_spelling
from mscnn.data.plate_maps.units import find_unit, split_unit
from mscnn.data.tables.text_csv import plain_name

COLUMNS = ("concentrationunit", "concentrationunits", "concunit", "doseunit")  # by plain_name; `mscnn table`: the first


def table_unit(table: pd.DataFrame, column: str) -> str:
    """Return the unit of the concentrations, "" where the table does not tell; `µM or µg/ml` where rows differ.

    table: all columns as text; column: that holds the concentrations, "" where none does.
    """
    found = [name for name in table.columns if plain_name(name) in COLUMNS]
    texts = table[found[0]].str.strip().unique().tolist() if found else []
    texts = [text for text in texts if not identity.is_not_known(text)] or [split_unit(column)[1]]
    try:
        units = sorted({_shown(text) for text in texts if text})
    except UsageError:
        log.warning("column %s holds no units; name that of the concentrations with --concentration-unit", found[0])
        return ""
    if len(units) > 1:
        log.warning("concentrations have several units: %s; give a table for each to compare doses", ", ".join(units))
    return " or ".join(units)


def _shown(text: str) -> str:
    """Return a unit as it is shown: micromolar, umol/l and um are µM.  Numbers are not converted, so nM stays nM."""
    known = find_unit(text)
    return known.written if known and known.factor == 1.0 else one_spelling(text)
