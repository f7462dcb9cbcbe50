"""What a read-out is fitted to, and which control wells scale its plates."""

import numpy as np

from mscnn.data.tables.splits import make_split
from mscnn.readout.tables import facts_of
from mscnn.training.readout import scale_plates
from tests.conftest import make_table


def test_held_out_control_wells_scale_no_plate():
    rows = [("P1", f"B{number:02}", "DMSO", "DMSO") for number in range(6)] + [
        ("P1", f"C{number:02}", name, name) for number in range(4) for name in ("a", "b")]
    table = make_table(rows, "plate well compound mechanism")
    facts = facts_of(table.frame, table.is_control(), table.mechanisms())
    split = make_split(table, split="hold-out", hold_out="a", hold_out_controls=0.34)
    assert np.array_equal(scale_plates(facts, split), table.is_control() & (split.side == "train"))
    assert scale_plates(facts, split).sum() == 4
