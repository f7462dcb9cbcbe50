"""Time the reading of fields by file format: fields per second of one rank, MiB on disk, MiB while reading.

Exercised by `mscnn bench loader`.
- The fields are synthetic: untreated cells with camera noise.  Counts are multiples of 16 up to 65520, as in BBBC021, and
  LZW compresses them as much as real fields.  Four are drawn, and written several times to separate files.
- Formats and stages take turns within one process, so that a drift of the machine's speed affects all alike.
- All files were written and read before the clock starts: they come from the page cache, and a disk can only be slower.
- Packed fields were compared with their CRC-32s then, as training does once, and need no decoding.
- tifffile decodes LZW in up to half of the allowed cores, whatever --threads says.  All else but flips and stacking uses
  one thread.

Shapes: N fields, C channels, H W pixels.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from mscnn.bench.settings import LoaderSettings
from mscnn.core import config, memory
from mscnn.core.process_pool import spawned_pool
from mscnn.core.settings import parse_size
from mscnn.data.pixels import dataset_scale
from mscnn.data.pixels.augment import Jitter
from mscnn.data.pixels.images import Header
from mscnn.data.pixels.pack import pack
from mscnn.data.pixels.packed import read_packed
from mscnn.data.pixels.read_pixels import read_pixels
from mscnn.data.pixels.reader import FieldReader
from mscnn.data.tables.sampler import microbatches
from mscnn.data.tables.site_table import METADATA, SiteTable
from mscnn.synthetic.plates import untreated, write_tiff

NUM_DRAWN = 4
TINY = 32           # pixels; reading a field of this size loads the libraries of a format
MICROBATCH = config.Optim().microbatch
JITTER = Jitter(flips=True, quarter_turns=True)             # the defaults of training
Files = list[tuple[str, ...]]                               # of each field, as in a site table


def measure(settings: LoaderSettings) -> dict[str, Any]:
    """Measure fields per second by format and stage, and MiB on disk and in memory."""
    height, width = parse_size("size", settings.size)
    drawn = [draw(site, settings.channels, height, width) for site in range(min(settings.fields, NUM_DRAWN))]
    fields_NCHW = [drawn[number % len(drawn)] for number in range(settings.fields)]
    results, readers = {}, {}
    with tempfile.TemporaryDirectory(prefix="mscnn-bench-") as folder:
        for name in settings.formats.split(","):
            whole, tiny = Path(folder) / name, Path(folder) / f"{name}-tiny"
            files = write(name, fields_NCHW, whole)
            readers[name] = reader(files)
            on_disk = sum(path.stat().st_size for path in whole.rglob("*"))
            in_memory = peak_in_new_process(
                readers[name], reader(write(name, [drawn[0][:, :TINY, :TINY]], tiny)), settings.keep_memory)
            results[name] = {"mib_per_field": on_disk / settings.fields / 2**20, "mib_while_reading": in_memory,
                             "fields_per_second": {stage: [] for stage in STAGES}}
        for fields in readers.values():
            flips(fields)
        for _ in range(settings.repeats):
            for name, fields in readers.items():
                for stage, read in STAGES.items():
                    results[name]["fields_per_second"][stage].append(rate(read, fields))
    return {"size": settings.size, "channels": settings.channels, "fields": settings.fields, "microbatch": MICROBATCH,
            "repeats": settings.repeats, "page_cache": "warm", "formats": results}


def table(results: dict[str, Any]) -> str:
    """Return a table of median, least and most fields per second, and the ratio to the first format."""
    lines = [f"{results['size']}, {results['channels']} channels, {results['fields']} fields, {results['microbatch']} at "
             f"once, read {results['repeats']} times in turn; page cache {results['page_cache']}",
             f"{'format':9} {'stage':24} {'fields/s':>9} {'least':>7} {'most':>7} {'ratio':>6} {'MiB/field on disk':>18} "
             f"{'MiB while reading':>18}"]
    first: dict[str, float] = {}
    for name, row in results["formats"].items():
        memory_text = "not known" if row["mib_while_reading"] is None else f"{row['mib_while_reading']:.0f}"
        stages = []
        for stage, rates in row["fields_per_second"].items():
            stages.append(stage)
            median = statistics.median(rates)
            lines.append(f"{name:9} {'+'.join(stages):24} {median:9.1f} {min(rates):7.1f} {max(rates):7.1f} "
                         f"{median / first.setdefault(stage, median):6.2f} {row['mib_per_field']:18.2f} {memory_text:>18}")
    return "\n".join(lines)


# ---- stages: each repeats the stages before it and adds one


def decode(fields: FieldReader) -> int:
    """Read files to camera counts. Returns the number of fields read, as all stages do."""
    return len([read_pixels(fields.table, site).shape for site in range(len(fields.table))])


def normalised(fields: FieldReader) -> int:
    """Read files to microbatches of the network's input, as for prediction."""
    return sum(len(fields.read(sites)) for sites in microbatches(np.arange(len(fields.table)), MICROBATCH))


def flips(fields: FieldReader) -> int:
    """Read files to microbatches of the network's input, flipped and turned at random, as for training."""
    return sum(len(fields.read(sites, JITTER)) for sites in microbatches(np.arange(len(fields.table)), MICROBATCH))


STAGES: dict[str, Callable[[FieldReader], int]] = {"decode": decode, "normalise": normalised, "flips": flips}


def rate(read: Callable[[FieldReader], int], fields: FieldReader) -> float:
    """Return the fields per second of one reading of all fields."""
    started = time.perf_counter()
    number = read(fields)
    return number / (time.perf_counter() - started)


# ---- formats: each writes fields (C, H, W) to a folder and returns the files of each field


def draw(site: int, channels: int, height: int, width: int) -> np.ndarray:
    """Draw one field, (C, H, W) uint16 camera counts; channels beyond the third come from further fields."""
    drawn = [untreated(NUM_DRAWN * extra + site, height, width) for extra in range(-(-channels // 3))]
    return np.concatenate(drawn)[:channels]


def to_bytes(counts_CHW: np.ndarray) -> np.ndarray:
    """Convert counts to the 8 bits of many exported screens: stretch each channel, and clip its brightest thousandth."""
    white = np.quantile(counts_CHW, 0.999, axis=(1, 2), keepdims=True)
    return np.clip(np.round(counts_CHW * (255 / white)), 0, 255).astype(np.uint8)


def write(name: str, fields_NCHW: list[np.ndarray], folder: Path) -> Files | Path:
    """Write fields to a new folder in the format of this name. Returns their files, or the packed folder."""
    folder.mkdir()
    return FORMATS[name](fields_NCHW, folder)


def write_tiffs(fields_NCHW: list[np.ndarray], folder: Path, compression: str | None = None) -> Files:
    """Write 16-bit TIFFs, one file per channel."""
    files = _names(fields_NCHW, folder, "tif")
    for field, paths in zip(fields_NCHW, files, strict=True):
        for plane, path in zip(field, paths, strict=True):
            write_tiff(Path(path), plane, compression)
    return files


def write_pngs(fields_NCHW: list[np.ndarray], folder: Path, convert: Callable[[np.ndarray], np.ndarray]) -> Files:
    """Write grey PNGs, one file per channel, with the bit depth that convert returns."""
    files = _names(fields_NCHW, folder, "png")
    for field, paths in zip(fields_NCHW, files, strict=True):
        for plane, path in zip(convert(field), paths, strict=True):
            Image.fromarray(plane).save(path)
    return files


def write_packed(fields_NCHW: list[np.ndarray], folder: Path) -> Path:
    """Pack the fields as one plate, as `mscnn pack` does."""
    images, out = folder / "images", folder / "packed"
    images.mkdir()
    header = Header(*fields_NCHW[0].shape, fields_NCHW[0].dtype.name)
    pack(site_table(write_tiffs(fields_NCHW, images)), header, out, screen="sites")
    shutil.rmtree(images)
    return out


FORMATS: dict[str, Callable[[list[np.ndarray], Path], Files | Path]] = {
    "tiff": write_tiffs,
    "tiff-lzw": partial(write_tiffs, compression="lzw"),
    "png": partial(write_pngs, convert=to_bytes),
    "png16": partial(write_pngs, convert=np.asarray),
    "packed": write_packed,
}


def site_table(files: Files) -> SiteTable:
    """Return the table of sites of one plate, without any metadata."""
    one_well = dict.fromkeys(METADATA, "") | {"plate": "P1", "well": "A01", "compound": "DMSO", "concentration": np.nan}
    frame = pd.DataFrame({"files": files}).assign(**one_well)
    return SiteTable(frame.assign(site=[str(number) for number in range(1, len(files) + 1)]), channels=())


def reader(written: Files | Path) -> FieldReader:
    """Return the reader of these fields, as in training, with a scale by their own mean and standard deviation."""
    table = read_packed(written) if isinstance(written, Path) else site_table(written)
    moments = np.stack([dataset_scale.moments(read_pixels(table, site)) for site in range(len(table))])
    return FieldReader(table, dataset_scale.DatasetScale("dataset", *dataset_scale.statistics(moments)), size=None)


def _names(fields_NCHW: list[np.ndarray], folder: Path, ending: str) -> Files:
    return [tuple(str(folder / f"{number}-{channel}.{ending}") for channel in range(len(field)))
            for number, field in enumerate(fields_NCHW)]


# ---- memory


def peak_in_new_process(fields: FieldReader, tiny: FieldReader, keep_memory: bool) -> float | None:
    """Measure the peak memory of reading in a new process: memory kept from an earlier reading would hide it.

    Returns MiB above what the process holds after reading the tiny field; None without /proc.
    """
    with spawned_pool(1) as pool:
        return pool.submit(peak, fields, tiny, keep_memory).result()


def peak(fields: FieldReader, tiny: FieldReader, keep_memory: bool) -> float | None:
    """Measure the peak memory of reading in this process, in MiB above what it holds after reading the tiny field."""
    if keep_memory:
        memory.keep_memory()
    flips(tiny)
    before = _status_mib("VmRSS")
    flips(fields)
    after = _status_mib("VmHWM")
    return None if before is None or after is None else after - before


def _status_mib(entry: str) -> float | None:
    """Read an entry of /proc/self/status in MiB; the maximum of getrusage is inherited from the parent process."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(entry))
