"""CellVoyager (Yokogawa CV7000, CV8000, CQ1, CQ3K): a record for each plane in MeasurementData.mlf, and one TIFF a plane.

Exercised by `pytest tests/data/vendors/test_cellvoyager.py`.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mscnn.data.tables.problems import Problem
from mscnn.data.vendors.cellvoyager_detail import Detail, read_detail
from mscnn.data.vendors.cellvoyager_shots import ROOT, Shot, Shots, read_shots
from mscnn.data.vendors.named_files import LEAVES, NamedFiles
from mscnn.data.vendors.planes import Listing, PlaneIndex, ReadOptions, planes_of
from mscnn.data.vendors.plate_numbers import NUMBERS, OUTSIDE, distinct_names, outside, well_at
from mscnn.data.vendors.xml_records import root_name

NAME = "CellVoyager"
RECORDS = "measurementdata.mlf"
SUFFIXES = (".tif", ".tiff", ".png")  # of images that were packed again; the records name a .tif


Well = tuple[int, int]            # row, column
Kind = tuple[int, int, str, int]  # timeline, channel, processing, action
Variant = tuple[int, str, int]    # channel, processing, action; 0 where no action is needed to tell channels apart


@dataclass(frozen=True)
class _Naming:
    """How planes are named."""

    variants: Mapping[Kind, Variant]
    names: Mapping[Variant, str]      # of channels
    shift: tuple[Mapping[Well, int], str]  # what is taken from the time points of a well, and why
    is_tiled: bool                    # a site is a tile of a field


def find(listing: Listing) -> list[str]:
    """Return the records of each measurement below a folder."""
    found = []
    for file in listing.named("*.mlf"):
        root = root_name(listing.path(file))
        if root == ROOT or (not root and file.rpartition("/")[2].lower() == RECORDS):
            found.append(file)
    return found


def read(listing: Listing, index: str, options: ReadOptions) -> PlaneIndex:
    """Return the planes of a measurement that were taken. Raises DataError for a file that is cut short or is no index."""
    del options  # a record tells all of a plane
    folder = index.rpartition("/")[0]
    shots = read_shots(listing.path(index))
    detail = read_detail(listing, folder)
    files = NamedFiles(listing, folder, SUFFIXES)
    variants = _variants(shots.taken)
    naming = _Naming(variants, _names(variants.values(), detail.stains), _shift(shots), _is_tiled(shots.taken))
    problems = [Problem(None, index, reason, NUMBERS) for reason in shots.unclear]
    rows: list[dict[str, Any]] = []
    notes: Counter[str] = Counter()
    for shot in shots.taken:
        place = files.place(shot.file)
        row = _row(shot, detail, place.path, naming)
        if place.fault:
            problems.append(Problem(None, index, place.fault, LEAVES))
        elif not row["well"]:
            reason = outside(shot.file, shot.row, shot.column, detail.rows, detail.columns)
            problems.append(Problem(None, index, reason, OUTSIDE))
        else:
            rows.append(row)
            notes.update([f"planes {place.note}"] if place.note else [])
    lines = [f"{number} {note}" for note, number in (Counter(shots.left_out) + notes).items()]
    return PlaneIndex(planes_of(rows), f"{NAME} {detail.system}".strip(), (*lines, *_explain(naming), *detail.notes),
                      tuple(problems))


def _row(shot: Shot, detail: Detail, path: str, naming: _Naming) -> dict[str, Any]:
    return {"plate": detail.plate, "well": well_at(shot.row, shot.column, detail.rows, detail.columns),
            "site": f"{shot.field}-{shot.tile}" if naming.is_tiled else str(shot.field),
            "channel": naming.names[naming.variants[_kind(shot)]], "order": shot.channel, "z": shot.z,
            "time": shot.time - naming.shift[0].get((shot.row, shot.column), 0), "path": path,
            "pixel_size": detail.pixel_sizes.get(shot.channel, math.nan)}


def _kind(shot: Shot) -> Kind:
    return shot.timeline, shot.channel, shot.processing, shot.action


def _variants(shots: Sequence[Shot]) -> dict[Kind, Variant]:
    """Return the channel that each kind of shot belongs to.

    A camera's channel that one timeline images by several actions is several channels: a stack and a single plane.
    Timelines number their actions by themselves, so the same action has another number in another timeline.
    """
    kinds = {_kind(shot) for shot in shots}
    counted = Counter((timeline, channel, processing) for timeline, channel, processing, _ in kinds)
    several = {(channel, processing) for (_, channel, processing), number in counted.items() if number > 1}
    return {kind: (kind[1], kind[2], kind[3] if kind[1:3] in several else 0) for kind in kinds}


def _names(variants: Iterable[Variant], stains: Mapping[int, str]) -> dict[Variant, str]:
    """Return the name of each channel: its stain or number, and its action or projection where that tells it apart."""
    ordered = sorted(set(variants))
    numbers = sorted({channel for channel, _, _ in ordered})
    plain = distinct_names({number: stains.get(number, "") for number in numbers},
                           {number: f"C{number:02}" for number in numbers})
    kinds = {number: {processing for channel, processing, _ in ordered if channel == number} for number in numbers}
    return {(channel, processing, action): " ".join([
        plain[channel], *([f"A{action:02}"] if action else []),
        *([processing] if processing and len(kinds[channel]) > 1 else [])]) for channel, processing, action in ordered}


def _is_tiled(shots: Sequence[Shot]) -> bool:
    """Return whether a field has several tiles."""
    tiles = {(shot.row, shot.column, shot.field, shot.tile) for shot in shots}
    return len({tile[:3] for tile in tiles}) < len(tiles)


def _shift(shots: Shots) -> tuple[dict[Well, int], str]:
    """Return what to take from the time points of each well so that all wells count alike, and a note on it.

    A microscope counts on from one timeline to the next, so that wells which were imaged once may have other numbers.
    """
    times: dict[Well, set[int]] = {}
    timelines: dict[Well, set[int]] = {}
    for shot in shots.taken:
        times.setdefault((shot.row, shot.column), set()).add(shot.time)
        timelines.setdefault((shot.row, shot.column), set()).add(shot.timeline)
    starts = {timeline: shots.starts[timeline] for timeline in set().union(*timelines.values())}
    if all(len(own) == 1 for own in times.values()):
        first = min((min(own) for own in times.values()), default=0)
        shift = {well: min(own) - first for well, own in times.items()}
        note = "wells have one time point each, with different numbers; it is taken as the same"
    elif all(len(own) == 1 for own in timelines.values()):
        shift = {well: starts[min(own)] - min(starts.values()) for well, own in timelines.items()}
        note = "timelines of different wells count their time points from different numbers; all are counted from the first"
    else:
        return {}, ""
    return (shift, note) if any(shift.values()) else ({}, "")


def _explain(naming: _Naming) -> list[str]:
    """Return notes on what is not named as the microscope does."""
    notes = ["fields are imaged in tiles; each tile is a site, named FIELD-TILE"] if naming.is_tiled else []
    notes += [naming.shift[1]] if naming.shift[1] else []
    numbers = Counter(channel for channel, _, _ in naming.names)
    if several := sorted(name for (channel, _, _), name in naming.names.items() if numbers[channel] > 1):
        notes.append(f"channels of one camera setting that differ by action or projection: {', '.join(several)}")
    return notes
