"""A drawn screen of profiles: weeks, plates, control wells, doses; the signal of a mechanism grows with the dose."""

import numpy as np
import pandas as pd

MECHANISMS, FEATURES = 6, 12


def screen(signal: float = 2.0, *, seed: int = 0, weeks: int = 2, plates: int = 3, compounds: int = 9,
           plate_effect: float = 0.0, unknown: int = 9) -> pd.DataFrame:
    """A row a well: a week's compounds on each of its plates at two doses, and eight control wells.

    The mechanism of each `unknown`th compound is not known.
    """
    rng, rows, values = np.random.default_rng(seed), [], []
    for week in range(weeks):
        for plate in range(plates):
            shift = plate_effect * rng.normal(size=FEATURES)
            for well in range(8):
                rows.append(("DMSO", 0.0, "DMSO", f"{week}-{plate}", f"{'ABCDEFGH'[well]}01", f"W{week}"))
                values.append(shift + rng.normal(size=FEATURES))
            for number in range(week * compounds, (week + 1) * compounds):
                centre = np.random.default_rng(number % MECHANISMS).normal(size=FEATURES)
                for step, dose in enumerate((0.1, 1.0), start=1):
                    mechanism = "" if number % unknown == 0 else f"m{number % MECHANISMS}"
                    well = f"{'ABCDEFGH'[number % 8]}{2 * (number // 8 % 4) + step + 1:02d}"
                    rows.append((f"c{number}", dose, mechanism, f"{week}-{plate}", well, f"W{week}"))
                    values.append(shift + signal * step * centre + rng.normal(size=FEATURES))
    names = [f"Metadata_{name}" for name in ("Compound", "Concentration", "MOA", "Plate", "Well", "Week")]
    return pd.concat([pd.DataFrame(rows, columns=names),
                      pd.DataFrame(np.array(values), columns=[f"f{number}" for number in range(FEATURES)])], axis=1)
