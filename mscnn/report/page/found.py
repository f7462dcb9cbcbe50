"""What a reader wants to know first: how many treatments do something, and which are the strongest."""

from dataclasses import dataclass
from urllib.parse import urlencode

import pandas as pd

from mscnn.evaluation.decisions import NEAR
from mscnn.report.page.treatments import COMPOUND, DOSE

HITS = 10        # that are named, at most


@dataclass(frozen=True)
class Hit:
    """A treatment that differs from the control."""

    compound: str
    dose: str       # with its unit, after a space; "" where not given
    predicted: str  # mechanism; "" where none is predicted
    address: str    # that chooses it in the page


@dataclass(frozen=True)
class Found:
    """Numbers of treatments."""

    judged: int      # with a q-value
    active: int
    compared: int    # of the active ones, or of all where none is judged: with a p of none of the known
    unlike: int      # of these, that may be of none of the known mechanisms
    near: float      # p up to which a known mechanism is believable
    least_p: float   # the least p of none of the known that there can be; above near it tells nothing
    hits: list[Hit]  # the first active ones; where none is judged, the first of all


def summarise(frame: pd.DataFrame, unit: str, run: str, least_p: float) -> Found:
    """Return what a table of treatments holds.

    run: number of the run on the page, "" where there is one only.  least_p: of none of the known.
    """
    compound, dose = COMPOUND, DOSE
    active = frame["Active"] == "True"
    judged = int((frame["Active"] != "").sum())
    asked = frame[active] if judged else frame[frame["Rank"].notna()]
    p_values = asked["None_Of_The_Known"].dropna()
    hits = [Hit(row[compound], f" {row[dose]:g} {unit}" if row[dose] == row[dose] else "", row["Predicted_MOA"],
                "#" + urlencode({**({"run": run} if run else {}), "treatment": row[compound],
                                 **({"dose": f"{float(f'{row[dose]:.6g}'):.15g}"} if row[dose] == row[dose] else {})}))
            for row in asked.head(HITS).to_dict("records")]
    return Found(judged, int(active.sum()), len(p_values), int((p_values > NEAR).sum()), NEAR, least_p, hits)
