"""Planes -> one row a site, with the columns of CellProfiler's LoadData.

Exercised by `pytest tests/data/vendors/test_site_rows.py`.
"""

from typing import cast

import numpy as np
import pandas as pd

from mscnn.core.errors import DataError
from mscnn.data.tables.image_columns import PROJECTION, SEPARATOR
from mscnn.data.tables.problems import Problem
from mscnn.data.tables.site_table import natural
from mscnn.data.tables.wells import well_place
from mscnn.data.vendors.choose import CHANNEL, SITE
from mscnn.data.vendors.site_columns import PIXEL_SIZE

FILE = "filename"  # column of files of which nothing tells the channels


def name_channels(planes: pd.DataFrame) -> pd.DataFrame:
    """Return planes whose channels can be named in a list: no commas, no empty names, none twice on a plate.

    Whole files without any name of a channel may hold several channels, and keep the name "".
    """
    if (planes["channel"] == "").all() and (planes["frame"] < 0).all() and planes["order"].nunique() == 1:
        return planes
    names = planes["channel"].str.replace(",", " ", regex=False).str.split().str.join(" ")
    names = names.where(names != "", "Channel" + planes["order"].clip(lower=1).astype(str))
    planes = planes.assign(channel=names.astype("str"))
    pairs = planes[["plate", "channel", "order"]].drop_duplicates()
    if not pairs.duplicated(["plate", "channel"]).any():
        return planes
    twice = set(pairs.loc[pairs.duplicated(["plate", "channel"], keep=False), "channel"])
    numbered = names + " (" + planes["order"].astype(str) + ")"
    return planes.assign(channel=names.where(~names.isin(twice), numbered).astype("str"))


def choose_channels(planes: pd.DataFrame, chosen: dict[str, str]) -> pd.DataFrame:
    """Return the planes of some channels under new names. chosen: {name: new name}, {} for all as they are.

    Raises DataError naming the channels that are not there.
    """
    if not chosen:
        return planes
    known = channel_order(planes)
    if unknown := [name for name in chosen if name not in known]:
        raise DataError(f"--channels: no channel {', '.join(unknown)}; there are {', '.join(known)}")
    kept = planes[planes["channel"].isin(list(chosen))]
    order = {name: place for place, name in enumerate(chosen)}
    return kept.assign(order=kept["channel"].map(order), channel=kept["channel"].map(chosen).astype("str"))


def channel_order(planes: pd.DataFrame) -> list[str]:
    """Return the channels in the order of the microscope."""
    first = planes.groupby("channel", sort=False)["order"].min()
    return sorted(first.index.tolist(), key=lambda name: (first[name], natural(name)))


def find_repeated(planes: pd.DataFrame) -> list[Problem]:
    """Return a problem for each plane of a channel that is there more than once."""
    key = [*CHANNEL, "z", "time"]
    again = planes.loc[planes.duplicated(key), [*key, "path"]]
    return [Problem(None, path, " ".join(f"{name} {value}" for name, value in zip(key, values, strict=True))
                    + " is there more than once",
                    "planes are there more than once; take the copies out, or read the folders one by one")
            for *values, path in again.itertuples(index=False, name=None)]


def without_differing(planes: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return planes without the columns Metadata_* whose values differ within a site, and the names of these columns."""
    more = [str(name) for name in planes if str(name).startswith("Metadata_")]
    differing = [name for name in more if planes[[*SITE, name]].drop_duplicates().duplicated(SITE).any()]
    return planes.drop(columns=differing), differing


def site_rows(planes: pd.DataFrame, *, projected: bool) -> tuple[pd.DataFrame, list[str]]:
    """Return one row a site, and a line for each site that lacks a channel and is left out.

    planes: of PlaneIndex, chosen; projected: several planes of a channel become their maximum.
    The rows have Metadata_Plate, _Well and _Site, FileName_, PathName_ and Frame_ of each channel, or filename,
    Metadata_PixelSize where known, and what the index knows besides; in the order of plates, wells and sites.
    """
    channels = channel_order(planes)
    flat = _per_channel(planes, projected)
    names, folders, frames = (flat[part].unstack("channel") for part in ("name", "folder", "frame"))
    gaps = names[channels].isna().to_numpy()
    places = [cast(tuple[str, str, str], place) for place in names.index]
    lacking = [f"plate {plate} well {well} site {site}: no {', '.join(np.array(channels)[gap])}"
               for (plate, well, site), gap in zip(places, gaps, strict=True) if gap.any()]
    whole = np.flatnonzero(~gaps.any(axis=1))
    rows = pd.DataFrame([places[place] for place in whole], columns=[f"Metadata_{name.capitalize()}" for name in SITE])
    for name in channels:
        if not name:
            rows[FILE] = (folders[name] + "/" + names[name]).str.removeprefix("/").to_numpy()[whole]
            continue
        rows[f"FileName_{name}"] = names[name].to_numpy()[whole]
        rows[f"PathName_{name}"] = folders[name].to_numpy()[whole]
        if (flat["frame"] != "").any():
            rows[f"Frame_{name}"] = frames[name].to_numpy()[whole]
    if projected:
        rows[PROJECTION] = "max"
    return _in_order(pd.concat([rows, _known(planes, names.index[whole])], axis=1)), lacking


def _per_channel(planes: pd.DataFrame, projected: bool) -> pd.DataFrame:
    """Return folder, name and frame of each channel of each site."""
    parts = planes["path"].str.rpartition("/")
    frames = planes["frame"].astype(str).where(planes["frame"] >= 0, "")
    flat = planes[CHANNEL].assign(folder=parts[0], name=parts[2], frame=frames, path=planes["path"])
    if not projected:
        return flat.set_index(CHANNEL)[["folder", "name", "frame"]]
    groups = flat.groupby(CHANNEL, sort=False)
    together = pd.DataFrame({"folder": groups["folder"].first(), "name": groups["name"].agg(_joined),
                             "frame": groups["frame"].agg(_joined_frames)})
    apart = groups["folder"].nunique() > 1  # then the names hold the folders
    paths = groups["path"].agg(_joined)
    return together.assign(name=together["name"].where(~apart, paths), folder=together["folder"].where(~apart, ""))


def _joined(names: pd.Series) -> str:
    """Return the names of a channel's planes; one name where all planes are in one file."""
    different = list(dict.fromkeys(names))
    return different[0] if len(different) == 1 else SEPARATOR.join(names)


def _joined_frames(frames: pd.Series) -> str:
    return SEPARATOR.join(frames) if (frames != "").any() else ""


def _known(planes: pd.DataFrame, sites: pd.Index) -> pd.DataFrame:
    """Return what the index knows of each site: the size of its pixels, and columns Metadata_*."""
    more = [name for name in planes if str(name).startswith("Metadata_")]
    first = planes.groupby(SITE, sort=False)[["pixel_size", *more]].first().loc[sites].reset_index(drop=True)
    sizes = first.pop("pixel_size")
    if sizes.notna().any():
        first.insert(0, PIXEL_SIZE, sizes.map(lambda size: "" if pd.isna(size) else f"{size:.6g}"))
    return first


def _in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Sort rows by plate, place of the well, and site."""
    keys = [(natural(plate), well_place(well) or (0, 0), natural(site)) for plate, well, site in
            zip(*(rows[f"Metadata_{name.capitalize()}"] for name in SITE), strict=True)]
    return rows.iloc[sorted(range(len(rows)), key=keys.__getitem__)].reset_index(drop=True)
