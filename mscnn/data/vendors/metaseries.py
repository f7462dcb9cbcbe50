"""The size of a pixel in a TIFF of MetaMorph or MetaXpress, whose description is a MetaSeries XML.

Exercised by `pytest tests/data/vendors/test_metaseries.py`.
"""

import math
import struct
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from mscnn.core.errors import DataError
from mscnn.data.tables.lengths import micrometres

LARGEST = 2**20  # bytes of a description that is read
_DESCRIPTION, _ASCII = 270, 2  # a tag of TIFF and its type


def pixel_size(path: Path) -> float:
    """Return the width of a pixel in micrometres, NaN where the file is none of MetaXpress, or is not calibrated.

    Raises DataError for a description with entities or a DTD.
    """
    text = _description(path)
    if "<MetaData" not in text[:1000]:
        return math.nan
    try:
        root = fromstring(text, forbid_dtd=True, forbid_entities=True, forbid_external=True)
    except ParseError:
        return math.nan
    except DefusedXmlException:
        raise DataError(f"{path}: its description declares entities or a DTD, which no microscope writes; "
                        "export the image again") from None
    return _calibration(root)


def _calibration(root: Element) -> float:
    values = {prop.get("id"): prop.get("value", "") for prop in root.iterfind("PlaneInfo/prop")}
    if values.get("spatial-calibration-state") == "off":
        return math.nan
    return micrometres(values.get("spatial-calibration-x", ""), values.get("spatial-calibration-units", "").lower())


def _description(path: Path) -> str:
    """Return the description of the first page of a TIFF, "" where there is none, or no regular file."""
    if path.is_symlink() or not path.is_file():  # a pipe would be waited for
        return ""
    try:
        with path.open("rb") as file:
            order = {b"II*\0": "<", b"MM\0*": ">"}.get(file.read(4))
            if order is None:
                return ""
            file.seek(struct.unpack(f"{order}I", file.read(4))[0])
            entries = file.read(12 * struct.unpack(f"{order}H", file.read(2))[0])
            for tag, kind, count, place in struct.iter_unpack(f"{order}HHII", entries):
                if tag == _DESCRIPTION and kind == _ASCII and 4 < count <= LARGEST:
                    file.seek(place)
                    return file.read(count).rstrip(b"\0").decode("utf-8", "replace")
    except (OSError, struct.error):  # a file that is cut short: whoever reads its pixels reports it
        return ""
    return ""
