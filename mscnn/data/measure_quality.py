"""Measure the quality of a screen's fields, and write it as a table: a row a field.   mscnn check --sites CSV"""

from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from mscnn.core import csv_safe
from mscnn.core.errors import ImageError
from mscnn.core.logs import log
from mscnn.core.words import counted
from mscnn.data.check_screen import Each
from mscnn.data.leave_out import FLAGS
from mscnn.data.pixels import handcrafted, quality
from mscnn.data.pixels.images import read_site
from mscnn.data.plate_edges import PlateEdge
from mscnn.data.quality_flags import flag_fields, summary
from mscnn.data.tables.site_table import PUBLIC_NAMES, SiteTable

CSV = "quality.csv"
DESCRIBED = {role: PUBLIC_NAMES[role] for role in ("plate", "well", "site", "compound", "concentration")}


def measure_screen(table: SiteTable, each: Each) -> tuple[SiteTable, pd.DataFrame]:
    """Return the sites whose images can be read, and their measures, by the processes of check_screen.readers.

    Sites with another number of channels than most are left out.
    """
    nuclei = handcrafted.nuclei_of(table.channels)
    rows = list(each(partial(_of_files, nuclei=nuclei), [table.files(site) for site in range(len(table))], "quality"))
    lengths = Counter(len(row) for row in rows if row)
    usual = lengths.most_common(1)[0][0] if lengths else 0
    is_measured = np.array([len(row) == usual > 0 for row in rows], bool)
    names = table.channels or tuple(f"Channel{n}" for n in range(1, (usual - 1) // len(quality.KINDS) + 1))
    measures = pd.DataFrame([row for row in rows if len(row) == usual > 0], columns=quality.columns(names))
    measured = table.select(is_measured)
    return SiteTable(measured.frame, names, table.control), measures


def described(table: SiteTable, measures: pd.DataFrame) -> tuple[pd.DataFrame, tuple[PlateEdge, ...]]:
    """Return a row a field: Metadata_*, the measures and Flags; and the edge effects of the plates.

    measures: as in quality_flags.flag_fields.
    """
    found = flag_fields(table, measures)
    metadata = table.frame[[*DESCRIBED]].rename(columns=DESCRIBED)
    return pd.concat([metadata, measures, pd.Series(found.flags, name=FLAGS, dtype=object)], axis=1), found.edges


def write_quality(table: SiteTable, each: Each, path: Path) -> None:
    """Write quality.csv of the sites whose images can be read, and log a summary."""
    sites, measures = measure_screen(table, each)
    if not len(sites):
        return
    frame, edges = described(sites, measures)
    numbers = frame.columns.difference(list(DESCRIBED.values()))
    csv_safe.write_csv(frame.assign(**{name: frame[name].map(short) for name in numbers if name != FLAGS}), path)
    unread = len(table) - len(sites)
    log.info("quality: %s: %s%s", summary(frame[FLAGS]), path,
             f"; {counted(unread, 'field')} not measured, as no image can be read" if unread else "")
    log_edges(edges)
    if (frame[FLAGS] != "").any():
        log.info("look at the flagged fields; --leave-out %s leaves them out of training and scores", path)


def log_edges(edges: tuple[PlateEdge, ...]) -> None:
    """Log a warning for each plate whose rim differs from its inside, beyond chance and by much."""
    for edge in edges:
        if edge.is_large:
            log.warning("plate %s: edge effect: %s of %s wells on the rim is %.1f robust sds %s that within (p = %.3f)",
                        edge.plate, edge.measure.removeprefix(quality.PREFIX), edge.compared, abs(edge.difference),
                        "above" if edge.difference > 0 else "below", edge.p_value)


def short(number: float) -> float:
    """Return a number of six significant digits, as files of text hold it."""
    return float(f"{number:.6g}")


def _of_files(files: tuple[str, ...], nuclei: int | None) -> list[float]:
    """Return the measures of a site; none where its images cannot be read."""
    try:
        return quality.measure(read_site(files), nuclei=nuclei)
    except ImageError:
        return []
