"""Pictures in the page: as many as it can hold, first those of the control, then of treatments in the table's order."""

from pathlib import Path
from typing import Any

from mscnn.evaluation import results
from mscnn.report import data_urls, picture_list
from mscnn.report.picture_list import TreatmentPicture

LIMIT = 5_300_000  # letters of all pictures and other data together, so that the page stays below 10 MB
LEAST = 500_000    # letters that pictures have in any case


def choose(galleries: list[Path], numbers: dict[tuple[str, float], int],
           taken: int) -> tuple[list[dict[str, Any]], int]:
    """Return pictures as the page's scripts read them, and how many treatments have a picture that is left out.

    numbers: row of each treatment, by compound and concentration or -1.  taken: letters of the other data.
    Raises DataError for a picture that is missing.
    """
    all_pictures = [(_number(picture, numbers), (folder / results.PICTURES).parent, picture)
                    for folder in galleries for picture in picture_list.read_pictures(folder)]
    found = sorted(((number, folder, picture) for number, folder, picture in all_pictures if number is not None),
                   key=lambda each: each[0])
    chosen, letters = [], 0
    for number, folder, picture in found:
        files = [data_urls.of_file(folder, name) for name in picture.files]
        letters += sum(map(len, files))
        if letters > max(LEAST, LIMIT - taken):
            break
        chosen.append(_shown(picture, number, files))
    return chosen, len(found) - len(chosen)


def _number(picture: TreatmentPicture, numbers: dict[tuple[str, float], int]) -> int | None:
    """Return the row of a picture's treatment, -1 for the control; None where the table does not have the treatment."""
    if picture.is_control:
        return -1
    return numbers.get((picture.compound, -1.0 if picture.concentration is None else picture.concentration))


def _shown(picture: TreatmentPicture, number: int, files: list[str]) -> dict[str, Any]:
    return {"treatment": number, "plate": picture.plate, "well": picture.well, "site": picture.site,
            "control": picture.is_control, "planes": picture.planes, "width": picture.width, "height": picture.height,
            "files": files}
