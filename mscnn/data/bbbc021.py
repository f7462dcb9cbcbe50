"""BBBC021 v1: the two official CSVs, unmodified, -> one site table.  Exercised by `pytest tests/test_bbbc021.py`.

Images and ground truth: Caie et al. 2010, Ljosa et al. 2012, Broad Bioimage Benchmark Collection.
"""

from pathlib import Path

import pandas as pd

from mscnn.data.tables import METADATA, SiteTable, concentrations, locate, read_csv, refuse_case_twins, refuse_duplicates
from mscnn.errors import DataError

CHANNELS = {"DNA": "DAPI", "Tubulin": "Tubulin", "Actin": "Actin"}  # our name: the CSV's
TAXOL_CONTROL_WELLS = ("B11", "C11", "D11", "E02", "F02", "G02")    # taxol 0.3 uM on every plate
_IMAGE_COLUMNS = ("Image_Metadata_Plate_DAPI", "Image_Metadata_Well_DAPI", "Replicate", "Image_Metadata_Compound",
                  "Image_Metadata_Concentration",
                  *(f"Image_{kind}Name_{channel}" for kind in ("File", "Path") for channel in CHANNELS.values()))


def find_csvs(folder: Path) -> tuple[Path, Path]:
    """Paths of BBBC021_v1_image.csv and BBBC021_v1_moa.csv (or .csv.gz) in a folder. Raises DataError."""
    found = []
    for name in ("BBBC021_v1_image.csv", "BBBC021_v1_moa.csv"):
        here = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
        if not here:
            raise DataError(f"{folder}: no {name} there; name the folder that holds the official CSVs with --bbbc021")
        found.append(here[0])
    return found[0], found[1]


def read_bbbc021(image_csv: Path, moa_csv: Path, *, image_root: Path | None = None,
                 taxol_controls: str = "drop") -> SiteTable:
    """Join image.csv with moa.csv by compound and numeric concentration.

    All 13,200 fields are returned; those without an annotated mechanism have mechanism "".
    taxol_controls: "keep" or "drop" the taxol 0.3 uM plate-control wells (1,320 of the 3,848 labelled fields).
    Channels of a field do not share a GUID, so files are joined through the CSV's rows, never by name.
    Raises DataError listing missing columns, duplicate sites or annotations, and bad concentrations.
    """
    assert taxol_controls in ("keep", "drop")
    images, annotations = read_csv(image_csv), read_csv(moa_csv)
    _require_columns(images, _IMAGE_COLUMNS, image_csv)
    _require_columns(annotations, ("compound", "concentration", "moa"), moa_csv)
    frame = pd.DataFrame({
        "plate": images["Image_Metadata_Plate_DAPI"],
        "week": images["Image_Metadata_Plate_DAPI"].str.split("_").str[0],
        "well": images["Image_Metadata_Well_DAPI"],
        "site": _site_numbers(images["Image_FileName_DAPI"], image_csv),
        "replicate": images["Replicate"],
        "compound": images["Image_Metadata_Compound"],
        "concentration": concentrations(images["Image_Metadata_Concentration"], image_csv),
    }, index=images.index)
    frame["mechanism"] = _mechanisms(frame, annotations, moa_csv)
    refuse_duplicates(frame, image_csv)
    refuse_case_twins(frame, image_csv)
    parts = [pd.DataFrame({"folder": images[f"Image_PathName_{channel}"], "name": images[f"Image_FileName_{channel}"]})
             for channel in CHANNELS.values()]
    frame["files"] = locate(parts, image_root or image_csv.parent, image_csv)
    kept = frame if taxol_controls == "keep" else frame[~is_taxol_control(frame)]
    return SiteTable(kept[[*METADATA, "files"]].reset_index(drop=True), tuple(CHANNELS))


def is_taxol_control(frame: pd.DataFrame) -> pd.Series:
    """Which sites are in the taxol 0.3 uM control wells that every plate has."""
    return (frame["compound"] == "taxol") & (frame["concentration"] == 0.3) & frame["well"].isin(TAXOL_CONTROL_WELLS)


def _mechanisms(frame: pd.DataFrame, annotations: pd.DataFrame, moa_csv: Path) -> list[str]:
    """Mechanism of each field by (compound, concentration as a number), or ""."""
    doses = concentrations(annotations["concentration"], moa_csv)
    keys = list(zip(annotations["compound"], doses, strict=True))
    twice = sorted({f"{compound} {dose:g}" for compound, dose in keys if keys.count((compound, dose)) > 1})
    if twice:
        raise DataError(f"{moa_csv}: treatments are annotated more than once; keep one row each", twice)
    known = dict(zip(keys, annotations["moa"], strict=True))
    return [known.get(key, "") for key in zip(frame["compound"], frame["concentration"], strict=True)]


def _site_numbers(file_names: pd.Series, image_csv: Path) -> pd.Series:
    """Week1_150607_B02_s3_w1<GUID>.tif -> "3"; rows of a well are not always in site order, so only the name tells."""
    numbers = file_names.str.extract(r"(?:^|_)[A-P]\d\d_s(\d+)_w", expand=False)
    if numbers.isna().any():
        raise DataError(f"{image_csv}: file names without a site number like _s1_; these are not BBBC021's",
                        [f"row {row}: {name}" for row, name in file_names[numbers.isna()].items()])
    return numbers


def _require_columns(table: pd.DataFrame, needed: tuple[str, ...], path: Path) -> None:
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise DataError(f"{path}: lacks columns of the official file; for other screens use --sites", missing)
