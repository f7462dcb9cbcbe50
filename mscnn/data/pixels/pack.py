"""Write packed fields (packed.py) plate by plate, so that a run that was cut off resumes after the last whole plate.

Exercised by `mscnn pack`.  Shapes: C channels, H W pixels.
"""

import hashlib
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from mscnn.core.errors import DataError, ImageError, UsageError
from mscnn.core.files import LOCK, PARTIAL, write_atomically, write_json
from mscnn.data.pixels import plate_file
from mscnn.data.pixels.images import Header
from mscnn.data.pixels.packed import DESCRIPTION, INDEX, PackDescription, describe
from mscnn.data.pixels.plate_file import PAGE
from mscnn.data.pixels.prefetch import prefetch
from mscnn.data.pixels.read_pixels import read_pixels
from mscnn.data.tables.image_source import show_source, source_paths, without_folders
from mscnn.data.tables.pixel_size import PIXEL_SIZE
from mscnn.data.tables.site_table import METADATA, SiteTable, natural

FIELD = ("plate", "well", "site")                               # columns that name a field
OPTIONS = ("control", "channels", "screen", "shape", "dtype", "downscale")  # entries of pack.json


def pack(table: SiteTable, header: Header, out: Path, *, screen: str, blocks: tuple[int, int] = (1, 1), workers: int = 1,
         overwrite: bool = True, advance: Callable[[int], object] = lambda number: None) -> int:
    """Write a folder of packed fields; return how many plates were there already.

    header: of every site; screen: "bbbc021" or "sites", the reader of the table; blocks: height and width of the
    blocks of pixels that are averaged to one; workers: threads that decode; overwrite: replace a pack of other options or
    fields; advance: called with the number of sites done.
    Raises UsageError for an unfit folder, a pack of other options, or too little room.  Raises DataError listing damaged
    images, after all plates without one are written.
    """
    shape, downscale = _shape(header, blocks), blocks_text(blocks)
    plates = sorted(set(table.frame["plate"]), key=natural)
    files = {plate: f"plate-{number:04}.fields" for number, plate in enumerate(plates, 1)}
    description = PackDescription(
        control=table.control, channels=list(table.channels), screen=screen, shape=list(shape), dtype=header.dtype,
        downscale=downscale, sites=len(table), plates=dict(sorted((name, plate) for plate, name in files.items())),
        index_sha256="", unit=table.unit, notes=list(table.notes))
    ours = _ours(out)
    if not overwrite and (differences := _differences(out, description, table)):
        raise UsageError(f"{out} holds a pack made with {'; '.join(differences)}; name another folder with --out, give the "
                         "same options, or say --overwrite true")
    _make(out, ours, set(files.values()))
    index, damaged, kept = [], [], 0
    for plate, name in files.items():
        sites = np.flatnonzero(table.frame["plate"] == plate)
        rows = table.frame.iloc[sites].assign(file=name)
        source = _source(rows, shape, header.dtype, downscale)
        if (crc32s := _written(out / name, source)) is not None:
            kept += 1
            advance(len(rows))
        else:
            _require_room(out, PAGE + len(rows) * plate_file.stride(*shape, header.dtype))
            decode = (partial(_decoded, table, site, blocks) for site in sites.tolist())
            try:
                with closing(prefetch(decode, workers=workers)) as decoded:
                    crc32s = _write_plate(out / name, decoded, len(rows), shape, header.dtype, source, advance)
            except ImageError as problem:
                damaged.append(str(problem))
                continue
        index.append(rows.assign(record=range(len(rows)), crc32=np.array(crc32s)))
    if damaged:
        raise DataError(f"{len(damaged)} plates hold damaged images; replace them, or take their rows out, and run the "
                        "same command again: the other plates are kept", damaged)
    write_json(out / DESCRIPTION, replace(description, index_sha256=_write_index(out, index)).to_json())
    return kept


def blocks_text(blocks: tuple[int, int]) -> int | str:
    """Return blocks of pixels as pack.json has them: the side of squares, or "4x5", height first."""
    return blocks[0] if blocks[0] == blocks[1] else f"{blocks[0]}x{blocks[1]}"


def _shape(header: Header, blocks: tuple[int, int]) -> tuple[int, int, int]:
    """Return channels, height and width of a record. Raises UsageError where blocks do not fill the field."""
    if header.height % blocks[0] or header.width % blocks[1]:
        raise UsageError(f"downscale must divide both sides of a field, {header.height}x{header.width}, got "
                         f"{blocks_text(blocks)}")
    return header.channels, header.height // blocks[0], header.width // blocks[1]


def _ours(out: Path) -> set[str]:
    """Return the names of all files in the folder, which are those of a pack. Raises UsageError for any other file."""
    names = {LOCK, *(name + ending for name in (DESCRIPTION, INDEX) for ending in ("", PARTIAL))}
    names |= {path.name for path in out.glob("plate-*.fields*")}
    try:
        foreign = sorted({path.name for path in out.iterdir()} - names) if out.exists() else []
    except OSError as problem:
        raise UsageError(f"{out} cannot be read ({problem.strerror}); name another folder with --out") from None
    if foreign:
        raise UsageError(f"{out} holds {foreign[0]}, which is no part of a pack; name a new folder with --out")
    return names - {LOCK}


def _differences(out: Path, new: PackDescription, table: SiteTable) -> list[str]:
    """Return what would be lost of the pack that is in the folder: options that differ, and fields that it alone has."""
    if not (out / DESCRIPTION).exists():
        return _unlike_plates(out, new)
    try:
        old = describe(out)
        index = pd.read_parquet(out / INDEX, columns=list(FIELD))
    except (DataError, OSError, ValueError):  # damaged: there is nothing to lose
        return []
    found = [f"{name} {getattr(old, name)!r}, now {getattr(new, name)!r}" for name in OPTIONS
             if getattr(old, name) != getattr(new, name)]
    fields = set(table.frame[list(FIELD)].itertuples(index=False, name=None))
    if lost := sorted(set(index.itertuples(index=False, name=None)) - fields):
        found.append(f"{len(lost)} fields that are not packed now, such as plate {lost[0][0]} well {lost[0][1]} site "
                     f"{lost[0][2]}")
    return found


def _unlike_plates(out: Path, new: PackDescription) -> list[str]:
    """Return how a plate of an unfinished pack differs in shape or type; [] where none does."""
    for path in sorted(out.glob("plate-*.fields")):
        try:
            plate = plate_file.PlateFile(path)
        except DataError:
            continue
        if (old := [*plate.shape, plate.dtype.name]) != (now := [*new.shape, new.dtype]):
            return [f"shape and type {old} ({path.name}), now {now}"]
    return []


def _make(out: Path, ours: set[str], files: set[str]) -> None:
    """Make the folder, or use one that holds a pack; remove files of that pack, `ours`, that the new one will not have."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / DESCRIPTION).unlink(missing_ok=True)  # until the end there is no pack
        for name in ours - files - {DESCRIPTION}:
            (out / name).unlink(missing_ok=True)
    except OSError as problem:
        raise UsageError(f"{out} cannot be written ({problem.strerror}); name another folder with --out") from None


def _require_room(out: Path, needed: int) -> None:
    """Raise UsageError unless so many bytes are free."""
    if (free := shutil.disk_usage(out).free) < needed:
        raise UsageError(f"{out}: {free / 2**30:.2f} GiB are free, the next plate takes {needed / 2**30:.2f}; make room, "
                         "or name another folder with --out, and run the same command again")


def _source(rows: pd.DataFrame, shape: tuple[int, int, int], dtype: str, downscale: int | str) -> str:
    """Return the SHA-256 of what a plate file is made from: a file made from the same need not be written again."""
    sha = hashlib.sha256(repr((plate_file.VERSION, shape, dtype, downscale)).encode())
    sha.update(rows[[*METADATA]].to_csv(index=False).encode())
    if "record" in rows:
        sha.update(repr([crc32 for _, _, crc32 in rows["record"]]).encode())
        return sha.hexdigest()
    for sources in rows["files"]:
        for source in sources:
            for path in _all_files(source):
                status = os.stat(path)
                sha.update(f"{Path(path).name}\n{status.st_size}\n{status.st_mtime_ns}\n".encode())
            if "\0" in source:
                sha.update(without_folders(source).encode())
    return sha.hexdigest()


def _all_files(source: str) -> Iterator[str]:
    """Yield the files that an image source is read from; of an array of OME-Zarr, all files below its folder."""
    for path in source_paths(source):
        if os.path.isdir(path):
            yield from (os.path.join(folder, name) for folder, _, names in sorted(os.walk(path)) for name in sorted(names))
        else:
            yield path


def _written(path: Path, source: str) -> np.ndarray | None:
    """Return the CRC-32s of a plate file made from the same source; None where it must be written."""
    if not path.exists():
        return None
    try:
        plate = plate_file.PlateFile(path)
    except DataError:  # damaged: it is replaced
        return None
    return plate.crc32s if plate.source == source else None


def _decoded(table: SiteTable, site: int, blocks: tuple[int, int]) -> np.ndarray:
    """Return the pixels (C, H, W) of a site, each the mean of a block, rounded."""
    site_CHW = read_pixels(table, site)
    if blocks == (1, 1):
        return site_CHW
    (channels, height, width), (tall, wide) = site_CHW.shape, blocks
    parts = site_CHW.reshape(channels, height // tall, tall, width // wide, wide)
    return np.rint(parts.mean(axis=(2, 4))).astype(site_CHW.dtype)


def _write_plate(path: Path, sites: Iterable[np.ndarray], records: int, shape: tuple[int, int, int], dtype: str,
                 source: str, advance: Callable[[int], object]) -> np.ndarray:
    """Write a plate file, whole or not at all; return the CRC-32s of its records. Raises UsageError."""
    crc32s, stride = np.zeros(records, np.uint32), plate_file.stride(*shape, dtype)
    try:
        with write_atomically(path) as partial, partial.open("wb") as file:
            file.seek(PAGE)
            for number, site_CHW in enumerate(sites):
                raw = np.ascontiguousarray(site_CHW, np.dtype(dtype).newbyteorder("<"))
                crc32s[number] = zlib.crc32(raw.data)
                file.write(raw.data)
                file.seek(PAGE + (number + 1) * stride)
                advance(1)
            file.write(crc32s.astype("<u4").tobytes())
            file.seek(0)
            file.write(plate_file.header_bytes(records, shape, dtype, source, crc32s))
    except OSError as problem:
        raise UsageError(f"{path} cannot be written ({problem.strerror}); make room, or name another folder with --out, "
                         "and run the same command again") from None
    return crc32s


def _write_index(out: Path, index: list[pd.DataFrame]) -> str:
    """Write the index in the order of the table; return its SHA-256."""
    rows = pd.concat(index).sort_index()
    rows = rows[[*METADATA, "files", "file", "record", "crc32", *({PIXEL_SIZE} & {*rows})]]
    rows["files"] = [[show_source(without_folders(source)) for source in sources] for sources in rows["files"]]
    with write_atomically(out / INDEX) as partial:
        rows.to_parquet(partial, index=False)
        return hashlib.sha256(partial.read_bytes()).hexdigest()
