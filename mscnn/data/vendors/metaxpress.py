"""Folders of MetaXpress (ImageXpress, Molecular Devices): an HTD file and the tree of TIFF files around it.

A plate is the folder of the outermost HTD of one name; copies lie in `TimePoint_1/` and `ZStep_1/`.  The HTD declares
wells, sites and wavelengths; the folder tells which files there are, as their names hold random parts.  `ZStep_0/`, and
images beside folders `ZStep_1/` or names with `_z1`, are projections: z 0.

A plate has the name of its HTD, `9987` for 9987.HTD.  Where several folders have an HTD of one name, a plate has the name
of its folder.  Exercised by `pytest tests/data/vendors/test_metaxpress.py`.
"""

from collections import Counter
from functools import lru_cache
from typing import Any, NamedTuple

from mscnn.data.tables.problems import Problem
from mscnn.data.tables.wells import well_name, well_place
from mscnn.data.vendors.htd import Htd, is_htd, read_htd
from mscnn.data.vendors.metaseries import pixel_size
from mscnn.data.vendors.name_patterns import METAXPRESS
from mscnn.data.vendors.planes import Listing, PlaneIndex, ReadOptions, planes_of
from mscnn.data.vendors.plate_names import own_or_folder_names
from mscnn.data.vendors.tree_places import tree_place

NAME = "MetaXpress"
THUMBNAILS, HIDDEN = "thumbnails", "hidden files"
OTHERS, UNNAMED = "images of another name than the HTD", "images whose names tell no well"
PROJECTED = "images are projections; they are read as z 0"
_TIFF = (".tif", ".tiff")


class _Folder(NamedTuple):
    """A folder of one plate that may hold images."""

    path: str         # below the root of the listing
    time: int | None
    z: int | None


def find(listing: Listing) -> list[str]:
    """Return the outermost HTD of each plate."""
    return sorted(_plates(listing).values())


def read(listing: Listing, index: str, options: ReadOptions) -> PlaneIndex:
    """Return the planes of the plate of one HTD. Raises DataError for a file that is none, or is cut short."""
    htd = read_htd(listing.path(index))
    key = _key(listing, index)
    folders = _folders(listing).get(key[0], [])
    plate = own_or_folder_names({*_plates(listing), key})[key]
    left_out: Counter[str] = Counter()
    rows, problems = _rows(listing, folders, htd, _prefix(listing, folders, key[1], index), left_out)
    for row in rows:
        row["plate"] = plate
    _add_pixel_sizes(listing, rows)
    absent = _absent(listing, folders, key, htd, rows)
    notes = [f"{number} {kind} were left out" for kind, number in left_out.items()]
    flat = sum(row["is_flat"] for row in rows) if any(row["z"] for row in rows) else 0
    if flat:
        notes.append(f"{flat} {PROJECTED}")
    if unknown := sorted({row["order"] + 1 for row in rows} - {*htd.waves}):
        notes.append(f"the HTD does not declare wavelength {', '.join(map(str, unknown))}; its number is its name")
    return PlaneIndex(planes_of([*rows, *({**row, "plate": plate} for row in absent)]), NAME, tuple(notes), tuple(problems),
                      z0_projected=flat > 0)


def _rows(listing: Listing, folders: list[_Folder], htd: Htd, prefix: str | None,
          left_out: Counter[str]) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Return a row for each image of the plate.

    prefix: of the names of its files, in small letters; None: any.
    """
    rows: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for folder in folders:
        for name in listing.by_folder[folder.path]:
            match, kind = _match(name, prefix)
            if match is None:
                left_out.update([kind] if kind else [])
                continue
            place = well_place(match["well"])
            path = f"{folder.path}/{name}" if folder.path else name
            if place is None or place[0] >= htd.rows or place[1] >= htd.columns:
                problems.append(_beyond(path, match["well"], htd))
                continue
            z = int(match["z"]) if match["z"] else folder.z or 0
            wave = int(match["channel"] or 1)
            rows.append({"well": well_name(*place), "site": str(int(match["site"] or 1)), "order": wave - 1, "z": z,
                         "channel": htd.waves.get(wave, str(wave)), "path": path,
                         "is_flat": match["z"] is None and not folder.z,
                         "time": int(match["time"]) if match["time"] else 1 if folder.time is None else folder.time})
    return rows, problems


def _beyond(path: str, well: str, htd: Htd) -> Problem:
    return Problem(None, path, f"well {well} is not on the plate of {htd.rows} x {htd.columns} wells that the HTD declares",
                   "images are of wells beyond their plate; copy its HTD again, or move images of other plates elsewhere")


def _match(name: str, prefix: str | None) -> tuple[Any, str]:
    """Return the match of the name of an image, or None and what it is that is left out; "" for what is no image."""
    lowered = name.lower()
    if not lowered.endswith(_TIFF):
        return None, ""
    if name.startswith("."):
        return None, HIDDEN
    if "_thumb" in lowered:
        return None, THUMBNAILS
    match = METAXPRESS.regex.fullmatch(name)
    if match is None:
        return None, UNNAMED
    if prefix is not None and (match["plate"] or "").lower() != prefix:
        return None, OTHERS
    return match, ""


def _prefix(listing: Listing, folders: list[_Folder], name: str, index: str) -> str | None:
    """Return what the names of a plate's files start with: the HTD's name; None, anything, where no file does so.

    Several HTD files in one folder need it: there the files of one plate lie among those of others.
    """
    lowered = name.lower()
    if any(file.lower().startswith(f"{lowered}_") and file.lower().endswith(_TIFF)
           for folder in folders for file in listing.by_folder[folder.path]):
        return lowered
    beside = listing.by_folder.get(index.rpartition("/")[0], [])
    return lowered if sum(file.lower().endswith(".htd") for file in beside) > 1 else None


def _absent(listing: Listing, folders: list[_Folder], key: tuple[str, str], htd: Htd,
            rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each selected well, site and wavelength without any image, with the path that it would have."""
    seen = {(row["well"], row["site"], row["order"]) for row in rows}
    numbers = {int(row["site"]) for row in rows}
    sites = sorted(numbers) if len(numbers) == htd.sites else range(1, htd.sites + 1)  # of a grid, or counted from 1
    root = listing.root.resolve().as_posix()
    below = key[0].removeprefix(root).lstrip("/") if key[0].startswith(root) else ""
    first = next((folder for folder in folders if folder.time is not None or folder.z is not None),
                 _Folder(f"{below}/TimePoint_1".lstrip("/"), 1, None))
    if rows:
        first = _Folder(rows[0]["path"].rpartition("/")[0], rows[0]["time"], rows[0]["z"])
    found = []
    for well in htd.wells:
        for site in map(str, sites):
            for wave in htd.collected:
                if (well, site, wave - 1) not in seen:
                    name = _expected_name(key[1], htd, well, site, wave)
                    found.append({"well": well, "site": site, "channel": htd.waves[wave], "order": wave - 1,
                                  "z": first.z or 0, "time": first.time or 1, "path": f"{first.path}/{name}".lstrip("/")})
    return found


def _expected_name(plate: str, htd: Htd, well: str, site: str, wave: int) -> str:
    return f"{plate}_{well}" + (f"_s{site}" if htd.has_sites else "") + (f"_w{wave}" if htd.has_waves else "") + ".TIF"


def _add_pixel_sizes(listing: Listing, rows: list[dict[str, Any]]) -> None:
    """Add the size of a pixel, read from one image of each wavelength."""
    sizes: dict[int, float] = {}
    for row in rows:
        if row["order"] not in sizes:
            sizes[row["order"]] = pixel_size(listing.path(row["path"]))
        row["pixel_size"] = sizes[row["order"]]


def _key(listing: Listing, index: str) -> tuple[str, str]:
    """Return the folder of an HTD's plate, with all folders above it, and the HTD's name."""
    folder, _, name = index.rpartition("/")
    return tree_place(f"{listing.root.resolve().as_posix()}/{folder}".rstrip("/")).plate, name.rpartition(".")[0]


@lru_cache(maxsize=1)
def _plates(listing: Listing) -> dict[tuple[str, str], str]:
    """Return {folder and name of a plate: its outermost HTD}."""
    found: dict[tuple[str, str], str] = {}
    for index in sorted(listing.named("*.htd"), key=lambda file: (file.count("/"), file)):
        if not index.rpartition("/")[2].startswith(".") and is_htd(listing.path(index)):
            found.setdefault(_key(listing, index), index)
    return found


@lru_cache(maxsize=1)
def _folders(listing: Listing) -> dict[str, list[_Folder]]:
    """Return {folder of a plate, with all folders above it: its folders}."""
    root = listing.root.resolve().as_posix()
    found: dict[str, list[_Folder]] = {}
    for folder in sorted(listing.by_folder):
        place = tree_place(f"{root}/{folder}".rstrip("/"))
        found.setdefault(place.plate, []).append(_Folder(folder, place.time, place.z))
    return found
