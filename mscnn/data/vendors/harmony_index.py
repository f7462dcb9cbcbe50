"""What an index of Harmony holds: its plates, what it knows of each channel, and its images.

V1 to V5 tell the facts of a channel in each image, V6 and V7 in a map.  Exercised by
`pytest tests/data/vendors/test_harmony_index.py`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mscnn.core.errors import DataError
from mscnn.data.vendors.plate_numbers import whole
from mscnn.data.vendors.xml_records import Record, read_records

ROOT = "EvaluationInputData"
REMEDY = "name the Index.xml or Index.idx.xml of an export of Harmony, or copy it again"
_CHANNEL = ("ChannelName", "ImageResolutionX")
_IMAGE = ("id", "State", "URL", "Row", "Col", "FieldID", "PlaneID", "TimepointID", "SequenceID", "GroupID", "FlimID",
          "ChannelID", *_CHANNEL)
_WANTED = {
    ("", ROOT): (),
    ("Plates", "Plate"): ("Name", "PlateID", "PlateRows", "PlateColumns"),
    ("Plate", "Well"): (),
    ("Map", "Entry"): _CHANNEL,
    ("Images", "Image"): _IMAGE,
}


@dataclass(frozen=True)
class HarmonyPlate:
    """One plate of an index."""

    name: str                 # barcode or name for people, "" where there is none
    rows: int | None          # None: not told
    columns: int | None
    wells: frozenset[str]     # that were to be imaged, as RRCC: 0203 is row 2, column 3


@dataclass(frozen=True)
class HarmonyIndex:
    """All of an index that readers use."""

    version: str                             # "Harmony V5"
    plates: Sequence[HarmonyPlate]
    channels: Mapping[int | None, Record]    # what the maps know of a channel, by its number
    images: Sequence[Record]                 # a plane each

    def fact(self, image: Record, name: str) -> tuple[str, str]:
        """Return (value, unit) of a fact of an image's channel, from the image itself, else from the maps."""
        for record in (image, self.channels.get(whole(image.values.get("ChannelID")))):
            if record is not None and record.values.get(name):
                return record.values[name], record.child_attributes.get(name, {}).get("Unit", "")
        return "", ""


def read_index(path: Path) -> HarmonyIndex:
    """Read an index. Raises DataError for a file that is none, that is cut short, or that lists no images."""
    plates: list[HarmonyPlate] = []
    wells: list[str] = []                    # of the plate that is open
    channels: dict[int | None, Record] = {}
    images: list[Record] = []
    version = "Harmony"
    for record in read_records(path, ROOT, _WANTED, REMEDY):
        if record.name == "Image":
            images.append(record)
        elif record.name == "Well":
            wells.append(record.attributes.get("id", ""))
        elif record.name == "Plate":
            plates.append(_plate(record, wells))
            wells = []
        elif record.name == "Entry":
            _add_entry(channels, record)
        else:
            version = _version(record.namespace)
    if not images:
        raise DataError(f"{path}: lists no images; {REMEDY}")
    return HarmonyIndex(version, plates, channels, images)


def _plate(record: Record, wells: list[str]) -> HarmonyPlate:
    values = record.values
    return HarmonyPlate(values.get("Name") or values.get("PlateID", ""), whole(values.get("PlateRows")),
                        whole(values.get("PlateColumns")), frozenset(wells))


def _add_entry(channels: dict[int | None, Record], entry: Record) -> None:
    """Add what an entry knows of its channel; each map may know other facts."""
    number = whole(entry.attributes.get("ChannelID"))
    known = channels.setdefault(number, entry)
    for name, value in entry.values.items():
        if not known.values.get(name):
            known.values[name] = value
            known.child_attributes[name] = entry.child_attributes.get(name, {})


def _version(namespace: str) -> str:
    """Return the version by a namespace as http://www.perkinelmer.com/PEHH/HarmonyV5, or a GUID before HarmonyV7."""
    if number := re.search(r"HarmonyV(\d+)", namespace):
        return f"Harmony V{number[1]}"
    return "Columbus" if "Columbus" in namespace else "Harmony"
