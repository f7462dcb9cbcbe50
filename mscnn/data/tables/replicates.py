"""Replicates of a table's treatments: the fields that the replicate contrast attracts to each other, and those it repels.

Exercised by `pytest tests/data/tables/test_replicates.py`.  Shapes: S sites, N sites that are read.
"""

import numpy as np
import pandas as pd

from mscnn.core import identity
from mscnn.data.tables.site_table import SiteTable

ONE_FIELD, ONE_COMPOUND = "use --view-weight, which needs no replicates", "use --view-weight, which needs no other compound"


def site_numbers(table: SiteTable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a number for the treatment, the compound and the plate of each site (S,), the same in any spelling."""
    forms = identity.normal_table(table.frame, {name: name for name in ("compound", "plate")})
    forms["concentration"] = table.frame["concentration"].to_numpy()

    def numbers(*names: str) -> np.ndarray:
        return forms.groupby([*names], dropna=False, sort=False).ngroup().to_numpy()

    return numbers("compound", "concentration"), numbers("compound"), numbers("plate")


def why_no_contrast(treatments_N: np.ndarray, compounds_N: np.ndarray, plates_N: np.ndarray, negatives: str) -> str:
    """Return why the replicate contrast attracts or repels nothing on these sites, and the remedy; "" where it does.

    negatives: all, or plate: only fields of the same plate repel.
    """
    fields = pd.Series(treatments_N).value_counts()
    if (fields < 2).all():
        return f"needs treatments of several fields, got {len(fields)} treatments of one field; {ONE_FIELD}"
    apart = pd.Series(compounds_N).groupby(plates_N if negatives == "plate" else 0 * plates_N).nunique()
    if (apart > 1).any():
        return ""
    by_plate = negatives == "plate"
    remedy = "use --negatives all" if by_plate and len(set(compounds_N)) > 1 else ONE_COMPOUND
    return f"needs several compounds, and {'each plate' if by_plate else 'the table'} has one; {remedy}"
