"""Look for all that is wrong with a screen, its table and its images, before any job.

exit code 0: no problem was found, and the plates are drawn; 3: all problems are in OUT/problems.csv
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mscnn.cli import parse
from mscnn.core import errors, files, paths
from mscnn.core.config import Table
from mscnn.core.logs import log
from mscnn.core.settings import setting
from mscnn.distributed import cpu_topology

MAPS = "plate,week,well,row,column,"  # the first columns of plate_maps.csv
QUALITY = "Metadata_Plate,Metadata_Well,Metadata_Site,"  # of quality.csv


@dataclass(frozen=True, kw_only=True)
class CheckSettings(Table):
    """Settings of `mscnn check`"""

    out: str = setting("check", "folder for problems.csv, or for plate_maps.png and .csv if there are no problems, and for "
                                "sections of MultiQC; the files of an earlier check are replaced", metavar="DIR",
                       written=True)
    quality: bool = setting(True, "measure focus, saturation, debris and cells of each field; quality.csv has flags")

    def __post_init__(self):
        super().__post_init__()
        if self.packed:
            raise errors.UsageError(f"--packed {self.packed}: check reads image files; use "
                                    f"`mscnn verify {self.packed}`")


COMMAND = parse.Command("check", __doc__, CheckSettings)


def main(argv: list[str]) -> None:
    """Write all problems of a screen and raise DataError, or log a summary of it and draw its plates."""
    settings = COMMAND.read(argv)

    from mscnn.data.tables.bbbc021 import find_csvs  # here, so that --help comes at once

    source = find_csvs(Path(settings.bbbc021))[0] if settings.bbbc021 else Path(settings.sites)
    with files.locked_folder(Path(settings.out)):
        _check(settings, source)


def _check(settings: CheckSettings, source: Path) -> None:
    """Replace the files of an earlier check by those of this one. Raises DataError for a screen with problems."""
    import numpy as np  # here, so that --help comes at once

    from mscnn.core import csv_safe  # here, so that --help comes at once
    from mscnn.core.field_size import misfit
    from mscnn.core.optional_parts import OptionalParts
    from mscnn.data.check_screen import check_files, plate_maps, readers, summary
    from mscnn.data.measure_quality import CSV, write_quality
    from mscnn.data.pixels.count_statistics import sample
    from mscnn.data.pixels.read_pixels import pixel_sizes
    from mscnn.data.read_screen import read_screen
    from mscnn.data.tables.control import note_absence, require_control
    from mscnn.data.tables.pixel_size import mixed_pixel_sizes
    from mscnn.data.tables.problems import Problem, count, in_order, write_csv
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
        lines = [Problem(None, str(source), line, "") for line in (fatal.what, *fatal.details)]
        write_csv([*problems, *lines], problems_csv)
        multiqc.write_check(out, source, None, [*problems, lines[0]])
        raise
    if problems := in_order(problems + problems_of_files):
        write_csv(problems, problems_csv)
        multiqc.write_check(out, source, table, problems)
        parts.log()
        for number_and_remedy in count(problems):
            log.warning("%s", number_and_remedy)
        raise errors.DataError(f"{source}: {len(problems)} problems, all listed in {problems_csv}; mend them, check again",
                               [problem.line(source) for problem in problems])
    maps = plate_maps(table)
    csv_safe.write_csv(maps, maps_csv)
    draw(maps, table.control, picture)
    multiqc.write_check(out, source, table, [])
    log.info("%s\nno problems found; look at %s", summary(table, site), picture)
    sizes = pixel_sizes(table, sample(np.arange(len(table))))
    for note in (note_absence(table), mixed_pixel_sizes(sizes), misfit(site.height, site.width)):
        if note:
            log.warning("%s", note)
    parts.finish()


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
