import numpy as np
import torch

from mscnn.data.pixels.reader import FieldReader
from mscnn.distributed.world import World
from mscnn.model import MCNN
from mscnn.model.acceleration import Acceleration
from mscnn.training.inference import flips_and_turns, predict


def test_views_are_all_orientations_once():
    square = torch.arange(9.0).reshape(1, 1, 3, 3)
    expected = {tuple(torch.rot90(image, turns, (2, 3)).flatten().tolist()) for image in (square, square.flip(3))
                for turns in range(4)}
    assert {tuple(view.flatten().tolist()) for view in flips_and_turns(square)} == expected
    assert len(flips_and_turns(square)) == len(expected) == 8
    oblong = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert {tuple(view.flatten().tolist()) for view in flips_and_turns(oblong)} == {
        (0, 1, 2, 3, 4, 5), (2, 1, 0, 5, 4, 3), (3, 4, 5, 0, 1, 2), (5, 4, 3, 2, 1, 0)}


class Given(FieldReader):
    """Fields that are in memory already."""

    def __init__(self, images):
        object.__setattr__(self, "images", images)

    def read(self, sites, *_):
        return self.images[sites]


def test_seen_from_all_sides_a_turned_field_is_the_same_field():
    torch.manual_seed(0)
    network, field = MCNN(3, 2, 128, 128), torch.randn(2, 128, 128)
    images = torch.stack([field, torch.rot90(field, 1, (1, 2)), field.flip(2), torch.randn(2, 128, 128)])
    fields = Given(images)
    how = {"microbatch": 3, "world": World(), "acceleration": Acceleration()}
    probabilities, features = predict(network, fields, np.arange(4), **how, tta=True)
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
