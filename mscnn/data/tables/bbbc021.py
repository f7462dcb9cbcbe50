"""BBBC021 v1: the two official CSVs, unmodified, -> one site table.

Images and ground truth: Caie et al. 2010, Ljosa et al. 2012, Broad Bioimage Benchmark Collection.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mscnn.core import identity
from mscnn.core.errors import DataError
from mscnn.core.units import MICROMOLAR
from mscnn.data.tables.image_paths import resolve_image_paths
from mscnn.data.tables.problems import Problem, refuse, rows_of
from mscnn.data.tables.row_faults import find_faults
from mscnn.data.tables.site_table import METADATA, SiteTable, concentrations, without_missing
from mscnn.data.tables.text_csv import read_csv

CHANNELS = {"DNA": "DAPI", "Tubulin": "Tubulin", "Actin": "Actin"}  # our name: the CSV's
CONTROL = "DMSO"                                                    # in the untreated wells
TAXOL_CONTROL_WELLS = ("B11", "C11", "D11", "E02", "F02", "G02")    # taxol 0.3 uM on every plate
_IMAGE_COLUMNS = ("Image_Metadata_Plate_DAPI", "Image_Metadata_Well_DAPI", "Replicate", "Image_Metadata_Compound",
                  "Image_Metadata_Concentration",
                  *(f"Image_{kind}Name_{channel}" for kind in ("File", "Path") for channel in CHANNELS.values()))


def find_csvs(folder: Path) -> tuple[Path, Path]:
    """Return the paths of BBBC021_v1_image.csv and BBBC021_v1_moa.csv (or .csv.gz) in a folder. Raises DataError."""
    paths = []
    for name in ("BBBC021_v1_image.csv", "BBBC021_v1_moa.csv"):
        existing = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
        if not existing:
            raise DataError(f"{folder}: no {name} there; name the folder that holds the official CSVs with --bbbc021")
        paths.append(existing[0])
    return paths[0], paths[1]


def read_bbbc021(image_csv: Path, moa_csv: Path, *, image_root: Path | None = None,
                 taxol_controls: str = "drop", follow_links: Sequence[Path] = (),
                 problems: list[Problem] | None = None) -> SiteTable:
    """Join image.csv with moa.csv by compound and numeric concentration.

    All 13,200 fields are returned; those without an annotated mechanism have mechanism "".
    taxol_controls: "keep" or "drop" the taxol 0.3 uM plate-control wells (1,320 of the 3,848 labelled fields).
    follow_links: folders that links below the image root may lead to.
    Channels of a field do not share a GUID, so files are joined through the CSV's rows, never by name.
    Raises DataError listing missing columns; or duplicate sites or annotations, bad concentrations and names together.
    problems: a list to add the latter to instead, and annotated treatments without images too; the frame's index then
    counts rows as image.csv does, and a file name that must not be followed is "".
    """
    assert taxol_controls in ("keep", "drop")
    found = [] if problems is None else problems
    images, annotations = read_csv(image_csv), read_csv(moa_csv)
    _require_columns(images, _IMAGE_COLUMNS, image_csv)
    _require_columns(annotations, ("compound", "concentration", "moa"), moa_csv)
    frame = pd.DataFrame({
        "plate": images["Image_Metadata_Plate_DAPI"],
        "week": images["Image_Metadata_Plate_DAPI"].str.split("_").str[0],
        "well": images["Image_Metadata_Well_DAPI"],
        "site": _site_numbers(images["Image_FileName_DAPI"], found),
        "replicate": images["Replicate"],
        "compound": images["Image_Metadata_Compound"],
        "concentration": concentrations(images["Image_Metadata_Concentration"], image_csv, found),
    }, index=images.index)
    annotations = annotations.assign(dose=concentrations(annotations["concentration"], moa_csv, found))
    frame["mechanism"] = _mechanisms(frame, annotations, moa_csv, found)
    parts = [pd.DataFrame({"folder": images[f"Image_PathName_{channel}"], "name": images[f"Image_FileName_{channel}"]})
             for channel in CHANNELS.values()]
    frame["files"] = resolve_image_paths(parts, image_root or image_csv.parent, found, follow_links)
    frame = without_missing(frame, CONTROL)
    found += find_faults(frame, str(image_csv), tuple(CHANNELS))
    if problems is None:
        refuse(found, image_csv)
    else:
        found += _without_images(frame, annotations, moa_csv)
    kept = (frame if taxol_controls == "keep" else frame[~is_taxol_control(frame)])[[*METADATA, "files"]]
    if kept.empty:
        raise DataError(f"{image_csv}: holds only taxol control wells; keep them with --taxol-controls keep")
    return SiteTable(kept.reset_index(drop=True) if problems is None else kept, tuple(CHANNELS), CONTROL,
                     unit=MICROMOLAR)


def is_taxol_control(frame: pd.DataFrame) -> pd.Series:
    """Return true for the sites in the taxol 0.3 uM control wells that every plate has."""
    wells = identity.normal_forms(frame["well"], "well").isin(list(map(identity.well, TAXOL_CONTROL_WELLS)))
    return identity.is_name(frame["compound"], "taxol") & (frame["concentration"] == 0.3) & wells


def _mechanisms(frame: pd.DataFrame, annotations: pd.DataFrame, moa_csv: Path, problems: list[Problem]) -> list[str]:
    """Return the mechanism of each field by its treatment, or ""."""
    treatments = pd.Series(_treatments(annotations["compound"], annotations["dose"]), annotations.index)
    again = annotations[treatments.duplicated(keep=False) & annotations["dose"].notna()]
    problems += [Problem(row, str(moa_csv), f"{compound} {dose:g}: not the only row of this treatment",
                         "treatments are annotated more than once; keep one row each")
                 for row, compound, dose in zip(again.index, again["compound"], again["dose"], strict=True)]
    known = dict(zip(treatments, annotations["moa"], strict=True))
    return [known.get(treatment, "") for treatment in _treatments(frame["compound"], frame["concentration"])]


def _without_images(frame: pd.DataFrame, annotations: pd.DataFrame, moa_csv: Path) -> list[Problem]:
    """Return a problem for each annotated treatment that no field shows."""
    shown = set(_treatments(frame["compound"], frame["concentration"]))
    given = annotations[annotations["dose"].notna()]
    treatments = zip(given.index, given["compound"], _treatments(given["compound"], given["dose"]), strict=True)
    return [Problem(row, str(moa_csv), f"{compound} {treatment[1]:g}: annotated, but no row of the images shows it",
                    "annotated treatments have no images; complete the images' table, or take the annotations out")
            for row, compound, treatment in treatments if treatment not in shown]


def _treatments(compounds: pd.Series, doses: pd.Series) -> list[tuple[str, float]]:
    """Return the normal form of each compound with its dose.  A dose that is not given equals no other."""
    return list(zip(identity.normal_forms(compounds), doses, strict=True))


def _site_numbers(file_names: pd.Series, problems: list[Problem]) -> pd.Series:
    """Return the site in a file's name: "3" of Week1_150607_B02_s3_w1<GUID>.tif. Rows of a well are not in site order."""
    numbers = file_names.str.extract(r"(?:^|_)[A-P]\d\d_s(\d+)_w", expand=False)
    problems += [Problem(row, name, f"{name} has no site number like _s1_",
                         "file names are without a site number like _s1_; these are not BBBC021's")
                 for row, name in rows_of(file_names[numbers.isna()])]
    return numbers.fillna("")


def _require_columns(table: pd.DataFrame, needed: tuple[str, ...], path: Path) -> None:
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise DataError(f"{path}: lacks columns of the official file; for other screens use --sites", missing)
