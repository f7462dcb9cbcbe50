"""The records of a CellVoyager: the planes that it took, and what it could not take.

Exercised by `pytest tests/data/vendors/test_cellvoyager_shots.py`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mscnn.core.errors import DataError
from mscnn.data.vendors.plate_numbers import whole
from mscnn.data.vendors.xml_records import TEXT, Record, read_records

ROOT = "MeasurementData"
REMEDY = "name the MeasurementData.mlf of a measurement, or copy it again"
PLACE = ("Row", "Column", "FieldIndex", "Ch")  # attributes that each record of an image has
STEP = ("PartialTileIndex", "TimePoint", "TimelineIndex", "ZIndex", "ActionIndex")  # that old microscopes leave out


class Shot(NamedTuple):
    """One plane as its record tells it."""

    row: int           # from 1
    column: int        # from 1
    field: int
    channel: int       # setting of the camera
    tile: int          # of a field that is imaged in tiles, else 1
    time: int
    timeline: int      # part of the protocol, with wells, time points and actions of its own
    z: int
    action: int        # step of the protocol that took the plane
    processing: str    # "Maximum" of a projection, "" of a plane
    file: str


@dataclass(frozen=True)
class Shots:
    """All records of a measurement."""

    taken: Sequence[Shot]
    starts: Mapping[int, int]      # first time point of each timeline, of records of errors too
    left_out: Mapping[str, int]    # why records are no planes: how many
    unclear: Sequence[str]         # records that do not tell their place


def read_shots(path: Path) -> Shots:
    """Read the records. Raises DataError for a file that is cut short, has no records, or is no MeasurementData.mlf."""
    taken: list[Shot] = []
    unclear: list[str] = []
    starts: dict[int, int] = {}
    left_out: Counter[str] = Counter()
    for record in read_records(path, ROOT, {(ROOT, "MeasurementRecord"): (TEXT,)}, REMEDY):
        values, file = record.attributes, record.values.get(TEXT, "")
        timeline, time = whole(values.get("TimelineIndex", "1")), whole(values.get("TimePoint", "1"))
        if timeline is not None and time is not None:
            starts[timeline] = min(starts.get(timeline, time), time)
        if (kind := values.get("Type", "IMG")) != "IMG":
            left_out[f"records of type {kind} are no images, and are left out"] += 1
        elif not file:
            left_out["planes were not recorded: the index names no file for them"] += 1
        elif (shot := _shot(record, file)) is None:
            unclear.append(f"{file} lacks a number for one of {', '.join((*PLACE, *STEP))}")
        else:
            taken.append(shot)
    if not taken and not unclear and not left_out:
        raise DataError(f"{path}: has no records of images; {REMEDY}")
    return Shots(taken, starts, left_out, unclear)


def _shot(record: Record, file: str) -> Shot | None:
    """Return the plane of a record, None where a number is missing or is none."""
    texts = [*(record.attributes.get(name) for name in PLACE), *(record.attributes.get(name, "1") for name in STEP)]
    numbers = [number for text in texts if (number := whole(text)) is not None]
    is_clear = len(numbers) == len(texts)
    return Shot._make([*numbers, record.attributes.get("ZImageProcessing", ""), file]) if is_clear else None
