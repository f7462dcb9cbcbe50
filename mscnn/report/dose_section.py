"""Which compounds get a dose curve, and of which mechanism: the known one, or the one that is predicted.

    pytest tests/report/test_dose_section.py
"""

import pandas as pd

from mscnn.core import identity

MOA, COMPOUND = "Metadata_MOA", "Metadata_Compound"


def known(wells: pd.DataFrame) -> pd.DataFrame:
    """Return the wells whose mechanism is known, by mechanism and compound."""
    return wells[wells[MOA] != ""].sort_values([MOA, COMPOUND], kind="stable")


def predicted(wells: pd.DataFrame, compounds: pd.DataFrame, control: str) -> pd.DataFrame:
    """Return the wells of compounds without any known mechanism, the predicted one as theirs, the surest compound first.

    wells, compounds: tables of an evaluation; a compound is predicted as a whole.  The control is left out.
    """
    if "Predicted_MOA" not in compounds:  # of assays
        return wells.iloc[:0]
    new = compounds[~compounds[COMPOUND].isin(wells.loc[wells[MOA] != "", COMPOUND]) & (compounds["Predicted_MOA"] != "")
                    & ~identity.is_name(compounds[COMPOUND], control)]
    sure = pd.Series([row[f"Probability_{row['Predicted_MOA']}"] for row in new.to_dict("records")], new.index, dtype=float)
    new = new.loc[sure.sort_values(ascending=False, kind="stable").index]
    place = {name: number for number, name in enumerate(new[COMPOUND])}
    found = wells[wells[COMPOUND].isin(place)]
    found = found.assign(**{MOA: found[COMPOUND].map(dict(zip(new[COMPOUND], new["Predicted_MOA"], strict=True)))})
    return found.iloc[found[COMPOUND].map(place).argsort(kind="stable")]
