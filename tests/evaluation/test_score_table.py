"""The steps from a table of profiles to its scores, one by one and together."""

import numpy as np
import pandas as pd

from mscnn.evaluation import aggregate, score_table
from mscnn.evaluation.profile_table import ProfileTable

OPTIONS = {"similarity": "cosine", "normalise": "none", "sphere": False, "control": "DMSO", "aggregate_wells": "mean",
           "aggregate_treatments": "median", "taxol_controls": "keep", "bootstrap": 20, "permutations": 20, "seed": 0}


def drawn_table() -> ProfileTable:
    """Six compounds of two mechanisms and DMSO, whose features differ in scale and are correlated."""
    rng, rows = np.random.default_rng(0), []
    for week in ("1", "2"):
        for number in range(7):
            compound, mechanism = (f"c{number}", f"m{number % 2}") if number < 6 else ("DMSO", "DMSO")
            rows += [(compound, 0.3, mechanism, f"P{week}", f"{well}{number}", week) for well in "BCDE"]
    rows.append(("taxol", 0.3, "m0", "P1", "B11", "1"))
    names = [f"Metadata_{name}" for name in ("Compound", "Concentration", "MOA", "Plate", "Well", "Week")]
    metadata = pd.DataFrame(rows, columns=names).assign(Scored=True)
    mixed = rng.normal(size=(len(rows), 4)) @ rng.normal(size=(4, 4)) * [1, 10, 100, 1000] + [5, 50, 0, 0]
    return ProfileTable(metadata, mixed, ["a", "b", "c", "d"])


def test_a_table_is_normalised_then_sphered_where_asked():
    table = drawn_table()
    plain = score_table.score(table, **OPTIONS).scores
    for normalise in ("none", "z", "mad", "percentile"):
        for sphere in (False, True):
            by_hand = table if normalise == "none" else aggregate.normalise(table, normalise, "DMSO")
            by_hand = aggregate.sphere(by_hand, "DMSO") if sphere else by_hand
            expected = score_table.score(by_hand, **OPTIONS).scores
            got = score_table.score(table, **OPTIONS | {"normalise": normalise, "sphere": sphere}).scores
            assert got == expected
            assert (got == plain) == (normalise == "none" and not sphere)


def test_taxol_controls_are_dropped_where_asked():
    counts = {keep: score_table.score(drawn_table(), **OPTIONS | {"taxol_controls": keep}).counts.rows
              for keep in ("keep", "drop")}
    assert counts == {"keep": 57, "drop": 56}
