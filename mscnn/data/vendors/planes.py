"""What every reader of a microscope's folder takes and returns: a listing of files, and a table with one row a plane.

A reader is a module with `NAME`, `find(listing) -> list[str]`, the index files of its format below the folder, and
`read(listing, index, options) -> PlaneIndex`.  `find_index.py` lists the readers.
"""

import fnmatch
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from mscnn.core.errors import DataError
from mscnn.data.tables.problems import Problem

ZARR_GROUPS = (".zgroup", ".zattrs", "zarr.json", ".zarray")  # a folder with one of these is one entry of a listing
ABSENT = "wells or images that the index lists are not there; copy them, or leave them out with --allow-missing true"
COLUMNS = {              # of PlaneIndex.planes
    "plate": "str",      # name for people: barcode or name of the plate; "" where the index does not tell
    "well": "str",       # as A01; "" where the index does not tell
    "site": "str",       # field of view, counted as the microscope counts
    "channel": "str",    # name of the stain or filter; its number where there is no name
    "order": "int64",    # place of the channel among the channels of its plate
    "z": "int64",        # focal plane, counted as the microscope counts
    "time": "int64",     # time point, likewise
    "path": "str",       # below the folder, with forward slashes; of an OME-Zarr image: of its array
    "frame": "int64",    # plane within the file, from 0, over pages or leading axes in C order; -1: all of the file
    "pixel_size": "float64",  # width of a pixel in micrometres; NaN where not known
}


@dataclass(frozen=True)
class PlaneIndex:
    """What a folder holds by its index, a row a plane.

    planes may have columns `Metadata_*` (text) besides: what the index knows of a well or site, such as its compound.
    """

    planes: pd.DataFrame                # the columns COLUMNS, and Metadata_*
    format: str                         # for people: "Harmony V5"
    notes: tuple[str, ...] = ()         # what was left out and why, a line each: "12 planes were not recorded"
    problems: tuple[Problem, ...] = ()  # what cannot be used; those of all indexes are refused together
    z0_projected: bool = False          # z 0 is the projection of the other focal planes, where these are there


@dataclass(frozen=True)
class ReadOptions:
    """What a user says of a folder."""

    pattern: str = ""                                # template of file names
    level_size: tuple[int, int] | None = None        # least height and width of a level of a pyramid; None: the full size


@dataclass(frozen=True, eq=False)  # hashed by identity: one of a screen has millions of files
class Listing:
    """All files below a folder, listed once. A group of Zarr is one entry."""

    root: Path
    files: tuple[str, ...]                  # below root, with forward slashes, sorted
    zarr_groups: tuple[str, ...]            # outermost folders that hold a Zarr group, likewise
    not_followed: tuple[str, ...] = ()      # links to folders that were not allowed, likewise

    @cached_property
    def known(self) -> frozenset[str]:
        """The files, for questions whether one is there."""
        return frozenset(self.files)

    @cached_property
    def by_folder(self) -> dict[str, list[str]]:
        """{folder: names of its files}; the root is ""."""
        found: dict[str, list[str]] = {}
        for file in self.files:
            folder, _, name = file.rpartition("/")
            found.setdefault(folder, []).append(name)
        return found

    @cached_property
    def _folded(self) -> dict[str, str]:
        """{file without case: file}, "" where several files differ in case alone."""
        found: dict[str, str] = {}
        for file in self.files:
            form = file.casefold()
            found[form] = "" if form in found else file
        return found

    def spelled(self, path: str) -> str:
        """Return the file of a path in whatever case; the path as it is where no file, or more than one, fits."""
        return path if path in self.known else self._folded.get(path.casefold()) or path

    def named(self, *patterns: str) -> list[str]:
        """Return the files whose names match one of these shell patterns, in any case."""
        lowered = [pattern.lower() for pattern in patterns]
        return [file for file in self.files
                if any(fnmatch.fnmatchcase(file.rpartition("/")[2].lower(), pattern) for pattern in lowered)]

    def path(self, file: str) -> Path:
        """Return where a file of the listing is."""
        return self.root / file


def list_folder(folder: Path, follow_links: Sequence[Path] = ()) -> Listing:
    """List a folder of a microscope. Raises DataError where it cannot be read, or holds nothing.

    follow_links: folders that links to folders may lead to; other links to folders are not followed.
    """
    groups: list[str] = []
    links: list[str] = []
    allowed = [os.path.realpath(one) for one in follow_links]
    try:
        files = list(_walk(str(folder), "", allowed, groups, links))
    except OSError as problem:
        raise DataError(f"{folder}: cannot be read ({problem.strerror}); name the folder that a microscope wrote") from None
    if not files and not groups:
        linked = f", and {len(links)} links that --follow-links DIR would allow" if links else ""
        raise DataError(f"{folder}: holds no files{linked}; name the folder that the microscope wrote")
    return Listing(folder, tuple(sorted(files)), tuple(sorted(groups)), tuple(sorted(links)))


def planes_of(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the table of planes with these values; columns of COLUMNS that rows lack are "", 0, -1 or NaN."""
    defaults = {"str": "", "int64": 0, "float64": float("nan")}
    frame = pd.DataFrame(list(rows))
    for name, kind in COLUMNS.items():
        default = -1 if name == "frame" else defaults[kind]
        frame[name] = frame[name].fillna(default) if name in frame else default
    more = [name for name in frame if str(name).startswith("Metadata_")]
    return frame[[*COLUMNS, *more]].fillna(dict.fromkeys(more, "")).astype({**COLUMNS, **dict.fromkeys(more, "str")})


def _walk(root: str, below: str, allowed: Sequence[str], groups: list[str], links: list[str]) -> Iterator[str]:
    """Yield the files below a folder; add groups of Zarr, and links to folders that are not allowed."""
    with os.scandir(os.path.join(root, below) if below else root) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    names = {entry.name for entry in listed}
    if any(name in names for name in ZARR_GROUPS):
        groups.append(below)
        return
    for entry in listed:
        path = f"{below}/{entry.name}" if below else entry.name
        if entry.is_dir(follow_symlinks=False) or (entry.is_dir() and _may_follow(entry.path, allowed)):
            yield from _walk(root, path, allowed, groups, links)
        elif entry.is_dir():
            links.append(path)
        else:
            yield path


def _may_follow(link: str, allowed: Sequence[str]) -> bool:
    """Return whether a link leads to an allowed folder, and not back to one that it lies in."""
    target = os.path.realpath(link)
    is_loop = os.path.commonpath([target, os.path.realpath(os.path.dirname(link))]) == target
    return not is_loop and any(os.path.commonpath([target, folder]) == folder for folder in allowed)
