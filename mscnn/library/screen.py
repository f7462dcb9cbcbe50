"""mscnn.read_screen, and the data frame that it returns: a row a site, its metadata, and where its pixels are.

Pixel columns are of one of three kinds:
    FileName_<Channel>                          one image file per channel, in the network's order of channels
    FileName                                    one image file that holds all channels
    Packed_File, Packed_Record, Packed_CRC32    a record of a plate file that `mscnn pack` wrote
Channels holds the names of the channels, comma-separated, where the columns do not.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mscnn.core import config, identity
from mscnn.core.errors import DataError, UsageError
from mscnn.data import read_screen as screens
from mscnn.data.pixels import packed as packs
from mscnn.data.tables.site_table import METADATA, PUBLIC_NAMES, SiteTable, without_missing
from mscnn.evaluation import aggregate
from mscnn.profiling import profile_table

FILE, CHANNELS = "FileName", "Channels"
PER_CHANNEL = "FileName_"
PACKED = ("Packed_File", "Packed_Record", "Packed_CRC32")


def read_screen(*, bbbc021: str | os.PathLike | None = None, sites: str | os.PathLike | None = None,
                packed: str | os.PathLike | None = None, image_root: str | os.PathLike | None = None,
                channels: Sequence[str] | str | None = None, columns: Mapping[str, str] | str | None = None,
                control: str | None = None, taxol_controls: str = "drop",
                follow_links: Sequence[str | os.PathLike] | str | os.PathLike | None = None,
                available: bool = False) -> pd.DataFrame:
    """Read the table of a screen: a row a site (field of view), with its metadata and where its pixels are.

    The table can be filtered, joined and saved like any data frame, and given to `run.predict` and `run.embed`.  A CSV of
    it (`to_csv(..., index=False)`) that names image files can be given to `mscnn pack --sites` and `mscnn train screen
    --sites`; `--image-root` then names a folder above the images.  Read it back with
    `pandas.read_csv(..., dtype=str, keep_default_na=False)`: otherwise a plate 00123 becomes the number 123, and a compound
    NA a missing value.  Images are not opened here.

    Args:
        bbbc021: folder with the official BBBC021_v1_image.csv and BBBC021_v1_moa.csv.
        sites: CSV of any other screen, CellProfiler LoadData style or plain columns.
        packed: folder that `mscnn pack` wrote.  Give exactly one of the three.
        image_root: folder that image paths start from; None: the folder of the CSV.
        channels: names in the network's order, as ["DNA", "Tubulin"] or "DNA,Tubulin"; for files that hold several
            channels: their names in the order of the file.  None: all that the table has.
        columns: names of columns that are not recognised, as {"compound": "Drug"} or "compound=Drug"; roles: file plate
            well site week replicate compound concentration mechanism.
        control: compound of the untreated wells, by which a pack is checked; None: that of the pack, or DMSO.
        taxol_controls: drop or keep BBBC021's taxol 0.3 uM control wells.
        follow_links: folder, or folders, that links below image_root may lead to; None: links that leave it are refused.
        available: leave out the sites whose image files are not all there; the log tells how many.

    Returns:
        Metadata_Plate, _Week, _Well, _Site, _Replicate, _Compound (text), _Concentration (float, micromolar as a rule, NaN
        where not given), _MOA (the mechanism, "" where not known), and the pixel columns of this module.

    Raises:
        ValueError: not exactly one screen is named, or its table has faults; the message lists them.
    """
    named = {name: str(value) for name, value in (("bbbc021", bbbc021), ("sites", sites), ("packed", packed))
             if value is not None}
    if len(named) != 1:
        raise UsageError("name the screen by exactly one of bbbc021=DIR, sites=CSV and packed=DIR, got "
                         f"{' and '.join(named) or 'none'}")
    if empty := [name for name, value in named.items() if not value.strip()]:
        raise UsageError(f"{empty[0]} is empty; give a path")
    if taxol_controls not in ("drop", "keep"):
        raise UsageError(f"taxol_controls must be drop or keep, got {taxol_controls!r}")
    given = {"image_root": image_root, "follow_links": follow_links, "channels": channels, "columns": columns}
    if packed is not None and (excess := [name for name, value in given.items() if value]):
        raise UsageError(f"{' and '.join(excess)} was settled when the fields were packed; leave it out with packed=")
    if control is None:
        control = packs.describe(Path(packed)).control if packed is not None else "DMSO"
    settings = config.Table(**named, image_root=None if image_root is None else str(image_root),
                            channels=_channels_text(channels), columns=_columns_text(columns), control=control,
                            taxol_controls=taxol_controls, follow_links=_folders_text(follow_links), available=available)
    return to_frame(screens.read_screen(settings))


def to_frame(table: SiteTable) -> pd.DataFrame:
    """Return the data frame of a site table: Metadata_* and pixel columns."""
    frame = aggregate.metadata(table)
    if packs.is_packed(table):
        records = zip(*table.frame["record"], strict=True) if len(table) else ([], [], [])
        for name, values in zip(PACKED, records, strict=True):
            frame[name] = list(values)
    else:
        per_site = list(zip(*table.frame["files"], strict=True))
        if len(per_site) == len(table.channels):
            for channel, paths in zip(table.channels, per_site, strict=True):
                frame[PER_CHANNEL + channel] = list(paths)
            return frame
        frame[FILE] = list(per_site[0]) if per_site else []
    if table.channels:
        frame[CHANNELS] = ",".join(table.channels)
    return frame


def to_sites(frame: pd.DataFrame, channels: Sequence[str], control: str) -> SiteTable:
    """Return the site table of a data frame, with the channels of a run in its order.

    Metadata that the frame lacks is not known.  Raises DataError for a frame that does not say where all pixels are, or
    whose channels have other names.
    """
    if frame.empty:
        raise DataError("the table has no rows; look at the filter that chose them")
    frame = frame.rename(columns=str)
    sites = site_metadata(frame)
    kind = _pixel_columns(frame, channels)
    if kind == list(PACKED):
        _require_names(frame, channels)
        numbers = frame[[*PACKED[1:]]].apply(pd.to_numeric, errors="coerce")
        if numbers.isna().to_numpy().any():
            raise DataError(f"{PACKED[1]} and {PACKED[2]} must be whole numbers in every row; take the table from "
                            "mscnn.read_screen(packed=DIR)")
        sites["files"] = [()] * len(sites)
        sites["record"] = [(str(file), int(number), int(crc32)) for file, number, crc32 in
                           zip(frame[PACKED[0]], numbers[PACKED[1]], numbers[PACKED[2]], strict=True)]
        return SiteTable(sites, tuple(channels), control)
    if kind == [FILE] and CHANNELS in frame:
        _require_names(frame, channels)
    sites["files"] = list(zip(*(_paths(frame, name) for name in kind), strict=True))
    return SiteTable(sites, tuple(channels), control)


def site_metadata(frame: pd.DataFrame) -> pd.DataFrame:
    """Return METADATA of a data frame's Metadata_* columns: text and concentrations; what it lacks is not known.

    Raises DataError for concentrations that are no numbers.
    """
    sites = pd.DataFrame(index=range(len(frame)))
    for name in METADATA:
        column = frame[PUBLIC_NAMES[name]].reset_index(drop=True) if PUBLIC_NAMES[name] in frame else None
        if name == "concentration":
            sites[name] = np.nan if column is None else _numbers(column)
        else:
            sites[name] = pd.Series([""] * len(frame), dtype=str) if column is None else profile_table.text(column)
    return without_missing(sites, control="")


def _numbers(column: pd.Series) -> pd.Series:
    """Return concentrations as float64 of six significant digits (identity.dose)."""
    is_number = pd.api.types.is_numeric_dtype(column)
    return column.astype(float).map(identity.dose) if is_number else profile_table.numbers(column, "the table")


def _pixel_columns(frame: pd.DataFrame, channels: Sequence[str]) -> list[str]:
    """Return the columns that say where the pixels of all rows are. Raises DataError where there are none, or several."""
    per_channel = [name for name in map(str, frame) if name.startswith(PER_CHANNEL)]
    kinds = {"records of plate files": [name for name in PACKED if name in frame], "a file per channel": per_channel,
             "one file of all channels": [FILE] if FILE in frame else []}
    filled = {kind: _is_filled(frame, names).any(axis=1) for kind, names in kinds.items() if names}
    used = {kind: int(rows.sum()) for kind, rows in filled.items() if rows.any()}
    if not used:
        raise DataError("the table does not say where its pixels are: it has no column FileName, FileName_<Channel> or "
                        f"{PACKED[0]}; take it from mscnn.read_screen, or give the images as an array or as paths")
    if len(used) > 1:
        raise DataError("the rows of the table name " + ", ".join(f"{kind} ({rows} rows)" for kind, rows in used.items())
                        + "; give those of one kind at a time")
    (kind,) = used
    names = kinds[kind]
    if names == per_channel:
        if lacking := [channel for channel in channels if PER_CHANNEL + channel not in frame]:
            have = ", ".join(name.removeprefix(PER_CHANNEL) for name in per_channel)
            raise DataError(f"the run was trained on channels {', '.join(channels)}, the table has {have}; rename the "
                            f"column of {lacking[0]} to {PER_CHANNEL}{lacking[0]}")
        names = [PER_CHANNEL + channel for channel in channels]
    elif kind == "records of plate files" and len(names) < len(PACKED):
        raise DataError(f"the table has {', '.join(names)} and lacks {', '.join(sorted({*PACKED} - {*names}))}; take it "
                        "from mscnn.read_screen(packed=DIR)")
    if missing := int((~_is_filled(frame, names)).any(axis=1).sum()):
        raise DataError(f"{missing} of {len(frame)} rows are empty in {' or '.join(names)}; take them out, or name their "
                        "pixels")
    return names


def _is_filled(frame: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return which cells of these columns hold something."""
    return frame[names].notna() & (frame[names] != "")


def _paths(frame: pd.DataFrame, name: str) -> list[str]:
    """Return the paths in a FileName column, below those of the PathName column where there is one."""
    folder = frame.get("PathName" + name.removeprefix(FILE))
    if folder is None:
        return frame[name].astype(str).tolist()
    return [os.path.join(*parts) for parts in zip(folder.fillna("").astype(str), frame[name].astype(str), strict=True)]


def _require_names(frame: pd.DataFrame, channels: Sequence[str]) -> None:
    """Raise DataError where files of several channels hold others than these, or in another order."""
    names = set(frame[CHANNELS].dropna().astype(str)) if CHANNELS in frame else set()
    if not names:
        raise DataError(f"the table lacks column {CHANNELS}; take it from mscnn.read_screen(packed=DIR)")
    if other := sorted(names - {",".join(channels)}):
        raise DataError(f"the run was trained on channels {', '.join(channels)}, the table's fields hold "
                        f"{other[0].replace(',', ', ')}; give fields with those channels in that order")


def _channels_text(channels: Sequence[str] | str | None) -> str | None:
    """Return "DNA,Tubulin" for ["DNA", "Tubulin"]. Raises UsageError for names with a comma."""
    if channels is None or isinstance(channels, str):
        return channels
    if wrong := [name for name in channels if "," in name]:
        raise UsageError(f"channels: {wrong[0]!r} holds a comma; rename the column in the table")
    return ",".join(channels)


def _folders_text(folders: Sequence[str | os.PathLike] | str | os.PathLike | None) -> str | None:
    """Return "/a,/b" for ["/a", "/b"]. Raises UsageError for folders with a comma in their names."""
    if folders is None:
        return None
    named = [folders] if isinstance(folders, str | os.PathLike) else folders
    if wrong := [os.fspath(folder) for folder in named if "," in os.fspath(folder)]:
        raise UsageError(f"follow_links: {wrong[0]!r} holds a comma; name a folder above it")
    return ",".join(os.fspath(folder) for folder in named) or None


def _columns_text(columns: Mapping[str, str] | str | None) -> str | None:
    """Return "compound=Drug" for {"compound": "Drug"}. Raises UsageError for names with a comma."""
    if columns is None or isinstance(columns, str):
        return columns
    if wrong := [name for name in columns.values() if "," in name]:
        raise UsageError(f"columns: {wrong[0]!r} holds a comma; rename the column in the table")
    return ",".join(f"{role}={column}" for role, column in columns.items())
