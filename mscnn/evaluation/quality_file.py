"""quality.parquet: measures and flags of all fields that an evaluation read.   python evaluate.py --checkpoint RUN"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mscnn.core import activity, files
from mscnn.core.errors import DataError, ImageError
from mscnn.core.foreign_table import ForeignTable, read_parquet
from mscnn.core.logs import log, progress
from mscnn.data.leave_out import FLAGS
from mscnn.data.measure_quality import DESCRIBED, described, log_edges
from mscnn.data.pixels import handcrafted, quality
from mscnn.data.pixels.read_pixels import read_pixels
from mscnn.data.quality_flags import summary
from mscnn.data.tables.sampler import shard
from mscnn.data.tables.site_table import SiteTable
from mscnn.distributed.world import World
from mscnn.evaluation.results import QUALITY

REMEDY = "evaluate again"
DOSE = DESCRIBED["concentration"]
SITE = [DESCRIBED[role] for role in ("plate", "well", "site")]


def measure_sites(table: SiteTable, world: World) -> pd.DataFrame:
    """Return the measures of all sites, a row each, on all ranks; a collective.

    Ranks share out the sites.  Raises DataError on all ranks alike for images that are damaged.
    """
    nuclei, names = handcrafted.nuclei_of(table.channels), quality.columns(table.channels)
    share = shard(np.arange(len(table)), rank=world.rank, size=world.size)

    def of_site(site: int) -> list[float] | str:
        try:
            return quality.measure(read_pixels(table, site), nuclei=nuclei)
        except ImageError as problem:
            return problem.what

    measured_SD = np.zeros((len(table), len(names)))
    activity.set_activity("measuring the quality of fields")
    with (progress(len(table), "measuring quality", world.rank, unit="field") as bar,
          ThreadPoolExecutor(torch.get_num_threads()) as pool):
        found = []
        for result in pool.map(of_site, share.tolist()):
            activity.set_activity("measuring the quality of fields")  # from now on
            found.append(result)
            bar.advance(min(world.size, len(table) - bar.done))
    damaged = [result for result in found if isinstance(result, str)]
    if damaged_anywhere := sorted(line for lines in world.gather(damaged) for line in lines):
        raise DataError(f"{len(damaged_anywhere)} images are damaged; replace them, or take their rows out",
                        damaged_anywhere)
    for site, row in zip(share, found, strict=True):
        measured_SD[site] = row
    return pd.DataFrame(world.sum_array(measured_SD), columns=names)


def write(table: SiteTable, measures: pd.DataFrame, out: Path) -> None:
    """Write quality.parquet, whole or not at all, and log how many fields are flagged.

    measures: of measure_sites, of the same table.
    """
    frame, edges = described(table, measures)
    with files.write_atomically(out / QUALITY) as partial:
        frame.to_parquet(partial, index=False)
    log.info("quality: %s: %s", summary(frame[FLAGS]), out / QUALITY)
    log_edges(edges)


def read(folder: Path) -> pd.DataFrame | None:
    """Return quality.parquet of an evaluation, None where it has none. Raises DataError for a file that is not one.

    Columns: Metadata_Plate, Well, Site, Compound (text) and Concentration, Quality_* (numbers, NaN where not measured), and
    Flags ("" for none).
    """
    path = folder / QUALITY
    if not path.exists():
        return None
    found = read_parquet(path, REMEDY)
    found.require(*DESCRIBED.values(), quality.CELLS, FLAGS)
    numbers = [name for name in found.columns if name.startswith(quality.PREFIX)]
    texts = [*(name for name in DESCRIBED.values() if name != DOSE), FLAGS]
    return pd.DataFrame({name: _column(found, name, is_text=name in texts)
                         for name in (*DESCRIBED.values(), *numbers, FLAGS)})


def read_all(folders: Iterable[Path]) -> pd.DataFrame | None:
    """Return the fields of several evaluations of one screen, each field once; None where none has measured any."""
    found = [table for folder in folders if (table := read(folder)) is not None]
    if not found:
        return None
    return pd.concat(found, ignore_index=True).drop_duplicates(SITE, ignore_index=True)


def per_well(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row a plate and well, in the order of the fields, of a table that `read` returned.

    Columns: Metadata_Plate, Metadata_Well, Fields, Flagged_Fields, Cells (mean), and for each channel Focus_<channel>
    (median), Saturated_<channel> and Intensity_<channel> (means); Flags of any field, joined by ";".
    """
    wells = frame.groupby([DESCRIBED["plate"], DESCRIBED["well"]], sort=False)
    summed = {"Fields": wells.size(), "Flagged_Fields": wells[FLAGS].agg(lambda flags: int((flags != "").sum())),
              "Cells": wells[quality.CELLS].mean()}
    for name in channels_of(frame):
        for kind, rule in ((quality.FOCUS, "median"), (quality.SATURATED, "mean"), (quality.INTENSITY, "mean")):
            summed[f"{kind}_{name}"] = wells[quality.column(kind, name)].agg(rule)
    summed[FLAGS] = wells[FLAGS].agg(lambda flags: ";".join(dict.fromkeys(
        name for text in flags for name in text.split(";") if name)))
    return pd.DataFrame(summed).reset_index()


def channels_of(frame: pd.DataFrame) -> list[str]:
    """Return the names of the channels that were measured, in their order."""
    start = quality.column(quality.FOCUS, "")
    return [name.removeprefix(start) for name in frame if name.startswith(start)]


def _column(table: ForeignTable, name: str, *, is_text: bool) -> pd.Series:
    return table.text(name) if is_text else table.finite(name, or_missing=True)
