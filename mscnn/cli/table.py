"""Make a site table of the folder that a microscope wrote, and of a plate map.

Formats that are recognised: Harmony, CellVoyager, MetaXpress, HCS.ai, OME-Zarr and OME-TIFF plates, CellProfiler's
LoadData, nf-core sample sheets, and names of files.  `mscnn check` reads the images themselves.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mscnn.cli import parse
from mscnn.core import errors, files, identity
from mscnn.core.logs import log
from mscnn.core.settings import REQUIRED, Settings, parse_size, setting


@dataclass(frozen=True, kw_only=True)
class TableSettings(Settings):
    """Settings of `mscnn table`"""

    folder: str = setting(REQUIRED, "folder that the microscope wrote, with one plate or many; or one index file",
                          positional=True, metavar="PATH")
    out: str = setting(REQUIRED, "the site table, a CSV", metavar="CSV", written=True)
    platemap: str | None = setting(None, "what is in each well: a list of wells (CSV, TSV, XLSX), a grid of rows and "
                                         "columns, or Broad's barcode_platemap.csv", metavar="PATH")
    compounds: str | None = setting(None, "the mechanism of each compound: a table with a row a compound", metavar="FILE")
    z: str = setting("auto", "which focal plane, where there are several. max: the maximum over all; middle; or its number",
                     metavar="max|middle|N")
    time: str = setting("auto", "which time point, where there are several: its number", metavar="N")
    channels: str | None = setting(None, "which channels, in which order, and their new names, as 'HOECHST 33342=DNA,"
                                         "Alexa 488=ER'; default: all", metavar="NAME[=NEW],...")
    pages: Literal["auto", "channel", "z", "time"] = setting(
        "auto", "what the pages of each file are, where files hold several and no index tells", common=False)
    allow_missing: bool = setting(False, "keep rows whose image files are not there, leave out sites that lack a channel")
    unmapped: Literal["refuse", "drop"] = setting("refuse", "wells that the plate map does not have: refuse them, or drop "
                                                            "their rows")
    plates: Literal["index", "folder"] = setting("index", "name plates as the index does, or by their folders")
    pattern: str | None = setting(None, "template of file names where there is no index, as "
                                        "'{plate}/{well}_s{site}_w{channel}.tif'. Fields: plate well row column site "
                                        "channel z time; * stands for anything", metavar="TEMPLATE")
    format: Literal["auto", "harmony", "cellvoyager", "metaxpress", "jdce", "ome-zarr", "ome-tiff", "load-data",
                    "sample-sheet", "file-names"] = setting("auto", "the format of the folder; auto: recognised",
                                                            common=False)
    columns: str | None = setting(None, "names of columns of the plate map that are not recognised, as role=column,.... "
                                        "Roles: plate well row column compound concentration unit mechanism",
                                  metavar="ROLE=COLUMN,...", common=False)
    follow_links: str | None = setting(None, "folders that links below the folder may lead to; others are not followed",
                                       metavar="DIR,DIR,...", common=False)
    compound_columns: str | None = setting(None, "the same of the table of --compounds. Roles: compound mechanism "
                                                 "concentration unit", metavar="ROLE=COLUMN,...", common=False)
    control: str = setting("DMSO", "compound of the untreated wells", metavar="COMPOUND", common=False)
    level_size: str | None = setting(None, "of a pyramid of OME-Zarr, the smallest level that is at least so large; "
                                           "default: the full size", metavar="HxW", common=False)
    value_range: str | None = setting(None, "of images that are neither 8 nor 16 bit, the values that become 0 and 65535",
                                      metavar="LOW,HIGH", common=False)
    overwrite: bool = setting(False, "replace a table that is there", common=False)


COMMAND = parse.Command("table", __doc__, TableSettings)


def main(argv: list[str]) -> None:
    """Write the site table of a microscope's folder."""
    settings = COMMAND.read(argv)
    out = Path(settings.out)
    with errors.details_to_file(out.parent):
        _make(settings, out)


def _make(settings: TableSettings, out: Path) -> None:
    """Write the table. Raises DataError or UsageError."""
    from mscnn.core import csv_safe  # here, so that --help comes at once
    from mscnn.data import make_table
    from mscnn.data.plate_maps.compounds import read_compounds
    from mscnn.data.plate_maps.read_map import read_plate_map
    from mscnn.data.read_screen import allowed_folders
    from mscnn.data.treatments import add_treatments, plain_columns
    from mscnn.data.vendors.choose import parse_time, parse_z

    if out.suffix.lower() != ".csv":
        raise errors.UsageError(f"--out {out} must end with .csv")
    if out.exists() and not settings.overwrite:
        raise errors.UsageError(f"--out {out} is there already; name another file, or say --overwrite true")
    options = make_table.TableOptions(
        format=settings.format, pattern=settings.pattern or "", plates_by_folder=settings.plates == "folder",
        level_size=parse_size("level-size", settings.level_size) if settings.level_size else None,
        pages="" if settings.pages == "auto" else settings.pages, z=parse_z(settings.z), time=parse_time(settings.time),
        channels=_pairs("channels", settings.channels or ""), value_range=_value_range(settings.value_range),
        allow_missing=settings.allow_missing, follow_links=allowed_folders(settings.follow_links))
    place = Path(settings.folder)
    if not place.exists():
        raise errors.DataError(f"{place}: there is no such folder; name the folder that the microscope wrote")
    plate_map = read_plate_map(Path(settings.platemap), columns=_pairs("columns", settings.columns or ""),
                               control=settings.control) if settings.platemap else None
    compounds = read_compounds(Path(settings.compounds), columns=_pairs("compound-columns", settings.compound_columns or "")
                               ) if settings.compounds else None
    found = make_table.find_images(place, options)
    rows, lines = found.rows, found.lines
    if plate_map is not None or compounds is not None:
        rows, more = add_treatments(rows, plate_map, compounds, control=settings.control,
                                    drop_unmapped=settings.unmapped == "drop")
        lines = [*lines, *more]
    rows, needs_root = make_table.with_folders(plain_columns(rows), found.root, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with files.write_atomically(out) as partial:
        csv_safe.write_csv(rows, partial)
    root = f" --image-root {shlex.quote(str(place if place.is_dir() else place.parent))}" if needs_root else ""
    if not identity.is_same(settings.control, "DMSO"):
        root += f" --control {shlex.quote(settings.control)}"
    if "Metadata_Compound" in rows:
        log.info("%s\nwrote %s; now run: mscnn check --sites %s%s", "\n".join(lines), out, shlex.quote(str(out)), root)
    else:
        log.info("%s\nwrote %s", "\n".join(lines), out)
        log.warning("the table has no compounds yet: say what is in each well with --platemap FILE --overwrite true")


def _pairs(option: str, text: str) -> dict[str, str]:
    """Return {"a": "b", "c": "c"} for "a=b,c". Raises UsageError for an empty name, or one that is there twice."""
    found: dict[str, str] = {}
    for piece in filter(str.strip, text.split(",")):
        old, _, new = (part.strip() for part in piece.partition("="))
        new = new if "=" in piece else old
        if not old or not new or old in found or new in found.values():
            raise errors.UsageError(f"--{option} {text}: {piece.strip()!r} is empty or there twice; give NAME=NEW,...")
        found[old] = new
    return found


def _value_range(text: str | None) -> str:
    """Return "0 1" for "0,1", "" where nothing is stated. Raises UsageError unless they are two ascending numbers."""
    if not text:
        return ""
    try:
        low, high = map(float, text.split(","))
        if not low < high:
            raise ValueError
    except ValueError:
        raise errors.UsageError(f"--value-range {text}: give two ascending numbers, such as 0,1") from None
    return f"{low!r} {high!r}"
