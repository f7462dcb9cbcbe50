"""Time `mscnn table` on a large plate of empty files, by format of its index.  Exercised by `mscnn bench table`."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mscnn.bench.settings import TableSettings
from mscnn.core.errors import DataError
from mscnn.data.tables.wells import well_name

ROWS, COLUMNS = 16, 24  # a plate of 384 wells
SCHEMA = 'xmlns:bts="http://www.yokogawa.co.jp/BTS/BTSSchema/1.0"'
FACTS = "".join(f"<{name}>1.9E-07</{name}>" for name in (  # as many facts of each image as Harmony writes
    "ImageType", "AcquisitionType", "IlluminationType", "ChannelType", "ImageSizeX", "ImageSizeY", "BinningX", "BinningY",
    "MaxIntensity", "CameraType", "PositionX", "PositionY", "PositionZ", "AbsPositionZ", "MeasurementTimeOffset", "AbsTime",
    "MainExcitationWavelength", "MainEmissionWavelength", "ObjectiveMagnification", "ObjectiveNA", "ExposureTime",
    "OrientationMatrix"))


class Image(NamedTuple):
    """One image of the plate."""

    row: int      # from 0
    column: int   # from 0
    site: int     # from 1
    channel: int  # from 1


def measure(settings: TableSettings) -> dict[str, Any]:
    """Return seconds, processor seconds and the peak memory of `mscnn table` for each format."""
    images = [Image(row, column, site, channel) for row, column in np.ndindex(ROWS, COLUMNS)
              for site in range(1, settings.sites + 1) for channel in range(1, settings.channels + 1)]
    results: dict[str, Any] = {"planes": len(images)}
    with tempfile.TemporaryDirectory() as folder:
        for name, write in FORMATS.items():
            place = Path(folder) / name / "P1"
            place.mkdir(parents=True)
            write(place, images)
            runs = [_run(place.parent, Path(folder) / f"{name}-{number}.csv") for number in range(settings.repeats)]
            results[name] = {key: sorted(values) for key, values in zip(("seconds", "cpu", "mib"), zip(*runs, strict=True),
                                                                        strict=True)}
    return results


def table(results: dict[str, Any]) -> str:
    """Return the medians as text."""
    lines = [f"{results['planes']:,} planes of {ROWS * COLUMNS} wells", "format       seconds  processor s  MiB"]
    for name in FORMATS:
        middle = {key: values[len(values) // 2] for key, values in results[name].items()}
        lines.append(f"{name:11}  {middle['seconds']:7.2f}  {middle['cpu']:11.2f}  {middle['mib']:3.0f}")
    return "\n".join(lines)


def _run(place: Path, out: Path) -> tuple[float, float, float]:
    """Return seconds, processor seconds and peak MiB of one run. Raises DataError where it fails."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "mscnn", "table", str(place), "--out", str(out)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    said = process.stderr.read() if process.stderr else ""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise DataError(f"mscnn table failed on {place}: {said.strip()}")
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def _touch(folder: Path, names: Iterator[str]) -> list[str]:
    """Make an empty file of each name; return the names."""
    listed = list(names)
    for name in listed:
        (folder / name).touch()
    return listed


def _harmony(place: Path, images: list[Image]) -> None:
    names = _touch(place, (f"r{one.row + 1:02}c{one.column + 1:02}f{one.site:02}p01-ch{one.channel}sk1fk1fl1.tiff"
                           for one in images))
    entries = [f"<Image><State>Ok</State><URL>{name}</URL><Row>{one.row + 1}</Row><Col>{one.column + 1}</Col><FieldID>"
               f"{one.site}</FieldID><PlaneID>1</PlaneID><TimepointID>0</TimepointID><ChannelID>{one.channel}</ChannelID><ChannelName>"
               f"Stain {one.channel}</ChannelName>{FACTS}</Image>" for name, one in zip(names, images, strict=True)]
    (place / "Index.idx.xml").write_text(
        '<EvaluationInputData xmlns="http://www.perkinelmer.com/PEHH/HarmonyV5"><Plates><Plate><Name>P1</Name><PlateRows>'
        f"{ROWS}</PlateRows><PlateColumns>{COLUMNS}</PlateColumns></Plate></Plates><Images>{''.join(entries)}</Images>"
        "</EvaluationInputData>")


def _cellvoyager(place: Path, images: list[Image]) -> None:
    names = _touch(place, (f"P1_{well_name(one.row, one.column)}_T0001F{one.site:03}L01A01Z01C{one.channel:02}.tif"
                           for one in images))
    records = [f'<bts:MeasurementRecord bts:Type="IMG" bts:Column="{one.column + 1}" bts:Row="{one.row + 1}" bts:Z="0" '
               f'bts:TimePoint="1" bts:FieldIndex="{one.site}" bts:ZIndex="1" bts:TimelineIndex="1" bts:ActionIndex="1" '
               f'bts:Action="2D" bts:X="0" bts:Y="0" bts:Ch="{one.channel}">{name}</bts:MeasurementRecord>'
               for name, one in zip(names, images, strict=True)]
    (place / "MeasurementData.mlf").write_text(f"<bts:MeasurementData {SCHEMA}>{''.join(records)}</bts:MeasurementData>")
    (place / "MeasurementDetail.mrf").write_text(
        f'<bts:MeasurementDetail bts:Title="P1" bts:ColumnCount="{COLUMNS}" bts:RowCount="{ROWS}" {SCHEMA} />')


def _names(place: Path, images: list[Image]) -> None:
    _touch(place, (f"P1_{well_name(one.row, one.column)}_s{one.site}_w{one.channel}.tif" for one in images))


FORMATS: dict[str, Callable[[Path, list[Image]], None]] = {
    "harmony": _harmony, "cellvoyager": _cellvoyager, "names": _names}
