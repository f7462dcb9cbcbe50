import pytest

from mscnn.core.errors import DataError
from mscnn.core.optional_parts import OptionalParts


def test_parts_that_fail_are_named_in_one_line_at_the_end_and_the_others_are_made():
    parts, made = OptionalParts("scores are whole"), []
    for name, failure in (("a.png", MemoryError()), ("b.png", None), ("c.png", DataError("c: is gone", ["row 1"]))):
        with parts.part(name):
            if failure:
                raise failure
            made.append(name)
    assert made == ["b.png"]
    with pytest.raises(DataError) as refusal:
        parts.finish()
    assert str(refusal.value) == "not written: a.png (MemoryError: no reason); c.png (c: is gone); scores are whole"
    OptionalParts("").finish()


def test_an_interrupt_is_no_failure_of_a_part():
    with pytest.raises(KeyboardInterrupt), OptionalParts("").part("a"):
        raise KeyboardInterrupt
