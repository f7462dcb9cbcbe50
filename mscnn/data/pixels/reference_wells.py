"""Wells in which plates are measured: those of the reference compound, and what is recorded of them.

Shapes: S sites.
"""

from dataclasses import dataclass, field

import numpy as np

from mscnn.core.errors import DataError
from mscnn.data.tables.sampler import evenly_spaced
from mscnn.data.tables.site_table import SiteTable, natural


@dataclass(frozen=True)
class Reference:
    """Sites in which each plate is measured."""

    sites: dict[str, np.ndarray]  # by plate, positions in the table
    described: dict[str, str]     # by plate, which wells those are
    fell_back: tuple[str, ...]    # plates without a well of the reference compound that may be used
    unmeasured: tuple[str, ...]   # plates without any site that may be used

    def notes(self) -> list[str]:
        """Return lines for the log on plates that are not measured in the reference compound."""
        notes = [f"plate {plate}: measured in {self.described[plate]}" for plate in self.fell_back]
        return notes + [f"plate {plate}: not measured, it has no site that may be used" for plate in self.unmeasured]


@dataclass(frozen=True)
class Provenance:
    """How plates were measured, for people: nothing is computed from it."""

    data: str = ""                                                # fingerprint of the table
    channels: list[str] = field(default_factory=list)             # their names
    week: dict[str, str] = field(default_factory=dict)            # by plate
    measured: dict[str, str] = field(default_factory=dict)        # by plate, the wells it was measured in
    degree: dict[str, list[int]] = field(default_factory=dict)    # by plate, of each channel's illumination polynomial
    level: dict[str, list[float]] = field(default_factory=dict)   # by plate, each channel's background, counts above offset


def reference_sites(table: SiteTable, allowed: np.ndarray, compound: str | None = None, limit: int = 256) -> Reference:
    """Choose the sites that each plate is measured in: its wells of the reference compound, or all that may be used.

    allowed: (S,) bool, the sites of the training side; sites of the control may enter in any case, others never.
    compound: the reference, in any spelling; None: the table's control.  limit: sites a plate, spread evenly over it.
    Raises DataError where the table has no such compound, or no plate a site that may be used.
    """
    assert (allowed.dtype, allowed.shape) == (bool, (len(table),)), (allowed.dtype, allowed.shape)
    name = compound or table.control
    is_reference = table.is_of(name)
    if compound and not is_reference.any():
        raise DataError(f"no site of reference compound {name!r} in the table; name one that it has, or leave it out")
    is_usable, plate_of = allowed | table.is_control(), table.frame["plate"].to_numpy()
    sites, described, fell_back, unmeasured = {}, {}, [], []
    for plate in sorted(set(plate_of), key=natural):
        on_plate = plate_of == plate
        chosen, wells = np.flatnonzero(on_plate & is_reference & is_usable), f"wells of {name}"
        if not len(chosen):
            chosen, wells = np.flatnonzero(on_plate & is_usable), f"all its wells that may be used, it has none of {name}"
            (fell_back if len(chosen) else unmeasured).append(plate)
        if len(chosen):
            sites[plate] = chosen[evenly_spaced(len(chosen), limit)]
            num_wells = table.frame["well"].iloc[sites[plate]].nunique()
            described[plate] = f"{wells}: {len(sites[plate])} sites in {num_wells} wells"
            assert is_usable[sites[plate]].all(), "a treated well of the test side is measured"
    if not sites:
        raise DataError("no plate has a site to measure its intensity in; leave more compounds to train on")
    return Reference(sites, described, tuple(fell_back), tuple(unmeasured))


def describe(table: SiteTable, reference: Reference) -> Provenance:
    """Return what is known of a scale's plates before they are measured."""
    week_of = dict(zip(table.frame["plate"], table.frame["week"], strict=True))
    return Provenance(table.fingerprint(), list(table.channels), {plate: week_of[plate] for plate in reference.sites},
                      dict(reference.described))
