import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mscnn.model import NUM_FEATURES
from mscnn.training.loss import UNKNOWN, LossModule, class_weights, loss_shares

LABELS = np.array([0, 0, 0, 1, 1, 3])


class Features(nn.Module):
    """Stands for the network: features are given."""

    def __init__(self, classify: nn.Module | None = None):
        super().__init__()
        self.features, self.classify = nn.Identity(), classify or nn.Linear(NUM_FEATURES, 4)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_microbatch_losses_sum_to_the_weighted_mean_of_the_minibatch(smoothing):
    torch.manual_seed(0)
    network, fields, labels = nn.Linear(5, 4), torch.randn(6, 5), torch.tensor(LABELS)
    weights = class_weights(LABELS, 4, "balanced")[LABELS]
    whole = np.arange(6)
    objective = LossModule(Features(network), smoothing)
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
    result = LossModule(Features(network))(field, right, torch.zeros(1))
    result["loss"].backward()
    assert (result["loss"], result["correct"]) == (0, 0)
    assert not network.weight.grad.any()


def test_correct_counts_fields():
    scores = torch.eye(4)[[0, 1, 2, 2]]
    result = LossModule(Features(nn.Identity()))(scores, torch.tensor([0, 1, 2, 3]), torch.full((4,), 0.25))
    assert result["correct"] == 3


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


def test_label_free_the_classifier_has_no_gradient_and_may_have_no_class():
    objective = LossModule(Features(nn.Linear(NUM_FEATURES, 0)), 0.0, 1.0, 7, mechanism_weight=0.0, contrast=True)
    features, targets = torch.randn(2, NUM_FEATURES), torch.randn(2, 7)
    result = objective(features, torch.full((2,), UNKNOWN), torch.zeros(2), targets, torch.full((2,), 0.5))
    assert (result["loss"] + result["embeddings_NE"].sum()).backward() is None
    assert not objective.network.classify.weight.requires_grad
    assert all(parameter.grad.any() for parameter in objective.projection.parameters())
    torch.testing.assert_close(result["loss"], F.smooth_l1_loss(objective.aux_head(features), targets))
    assert result["finite_N"].tolist() == [True, True]


def test_the_mechanism_has_its_weight():
    torch.manual_seed(0)
    network, features, labels = Features(), torch.randn(3, NUM_FEATURES), torch.tensor([0, 1, 3])
    once, half = (LossModule(network, mechanism_weight=weight)(features, labels, torch.full((3,), 1 / 3))["loss"]
                  for weight in (1.0, 0.5))
    torch.testing.assert_close(half, once / 2)
