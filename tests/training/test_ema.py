import torch
from torch import nn

from mscnn.training.ema import EMA


def test_weights_are_averaged_as_by_hand_and_swapped_back():
    network = nn.Linear(1, 1)
    values, by_hand = [4.0, 1.0, -2.0, 7.0], 4.0
    for parameter in network.parameters():
        parameter.data.fill_(values[0])
    average = EMA(network, 0.2)
    for step, value in enumerate(values[1:]):
        for parameter in network.parameters():
            parameter.data.fill_(value)
        average.update()
        decay = [0.1, 2 / 11, 0.2][step]  # (1 + t) / (10 + t), then the decay asked for
        by_hand = decay * by_hand + (1 - decay) * value
    with average.swapped_in():
        torch.testing.assert_close(network.weight.detach(), torch.full((1, 1), by_hand))
        network.bias.data.zero_()  # what is changed here stays with the average
    assert network.weight.item() == network.bias.item() == 7.0
    with average.swapped_in():
        assert network.bias.item() == 0.0
