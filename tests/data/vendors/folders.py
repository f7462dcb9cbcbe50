"""Folders of empty images for tests of readers, and what a reader finds in one."""

from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from mscnn.data.vendors.planes import PlaneIndex, ReadOptions, list_folder


def touch(folder: Path, files: Iterable[str]) -> Path:
    """Make empty files below a folder; return the folder."""
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return folder


def read_single_index(reader: ModuleType, folder: Path, **options) -> PlaneIndex:
    """Return what a reader reads of a folder with one index of its format."""
    listing = list_folder(folder)
    [index] = reader.find(listing)
    return reader.read(listing, index, ReadOptions(**options))
