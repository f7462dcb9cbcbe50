"""Names of files as an index writes them -> files of a listing, and never out of its folder.

Exercised by `pytest tests/data/vendors/test_names_below.py`.
"""

import re
from urllib.parse import unquote, urlsplit

from mscnn.data.vendors.planes import Listing

LEAVES = "names in the index leave the folder; write them without `..`, drives and leading slashes"


class Finder:
    """Find names of an index among the files of a listing; what is looked up once for all files is kept."""

    def __init__(self, listing: Listing):
        self.listing = listing
        self._starts: dict[tuple[str, str], str] = {}  # (folder of the index, folder that it names): where a file of it is

    def below(self, folder: str, name: str) -> str | None:
        """Return the path of a name that is relative to a folder of the listing, None for a name that leaves it."""
        pieces = pieces_of(name)
        return None if pieces is None else self.listing.spelled("/".join([folder, *pieces] if folder else pieces))

    def tail(self, home: str, pieces: list[str]) -> str:
        """Return the file whose path is the longest tail of these names, below the root or below the folder of the index.

        home: folder of the index.  All files of one folder are expected where the first that is there was found: a file of
        the same name elsewhere is another plate's.  Where none is there yet, the path that is expected: in a folder of the
        listing where one fits, else in the last folder that the index names.
        """
        *folders, name = pieces
        key = (home, "/".join(folders))
        if (known := self._starts.get(key)) is not None:
            return self.listing.spelled(known + name)
        starts = list(dict.fromkeys([*_starts("", folders), *_starts(home, folders)]))
        for start in starts:
            if (path := self.listing.spelled(start + name)) in self.listing.known:
                self._starts[key] = start
                return path
        fitting = [start for start in starts[:-1] if start[:-1] in self.listing.by_folder]
        return (fitting[0] if fitting else f"{folders[-1]}/" if folders else "") + name


def pieces_of(name: str) -> list[str] | None:
    """Return the parts of a relative name written on any system, None for a name that is empty or leaves its folder."""
    if name.isprintable() and not re.search(r"[/\\:]", name):
        return [name] if name.strip() and name not in (".", "..") else None
    pieces = [piece for piece in re.split(r"[/\\]", name) if piece not in ("", ".")]
    is_outside = name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in pieces
    return None if is_outside or not pieces or not name.isprintable() else pieces


def pieces_of_place(place: str) -> list[str] | None:
    """Return the parts of a path or address of any machine, without drive, root and scheme; None where it has `..`.

    An address in the cloud (s3, gs, http, https) starts with its bucket or host.
    """
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):(?=/)", place)
    if scheme and scheme[1].lower() in ("file", "http", "https"):
        address = urlsplit(place) if "[" not in place and "]" not in place else None
        if address is None:
            return None
        place = unquote(f"{address.netloc}/{address.path}")
    elif scheme:
        place = place[scheme.end():]
    place = re.sub(r"^[A-Za-z]:", "", place.lstrip("/")) if re.match(r"/*[A-Za-z]:", place) else place
    pieces = [piece for piece in re.split(r"[/\\]", place) if piece not in ("", ".")]
    return None if ".." in pieces or not place.isprintable() else pieces


def _starts(home: str, folders: list[str]) -> list[str]:
    """Return home and each tail of these folders, longest first, with a slash behind."""
    tails = ["/".join(folders[start:]) for start in range(len(folders))] + [""]
    joined = ["/".join(part for part in (home, tail) if part) for tail in tails]
    return [f"{path}/" if path else "" for path in joined]
