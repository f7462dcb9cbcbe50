"""Read profiles from .h5ad, the file of AnnData: obs is the metadata, var names the features, X holds their values.

The format is that of anndata 0.8 and later (https://anndata.readthedocs.io, "on-disk format").  It is read by h5py: no
object in the file is built, and nothing but obs, var and X is looked at.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mscnn.core import foreign_table
from mscnn.core.errors import DataError, UsageError
from mscnn.core.foreign_table import MOST_VALUES, ForeignTable

_MISSING = -1  # code of a categorical


def read(path: Path, remedy: str) -> ForeignTable:
    """Return the columns of obs whose names start with Metadata_, and a column of each feature.

    Raises UsageError where h5py is not installed, and DataError for a file that is damaged or in another format.
    """
    try:
        import h5py  # optional, and slow to load
    except ImportError:
        raise UsageError(f"{path}: .h5ad is read by h5py, which is not installed; pip install h5py (or mscnn[profiling]), "
                         "or save the table as parquet") from None
    try:
        with h5py.File(path, "r") as file:
            if missing := [name for name in ("obs", "var", "X") if name not in file]:
                raise ValueError(f"it has no {', '.join(missing)}")
            rows, features = _names(file["obs"]), _names(file["var"])
            if len(rows) * len(features) > MOST_VALUES:
                raise ValueError(f"it promises {len(rows):,} rows of {len(features):,} values")
            columns = {name: _column(file["obs"][name]) for name in file["obs"] if name.startswith("Metadata_")}
            values = _matrix(file["X"])
            if values.shape != (len(rows), len(features)):
                raise ValueError(f"X is {values.shape}, obs has {len(rows)} rows and var {len(features)}")
            if apart := [name for name, column in columns.items() if len(column) != len(rows)]:
                raise ValueError(f"column {apart[0]} of obs has {len(columns[apart[0]])} of {len(rows)} rows")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, IndexError) as problem:
        why = (str(problem).strip().splitlines() or [type(problem).__name__])[0][:200]
        raise DataError(f"{path}: no readable AnnData file of anndata 0.8 or later ({why}); {remedy}") from None
    frame = pd.concat([pd.DataFrame(columns, index=range(len(rows))), pd.DataFrame(values, columns=features)], axis=1)
    return foreign_table.from_frame(frame, str(path), remedy)


def _names(group: Any) -> list[str]:
    """Return the index of a data frame."""
    if _encoding(group) != "dataframe":
        raise ValueError(f"{group.name} is {_encoding(group) or 'no data frame'}")
    return list(map(str, _column(group[group.attrs["_index"]])))


def _column(item: Any) -> np.ndarray:
    """Return a column as an array; None where a value of text is missing."""
    kind = _encoding(item)
    if kind == "categorical":
        codes, categories = item["codes"][()], np.append(_column(item["categories"]).astype(object), None)
        if len(codes) and (codes.min() < _MISSING or codes.max() >= len(categories) - 1):
            raise ValueError(f"{item.name} has codes of no category")
        return categories[codes]  # -1 is the last, None
    if kind.startswith("nullable"):
        return np.where(item["mask"][()], None, _column(item["values"]).astype(object))
    if not hasattr(item, "shape"):
        raise ValueError(f"{item.name} is {kind or 'a group'}")
    return item.asstr()[()].astype(object) if item.dtype.kind == "O" else item[()]


def _matrix(item: Any) -> np.ndarray:
    """Return X as float64, a sparse one filled."""
    kind = _encoding(item)
    if kind in ("csr_matrix", "csc_matrix"):
        from scipy import sparse

        build = sparse.csr_matrix if kind == "csr_matrix" else sparse.csc_matrix
        shape = tuple(int(size) for size in item.attrs["shape"])
        if len(shape) != 2 or min(shape) < 0 or shape[0] * shape[1] > MOST_VALUES:
            raise ValueError(f"X is {shape}")
        found = build((item["data"][()], item["indices"][()], item["indptr"][()]), shape=shape)
        found.check_format(full_check=True)
        return found.toarray().astype(float)
    if not hasattr(item, "shape") or len(item.shape) != 2 or item.size > MOST_VALUES:
        raise ValueError("X is no table of numbers")
    return item[()].astype(float)


def _encoding(item: Any) -> str:
    return str(item.attrs.get("encoding-type", ""))
