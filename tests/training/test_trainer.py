import time
from types import SimpleNamespace

import numpy as np
import torch

from mscnn.distributed.world import World
from mscnn.model import MCNN
from mscnn.model.acceleration import Acceleration
from mscnn.training.ema import EMA
from mscnn.training.targets import Targets
from mscnn.training.trainer import Trainer, flips_and_turns, predict


def test_the_next_epochs_first_fields_are_read_while_this_ones_last_are_computed():
    read = []

    def remember(sites, jitter, key):
        read.append((key, sites.tolist()))
        return torch.zeros(len(sites), 1)

    trainer = Trainer(
        world=World(), acceleration=SimpleNamespace(place=lambda fields: fields), network=None, loss_module=None,
        optimiser=None, fields=SimpleNamespace(read=remember), jitter=None,
        targets=Targets(np.arange(9), np.arange(9), np.ones(9)), microbatch=2, clip_norm=0.0, seed=5)
    loaded = trainer.prefetch([(0, [np.array([4, 2, 0])]), (1, [np.array([1, 3])])])
    labels = [next(loaded)[1].tolist(), next(loaded)[1].tolist()]
    assert labels == [[4, 2], [0]]  # epoch 0 is being computed
    deadline = time.monotonic() + 60
    while len(read) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert read == [((5, 0), [4, 2]), ((5, 0), [0]), ((5, 1), [1, 3])]
    assert [microbatch[1].tolist() for microbatch in loaded] == [[1, 3]]


def test_one_number_that_is_not_finite_anywhere_in_the_training_is_found():
    layer = torch.nn.Linear(2, 1)
    optimiser, average = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9), EMA(layer, 0.9)
    layer(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    trainer = Trainer(world=World(), acceleration=None, network=None, loss_module=layer, optimiser=optimiser, fields=None,
                      jitter=None, targets=None, microbatch=1, clip_norm=0.0, seed=0, ema=average)
    assert trainer.is_finite()
    for tensor in (layer.weight, optimiser.state[layer.bias]["momentum_buffer"], average.shadow[0]):
        for value in (float("nan"), float("-inf")):
            before, tensor.data = tensor.data, torch.full_like(tensor, value)
            assert not trainer.is_finite()
            tensor.data = before
    assert trainer.is_finite()


def test_views_are_all_orientations_once():
    square = torch.arange(9.0).reshape(1, 1, 3, 3)
    expected = {tuple(torch.rot90(image, turns, (2, 3)).flatten().tolist()) for image in (square, square.flip(3))
                for turns in range(4)}
    assert {tuple(view.flatten().tolist()) for view in flips_and_turns(square)} == expected
    assert len(flips_and_turns(square)) == len(expected) == 8
    oblong = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert {tuple(view.flatten().tolist()) for view in flips_and_turns(oblong)} == {
        (0, 1, 2, 3, 4, 5), (2, 1, 0, 5, 4, 3), (3, 4, 5, 0, 1, 2), (5, 4, 3, 2, 1, 0)}


def test_seen_from_all_sides_a_turned_field_is_the_same_field():
    torch.manual_seed(0)
    network, field = MCNN(3, 2, 128, 128), torch.randn(2, 128, 128)
    images = torch.stack([field, torch.rot90(field, 1, (1, 2)), field.flip(2), torch.randn(2, 128, 128)])
    fields = SimpleNamespace(read=lambda sites: images[sites])
    how = {"microbatch": 3, "world": World(), "acceleration": Acceleration()}
    probabilities, features = predict(network, fields, np.arange(4), **how, all_views=True)
    np.testing.assert_allclose(features[1:3], features[[0, 0]], rtol=1e-4, atol=1e-5)  # sums in another order
    np.testing.assert_allclose(probabilities[1:3], probabilities[[0, 0]], rtol=1e-5)
    assert abs(probabilities[3] - probabilities[0]).max() > 1e-3
    plain, _ = predict(network, fields, np.arange(4), **how)
    assert abs(plain[1] - plain[0]).max() > 1e-3
    with torch.inference_mode():
        by_hand = torch.stack([network.features(view) for view in flips_and_turns(images)]).mean(0)
        torch.testing.assert_close(torch.from_numpy(features).float(), by_hand)
        expected = torch.softmax(network.classify(by_hand).double(), 1).numpy()
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5)
