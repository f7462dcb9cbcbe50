"""OME-TIFF plates: the OME-XML in a companion file, or in the first of the OME-TIFF files.

Exercised by `pytest tests/data/vendors/test_ome_companion.py`.
"""

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tifffile

from mscnn.core.errors import DataError
from mscnn.data.tables.problems import Problem
from mscnn.data.vendors.names_below import LEAVES, Finder
from mscnn.data.vendors.ome_channels import channel_names
from mscnn.data.vendors.ome_xml_plate import Image, Plate, Well, read_xml
from mscnn.data.vendors.planes import Listing, PlaneIndex, ReadOptions, planes_of
from mscnn.data.vendors.plate_numbers import well_at, whole

NAME = "OME-TIFF plate"
XML = ("*.companion.ome", "*.ome", "*.ome.xml")
TIFF = ("*.ome.tif", "*.ome.tiff", "*.ome.tf2", "*.ome.tf8", "*.ome.btf")
UNUSABLE = "images of the OME-XML cannot be used; mend the XML, or export the plate again"
ELSEWHERE = "wells of the OME-XML are not on its plate; mend the XML, or export the plate again"
_NAMES = re.compile(rb'FileName\s*=\s*["\']([^"\']*)["\']')


def find(listing: Listing) -> list[str]:
    """Return the files with the OME-XML of a plate: companions, else OME-TIFF files that no other of them names."""
    companions = [file for file in listing.named(*XML) if _is_plate(listing.path(file))]
    settled = {file.rpartition("/")[0] for file in companions}
    found, named = companions, set()
    for file in listing.named(*TIFF):
        folder, _, name = file.rpartition("/")
        if folder in settled or file in named:
            continue
        xml = _description(listing.path(file))
        if b"WellSample" not in xml:
            settled.add(folder)  # files of one folder are alike
            continue
        found.append(file)
        below = {os.fsdecode(other) for other in _NAMES.findall(xml)} - {name}
        named |= {f"{folder}/{other}" if folder else other for other in below}
    return sorted(found)


def read(listing: Listing, index: str, options: ReadOptions) -> PlaneIndex:
    """Return the planes of all plates of an OME-XML, or of the OME-XML in an OME-TIFF file."""
    path = listing.path(index)
    is_tiff = not index.lower().endswith((".ome", ".xml"))
    try:
        with io.BytesIO(_description(path)) if is_tiff else path.open("rb") as source:
            plates, images = read_xml(source)
    except (OSError, ValueError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise DataError(f"{path}: no readable OME-XML ({reason}); copy the file again") from None
    if not any(well.samples for plate in plates for well in plate.wells):
        raise DataError(f"{path}: its OME-XML describes no plate with images; give that of a plate, with wells and samples")
    names = {block.uuid: block.file for image in images.values() for block in image.blocks if block.uuid and block.file}
    sites = _Sites(listing, index, index if is_tiff else "", names)
    rows = [row for plate in plates for well in plate.wells for row in sites.rows(plate, well, images)]
    planes = planes_of(rows)
    if rows and planes["Metadata_Acquisition"].nunique() == 1:
        planes = planes.drop(columns="Metadata_Acquisition")
    used = {image for plate in plates for well in plate.wells for _, image in well.samples}
    return PlaneIndex(planes, "OME-TIFF plate", tuple(sites.notes(planes, len(set(images) - used))), tuple(sites.problems))


class _Sites:
    """Rows of the sites of one OME-XML, and what was found wrong or left out on the way."""

    def __init__(self, listing: Listing, index: str, own: str, names: dict[str, str]):
        self.finder, self.folder, self.own, self.names = Finder(listing), index.rpartition("/")[0], own, names
        self.index = index
        self.problems: list[Problem] = []
        self.empty = self.missing = self.doubled = 0  # samples without an image, planes without a page, images
        self._paths: dict[str, str | None] = {}

    def rows(self, plate: Plate, well: Well, images: dict[str, Image]) -> Iterator[dict[str, Any]]:
        """Yield a row for each plane of a well; sites are counted from 1 in the order of Index."""
        name = _well_name(plate, well)
        if not name:
            size = f"{plate.rows[:20] or 'at most 32'} rows and {plate.columns[:20] or 'at most 48'} columns"
            self._add(f"plate {plate.name}: the well at row {well.row[:20]!r} column {well.column[:20]!r}, counted from 0, "
                      f"is not on a plate of {size}", ELSEWHERE)
            return
        for site, (sample, reference) in enumerate(well.samples, 1):
            if not reference:
                self.empty += 1
                continue
            try:
                if reference not in images:
                    raise ValueError("is not in the XML")
                planes = list(self._planes(images[reference]))
            except ValueError as problem:
                self._add(f"plate {plate.name}: well {name}: image {reference} {problem}", UNUSABLE)
                continue
            for plane in planes:
                yield {"plate": plate.name, "well": name, "site": str(site), **plane,
                       "Metadata_Acquisition": plate.acquisitions.get(sample, "")}

    def notes(self, planes: Any, num_unused: int) -> Iterator[str]:
        """Yield what a user should know, a line each."""
        if self.empty:
            yield f"{self.empty} samples of wells have no image"
        if self.missing:
            yield f"{self.missing} planes were not recorded: no page of a file holds them"
        if num_unused:
            yield f"{num_unused} images belong to no well"
        if self.doubled:
            yield f"{self.doubled} images have channels of one name; their numbers are added"
        if "Metadata_Acquisition" in planes:
            number = planes["Metadata_Acquisition"].nunique()
            yield f"{number} acquisitions are in one plate, as sites of their own; choose by Metadata_Acquisition"

    def _planes(self, image: Image) -> Iterator[dict[str, Any]]:
        if image.samples != 1:
            raise ValueError("has colour, several samples a pixel; give a plane a channel")
        if not image.blocks:
            raise ValueError("has no TiffData that names its file")
        labels, doubled = channel_names(image.labels, image.sizes["C"])
        self.doubled += doubled
        recorded = 0
        for place, block, page in image.planes():
            name = block.file or self.names.get(block.uuid, "")
            path = self._path(name) if name else self.own
            if not path:
                raise ValueError("does not name its file")
            recorded += 1
            yield {"channel": labels[place["C"]], "order": place["C"], "z": place["Z"], "time": place["T"], "path": path,
                   "frame": page, "pixel_size": image.pixel_size}
        self.missing += max(image.sizes["C"] * image.sizes["Z"] * image.sizes["T"] - recorded, 0)

    def _path(self, name: str) -> str:
        if name not in self._paths:
            self._paths[name] = path = self.finder.below(self.folder, name)
            if path is None:
                self._add(f"the file name {name[:100]!r} leaves the folder", LEAVES)
        return self._paths[name] or "?"

    def _add(self, reason: str, kind: str) -> None:
        self.problems.append(Problem(None, self.index, f"{self.index}: {reason}", kind))


def _well_name(plate: Plate, well: Well) -> str:
    """Return the name of a well, "" where it is not on its plate."""
    row, column = whole(well.row), whole(well.column)
    return "" if row is None or column is None else well_at(row + 1, column + 1, whole(plate.rows), whole(plate.columns))


def _is_plate(path: Path) -> bool:
    """Return whether an OME-XML has samples of wells, or is a companion that may have lost them: it is cut short."""
    end = b""
    try:
        with path.open("rb") as file:
            if b"<OME" not in (start := file.read(2**16)) and b":OME" not in start:
                return False
            while start:
                if b"WellSample" in end + start:
                    return True
                end, start = start[-32:], file.read(2**20)
    except OSError:  # a link to nothing
        return False
    return path.name.lower().endswith(".companion.ome") and not end.rstrip().endswith(b"OME>")


def _description(path: Path) -> bytes:
    """Return the text in the first page of a TIFF file, empty where there is none."""
    try:
        with tifffile.TiffFile(path, is_ome=False, is_mmstack=False, is_ndtiff=False) as tiff:
            return tiff.pages.first.description.encode()
    except Exception:  # decoders raise many kinds; each means that this file has no text
        return b""
