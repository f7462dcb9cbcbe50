"""Names of channels."""

import pytest

from mscnn.data.vendors.ome_channels import channel_names


@pytest.mark.parametrize(("labels", "number", "names", "doubled"), [
    (["DNA", "Actin"], 2, ["DNA", "Actin"], False), ([], 2, ["0", "1"], False), (["DNA", " "], 3, ["DNA", "1", "2"], False),
    (["A", "A", "B"], 3, ["A 0", "A 1", "B"], True), (["A", "B", "C"], 2, ["A", "B"], False)])
def test_channels_without_a_name_of_their_own_get_their_number(labels, number, names, doubled):
    assert channel_names(labels, number) == (names, doubled)
