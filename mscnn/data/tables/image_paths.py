"""Folders and file names of a table -> paths below the image root, and never out of it."""

import filecmp
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

import pandas as pd

from mscnn.data.tables.problems import Problem

OUTSIDE = "image names are empty or leave the image root; write them without `..`"
CONTROL = "image names hold a NUL or a line break; rename the files"
LINKS = ("image files are links that leave the image root; allow the folder that they lead to by --follow-links DIR, or "
         "copy the files")

OTHER_ROOT = "folders of images lie elsewhere on this machine; name one above all of them as --image-root"
OTHER_FILES = ("folders of images lie elsewhere on this machine, and files below the image root are others; name the right "
               "--image-root, or for changed copies correct the PathName_ columns")


class _Folder(NamedTuple):
    """A folder with image files."""

    path: str
    inside: bool           # below the image root, or a folder that links may lead to
    plain: frozenset[str]  # its files that are no links, as far as it can be listed


def resolve_image_paths(parts: Sequence[pd.DataFrame], image_root: Path, problems: list[Problem],
                        follow_links: Sequence[Path] = ()) -> list[tuple[str, ...]]:
    """Join folders and file names to paths below image_root, one tuple of files per row.

    parts: per channel a table of columns folder and name.  Tables keep the folders of the machine that wrote them, so
    the longest tail of a folder that exists below image_root is used (BBBC021: Week4/Week4_27481 -> Week4_27481).
    A name that is an absolute path below image_root is taken as it is.
    A name that would leave image_root, by `..` or by a symbolic link, or that cannot be a name becomes "", and a problem.
    follow_links: folders that links may lead to nevertheless, each resolved before it is compared.
    Folders are resolved and listed once each, which takes far fewer calls than resolving files.
    """
    allowed = tuple(dict.fromkeys(os.path.realpath(folder) for folder in (image_root, *follow_links)))
    starts = tuple(dict.fromkeys(os.path.join(place, "") for place in (os.path.abspath(image_root), allowed[0])))
    tails: dict[str, Path] = {}
    folders: dict[tuple[str, ...], _Folder] = {}
    columns = []
    for part in parts:
        paths = []
        for row, folder, name in zip(part.index, part["folder"], part["name"], strict=True):
            name = next((name.removeprefix(start) for start in starts if name.startswith(start)), name)
            pieces, fault = _pieces(name), _fault(folder, name)
            if fault:
                problems.append(Problem(row, name, f"{folder!r} {name!r} {fault[0]}", fault[1]))
                paths.append("")
                continue
            place = tails.get(folder) or _find_folder(image_root, _pieces(folder), pieces)
            if folder not in tails:
                if place.is_dir():  # else another of its files may tell where it is
                    tails[folder] = place
                if fault := _elsewhere(folder, pieces, place, allowed):
                    problems.append(Problem(row, name, f"{os.path.join(folder, *pieces)} {fault[0]}", fault[1]))
            key = (str(place), *pieces[:-1])
            if key not in folders:
                folders[key] = _open_folder(place.joinpath(*pieces[:-1]), allowed)
            path = os.path.join(folders[key].path, pieces[-1])
            if not folders[key].inside or (pieces[-1] not in folders[key].plain and not _inside(path, allowed)):
                problems.append(Problem(row, path, f"a link to {os.path.realpath(path)}, outside of the image root"
                                        + (" and of --follow-links" if follow_links else ""), LINKS))
                path = ""
            paths.append(path)
        columns.append(paths)
    return list(zip(*columns, strict=True))


def _fault(folder: str, name: str) -> tuple[str, str] | None:
    """Return why a name cannot be used, and the kind of problem; None where it can."""
    if any(letter in folder or letter in name for letter in "\0\n\r"):
        return "holds a NUL or a line break", CONTROL
    if not name.strip() or not _pieces(name):
        return "is empty", OUTSIDE
    if ".." in folder + name and ".." in (*_pieces(folder), *_pieces(name)):
        return "leaves the image root", OUTSIDE
    return None


def _find_folder(root: Path, folder: list[str], name: list[str]) -> Path:
    """Return the first of root/a/b/c, root/b/c, root/c that exists; root if the file lies there; else root/a/b/c."""
    tails = [root.joinpath(*folder[start:]) for start in range(len(folder))]
    if existing := [tail for tail in tails if tail.is_dir()]:
        return existing[0]
    return root if not tails or root.joinpath(*name).is_file() else tails[0]


def _elsewhere(folder: str, name: list[str], place: Path, allowed: Sequence[str]) -> tuple[str, str] | None:
    """Return why a folder that is on this machine, as the table names it, must not be looked for below the image root.

    A copy of its files may be read in its place.  Files of one name but other content would be those of another plate.
    """
    original, found = os.path.join(folder, *name), place.joinpath(*name)
    if not os.path.isabs(folder) or not os.path.isfile(original) or _inside(original, allowed):
        return None
    if not found.is_file():
        return "is there, and not below the image root", OTHER_ROOT
    is_copy = filecmp.cmp(original, found, shallow=False)
    return None if is_copy else (f"is there, and another file than {found}", OTHER_FILES)


def _open_folder(path: Path, allowed: Sequence[str]) -> _Folder:
    if not _inside(str(path), allowed):
        return _Folder(str(path), False, frozenset())
    try:
        with os.scandir(path) as entries:
            return _Folder(str(path), True, frozenset(entry.name for entry in entries if not entry.is_symlink()))
    except OSError:  # missing, or closed to listing: each file is resolved then
        return _Folder(str(path), True, frozenset())


def _inside(path: str, allowed: Sequence[str]) -> bool:
    """Return whether a path is below one of these folders once all links are followed."""
    place = os.path.realpath(path)
    return any(os.path.commonpath([place, folder]) == folder for folder in allowed)


def _pieces(path: str) -> list[str]:
    """Return the parts of a path written on any system, without drive and root."""
    if "/" not in path and "\\" not in path and ":" not in path:  # a plain name, as most are
        return [path] if path not in ("", ".") else []
    pure = PureWindowsPath(path) if "\\" in path or re.match(r"[A-Za-z]:", path) else PurePosixPath(path)
    return [piece for piece in pure.parts if piece not in (pure.anchor, ".")]
