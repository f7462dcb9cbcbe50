"""Plates of one screen on one scale: lamp, vignetting, exposure and staining of each measured in its untreated wells.

Reference sites -> sums of each plate (illumination.py) -> Intensity, which turns counts into the network's input.
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

from mscnn.core.errors import DataError
from mscnn.core.files import write_atomically
from mscnn.core.logs import log
from mscnn.data.pixels import illumination
from mscnn.data.pixels.illumination import Method, PlateSums
from mscnn.data.pixels.scale_record import ScaleRecord
from mscnn.data.tables.sampler import evenly_spaced
from mscnn.data.tables.site_table import SiteTable, natural

FORMAT = 1
ARRAYS, FACTS = "intensity.npz", "intensity.json"
_SHAPES = {"field": "PChw", "shift": "PC", "scale": "PC"}


@dataclass(frozen=True)
class Reference:
    """Where each plate is measured. sites: {plate: positions in the table}; described: {plate: which wells those are}."""

    sites: dict[str, np.ndarray]
    described: dict[str, str]
    fell_back: tuple[str, ...]   # plates without a well of the reference compound that may be used
    unmeasured: tuple[str, ...]  # plates without any site that may be used

    def notes(self) -> list[str]:
        """What the log says of plates that are not measured in the reference compound."""
        notes = [f"plate {plate}: measured in {self.described[plate]}" for plate in self.fell_back]
        return notes + [f"plate {plate}: not measured, it has no site that may be used" for plate in self.unmeasured]


def reference_sites(table: SiteTable, allowed: np.ndarray, compound: str | None = None, limit: int = 256) -> Reference:
    """The sites that each plate is measured in: its wells of the reference compound, or all that may be used.

    allowed: (S,) bool, the sites of the training side; sites of the control may enter in any case, others never.
    compound: the reference, in any case; None: the table's control.  limit: sites a plate, spread evenly over it.
    """
    assert (allowed.dtype, allowed.shape) == (bool, (len(table),)), (allowed.dtype, allowed.shape)
    name = compound or table.control
    wanted = table.is_of(name)
    if compound and not wanted.any():
        raise DataError(f"no site of reference compound {name!r} in the table; name one that it has, or leave it out")
    usable, plate_of = allowed | table.is_control(), table.frame["plate"].to_numpy()
    sites, described, fell_back, unmeasured = {}, {}, [], []
    for plate in sorted(set(plate_of), key=natural):
        own = plate_of == plate
        chosen = np.flatnonzero(own & wanted & usable)
        what = f"wells of {name}"
        if not len(chosen):
            chosen, what = np.flatnonzero(own & usable), f"all its wells that may be used, it has none of {name}"
            (fell_back if len(chosen) else unmeasured).append(plate)
        if len(chosen):
            sites[plate] = chosen[evenly_spaced(len(chosen), limit)]
            wells = table.frame["well"].iloc[sites[plate]].nunique()
            described[plate] = f"{what}: {len(sites[plate])} sites in {wells} wells"
            assert (allowed | table.is_control())[sites[plate]].all(), "a treated well of the test side is measured"
    if not sites:
        raise DataError("no plate has a site to measure its intensity in; leave more compounds to train on")
    return Reference(sites, described, tuple(fell_back), tuple(unmeasured))


@dataclass(frozen=True, eq=False)
class PlateScale:
    """(transform((counts - offset) / field) - shift) / scale, each plate and channel by its own numbers."""

    plates: tuple[str, ...]
    size: tuple[int, int]      # height and width of the sites that it fits
    method: Method
    provenance: dict[str, Any]
    offset: float              # counts
    field_PChw: np.ndarray     # float32, mean 1, at nodes from corner to corner
    shift_PC: np.ndarray
    scale_PC: np.ndarray
    before_crop: ClassVar[bool] = True  # a plate's light is that of the whole field
    by_plate: ClassVar[bool] = True

    @property
    def num_channels(self) -> int:
        """Return how many channels fields must have."""
        return self.field_PChw.shape[1]

    def apply(self, site_CHW: np.ndarray, plate: str, out_CHW: np.ndarray | None = None) -> np.ndarray:
        """Camera counts (C, H, W) -> float32; a plate that was not measured gets the mean of those that were."""
        assert site_CHW.shape == (self.field_PChw.shape[1], *self.size), (site_CHW.shape, self.size)
        own = slice(0, None) if plate not in self.plates else slice(number := self.plates.index(plate), number + 1)
        # Stretching a small field for each site costs little; every plate's full one would take 16 MB at 3 x 1024 x 1280.
        out_CHW = np.empty(site_CHW.shape, np.float32) if out_CHW is None else out_CHW
        field_Chw, shift_C, scale_C = (part[own].mean(axis=0) for part in (self.field_PChw, self.shift_PC, self.scale_PC))
        for channel, out in enumerate(out_CHW):
            np.subtract(site_CHW[channel], np.float32(self.offset), out=out, dtype=np.float32)
            out /= _stretch(field_Chw[channel], self.size)
            illumination.transform(out, self.method)
            out -= np.float32(shift_C[channel])
            out *= np.float32(1 / scale_C[channel])
        return out_CHW

    def covers(self, plates: Iterable[str]) -> bool:
        """Whether all these plates were measured; says once which were not, and what becomes of them."""
        unknown = sorted(set(plates) - set(self.plates), key=natural)
        if unknown:
            log.warning("intensity: %d plates were not measured and get the mean of the %d that were: %s", len(unknown),
                        len(self.plates), ", ".join(unknown))
        return not unknown

    def for_other_screen(self) -> "PlateScale":
        """The same for plates of another screen, whatever their names: each gets the mean of these."""
        return dataclasses.replace(self, plates=tuple(f"{number} of training" for number in range(len(self.plates))))

    def to_record(self) -> ScaleRecord:
        """Return facts and arrays: what save writes, and what a checkpoint holds."""
        facts = {"mode": "plate", "format": FORMAT, "plates": list(self.plates), "size": list(self.size),
                 "offset": self.offset, "method": dataclasses.asdict(self.method), "provenance": self.provenance}
        return ScaleRecord(facts, {name: getattr(self, f"{name}_{shape}") for name, shape in _SHAPES.items()})

    def save(self, folder: Path) -> None:
        """intensity.npz and intensity.json, written aside and renamed; the second names the first by its SHA-256."""
        record, packed = self.to_record(), io.BytesIO()
        np.savez(packed, allow_pickle=False, **record.arrays)
        facts = {name: value for name, value in record.facts.items() if name != "mode"}
        facts["sha256"] = hashlib.sha256(packed.getvalue()).hexdigest()
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in ((ARRAYS, packed.getvalue()), (FACTS, (json.dumps(facts, indent=1) + "\n").encode())):
            with write_atomically(folder / name) as partial:
                partial.write_bytes(content)


def load(folder: Path) -> PlateScale:
    """What save wrote, bit for bit. Raises DataError for files that are missing, damaged or not of one another."""
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
    """The inverse of to_record. Raises DataError where facts and arrays are not of this format or do not fit."""
    facts, arrays = record.facts, record.arrays
    try:
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']!r}, this version reads {FORMAT}")
        found = PlateScale(tuple(facts["plates"]), tuple(facts["size"]), Method(**facts["method"]), facts["provenance"],
                           facts["offset"], **{f"{name}_{shape}": arrays[name] for name, shape in _SHAPES.items()})
        shape = (len(found.plates), *found.field_PChw.shape[1:2])
        wrong = [name for name, array in arrays.items() if array.shape[:2] != shape or array.dtype.kind != "f"
                 or array.ndim != len(_SHAPES[name]) or not np.isfinite(array).all()]
        if wrong or not found.plates or found.scale_PC.min() <= 0 or found.field_PChw.min() <= 0:
            raise ValueError(f"arrays that do not fit: {', '.join(wrong) or 'field or scale'}")
    except (KeyError, TypeError, ValueError) as problem:
        raise DataError(f"intensity record: {problem}; measure the plates again") from None
    return found


def estimate(sums: dict[str, PlateSums], method: Method, provenance: dict[str, Any]) -> PlateScale:
    """Fields, offset and scales from the complete sums of all plates.

    provenance: builtins, from `describe`; offset, levels of the background and degrees of the fields are added.
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
    found = {"degree": degrees, "level": dict(zip(plates, level_PC.tolist(), strict=True))}
    return PlateScale(plates, ordered[0].size, method, provenance | found, offset, field_PChw, shift_PC, scale_PC)


def _camera_offset(plates: Sequence[PlateSums], fits_CP: Sequence[Sequence[tuple]]) -> float:
    """The median over channels, as one camera takes them all and a dim channel tells little; 0 where nothing tells."""
    offsets = [illumination.camera_offset([fit[0] for fit in fits], [plate.block_means(channel) for plate in plates])
               for channel, fits in enumerate(fits_CP)]
    told = [offset for offset in offsets if np.isfinite(offset)]
    return float(np.median(told)) if told else 0.0


def _channel(plates: Sequence[PlateSums], channel: int, fits: Sequence[tuple], offset: float,
             method: Method) -> list[np.ndarray]:
    """Of one channel by plate: field, level of the background above the offset, shift and scale."""
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
    """(H, W) float32: bilinear between nodes, which span it from corner to corner.

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


def describe(table: SiteTable, reference: Reference) -> dict[str, Any]:
    """The provenance of an Intensity, as builtins: data, channels, and each plate's week and reference."""
    week_of = dict(zip(table.frame["plate"], table.frame["week"], strict=True))
    return {"data": table.fingerprint(), "channels": list(table.channels),
            "week": {plate: week_of[plate] for plate in reference.sites}, "measured": dict(reference.described)}
