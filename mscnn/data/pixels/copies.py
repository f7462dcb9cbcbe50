"""Images that are copies of each other under two names: one content would be on both sides of a split.

A sample of each file, a few kilobytes, shows which may be alike; only their pixels are compared.
"""

import hashlib
import os
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

import numpy as np

from mscnn.core import activity
from mscnn.core.errors import ImageError
from mscnn.data.pixels import images, packed
from mscnn.data.tables.image_source import show_source, unpack_source
from mscnn.data.tables.site_table import SiteTable

Key = TypeVar("Key", bound=Hashable)
_SAMPLES, _BYTES = (0.3, 0.5, 0.7), 1024  # places in a file, and how much is read at each


def sample_files(sources: Iterable[str]) -> list[tuple[str, str]]:
    """Return each image source with a digest of its first file's size and samples.

    Files that cannot be opened, and arrays of OME-Zarr, are left out: `mscnn check` reads all pixels.  Planes of one file
    have marks of their own.
    """
    sampled = []
    for source in dict.fromkeys(sources):
        first = unpack_source(source).planes[0]
        try:
            with activity.during(f"reading a sample of {first.path}"), open(first.path, "rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                parts = [os.pread(file.fileno(), _BYTES, int(place * size)) for place in _SAMPLES]
        except OSError:
            continue
        mark = b"" if first.number is None else first.number.to_bytes(8)
        sampled.append((source, hashlib.blake2b(b"".join(parts) + size.to_bytes(8) + mark, digest_size=8).hexdigest()))
    return sampled


def find_copied_files(sampled: list[tuple[str, str]]) -> list[str]:
    """Return a line for each image source with the pixels of another.  sampled: by sample_files."""
    return [f"{show_source(source)}: the same pixels as {show_source(other)}"
            for source, other in _equal(sampled, images.read_source)]


def find_copied_records(table: SiteTable) -> list[str]:
    """Return a line for each packed site with the pixels of another."""
    marked = [(site, record[2]) for site, record in enumerate(table.frame["record"])]
    return [f"{table.name(site)}: the same pixels as {table.name(other)}"
            for site, other in _equal(marked, lambda site: packed.read_record(table, site))]


def _equal(marked: Iterable[tuple[Key, object]], read: Callable[[Key], np.ndarray]) -> list[tuple[Key, Key]]:
    """Return (later, first) of each pair with the same pixels.  marked: with what is equal where pixels are."""
    groups: dict[object, list[Key]] = {}
    for key, mark in marked:
        groups.setdefault(mark, []).append(key)
    pairs: list[tuple[Key, Key]] = []
    for group in groups.values():
        first: dict[bytes, Key] = {}
        for key in group if len(group) > 1 else ():
            try:
                other = first.setdefault(pixel_digest(read(key)), key)
            except ImageError:  # whoever reads it for its pixels reports it
                continue
            if other != key:
                pairs.append((key, other))
    return pairs


def pixel_digest(pixels_CHW: np.ndarray) -> bytes:
    """Return the SHA-256 of shape, type and pixels of a field, or of one channel (H, W)."""
    digest = hashlib.sha256(repr((pixels_CHW.shape, str(pixels_CHW.dtype))).encode())
    digest.update(np.ascontiguousarray(pixels_CHW).data)
    return digest.digest()
