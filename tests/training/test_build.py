import numpy as np
import pytest
import torch

from mscnn.core import config
from mscnn.core.errors import UsageError
from mscnn.data.tables.splits import Split
from mscnn.distributed.world import World
from mscnn.model import MCNN
from mscnn.model.lda import fit_lda_layer
from mscnn.training.build import choose_first_layer, require_enough_for_lda
from tests.conftest import make_table


@pytest.mark.parametrize(("mechanisms", "is_enough"), [("MN", False), ("MMN", True), ("MNO", False), ("MMNO", True)])
def test_lda_is_refused_before_training_exactly_where_it_cannot_be_fitted(mechanisms, is_enough):
    table = make_table([(f"c{number}", name) for number, name in enumerate([*mechanisms, "held out"])])
    split = Split("hold-out", np.array([*["train"] * len(mechanisms), "test"]), ("held out",))
    labels = np.array([sorted(set(mechanisms)).index(name) for name in mechanisms])
    features = np.random.default_rng(0).random((len(labels), 8))
    if is_enough:
        require_enough_for_lda(split, table)
        assert np.isfinite(fit_lda_layer(features, labels, len(set(mechanisms)))[0]).all()
    else:
        with pytest.raises(UsageError, match=f"needs more training fields than mechanisms, got {len(labels)} fields of"):
            require_enough_for_lda(split, table)
        with pytest.raises(ValueError, match="more fields than classes"):
            fit_lda_layer(features, labels, len(set(mechanisms)))


# ---- how the first linear layer is held

def chosen(size: int, *, side: int, asked: str = "auto", compress: str = "none", backend: str = "native") -> dict:
    with torch.device("meta"):
        network = MCNN(3, 3, side, side)
    settings = config.from_flat({"preset": "supervised", "sites": "x.csv", "first_layer": asked, "compress": compress,
                                 "minibatch": 8 * size})
    return choose_first_layer(settings, network, World(size=size), backend)


def test_the_layer_is_sharded_where_that_sends_less():
    assert chosen(1, side=1024) == {"asked": "auto", "used": "replicated", "why": "a single process"}
    assert chosen(2, side=1024)["used"] == "sharded"
    assert chosen(32, side=1024, compress="bfloat16")["used"] == "sharded"
    assert chosen(2, side=128)["used"] == "replicated"  # 2.1 MB in all
    assert chosen(2, side=128)["why"] == "a rank would send 0.1 MB sharded a step, 2.1 replicated"


def test_the_layer_is_held_as_asked_where_it_can_be():
    assert chosen(2, side=128, asked="sharded")["used"] == "sharded"
    assert chosen(2, side=1024, asked="replicated")["used"] == "replicated"
    assert chosen(1, side=1024, asked="sharded")["used"] == "replicated"
    assert chosen(2, side=1024, backend="ipex") == {
        "asked": "auto", "used": "replicated", "why": "Intel's extension packs the weights"}
    with pytest.raises(UsageError, match="extension packs the weights; use --accelerate native"):
        chosen(2, side=1024, asked="sharded", backend="ipex")
