import numpy as np
import pandas as pd

from mscnn.report import choose_examples
from mscnn.report.choose_examples import Choice, Screen

CLASSES = ("m", "n")


def treatments(*rows):
    """Rows: compound, dose, known mechanism, probability of m."""
    return pd.DataFrame([{"Metadata_Compound": compound, "Metadata_Concentration": dose, "Metadata_MOA": mechanism,
                          "Predicted_MOA": "m" if p >= 0.5 else "n", "Probability_m": p, "Probability_n": 1 - p}
                         for compound, dose, mechanism, p in rows])


def screen(scored, trained=(), features=None, ranked=None):
    """A field a treatment, and a control field: the trained ones first, then the control, then the scored ones."""
    sites = pd.DataFrame([(name, dose, mechanism) for name, dose, mechanism in trained] + [("dmso", 0.0, "")] + [
        tuple(row[:3]) for row in scored.to_numpy().tolist()],
        columns=["Metadata_Compound", "Metadata_Concentration", "Metadata_MOA"]).assign(Metadata_Plate="P")
    angles = np.arange(len(sites)) if features is None else np.array(features, float)
    sites = sites.assign(Metadata_Well="B02", Metadata_Site="1", x=np.cos(angles), y=np.sin(angles))
    first = len(trained) + 1
    return Screen(sites, np.arange(first, len(sites)), scored.assign(Metadata_Plate="P"), scored, "DMSO", ranked)


def test_right_ones_are_of_every_mechanism_the_surest_first_and_of_no_consecutive_doses():
    """The finding: 3 of 6 mechanisms, consecutive doses. a alone is of m: 3 is next to 10, so the second is 1; d has two
    compounds of n, so the surer dose of each is shown."""
    scored = treatments(("a", 1, "m", 0.8), ("a", 3, "m", 0.9), ("a", 10, "m", 0.99), ("d", 1, "n", 0.01),
                        ("d", 3, "n", 0.02), ("d", 10, "n", 0.03), ("e", 1, "n", 0.2), ("e", 3, "n", 0.1))
    chosen = choose_examples.choose(screen(scored), 0)
    assert [(each.row - 1, each.kind, each.pair) for each in chosen] == [
        (2, "right", None), (-1, "control", 0), (0, "right", None), (3, "right", None), (-1, "control", 3),
        (7, "right", None)]


def test_doses_that_are_not_given_are_not_apart():
    scored = treatments(("a", np.nan, "m", 0.9), ("a", 1, "m", 0.8), ("a", 2, "m", 0.7))
    assert choose_examples.spread(scored, scored, 2) == [0]


def test_a_wrong_one_stands_beside_both_mechanisms_and_a_control_of_its_plate():
    """w is of n and taken for m. Of n, the trained t2 is nearer than the rightly predicted r; the wrong x is of n too, and
    nearest, but shows no n."""
    scored = treatments(("w", 1, "n", 0.9), ("x", 1, "n", 0.8), ("r", 1, "n", 0.1), ("k", 1, "m", 0.95))
    found = screen(scored, trained=[("t1", 1, "n"), ("t2", 1, "n")], features=[2.5, 0.3, 5, 0, 0.01, 3, 1])
    chosen = choose_examples.choose(found, 0)[:5]
    assert chosen == [Choice(3, "wrong", "m"), Choice(1, "nearest right", "", 0), Choice(6, "nearest right", "m", 0),
                      Choice(2, "control", "", 0), Choice(4, "wrong", "m")]


def test_the_surest_of_many_wrong_ones_are_shown():
    scored = treatments(*((f"c{number}", 1, "n", 0.6 + 0.01 * number) for number in range(20)))
    wrong = [each.row - 1 for each in choose_examples.choose(screen(scored), 0) if each.kind == "wrong"]
    assert wrong == list(range(19, 7, -1))


def test_new_compounds_come_by_rank_each_once_beside_a_known_one_and_the_control():
    scored = treatments(("p", 1, "", 0.9), ("p", 3, "", 0.99), ("q", 1, "", 0.7), ("s", 1, "", 0.3))
    ranked = list(choose_examples.keys(scored.iloc[[2, 0, 1]]))
    for order, expected in ((None, [1, 2, 3]), (ranked, [2, 0, 3])):  # s has no rank, and comes last
        found = screen(scored, trained=[("t", 1, "m")], ranked=order)
        chosen = choose_examples.choose(found, 0)
        assert [each.row - 2 for each in chosen if each.kind == "new"] == expected
        first = [each for each in chosen if each.pair == 0]
        assert [(each.row, each.kind) for each in first] == [(0, "nearest right"), (1, "control")]


def test_attribution_is_shared_out_between_wrong_ones_and_mechanisms():
    scored = treatments(*((f"w{number}", 1, "n", 0.9) for number in range(5)),
                        *((f"a{number}", 1, "m", 0.9) for number in range(3)),
                        *((f"b{number}", 1, "n", 0.1) for number in range(3)))
    chosen = choose_examples.choose(screen(scored), 4)
    attributed = [each for each in chosen if each.is_attributed]
    assert sorted((each.kind, each.predicted) for each in attributed) == [
        ("right", "m"), ("right", "n"), ("wrong", "m"), ("wrong", "m")]
    assert not any(each.is_attributed for each in choose_examples.choose(screen(scored), 0))


def test_a_field_is_the_lower_median_of_its_treatment():
    """Of probabilities of n, 0.6 and 0.9, the lower median is that of 0.6; of three the middle one."""
    fields = treatments(("b", 2, "n", 0.1), ("b", 2, "n", 0.4), ("a", 1, "m", 0.9), ("a", 1, "m", 0.6), ("a", 1, "m", 0.7))
    of_all = screen(fields)
    found = Screen(of_all.sites, of_all.scored, of_all.fields, treatments(("a", 1, "m", 0.7), ("b", 2, "n", 0.25)), "DMSO")
    assert choose_examples.one_each(found) == [0, 5, 2]  # the control first


def test_without_predictions_hits_are_shown_without_attribution():
    scored = treatments(("p", 1, "", 0.9), ("q", np.nan, "m", 0.7))
    scored = scored[[name for name in scored if not name.startswith("Probability")]].assign(Predicted_MOA="")
    chosen = choose_examples.choose(screen(scored), 2)
    assert [(each.row, each.kind, each.is_attributed) for each in chosen if each.pair is None] == [
        (1, "new", False), (2, "new", False)]


def test_a_screen_of_controls_alone_has_no_example():
    scored = treatments(("a", 1, "m", 0.9))
    found = screen(scored)
    assert choose_examples.choose(Screen(found.sites, found.scored, found.fields, scored.iloc[:0], "DMSO"), 3) == []
