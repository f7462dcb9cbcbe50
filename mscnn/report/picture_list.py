"""The list of pictures of an evaluation, gallery/pictures.json: one of each treatment, and of the control of each plate.

`report/pictures.py` writes it; `read` reads it.  No torch here.
"""

from dataclasses import dataclass
from pathlib import Path

from mscnn.core.errors import DataError
from mscnn.core.record_files import read_json
from mscnn.core.records import Count, Record
from mscnn.evaluation import results

NAME = r"picture-\d{4,}-\d+\.jpg"


@dataclass(frozen=True)
class Picture(Record):
    """A field of a treatment as RGB JPEGs of three channels each, equally stretched over a plate."""

    compound: str
    concentration: float | None      # None where not given
    mechanism: str                   # "" where not known
    plate: str
    well: str
    site: str
    is_control: bool
    files: list[str]                 # names in the folder of the list, a composite each
    planes: list[list[str | None]]   # of each file the channels in its red, green and blue; None: black
    width: Count                     # pixels
    height: Count


def read(folder: Path) -> list[Picture]:
    """Return the pictures of an evaluation; none without a list. Raises DataError for a list that does not fit."""
    path = folder / results.PICTURES
    found = read_json(path, list[Picture], results.REMEDY) if path.exists() else []
    for number, picture in enumerate(found):
        if len(picture.files) != len(picture.planes) or any(len(planes) != 3 for planes in picture.planes):
            raise DataError(f"{path}: [{number}] does not name red, green and blue of each of its files; {results.REMEDY}")
    return found
