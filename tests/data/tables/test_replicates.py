"""Whether the replicate contrast has anything to attract and to repel, for training and check alike."""

import pytest

from mscnn.data.tables.replicates import site_numbers, why_no_contrast
from tests.conftest import make_table


@pytest.mark.parametrize(("rows", "negatives", "reason"), [
    ([("a", 1.0, "P"), ("a", 1.0, "P"), ("b", 1.0, "P")], "all", ""),
    ([("a", 1.0, "P"), ("a", 2.0, "P"), ("b", 1.0, "P")], "all", "of several fields, got 3 treatments of one field"),
    ([("a", 1.0, "P"), ("A ", 1.0, "P")], "all", "needs several compounds, and the table has one; use --view-weight"),
    ([("a", 1.0, "P"), ("a", 1.0, "P"), ("b", 1.0, "Q")], "plate", "and each plate has one; use --negatives all")])
def test_what_cannot_be_contrasted_has_a_reason_and_a_remedy(rows, negatives, reason):
    table = make_table(rows, "compound concentration plate")
    found = why_no_contrast(*site_numbers(table), negatives=negatives)
    assert (reason in found, bool(found)) == (True, bool(reason))
