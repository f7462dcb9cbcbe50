"""Folders `TimePoint_1/ZStep_2` below the folder of a plate, as MetaXpress makes them.

Exercised by `pytest tests/data/vendors/test_tree_places.py`.
"""

import re
from typing import NamedTuple

_BELOW_PLATE = re.compile(r"(?:(?:^|/)TimePoint_(?P<time>[0-9]{1,9}))?(?:(?:^|/)ZStep_(?P<z>[0-9]{1,9}))?$", re.IGNORECASE)


class TreePlace(NamedTuple):
    """What the path of a folder tells."""

    plate: str        # folder of the plate
    time: int | None  # number of the time point, None without such a folder
    z: int | None     # number of the focal plane, 0 the projection; None without such a folder


def tree_place(folder: str) -> TreePlace:
    """Return the plate's folder, the time point and the focal plane of a folder with forward slashes."""
    match = _BELOW_PLATE.search(folder)
    assert match, "the pattern may be empty"
    time, z = match["time"], match["z"]
    return TreePlace(folder[:match.start()], None if time is None else int(time), None if z is None else int(z))
