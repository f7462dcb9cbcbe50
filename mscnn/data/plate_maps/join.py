"""A plate map joined to the sites of a screen by plate and well, and what does not join on either side."""

import difflib
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd

from mscnn.core import identity
from mscnn.core.errors import DataError
from mscnn.core.words import examples
from mscnn.data.plate_maps.plate_map import PREFIX, TREATMENT, PlateMap
from mscnn.data.tables.problems import Problem

NOT_IN_MAP = "wells of images are not in the plate map; add them to it, or leave these wells out"
NO_COMPOUND = "wells of images have no compound in the plate map; fill it in (DMSO for untreated wells)"


@dataclass(frozen=True)
class Joined:
    """What a plate map says of each site.

    columns: with the index of the sites, compound, concentration, unit, mechanism and Metadata_*; "" and NaN where the
    map does not have the well.
    """

    columns: pd.DataFrame
    lines: tuple[str, ...]          # what did not join on either side, counted, with examples
    unmatched: tuple[Problem, ...]  # wells of images without a compound, a problem for each well or each whole plate


def join_plate_map(sites: pd.DataFrame, plate_map: PlateMap) -> Joined:
    """Return what a plate map says of each site. Plates and wells are compared in their normal form.

    sites: a table with columns plate and well.  A map without plates counts for every plate.
    Raises DataError where the map has a well twice, as one with problems may.
    """
    wells, forms = plate_map.wells, {"plate": "plate", "well": "well"}
    of_sites, of_map = (identity.normal_table(table, forms) for table in (sites, wells))
    for_all = not (wells["plate"] != "").any()
    plates = pd.Index([""] if for_all else of_map["plate"].unique())
    names = pd.Index(of_map["well"].unique())
    place_map = _places(of_map.assign(plate="") if for_all else of_map, plates, names)
    if len(np.unique(place_map)) < len(place_map):
        raise DataError(f"{plate_map.source}: has wells twice; mend its problems before it is joined")
    row_at = np.full(max(len(plates) * len(names), 1), -1)
    row_at[place_map] = np.arange(len(wells))
    place_sites = _places(of_sites.assign(plate="") if for_all else of_sites, plates, names)
    rows = np.where(place_sites >= 0, row_at[place_sites], -1)
    columns = _taken(wells, rows, sites.index)
    lines, unmatched = _unmatched_sites(sites, of_sites, rows, None if for_all else plates, plate_map)
    no_compound = (rows >= 0) & (columns["compound"] == "").to_numpy()
    unmatched += [Problem(None, plate_map.source, f"plate {plate} well {well}: no compound", NO_COMPOUND)
                  for plate, well in _distinct(sites, of_sites, no_compound)]
    if no_compound.any():
        shown = [f"{plate} {well}" for plate, well in _distinct(sites, of_sites, no_compound)]
        lines.append(f"{int(no_compound.sum())} sites are in {len(shown)} wells without a compound: {examples(shown)}")
    lines += _unused(wells, of_map, rows, set(of_sites["plate"]), for_all)
    return Joined(columns, tuple(lines), tuple(unmatched))


def _places(forms: pd.DataFrame, plates: pd.Index, names: pd.Index) -> np.ndarray:
    """Return one number for each plate and well; -1 for those that the map does not have."""
    plate, well = plates.get_indexer(pd.Index(forms["plate"])), names.get_indexer(pd.Index(forms["well"]))
    return np.where((plate >= 0) & (well >= 0), plate * len(names) + well, -1)


def _taken(wells: pd.DataFrame, rows: np.ndarray, index: pd.Index) -> pd.DataFrame:
    """Return the map's rows at these places; "" and NaN at -1."""
    names = [*TREATMENT, *(name for name in wells if str(name).startswith(PREFIX))]
    is_there = rows >= 0
    found = wells[names].take(np.where(is_there, rows, 0)) if len(wells) else pd.DataFrame("", index, names)
    found.index = index
    return cast(pd.DataFrame, found.assign(**{
        str(name): found[name].where(is_there, np.nan if name == "concentration" else "") for name in names}))


def _unmatched_sites(sites: pd.DataFrame, forms: pd.DataFrame, rows: np.ndarray, plates: pd.Index | None,
                     plate_map: PlateMap) -> tuple[list[str], list[Problem]]:
    """Return lines and problems on plates and wells of images that the map lacks. plates: of the map; None: it has none."""
    lines, problems = [], []
    whole = np.zeros(len(forms), bool) if plates is None else ~forms["plate"].isin(plates).to_numpy()
    if whole.any():
        lacking = sites["plate"][whole].groupby(forms["plate"][whole]).agg(["first", "size"])
        named = [str(name) or "(no name)" for name in lacking["first"]]
        its = examples(list(plate_map.wells["plate"].unique()), 3)
        lines.append(f"{int(whole.sum())} sites are of {len(named)} plates that the map lacks: {examples(named)} (its "
                     f"plates: {its})")
        known = sorted(plate_map.wells["plate"].unique())
        near = [difflib.get_close_matches(name, known, n=1) for name in named]
        hints = [f"did you mean {names[0]}?" if names else f"its plates: {its}" for names in near]
        problems += [Problem(None, plate_map.source, f"plate {name} ({size} sites) is not in the map; {hint}",
                             "plates of images are not in the plate map; add them to it, or mend the names of plates")
                     for name, size, hint in zip(named, lacking["size"], hints, strict=True)]
    lacking = (rows < 0) & ~whole
    if lacking.any():
        wells = _distinct(sites, forms, lacking)
        shown = [f"{plate} {well}".strip() or "(no name)" for plate, well in wells]
        lines.append(f"{int(lacking.sum())} sites are in {len(wells)} wells that the map lacks: {examples(shown)}")
        reasons = [f"plate {plate} well {well or '(no name)'} is not in the map" for plate, well in wells]
        problems += [Problem(None, plate_map.source, reason, NOT_IN_MAP) for reason in reasons]
    return lines, problems


def _distinct(sites: pd.DataFrame, forms: pd.DataFrame, chosen: np.ndarray) -> list[tuple[str, str]]:
    """Return plate and well, as the sites write them, of each well among the chosen sites."""
    first = ~forms[chosen].duplicated(["plate", "well"])
    return list(sites.loc[chosen, ["plate", "well"]][first.to_numpy()].itertuples(index=False, name=None))


def _unused(wells: pd.DataFrame, forms: pd.DataFrame, rows: np.ndarray, imaged: set[str], for_all: bool) -> list[str]:
    """Return lines on plates and wells of the map without images."""
    lines = []
    without = np.zeros(len(wells), bool) if for_all else ~forms["plate"].isin(list(imaged)).to_numpy()
    if without.any():
        lines.append(f"{wells['plate'][without].nunique()} plates of the map have no images: "
                     f"{examples(list(wells['plate'][without].unique()))}")
    is_used = np.zeros(len(wells), bool)
    is_used[rows[rows >= 0]] = True
    idle = wells[~is_used & ~without]
    if len(idle):
        shown = [f"{plate} {well}".strip() for plate, well in idle[["plate", "well"]].head(6).itertuples(index=False)]
        more = f" and {len(idle) - 5} more" if len(idle) > 5 else ""
        lines.append(f"{len(idle)} wells of the map have no images: {', '.join(shown[:5])}{more}")
    return lines
