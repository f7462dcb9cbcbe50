"""The candidates among which a read-out is chosen, the simplest first, and why some cannot be had."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mscnn.readout import plate_controls
from mscnn.readout.tables import NETWORK, STATISTICS, SiteFacts, places

PRODUCT, SIDE_BY_SIDE = "product", "side by side"
UNSCALED, BY_PLATE, SPHERED = "", "by plate controls", "sphered on controls"
LEAST_COMPONENTS = 20
NAMED = 6  # plates that a reason names, at most
FLATTERED = "so that its features of them flatter it"
LEARNT_MECHANISMS = f"not judged: the network learnt the mechanisms of the training compounds, {FLATTERED}"
SAW_TRAINING_ONLY = f"not judged: the network learnt images of the training compounds alone, {FLATTERED}"


@dataclass(frozen=True)
class Candidate:
    """A read-out that may be chosen."""

    uses: Literal["statistics", "network", "product", "side by side"]
    scaling: Literal["", "by plate controls", "sphered on controls"]

    @property
    def name(self) -> str:
        """Return the name in files and reports, as "statistics, by plate controls"."""
        return ", ".join(filter(None, (self.uses, self.scaling)))

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the tables whose features it reads."""
        return (self.uses,) if self.uses in (NETWORK, STATISTICS) else (NETWORK, STATISTICS)

    def components(self, num_classes: int) -> int | None:
        """Return how many principal components it reads; None: all features.

        The network's 512 features follow few directions, and the more of them a read-out weighs, the surer it is of the
        compounds that it was fitted to.
        """
        return max(LEAST_COMPONENTS, 2 * num_classes) if NETWORK in self.tables else None


# The simplest first: statistics need no network, and a product has no weights of its own.
CANDIDATES = tuple(Candidate(uses, scaling) for uses in (STATISTICS, NETWORK, PRODUCT, SIDE_BY_SIDE)
                   for scaling in (UNSCALED, BY_PLATE, SPHERED))
BY_NAME = {candidate.name: candidate for candidate in CANDIDATES}


def unavailable(columns: dict[str, list[str]], facts: SiteFacts) -> dict[str, str]:
    """Return why candidates cannot be had: {name: reason}.

    columns: as in Features.  facts: of the sites that are fitted and of all untreated wells.
    """
    reasons: dict[str, str] = {}
    lacking, fields = plate_controls.lacking(facts), int(facts.is_control_S.sum())
    plates = f"{', '.join(lacking[:NAMED])}{' ...' if len(lacking) > NAMED else ''}"
    for candidate in CANDIDATES:
        width = (max if candidate.uses == PRODUCT else sum)(len(places(columns, (table,))) for table in candidate.tables)
        if missing := [table for table in candidate.tables if table not in columns]:
            reasons[candidate.name] = f"no features of {', '.join(missing)}"
        elif candidate.scaling and not fields:
            reasons[candidate.name] = "no untreated wells"
        elif candidate.scaling and lacking:
            reasons[candidate.name] = (f"fewer than {plate_controls.ENOUGH_WELLS} untreated wells on {len(lacking)} of "
                                       f"{len(set(facts.plates_S))} plates: {plates}")
        elif candidate.scaling == SPHERED and fields <= width:
            reasons[candidate.name] = f"{fields} fields of untreated wells for {width} features; more than that are needed"
    return reasons


def product(one_SK: np.ndarray, other_SK: np.ndarray) -> np.ndarray:
    """Return the geometric mean of two read-outs' probabilities, normalised; where it is 0 for all classes, their mean."""
    both_SK = np.sqrt(one_SK * other_SK)
    total_S1 = both_SK.sum(axis=1, keepdims=True)
    return np.where(total_S1 > 0, both_SK / np.where(total_S1 > 0, total_S1, 1.0), (one_SK + other_SK) / 2)
