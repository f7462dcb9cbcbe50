"""False discoveries of the activity test by distance, on drawn profiles.  Exercised by `mscnn bench activity`.

Profiles have 512 features, of 20 directions and noise.  Treatments have a well on each of 1 or 2 plates (on one plate: both
there).  Active ones are shifted in directions that control wells vary in, and in others.  Wells are:

- gaussian
- plates: gaussian, and each plate is shifted twice as far as wells vary
- widths: gaussian, and wider on some plates (log-normal, 0.3)
- lognormal: each well is scaled by a log-normal number (0.4)
- t3: each well is scaled so that wells have Student's t distribution of 3 degrees of freedom
- outliers: one well in twenty, of treatments and of the control, is three times as far out

Shapes: S wells, F features, R directions.
"""

import itertools
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from mscnn.bench.settings import ActivitySettings
from mscnn.profiling.distance_activity import distance_test, q_values
from mscnn.profiling.profile_table import ProfileTable
from mscnn.profiling.replicates import LIMIT

FEATURES, DIRECTIONS, NOISE = 512, 20, 0.5
KINDS = ("gaussian", "plates", "widths", "lognormal", "t3", "outliers")
LAYOUTS = ((1, 16), (3, 6), (6, 6), (3, 32))  # plates, control wells of each
CONTROL = "DMSO"


@dataclass(frozen=True)
class Layout:
    """A drawn screen."""

    kind: str          # of KINDS
    plates: int
    controls: int      # wells of each plate
    wells: int         # of a treatment
    treatments: int
    active: int        # of these


def measure(settings: ActivitySettings) -> list[dict[str, Any]]:
    """Return means over seeds: share of false ones among active treatments (0 where there are none), and share found."""
    found = []
    for kind, (plates, controls), wells, share in itertools.product(KINDS, LAYOUTS, (1, 2), (0.0, 0.1, 0.4)):
        layout = Layout(kind, plates, controls, wells, settings.treatments, round(share * settings.treatments))
        scores = np.array([_score(layout, seed, settings.effect) for seed in range(settings.seeds)])
        false, power = scores.mean(axis=0)
        found.append({**asdict(layout), "false": false, "sd": scores[:, 0].std() / np.sqrt(len(scores)), "found": power})
    return found


def table(results: list[dict[str, Any]]) -> str:
    """Return the shares as text, a line a screen."""
    lines = [f"share of false ones among treatments with q < {LIMIT:g}, and share of active ones that are found",
             "wells      plates  controls  replicates  active  false            found"]
    lines += [f"{row['kind']:9}  {row['plates']:6d}  {row['controls']:8d}  {row['wells']:10d}  "
              f"{row['active'] / row['treatments']:6.2f}  {row['false']:.3f} +- {row['sd']:.3f}  {row['found']:.2f}"
              for row in results]
    return "\n".join(lines)


def draw(layout: Layout, seed: int, effect: float) -> ProfileTable:
    """Return the wells of a screen; the first treatments are active, by `effect` times how far wells vary."""
    rng = np.random.default_rng([KINDS.index(layout.kind), seed, layout.plates, layout.controls, layout.wells])
    directions_RF = (rng.normal(size=(DIRECTIONS, FEATURES)) / np.sqrt(DIRECTIONS)
                     * np.exp(0.7 * rng.normal(size=(DIRECTIONS, 1))))

    def wells(number: int, noise: float = NOISE) -> np.ndarray:
        return rng.normal(size=(number, DIRECTIONS)) @ directions_RF + noise * rng.normal(size=(number, FEATURES))

    rows = [(plate, CONTROL) for plate in range(layout.plates) for _ in range(layout.controls)]
    rows += [((number + well) % layout.plates, f"{number}") for number in range(layout.treatments)
             for well in range(layout.wells)]
    plate_S, features_SF = np.array([plate for plate, _ in rows]), wells(len(rows))
    if layout.kind == "lognormal":
        features_SF *= np.exp(0.4 * rng.normal(size=(len(rows), 1)))
    if layout.kind == "t3":
        features_SF *= np.sqrt(3 / rng.chisquare(3, size=(len(rows), 1)))
    if layout.kind == "outliers":
        features_SF *= np.where(rng.random((len(rows), 1)) < 0.05, 3, 1)
    if layout.kind == "widths":
        features_SF *= np.exp(0.3 * rng.normal(size=(layout.plates, 1)))[plate_S]
    shifts_TF = effect * wells(layout.active) / 2
    is_active_S = np.array([name != CONTROL and int(name) < layout.active for _, name in rows])
    features_SF[is_active_S] += np.repeat(shifts_TF, layout.wells, axis=0)
    if layout.kind == "plates":
        features_SF += 2 * rng.normal(size=(layout.plates, FEATURES))[plate_S]
    metadata = pd.DataFrame({"Metadata_Plate": plate_S.astype(str), "Metadata_Compound": [name for _, name in rows]})
    return ProfileTable(metadata, features_SF, [f"F{number}" for number in range(FEATURES)])


def _score(layout: Layout, seed: int, effect: float) -> tuple[float, float]:
    """Return the share of false ones among treatments with q below LIMIT, and the share of active ones that have it."""
    wells = draw(layout, seed, effect)
    treatment_S = wells.metadata["Metadata_Compound"].replace(CONTROL, "-1").astype(int).to_numpy()
    p_T = distance_test(wells, CONTROL, treatment_S, layout.treatments).p_T
    is_found_T = q_values(p_T) < LIMIT
    return (float(is_found_T[layout.active:].sum() / max(1, is_found_T.sum())),
            float(is_found_T[:layout.active].mean()) if layout.active else 0.0)
