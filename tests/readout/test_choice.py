import numpy as np
import pytest

from mscnn.readout import choice
from mscnn.readout.tables import UNKNOWN, SiteFacts

NAMES = ["statistics", "network", "product"]


def chosen(**losses):
    return choice.choose({name: np.array(values) for name, values in losses.items()}, {}, NAMES).chosen


def test_each_compound_counts_once_and_a_sure_error_counts_as_one_in_a_thousand():
    facts = SiteFacts(np.array([0, 0, 1]), np.array(["a", "a", "b"]), *[np.array([""] * 3)] * 2, np.zeros(3, bool))
    probabilities = np.array([[0.5, 0.5], [1.0, 0.0], [1.0, 0.0]])
    expected = [np.log(2) / 2, np.log(1000)]
    np.testing.assert_allclose(choice.compound_losses(probabilities, facts, np.array(["a", "b"])), expected)


def test_the_simplest_within_the_least_gain_of_the_best_is_chosen():
    network = np.full(9, 0.3)
    assert chosen(statistics=network + 0.009, network=network) == "statistics"
    assert chosen(statistics=network + 0.011, network=network) == "network"
    assert chosen(statistics=network + 0.011, network=network, product=network - 0.009) == "network"
    assert chosen(statistics=network + np.array([0.5, -0.6] * 4 + [0]), network=network) == "statistics"


def test_the_temperature_is_that_of_scores_that_are_too_sure():
    """Scores are the true log-odds times 8; labels are drawn from the true probabilities, many fields of each compound."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(20_000, 3))
    labels = (truth + rng.gumbel(size=truth.shape)).argmax(1)
    facts = SiteFacts(labels, np.arange(len(labels)) % 5, *[np.array([""] * len(labels))] * 2, np.zeros(len(labels), bool))
    assert choice.temperature(8 * truth, facts) == 8
    assert choice.temperature(truth / 4, facts) == 0.25


def test_what_is_not_judged_is_not_chosen():
    made = choice.choose({"statistics": np.ones(4)}, {"network": "seen"}, NAMES[:2])
    assert (made.chosen, made.reason, made.compounds) == ("statistics", "the only one that can be judged", 4)
    assert made.candidates["network"] == choice.Judgement(None, "seen")
    assert made.candidates["statistics"].loss == 1.0


def test_of_two_compounds_nothing_is_told():
    made = choice.choose({"statistics": np.ones(2), "network": np.zeros(2)}, {}, NAMES[:2])
    assert made.chosen == "statistics"
    assert "2 training compounds share their mechanism with another, too few to judge by" in made.reason
    assert choice.choose({"network": np.ones(2)}, {"statistics": "not there"}, NAMES[:2]).chosen == "network"
    assert choice.choose({"statistics": np.ones(3), "network": np.zeros(3)}, {}, NAMES[:2]).chosen == "network"


def test_inner_folds_spread_each_mechanism_and_leave_untreated_and_unknown_sites_out():
    compounds = np.array(["a1", "a2", "a3", "b1", "b2", "b3", "dmso", "x"])
    labels = np.array([0, 0, 0, 1, 1, 1, 2, UNKNOWN])
    facts = SiteFacts(labels, compounds, *[np.array([""] * 8)] * 2, compounds == "dmso")
    assert [group.tolist() for group in choice.inner_folds(facts, 3)] == [["a1", "b1"], ["a2", "b2"], ["a3", "b3"]]
    assert len(choice.inner_folds(facts, 99)) == 6


def test_a_choice_of_no_candidate_is_refused():
    with pytest.raises(ValueError, match="has chosen 'magic', which is no candidate"):
        choice.Choice.from_json({"chosen": "magic", "reason": "", "compounds": 3, "candidates": {}})
