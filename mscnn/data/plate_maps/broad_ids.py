"""Identifiers of the Broad Institute: BRD-K12345678-001-01-1 is a compound, its salt, its batch and a check digit.

Exercised by `pytest tests/data/plate_maps/test_broad_ids.py`.
"""

import re

import pandas as pd

from mscnn.core import identity

BROAD_IDS = ("broadsample", "broadid", "pertid", "compoundid")  # columns that hold them, by `plain_name`
_CORE = re.compile(r"(brd-[a-z]\d{8})(-\d{3}(-\d{2}(-\d)?)?)?")


def cores(names: pd.Series) -> pd.Series:
    """Return the compound of each identifier in normal form, brd-k12345678; "" of other names."""
    forms = identity.normal_forms(names)
    matches = {form: _CORE.fullmatch(form) for form in forms.unique()}
    return forms.map({form: match[1] if match else "" for form, match in matches.items()}).astype(str)


def clear_cores(table: pd.DataFrame, column: str) -> dict[str, int]:
    """Return {compound: place of its first row with a mechanism} of the identifiers of a column of a table of compounds.

    Compounds whose rows differ in name or mechanism, or are of one dose, are left out.
    """
    keys = cores(table[column]).to_numpy()
    facts = pd.DataFrame({"name": identity.normal_forms(table["compound"]).to_numpy(),
                          "mechanism": identity.normal_forms(table["mechanism"]).to_numpy(),
                          "dose": table["concentration"].fillna(-1.0).to_numpy()})
    places: dict[str, int] = {}
    for key, rows in facts[keys != ""].groupby(keys[keys != ""]):
        told = rows[rows["mechanism"] != ""]
        if rows["name"].nunique() == 1 and told["mechanism"].nunique() < 2 and (rows["dose"] < 0).all():
            places[str(key)] = int((told if len(told) else rows).index[0])
    return places
