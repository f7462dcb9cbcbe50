"""Look for all that is wrong with a screen, its table and its images, before any job.

exit code 0: no problem was found, the plates are drawn, and the command that trains is named; 3: all problems are in
OUT/problems.csv, and summed up by kind and plate
"""

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mscnn.cli import parse
from mscnn.core import errors, field_size, files, paths
from mscnn.core.config import Data, Table
from mscnn.core.logs import log
from mscnn.core.settings import option, parse_size, setting
from mscnn.core.words import counted
from mscnn.distributed import cpu_topology

if TYPE_CHECKING:  # it takes long to load
    from mscnn.data.tables.site_table import SiteTable

MAPS = "plate,week,well,row,column,"  # the first columns of plate_maps.csv
QUALITY = "Metadata_Plate,Metadata_Well,Metadata_Site,"  # of quality.csv
IMAGE_SIZE = next(field for field in dataclasses.fields(Data) if field.name == "image_size")


@dataclass(frozen=True, kw_only=True)
class CheckSettings(Table):
    """Settings of `mscnn check`"""

    out: str = setting("check", "folder for problems.csv, or for plate_maps.png and .csv if there are no problems, and for "
                                "sections of MultiQC; the files of an earlier check are replaced", metavar="DIR",
                       written=True)
    quality: bool = setting(True, "measure focus, saturation, debris and cells of each field; quality.csv has flags")
    image_size: str = setting(IMAGE_SIZE.default, IMAGE_SIZE.metadata["help"], metavar=IMAGE_SIZE.metadata["metavar"])

    def __post_init__(self):
        super().__post_init__()
        if self.packed:
            raise errors.UsageError(f"--packed {self.packed}: check reads image files; use "
                                    f"`mscnn verify {self.packed}`")
        if (size := self.size()) and (reason := field_size.misfit(*size)):
            raise errors.UsageError(f"--image-size {self.image_size}: {reason}")

    def size(self) -> tuple[int, int] | None:
        """Return (height, width) in pixels, None for native."""
        return None if self.image_size == "native" else parse_size("image-size", self.image_size)


COMMAND = parse.Command("check", __doc__, CheckSettings)


def main(argv: list[str]) -> None:
    """Write all problems of a screen and raise DataError, or log a summary of it and draw its plates."""
    settings = COMMAND.read(argv)

    from mscnn.data.read_screen import source_of  # here, so that --help comes at once

    source = source_of(settings)
    with files.locked_folder(Path(settings.out)):
        _check(settings, source)


def _check(settings: CheckSettings, source: Path) -> None:
    """Replace the files of an earlier check by those of this one. Raises DataError for a screen with problems."""
    from mscnn.core import csv_safe  # here, so that --help comes at once
    from mscnn.core.optional_parts import OptionalParts
    from mscnn.data.check_screen import check_files, plate_maps, readers, size_problems, summary
    from mscnn.data.measure_quality import CSV, write_quality
    from mscnn.data.read_screen import read_screen
    from mscnn.data.tables.control import require_control
    from mscnn.data.tables.problem_summary import lines
    from mscnn.data.tables.problems import Problem, in_order, write_csv
    from mscnn.report import multiqc
    from mscnn.report.plates import draw

    out = Path(settings.out)
    if settings.leave_out and Path(settings.leave_out).resolve() == (out / CSV).resolve():
        raise errors.UsageError(f"--leave-out {settings.leave_out} would be written over; name another folder with --out")
    problems_csv, picture, maps_csv = _clear_outputs(out, source, (*multiqc.OF_CHECK, CSV))
    problems, parts = [], OptionalParts(f"the other results are whole in {out}")
    try:
        table = read_screen(settings, problems)
        require_control(table)
        with readers(cpu_topology.allowed_cores()) as processes:
            problems_of_files, site = check_files(table, source, processes)
            if settings.quality and site:
                with parts.part(CSV):
                    write_quality(table, processes, out / CSV)
    except errors.DataError as fatal:
        of_table = [Problem(None, str(source), line, "") for line in (fatal.what, *fatal.details)]
        write_csv([*problems, *of_table], problems_csv)
        multiqc.write_check(out, source, None, [*problems, of_table[0]])
        raise
    if problems := in_order(problems + problems_of_files + size_problems(site, settings.size(), source)):
        write_csv(problems, problems_csv)
        multiqc.write_check(out, source, table, problems)
        parts.log()
        for line in lines(problems, table.frame, source):
            log.warning("%s", line)
        shown = [problem for problem in problems if len(problems) <= errors.SHOWN or problem.row is None]
        raise errors.DataError(f"{source}: {counted(len(problems), 'problem')}, all listed in {problems_csv}; mend them, "
                               "check again", [problem.line(source) for problem in shown])
    assert site is not None, "files without a problem have a header"
    maps = plate_maps(table)
    csv_safe.write_csv(maps, maps_csv)
    draw(maps, table.control, picture)
    multiqc.write_check(out, source, table, [])
    log.info("%s\nno problems found; look at %s", summary(table, site), picture)
    _advise(settings, table)
    parts.finish()


def _advise(settings: CheckSettings, table: "SiteTable") -> None:
    """Log what to know of a screen without problems, and the command that trains on it with the same settings."""
    import numpy as np  # here, so that --help comes at once

    from mscnn.data.pixels.count_statistics import sample
    from mscnn.data.pixels.read_pixels import pixel_sizes
    from mscnn.data.tables.control import note_absence
    from mscnn.data.tables.pixel_size import mixed_pixel_sizes
    from mscnn.data.tables.replicates import site_numbers, why_no_contrast

    sizes = pixel_sizes(table, sample(np.arange(len(table))))
    no_contrast = why_no_contrast(*site_numbers(table), negatives="all")
    known = len(table.mechanisms())
    for note in (note_absence(table), mixed_pixel_sizes(sizes), no_contrast and f"the replicate contrast {no_contrast}",
                 known < 2 and f"{counted(known, 'mechanism')} known: features are learnt without, and predictions of "
                               "mechanisms need two"):
        if note:
            log.warning("%s", note)
    log.info("now run: %s", _train_command(settings) + (" --replicate-weight 0 --view-weight 1" if no_contrast else ""))


def _train_command(settings: CheckSettings) -> str:
    """Return the command that trains on the screen that was checked, with the same settings."""
    words = [parse.PROGRAM, "train", "screen"]
    for field in (*dataclasses.fields(Table), IMAGE_SIZE):
        if (value := getattr(settings, field.name)) != field.default:
            words += [f"--{option(field.name)}", "true" if value is True else str(value)]
    return shlex.join(words)


def _clear_outputs(out: Path, source: Path, sections: Sequence[str]) -> tuple[Path, Path, Path]:
    """Return the paths of problems.csv, plate_maps.png and plate_maps.csv, and remove the files of an earlier check.

    sections: names of files for MultiQC, which are removed too.
    """
    written = out / "problems.csv", out / "plate_maps.png", out / "plate_maps.csv"
    if source.resolve() in [path.resolve() for path in written]:
        raise errors.UsageError(f"--out {out} would write over {source}; name another folder")
    measured = out / "quality.csv"
    paths.require_own(out, [*(path.name for path in written[1:]), measured.name],
                      lambda folder: paths.starts_with(written[2], MAPS) and paths.starts_with(measured, QUALITY))
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path in (*written, *(out / name for name in sections)):
            path.unlink(missing_ok=True)
    except OSError as problem:
        raise errors.UsageError(f"--out {out} cannot be written to ({problem.strerror}); name another folder") from None
    return written
