import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight
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


def test_balanced_weights_are_scikit_learns():
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=LABELS)
    np.testing.assert_allclose(class_weights(LABELS, 5, "balanced"), [*expected[:2], 0, expected[2], 0])
    assert class_weights(LABELS, 5, "none").tolist() == [1] * 5


def test_padding_counts_for_nothing():
    network = nn.Linear(5, 4)
    result = Objective(network)(torch.randn(1, 5), torch.tensor([2]), torch.zeros(1))
    result["loss"].backward()
    assert (result["loss"], result["correct"]) == (0, 0)
    assert not network.weight.grad.any()


def test_correct_counts_fields():
    scores = torch.eye(4)[[0, 1, 2, 2]]
    result = Objective(nn.Identity())(scores, torch.tensor([0, 1, 2, 3]), torch.full((4,), 0.25))
    assert result["correct"] == 3
