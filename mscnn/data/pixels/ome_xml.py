"""The OME-XML of a TIFF file, which may describe a set of files: what it says of that very file, and the size of a pixel.

Exercised by `pytest tests/data/pixels/test_ome_xml.py`.
"""

import math
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from mscnn.data.tables.lengths import micrometres


def describe_own_pages(xml: str, sizes: Sequence[tuple[int, int]]) -> str:
    """Return the OME-XML without the names of files, "" where it does not describe the file's own pages alone.

    sizes: (height, width) of each page of the file.  The XML of a set describes the planes of other files too.  An XML
    that names no other file, and more planes than there are pages, is returned: the file has lost pages.
    """
    root = _parse(xml)
    if root is None:
        return ""
    images = list(_children(root, "Image", "Pixels"))
    try:
        shapes = {tuple(int(pixels.get(f"Size{axis}", 0)) for axis in "YX") for pixels in images}
        num_planes, num_pages = sum(map(_num_planes, images)), sum(size in shapes for size in sizes)
    except ValueError:  # a size that is no number
        return ""
    blocks = [block for pixels in images for block in _children(pixels, "TiffData")]
    names = {(name.text, name.get("FileName")) for block in blocks for name in _children(block, "UUID")}
    is_own = len(names) <= 1 and {uuid for uuid, _ in names} <= {root.get("UUID") or uuid for uuid, _ in names}
    if not images or num_planes < num_pages or (num_planes > num_pages and not is_own):
        return ""
    for block in blocks:
        for name in list(_children(block, "UUID")):
            block.remove(name)
    return ElementTree.tostring(root, encoding="unicode")


def pixel_size(xml: str) -> float | None:
    """Return the width of a pixel in micrometres (PhysicalSizeX of the first image), None where it is not given."""
    root = _parse(xml)
    pixels = None if root is None else next(_children(root, "Image", "Pixels"), None)
    if pixels is None:
        return None
    size = micrometres(pixels.get("PhysicalSizeX", ""), pixels.get("PhysicalSizeXUnit", "µm"))
    return None if math.isnan(size) else size


def _parse(xml: str) -> Element | None:
    """Return the root of an XML, None for a text that is none."""
    try:
        return ElementTree.fromstring(xml)
    except (ElementTree.ParseError, ValueError):
        return None


def _children(parent: Element, name: str, *below: str) -> Iterator[Element]:
    """Yield the children of this name, whatever their namespace, or those below them."""
    for child in parent:
        if isinstance(child.tag, str) and child.tag.rpartition("}")[2] == name:
            yield from _children(child, *below) if below else (child,)


def _num_planes(pixels: Element) -> int:
    """Return the number of pages that an image takes; a page has all samples of a channel."""
    samples = [int(channel.get("SamplesPerPixel", 1)) for channel in _children(pixels, "Channel")][:1] or [1]
    return math.prod(int(pixels.get(f"Size{axis}", 1)) for axis in "CZT") // max(samples[0], 1)
