"""Files that are whole or not there.  Exercised by `pytest tests/test_packed.py tests/test_checkpoint.py`."""

import os
from pathlib import Path


def put(aside: Path, path: Path) -> None:
    """Flush a file that was written aside to the disk, then give it its name: readers see the old one or the new one."""
    with aside.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(aside, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
