"""Files of an evaluation that the page shows where they are there: decisions, quality of fields, pictures of treatments."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mscnn.core import csv_safe, foreign_table
from mscnn.core.errors import DataError
from mscnn.core.record_files import read_json
from mscnn.core.records import Count, Record
from mscnn.evaluation.results import REMEDY

DECISIONS, QUALITY, PICTURES = "decisions.csv", "quality.parquet", "gallery/pictures.json"
TREATMENT = ("Metadata_Compound", "Metadata_Concentration", "Metadata_MOA")
# Columns of decisions.csv: numbers, and text.  True, False or nothing are text.
NUMBERS = ("Rank", "Wells", "Plates", "Probability", "Confidence", "Mean_Average_Precision", "Q_Value", "Effect_Size",
           "None_Of_The_Known", "Nearest_Concentration", "Similarity", "Flagged_Fields", "Fields")
TEXTS = ("Predicted_MOA", "Active", "Nearest_Compound", "Nearest_MOA", "Trained")


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


def read_decisions(folder: Path) -> pd.DataFrame | None:
    """Read decisions.csv, a row per treatment; None where it is not there. Raises DataError naming a column."""
    path = folder / DECISIONS
    if not path.exists():
        return None
    table = foreign_table.read_csv(path, REMEDY, missing=[""], is_number=lambda name: name in (*NUMBERS, TREATMENT[1]))
    table.require(*TREATMENT, *NUMBERS, *TEXTS)
    return csv_safe.unescape_table(pd.DataFrame({
        name: table.finite(name, or_missing=True) if name in (*NUMBERS, TREATMENT[1]) else table.text(name)
        for name in (*TREATMENT, *NUMBERS, *TEXTS)}))


def read_quality(folder: Path) -> pd.DataFrame | None:
    """Read quality.parquet, a row per field that was read; None where it is not there. Raises DataError."""
    path = folder / QUALITY
    if not path.exists():
        return None
    table = foreign_table.read_parquet(path, REMEDY)
    names = ["Metadata_Plate", "Metadata_Well", "Metadata_Site", "Metadata_Compound", "Flags"]
    table.require(*names, "Metadata_Concentration")
    measured = [str(name) for name in table.columns if str(name).startswith("Quality_")]
    return pd.DataFrame({**{name: table.text(name) for name in names},
                         **{name: table.finite(name, or_missing=True) for name in ("Metadata_Concentration", *measured)}})


def read_pictures(folder: Path) -> list[TreatmentPicture]:
    """Read gallery/pictures.json; no pictures where it is not there. Raises DataError."""
    path = folder / PICTURES
    found = read_json(path, list[TreatmentPicture], REMEDY) if path.exists() else []
    for number, picture in enumerate(found):
        if len(picture.files) != len(picture.planes) or any(len(planes) != 3 for planes in picture.planes):
            raise DataError(f"{path}: [{number}] does not name red, green and blue of each of its {len(picture.files)} "
                            f"files; {REMEDY}")
    return found
