"""Whether the first linear layer is sharded: by bytes, by request, and where it cannot be."""

import pytest
import torch

from mscnn.core import config
from mscnn.core.errors import UsageError
from mscnn.distributed.sharded_linear import bytes_sent
from mscnn.distributed.world import World
from mscnn.model import MCNN
from mscnn.training.build import choose_first_layer


def chosen(size: int, *, side: int, asked: str = "auto", compress: str = "none", backend: str = "native") -> dict:
    with torch.device("meta"):
        network = MCNN(3, 3, side, side)
    settings = config.from_flat({"preset": "supervised", "sites": "x.csv", "first_layer": asked, "compress": compress,
                                 "minibatch": 8 * size})
    return choose_first_layer(settings, network, World(size=size), backend)


def test_bytes_are_those_of_a_ring_and_of_the_activations():
    """4 ranks, 8 fields, 100 columns, 10 outputs: 2 x 1,000 x 3/4 numbers; 2 x 2 fields x 100 x 3/4, and 4 x 80 x 3/4."""
    found = bytes_sent(features=100, outputs=10, minibatch=8, size=4, in_bfloat16=False)
    assert found == {"replicated": 1500 * 4, "sharded": (300 + 240) * 4}
    half = bytes_sent(features=100, outputs=10, minibatch=8, size=4, in_bfloat16=True)
    assert half == {"replicated": 1500 * 2, "sharded": 300 * 2 + 240 * 4}


def test_the_layer_is_sharded_where_that_sends_less():
    assert chosen(1, side=1024) == {"asked": "auto", "used": "replicated", "why": "a single process"}
    assert chosen(2, side=1024)["used"] == "sharded"
    assert chosen(32, side=1024, compress="bfloat16")["used"] == "sharded"
    assert chosen(2, side=128)["used"] == "replicated"  # 2.1 MB in all
    assert chosen(2, side=128)["why"] == "a rank sends 0.1 MB a step sharded, 2.1 replicated"


def test_the_layer_is_held_as_asked_where_it_can_be():
    assert chosen(2, side=128, asked="sharded")["used"] == "sharded"
    assert chosen(2, side=1024, asked="replicated")["used"] == "replicated"
    assert chosen(1, side=1024, asked="sharded")["used"] == "replicated"
    assert chosen(2, side=1024, backend="ipex") == {
        "asked": "auto", "used": "replicated", "why": "Intel's extension packs the weights"}
    with pytest.raises(UsageError, match="extension packs the weights; use --accelerate native"):
        chosen(2, side=1024, asked="sharded", backend="ipex")
