"""One plane of a Zarr array in a local folder, of Zarr 2 or 3, sharded or not.

zarr is an optional dependency, which only these functions import.  Exercised by
`pytest tests/data/pixels/test_zarr_plane.py`.
"""

import itertools
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mscnn.core.errors import ImageError, UsageError
from mscnn.core.files import read_bytes

LARGEST_JSON = 2**22    # bytes of an array's metadata
MAX_SAMPLES = 2**28     # of a plane, as of an image file
MAX_PLANES = 2**32      # of an array
MAX_CHUNK = 2**30       # samples of a chunk: a few packed bytes stand for many
KINDS = "uif"           # of samples: integers and floats
# Codecs by name.  Others are refused unread: those of numcodecs include pickles, which run code.
_CODECS = {"bytes", "endian", "transpose", "sharding_indexed", "gzip", "zlib", "zstd", "blosc", "lz4", "bz2", "lzma",
           "crc32c", "crc32", "adler32", "fletcher32", "delta", "shuffle", "fixedscaleoffset", "quantize", "bitround",
           "astype"}


def read_zarr_header(path: str) -> tuple[int, int, str, int]:
    """Return height, width, type of samples and number of planes of an array, without decoding pixels.

    Raises ImageError naming path and reason, and UsageError where zarr is not installed.
    """
    array = _open(path)
    return (*array.shape[-2:], array.dtype.newbyteorder("=").name, math.prod(array.shape[:-2]))


def read_zarr_plane(path: str, number: int) -> np.ndarray:
    """Return the plane (H, W) of this number, from 0, over the axes before the last two in C order.

    Only the chunks of this plane are read.  Raises ImageError as `require_zarr_plane` does.
    """
    array = _open(path)
    place = _require_stored(array, path, number)
    stored = _stored(array, path, place)
    plane_HW = _decode(array, path, place)
    if not all(stored.values()):
        _refuse_a_hole(array, path, number, stored, plane_HW)
    return plane_HW


def require_zarr_plane(path: str, number: int) -> None:
    """Raise ImageError where an array lacks a plane, or where no chunk of the plane is in the folder.

    Zarr reads a chunk without a file as the fill value, and writers may leave out chunks that are all fill value.  A file
    that was not copied looks the same.  A plane without any chunk is refused: no camera makes it.  A plane that lacks
    some of its chunks is read where the fill value is 0, unless `read_zarr_plane` finds a chunk that is stored though it
    is all 0: a writer that stores such chunks has left out none.
    """
    _require_stored(_open(path), path, number)


def _open(path: str) -> Any:
    """Return the array of a folder, whose metadata name no codec that can run code."""
    try:
        import zarr
        from zarr.storage import LocalStore
    except ImportError:
        raise UsageError(f'{path}: OME-Zarr is read by zarr, which is not installed; pip install "mscnn[plates]"') from None
    version, facts = _metadata(path)
    if unknown := sorted(set(_codec_names(facts)) - _CODECS):
        raise ImageError(f"{path}: is packed by {', '.join(unknown)[:80]}, which mscnn does not read; write it anew with "
                         "blosc, zstd or gzip")
    try:
        array = zarr.open_array(LocalStore(path, read_only=True), mode="r", zarr_format=version)
    except (ValueError, TypeError, KeyError, AttributeError, OSError, ArithmeticError, ImportError) as problem:
        raise ImageError(f"{path}: its metadata cannot be used ({_line(problem)}); copy the folder again") from None
    _require_usable(array, path)
    return array


def _metadata(path: str) -> tuple[Any, dict[str, Any]]:
    """Return the version of Zarr and the metadata of an array."""
    for name, version in (("zarr.json", 3), (".zarray", 2)):
        file = Path(path, name)
        try:
            facts = json.loads(read_bytes(file, largest=LARGEST_JSON))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError) as problem:
            raise ImageError(f"{file}: cannot be read ({_line(problem)}); copy the folder again") from None
        if not isinstance(facts, dict) or (version == 3 and facts.get("node_type") != "array"):
            raise ImageError(f"{path}: holds a group, no array; name the folder of one level of an image")
        return version, facts
    missing = "holds no Zarr array" if os.path.isdir(path) else "missing"
    raise ImageError(f"{path}: {missing}")


def _codec_names(facts: Any) -> Iterator[str]:
    """Yield the names of all codecs and filters of an array's metadata, those within shards too."""
    for key in ("codecs", "filters", "compressor", "index_codecs"):
        found = facts.get(key) or ()
        for codec in found if isinstance(found, list | tuple) else [found]:
            if isinstance(codec, Mapping):
                yield str(codec.get("name", codec.get("id"))).lower().removeprefix("numcodecs.")
                inner = codec.get("configuration")
                yield from _codec_names(inner) if isinstance(inner, Mapping) else ()
            else:
                yield str(codec)
    if facts.get("storage_transformers"):
        yield "storage transformers"


def _require_usable(array: Any, path: str) -> None:
    """Raise ImageError for an array that is no stack of planes of numbers, or whose chunks fill any memory."""
    if array.dtype.kind not in KINDS:
        raise ImageError(f"{path}: {str(array.dtype)[:40]} samples; only integers and floats are read")
    if array.ndim < 2 or 0 in array.shape:
        raise ImageError(f"{path}: an array of shape {array.shape}, no planes of pixels")
    if (planes := math.prod(array.shape[:-2])) > MAX_PLANES:
        raise ImageError(f"{path}: promises {planes:,} planes, at most {MAX_PLANES:,} are read; copy the folder again")
    if (samples := math.prod(array.shape[-2:])) > MAX_SAMPLES:
        raise ImageError(f"{path}: promises {samples:,} samples a plane, at most {MAX_SAMPLES:,} are read; take a smaller "
                         "level")
    if 0 in array.chunks or math.prod(array.chunks) > MAX_CHUNK:
        raise ImageError(f"{path}: chunks of shape {array.chunks}; at most {MAX_CHUNK:,} samples a chunk are read")


def _require_stored(array: Any, path: str, number: int) -> tuple[int, ...]:
    """Return the place of a plane on the leading axes. Raises ImageError where it is not stored."""
    num_planes = math.prod(array.shape[:-2])
    if not 0 <= number < num_planes:
        raise ImageError(f"{path}: has no plane {number}, but {num_planes} planes, counted from 0")
    place = tuple(int(index) for index in np.unravel_index(number, array.shape[:-2])) if array.ndim > 2 else ()
    stored = _stored(array, path, place)
    if not any(stored.values()):
        raise ImageError(f"{path}: plane {number} is cut short: none of its {len(stored)} chunks is there; copy the folder "
                         "again, or take the site out of the table")
    if not all(stored.values()) and (array.fill_value is None or array.fill_value != 0):
        lost = sum(not there for there in stored.values())
        raise ImageError(f"{path}: plane {number} is cut short: {lost} of its {len(stored)} chunks are not there, and the "
                         f"fill value is {array.fill_value}; copy the folder again")
    return place


def _stored(array: Any, path: str, place: tuple[int, ...]) -> dict[tuple[int, ...], bool]:
    """Return {(row, column) of a chunk or shard of a plane: whether its file is there}."""
    sides = array.shards or array.chunks
    leading = [index // side for index, side in zip(place, sides, strict=False)]
    height, width = (-(-length // side) for length, side in zip(array.shape[-2:], sides[-2:], strict=True))
    spots = itertools.product(range(height), range(width))
    return {spot: os.path.isfile(os.path.join(path, array.metadata.encode_chunk_key((*leading, *spot)))) for spot in spots}


def _decode(array: Any, path: str, place: tuple[int, ...]) -> np.ndarray:
    try:
        plane_HW = np.asarray(array[(*place, slice(None), slice(None))])
    except Exception as problem:  # codecs raise many kinds; each means that this array cannot be used
        raise ImageError(f"{path}: plane at {place} is cut short or damaged ({_line(problem)}); copy the folder "
                         "again") from None
    return plane_HW.astype(plane_HW.dtype.newbyteorder("="), copy=False)


def _refuse_a_hole(array: Any, path: str, number: int, stored: dict[tuple[int, ...], bool], plane_HW: np.ndarray) -> None:
    """Raise ImageError where chunks are not there though the writer stores chunks that are all 0."""
    height, width = (array.shards or array.chunks)[-2:]
    for (row, column), there in stored.items():
        if there and not plane_HW[row * height:(row + 1) * height, column * width:(column + 1) * width].any():
            lost = sum(not other for other in stored.values())
            raise ImageError(f"{path}: plane {number} is cut short: {lost} of its {len(stored)} chunks are not there, "
                             "though its writer stores empty chunks; copy the folder again")


def _line(problem: BaseException) -> str:
    return " ".join(f"{type(problem).__name__}: {problem}".split())[:200]
