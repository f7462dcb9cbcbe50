"""A microscope's folder -> a row a site, and lines that say what was found, chosen and left out.

`mscnn table` runs it; exercised by `pytest tests/data/test_make_table.py`.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mscnn.core.errors import DataError
from mscnn.data.plate_maps.plate_map import TREATMENT
from mscnn.data.plate_maps.roles import role_of
from mscnn.data.tables.image_columns import VALUE_RANGE
from mscnn.data.tables.problems import refuse
from mscnn.data.tables.site_table import natural
from mscnn.data.vendors import choose, site_rows
from mscnn.data.vendors.find_index import read_folder
from mscnn.data.vendors.image_files import image_files
from mscnn.data.vendors.pages import expand_pages
from mscnn.data.vendors.planes import ABSENT, Listing, PlaneIndex, ReadOptions

MISSING = "files that the index names are not there; copy them, or keep their rows with --allow-missing true"


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """What a user says of a folder: options of `mscnn table`."""

    format: str = "auto"                       # name of a reader
    pattern: str = ""                          # template of file names
    level_size: tuple[int, int] | None = None  # least size of a level of a pyramid
    plates_by_folder: bool = False             # name plates by their folders
    pages: str = ""                            # channel, z or time: what the pages of each file are
    z: str = ""                                # max, middle or a number; "" where nothing is said
    time: int | None = None                    # time point
    channels: dict[str, str]                   # {name: new name}; {} for all
    value_range: str = ""                      # values that become 0 and 65535, as "0 1"
    allow_missing: bool = False                # keep rows whose files are not there, leave out sites that lack a channel
    follow_links: tuple[Path, ...] = ()        # folders that links may lead to


@dataclass(frozen=True)
class FoundImages:
    """What a folder holds, chosen and checked."""

    rows: pd.DataFrame      # of site_rows, paths below `root`
    root: Path
    lines: list[str]        # for people, "name  value"


def find_images(place: Path, options: TableOptions) -> FoundImages:
    """Return one row a site of a microscope's folder. Raises DataError or UsageError listing all that cannot be used."""
    listing, indexes = read_folder(place, ReadOptions(options.pattern, options.level_size), format=options.format,
                                   plates_by_folder=options.plates_by_folder, follow_links=options.follow_links)
    listed, notes = _listed(place, listing, indexes, options)
    planes, of_planes = _chosen(place, listed, options)
    absent, num_files = _absent(planes, listing), planes["path"].nunique()
    if absent and not options.allow_missing:
        raise DataError(f"{place}: {len(absent)} of {num_files} {MISSING}", absent)
    projected = options.z == "max" and bool(planes.duplicated(choose.CHANNEL).any())
    rows, lacking = site_rows.site_rows(planes, projected=projected)
    if lacking and (rows.empty or not options.allow_missing):
        raise DataError(f"{place}: {'all' if rows.empty else len(lacking)} sites lack a channel; choose channels that all "
                        "have with --channels" + ("" if rows.empty else ", or leave these out with --allow-missing true"),
                        lacking)
    if options.value_range:
        rows[VALUE_RANGE] = options.value_range
    lines = [*_summary(indexes, listed, rows, planes), *of_planes]
    if absent:
        lines.append(f"{len(absent)} of {num_files} files are not there; their rows are kept")
    if lacking:
        whole = sorted(set(planes["plate"]) - set(rows["Metadata_Plate"]), key=natural)
        lines.append(f"{len(lacking)} sites lack a channel and are left out, such as {lacking[0]}"
                     + (f"; no site is left of {', '.join(whole)}" if whole else ""))
    return FoundImages(rows, listing.root, [*lines, *notes])


def _chosen(place: Path, listed: pd.DataFrame, options: TableOptions) -> tuple[pd.DataFrame, list[str]]:
    """Return the planes of the chosen channels, time point and focal planes, and lines that say which."""
    planes = site_rows.choose_channels(listed, options.channels)
    planes, of_time = choose.choose_time(planes, options.time)
    uneven = choose.uneven_stacks(planes) if options.z in ("max", "middle") else []
    if uneven and not options.allow_missing:
        raise DataError(f"{place}: {len(uneven)} channels of sites have fewer focal planes than others; copy the rest, or "
                        "go on with those that are there by --allow-missing true", uneven)
    planes, of_z = choose.choose_z(planes, options.z)
    planes, differing = site_rows.without_differing(planes)
    if wrong := [name for name in differing if role_of(name)[0] in TREATMENT]:
        raise DataError(f"{place}: {', '.join(wrong)} differs within a site; give each site one treatment, or take the "
                        "column out of the table of images")
    lines = [line for line in (of_time, of_z) if line]
    if uneven:
        lines.append(f"{len(uneven)} channels of sites have fewer focal planes than others, such as {uneven[0]}")
    if differing:
        lines.append(f"columns that differ within a site are left out: {', '.join(differing)}")
    return planes, lines


def _listed(place: Path, listing: Listing, indexes: Sequence[PlaneIndex],
            options: TableOptions) -> tuple[pd.DataFrame, list[str]]:
    """Return all planes of all indexes, and lines on what does not count. Raises DataError listing what cannot be used."""
    planes = pd.concat([choose.without_projections(index.planes, options.z) if index.z0_projected else index.planes
                        for index in indexes], ignore_index=True)
    notes = [note if count == 1 else f"{note} (so in {count} indexes)"
             for note, count in Counter(note for index in indexes for note in index.notes).items()]
    if doubled := sum(len(index.planes) for index in indexes) - len(planes):
        notes.append(f"{doubled} projections do not count for --z {options.z}: their focal planes are there")
    if options.pages:
        planes = expand_pages(planes, listing, options.pages)
    problems = [problem for index in indexes for problem in index.problems]
    lost = [problem.file for problem in problems if problem.kind == ABSENT] if options.allow_missing else []
    refuse([problem for problem in problems if not lost or problem.kind != ABSENT], place)
    if planes.empty:
        raise DataError(f"{place}: its index lists no image; name another folder")
    if lost:
        notes.append(f"{len(lost)} wells or images that the index lists are not there and left out, such as {lost[0]}")
    if listing.not_followed:
        notes.append(f"{len(listing.not_followed)} links to folders are not followed, such as {listing.not_followed[0]}; "
                     "allow where they lead by --follow-links DIR")
    if place.is_dir() and (others := _in_no_index(planes, listing)):
        notes.append(f"{len(others)} image files or Zarr folders are in no index and left out, such as {others[0]}")
    planes = site_rows.name_channels(planes)
    refuse(site_rows.find_repeated(planes), place)
    return planes, notes


def _in_no_index(planes: pd.DataFrame, listing: Listing) -> list[str]:
    """Return images that no plane names, as those of a plate whose index was lost.

    They are image files in folders without any image that a plane names, and groups of Zarr.
    """
    paths = planes["path"].unique().tolist()
    used = {path.rpartition("/")[0] for path in paths}
    groups = [group for group in listing.zarr_groups
              if not any(path.startswith(f"{group}/" if group else "") for path in paths)]
    images, _ = image_files(listing, is_template=False)
    return groups + [file for file in images if file.rpartition("/")[0] not in used]


def with_folders(rows: pd.DataFrame, root: Path, table: Path) -> tuple[pd.DataFrame, bool]:
    """Return the rows with PathName_ columns for a table at a path, and whether it needs --image-root.

    Folders below that of the table are written from there, others as full paths.
    """
    home, full = Path(os.path.abspath(table)).parent, Path(os.path.abspath(root))
    is_below = full == home or home in full.parents
    start = "" if full == home else full.relative_to(home).as_posix() if is_below else str(full)
    rows = rows.copy()
    for name in (name for name in rows if str(name).startswith("PathName_") or name == site_rows.FILE):
        rows[name] = [f"{start}/{folder}".strip("/") if is_below else f"{start}/{folder}".rstrip("/")
                      for folder in rows[name]]
    return rows, not is_below


def _absent(planes: pd.DataFrame, listing: Listing) -> list[str]:
    """Return the paths of planes whose files are not there."""
    groups = tuple(f"{group}/" if group else "" for group in listing.zarr_groups)  # "": the folder itself is one
    paths = planes["path"].unique().tolist()
    known = listing.known
    return [path for path in paths if path not in known
            and not (path.startswith(groups) and os.path.isdir(listing.path(path)))]


def _summary(indexes: Sequence[PlaneIndex], listed: pd.DataFrame, rows: pd.DataFrame, planes: pd.DataFrame) -> list[str]:
    """Return lines on formats, plates, wells, sites and channels."""
    formats = ", ".join(dict.fromkeys(index.format for index in indexes))
    per_plate = [f"{name} ({_number(group['Metadata_Well'].nunique(), 'well')}, {_number(len(group), 'site')})"
                 for name, group in rows.groupby("Metadata_Plate", sort=False)]
    shown = ", ".join(per_plate[:4]) + (f" and {len(per_plate) - 4} more" if len(per_plate) > 4 else "")
    sizes = planes["pixel_size"].dropna().round(6).unique()
    width = ", ".join(f"{size:.4g} µm" for size in sorted(sizes)) or "not known"
    wells = len(rows[["Metadata_Plate", "Metadata_Well"]].drop_duplicates())
    num_indexes = "1 index" if len(indexes) == 1 else f"{len(indexes)} indexes"
    return [f"format      {formats}; {num_indexes}, {_number(len(listed), 'plane')}",
            f"plates      {len(per_plate):,}: {shown}",
            f"sites       {len(rows):,} of {_number(wells, 'well')}",
            f"channels    {', '.join(filter(None, site_rows.channel_order(planes))) or 'not named; those of each file'}",
            f"pixel size  {width}"]


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
