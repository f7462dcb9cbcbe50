"""CSV files -> one site table: a row a site (field of view), its metadata and its image files.

`read_sites` takes any screen's CSV: CellProfiler LoadData style (FileName_<Channel> or Image_FileName_<Channel>, with
optional PathName_ and Frame_ columns, Metadata_*), or plain columns.  bbbc021.py reads BBBC021's pair of CSVs.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from mscnn.core import csv_safe, identity
from mscnn.core.errors import DataError, printable
from mscnn.core.logs import log
from mscnn.data.tables.assays import COMPOUND, Assays
from mscnn.data.tables.dose_unit import table_unit, unlike_units
from mscnn.data.tables.image_columns import image_sources
from mscnn.data.tables.image_source import without_folders
from mscnn.data.tables.left_out import LeftOut
from mscnn.data.tables.pixel_size import PIXEL_SIZE, pixel_sizes
from mscnn.data.tables.problems import Problem, refuse, rows_of
from mscnn.data.tables.row_faults import REQUIRED, find_faults
from mscnn.data.tables.text_csv import plain_name, read_csv

# Metadata of a site, in the order of every table this program writes (there with the prefix Metadata_).
METADATA = ("plate", "week", "well", "site", "replicate", "compound", "concentration", "mechanism")
PUBLIC_NAMES = {name: "Metadata_" + ("MOA" if name == "mechanism" else name.capitalize()) for name in METADATA}
PUBLIC_SITE = {role: PUBLIC_NAMES[role] for role in ("plate", "well", "site")}
_SPELLINGS = {
    "file": ("file", "filename", "path", "image"),
    "plate": ("plate", "plateid"),
    "week": ("week", "weekid", "batch", "batchid"),
    "well": ("well", "wellid", "wellposition"),
    "site": ("site", "field", "fieldid"),
    "replicate": ("replicate",),
    "compound": COMPOUND,
    "concentration": ("concentration", "concentrationum", "conc", "dose", "doseum"),
    "mechanism": ("moa", "mechanism", "mechanismofaction"),
}


@dataclass(frozen=True)
class SiteTable:
    """The sites (fields of view) of a screen.

    frame: one row a site with the columns METADATA (text, but concentration: float, in `unit`, NaN where
        not given; mechanism "" where not known) and `files`, a tuple of image sources (image_source.py), one per
        channel, or one for all.  The sites of packed fields have a `record` too; those of a table with a column for it, a
        `pixel_size`.
    """

    frame: pd.DataFrame
    channels: tuple[str, ...]                        # names in the network's order; empty if only the files tell how many
    control: str = "DMSO"                            # compound of the untreated wells, in any spelling
    shape: tuple[int, int, int] | None = None        # channels, height, width for the network; None before files are read
    native: tuple[int, int, int, str] | None = None  # channels, height, width, dtype as the files hold them; likewise
    assays: Assays | None = None                     # of each site's compound; None: mechanisms are the labels
    left_out: LeftOut | None = None                  # fields that were left out because of their flags; None: --leave-out
                                                     # was not given
    unit: str = ""                                   # of the concentrations, as it is shown; "": nothing tells
    notes: tuple[str, ...] = ()                      # what a reader of scores must know: sites that were left out

    def __len__(self) -> int:
        return len(self.frame)

    def select(self, rows: np.ndarray) -> "SiteTable":
        """Return the table of the sites at a boolean mask or at positions."""
        chosen = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows, dtype=int)
        assays = None if self.assays is None else self.assays.select(chosen)
        return replace(self, frame=self.frame.iloc[chosen].reset_index(drop=True), assays=assays)

    def name(self, site: int) -> str:
        """Return plate, well and site for people: on one line, whatever the table holds."""
        return printable(" ".join(str(self.frame[column].iat[site]) for column in ("plate", "well", "site")))

    def files(self, site: int) -> tuple[str, ...]:
        """Return the image files of the site at a position."""
        return cast(tuple[str, ...], self.frame["files"].iat[site])

    def record(self, site: int) -> tuple[str, int, int]:
        """Return plate file, number and CRC-32 of the record of the site at a position, of packed fields."""
        return cast(tuple[str, int, int], self.frame["record"].iat[site])

    def fingerprint(self) -> str:
        """Return a digest of sites, metadata, labels, files, channels and size: equal on ranks that read the same table.

        Folders are left out: each node may have a copy of its own.
        """
        names = [[without_folders(source) for source in files] for files in self.frame["files"]]
        rows = self.frame[[*METADATA]].assign(files=pd.Series(names, self.frame.index))
        assays = "" if self.assays is None else self.assays.digest()
        text = rows.to_csv() + repr((self.channels, self.shape)) + assays
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def is_control(self) -> np.ndarray:
        """Return (S,) bool, true for sites of untreated wells."""
        return self.is_of(self.control)

    def is_of(self, compound: str) -> np.ndarray:
        """Return (S,) bool, true for sites of a compound, in any spelling."""
        return identity.is_name(self.frame["compound"], compound).to_numpy()

    def is_labelled(self) -> np.ndarray:
        """Return (S,) bool, true for sites whose mechanism is known; of assays, whose compound was measured in one."""
        return (self.frame["mechanism"] != "").to_numpy() if self.assays is None else self.assays.is_measured()

    def labelled(self) -> "SiteTable":
        """Return the table of the sites that `is_labelled` names."""
        return self.select(self.is_labelled())

    def classes(self) -> list[str]:
        """Return what a network learns to predict, in the order of its outputs: the assays, or else the mechanisms."""
        return self.mechanisms() if self.assays is None else self.assays.names

    def mechanisms(self) -> list[str]:
        """Return the known mechanisms in alphabetical order, that of the control wells among them."""
        return sorted(set(self.frame["mechanism"]) - {""})


def read_sites(path: Path, *, image_root: Path | None = None, channels: tuple[str, ...] = (),
               columns: dict[str, str] | None = None, control: str = "DMSO", follow_links: Sequence[Path] = (),
               unit: str | None = None, problems: list[Problem] | None = None) -> SiteTable:
    """Read the site table of any screen.

    path: the CSV; image_root: where image paths start (default: the CSV's folder); channels: which channels and their
    order (LoadData style), or the names of the channels inside each file (a single file a site);
    columns: {role: column} where a column is not recognised; control: the compound of untreated wells; follow_links:
    folders that links below the image root may lead to; unit: of all concentrations, whatever the table says.
    Raises DataError listing every unknown column; or every duplicate site, bad concentration, unlike unit or name, all
    kinds at once.
    problems: a list to add the latter to instead; the frame's index then counts rows as the file does, and a file name
    that must not be followed is "".
    """
    found = [] if problems is None else problems
    table = csv_safe.unescape_table(read_csv(path))
    roles = _find_roles(table, columns or {}, path)
    missing = [role for role in REQUIRED if role not in roles]
    if missing:
        raise DataError(f"{path}: no column for {', '.join(missing)}; name it with --columns ROLE=COLUMN; "
                        f"its columns are {', '.join(table.columns)}")
    frame = pd.DataFrame({role: table[roles[role]] if role in roles else "" for role in METADATA}, index=table.index)
    frame = without_missing(frame, control)
    frame["concentration"] = concentrations(frame["concentration"], path, found) if "concentration" in roles else np.nan
    has_channels = any(re.fullmatch(r"(?:Image_)?FileName_.+", name) for name in table.columns)
    file_column = roles.get("file") if "file" in (columns or {}) or not has_channels else None
    frame["files"], names = image_sources(table, file_column, channels, path, image_root or path.parent, found,
                                           follow_links)
    if (sizes := pixel_sizes(table)) is not None:
        frame[PIXEL_SIZE] = sizes
    found += [*find_faults(frame, str(path), names), *([] if unit else unlike_units(table, frame, path))]
    if problems is None:
        refuse(found, path)
    absent = [role for role in METADATA if role not in roles]
    log.info("columns: %s%s", ", ".join(f"{role} = {column}" for role, column in roles.items()),
             f"; not there: {', '.join(absent)}" if absent else "")
    if "concentration" in absent:
        log.warning("no column for concentration: all doses of a compound count as one treatment")
    return SiteTable(frame.reset_index(drop=True) if problems is None else frame, names, control,
                     unit=table_unit(table, roles.get("concentration", "")))


def without_missing(frame: pd.DataFrame, control: str) -> pd.DataFrame:
    """Return the table's texts without blanks around them; what stands for a missing value is "".

    A compound, plate or well is missing only where a program writes so (nan, N/A), and never where it names the control.
    A mechanism may also say that it is not known; the log lists which texts mean that.
    """
    frame = frame.copy()
    for role in (name for name in METADATA if name != "concentration"):
        texts = frame[role].str.strip()
        stands_for_none = identity.is_missing if role in REQUIRED else identity.is_not_known
        missing = {text for text in texts.unique() if stands_for_none(text)
                   and not (role == "compound" and identity.is_same(text, control))}
        if role == "mechanism" and (written := sorted(missing - {""})):
            counts = ", ".join(f"{text!r} ({int((texts == text).sum())} rows)" for text in written)
            log.info("mechanisms that are not known: %s", counts)
        frame[role] = texts.where(~texts.isin(missing), "")
    return frame


def concentrations(texts: pd.Series, source: Path, problems: list[Problem]) -> pd.Series:
    """Return text as numbers of six significant digits (identity.dose); NaN where it is not given.

    What is no number of 0 or more is NaN, and a problem.
    """
    numbers = pd.to_numeric(_with_points(texts), errors="coerce").astype(float)
    fits = np.isfinite(numbers) & (numbers >= 0)
    bad = ~texts.map(identity.is_not_known).astype(bool) & ~fits
    problems += [Problem(row, str(source), f"{text!r} is no concentration: not a number of 0 or more",
                         "concentrations are not numbers of 0 or more; write them like 0.3")
                 for row, text in rows_of(texts[bad])]
    return numbers.where(fits).map(identity.dose)


def _with_points(texts: pd.Series) -> pd.Series:
    """Return a column of decimal commas (0,3) with points.

    It is unchanged where some value has a point, and where all commas may part thousands (1,000).
    """
    given = texts.str.strip()
    has_comma = given.str.fullmatch(r"\d+,\d+(e[+-]?\d+)?", case=False).astype(bool)
    may_be_thousands = given.str.fullmatch(r"[1-9]\d{0,2},\d{3}").astype(bool)
    if not (has_comma & ~may_be_thousands).any() or given.str.contains(".", regex=False).any():
        return texts
    log.info("concentrations have decimal commas: 0,3 is read as 0.3")
    return given.where(~has_comma, given.str.replace(",", "."))


def parse_columns(text: str | None) -> dict[str, str]:
    """Return {"compound": "Name", "mechanism": "Class"} for "compound=Name,mechanism=Class". Raises DataError."""
    pairs = [pair.partition("=") for pair in (text or "").split(",") if pair.strip()]
    wrong = ["=".join((role, column)) for role, equals, column in pairs if role.strip() not in _SPELLINGS or not equals]
    if wrong:
        raise DataError(f"--columns {text}: give ROLE=COLUMN pairs; roles are {', '.join(_SPELLINGS)}", wrong)
    return {role.strip(): column.strip() for role, _, column in pairs}


def is_second(name: str, columns: list[str]) -> bool:
    """Return whether a column could be meant for a role that another column has by its own name, as Metadata_Site."""
    role = next((role for role, spellings in _SPELLINGS.items() if plain_name(name) in spellings), "")
    return role in PUBLIC_NAMES and name != PUBLIC_NAMES[role] and PUBLIC_NAMES[role] in columns


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Return a sort key under which Week2 comes before Week10."""
    return [(piece.isdigit(), int(piece) if piece.isdigit() else 0, piece) for piece in re.split(r"(\d+)", name)]


def _find_roles(table: pd.DataFrame, given: dict[str, str], path: Path) -> dict[str, str]:
    """Return the column of each role: as given, else by name (Metadata_Plate, Image_Metadata_Plate, plate, ...)."""
    absent = [f"{role}={column}" for role, column in given.items() if column not in table.columns]
    if absent:
        raise DataError(f"{path}: has no such columns; it has {', '.join(table.columns)}", absent)
    roles, ambiguous = dict(given), []
    for role, spellings in _SPELLINGS.items():
        matches = [name for name in table.columns if plain_name(name) in spellings]
        matches = [name for name in matches if name == PUBLIC_NAMES.get(role)] or matches
        if role not in given and len(matches) > 1:
            ambiguous.append(f"{role}: {', '.join(matches)}")
        elif role not in given and matches:
            roles[role] = matches[0]
    if ambiguous:
        raise DataError(f"{path}: more than one column could be meant; choose with --columns ROLE=COLUMN", ambiguous)
    return roles

