"""Write profiles as .h5ad, the file of AnnData, for scanpy and other programs that read it.

    mscnn evaluate --checkpoint RUN --h5ad true

obs holds the columns Metadata_*, var the names of the features, X their values in float32.
The format is that of anndata 0.8 and later (https://anndata.readthedocs.io, "on-disk format").  It is written by h5py:
anndata up to 0.12.6 does not know the text columns of pandas 3, and later ones refuse pandas 3.

Shapes: S rows, F features.
"""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mscnn.core.errors import DataError, UsageError

SUFFIX = ".h5ad"
_PLACE = ("Metadata_Plate", "Metadata_Well", "Metadata_Site")
_EMPTY = ("layers", "obsm", "obsp", "uns", "varm", "varp")


def require_h5py() -> None:
    """Raise UsageError where h5py is not installed, before any work."""
    if importlib.util.find_spec("h5py") is None:
        raise UsageError(".h5ad is written by h5py, which is not installed; pip install h5py (or mscnn[profiling]), or "
                         "write parquet alone")


def write(profiles: pd.DataFrame, path: Path) -> None:
    """Write a table of columns Metadata_* and features as an AnnData file.

    Text becomes categories, and empty text a missing one.  Numbers and truth values stay what they are, and a missing
    number is NaN.  Rows are named Plate_Well_Site where that names each row once; else they are numbered from 0.
    Raises DataError for values that float32 or HDF5 cannot hold.
    """
    import h5py  # optional, and slow to load

    obs = profiles[[name for name in profiles if str(name).startswith("Metadata_")]]
    features = profiles.drop(columns=obs.columns)
    values_SF = _float32(features, path)
    names = row_names(obs)
    try:
        with h5py.File(path, "w", locking=False) as file:  # the caller may hold a lock on it
            _encode(file, "anndata", "0.1.0")
            _array(file, "X", values_SF)
            _data_frame(file, "obs", obs, names)
            _data_frame(file, "var", pd.DataFrame(index=range(features.shape[1])), list(map(str, features)))
            for name in _EMPTY:
                _encode(file.create_group(name), "dict", "0.1.0")
    except ValueError as problem:  # a NUL
        raise DataError(f"{path}: a name cannot be written as HDF5 ({problem}); mend the name in the table, or write "
                        "parquet") from None


def row_names(obs: pd.DataFrame) -> list[str]:
    """Return a name for each row, each once: Plate_Well_Site, or else the number of the row."""
    place = [obs[name].astype(str) for name in _PLACE if name in obs]
    names = ["_".join(parts) for parts in zip(*place, strict=True)] if place else []
    return names if names and len(set(names)) == len(names) else [str(number) for number in range(len(obs))]


def _float32(features: pd.DataFrame, path: Path) -> np.ndarray:
    """Return the features (S, F) in float32. Raises DataError naming a feature with a finite value beyond its range."""
    wide_SF = features.to_numpy(dtype=float)
    with np.errstate(over="ignore"):
        values_SF = wide_SF.astype(np.float32)
    if (lost_F := (np.isinf(values_SF) & np.isfinite(wide_SF)).any(axis=0)).any():
        raise DataError(f"{path}: values of these features are too large for float32; write parquet",
                        [str(name) for name in features.columns[lost_F]])
    return values_SF


def _data_frame(file: Any, name: str, frame: pd.DataFrame, index: list[str]) -> None:
    """Write the columns of a data frame and its index."""
    group = file.create_group(name)
    _encode(group, "dataframe", "0.2.0")
    group.attrs["_index"] = "_index"
    group.attrs["column-order"] = np.array(list(map(str, frame)), dtype=_text())
    _texts(group, "_index", index)
    for column in frame:
        if pd.api.types.is_bool_dtype(frame[column]) or pd.api.types.is_numeric_dtype(frame[column]):
            _array(group, str(column), frame[column].to_numpy())
        else:
            _categories(group, str(column), frame[column])


def _categories(group: Any, name: str, column: pd.Series) -> None:
    """Write a column of text as sorted categories and their codes, -1 where it is empty."""
    texts = column.fillna("").astype(str)
    categories = sorted({*texts} - {""})
    codes = {text: code for code, text in enumerate(categories)}
    item = group.create_group(name)
    _encode(item, "categorical", "0.2.0")
    item.attrs["ordered"] = False
    _texts(item, "categories", categories)
    _array(item, "codes", np.array([codes.get(text, -1) for text in texts], dtype=np.int32))


def _texts(group: Any, name: str, texts: list[str]) -> None:
    group.create_dataset(name, data=np.array(texts, dtype=object), dtype=_text(), shape=(len(texts),))
    _encode(group[name], "string-array", "0.2.0")


def _array(group: Any, name: str, values: np.ndarray) -> None:
    group[name] = values
    _encode(group[name], "array", "0.2.0")


def _encode(item: Any, kind: str, version: str) -> None:
    """Name the encoding of a part of the file, as the format requires of every part."""
    item.attrs["encoding-type"], item.attrs["encoding-version"] = kind, version


def _text() -> Any:
    """Return the type of text in UTF-8 of any length."""
    import h5py

    return h5py.string_dtype("utf-8")
