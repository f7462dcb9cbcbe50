"""From the settings to a checked screen: table, headers, normalisation; every rank looks at its share of the files.

Exercised by `pytest tests/test_screen.py`.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from mscnn import config
from mscnn.data import bbbc021, images, normalise, packed
from mscnn.data.sampler import shard
from mscnn.data.tables import SiteTable, parse_columns, read_sites
from mscnn.errors import DataError, ImageError
from mscnn.log import log
from mscnn.model import require_fitting_size
from mscnn.world import World


def read_table(settings: config.Table) -> SiteTable:
    """All sites of the screen that the settings name, with or without a known mechanism."""
    root = Path(settings.image_root) if settings.image_root else None
    if settings.packed:
        table = packed.read_packed(Path(settings.packed), settings.control)
        keep = kind(settings) != "bbbc021" or settings.taxol_controls == "keep"
        return table if keep else table.select(~bbbc021.is_taxol_control(table.frame).to_numpy())
    if settings.bbbc021:
        image_csv, moa_csv = bbbc021.find_csvs(Path(settings.bbbc021))
        return bbbc021.read_bbbc021(image_csv, moa_csv, image_root=root, taxol_controls=settings.taxol_controls)
    channels = tuple(name.strip() for name in (settings.channels or "").split(",") if name.strip())
    return read_sites(Path(settings.sites), image_root=root, channels=channels, columns=parse_columns(settings.columns),
                      control=settings.control)


def kind(settings: config.Table) -> str:
    """What the screen was written as: bbbc021 or sites."""
    if settings.packed:
        return packed.describe(Path(settings.packed))["screen"]
    return "bbbc021" if settings.bbbc021 else "sites"


def read_labelled(settings: config.Table) -> SiteTable:
    """The sites whose mechanism is known. Raises DataError where there are none."""
    table = read_table(settings)
    labelled = table.labelled()
    log.info("sites: %d, of which %d have a known mechanism", len(table), len(labelled))
    if len(labelled) == 0:
        raise DataError(f"{settings.packed or settings.bbbc021 or settings.sites}: no site has a known mechanism; fill in "
                        "that column, or name it with --columns mechanism=COLUMN")
    return labelled


def check(table: SiteTable, size: tuple[int, int] | None, world: World) -> SiteTable:
    """The table with its channels named and its shape known, after a look at every file's header.

    size: crop or pad to (height, width), or None.  Raises DataError listing all files that cannot be used.
    """
    header = inspect(table, world)
    shape = (header.channels, *(size or (header.height, header.width)))
    try:
        require_fitting_size(*shape[1:])
    except ValueError as problem:
        raise DataError(str(problem)) from None
    table = named(table, header)
    fitted = f", fitted to {size[0]}x{size[1]}" if size else ""
    log.info("fields: %s, channels %s%s", header, ", ".join(table.channels), fitted)
    return replace(table, shape=shape)


def named(table: SiteTable, header: images.Header) -> SiteTable:
    """The table with a name for each channel."""
    return replace(table, channels=table.channels or tuple(f"Channel{n}" for n in range(1, header.channels + 1)))


def inspect(table: SiteTable, world: World) -> images.Header:
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


def measure(table: SiteTable, sites: np.ndarray, settings: config.Data, world: World) -> normalise.Normalisation:
    """Mean and sd of each channel over the given sites (at most normalise_sites of them), the same on all ranks.

    Each site's exact sums are placed by site and then added in the table's order, so that the result is the same to
    the last bit for any number of ranks.  Raises DataError on all ranks for images that turn out damaged.
    """
    if settings.normalise == "field":
        return normalise.Normalisation("field", (), ())
    chosen = sites[normalise.sample(len(sites), settings.normalise_sites)]
    moments_SC3, damaged = np.zeros((len(chosen), len(table.channels), 3)), []
    for position in shard(np.arange(len(chosen)), rank=world.rank, size=world.size):
        try:
            site = packed.pixels(table, chosen[position])
            moments_SC3[position] = normalise.moments(images.fit(site, settings.size()))
            packed.let_go(table, chosen[position])
        except ImageError as problem:
            damaged.append(problem.what)
    if everywhere := sorted(what for part in world.gather(damaged) for what in part):
        raise DataError(f"{len(everywhere)} images are damaged; replace them, or take their rows out", everywhere)
    mean, sd = normalise.statistics(world.sum_array(moments_SC3))
    return normalise.Normalisation("dataset", mean, sd)
