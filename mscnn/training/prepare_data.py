"""From the settings to a checked screen: table, headers, scale of intensities. Each rank reads its share of the files."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from mscnn.core import config
from mscnn.core.errors import DataError, ImageError
from mscnn.core.logs import log
from mscnn.data.leave_out import leave_out_again
from mscnn.data.pixels import (
    copies,
    count_statistics,
    dataset_scale,
    images,
    in_memory,
    packed,
    plate_scale,
    reference_wells,
)
from mscnn.data.pixels.count_statistics import CountsRecord
from mscnn.data.pixels.dataset_scale import DatasetScale
from mscnn.data.pixels.illumination import Method
from mscnn.data.pixels.plate_scale import PlateScale
from mscnn.data.pixels.plate_sums import PlateSums
from mscnn.data.pixels.read_pixels import pixel_sizes, read_pixels
from mscnn.data.pixels.scale import Scale, scale_from_record
from mscnn.data.pixels.scale_record import ScaleRecord
from mscnn.data.read_screen import read_screen
from mscnn.data.tables import control
from mscnn.data.tables.assays import read_assays
from mscnn.data.tables.image_source import source_paths
from mscnn.data.tables.left_out import LeftOut
from mscnn.data.tables.pixel_size import PIXEL_SIZE, mixed_pixel_sizes
from mscnn.data.tables.sampler import evenly_spaced, shard
from mscnn.data.tables.site_table import SiteTable, parse_columns
from mscnn.distributed.world import World
from mscnn.model import require_fitting_size

SAMPLED = 4  # image files whose bytes ranks compare


def load_sites(settings: config.Data, *, to_train: bool = False, needs_labels: bool = True,
               left_out: LeftOut | None = None) -> SiteTable:
    """Return the sites to learn from, or to predict: those that are labelled, or all that label-free training reads.

    to_train: raise UsageError where untreated wells would be trained on as a compound.  needs_labels: leave out sites
    whose mechanism is not known; raise DataError where it is known of none.  With assays, leave out compounds that were
    not measured, but for untreated wells in which plates are measured.  left_out: fields that a training left out.
    """
    table = read_screen(settings)
    if left_out:
        table = leave_out_again(table, left_out)
    if to_train:
        control.require_control(table)
    if settings.assays:
        table = with_assays(table, settings)
        log.info("sites: %d, of which %d have a known value in an assay", len(table), int(table.is_labelled().sum()))
        measures_plates = table.is_control() if settings.normalise == "plate" else np.zeros(len(table), bool)
        return table.select(table.is_labelled() | measures_plates) if needs_labels else table
    labelled = table.labelled()
    unread = int((table.is_control() & (table.frame["mechanism"] == "")).sum()) if needs_labels else 0
    if unread and settings.normalise == "plate":
        raise DataError(f"{unread} sites of {table.control}, in which plates are measured, have no mechanism and would not "
                        f"be read; fill it in, for example with {table.control}")
    log.info("sites: %d, of which %d have a known mechanism", len(table), len(labelled))
    for note in (control.note_absence(table), mixed_pixel_sizes(table.frame.get(PIXEL_SIZE))):
        if note:
            log.warning("%s", note)
    if not needs_labels:
        return table
    if len(labelled) == 0:
        raise DataError(f"{settings.packed or settings.bbbc021 or settings.sites}: no site has a known mechanism; fill in "
                        "that column, name it with --columns mechanism=COLUMN (of a pack: pack again with it), or learn "
                        "without it by --mechanism-weight 0 --replicate-weight 1")
    return labelled


def with_assays(table: SiteTable, settings: config.Data) -> SiteTable:
    """Return the table with the assays of its compounds. Raises DataError for a table of assays that cannot be used."""
    assert settings.assays
    column = parse_columns(settings.columns).get("compound")
    return replace(table, assays=read_assays(Path(settings.assays), table.frame["compound"], column))


def with_shape(table: SiteTable, size: tuple[int, int] | None, world: World, downscale: int = 1) -> SiteTable:
    """Read the header of every file; return the table with the names of its channels and its shape. A collective.

    size: crop or pad to (height, width), or None.  downscale: of the network that has to take the fields.
    Raises DataError listing all files that cannot be used.
    """
    header = read_headers(table, world)
    shape = (header.channels, *(size or (header.height, header.width)))
    try:
        require_fitting_size(*shape[1:], downscale)
    except ValueError as problem:
        raise DataError(str(problem)) from None
    table = with_channel_names(table, header)
    fitted = f", fitted to {size[0]}x{size[1]}" if size else ""
    log.info("fields: %s, channels %s%s", header, ", ".join(table.channels), fitted)
    return replace(table, shape=shape, native=tuple(header))


def with_channel_names(table: SiteTable, header: images.Header) -> SiteTable:
    """Return the table with a name for each channel."""
    return replace(table, channels=table.channels or tuple(f"Channel{n}" for n in range(1, header.channels + 1)))


def read_headers(table: SiteTable, world: World) -> images.Header:
    """Return the header that all sites share. A collective.

    Raises DataError, on all ranks alike, listing all files that cannot be used.
    """
    if in_memory.is_in_memory(table):
        return in_memory.array_header(table)
    if packed.is_packed(table):
        header, wrong = packed.inspect(table)
        if wrong_anywhere := sorted({line for lines in world.gather(wrong) for line in lines}):
            raise DataError(f"{len(wrong_anywhere)} things are wrong with the packed fields", wrong_anywhere)
        assert header is not None, "plate files differ, and no line says so"
        _refuse_copies(copies.find_copied_records(table) if world.rank == 0 else [], world)
        return header
    files = table.frame["files"].to_numpy()
    share = shard(files, rank=world.rank, size=world.size)
    inspected = [headers for part in world.gather(images.inspect(share)) for headers in part]
    header = images.agree(inspected, files_per_site=len(files[0]), channels=table.channels)
    sampled = [sample for part in world.gather(copies.sample_files(chain.from_iterable(share))) for sample in part]
    _refuse_copies(copies.find_copied_files(sampled) if world.rank == 0 else [], world)
    return header


def _refuse_copies(found: list[str], world: World) -> None:
    """Raise DataError on all ranks where rank 0 has found copies of images. A collective."""
    if anywhere := world.gather(found)[0]:
        raise DataError(f"{len(anywhere)} images are copies of others; find out which row each belongs to, or take their "
                        "rows out", anywhere)


def sample_digest(table: SiteTable) -> str:
    """Return a digest of the pixels, by which ranks find that they read other files: of a pack, the CRC-32s of all fields.

    Of image files it takes the first MiB of a few.
    """
    sha = hashlib.sha256()
    if packed.is_packed(table):
        sha.update(repr([(number, crc32) for _, number, crc32 in table.frame["record"]]).encode())
    elif not in_memory.is_in_memory(table):
        for site in evenly_spaced(len(table), SAMPLED).tolist():
            first = source_paths(table.files(site)[0])[0]
            if not os.path.isdir(first):  # an array of OME-Zarr
                with open(first, "rb") as file:
                    sha.update(file.read(2**20))
    return sha.hexdigest()[:16]


def fit_scale(table: SiteTable, sites: np.ndarray, settings: config.Data, world: World) -> Scale:
    """Measure the scale of intensities, the same to the last bit on all ranks and for any number of them. A collective.

    sites: of the training side.  Raises DataError on all ranks where images are damaged.
    """
    if settings.normalise == "field":
        return DatasetScale("field", (), ())
    if settings.normalise == "plate":
        return _measure_plates(table, sites, settings, world)
    chosen = sites[evenly_spaced(len(sites), settings.normalise_sites)]
    moments_SC3 = np.zeros((len(chosen), len(table.channels), 3))  # exact sums, placed by site: added in the table's order

    def add(position: int, site_CHW: np.ndarray) -> None:
        moments_SC3[position] = dataset_scale.moments(images.fit(site_CHW, settings.size()))

    _read_shares(table, [(site, partial(add, position)) for position, site in enumerate(chosen.tolist())], world)
    return DatasetScale("dataset", *dataset_scale.statistics(world.sum_array(moments_SC3)))


def measure_counts(table: SiteTable, sites: np.ndarray, world: World) -> CountsRecord:
    """Return the distribution of camera counts over a sample of the sites, the same on any number of ranks. A collective.

    Raises DataError on all ranks where images are damaged.
    """
    chosen = count_statistics.sample(sites)
    assert table.native is not None, "the files' headers have not been read"
    statistics_SCK = np.zeros((len(chosen), len(table.channels), len(count_statistics.QUANTITIES)))

    def add(position: int, site_CHW: np.ndarray) -> None:
        statistics_SCK[position] = count_statistics.field_statistics(site_CHW)

    _read_shares(table, [(site, partial(add, position)) for position, site in enumerate(chosen)], world)
    share = pixel_sizes(table, shard(chosen, rank=world.rank, size=world.size)).dropna().unique().tolist()
    sizes = {size for sizes in world.gather(share) for size in sizes}
    return count_statistics.summarise(world.sum_array(statistics_SCK), table.native[3], sizes)


def _measure_plates(table: SiteTable, sites: np.ndarray, settings: config.Data, world: World) -> Scale:
    """Measure the illumination and scale of each plate in its reference wells."""
    reference = reference_wells.reference_sites(table, np.isin(np.arange(len(table)), sites), settings.plate_reference,
                                                settings.plate_sites)
    for note in reference.notes():
        log.info("intensity: %s", note)
    assert table.native is not None, "the files' headers have not been read"
    channels, height, width, dtype = table.native
    sums = {plate: PlateSums.empty(len(positions), channels, (height, width), np.dtype(dtype))
            for plate, positions in reference.sites.items()}
    _read_shares(table, [(site, partial(sums[plate].add, slot=slot)) for plate, positions in reference.sites.items()
                         for slot, site in enumerate(positions.tolist())], world)
    sums = {plate: PlateSums.from_arrays([world.sum_array(array) for array in share.to_arrays()], share.size)
            for plate, share in sums.items()}
    method = Method(illumination=settings.plate_illumination, scaling=settings.plate_scaling,
                    transform=settings.plate_transform,
                    offset=None if settings.plate_camera_offset < 0 else settings.plate_camera_offset)
    scale = plate_scale.estimate(sums, method, reference_wells.describe(table, reference)) if world.rank == 0 else None
    return _broadcast(scale, world)


def _broadcast(scale: PlateScale | None, world: World) -> Scale:
    """Return the scale of rank 0 on all ranks: solvers may differ in the last bit from host to host."""
    record = scale.to_record() if scale else ScaleRecord({})
    forms = {name: (array.shape, array.dtype.str) for name, array in record.arrays.items()}
    facts, forms = world.gather([record.facts, forms])[0]
    arrays = {name: world.sum_array(record.arrays.get(name, np.zeros(shape))).astype(dtype)
              for name, (shape, dtype) in forms.items()}
    return scale_from_record(ScaleRecord(facts, arrays))


def _read_shares(table: SiteTable, sites: list[tuple[int, Callable[[np.ndarray], object]]], world: World) -> None:
    """Call each site's function with its pixels, on one rank a site. Raises DataError on all ranks for damaged images."""
    damaged = []
    for site, add in shard(sites, rank=world.rank, size=world.size):
        try:
            add(read_pixels(table, site))
        except ImageError as problem:
            damaged.append(problem.what)
    if damaged_anywhere := sorted(line for lines in world.gather(damaged) for line in lines):
        raise DataError(f"{len(damaged_anywhere)} images are damaged; replace them, or take their rows out",
                        damaged_anywhere)
