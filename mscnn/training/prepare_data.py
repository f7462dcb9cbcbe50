"""From the settings to a checked screen: table, headers, normalisation; every rank looks at its share of the files."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from mscnn.core import config
from mscnn.core.errors import DataError, ImageError
from mscnn.core.logs import log
from mscnn.data.pixels import dataset_scale, images, packed, plate_scale, reference_wells
from mscnn.data.pixels.dataset_scale import DatasetScale
from mscnn.data.pixels.illumination import Method
from mscnn.data.pixels.plate_scale import PlateScale
from mscnn.data.pixels.plate_sums import PlateSums
from mscnn.data.pixels.read_pixels import read_pixels
from mscnn.data.pixels.scale import Scale, scale_from_record
from mscnn.data.pixels.scale_record import ScaleRecord
from mscnn.data.read_screen import read_screen
from mscnn.data.tables.sampler import evenly_spaced, shard
from mscnn.data.tables.site_table import SiteTable
from mscnn.distributed.world import World
from mscnn.model import require_fitting_size


def load_labelled_sites(settings: config.Data) -> SiteTable:
    """The sites whose mechanism is known. Raises DataError where there are none."""
    table = read_screen(settings)
    labelled = table.labelled()
    unread = int((table.is_control() & (table.frame["mechanism"] == "")).sum())
    if unread and settings.normalise == "plate":
        raise DataError(f"{unread} sites of {table.control}, in which plates are measured, have no mechanism and would not "
                        f"be read; fill it in, for example with {table.control}")
    log.info("sites: %d, of which %d have a known mechanism", len(table), len(labelled))
    if len(labelled) == 0:
        raise DataError(f"{settings.packed or settings.bbbc021 or settings.sites}: no site has a known mechanism; fill in "
                        "that column, or name it with --columns mechanism=COLUMN")
    return labelled


def with_shape(table: SiteTable, size: tuple[int, int] | None, world: World) -> SiteTable:
    """The table with its channels named and its shape known, after a look at every file's header.

    size: crop or pad to (height, width), or None.  Raises DataError listing all files that cannot be used.
    """
    header = read_headers(table, world)
    shape = (header.channels, *(size or (header.height, header.width)))
    try:
        require_fitting_size(*shape[1:])
    except ValueError as problem:
        raise DataError(str(problem)) from None
    table = with_channel_names(table, header)
    fitted = f", fitted to {size[0]}x{size[1]}" if size else ""
    log.info("fields: %s, channels %s%s", header, ", ".join(table.channels), fitted)
    return replace(table, shape=shape, native=tuple(header))


def with_channel_names(table: SiteTable, header: images.Header) -> SiteTable:
    """The table with a name for each channel."""
    return replace(table, channels=table.channels or tuple(f"Channel{n}" for n in range(1, header.channels + 1)))


def read_headers(table: SiteTable, world: World) -> images.Header:
    """What all sites have in common. Raises DataError, on all ranks alike, listing all files that cannot be used."""
    if packed.is_packed(table):
        header, wrong = packed.inspect(table)
        if everywhere := sorted({what for part in world.gather(wrong) for what in part}):
            raise DataError(f"{len(everywhere)} things are wrong with the packed fields", everywhere)
        return header
    files = table.frame["files"].to_numpy()
    own = shard(np.arange(len(table)), rank=world.rank, size=world.size)
    found = [facts for part in world.gather(images.inspect(files[own])) for facts in part]
    return images.agree(found, files_per_site=len(files[0]), channels=table.channels)


def fit_scale(table: SiteTable, sites: np.ndarray, settings: config.Data, world: World) -> Scale:
    """What turns counts into the network's input, the same on all ranks to the last bit, for any number of them.

    sites: of the training side.  Raises DataError on all ranks for images that turn out damaged.
    """
    if settings.normalise == "field":
        return DatasetScale("field", (), ())
    if settings.normalise == "plate":
        return _measure_plates(table, sites, settings, world)
    chosen = sites[evenly_spaced(len(sites), settings.normalise_sites)]
    moments_SC3 = np.zeros((len(chosen), len(table.channels), 3))  # exact sums, placed by site: added in the table's order

    def add(position: int, site_CHW: np.ndarray) -> None:
        moments_SC3[position] = dataset_scale.moments(images.fit(site_CHW, settings.size()))

    _read_shares(table, [(site, partial(add, position)) for position, site in enumerate(chosen)], world)
    return DatasetScale("dataset", *dataset_scale.statistics(world.sum_array(moments_SC3)))


def _measure_plates(table: SiteTable, sites: np.ndarray, settings: config.Data, world: World) -> Scale:
    """Light and scale of each plate, from its untreated wells."""
    reference = reference_wells.reference_sites(table, np.isin(np.arange(len(table)), sites), settings.plate_reference,
                                          settings.plate_sites)
    for note in reference.notes():
        log.info("intensity: %s", note)
    channels, height, width, dtype = table.native
    sums = {plate: PlateSums.empty(len(own), channels, (height, width), dtype) for plate, own in reference.sites.items()}
    _read_shares(table, [(site, partial(sums[plate].add, slot=slot)) for plate, own in reference.sites.items()
                         for slot, site in enumerate(own)], world)
    for plate, own in sums.items():
        sums[plate] = PlateSums.from_arrays([world.sum_array(part) for part in own.to_arrays()], own.size)
    method = Method(illumination=settings.plate_illumination, scaling=settings.plate_scaling,
                                transform=settings.plate_transform,
                              offset=None if settings.plate_camera_offset < 0 else settings.plate_camera_offset)
    found = plate_scale.estimate(sums, method, reference_wells.describe(table, reference)) if world.rank == 0 else None
    return _of_rank_0(found, world)


def _of_rank_0(found: PlateScale | None, world: World) -> Scale:
    """What rank 0 found, on all ranks: solvers may differ in the last bit from host to host."""
    record = found.to_record() if found else ScaleRecord({})
    about = {name: (array.shape, array.dtype.str) for name, array in record.arrays.items()}
    facts, about = world.gather([record.facts, about])[0]
    return scale_from_record(ScaleRecord(facts, {
        name: world.sum_array(record.arrays.get(name, np.zeros(shape))).astype(dtype)
        for name, (shape, dtype) in about.items()}))


def _read_shares(table: SiteTable, wanted: list[tuple[int, Callable[[np.ndarray], object]]], world: World) -> None:
    """Each rank reads its share of the sites and hands on their pixels. Raises DataError on all of them for damage."""
    damaged = []
    for site, take in shard(wanted, rank=world.rank, size=world.size):
        try:
            take(read_pixels(table, site))
        except ImageError as problem:
            damaged.append(problem.what)
    if everywhere := sorted(what for part in world.gather(damaged) for what in part):
        raise DataError(f"{len(everywhere)} images are damaged; replace them, or take their rows out", everywhere)


def to_record(scale: Scale) -> dict[str, Any]:
    """As builtins and tensors, for a checkpoint."""
    record = scale.to_record()
    if not record.arrays:
        return record.facts
    facts = {name: value for name, value in record.facts.items() if name != "mode"}
    return {"mode": record.facts["mode"], "facts": facts,
            "arrays": {name: torch.from_numpy(array) for name, array in record.arrays.items()}}


def restore(record: dict[str, Any]) -> Scale:
    """The inverse of to_record."""
    if record["mode"] != "plate":
        return scale_from_record(ScaleRecord(record))
    return scale_from_record(ScaleRecord({"mode": "plate", **record["facts"]},
                                         {name: array.numpy() for name, array in record["arrays"].items()}))
