"""Names of channels, as OME-Zarr and OME-XML give them.  Exercised by `pytest tests/data/vendors/test_ome_channels.py`."""

from collections import Counter
from collections.abc import Sequence


def channel_names(labels: Sequence[str], number: int) -> tuple[list[str], bool]:
    """Return the names of so many channels, and whether some labels were the same.

    A channel without a label gets its number, from 0.  Channels of one label get label and number: GFP 0, GFP 1.
    """
    names = [label.strip() or str(place) for place, label in enumerate([*labels, *[""] * number][:number])]
    counts = Counter(names)
    return [f"{name} {place}" if counts[name] > 1 else name for place, name in enumerate(names)], len(counts) < len(names)
