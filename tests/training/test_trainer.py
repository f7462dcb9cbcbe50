import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mscnn.distributed.world import World
from mscnn.training.contrast import ContrastResult
from mscnn.training.ema import EMA
from mscnn.training.targets import Targets
from mscnn.training.trainer import StepMetrics, Trainer

PLAIN = SimpleNamespace(hidden=None)  # a network whose first linear layer is not sharded

def test_the_next_epochs_first_fields_are_read_while_this_ones_last_are_computed():
    read = []

    def remember(sites, jitter, key, views):
        assert not views.any()
        read.append((key, sites.tolist()))
        return torch.zeros(len(sites), 1)

    trainer = Trainer(
        world=World(), acceleration=SimpleNamespace(place=lambda fields: fields), network=PLAIN, loss_module=None,
        optimiser=None, fields=SimpleNamespace(read=remember), jitter=None,
        targets=Targets(np.arange(9), np.arange(9), np.ones(9), *[np.zeros(9)] * 4), microbatch=2, clip_norm=0.0, seed=5)
    loaded = trainer.prefetch([(0, [np.array([4, 2, 0])]), (1, [np.array([1, 3])])])
    labels = [next(loaded).labels_N.tolist(), next(loaded).labels_N.tolist()]
    assert labels == [[4, 2], [0]]  # epoch 0 is being computed
    deadline = time.monotonic() + 60
    while len(read) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert read == [((5, 0), [4, 2]), ((5, 0), [0]), ((5, 1), [1, 3])]
    assert [microbatch.labels_N.tolist() for microbatch in loaded] == [[1, 3]]


def test_one_number_that_is_not_finite_anywhere_in_the_training_is_found():
    layer = torch.nn.Linear(2, 1)
    optimiser, average = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9), EMA(layer, 0.9)
    layer(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    trainer = Trainer(world=World(), acceleration=None, network=PLAIN, loss_module=layer, optimiser=optimiser, fields=None,
                      jitter=None, targets=None, microbatch=1, clip_norm=0.0, seed=0, ema=average)
    assert trainer.is_finite()
    for tensor in (layer.weight, optimiser.state[layer.bias]["momentum_buffer"], average.shadow[0]):
        for value in (float("nan"), float("-inf")):
            before, tensor.data = tensor.data, torch.full_like(tensor, value)
            assert not trainer.is_finite()
            tensor.data = before
    assert trainer.is_finite()


@pytest.mark.parametrize(("weight", "counted"), [(0.0, (2, 3)), (1.0, (0, 0))])
def test_matches_of_the_contrast_are_the_accuracy_only_where_no_mechanism_is_learnt(weight, counted):
    contrast = SimpleNamespace(loss=lambda embeddings_ME, sites_M: ContrastResult(1.0, embeddings_ME, matched=2, anchors=3))
    trainer = Trainer(
        world=World(), acceleration=None, network=PLAIN, loss_module=None, optimiser=None, fields=None, jitter=None,
        targets=Targets(np.arange(3), np.zeros(3), np.full(3, weight), *[np.zeros(3)] * 4), microbatch=3, clip_norm=0.0,
        seed=0, contrast=contrast)
    metrics, batch = StepMetrics(), SimpleNamespace(minibatch_M=np.arange(3), places_N=np.arange(3))
    trainer._contrast_of_step([batch], [torch.ones(3, 2)], metrics)
    assert (metrics.correct, metrics.labelled) == counted
