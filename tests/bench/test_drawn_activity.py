"""`mscnn bench activity` draws screens as it says, and counts false discoveries."""

import numpy as np
import pytest

from mscnn.bench import drawn_activity
from mscnn.bench.drawn_activity import KINDS, Layout, draw
from mscnn.bench.settings import ActivitySettings


@pytest.mark.parametrize("kind", KINDS)
def test_a_screen_has_its_wells_and_active_treatments(kind):
    wells = draw(Layout(kind, 3, 5, 2, 10, 4), 0, 50.0)
    counts = wells.metadata.groupby("Metadata_Compound").agg(["size", "nunique"])["Metadata_Plate"]
    assert counts.loc["DMSO"].tolist() == [15, 3]
    assert (counts.drop("DMSO") == 2).all(axis=None)
    size = np.linalg.norm(wells.features_SF, axis=1)
    is_active = wells.metadata["Metadata_Compound"].isin(["0", "1", "2", "3"]).to_numpy()
    assert size[is_active].min() > size[~is_active].max() or kind in ("t3", "widths", "lognormal")


def test_shares_are_counted_and_shown(monkeypatch):
    monkeypatch.setattr(drawn_activity, "FEATURES", 30)
    monkeypatch.setattr(drawn_activity, "KINDS", ("gaussian",))
    monkeypatch.setattr(drawn_activity, "LAYOUTS", ((3, 16),))
    found = drawn_activity.measure(ActivitySettings(seeds=2, treatments=20, effect=50.0))
    assert [(row["wells"], row["active"]) for row in found] == [(1, 0), (1, 2), (1, 8), (2, 0), (2, 2), (2, 8)]
    assert found[2]["found"] == 1
    assert all(0 <= row["false"] <= 1 for row in found)
    assert "gaussian        3        16           1    0.40  " in drawn_activity.table(found)
