"""Which way a branch is computed, by counting multiplications."""

import pytest

from mscnn.model import kernel, ways
from mscnn.model.ways import COMPILED, DENSE, SPARSE


@pytest.fixture(params=[False, True])
def is_compiled(request, monkeypatch):
    """With and without a compiled kernel."""
    monkeypatch.setattr(kernel, "available", lambda: (request.param, ""))
    return request.param


def test_the_way_that_multiplies_least_is_taken(is_compiled):
    found = ways.by_counting("auto", "auto", 3, 1024, 1280)
    assert found == ((COMPILED,) * 3 if is_compiled else (SPARSE, SPARSE, DENSE)) + (DENSE,) * 4
    assert ways.by_counting("auto", "torch", 3, 1024, 1280) == (SPARSE, SPARSE) + (DENSE,) * 5


def test_products_by_hand():
    """Branch 2: 81,920 pixels of 1,200 + 2,048 products and 5,120 maxima of 514,400; dense, 3 * 14,000 - 1,200 a pixel."""
    compiled, dense = (ways.products(way, 256, 320, 16, 3, 16) for way in (COMPILED, DENSE))
    assert (compiled, dense) == (81920 * 3248 + 5120 * 514400, 81920 * 40800)
    compiled, dense = (ways.products(way, 256, 320, 16, 5, 16) for way in (COMPILED, DENSE))
    assert compiled > dense  # with 5 channels


@pytest.mark.usefixtures("is_compiled")
def test_what_is_asked_for_is_taken_where_it_can_be():
    assert ways.by_counting("dense", "auto", 3, 1024, 1280) == (DENSE,) * 7
    assert ways.by_counting("sparse", "torch", 3, 1024, 1280) == (SPARSE,) * 6 + (DENSE,)  # the last branch has no pool
    assert DENSE not in ways.by_counting("sparse", "auto", 3, 1024, 1280)[:6]
