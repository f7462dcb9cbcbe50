"""From what a user gives, an array, paths or a table, to the site table that evaluation predicts.

Shapes: N fields, C channels, H W pixels.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mscnn.core import config
from mscnn.core.errors import DataError, UsageError
from mscnn.data.pixels.in_memory import array_table
from mscnn.data.pixels.scale import Scale, scale_from_record
from mscnn.data.tables.image_source import source_paths
from mscnn.data.tables.site_table import METADATA, PUBLIC_NAMES, SiteTable
from mscnn.distributed.world import World
from mscnn.evaluation import aggregate, load_run
from mscnn.library import screen
from mscnn.library.counts import Expected, as_counts, require_header
from mscnn.training import prepare_data
from mscnn.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class Fields:
    """Fields to run a network on."""

    table: SiteTable         # with shape and native
    metadata: pd.DataFrame   # a row a field: the Metadata_* that were given
    index: pd.Index          # of the result


def to_fields(fields: Any, metadata: pd.DataFrame | None, saved: Checkpoint) -> Fields:
    """Return the fields of an array, a list of paths or a table. Raises DataError or UsageError for what does not fit.

    metadata: a row a field with Metadata_* columns, for an array or paths.
    """
    channels, (height, width) = tuple(saved.channels), saved.image_size
    data = config.from_flat(saved.settings).data
    expected = Expected(channels, height, width, is_fitted=data.size() is not None,
                        dtype=saved.counts.dtype if saved.counts else "uint16")
    if isinstance(fields, pd.DataFrame):
        if metadata is not None:
            raise UsageError("metadata goes with an array or paths; a table has Metadata_* columns of its own")
        table, index = screen.to_sites(fields, channels, data.control), fields.index
        known = fields
    else:
        table = _path_table(fields, expected, data.control) if isinstance(fields, list | tuple | str | os.PathLike) else \
            array_table(counts := as_counts(fields, expected), _no_metadata(len(counts)), channels, data.control)
        known, index = _checked_metadata(metadata, len(table)), pd.RangeIndex(len(table))
        rest = [name for name in table.frame if name not in METADATA]
        table = replace(table, frame=pd.concat([screen.site_metadata(known), table.frame[rest]], axis=1))
    header = prepare_data.read_headers(replace(_with_all_files(table), channels=()), World())
    require_header(header, expected)
    table = replace(table, shape=(header.channels, height, width), native=tuple(header))
    public = aggregate.metadata(table)
    return Fields(table, public[[name for name in public if name in known]], index)


def choose_scale(fields: Fields, saved: Checkpoint, plates: Any) -> tuple[Scale, list[str]]:
    """Return the scale for the fields, and what a reader of the predictions must know.

    plates: "training", "measure", a table in whose reference wells plates are measured, or None.
    Raises UsageError where the run needs to know, and was not told, whose plates they are.
    """
    own = scale_from_record(saved.scale)
    control = config.from_flat(saved.settings).data.plate_reference or fields.table.control
    if not isinstance(plates, pd.DataFrame) and plates not in (None, "training", "measure"):
        raise UsageError(f'plates must be "training", "measure" or a table of mscnn.read_screen, got {plates!r}')
    if not own.by_plate:
        scale, notes, is_measured = load_run.load_scale(saved, fields.table, World(), other_screen=False)
    elif plates is None:
        raise UsageError(f'the run scales each plate by its own numbers, so say whose plates these are: plates="training" '
                         f'for those of its training, by name; plates="measure" to measure each in its wells of {control} '
                         "among these fields; plates=TABLE to measure them in the wells of a table")
    elif isinstance(plates, pd.DataFrame):
        measured = to_fields(plates, None, saved)
        scale, notes, is_measured = load_run.load_scale(saved, measured.table, World(), other_screen=True)
        notes += [] if notes or scale.covers(fields.table.frame["plate"]) else [load_run.NOT_MEASURED]
        load_run.require_measured_size(scale, fields.table, control)
    else:
        if plates == "measure" and (lacking := [name for name in ("Metadata_Plate", "Metadata_Compound")
                                                if name not in fields.metadata]):
            raise UsageError(f'plates="measure" needs the plate and compound of each field, and {" and ".join(lacking)} is '
                             "not there; give them in metadata=DATAFRAME")
        scale, notes, is_measured = load_run.load_scale(saved, fields.table, World(), other_screen=plates == "measure")
    return scale, notes + load_run.compare_counts(saved, fields.table, World(), is_measured=is_measured)


def _path_table(paths: Any, expected: Expected, control: str) -> SiteTable:
    """Return the table of image files. Raises UsageError or DataError for what are no paths, or not as many a field."""
    form = f'a list with a path a field, or with a tuple of {len(expected.channels)} paths a field, in the order ' \
           f'{", ".join(expected.channels)}'
    if not isinstance(paths, list):
        raise UsageError(f"give paths as {form}; got {_shown(paths)}")
    if not paths:
        raise UsageError(f"give paths as {form}; the list is empty")
    files = [(entry,) if isinstance(entry, str | os.PathLike) else entry for entry in paths]
    for entry in files:
        if not isinstance(entry, tuple | list) or not all(isinstance(path, str | os.PathLike) for path in entry):
            raise UsageError(f"give paths as {form}; got a list with {_shown(entry)}")
        if len(entry) not in (1, len(expected.channels)) or len(entry) != len(files[0]):
            raise DataError(f"give paths as {form}; one field has {len(entry)}, another {len(files[0])}: {_shown(entry)}"
                            if len(entry) != len(files[0]) else f"give paths as {form}; got {len(entry)}: {_shown(entry)}")
    frame = _no_metadata(len(files))
    frame["files"] = [tuple(os.fspath(path) for path in entry) for entry in files]
    return SiteTable(frame, expected.channels, control)


def _with_all_files(table: SiteTable) -> SiteTable:
    """Return the table. Raises DataError listing the image files that are not there."""
    sources = dict.fromkeys(source for files in table.frame["files"] for source in files)
    paths = list(dict.fromkeys(path for source in sources for path in source_paths(source)))
    if missing := [path for path in paths if not Path(path).exists()]:
        raise DataError(f"{len(missing)} of {len(paths)} image files are not there; give full paths, or "
                        "mscnn.read_screen(..., image_root=DIR) with the folder that they start from", missing)
    return table


def _no_metadata(number: int) -> pd.DataFrame:
    """Return metadata of so many fields of which nothing is known."""
    return screen.site_metadata(pd.DataFrame(index=range(number)))


def _checked_metadata(metadata: pd.DataFrame | None, number: int) -> pd.DataFrame:
    """Return metadata with a row a field, empty where none is given. Raises UsageError where it does not fit."""
    if metadata is None:
        return pd.DataFrame(index=range(number))
    names = ", ".join(PUBLIC_NAMES.values())
    if not isinstance(metadata, pd.DataFrame) or not set(metadata) & set(PUBLIC_NAMES.values()):
        raise UsageError(f"metadata must be a DataFrame with a row a field and some of the columns {names}, got "
                         f"{_shown(metadata)}")
    if len(metadata) != number:
        raise UsageError(f"metadata must have a row for each of the {number} fields, got {len(metadata)} rows")
    return metadata.reset_index(drop=True)


def _shown(value: Any) -> str:
    """Return a short text about a value for an error."""
    if isinstance(value, pd.DataFrame):
        return f"a DataFrame with columns {', '.join(map(str, value.columns[:8]))}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    text = repr(list(map(os.fspath, value))) if isinstance(value, Sequence) and not isinstance(value, str) and all(
        isinstance(part, str | os.PathLike) for part in value) else repr(value)
    return f"{type(value).__name__} {text[:120]}"
