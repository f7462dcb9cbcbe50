"""Check a screen: find all faults of its table and its files in one pass, or sum up what it holds.

`mscnn check` runs it; exercised by `pytest tests/data/test_check_screen.py`.  Shapes: C channels, H W pixels.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mscnn.core import field_size
from mscnn.core.errors import DataError, ImageError
from mscnn.core.logs import progress
from mscnn.core.process_pool import spawned_pool
from mscnn.core.units import MICROMOLAR
from mscnn.data.pixels import images
from mscnn.data.pixels.copies import pixel_digest
from mscnn.data.tables.image_source import show_source
from mscnn.data.tables.problems import Problem
from mscnn.data.tables.row_faults import FileUse, file_uses
from mscnn.data.tables.site_table import SiteTable, natural
from mscnn.data.tables.wells import well_place

SATURATED = 0.05  # share of a channel's pixels at its maximum from which on the camera was at its end
MISSING = "files are missing; name the folder they are in with --image-root, or go on with the rest by --available true"
MISFIT = "fields do not fit the network; crop or pad them by --image-size"
UNREADABLE = "files cannot be read; replace them, or take their rows out"
_CHUNK = 16  # files handed to a process at once
Each = Callable[[Callable[[Any], Any], Sequence[Any], str], Iterable[Any]]


class PlaneFacts(NamedTuple):
    """Facts about one channel's pixels."""

    digest: bytes  # SHA-256 of shape, type and pixels
    low: int       # least count
    high: int      # most
    share: float   # of the pixels at the maximum


@contextmanager
def readers(workers: int) -> Iterator[Each]:
    """Yield a function that maps over files, or sites, by processes, with a progress bar: each(function, paths, what).

    Results come in the order of the paths.  Raises DataError where a process was killed.
    """
    with spawned_pool(workers) as pool:
        def each(function: Callable[[Any], Any], paths: Sequence[Any], what: str) -> Iterator[Any]:
            done = 0
            with progress(len(paths), what, unit="file") as shown:
                try:
                    for result in pool.map(function, paths, chunksize=_CHUNK):
                        yield result
                        done += 1
                        shown.advance()
                except BrokenProcessPool:
                    near = list(map(str, paths[done:done + _CHUNK * (workers + 1)]))
                    raise DataError("a process was killed while it read one of these files, by the file or for want of "
                                    "memory; look at them, or free memory", near) from None

        yield each


def check_files(table: SiteTable, source: Path, each: Each) -> tuple[list[Problem], images.Header | None]:
    """Return the faults of a table's files, and the header of a site, its channels together, where files agree.

    All headers are read first; pixels only of files whose header is like that of most.  each: of `readers`.
    """
    uses: dict[str, FileUse] = {}
    for image, use in file_uses(table.frame):
        uses.setdefault(image, use)
    headers, problems = {}, []
    for image, facts in zip(uses, each(header_facts, list(uses), "headers"), strict=True):
        if len(facts) == 1:
            kind = MISSING if facts[0].endswith("missing") else UNREADABLE
            problems.append(Problem(uses[image].row, show_source(image), facts[0], kind))
        else:
            headers[image] = images.Header(*facts)
    if not headers:  # all are missing, or unreadable
        return problems, None
    common = Counter(headers.values()).most_common(1)[0][0]
    problems += [Problem(uses[image].row, show_source(image), f"{header}, most are {common}",
                         "files differ from most in size, type or channels; replace them, or take their rows out")
                 for image, header in headers.items() if header != common]
    site, fine = None, [image for image, header in headers.items() if header == common]
    try:
        site = images.agree([[fine[0], *common]], files_per_site=len(table.frame["files"].iloc[0]), channels=table.channels)
    except DataError as problem:
        problems.append(Problem(None, str(source), problem.what, "tables and files disagree about channels"))
    return problems + _check_pixels(table, {image: uses[image] for image in fine}, each), site


def _check_pixels(table: SiteTable, uses: dict[str, FileUse], each: Each) -> list[Problem]:
    """Return the files that cannot be decoded, and the channels that are constant, saturated, or copies of another."""
    problems: list[Problem] = []
    seen: dict[bytes, tuple[str, int]] = {}  # a digest each is all that grows with the number of images
    for image, facts in zip(uses, each(pixel_facts, list(uses), "pixels"), strict=True):
        if isinstance(facts, str):
            problems.append(Problem(uses[image].row, show_source(image), facts, UNREADABLE))
            continue
        for number, plane in enumerate(facts):
            channel = f"channel {number + 1} of {len(facts)}: " if len(facts) > 1 else ""
            other = seen.setdefault(plane.digest, (image, number))
            reason = kind = ""
            if plane.low == plane.high:
                reason, kind = f"empty: all pixels are {plane.low}", "images are empty; take their rows out"
            elif other != (image, number):
                reason = f"the same pixels as {show_source(other[0])}, {uses[other[0]].name(table.channels)}"
                reason += f", channel {other[1] + 1} of {len(facts)}" if channel else ""
                kind = "images are copies of another one; find out which row each belongs to"
            elif plane.share >= SATURATED:
                reason = f"saturated: {plane.share:.1%} of the pixels are at the maximum of {plane.high}"
                kind = "images are saturated; take their rows out"
            if reason:
                problems.append(Problem(uses[image].row, show_source(image), channel + reason, kind))
    return problems


def size_problems(site: images.Header | None, size: tuple[int, int] | None, source: Path) -> list[Problem]:
    """Return the fault of fields that the network does not take.  size: they are cropped or padded to; None: unchanged."""
    reason = field_size.misfit(site.height, site.width) if site and not size else ""
    return [Problem(None, str(source), reason, MISFIT)] if reason else []


def header_facts(image: str) -> list:
    """Return [channels, height, width, dtype] of an image source, or [reason] if it cannot be used."""
    return images.inspect([[image]])[0][1:]


def pixel_facts(image: str) -> list[PlaneFacts] | str:
    """Return the facts about each channel of an image source, or why it cannot be decoded."""
    try:
        return [plane_facts(plane) for plane in images.read_source(image)]
    except ImageError as problem:
        return problem.what.removeprefix(f"{image}: ")


def plane_facts(plane_HW: np.ndarray) -> PlaneFacts:
    """Return the facts about one channel."""
    low, high = int(plane_HW.min()), int(plane_HW.max())
    return PlaneFacts(pixel_digest(plane_HW), low, high, float(np.count_nonzero(plane_HW == high) / plane_HW.size))


def plate_maps(table: SiteTable) -> pd.DataFrame:
    """Return a row a well: plate, week, well, row and column from 0, compound, concentration, mechanism, fields.

    Fields is the number of fields of view.  All wells have been checked to be places on a plate.
    """
    wells = table.frame.groupby(["plate", "well"], sort=False)
    maps = wells[["week", "compound", "concentration", "mechanism"]].first().reset_index()
    maps["fields"] = wells.size().to_numpy()
    maps = maps.join(pd.DataFrame([well_place(well) for well in maps["well"]], columns=["row", "column"]))
    maps = maps.sort_values(["plate", "row", "column"], key=_natural_order, ignore_index=True)
    return maps[["plate", "week", "well", "row", "column", "compound", "concentration", "mechanism", "fields"]]


def summary(table: SiteTable, site: images.Header) -> str:
    """Return lines of text on what a screen holds; untreated wells are neither compounds nor treatments."""
    frame, files = table.frame, len(table.frame["files"].iloc[0])
    treated = frame[~table.is_control()]
    weeks = set(frame["week"]) - {""}
    doses = treated["concentration"].dropna()
    limits = " to ".join(dict.fromkeys(f"{dose:g}" for dose in (doses.min(), doses.max()))) if len(doses) else ""
    lines = [f"fields      {len(frame):,} of {site}, {len(frame) * files:,} images",
             f"plates      {frame['plate'].nunique():,}",
             f"weeks       {len(weeks) or 'not given'}",
             f"compounds   {treated['compound'].nunique():,} beside {table.control}",
             f"treatments  {len(treated.drop_duplicates(['compound', 'concentration'])):,}",
             f"doses       {f'{limits} {table.unit or MICROMOLAR}' if limits else 'not given'}",
             "images of each mechanism"]
    counts = frame["mechanism"].replace("", "not known").value_counts().sort_index()
    width = max(map(len, counts.index))
    return "\n".join([*lines, *(f"  {name:{width}}  {number * files:,}" for name, number in counts.items())])


def _natural_order(column: pd.Series) -> pd.Series:
    """Return sort keys of a column, under which Week2 comes before Week10."""
    if column.name != "plate":
        return column
    return column.map({plate: place for place, plate in enumerate(sorted(set(column), key=natural))})
