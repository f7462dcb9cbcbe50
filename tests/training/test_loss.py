import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_sample_weight
from torch import nn

from mscnn.model import NUM_FEATURES
from mscnn.training.loss import UNKNOWN, LossModule, assay_losses, assay_weights, class_weights, loss_shares

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


# Six fields of rows 0, 0, 1, 2, 3 and 4 in three assays; the last assay has one class alone.
VALUES = np.array([[1, 0, 1], [0, np.nan, 1], [np.nan, 1, np.nan], [0, 0, 1], [1, np.nan, np.nan]], np.float32)
ROWS = np.array([0, 0, 1, 2, 3, 4])


@pytest.mark.parametrize("mode", ["none", "balanced"])
def test_weights_of_assays_are_those_of_scikit_learn_in_each_assay(mode):
    weights = assay_weights(VALUES, np.bincount(ROWS), mode)
    assert not weights[:, 2].any()  # cannot be learnt
    for assay in (0, 1):
        of_fields = VALUES[ROWS, assay]
        known = ~np.isnan(of_fields)
        expected = compute_sample_weight("balanced", of_fields[known]) if mode == "balanced" else np.ones(known.sum())
        np.testing.assert_allclose(weights[ROWS[known], assay], expected, rtol=1e-6)
        assert not weights[ROWS[~known], assay].any()


def hand_written_loss(scores_NA, smoothing, balanced):
    """Sum over known cells of weight * cross-entropy over the sum of the weights, cell by cell."""
    total = weighted = 0.0
    fields_of = {(assay, value): sum(VALUES[row, assay] == value for row in ROWS) for assay in range(3) for value in (0, 1)}
    for field, row in enumerate(ROWS):
        for assay in range(3):
            value, known = VALUES[row, assay], fields_of[assay, 0] + fields_of[assay, 1]
            if np.isnan(value) or not fields_of[assay, 0] * fields_of[assay, 1]:
                continue
            weight = known / (2 * fields_of[assay, value]) if balanced else 1
            probability = 1 / (1 + np.exp(-scores_NA[field, assay]))
            target = value * (1 - smoothing) + smoothing / 2
            weighted -= weight * (target * np.log(probability) + (1 - target) * np.log(1 - probability))
            total += weight
    return weighted / total


@pytest.mark.parametrize("mode", ["none", "balanced"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_masked_loss_of_microbatches_sums_to_the_hand_written_one(mode, smoothing):
    torch.manual_seed(0)
    network, features = nn.Linear(5, 3), torch.randn(6, 5)
    weights, labels, whole = assay_weights(VALUES, np.bincount(ROWS), mode), np.nan_to_num(VALUES), np.arange(6)
    objective = LossModule(Features(network), smoothing)
    parts = [objective(features[own], torch.from_numpy(labels[ROWS[own]]), loss_shares(weights, ROWS, ROWS[own]))
             for own in (whole[:1], whole[1:4], whole[4:])]
    scores = network(features).detach().double().numpy()
    assert sum(part["loss"].item() for part in parts) == pytest.approx(
        hand_written_loss(scores, smoothing, mode == "balanced"), rel=1e-6)
    right = sum((scores[field, assay] > 0) == (VALUES[row, assay] == 1) for field, row in enumerate(ROWS)
                for assay in (0, 1) if not np.isnan(VALUES[row, assay]))
    assert sum(part["correct"] for part in parts) == right
    assert all(part["finite_N"].all() for part in parts)


def test_smoothing_of_an_assay_is_that_of_two_classes():
    scores, labels = torch.tensor([[-2.0], [0.5], [3.0]]), torch.tensor([[1.0], [0.0], [1.0]])
    losses, _ = assay_losses(scores, labels, 0.2)
    expected = F.cross_entropy(torch.cat([torch.zeros(3, 1), scores], dim=1), labels[:, 0].long(), reduction="none",
                               label_smoothing=0.2)
    torch.testing.assert_close(losses[:, 0], expected)


def test_a_minibatch_without_a_known_cell_has_no_loss_and_no_gradient():
    weights = assay_weights(VALUES, np.bincount(ROWS), "balanced") * 0
    network = nn.Linear(5, 3)
    result = LossModule(Features(network))(torch.randn(2, 5), torch.zeros(2, 3), loss_shares(weights, ROWS, ROWS[:2]))
    result["loss"].backward()
    assert (float(result["loss"]), int(result["correct"])) == (0, 0)
    assert not network.weight.grad.any()
