import time
from types import SimpleNamespace

import numpy as np
import torch

from mscnn.engine import Trainer
from mscnn.world import World


def test_the_next_epochs_first_fields_are_read_while_this_ones_last_are_computed():
    read = []

    def remember(sites, jitter, key):
        read.append((key, sites.tolist()))
        return torch.zeros(len(sites), 1)

    trainer = Trainer(
        world=World(), acceleration=SimpleNamespace(place=lambda fields: fields), network=None, objective=None,
        optimiser=None, fields=SimpleNamespace(read=remember), labels=np.arange(9), weights=np.ones(9), jitter=None,
        microbatch=2, clip_norm=0.0, seed=5)
    loaded = trainer.read_ahead([(0, [np.array([4, 2, 0])]), (1, [np.array([1, 3])])])
    labels = [next(loaded)[1].tolist(), next(loaded)[1].tolist()]
    assert labels == [[4, 2], [0]]  # epoch 0 is being computed
    deadline = time.monotonic() + 60
    while len(read) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert read == [((5, 0), [4, 2]), ((5, 0), [0]), ((5, 1), [1, 3])]
    assert [microbatch[1].tolist() for microbatch in loaded] == [[1, 3]]
