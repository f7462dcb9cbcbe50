"""What kind of file stands under the name of an image: told by its first bytes, whatever the name.

Exercised by `pytest tests/data/pixels/test_file_kinds.py`.
"""

import os
import stat

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF and BigTIFF in either byte order
_PACKED = (b"\x1f\x8b", b"PK\3\4", b"BZh")
_LFS = b"version https://git-lfs"


def is_tiff(path: str) -> bool:
    """Return whether the first bytes are those of a TIFF or BigTIFF in either byte order, whatever the name."""
    with open(path, "rb") as file:
        return file.read(4) in _TIFF


def require_regular(path: str) -> None:
    """Raise ValueError for a folder or a device."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for
        raise ValueError("not a regular file")


def require_contents(path: str) -> None:
    """Raise ValueError for a file that stands in place of an image, or holds one packed, naming what it is."""
    with open(path, "rb") as file:
        start = file.read(len(_LFS))
    if not start.strip(b"\0"):
        raise ValueError("empty, or starts with zeros alone; copy it again")
    if start == _LFS:
        raise ValueError("a pointer of Git LFS in place of the image; fetch it with `git lfs pull`")
    if start.startswith(_PACKED):
        raise ValueError("a packed file; unpack it")
