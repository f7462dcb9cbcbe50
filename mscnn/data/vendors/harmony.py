"""Harmony (Opera Phenix, Operetta, Sonata; PerkinElmer, Revvity) and Columbus: an index in XML and one TIFF a plane.

Exercised by `pytest tests/data/vendors/test_harmony.py`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from mscnn.data.tables.lengths import micrometres
from mscnn.data.tables.problems import Problem
from mscnn.data.vendors.harmony_index import ROOT, HarmonyIndex, HarmonyPlate, read_index
from mscnn.data.vendors.named_files import LEAVES, NamedFiles
from mscnn.data.vendors.planes import Listing, PlaneIndex, ReadOptions, planes_of
from mscnn.data.vendors.plate_numbers import NUMBERS, OUTSIDE, distinct_names, outside, well_at, whole
from mscnn.data.vendors.xml_records import Record, root_name

NAME = "Harmony"
NAMES = ("index.idx.xml", "index.xml", "index.ref.xml", "imageindex.columbusidx.xml")  # the first that a folder has
UNSURE = "planes or plates cannot be told apart in an index of several plates; export each plate by itself"
REPEATED = "channels are imaged several times at one place and time; export a single sequence from Harmony"
_OWN = tuple(name for name in NAMES if name != "index.xml")  # names that no other program gives
_REPEATS = ("SequenceID", "GroupID", "FlimID")               # what numbers images of one place, time and channel


def find(listing: Listing) -> list[str]:
    """Return the index of each folder that has one."""
    found = []
    for folder, names in listing.by_folder.items():
        likely = sorted((name for name in names if name.lower() in NAMES), key=lambda name: NAMES.index(name.lower()))
        files = [f"{folder}/{name}" if folder else name for name in likely]
        found += [file for file in files if _is_index(listing, file)][:1]
    return sorted(found)


def read(listing: Listing, index: str, options: ReadOptions) -> PlaneIndex:
    """Return the planes that an index lists as recorded. Raises DataError for a file that is no index or is cut short."""
    del options  # an index tells all of a plane
    content = read_index(listing.path(index))
    files = NamedFiles(listing, index.rpartition("/")[0], index_names=NAMES)
    rows: list[dict[str, Any]] = []
    problems: list[Problem] = []
    notes: Counter[str] = Counter()
    for image in content.images:
        if left_out := _left_out(image):
            notes[left_out] += 1
        elif isinstance(row := _row(content, image, files, index, notes), Problem):
            problems.append(row)
        else:
            rows.append(row)
    lines = [f"{number} planes {note}" for note, number in notes.items()] + _name_channels(rows)
    problems += _shared_wells(content, index) + _repeated(rows, index)
    return PlaneIndex(planes_of(rows), content.version, tuple(lines), tuple(problems))


def _is_index(listing: Listing, file: str) -> bool:
    """Return whether a file starts as an index; one that starts as nothing is refused later, when it is read."""
    root = root_name(listing.path(file))
    return root == ROOT or (not root and file.rpartition("/")[2].lower() in _OWN)


def _left_out(image: Record) -> str:
    """Return why a plane is left out, "" if it is not."""
    if not image.values.get("URL"):
        return "were not recorded: the index names no file for them"
    state = image.values.get("State", "")
    return "" if state.lower() in ("", "ok") else f"are left out: their state is {state}, not Ok"


def _row(content: HarmonyIndex, image: Record, files: NamedFiles, index: str,
         notes: Counter[str]) -> dict[str, Any] | Problem:
    """Return the row of a plane, or why it has none."""
    values = image.values
    shown = f"image {values['id']}" if values.get("id") else values["URL"]
    row, column, field, channel = (whole(values.get(name)) for name in ("Row", "Col", "FieldID", "ChannelID"))
    z, time = whole(values.get("PlaneID", "1")), whole(values.get("TimepointID", "0"))
    if row is None or column is None or field is None or channel is None or z is None or time is None:
        return Problem(None, index, f"{shown} lacks a number for one of Row, Col, FieldID, PlaneID, TimepointID, ChannelID",
                       NUMBERS)
    if (plate := _plate_of(content.plates, row, column)) is None:
        return Problem(None, index, f"{shown} is in row {row} and column {column}, a well of no plate of the index", UNSURE)
    well = well_at(row, column, plate.rows, plate.columns)
    if not well:
        return Problem(None, index, outside(shown, row, column, plate.rows, plate.columns), OUTSIDE)
    place = files.place(values["URL"])
    if place.fault:
        return Problem(None, index, f"{shown}: {place.fault}", LEAVES)
    if place.note:
        notes[place.note] += 1
    buffer = whole(image.child_attributes.get("URL", {}).get("BufferNo"))  # page of a file that holds several planes
    size, unit = content.fact(image, "ImageResolutionX")
    return {"plate": plate.name, "well": well, "site": str(field), "channel": "", "order": channel, "z": z, "time": time,
            "path": place.path, "frame": -1 if buffer is None else buffer, "pixel_size": micrometres(size, unit or "m"),
            "raw": content.fact(image, "ChannelName")[0], **{name: values.get(name, "") for name in _REPEATS}}


def _plate_of(plates: Sequence[HarmonyPlate], row: int, column: int) -> HarmonyPlate | None:
    """Return the plate of a well: the only one, else the one whose wells it is among; None if it is among none."""
    if len(plates) < 2:
        return plates[0] if plates else HarmonyPlate("", None, None, frozenset())
    return next((plate for plate in plates if f"{row:02}{column:02}" in plate.wells), None)


def _shared_wells(content: HarmonyIndex, index: str) -> list[Problem]:
    """Return a problem where several plates have a well in common, or do not tell their wells."""
    if len(content.plates) < 2:
        return []
    counted = Counter(chain.from_iterable(plate.wells for plate in content.plates))
    if all(plate.wells for plate in content.plates) and max(counted.values()) == 1:
        return []
    names = ", ".join(plate.name for plate in content.plates)
    return [Problem(None, index, f"lists the plates {names} and images whose plate it does not tell", UNSURE)]


def _name_channels(rows: list[dict[str, Any]]) -> list[str]:
    """Set the name of each plane's channel; return a note for each name that several channels of a plate have."""
    plates: dict[str, dict[tuple[int, str], str]] = {}
    for row in rows:
        plates.setdefault(row["plate"], {})[row["order"], row["raw"]] = row["raw"]
    named = {plate: distinct_names(raw, {key: f"ch{key[0]}" if raw[key] else str(key[0]) for key in raw})
             for plate, raw in plates.items()}
    for row in rows:
        row["channel"] = named[row["plate"]][row["order"], row["raw"]]
    return _note_shared(named)


def _note_shared(named: Mapping[str, Mapping[tuple[int, str], str]]) -> list[str]:
    changed = sorted({name for names in named.values() for (_, raw), name in names.items()
                      if raw and name != " ".join(raw.split())})
    return [f"several channels have one name, so their numbers are added: {', '.join(changed)}"] if changed else []


def _repeated(rows: Sequence[Mapping[str, Any]], index: str) -> list[Problem]:
    """Return a problem for each channel with several images of one place and time, in sequences or gates."""
    if all(len({row[name] for row in rows}) < 2 for name in _REPEATS):
        return []
    seen: dict[tuple, tuple] = {}
    found: dict[str, set[tuple]] = {}
    for row in rows:
        key = tuple(row[name] for name in ("plate", "well", "site", "order", "z", "time"))
        repeat = tuple(row[name] for name in _REPEATS)
        if (first := seen.setdefault(key, repeat)) != repeat:
            found.setdefault(row["channel"], {first}).add(repeat)
    return [Problem(None, index, f"channel {channel} has several images of one place and time, which differ in "
                    f"{_difference(repeats)}", REPEATED) for channel, repeats in found.items()]


def _difference(repeats: Iterable[tuple[str, ...]]) -> str:
    columns = [sorted(set(column)) for column in zip(*repeats, strict=True)]
    return ", ".join(f"{name} ({', '.join(column)})" for name, column in zip(_REPEATS, columns, strict=True)
                     if len(column) > 1)
