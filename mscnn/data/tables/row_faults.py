"""Faults of a site table's rows: names that cannot be used, spellings, and rows that contradict each other.

Every reader of a table refuses what `find_faults` finds: one file, well or compound in two ways would be on both sides of
a split.  Names and doses are compared in their normal form (core/identity.py).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from mscnn.core import identity
from mscnn.data.tables.image_source import Plane, source_paths, unpack_source
from mscnn.data.tables.problems import Problem, rows_of
from mscnn.data.tables.wells import well_place

REQUIRED = ("plate", "well", "compound")
_NAMES = ("plate", "week", "well", "site", "replicate", "compound", "mechanism")


class FileUse(NamedTuple):
    """Place in a table that names a file."""

    row: int             # as in the table's file
    channel: int | None  # position among its channels; None if one file holds all

    def name(self, channels: Sequence[str]) -> str:
        """Return the place for people: row 2 channel DNA."""
        return f"row {self.row}" + ("" if self.channel is None else f" channel {channels[self.channel]}")


def find_faults(frame: pd.DataFrame, source: str, channels: Sequence[str] = ()) -> list[Problem]:
    """Return all faults of the rows of a table.

    frame: as SiteTable.frame, but its index counts rows as the file at source does; channels: names of those that have a
    file each.  Rows of a table without sites are told apart by their files alone.
    """
    forms = identity.normal_table(frame, {role: role for role in _NAMES})
    forms["concentration"] = frame["concentration"].map(identity.dose)
    return [*_unusable(frame, source), *_spellings(frame, forms, source), *_repeated_sites(frame, forms, source),
            *_contradictions(frame, forms, source), *_repeated_files(frame, source, channels)]


def _unusable(frame: pd.DataFrame, source: str) -> Iterator[Problem]:
    """Yield rows without compound, plate or well, wells that are no place on a plate, and names with a NUL.

    numpy drops a NUL at the end of a text: two compounds would become one.
    """
    for role in REQUIRED:
        for row in frame.index[frame[role] == ""]:
            yield Problem(row, source, f"no {role}", "values are empty; fill them in (DMSO for untreated wells)")
    for role in _NAMES:
        for row, name in rows_of(frame[role][frame[role].str.contains("\0", regex=False)]):
            yield Problem(row, source, f"{role} {name!r} holds a NUL", "names hold a NUL; take it out")
    is_place = frame["well"].map({well: well_place(well) is not None for well in frame["well"].unique()}).astype(bool)
    for row, well in rows_of(frame["well"][~is_place & (frame["well"] != "")]):
        yield Problem(row, source, f"well {well!r} is no place on a plate",
                      "wells are no place on a plate; write them A01 to AF48")


def _spellings(frame: pd.DataFrame, forms: pd.DataFrame, source: str) -> Iterator[Problem]:
    """Yield the first row of each spelling of a name that is written in more than one way; of a well, on one plate."""
    for role, within in (("compound", []), ("mechanism", []), ("plate", []), ("week", []), ("well", ["plate"])):
        names = forms[[*within, role]].assign(name=frame[role]).drop_duplicates()
        for _, group in names[names.duplicated([*within, role], keep=False)].groupby([*within, role]):
            for row, name in rows_of(group["name"]):
                others = ", ".join(ascii(other) for other in sorted(set(group["name"]) - {name}))
                yield Problem(row, source, f"{role} {name!a} is also written {others}",
                              f"{role}s are written in more than one way; choose one spelling of each")


def _repeated_sites(frame: pd.DataFrame, forms: pd.DataFrame, source: str) -> Iterator[Problem]:
    """Yield each row that shares plate, well and site with another."""
    if (frame["site"] == "").all():
        return
    again = frame[forms.duplicated(["plate", "well", "site"], keep=False)]
    for row, plate, well, site in zip(again.index, again["plate"], again["well"], again["site"], strict=True):
        yield Problem(row, source, f"{plate} {well} site {site}: not the only row of this site",
                      "rows share plate, well and site; keep one row a site")


def _contradictions(frame: pd.DataFrame, forms: pd.DataFrame, source: str) -> Iterator[Problem]:
    """Yield the first row of each value where rows of one compound, well or plate have different ones."""
    known = forms[forms["mechanism"] != ""]
    for rows, one, role, kind in (
            (known, ["compound"], "mechanism", "compounds have more than one mechanism; choose one"),
            (forms, ["plate", "well"], "compound", "wells have more than one compound; mend their rows"),
            (forms, ["plate", "well"], "concentration", "wells have more than one concentration; mend their rows"),
            (forms, ["plate"], "week", "plates are in more than one week; give each plate a name of its own")):
        values = rows[[*one, role]].drop_duplicates()
        for _, group in values[values.duplicated(one, keep=False)].groupby(one):
            first = frame.loc[group.index]
            name = " ".join(f"{key} {first[key].iloc[0]!r}" for key in one)
            listed = ", ".join(f"{value!r} in row {row}"
                               for row, value in rows_of(first[role]))
            for row in group.index:
                yield Problem(row, source, f"{name} has more than one {role}: {listed}", kind)


def _repeated_files(frame: pd.DataFrame, source: str, channels: Sequence[str]) -> Iterator[Problem]:
    """Yield each place that names a file which an earlier row or channel names; of packed fields, a record."""
    if "record" in frame:
        records = frame["record"].str[:2]
        for row, (file, number) in rows_of(records[records.duplicated()]):
            yield Problem(row, source, f"record {number} of {file} is that of an earlier row",
                          "records are named more than once; pack the screen again")
        return
    first: dict[str | Plane, FileUse] = {}
    for source, use in file_uses(frame):
        for plane in [source] if "\0" not in source else unpack_source(source).planes:
            key = plane if isinstance(plane, str) or plane.number is not None else plane.path
            other = first.setdefault(key, use)
            if other is not use:
                kind = "file" if isinstance(key, str) else "plane"
                yield Problem(use.row, source_paths(source)[0], f"the same {kind} as {other.name(channels)}",
                              "files are named more than once; give each row and channel a file or plane of its own")


def file_uses(frame: pd.DataFrame) -> Iterator[tuple[str, FileUse]]:
    """Yield each image source that may be opened, and where it is named."""
    for row, sources in rows_of(frame["files"]):
        yield from ((source, FileUse(row, channel if len(sources) > 1 else None))
                    for channel, source in enumerate(sources) if source)
