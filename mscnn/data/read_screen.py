"""From the settings that name a screen to its table: BBBC021's CSVs, any other screen's CSV, or packed fields.

Imports no torch, so that `mscnn check` stays small.
"""

from dataclasses import replace
from pathlib import Path

from mscnn.core import config, identity
from mscnn.core.errors import DataError, UsageError
from mscnn.core.logs import log
from mscnn.data.leave_out import leave_out
from mscnn.data.pixels import packed
from mscnn.data.tables import bbbc021
from mscnn.data.tables.available import select_available
from mscnn.data.tables.problems import Problem
from mscnn.data.tables.site_table import SiteTable, parse_columns, read_sites


def read_screen(settings: config.Table, problems: list[Problem] | None = None) -> SiteTable:
    """Return all sites of the screen that the settings name, with or without a known mechanism, but those left out.

    problems: a list to add the faults of a CSV's rows to; without it a DataError lists them.  The table has the unit of the
    settings, else its own.
    """
    table = _read(settings, problems)
    if settings.available:
        table = select_available(table, source_of(settings), keeps_rows=problems is not None)
    if settings.leave_out:
        table = leave_out(table, Path(settings.leave_out), settings.leave_out_flags)
        if problems is None:
            table = replace(table, frame=table.frame.reset_index(drop=True))
    if table.unit and settings.concentration_unit not in (None, table.unit):
        log.warning("the table says that concentrations are in %s, and they are shown in %s, as --concentration-unit says; "
                    "numbers are not converted", table.unit, settings.concentration_unit)
    return replace(table, unit=settings.concentration_unit or table.unit)


def source_of(settings: config.Table) -> Path:
    """Return the table, or the pack, that the settings name."""
    if settings.bbbc021:
        return bbbc021.find_csvs(Path(settings.bbbc021))[0]
    return Path(settings.packed or settings.sites or "")


def _read(settings: config.Table, problems: list[Problem] | None) -> SiteTable:
    root = Path(settings.image_root) if settings.image_root else None
    if root and not root.is_dir():
        raise DataError(f"--image-root {root}: there is no such folder; name the one that image paths start from")
    links = allowed_folders(settings.follow_links)
    if settings.packed:
        table = packed.read_packed(Path(settings.packed), settings.control)
        keep = screen_format(settings) != "bbbc021" or settings.taxol_controls == "keep"
        return table if keep else table.select(~bbbc021.is_taxol_control(table.frame).to_numpy())
    if settings.bbbc021:
        if not identity.is_same(settings.control, bbbc021.CONTROL):
            raise UsageError(f"--control {settings.control}: the untreated wells of BBBC021 are {bbbc021.CONTROL}; leave "
                             "it out")
        image_csv, moa_csv = bbbc021.find_csvs(Path(settings.bbbc021))
        return bbbc021.read_bbbc021(image_csv, moa_csv, image_root=root, taxol_controls=settings.taxol_controls,
                                    follow_links=links, problems=problems)
    assert settings.sites, "settings name a pack, BBBC021 or a CSV of sites"
    channels = tuple(name.strip() for name in (settings.channels or "").split(",") if name.strip())
    return read_sites(Path(settings.sites), image_root=root, channels=channels, columns=parse_columns(settings.columns),
                      control=settings.control, follow_links=links, unit=settings.concentration_unit, problems=problems)


def allowed_folders(named: str | None) -> tuple[Path, ...]:
    """Return the folders that links may lead to. Raises DataError for those that are not there."""
    folders = [Path(name) for name in (named or "").split(",") if name]
    if missing := [str(folder) for folder in folders if not folder.is_dir()]:
        raise DataError(f"--follow-links {', '.join(missing)}: there is no such folder; name those that links lead to")
    return tuple(folders)


def screen_format(settings: config.Table) -> str:
    """Return the format of the screen's table: bbbc021 or sites."""
    if settings.packed:
        return packed.describe(Path(settings.packed)).screen
    return "bbbc021" if settings.bbbc021 else "sites"
