import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mscnn.objective import Objective, class_weights, loss_shares

LABELS = np.array([0, 0, 0, 1, 1, 3])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_microbatch_losses_sum_to_the_weighted_mean_of_the_minibatch(smoothing):
    torch.manual_seed(0)
    network, fields, labels = nn.Linear(5, 4), torch.randn(6, 5), torch.tensor(LABELS)
    weights = class_weights(LABELS, 4, "balanced")[LABELS]
    whole = np.arange(6)
    objective = Objective(network, smoothing)
    total = sum(objective(fields[own], labels[own], loss_shares(weights, whole, own))["loss"]
                for own in (whole[:1], whole[1:4], whole[4:]))
    losses = F.cross_entropy(network(fields), labels, reduction="none", label_smoothing=smoothing)
    expected = (losses * torch.tensor(weights)).sum() / weights.sum()
    torch.testing.assert_close(total, expected.float())


def test_balanced_weights_give_each_class_the_same_say():
    weights = class_weights(LABELS, 5, "balanced")
    np.testing.assert_allclose(weights, [6 / (3 * 3), 6 / (3 * 2), 0, 6 / (3 * 1), 0])  # fields / (classes * own fields)
    assert class_weights(LABELS, 5, "none").tolist() == [1] * 5


def test_padding_counts_for_nothing():
    network, field = nn.Linear(5, 4), torch.ones(1, 5)
    right = network(field).argmax(dim=1)  # even a padding field that is right
    result = Objective(network)(field, right, torch.zeros(1))
    result["loss"].backward()
    assert (result["loss"], result["correct"]) == (0, 0)
    assert not network.weight.grad.any()


def test_correct_counts_fields():
    scores = torch.eye(4)[[0, 1, 2, 2]]
    result = Objective(nn.Identity())(scores, torch.tensor([0, 1, 2, 3]), torch.full((4,), 0.25))
    assert result["correct"] == 3
