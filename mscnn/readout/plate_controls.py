"""Scale features by each plate's own untreated wells: their median becomes 0, and their scaled MAD 1.

Shapes: S sites, D features, P plates.
"""

from dataclasses import dataclass

import numpy as np

from mscnn.readout.tables import SiteFacts

ENOUGH_WELLS = 4     # untreated wells that a plate needs: the spread of fewer is hardly known
MAD_TO_SD = 1.482602218505602  # of a normal distribution
LEAST_SPREAD = 1e-9  # a feature that varies less in a plate's untreated wells is centred, not scaled


@dataclass(frozen=True)
class PlateControls:
    """Median and spread of the untreated wells of each plate."""

    plates: list[str]       # in normal form
    centre_PD: np.ndarray   # float64
    spread_PD: np.ndarray   # float64, above 0

    def apply(self, features_SD: np.ndarray, plates_S: np.ndarray) -> np.ndarray:
        """Return the features scaled; a plate that was not measured has the median of those that were."""
        numbers = {plate: number for number, plate in enumerate(self.plates)}
        centre_PD = np.vstack([self.centre_PD, np.median(self.centre_PD, axis=0)])
        spread_PD = np.vstack([self.spread_PD, np.median(self.spread_PD, axis=0)])
        plate_S = np.array([numbers.get(plate, len(numbers)) for plate in plates_S], dtype=int)
        return (features_SD - centre_PD[plate_S]) / spread_PD[plate_S]

    def covers(self, plates_S: np.ndarray) -> bool:
        """Return whether all these plates were measured."""
        return set(plates_S) <= set(self.plates)


def lacking(facts: SiteFacts) -> list[str]:
    """Return the plates with too few untreated wells."""
    plates = set(facts.plates_S.tolist())
    wells = {plate: set(facts.wells_S[(facts.plates_S == plate) & facts.is_control_S]) for plate in plates}
    return sorted(plate for plate, names in wells.items() if len(names) < ENOUGH_WELLS)


def measure(features_SD: np.ndarray, facts: SiteFacts) -> PlateControls | None:
    """Return median and spread of each plate that has enough untreated wells; None where no plate has."""
    plates = sorted(set(facts.plates_S.tolist()) - set(lacking(facts)))
    if not plates:
        return None
    of_plates = [features_SD[(facts.plates_S == plate) & facts.is_control_S] for plate in plates]
    centre_PD = np.array([np.median(values_SD, axis=0) for values_SD in of_plates])
    spread_PD = np.array([MAD_TO_SD * np.median(np.abs(values_SD - centre_D), axis=0)
                          for values_SD, centre_D in zip(of_plates, centre_PD, strict=True)])
    return PlateControls(plates, centre_PD, np.where(spread_PD > LEAST_SPREAD, spread_PD, 1.0))
