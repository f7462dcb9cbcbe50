"""A scale for each plate: lamp, vignetting, exposure and staining, measured in the plate's untreated wells.

Reference sites (reference_wells.py) -> sums of each plate (plate_sums.py) -> illumination and scale (illumination.py) ->
PlateScale, which turns counts into the network's input.
Shapes: S sites, P plates, C channels, H W pixels, h w nodes of a field.
"""

import dataclasses
import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mscnn.core import identity
from mscnn.core.errors import DataError
from mscnn.core.files import write_atomically
from mscnn.core.logs import log
from mscnn.data.pixels import illumination
from mscnn.data.pixels.illumination import Method
from mscnn.data.pixels.plate_sums import PlateSums
from mscnn.data.pixels.reference_wells import Provenance
from mscnn.data.pixels.scale_record import ScaleRecord
from mscnn.data.tables.site_table import natural

FORMAT = 1
ARRAYS, FACTS = "intensity.npz", "intensity.json"
_SHAPES = {"field": "PChw", "shift": "PC", "scale": "PC"}


@dataclass(frozen=True, eq=False)
class PlateScale:
    """(transform((counts - offset) / field) - shift) / scale, each plate and channel by its own numbers."""

    plates: tuple[str, ...]
    size: tuple[int, int]      # height and width of the sites that it fits
    method: Method
    provenance: Provenance
    offset: float              # of the camera, counts
    field_PChw: np.ndarray     # float32, mean 1, at nodes from corner to corner
    shift_PC: np.ndarray       # in units of the transform
    scale_PC: np.ndarray       # likewise, more than 0
    before_crop: ClassVar[bool] = True  # a plate's light is that of the whole field
    by_plate: ClassVar[bool] = True

    @property
    def num_channels(self) -> int:
        """Return how many channels fields must have."""
        return self.field_PChw.shape[1]

    def apply(self, site_CHW: np.ndarray, plate: str, out_CHW: np.ndarray | None = None) -> np.ndarray:
        """Scale camera counts (C, H, W) to float32; a plate that was not measured gets the mean of those that were."""
        assert site_CHW.shape == (self.field_PChw.shape[1], *self.size), (site_CHW.shape, self.size)
        number = next((number for number, name in enumerate(self.plates) if identity.is_same(name, plate)), None)
        rows = slice(0, None) if number is None else slice(number, number + 1)
        # Stretching a small field for each site costs little; every plate's full one would take 16 MB at 3 x 1024 x 1280.
        out_CHW = np.empty(site_CHW.shape, np.float32) if out_CHW is None else out_CHW
        field_Chw, shift_C, scale_C = (part[rows].mean(axis=0) for part in (self.field_PChw, self.shift_PC, self.scale_PC))
        for channel, out_HW in enumerate(out_CHW):
            np.subtract(site_CHW[channel], np.float32(self.offset), out=out_HW, dtype=np.float32)
            out_HW /= _stretch(field_Chw[channel], self.size)
            illumination.transform(out_HW, self.method)
            out_HW -= np.float32(shift_C[channel])
            out_HW *= np.float32(1 / scale_C[channel])
        return out_CHW

    def covers(self, plates: Iterable[str]) -> bool:
        """Return whether all these plates were measured; log those that were not."""
        plates = set(plates)
        unknown = sorted(plates - set(identity.in_common(plates, self.plates)), key=natural)
        if unknown:
            log.warning("intensity: %d plates were not measured and get the mean of the %d that were: %s", len(unknown),
                        len(self.plates), ", ".join(unknown))
        return not unknown

    def for_other_screen(self) -> "PlateScale":
        """Return the scale under which plates of any name get the mean of these plates."""
        return dataclasses.replace(self, plates=tuple(f"{number} of training" for number in range(len(self.plates))))

    def to_record(self) -> ScaleRecord:
        """Return facts and arrays: what save writes, and what a checkpoint holds."""
        facts = {"mode": "plate", "format": FORMAT, "plates": list(self.plates), "size": list(self.size),
                 "offset": self.offset, "method": dataclasses.asdict(self.method),
                 "provenance": dataclasses.asdict(self.provenance)}
        return ScaleRecord(facts, {name: getattr(self, f"{name}_{shape}") for name, shape in _SHAPES.items()})

    def save(self, folder: Path) -> None:
        """Write intensity.npz and intensity.json, each whole; the second names the first by its SHA-256."""
        record, packed = self.to_record(), io.BytesIO()
        np.savez(packed, allow_pickle=False, **record.arrays)
        facts = {name: value for name, value in record.facts.items() if name != "mode"}
        facts["sha256"] = hashlib.sha256(packed.getvalue()).hexdigest()
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in ((ARRAYS, packed.getvalue()), (FACTS, (json.dumps(facts, indent=1) + "\n").encode())):
            with write_atomically(folder / name) as partial:
                partial.write_bytes(content)


def load(folder: Path) -> PlateScale:
    """Return what save wrote, bit for bit. Raises DataError for files that are missing, damaged or not of one another."""
    try:
        facts, packed = json.loads((folder / FACTS).read_text()), (folder / ARRAYS).read_bytes()
        if not isinstance(facts, dict) or facts.pop("sha256", None) != hashlib.sha256(packed).hexdigest():
            raise ValueError(f"{ARRAYS} is not the file that {FACTS} was written with")
        with zipfile.ZipFile(io.BytesIO(packed)) as members:
            if sum(member.file_size for member in members.infolist()) > len(packed):
                raise ValueError(f"{ARRAYS} is compressed, as it is never written, and could fill any memory")
        with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
            return from_record(ScaleRecord({"mode": "plate", **facts}, dict(arrays)))
    except Exception as problem:  # damage, or malice, shows as many kinds of error; all mean that it cannot be used
        reason = getattr(problem, "strerror", None) or " ".join(str(problem).split())
        raise DataError(f"{folder}: no usable {FACTS} and {ARRAYS} ({reason}); measure the plates again") from None


def from_record(record: ScaleRecord) -> PlateScale:
    """Return the scale of a record. Raises DataError where facts and arrays are not of this format or do not fit."""
    facts, arrays = record.facts, record.arrays
    try:
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']!r}, this version reads {FORMAT}")
        parts: dict[str, Any] = {f"{name}_{shape}": arrays[name] for name, shape in _SHAPES.items()}
        scale = PlateScale(tuple(facts["plates"]), tuple(facts["size"]), Method(**facts["method"]),
                           Provenance(**facts["provenance"]), facts["offset"], **parts)
        shape = (len(scale.plates), *scale.field_PChw.shape[1:2])
        wrong = [name for name, array in arrays.items() if array.shape[:2] != shape or array.dtype.kind != "f"
                 or array.ndim != len(_SHAPES[name]) or not np.isfinite(array).all()]
        if wrong or not scale.plates or scale.scale_PC.min() <= 0 or scale.field_PChw.min() <= 0:
            raise ValueError(f"arrays that do not fit: {', '.join(wrong) or 'field or scale'}")
    except (KeyError, TypeError, ValueError) as problem:
        raise DataError(f"intensity record: {problem}; measure the plates again") from None
    return scale


def estimate(sums: dict[str, PlateSums], method: Method, provenance: Provenance) -> PlateScale:
    """Estimate fields, offset and scales from the complete sums of all plates.

    provenance: of reference_wells.describe; levels of the background and degrees of the fields are added.
    """
    plates = tuple(sorted(sums, key=natural))
    assert all(sums[plate].seen_S.all() for plate in plates), "a share of the sums is missing"
    assert len({(sums[plate].size, sums[plate].blocks_SChw.shape[1:]) for plate in plates}) == 1, "sites differ in size"
    ordered, channels = [sums[plate] for plate in plates], range(len(sums[plates[0]].histogram_CK))
    fits_CP = [[illumination.background(plate.block_means(channel), plate.size, method.degree) for plate in ordered]
               for channel in channels]
    offset = method.offset if method.offset is not None else _camera_offset(ordered, fits_CP)
    scaled = [_channel(ordered, channel, fits_CP[channel], offset, method) for channel in channels]
    field_PChw, level_PC, shift_PC, scale_PC = (np.stack(part, axis=1) for part in zip(*scaled, strict=True))
    degrees = {plate: [fits[number][2] for fits in fits_CP] for number, plate in enumerate(plates)}
    provenance = dataclasses.replace(provenance, degree=degrees, level=dict(zip(plates, level_PC.tolist(), strict=True)))
    return PlateScale(plates, ordered[0].size, method, provenance, offset, field_PChw, shift_PC, scale_PC)


def _camera_offset(plates: Sequence[PlateSums], fits_CP: Sequence[Sequence[tuple]]) -> float:
    """Return the median over channels, as one camera takes them all; 0 where no channel shows it."""
    offsets = [illumination.camera_offset([fit[0] for fit in fits], [plate.block_means(channel) for plate in plates])
               for channel, fits in enumerate(fits_CP)]
    known = [offset for offset in offsets if np.isfinite(offset)]
    return float(np.median(known)) if known else 0.0


def _channel(plates: Sequence[PlateSums], channel: int, fits: Sequence[tuple], offset: float,
             method: Method) -> list[np.ndarray]:
    """Return of one channel, by plate: field, level of the background above the offset, shift and scale."""
    rows = []
    for plate, (at_blocks, at_nodes, _) in zip(plates, fits, strict=True):
        level = float(at_blocks.mean()) - offset
        if method.illumination:  # the middle pixels of blocks stand for all: theirs is a known share of the light
            field, at_pixels = (illumination.normalised(light - offset) for light in (at_nodes, at_blocks))
            signal = np.sort(((plate.pixels_SChw[:, channel] - offset) / at_pixels).ravel())
            counts = np.ones(len(signal), int)
        else:
            field, counts = np.ones(at_nodes.shape, np.float32), plate.histogram_CK[channel]
            signal = np.arange(len(counts)) - offset
        rows.append((field, level, *illumination.scaling(counts, signal, level, method)))
    return [np.stack(part) for part in zip(*rows, strict=True)]


def _stretch(field_hw: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Interpolate a field bilinearly to (H, W) float32; its nodes span the site from corner to corner.

    Row by row, without threads: 5 ms at 1024 x 1280 on a core where torch's interpolate took 15.
    """
    places = [np.linspace(0, nodes - 1, side) for nodes, side in zip(field_hw.shape, size, strict=True)]
    below, right = (np.minimum(at.astype(int), max(nodes - 2, 0)) for at, nodes in zip(places, field_hw.shape, strict=True))
    down, along = ((at - first).astype(np.float32) for at, first in zip(places, (below, right), strict=True))
    padded = np.pad(field_hw, ((0, 1), (0, 1)), mode="edge")  # so that a single node has a neighbour too
    wide_hW = padded[:, right] + along * (padded[:, right + 1] - padded[:, right])
    stretched = np.diff(wide_hW, axis=0)[below]
    stretched *= down[:, None]
    stretched += wide_hW[below]
    return stretched
