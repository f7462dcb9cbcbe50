"""Of several time points and focal planes, those that a table is made of: always by the user's word.

Exercised by `pytest tests/data/vendors/test_choose.py`.
"""

import re

import pandas as pd

from mscnn.core.errors import UsageError

SITE = ["plate", "well", "site"]
CHANNEL = [*SITE, "channel"]
_SHOWN = 8


def choose_time(planes: pd.DataFrame, time: int | None) -> tuple[pd.DataFrame, str]:
    """Return the planes of one time point, and a line that says which; "" where there is one only.

    Raises UsageError where there are several and none is chosen, or where a channel, or all, lacks the chosen one.
    """
    times = sorted(planes["time"].unique().tolist())
    if time is None:
        if len(times) > 1:
            raise UsageError(f"the folder holds {len(times)} time points ({_listed(times)}); choose one with --time N")
        return planes, ""
    if time not in times:
        raise UsageError(f"--time {time}: the folder holds time points {_listed(times)}; choose one of these")
    chosen = planes[planes["time"] == time]
    lost = _lost(planes, chosen, f"--time {time}")
    return chosen, f"time point {time} of {_listed(times)}{lost}" if len(times) > 1 else ""


def choose_z(planes: pd.DataFrame, z: str) -> tuple[pd.DataFrame, str]:
    """Return the focal planes that are chosen, and a line that says which; "" where each channel has one only.

    z: "" where nothing is said, max, middle, or a number as the microscope counts.  With max all planes of a channel are
    returned.  Of an even number of planes, middle is the upper one of the two.
    Raises UsageError where there are several and none is chosen, or where a channel, or all, lacks the chosen one.
    """
    planes = planes.sort_values([*CHANNEL, "z"], kind="stable")
    groups = planes.groupby(CHANNEL, sort=False)
    counts = groups["z"].transform("size")
    levels = sorted(planes["z"].unique().tolist())
    several = int(counts.max()) if len(counts) else 0
    over = f"{counts.min()} to {several}" if len(counts) and counts.min() < several else str(several)
    if not z:
        if several > 1:
            raise UsageError(f"channels have up to {several} focal planes ({_listed(levels)}); choose with --z max, --z "
                             "middle or --z N")
        return planes, ""
    if several <= 1 and not z.isdigit():
        return planes, ""
    if z == "max":
        return planes, f"maximum over {over} focal planes"
    if z == "middle":
        return planes[groups.cumcount() == counts // 2], f"the middle one of {over} focal planes"
    if int(z) not in levels:
        raise UsageError(f"--z {z}: the folder holds focal planes {_listed(levels)}; choose one of these, max or middle")
    chosen = planes[planes["z"] == int(z)]
    lost = _lost(planes, chosen, f"--z {z}")
    return chosen, f"focal plane {z} of {_listed(levels)}{lost}" if len(levels) > 1 else ""


def uneven_stacks(planes: pd.DataFrame) -> list[str]:
    """Return a line for each channel of a site that has fewer focal planes than elsewhere on its plate: some were lost."""
    counts = planes.groupby(CHANNEL, sort=False)["z"].nunique()
    most = counts.groupby(["plate", "channel"]).transform("max")
    return [f"plate {plate} well {well} site {site} channel {channel}: {count} of {needed} focal planes"
            for (plate, well, site, channel), count, needed in zip(counts.index.tolist(), counts, most, strict=True)
            if count < needed]


def without_projections(planes: pd.DataFrame, z: str) -> pd.DataFrame:
    """Return the planes of a maximum, or of a middle, without projections: z 0 where other focal planes are there.

    planes: of an index with z0_projected; z: as of choose_z, which alone chooses a projection, by its number.
    """
    if z not in ("max", "middle"):
        return planes
    highest = planes.groupby([*CHANNEL, "order", "time"], sort=False)["z"].transform("max")
    return planes[(planes["z"] > 0) | (highest == 0)]


def parse_z(text: str) -> str:
    """Return --z as it is used: "" for auto, max, middle or a number. Raises UsageError."""
    plain = text.strip().lower()
    if plain not in ("auto", "max", "middle") and not re.fullmatch(r"\d{1,6}", plain):
        raise UsageError(f"--z {text}: give max, middle, or the number of a focal plane")
    return "" if plain == "auto" else plain


def parse_time(text: str) -> int | None:
    """Return --time as it is used: None for auto, or a number. Raises UsageError."""
    plain = text.strip().lower()
    if plain != "auto" and not re.fullmatch(r"\d{1,6}", plain):
        raise UsageError(f"--time {text}: give the number of a time point")
    return None if plain == "auto" else int(plain)


def _lost(planes: pd.DataFrame, chosen: pd.DataFrame, option: str) -> str:
    """Return what follows a line where sites have no chosen plane, "" where all have. Raises UsageError for a channel."""
    kept = set(chosen["channel"])
    if lost := [name for name in planes["channel"].unique() if name not in kept]:
        names = ", ".join(name or "without a name" for name in lost)
        raise UsageError(f"{option}: no plane of channel {names} is there; choose another, or channels that have "
                         "it with --channels")
    number = len(planes[SITE].drop_duplicates()) - len(chosen[SITE].drop_duplicates())
    return f"; {number} sites have none there and are left out" if number else ""


def _listed(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:_SHOWN]))
    return shown if len(numbers) <= _SHOWN else f"{shown}, ... {numbers[-1]}"
