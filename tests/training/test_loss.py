import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mscnn.model import NUM_FEATURES
from mscnn.training.loss import UNKNOWN, LossModule, class_weights, loss_shares

LABELS = np.array([0, 0, 0, 1, 1, 3])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_microbatch_losses_sum_to_the_weighted_mean_of_the_minibatch(smoothing):
    torch.manual_seed(0)
    network, fields, labels = nn.Linear(5, 4), torch.randn(6, 5), torch.tensor(LABELS)
    weights = class_weights(LABELS, 4, "balanced")[LABELS]
    whole = np.arange(6)
    objective = LossModule(network, smoothing)
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
    result = LossModule(network)(field, right, torch.zeros(1))
    result["loss"].backward()
    assert (result["loss"], result["correct"]) == (0, 0)
    assert not network.weight.grad.any()


def test_correct_counts_fields():
    scores = torch.eye(4)[[0, 1, 2, 2]]
    result = LossModule(nn.Identity())(scores, torch.tensor([0, 1, 2, 3]), torch.full((4,), 0.25))
    assert result["correct"] == 3


class Features(nn.Module):
    """Stands for the network: features are given."""

    def __init__(self):
        super().__init__()
        self.features, self.classify = nn.Identity(), nn.Linear(NUM_FEATURES, 4)


def test_both_tasks_sum_to_their_means_over_the_minibatch():
    torch.manual_seed(0)
    objective, features, targets = LossModule(Features(), 0.1, 10.0, 7), torch.randn(6, NUM_FEATURES), torch.randn(6, 7)
    labels, weights, whole = torch.tensor(LABELS), np.ones(6), np.arange(6)
    labels[4:], weights[4:] = UNKNOWN, 0  # two fields are held out: their appearance is learnt, and no label
    total = sum(objective(features[own], labels[own], loss_shares(weights, whole, own), targets[own],
                          torch.full((len(own),), 1 / 6))["loss"] for own in (whole[:1], whole[1:5], whole[5:]))
    scores = objective.network.classify(features[:4])
    expected = F.cross_entropy(scores, labels[:4], label_smoothing=0.1) + 10 * F.smooth_l1_loss(
        objective.aux_head(features), targets)
    torch.testing.assert_close(total, expected)


def test_a_minibatch_without_any_label_teaches_no_mechanism():
    weights = np.zeros(6)
    assert loss_shares(weights, np.arange(4), np.arange(2)).tolist() == [0, 0]
    objective = LossModule(Features(), 0.1, 10.0, 7)
    shares = torch.full((2,), 0.5)
    result = objective(torch.randn(2, NUM_FEATURES), torch.full((2,), UNKNOWN), torch.zeros(2), torch.randn(2, 7), shares)
    result["loss"].backward()
    assert not objective.network.classify.weight.grad.any()
    assert objective.aux_head.weight.grad.any()
