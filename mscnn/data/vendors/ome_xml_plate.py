"""OME-XML of a plate -> its wells and images, and which page of which file holds each plane.

The XML is read as a stream, so that one of many thousand planes takes little memory.  Exercised by
`pytest tests/data/vendors/test_ome_companion.py`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse

from mscnn.data.tables.lengths import micrometres

MOST_PLANES = 2**20  # of one image
_KEPT = ("Image", "Plate")


@dataclass(frozen=True)
class Block:
    """Planes that follow each other in one file (TiffData)."""

    first: dict[str, int]  # place of the first plane on the axes C, Z and T
    page: int              # its page in the file
    number: int | None     # of planes; None: those up to the next block
    uuid: str              # of the file, "" where not given
    file: str              # its name, likewise


@dataclass(frozen=True)
class Image:
    """One image: the planes of a site."""

    sizes: dict[str, int]  # of the axes C, Z and T, that which changes fastest from plane to plane first
    labels: list[str]      # of channels, "" where there is none
    samples: int           # of a pixel; 3: colour
    pixel_size: float      # micrometres, NaN where not known
    blocks: list[Block]

    def planes(self) -> Iterator[tuple[dict[str, int], Block, int]]:
        """Yield place on the axes, block and page of each plane that a file holds.

        Raises ValueError with the reason where the blocks do not fit the sizes.
        """
        total = math.prod(self.sizes.values())
        if not 0 < total <= MOST_PLANES or any(size < 1 for size in self.sizes.values()):
            raise ValueError(f"promises {total:,} planes")
        starts = [self._position(block.first) for block in self.blocks]
        for block, start in zip(self.blocks, starts, strict=True):
            later = [] if block.number is not None else [other for other in starts if other > start]
            end = min(later, default=total) if block.number is None else start + block.number
            if not 0 <= start < end <= total:
                raise ValueError(f"TiffData lists planes {start} to {end} of {total}")
            if block.page < 0:
                raise ValueError(f"TiffData has no page {block.page}")
            for position in range(start, end):
                yield self._place(position), block, block.page + position - start

    def _position(self, place: dict[str, int]) -> int:
        """Return the number of a plane in the order of the image, -1 for a place outside of it."""
        if any(not 0 <= place[axis] < size for axis, size in self.sizes.items()):
            return -1
        position, step = 0, 1
        for axis, size in self.sizes.items():
            position, step = position + place[axis] * step, step * size
        return position

    def _place(self, position: int) -> dict[str, int]:
        place = {}
        for axis, size in self.sizes.items():
            position, place[axis] = divmod(position, size)
        return place


@dataclass(frozen=True)
class Well:
    """One well of a plate."""

    row: str                        # from 0, as the XML has it
    column: str                     # likewise
    samples: list[tuple[str, str]]  # ID of the sample, and of its image, "" where none was taken; in the order of Index


@dataclass
class Plate:
    """One plate."""

    name: str
    rows: str                       # number of rows, "" where not given
    columns: str                    # likewise
    wells: list[Well]
    acquisitions: dict[str, str] = field(default_factory=dict)  # {ID of a sample: name of its acquisition}


def read_xml(source: BinaryIO) -> tuple[list[Plate], dict[str, Image]]:
    """Return the plates and the images, by ID. Raises ValueError with the reason for what is no OME-XML."""
    plates: list[Plate] = []
    images: dict[str, Image] = {}
    ancestors: list[Element] = []
    try:
        for event, element in iterparse(source, events=("start", "end"), forbid_dtd=True, forbid_entities=True,
                                        forbid_external=True):
            if event == "start":
                ancestors.append(element)
                continue
            ancestors.pop()
            top = _name(ancestors[1] if len(ancestors) > 1 else element)
            if len(ancestors) == 1 and top == "Plate":
                plates.append(_plate(element))
            elif len(ancestors) == 1 and top == "Image":
                images[element.get("ID", "")] = _image(element)
            if len(ancestors) == 1 or (ancestors and top not in _KEPT):
                element.clear()
                if len(ancestors) == 1:
                    ancestors[0].clear()
    except ParseError as problem:
        raise ValueError(f"it is cut short or no XML: {problem}") from None
    except DefusedXmlException as problem:
        raise ValueError(f"it declares entities or a DTD, which are not read: {type(problem).__name__}") from None
    return plates, images


def _plate(element: Element) -> Plate:
    wells = []
    for well in _children(element, "Well"):
        samples = sorted(_children(well, "WellSample"), key=lambda sample: _number(sample.get("Index"), 0))
        references = [(sample.get("ID", ""), next(_children(sample, "ImageRef"), None)) for sample in samples]
        wells.append(Well(well.get("Row", ""), well.get("Column", ""),
                          [(name, "" if image is None else image.get("ID", "")) for name, image in references]))
    acquisitions = {sample.get("ID", ""): run.get("Name") or run.get("ID", "")
                    for run in _children(element, "PlateAcquisition") for sample in _children(run, "WellSampleRef")}
    name = element.get("Name") or element.get("ExternalIdentifier") or element.get("ID", "")
    return Plate(name.strip(), element.get("Rows", ""), element.get("Columns", ""), wells, acquisitions)


def _image(element: Element) -> Image:
    pixels = next(_children(element, "Pixels"), Element("Pixels"))
    channels = list(_children(pixels, "Channel"))
    samples = max([_number(channel.get("SamplesPerPixel"), 1) for channel in channels] or [1])
    order = [axis for axis in pixels.get("DimensionOrder", "XYCZT") if axis in "CZT"]
    width = micrometres(pixels.get("PhysicalSizeX", ""), pixels.get("PhysicalSizeXUnit", "µm"))
    return Image({axis: _number(pixels.get(f"Size{axis}"), 0) for axis in [*order, *"CZT"]},
                 [channel.get("Name") or channel.get("Fluor") or "" for channel in channels], samples,
                 width, [_block(block) for block in _children(pixels, "TiffData")])


def _block(element: Element) -> Block:
    page, number = element.get("IFD"), element.get("PlaneCount")
    name = next(_children(element, "UUID"), Element("UUID"))
    return Block({axis: _number(element.get(f"First{axis}"), 0) for axis in "CZT"}, _number(page, 0),
                 _number(number, -1) if number is not None else 1 if page is not None else None,
                 (name.text or "").strip(), name.get("FileName", "").strip())


def _children(parent: Element, name: str) -> Iterator[Element]:
    return (child for child in parent if _name(child) == name)


def _name(element: Element) -> str:
    """Return the name of an element without its namespace."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _number(text: str | None, missing: int) -> int:
    """Return a whole number, `missing` where none is given, and -1 for another text."""
    if text is None:
        return missing
    return int(text) if text.strip().isascii() and text.strip().isdigit() and len(text) < 19 else -1
