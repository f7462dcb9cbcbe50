"""What a CellVoyager knows of a measurement besides its records: the plate, pixel sizes (`.mrf`), stains (`.mes`).

Exercised by `pytest tests/data/vendors/test_cellvoyager_detail.py`.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from mscnn.data.tables.lengths import micrometres
from mscnn.data.vendors.planes import Listing
from mscnn.data.vendors.plate_numbers import whole
from mscnn.data.vendors.xml_records import read_records

DETAIL = "MeasurementDetail.mrf"
REMEDY = "copy it again from the measurement"
_NO_NAME = re.compile(r"NoPlateID|AssayPlate_.*|", re.IGNORECASE)  # what stands for the name of a plate that nobody named


@dataclass(frozen=True)
class Detail:
    """What is known of one measurement."""

    plate: str = ""                    # barcode or name for people
    system: str = ""                   # "CV8000"
    rows: int | None = None            # of the plate; None: not told
    columns: int | None = None
    pixel_sizes: Mapping[int, float] = field(default_factory=dict)  # of channels by number: micrometres
    stains: Mapping[int, str] = field(default_factory=dict)         # of channels by number: what a user named the target
    notes: tuple[str, ...] = ()        # what is not known, and why


def read_detail(listing: Listing, folder: str) -> Detail:
    """Read the files beside the records of a measurement; the plate is named as the folder where these do not name it.

    Raises DataError for a file that is there and cut short.
    """
    detail, stains_file = _measurement(listing, folder)
    file = _beside(listing, folder, stains_file) if stains_file else _only(listing, folder, ".mes")
    notes = detail.notes
    stains = {} if file is None else _stains(listing, file)
    if file is None:
        notes = (*notes, f"there is no {stains_file or '.mes file'}, so channels have numbers and no names")
    name = detail.plate or _plate_name(listing, folder) or folder.rpartition("/")[2] or listing.root.resolve().name
    return Detail(name, detail.system, detail.rows, detail.columns, detail.pixel_sizes, stains, notes)


def _measurement(listing: Listing, folder: str) -> tuple[Detail, str]:
    """Return what the `.mrf` tells, and the name of the `.mes` file."""
    file = _beside(listing, folder, DETAIL)
    if file is None:
        return Detail(notes=(f"there is no {DETAIL}, so pixel sizes and the size of the plate are not known",)), ""
    sizes: dict[int, float] = {}
    names = ["", ""]
    about: Mapping[str, str] = {}
    wanted = {("", "MeasurementDetail"): (), ("MeasurementDetail", "MeasurementSamplePlate"): (),
              ("MeasurementDetail", "MeasurementChannel"): ()}
    for record in read_records(listing.path(file), "MeasurementDetail", wanted, REMEDY):
        if record.name == "MeasurementChannel":
            number = whole(record.attributes.get("Ch"))
            size = micrometres(record.attributes.get("HorizontalPixelDimension", ""), "µm")
            if number is not None and not math.isnan(size):
                sizes[number] = size
        elif record.name == "MeasurementSamplePlate":
            names[0] = record.attributes.get("Name", "").strip()
        else:
            about = record.attributes
            names[1] = about.get("Title", "").strip()
    system = re.match(r"C[VQ]\w+", about.get("TargetSystem", ""))
    plate = next((name for name in names if not _NO_NAME.fullmatch(name)), "")
    return Detail(plate, system[0] if system else "", whole(about.get("RowCount")), whole(about.get("ColumnCount")),
                  sizes), about.get("MeasurementSettingFileName", "")


def _stains(listing: Listing, file: str) -> dict[int, str]:
    """Return the targets of the channels of a `.mes` file, or their fluorophores."""
    found: dict[int, str] = {}
    wanted = {("", "MeasurementSetting"): (), ("ChannelList", "Channel"): ()}
    for record in read_records(listing.path(file), "MeasurementSetting", wanted, REMEDY):
        number = whole(record.attributes.get("Ch"))
        if record.name == "Channel" and number is not None:
            found[number] = record.attributes.get("Target", "").strip() or record.attributes.get("Fluorophore", "").strip()
    return found


def _plate_name(listing: Listing, folder: str) -> str:
    """Return the name of the plate by the `.wpi` file, "" where there is none or nobody named the plate."""
    file = _only(listing, folder, ".wpi")
    records = [] if file is None else read_records(listing.path(file), "WellPlate", {("", "WellPlate"): ()}, REMEDY)
    names = [record.attributes.get("Name", "").strip() for record in records]
    return next((name for name in names if not _NO_NAME.fullmatch(name)), "")


def _only(listing: Listing, folder: str, suffix: str) -> str | None:
    """Return the only file of a folder with this suffix, None if there are more or none."""
    names = [name for name in listing.by_folder.get(folder, []) if name.lower().endswith(suffix)]
    return _beside(listing, folder, names[0]) if len(names) == 1 else None


def _beside(listing: Listing, folder: str, name: str) -> str | None:
    """Return the file of a name in a folder, whatever its case; None if there is none."""
    path = listing.spelled(f"{folder}/{name}" if folder else name)
    return path if path in listing.known else None
