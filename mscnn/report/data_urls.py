"""Pictures as data URLs, so that a page needs no other file."""

import base64
import re
from pathlib import Path

from mscnn.core.errors import DataError

PICTURE = r"\d+(-(channel|scale)-\d+)?\.jpg|picture-\d+-\d+\.jpg"  # as gallery.py names its files


def of_svg(svg: str) -> str:
    """Return the data URL of an SVG picture."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def of_file(folder: Path, name: str) -> str:
    """Return the data URL of a picture of a gallery. Raises DataError for a file that is missing or elsewhere."""
    if not re.fullmatch(PICTURE, name):  # else a run from elsewhere could name any file, and the page would hold it
        raise DataError(f"{folder}: {name!r} is no picture of a gallery; evaluate the run again")
    path = folder / name
    if not path.is_file():
        raise DataError(f"{path}: is missing; evaluate the run again")
    if path.resolve().parent != folder.resolve():  # as above: a link may name any file too
        raise DataError(f"{path}: is a link out of its gallery; evaluate the run again")
    return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()
