"""The plan of a synthetic screen: which compound is in which well of which plate, at which dose.

    python -m pytest tests/synthetic/test_plates.py -k compound
"""

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mscnn.synthetic.phenotypes import dose_series

DEMO_MECHANISMS = ("Actin disruptors", "DNA damage", "Eg5 inhibitors", "Epithelial", "Microtubule destabilizers",
                   "Microtubule stabilizers")
CONTROL_DOSE_UM = 0.3  # of taxol, in six wells of every plate

_SHORT = {"Actin disruptors": "actin", "Aurora kinase inhibitors": "aurora", "Cholesterol-lowering": "cholesterol",
          "DNA damage": "dna-damage", "DNA replication": "dna-replication", "Eg5 inhibitors": "eg5",
          "Epithelial": "epithelial", "Kinase inhibitors": "kinase", "Microtubule destabilizers": "destabilizer",
          "Microtubule stabilizers": "stabilizer", "Protein degradation": "degradation",
          "Protein synthesis": "synthesis"}
_DMSO_WELLS = ("B02", "C02", "D02", "E11", "F11", "G11")
_TAXOL_WELLS = ("B11", "C11", "D11", "E02", "F02", "G02")


@dataclass(frozen=True, kw_only=True)
class Compound:
    """A compound in one row of each of its week's plates."""

    name: str
    mechanism: str              # "" for the inert fillers, which are not annotated
    week: int                   # 1, 2, ...
    row: str                    # "B".."G" of every plate of that week
    doses_uM: tuple[float, ...]  # eight, descending, in columns 3..10


class Well(NamedTuple):
    """Content of a well."""

    name: str       # B02 .. G11
    compound: str   # DMSO for untreated wells
    dose_uM: float  # 0 for DMSO


class Field(NamedTuple):
    """All that determines the pixels of one field of view."""

    seed: int       # of the screen
    week: int       # 1, 2, ...
    plate: str      # Week1_22121
    well: Well
    site: int       # 1, 2, ... within the well
    replicate: int  # which plate of its week, from 1
    mechanism: str  # "" for DMSO and inert compounds


def compounds(mechanisms: Sequence[str] = DEMO_MECHANISMS, compounds_per_mechanism: int = 3) -> list[Compound]:
    """Return the plan of a screen: six compounds a week, those of one mechanism in as many weeks as possible.

    Rows left over in the last weeks hold inert compounds of mechanism "".  Raises ValueError for unknown mechanisms.
    """
    weeks = spread_over_weeks(mechanisms, compounds_per_mechanism, names=_SHORT, per_week=6)
    weeks = [[("taxol" if name == "stabilizer-a" else name, mechanism) for name, mechanism in week] for week in weeks]
    return [Compound(name=name, mechanism=mechanism, week=w, row=row, doses_uM=dose_series(name))
            for w, week in enumerate(weeks, 1) for row, (name, mechanism) in zip("BCDEFG", week, strict=True)]


def spread_over_weeks(mechanisms: Sequence[str], compounds_per_mechanism: int, *, names: dict[str, str],
                      per_week: int) -> list[list[tuple[str, str]]]:
    """Return the compounds (name, mechanism) of each week, those of one mechanism in as many weeks as possible.

    names: {mechanism: the name of its compounds}; per_week: compounds of a week; inert ones fill the last.
    Raises ValueError for unknown mechanisms.
    """
    unknown = [m for m in mechanisms if m not in names]
    if unknown or len(set(mechanisms)) < len(mechanisms) or not mechanisms:
        raise ValueError(f"mechanisms must be different ones of {sorted(names)}, got {list(mechanisms)}")
    if not 1 <= compounds_per_mechanism <= 26:
        raise ValueError(f"compounds_per_mechanism must be in 1..26, got {compounds_per_mechanism}")
    num_weeks = math.ceil(len(mechanisms) * compounds_per_mechanism / per_week)
    weeks: list[list[tuple[str, str]]] = [[] for _ in range(num_weeks)]
    for variant in range(compounds_per_mechanism):
        for i, mechanism in enumerate(mechanisms):
            first = (i + variant) % num_weeks
            free = [w % num_weeks for w in range(first, first + num_weeks) if len(weeks[w % num_weeks]) < per_week]
            week = min(free, key=lambda w: sum(other == mechanism for _, other in weeks[w]))
            weeks[week].append((f"{names[mechanism]}-{chr(ord('a') + variant)}", mechanism))
    num_inert = 0
    for week in weeks:
        while len(week) < per_week:
            week.append((f"inert-{chr(ord('a') + num_inert)}", ""))
            num_inert += 1
    return weeks


def num_fields(plan: Sequence[Compound], plates_per_week: int, sites_per_well: int) -> int:
    """Return the number of fields of view in the screen; a plate has 60 wells."""
    return len({compound.week for compound in plan}) * plates_per_week * 60 * sites_per_well


def held_out_compounds(mechanisms: Sequence[str] = DEMO_MECHANISMS, compounds_per_mechanism: int = 3) -> list[str]:
    """Return the compounds that a model is tested on: the last one of each mechanism, never taxol.

    Raises ValueError where a mechanism has one compound only.
    """
    if compounds_per_mechanism < 2:
        raise ValueError(f"compounds_per_mechanism must be at least 2 to hold one out, got {compounds_per_mechanism}")
    plan = compounds(mechanisms, compounds_per_mechanism)
    return [max(c.name for c in plan if c.mechanism == m and c.name != "taxol") for m in mechanisms]


def plan_fields(plan: list[Compound], plates_per_week: int, sites_per_well: int, seed: int) -> Iterator[Field]:
    """Yield every field of the screen, plate by plate and well by well."""
    mechanism = {c.name: c.mechanism for c in plan} | {"taxol": "Microtubule stabilizers", "DMSO": ""}
    for week in sorted({c.week for c in plan}):
        wells = _wells([c for c in plan if c.week == week])
        for replicate in range(plates_per_week):
            plate = f"Week{week}_{20121 + 2000 * week + 20 * replicate:05}"
            for well in wells:
                for site in range(1, sites_per_well + 1):
                    yield Field(seed, week, plate, well, site, replicate + 1, mechanism[well.compound])


def stream_key(field: Field, purpose: int) -> list[int]:
    """Return the key of a field's random stream: it depends on the place in the screen, not on the process that draws."""
    return [field.seed, purpose, zlib.crc32(f"{field.plate} {field.well.name}".encode()), field.site]


def _wells(week: list[Compound]) -> list[Well]:
    """Return the 60 wells of one plate, row by row."""
    fixed = {name: Well(name, "DMSO", 0.0) for name in _DMSO_WELLS}
    fixed |= {name: Well(name, "taxol", CONTROL_DOSE_UM) for name in _TAXOL_WELLS}
    series = {f"{c.row}{column:02}": Well(f"{c.row}{column:02}", c.name, dose)
              for c in week for column, dose in enumerate(c.doses_uM, 3)}
    return [(fixed | series)[f"{row}{column:02}"] for row in "BCDEFG" for column in range(2, 12)]
