"""Choices on tables that are made so that one candidate is the best."""

import numpy as np
import pytest

from mscnn.readout import plate_controls
from mscnn.readout.candidates import BY_NAME, LEARNT_MECHANISMS, product
from mscnn.readout.linear import fit_linear, fit_whitening, softmax
from mscnn.readout.readout import fit_readout
from mscnn.readout.tables import UNKNOWN, Features, SiteFacts

MECHANISMS, COMPOUNDS, FIELDS = 3, 12, 6  # mechanisms; compounds; fields of each
LABELS = np.repeat(np.arange(COMPOUNDS) % MECHANISMS, FIELDS)
NUMBERS = np.repeat(np.arange(COMPOUNDS), FIELDS)
ONE_HOT = np.eye(MECHANISMS)[LABELS]


def facts(labels=LABELS, plates=None, controls=0):
    """Facts of the treated fields, then of so many untreated wells on each plate."""
    plates = np.array(["p"] * len(labels)) if plates is None else plates
    names = np.unique(plates)
    return SiteFacts(np.r_[labels, np.full(controls * len(names), UNKNOWN)],
                     np.r_[[f"c{number:02}" for number in NUMBERS], ["dmso"] * controls * len(names)],
                     np.r_[plates, np.repeat(names, controls)],
                     np.array([f"w{number}" for number in range(len(labels) + controls * len(names))]),
                     np.r_[np.zeros(len(labels), bool), np.ones(controls * len(names), bool)])


def features(network, statistics):
    return Features({"network": [f"n{number}" for number in range(network.shape[1])],
                     "statistics": [f"s{number}" for number in range(statistics.shape[1])]},
                    np.hstack([network, statistics]))


def fitted(network, statistics, known=None, **options):
    known = known or facts()
    return fit_readout(features(network, statistics), known, np.flatnonzero(~known.is_control_S), MECHANISMS,
                       **{"folds": 4, **options})


def noise(width=3, seed=0, rows=COMPOUNDS * FIELDS):
    return np.random.default_rng(seed).normal(size=(rows, width))


@pytest.mark.parametrize("best", ["statistics", "network", "product", "side by side"])
def test_the_best_is_chosen(best):
    nuisance = 6 * noise(MECHANISMS, seed=3)
    network, statistics = {
        "statistics": (noise(), 6 * ONE_HOT + noise(seed=1)),
        "network": (6 * ONE_HOT + noise(), noise(seed=1)),
        # The network tells mechanism 0 from the others, the statistics mechanism 1: neither tells all.
        "product": (60 * ONE_HOT[:, :1] + noise(1), 60 * ONE_HOT[:, 1:2] + noise(1, seed=1)),
        # What hides the mechanism from the network is seen by the statistics.
        "side by side": (3 * ONE_HOT + nuisance + 0.3 * noise(), nuisance),
    }[best]
    assert fitted(network, statistics).choice.chosen == best


def test_features_of_a_network_that_learnt_the_mechanisms_are_not_judged():
    readout = fitted(9 * ONE_HOT + noise(), ONE_HOT + noise(seed=1), network_note=LEARNT_MECHANISMS)
    assert readout.choice.chosen == "statistics"
    assert readout.choice.candidates["network"].loss is None
    assert "not judged: the network learnt the mechanisms" in readout.choice.candidates["network"].note
    assert "network" in readout.names()


def test_features_that_tell_the_compound_and_not_the_mechanism_do_not_win():
    network = 20 * np.eye(COMPOUNDS)[NUMBERS] + 0.1 * noise(COMPOUNDS)  # right for every field of a compound that it knows
    readout = fitted(network, 2 * ONE_HOT + noise(seed=1))
    assert readout.choice.chosen == "statistics"
    judged = readout.choice.candidates["network"]
    assert judged.loss == pytest.approx(np.log(MECHANISMS), abs=0.2)  # of a guess, once it is calibrated
    assert judged.temperature > 8
    sure = fit_linear(network, LABELS, MECHANISMS, components=20)
    np.testing.assert_allclose(readout.probabilities("network", features(network, noise()), np.array(["p"] * len(LABELS))),
                               softmax(sure.scores(network) / judged.temperature), atol=1e-9)


def test_plate_controls_undo_what_plates_add():
    plates = np.array([f"p{number % 4}" for number in NUMBERS])  # all mechanisms on each
    known = facts(plates=plates, controls=5)
    offset = 40 * noise(3, seed=2, rows=4)[[int(name[1:]) for name in known.plates_S]]
    signal = np.vstack([3 * ONE_HOT, np.zeros((20, 3))])
    readout = fitted(noise(rows=len(offset)), signal + offset + noise(seed=1, rows=len(offset)), known)
    assert readout.choice.chosen == "statistics, by plate controls"
    assert readout.choice.candidates["statistics, sphered on controls"].loss is not None
    predicted = readout.predict(features(noise(rows=1), np.array([[3.0, 0, 0]]) + offset[:1]), known.plates_S[:1])
    assert predicted.argmax() == 0


@pytest.mark.parametrize(("controls", "reason"), [
    (0, "no untreated wells"), (3, "fewer than 4 untreated wells on 1 of 1 plates: p"),
    (4, "4 fields of untreated wells for 6 features; more than that are needed"),
    (6, "6 fields of untreated wells for 6 features; more than that are needed")])
def test_what_cannot_be_had_is_listed_with_the_reason(controls, reason):
    known = facts(controls=controls)
    readout = fitted(noise(rows=len(known.labels_S)), noise(seed=1, rows=len(known.labels_S)), known)
    assert readout.choice.candidates["side by side, sphered on controls"].note == reason
    assert "side by side, sphered on controls" not in readout.names()
    assert ("side by side, by plate controls" in readout.names()) == (controls >= 4)
    assert (readout.choice.candidates["product, sphered on controls"].loss is not None) == (controls >= 4)  # of 3 each


def test_sites_without_a_mechanism_are_not_fitted_to():
    labels = LABELS.copy()
    labels[NUMBERS >= 9] = UNKNOWN
    table, wild = ONE_HOT + noise(), ONE_HOT + noise()
    wild[NUMBERS >= 9] = 1e6
    one, other = (fitted(values, noise(seed=1), facts(labels=labels)) for values in (table, wild))
    np.testing.assert_array_equal(one.parts["network"].weights_KD, other.parts["network"].weights_KD)
    assert one.choice == other.choice


def test_a_compound_whose_mechanism_no_other_has_decides_nothing():
    labels = np.where(NUMBERS == 11, 2, np.where(NUMBERS % 2, 1, 0))
    assert fitted(noise(), noise(seed=1), facts(labels=labels)).choice.compounds == 11


def test_sphering_is_by_the_untreated_wells_alone():
    known = facts(controls=40)
    treated, rows = ~known.is_control_S, len(known.labels_S)
    statistics = noise(rows=rows)
    statistics[~treated] = statistics[~treated] @ [[1, 0.9, 0], [0, 1, 0.9], [0, 0, 1]]  # correlated: more than a scale
    readout, name = fitted(noise(seed=1, rows=rows), statistics, known), "statistics, sphered on controls"
    scaled = plate_controls.measure(statistics, known).apply(statistics, known.plates_S)
    expected = fit_linear(scaled[treated], LABELS, MECHANISMS, fit_whitening(scaled[~treated]))
    np.testing.assert_allclose(readout.parts[name].weights_KD * readout.choice.candidates[name].temperature,
                               expected.weights_KD, rtol=1e-9)


def test_a_product_is_the_normalised_geometric_mean_and_the_mean_where_nothing_is_left():
    found = product(np.array([[0.9, 0.1], [1.0, 0.0]]), np.array([[0.4, 0.6], [0.0, 1.0]]))
    np.testing.assert_allclose(found, [[6 / (6 + 6 ** 0.5), 1 - 6 / (6 + 6 ** 0.5)], [0.5, 0.5]])


def test_the_network_is_read_by_few_components_and_statistics_as_they_are():
    assert [BY_NAME[name].components(13) for name in ("statistics", "network", "side by side")] == [None, 26, 26]
    assert BY_NAME["network"].components(3) == 20
