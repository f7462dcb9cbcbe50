"""Leave out the fields of a screen that a file of flags names.   mscnn train screen ... --leave-out check/quality.csv"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from mscnn.core import csv_safe, identity
from mscnn.core.errors import DataError, UsageError
from mscnn.core.logs import log
from mscnn.data.tables.left_out import VOCABULARY, LeftOut, count_flags, digest
from mscnn.data.tables.site_table import PUBLIC_SITE, SiteTable
from mscnn.data.tables.text_csv import read_csv

FLAGS = "Flags"
REQUIRED = (PUBLIC_SITE["plate"], PUBLIC_SITE["well"], FLAGS)
_SITE = {role: role for role in PUBLIC_SITE}  # columns of a site table
Names = list[tuple[str, str, str]]            # normal forms of plate, well and site


def leave_out(table: SiteTable, path: Path, flags: str) -> SiteTable:
    """Return the table without the fields that have one of these flags in a quality.csv, and tell how many.

    path: columns Metadata_Plate, Metadata_Well, Flags and, of single fields, Metadata_Site; a row without a site names all
    fields of its well.  flags: names joined by commas.
    Raises DataError for a file that knows no field of the table, or all; UsageError for unknown flags.
    """
    asked = _known([name.strip() for name in flags.split(",") if name.strip()], f"--leave-out-flags {flags}", UsageError)
    rows = _read(path)
    flags_of: dict[tuple[str, str, str], list[str]] = {}
    for name, text in zip(_names(rows, PUBLIC_SITE), rows[FLAGS].tolist(), strict=True):
        given = _known([flag.strip().lower() for flag in text.split(";") if flag.strip()], str(path), DataError)
        flags_of[name] = list(dict.fromkeys([*flags_of.get(name, []), *(flag for flag in given if flag in asked)]))
    return _without(table, flags_of, path)


def leave_out_again(table: SiteTable, record: LeftOut) -> SiteTable:
    """Return the table without the fields that a training left out. Raises DataError where it lacks some of them."""
    wanted = set(_names(pd.DataFrame(record.sites, columns=list(_SITE)), _SITE))
    is_out = np.array([name in wanted for name in _names(table.frame, _SITE)], bool)
    if (found := int(is_out.sum())) != record.fields:
        raise DataError(f"the table has {found:,} of the {record.fields:,} fields that the training left out; restore it, "
                        "or name a table to score with --sites")
    log.info("%s, as in training", record)
    return replace(table.select(~is_out), left_out=record)


def _without(table: SiteTable, flags_of: dict[tuple[str, str, str], list[str]], path: Path) -> SiteTable:
    """Return the table without the fields that have flags by their own name or by that of their well."""
    names = _names(table.frame, _SITE)
    of_wells = {name: (*name[:2], "") for name in names}
    is_known = np.array([name in flags_of or of_wells[name] in flags_of for name in names], bool)
    if not is_known.any():
        raise DataError(f"{path}: knows none of the {len(table):,} fields of the table, such as {table.name(0)}; name the "
                        "file that `mscnn check` wrote for this screen")
    found = [";".join(dict.fromkeys([*flags_of.get(name, []), *flags_of.get(of_wells[name], [])])) for name in names]
    is_out = np.array([bool(text) for text in found], bool)
    if is_out.all():
        raise DataError(f"{path}: leaves out all {len(table):,} fields; name fewer flags with --leave-out-flags")
    _log_unmatched(path, unknown=int((~is_known).sum()), elsewhere=len(
        {name for name, flags in flags_of.items() if flags} - {*names} - {*of_wells.values()}))
    sites = table.frame.loc[is_out, list(_SITE)].astype(str).to_numpy().tolist()
    record = LeftOut(int(is_out.sum()), len(table), count_flags(found),
                     digest([name for name, out in zip(names, is_out, strict=True) if out]), sites)
    log.info("%s (%s)", record, path)
    return replace(table, frame=table.frame[~is_out], left_out=record)


def _log_unmatched(path: Path, *, unknown: int, elsewhere: int) -> None:
    if unknown:
        log.warning("%s does not know %s fields of the table; they are kept", path, f"{unknown:,}")
    if elsewhere:
        log.warning("%s flags %s fields or wells that are not in the table", path, f"{elsewhere:,}")


def _read(path: Path) -> pd.DataFrame:
    """Return the rows of a file of flags as text. Raises DataError for columns that are missing or unknown."""
    try:
        rows = csv_safe.unescape_table(read_csv(path))
    except DataError as problem:  # whose remedy is for tables of sites
        why = str(problem).partition("; ")[0]
        raise DataError(f"--leave-out {why}; name the quality.csv that `mscnn check` wrote") from None
    if missing := [name for name in REQUIRED if name not in rows]:
        raise DataError(f"{path}: lacks {', '.join(missing)}; name the quality.csv that `mscnn check` wrote")
    if unknown := [name for name in map(str, rows) if name != FLAGS and not name.startswith(("Metadata_", "Quality_"))]:
        raise DataError(f"{path}: has unknown columns {', '.join(unknown[:5])}; a file of flags has Metadata_*, Quality_* "
                        "and Flags")
    return rows if PUBLIC_SITE["site"] in rows else rows.assign(**{PUBLIC_SITE["site"]: ""})


def _known(names: list[str], source: str, error: type[DataError] | type[UsageError]) -> list[str]:
    """Return names of flags. Raises the error for others."""
    if unknown := sorted({*names} - {*VOCABULARY}):
        raise error(f"{source}: {', '.join(unknown[:5])} is no flag; flags are {', '.join(VOCABULARY)}")
    return names


def _names(frame: pd.DataFrame, columns: dict[str, str]) -> Names:
    """Return the normal forms of plate, well and site of each row."""
    return list(identity.normal_table(frame, columns).itertuples(index=False, name=None))
