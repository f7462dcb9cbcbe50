"""Write one HTML file of what runs predict for compounds they never saw, and how far to trust it."""

from dataclasses import dataclass
from pathlib import Path

from mscnn.cli import parse
from mscnn.cli.evaluate_first import evaluate_first
from mscnn.core import errors, files
from mscnn.core.logs import log
from mscnn.core.settings import REQUIRED, Settings, setting


@dataclass(frozen=True, kw_only=True)
class ReportSettings(Settings):
    """Settings of `mscnn report`"""

    runs: list[str] = setting(REQUIRED, "run directories, or folders of folds", positional=True,
                              metavar="DIR")
    out: str | None = setting(None, "HTML file; default: report.html in the first run", metavar="FILE", written=True)
    evaluate: bool = setting(True, "evaluate runs first that were trained and not evaluated yet, as `mscnn evaluate` does",
                             common=False)


COMMAND = parse.Command("report", __doc__, ReportSettings)


def main(argv: list[str]) -> None:
    """Write the report of runs."""
    settings = COMMAND.read(argv)
    runs = [Path(run) for run in settings.runs]
    for run in runs if settings.evaluate else ():
        evaluate_first(run)
    write_report(runs, Path(settings.out or runs[0] / "report.html"))


def write_report(runs: list[Path], out: Path) -> None:
    """Write the report of runs to an HTML file. Raises UsageError for a folder."""
    from mscnn.report import html, run  # here, so that --help comes at once

    if out.is_dir():
        raise errors.UsageError(f"--out {out} is a folder; name a file")
    if out.exists() and not any(mark in out.read_bytes() for mark in (b"Held-out compounds", b"mscnn")):
        raise errors.UsageError(f"--out {out} is no report of this program; name another file, or remove it")
    results = [run.read(path) for path in runs]
    files.make_output_folder(out.parent)
    size = html.write(results, out)
    log.info("report: %s (%.1f MB)", out, size / 1e6)
    if size > html.LIMIT:
        log.warning("%s is larger than 10 MB; report fewer runs at once", out)
