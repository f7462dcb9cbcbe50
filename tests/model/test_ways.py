"""Which way a branch is computed, by counting multiplications."""

import pytest

from mscnn.model import kernel, ways
from mscnn.model.ways import COMPILED, DENSE, SPARSE, WINOGRAD


@pytest.fixture(params=[False, True])
def is_compiled(request, monkeypatch):
    """With and without a compiled kernel."""
    monkeypatch.setattr(kernel, "available", lambda: (request.param, ""))
    return request.param


def test_the_way_that_multiplies_least_is_taken(is_compiled):
    found = ways.by_counting("auto", "auto", 3, 1024, 1280)
    assert found == ((COMPILED, *[WINOGRAD] * 4) if is_compiled else (SPARSE, SPARSE, DENSE, DENSE, DENSE)) + (DENSE, DENSE)
    assert ways.by_counting("auto", "torch", 3, 1024, 1280) == (SPARSE, SPARSE) + (DENSE,) * 5


def test_products_by_hand():
    """Branch 2: 81,920 pixels and 5,120 maxima. Compiled, 3,248 products forward a pixel and 514,400 a maximum; winograd,
    twice 1,024 and 1,200 more a pixel, 800 a maximum; dense, 3 * 14,000 - 1,200 a pixel."""
    products = {way: ways.products(way, 256, 320, 16, 3, 16) for way in (COMPILED, WINOGRAD, DENSE)}
    assert products == {COMPILED: 81920 * 3248 + 5120 * 514400, WINOGRAD: 81920 * 6496 + 5120 * 800, DENSE: 81920 * 40800}
    assert ways.products(COMPILED, 256, 320, 16, 5, 16) > ways.products(DENSE, 256, 320, 16, 5, 16)  # with 5 channels


@pytest.mark.usefixtures("is_compiled")
def test_what_is_asked_for_is_taken_where_it_can_be():
    assert ways.by_counting("dense", "auto", 3, 1024, 1280) == (DENSE,) * 7
    assert ways.by_counting("sparse", "torch", 3, 1024, 1280) == (SPARSE,) * 6 + (DENSE,)  # the last branch has no pool
    assert DENSE not in ways.by_counting("sparse", "auto", 3, 1024, 1280)[:6]


def test_winograd_is_compiled_or_it_is_dense(is_compiled):
    assert ways.by_counting("winograd", "auto", 3, 1024, 1280)[:5] == (WINOGRAD if is_compiled else DENSE,) * 5
    assert ways.by_counting("winograd", "torch", 3, 1024, 1280) == (DENSE,) * 7
