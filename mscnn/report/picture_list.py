"""gallery/pictures.json of an evaluation: which picture shows which treatment."""

from dataclasses import dataclass
from pathlib import Path

from mscnn.core.errors import DataError
from mscnn.core.record_files import read_json
from mscnn.core.records import Count, Record
from mscnn.evaluation.results import PICTURES, REMEDY


@dataclass(frozen=True)
class TreatmentPicture(Record):
    """A field of a treatment, or of a plate's control, in colours: an entry of pictures.json."""

    compound: str
    concentration: float | None  # None where not given
    mechanism: str               # "" where not known
    plate: str
    well: str
    site: str
    is_control: bool
    files: list[str]                 # pictures of up to three channels each
    planes: list[list[str | None]]   # of each file the channel that is red, green and blue
    width: Count                     # pixels
    height: Count


def read_pictures(folder: Path) -> list[TreatmentPicture]:
    """Read gallery/pictures.json; no pictures where it is not there. Raises DataError."""
    path = folder / PICTURES
    found = read_json(path, list[TreatmentPicture], REMEDY) if path.exists() else []
    for number, picture in enumerate(found):
        if len(picture.files) != len(picture.planes) or any(len(planes) != 3 for planes in picture.planes):
            raise DataError(f"{path}: [{number}] does not name red, green and blue of each of its {len(picture.files)} "
                            f"files; {REMEDY}")
    return found
