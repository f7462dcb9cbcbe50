"""The image files that an index names: where they are among the files below its folder.

Exercised by `pytest tests/data/vendors/test_named_files.py`.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple
from urllib.parse import unquote

from mscnn.data.vendors.planes import Listing

LEAVES = "name files outside of the folder; copy the images beside their index"  # kind of a problem
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|/")  # of a drive, a URL, a server or the root


class Place(NamedTuple):
    """Where a file is that an index names."""

    path: str        # below the root of the listing; where it should be, if it is not there
    note: str = ""   # what follows "3 planes" if the path is not the one that the index names
    fault: str = ""  # why the name cannot be used; there is no path then


@dataclass(frozen=True)
class NamedFiles:
    """The files of an index."""

    listing: Listing
    folder: str                           # of the index, below the root of the listing; "" for the root
    suffixes: Sequence[str] = ()          # of copies: what else the name of an image may end with, as .png
    index_names: Collection[str] = ()     # of indexes, in lower case, if images may be in folders below the one named:
    # a folder that has an index of its own is not searched

    def place(self, name: str) -> Place:
        """Return where the file is that an index names. Names of Windows programs may differ in case from the file's."""
        plain = name.strip().replace("\\", "/")
        if _ABSOLUTE.match(plain):
            return self._moved(name, plain)
        parts = [part for part in plain.split("/") if part not in ("", ".")]
        if ".." in parts or not parts:
            return Place("", fault=f"{name} leaves the folder of the index")
        path = "/".join([*([self.folder] if self.folder else []), *parts])
        return self._there(path) or self._elsewhere(path) or Place(path)

    def _there(self, path: str) -> Place | None:
        """Return a path that is there, in this or another case, or with the escapes of a URL."""
        for spelling in (path, unquote(path)) if "%" in path else (path,):
            if (found := self._spelled(spelling)) is not None:
                return Place(found)
        return None

    def _elsewhere(self, path: str) -> Place | None:
        """Return the only copy with another suffix, or the only file of that name in a folder below."""
        stem = path.rpartition(".")[0]
        copies = {found for suffix in self.suffixes if (found := self._spelled(stem + suffix))}
        if stem and len(copies) == 1:
            return Place(copies.pop(), f"are {path.rpartition('.')[2]} files in the index and other files in the folder")
        below = self._below.get(path.rpartition("/")[2].lower(), []) if self.index_names else []
        return Place(below[0], "were found in folders below the one that the index names") if len(below) == 1 else None

    def _moved(self, name: str, plain: str) -> Place:
        """Return the file of an absolute name beside the index, where it is after the measurement was copied."""
        last = plain.rpartition("/")[2]
        path = f"{self.folder}/{last}" if self.folder else last
        found = (self._there(path) or self._elsewhere(path)) if last and last != ".." else None
        if found is None:
            return Place("", fault=f"{name} is an absolute name, and no file of that name is beside the index")
        return Place(found.path, "have absolute names in the index; the files of these names beside it are taken")

    @cached_property
    def _folders(self) -> dict[str, list[str]]:
        """{folder of the index, or below it: names of its files}."""
        start = f"{self.folder}/" if self.folder else ""
        return {folder: names for folder, names in self.listing.by_folder.items()
                if folder == self.folder or folder.startswith(start)}

    def _spelled(self, path: str) -> str | None:
        """Return the file of a path below the folder, in whatever case, None where there is none."""
        found = self.listing.spelled(path)
        return found if found in self.listing.known and (not self.folder or found.startswith(f"{self.folder}/")) else None

    @cached_property
    def _below(self) -> dict[str, list[str]]:
        """{name in lower case: its paths below the folder of the index}."""
        others = tuple(f"{folder}/" for folder, names in self._folders.items()
                       if folder != self.folder and any(name.lower() in self.index_names for name in names))
        found: dict[str, list[str]] = {}
        for folder, names in self._folders.items():
            if not f"{folder}/".startswith(others):
                for name in names:
                    found.setdefault(name.lower(), []).append(f"{folder}/{name}" if folder else name)
        return found
