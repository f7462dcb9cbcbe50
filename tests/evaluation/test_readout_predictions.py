import numpy as np
import pytest

from mscnn.core.errors import UsageError
from mscnn.data.tables.splits import SplitRecord
from mscnn.distributed.world import World
from mscnn.evaluation.readout_predictions import NOT_MEASURED, by_checkpoint, over_compounds
from mscnn.readout.tables import UNKNOWN, SiteFacts
from tests.readout.test_readout import (
    COMPOUNDS,
    FIELDS,
    LABELS,
    MECHANISMS,
    NUMBERS,
    ONE_HOT,
    facts,
    features,
    fitted,
    noise,
)

FOLDS = [SplitRecord("leave-compound-out", [f"C{number:02}"], "", "", {}, {}, []) for number in range(COMPOUNDS)]


def predicted(values, labels):
    return over_compounds(features(values, noise(seed=1)), facts(labels=labels), FOLDS, MECHANISMS, inner_folds=3,
                          ranks=World())


def test_mechanisms_that_are_dealt_out_at_random_are_not_found():
    """Features tell the compound, and the mechanism of each compound is permuted: a leak would show as a share of 1."""
    identity, shares = 10 * np.eye(COMPOUNDS)[NUMBERS] + noise(COMPOUNDS), []
    for seed in range(4):
        labels = np.repeat(np.random.default_rng(seed).permutation(np.arange(COMPOUNDS) % MECHANISMS), FIELDS)
        shares.append((predicted(identity, labels).chosen_SK.argmax(1) == labels).mean())
    assert np.mean(shares) < 1 / MECHANISMS + 0.1  # 48 compounds: sd 0.07; leaving one out lowers its class's share


def test_a_site_of_no_fold_is_not_predicted_and_each_fold_chooses():
    labels = np.where(NUMBERS == 3, UNKNOWN, LABELS)
    found = predicted(6 * ONE_HOT + noise(), labels)
    assert [choice.chosen for choice in found.choices] == ["network"] * COMPOUNDS
    np.testing.assert_array_equal(found.chosen_SK[NUMBERS == 3], 0)
    np.testing.assert_array_equal(found.chosen_SK, found.candidates["network"])
    is_known = labels != UNKNOWN
    assert (found.chosen_SK.argmax(1) == labels)[is_known].mean() > 0.95
    assert list(found.candidates) == ["statistics", "network", "product", "side by side"]


def test_a_candidate_that_some_folds_lack_is_left_out():
    """Compound 0 alone is on a plate without untreated wells: only the fold without it can scale plates by them."""
    known = facts(plates=np.where(NUMBERS == 0, "without", "with"), controls=5)
    known = known.select(~known.is_control_S | (known.plates_S == "with"))
    rows = len(known.labels_S)
    found = over_compounds(features(noise(rows=rows), noise(seed=1, rows=rows)), known, FOLDS, MECHANISMS, inner_folds=3,
                           ranks=World())
    assert [fold.candidates["statistics, by plate controls"].loss is not None for fold in found.choices] == [
        True, *[False] * (COMPOUNDS - 1)]
    assert list(found.candidates) == ["statistics", "network", "product", "side by side"]


def test_a_fold_that_leaves_one_mechanism_is_refused():
    with pytest.raises(UsageError, match="leaving out c00 leaves 66 fields of 1 mechanisms, too few to fit a read-out"):
        predicted(noise(), np.where(NUMBERS == 0, 0, 1))


def on_plates(name="p"):
    """Facts of four plates with untreated wells, and statistics that tell mechanisms once these scale them."""
    known = facts(plates=np.array([f"{name}{number % 4}" for number in NUMBERS]), controls=5)
    rows = len(known.labels_S)
    offset = 40 * noise(3, seed=2, rows=4)[[int(plate[-1]) for plate in known.plates_S]]
    return known, np.vstack([3 * ONE_HOT, np.zeros((20, 3))]) + offset + noise(seed=1, rows=rows)


def test_plates_of_another_screen_are_scaled_by_their_own_untreated_wells():
    """A screen whose values are 1,000 higher has the same predictions, once its plates are measured."""
    known, signal = on_plates()
    rows = len(known.labels_S)
    readout = fitted(noise(rows=rows), signal, known)
    assert readout.choice.chosen == "statistics, by plate controls"
    names = np.unique(known.compounds_S)
    own = by_checkpoint(readout, features(noise(rows=rows), signal), known, measure=False, learnt=names)
    other = by_checkpoint(readout, features(noise(rows=rows) + 1000, signal + 1000), on_plates("other")[0], measure=True,
                          learnt=names)
    np.testing.assert_allclose(other.chosen_SK, own.chosen_SK, atol=1e-9)
    assert own.notes == other.notes == []
    renamed = facts(plates=np.array(["new"] * len(NUMBERS)))
    elsewhere = by_checkpoint(readout, features(noise(), signal[:len(NUMBERS)]), renamed, measure=True, learnt=names)
    assert elsewhere.notes == [NOT_MEASURED]


def test_compounds_that_the_network_has_not_learnt_are_predicted_without_it():
    known = facts(controls=1)  # untreated wells are no compound
    network, statistics = (np.vstack([values, np.zeros((1, 3))])
                           for values in (6 * ONE_HOT + noise(), 2 * ONE_HOT + noise(seed=1)))
    values, readout = features(network, statistics), fitted(network, statistics, known)
    assert readout.choice.chosen == "network"
    found = by_checkpoint(readout, values, known, measure=False, learnt=[" C00 ", *np.unique(known.compounds_S)[3:-1]])
    is_new = np.append(np.isin(NUMBERS, [1, 2]), False)
    np.testing.assert_array_equal(found.chosen_SK[is_new], found.candidates["statistics"][is_new])
    np.testing.assert_array_equal(found.chosen_SK[~is_new], found.candidates["network"][~is_new])
    assert found.notes == ["12 fields of compounds whose images the network has not learnt are predicted by statistics, "
                           "not by network: it was chosen by compounds that the network knows"]


def test_without_the_network_the_best_of_the_others_predicts_and_its_plates_are_told():
    """What is chosen, the network, is not scaled by plates; what predicts a compound that it has not learnt is."""
    known, signal = on_plates()
    network = np.vstack([9 * ONE_HOT, np.zeros((20, 3))]) + noise(rows=len(signal))
    readout = fitted(network, signal, known)
    assert readout.choice.chosen == "network"
    elsewhere = SiteFacts(known.labels_S, known.compounds_S, np.array(["new"] * len(signal)), known.wells_S,
                          np.zeros(len(signal), bool))
    for learnt, name, notes in ((np.unique(known.compounds_S), "network", 0), ([], "statistics, by plate controls", 2)):
        found = by_checkpoint(readout, features(network, signal), elsewhere, measure=False, learnt=learnt)
        np.testing.assert_array_equal(found.chosen_SK, found.candidates[name])
        assert (len(found.notes), NOT_MEASURED in found.notes) == (notes, notes == 2)
