"""Time `mscnn report` on a large screen that is drawn.   mscnn bench report

Measured: seconds, processor seconds and peak memory of the command, and the size of the page.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mscnn.bench.drawn_evaluation import DrawnScreen, draw
from mscnn.bench.settings import ReportSettings
from mscnn.core.errors import DataError

FEATURES, CONTROLS = 512, 12  # of a profile; control wells are a twelfth of a plate


def measure(settings: ReportSettings) -> dict[str, Any]:
    """Return sorted seconds, processor seconds and MiB of each report, and bytes of the page. Raises DataError."""
    screen = DrawnScreen(plates=settings.plates, wells=settings.wells, compounds=settings.compounds,
                         mechanisms=settings.mechanisms, controls=settings.wells // CONTROLS, features=FEATURES)
    with tempfile.TemporaryDirectory() as folder:
        out = draw(screen, Path(folder) / "drawn")
        runs = [_run(out) for _ in range(settings.repeats)]
        size = (out / "report.html").stat().st_size
    return {"plates": screen.plates, "wells": screen.wells, "compounds": screen.compounds, "bytes": size,
            **{key: sorted(values) for key, values in zip(("seconds", "cpu", "mib"), zip(*runs, strict=True), strict=True)}}


def table(results: dict[str, Any]) -> str:
    """Return the medians as text."""
    seconds, cpu, mib = (results[key][len(results[key]) // 2] for key in ("seconds", "cpu", "mib"))
    return (f"{results['plates']} plates of {results['wells']} wells, {results['compounds']:,} compounds\n"
            f"seconds  processor s  MiB  page, MB\n{seconds:7.1f}  {cpu:11.1f}  {mib:3.0f}  {results['bytes'] / 1e6:8.1f}")


def _run(folder: Path) -> tuple[float, float, float]:
    """Return seconds, processor seconds and peak MiB of a report. Raises DataError where it fails."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "mscnn", "report", str(folder)], stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise DataError(f"mscnn report {folder} failed with exit code {process.returncode}; run it by itself")
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
