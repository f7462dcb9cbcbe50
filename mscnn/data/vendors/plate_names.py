"""Names of plates, where a microscope gives several plates one name.  Exercised by `pytest tests/data/vendors`."""

import posixpath
from collections import Counter
from collections.abc import Iterable

from mscnn.core import identity

PlateKey = tuple[str, str]  # folder of a plate, and its name in the files there; "" where the files have none


def own_or_folder_names(plates: Iterable[PlateKey]) -> dict[PlateKey, str]:
    """Return a name for each plate: its own, else that of its folder where other folders hold plates of its own name.

    Where a folder holds several such plates, both: `run 9987`.
    """
    keys = sorted(set(plates))
    own = Counter(identity.normal_form(name) for _, name in keys)
    of_folder = Counter(folder for folder, _ in keys)
    return {(folder, name): name if name and own[identity.normal_form(name)] == 1
            else f"{_last(folder)} {name}".strip() if of_folder[folder] > 1 else _last(folder) for folder, name in keys}


def unique_names(plates: Iterable[PlateKey]) -> dict[PlateKey, str]:
    """Return a name of its own for each plate, as own_or_folder_names does.

    Plates whose folders have one name too are told apart by the folders above: `week 1/run 9987`.
    """
    chosen = own_or_folder_names(plates)
    times = Counter(identity.normal_form(name) for name in chosen.values())
    clashing = [key for key, name in chosen.items() if times[identity.normal_form(name)] > 1]
    common = posixpath.commonpath([posixpath.dirname(folder) for folder, _ in clashing]) if clashing else ""
    apart = {key: f"{key[0].removeprefix(common).strip('/')} {key[1]}".strip() for key in clashing}
    return chosen | apart


def _last(folder: str) -> str:
    return folder.rstrip("/").rpartition("/")[2]
