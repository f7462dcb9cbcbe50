import numpy as np
import pytest

from mscnn.readout.record import ReadoutRecord, from_record, to_record
from tests.readout.test_readout import ONE_HOT, facts, features, fitted, noise

KNOWN = facts(controls=5)
TABLES = noise(rows=len(KNOWN.labels_S)), np.vstack([ONE_HOT, np.zeros((5, 3))]) + noise(seed=1, rows=len(KNOWN.labels_S))
READOUT = fitted(*TABLES, KNOWN)
RECORD = to_record(READOUT)


def test_a_read_out_is_its_record():
    again = from_record(RECORD, 3)
    assert again.choice == READOUT.choice
    assert again.names() == READOUT.names()
    for name in READOUT.names():
        found, expected = (each.probabilities(name, features(*TABLES), KNOWN.plates_S) for each in (again, READOUT))
        np.testing.assert_array_equal(found, expected)


def array(name, change):
    return lambda record: record.arrays.__setitem__(name, change(record.arrays[name]))


def fact(name, change):
    return lambda record: record.facts.__setitem__(name, change(record.facts[name]))


@pytest.mark.parametrize(("change", "message"), [
    (array("weights-0", lambda values: values[:, 1:]), r"weights-0 is float64 \(3, 2\), not finite float64 \(3, 3\)"),
    (array("biases-0", lambda values: values.astype(np.float32)), "biases-0 is float32"),
    (array("weights-0", lambda values: values * np.nan), "weights-0 is float64"),
    (array("spread", lambda values: 0 * values), "a spread is not above 0"),
    (lambda record: record.arrays.__delitem__("centre"), "centre is missing"),
    (lambda record: record.arrays.__setitem__("more", np.zeros(1)), "has arrays more that nothing uses"),
    (fact("parts", lambda names: ["magic", *names[1:]]), "parts holds 'magic', which no read-out has"),
    (fact("parts", lambda names: ["product", *names[1:]]), "parts holds 'product'"),
    (fact("plates", lambda plates: 2 * plates), r"centre is float64 \(1, 6\), not finite float64 \(2, 6\)"),
    (fact("plates", lambda plates: None), "parts are scaled by plate controls, which are not there"),
    (lambda record: [change(record) for change in (fact("plates", lambda plates: 2 * plates), *(
        array(name, lambda values: np.tile(values, (2, 1))) for name in ("centre", "spread")))], "a plate is there twice"),
    (fact("columns", lambda columns: {"statistics": columns["statistics"]}), "parts holds 'network', which no read-out"),
    (fact("columns", lambda columns: {**columns, "network": columns["statistics"]}), "a name is there twice"),
    (fact("columns", lambda columns: {"magic": ["a"]}), "columns are of magic"),
    (fact("choice", lambda choice: choice | {"chosen": "side by side, sphered on controls"}), "is not among its parts"),
    (fact("choice", lambda choice: choice | {"candidates": choice["candidates"] | {"magic": {}}}), "the candidate 'magic'"),
    (fact("choice", lambda choice: []), "choice is a list, not an object")])
def test_a_record_that_does_not_fit_is_refused(change, message):
    record = ReadoutRecord(dict(RECORD.facts), dict(RECORD.arrays))
    change(record)
    with pytest.raises(ValueError, match=message):
        from_record(record, 3)
