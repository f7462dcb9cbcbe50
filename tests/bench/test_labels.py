"""mscnn bench labels: who is labelled, who is tested, and what a score is.  pytest tests/bench/test_labels.py"""

import numpy as np
import pandas as pd
import pytest

from mscnn.bench import labels
from mscnn.bench.labels import ALL, LABEL_FREE, STATISTICS, SUPERVISED, Sides, choose, compare, rates, right_treatments
from mscnn.bench.settings import LabelsSettings
from mscnn.cli import pack, parse, synth, train
from mscnn.core.errors import DataError, UsageError
from mscnn.core.lr_schedule import parse_schedule
from mscnn.readout.linear import fit_linear


def screen(mechanisms="xyz", compounds=6, doses=(3.0, 10.0), plates=3) -> pd.DataFrame:
    """A row a treated field."""
    return pd.DataFrame([
        {"compound": f"{mechanism}-{number}", "concentration": dose, "mechanism": mechanism, "week": "1",
         "plate": f"p{plate}", "well": f"B{row:02}"}
        for row, mechanism in enumerate(mechanisms, 2) for number in range(compounds) for dose in doses
        for plate in range(plates)])


def read(arguments: list[str]) -> LabelsSettings:
    return parse.Command("labels", "", LabelsSettings).read(arguments)


def test_the_test_compounds_are_the_same_and_never_labelled():
    frame = screen()
    two, four = choose(frame, 2, 2), choose(frame, 4, 2)
    assert sorted(set(frame["compound"][two.labelled_S])) == [f"{m}-{n}" for m in "xyz" for n in (0, 1)]
    assert sorted(set(frame["compound"][four.labelled_S])) == [f"{m}-{n}" for m in "xyz" for n in range(4)]
    for side in (two, four):
        assert sorted(set(frame["compound"][side.tested_S])) == [f"{m}-{n}" for m in "xyz" for n in (4, 5)]
        assert not (side.labelled_S & side.tested_S).any()
        assert side.hidden == sorted(set(frame["compound"][~side.labelled_S]))


def test_too_few_compounds_are_refused():
    with pytest.raises(UsageError, match="x has 6; draw more with --compounds"):
        choose(screen(), 5, 2)
    with pytest.raises(UsageError, match="at most compounds 12"):
        read(["--out", "x", "--labelled", "2,9"])
    with pytest.raises(UsageError, match="different numbers"):
        read(["--out", "x", "--labelled", "2,2"])
    with pytest.raises(UsageError, match="multiples of 256"):
        read(["--out", "x", "--size", "128x128"])


def test_each_method_is_scored_by_its_own_features():
    """Statistics are noise; label-free features are the mechanism; supervised ones tell x from y and z alone."""
    frame = screen(compounds=8)
    rng, number = np.random.default_rng(0), frame["mechanism"].map("xyz".index).to_numpy()
    noise = 0.1 * rng.standard_normal((len(frame), 6))
    features = {STATISTICS: rng.standard_normal((len(frame), 6)),
                LABEL_FREE: noise + np.eye(6)[number],
                SUPERVISED: noise + np.eye(6)[np.minimum(number, 1)]}
    rows = {row["method"]: row for row in compare(frame, features, choose(frame, 4, 3), 4, seed=0)}
    assert list(rows) == [STATISTICS, LABEL_FREE, SUPERVISED, ALL]
    assert {row["treatments"] for row in rows.values()} == {3 * 3 * 2}
    assert {row["fields"] for row in rows.values()} == {3 * 3 * 2 * 3}
    assert (rows[LABEL_FREE]["right"], rows[LABEL_FREE]["fields_right"]) == (18, 54)
    assert rows[LABEL_FREE]["mAP"] == pytest.approx(1)
    assert rows[STATISTICS]["right"] < 12
    assert 6 <= rows[SUPERVISED]["right"] <= 14                       # x, and y or z by chance
    assert rows[STATISTICS]["mAP"] < rows[SUPERVISED]["mAP"] < 1
    assert rows[ALL]["mAP"] is None
    for row in rows.values():
        assert row["low"] <= row["right"] / row["treatments"] <= row["high"]


def test_read_outs_and_their_product_are_those_of_a_chosen_read_out():
    """By hand: statistics as they are, networks by their roots and 20 components; log-probabilities add up."""
    frame, rng = screen(), np.random.default_rng(0)
    number = frame["mechanism"].map("xyz".index).to_numpy()
    features = {method: np.abs(np.eye(3, 30)[number] + rng.standard_normal((len(frame), 30))) ** 2
                for method in (STATISTICS, LABEL_FREE, SUPERVISED)}
    side = choose(frame, 3, 3)
    rows = {row["method"]: row for row in compare(frame, features, side, 3, seed=0)}
    total = 0
    for method, values in features.items():
        read, components = (values, None) if method == STATISTICS else (np.sqrt(values), 20)
        fitted = fit_linear(read[side.labelled_S], number[side.labelled_S], 3, components=components)
        logs = np.log(fitted.probabilities(read[side.tested_S]))
        total = total + logs
        assert rows[method]["fields_right"] == (logs.argmax(1) == number[side.tested_S]).sum()
    assert rows[ALL]["fields_right"] == (total.argmax(1) == number[side.tested_S]).sum()


def test_permuted_labels_are_at_chance():
    frame = screen(compounds=8)
    rng = np.random.default_rng(1)
    mechanism = dict(zip(sorted(set(frame["compound"])), rng.permutation(list("xyz" * 8)), strict=True))
    features = np.eye(3)[frame["mechanism"].map("xyz".index)] + 0.1 * rng.standard_normal((len(frame), 3))
    permuted = frame.assign(mechanism=frame["compound"].map(mechanism))
    tested = permuted["compound"].str[-1].isin(list("4567")).to_numpy()
    row = compare(permuted, dict.fromkeys((STATISTICS, LABEL_FREE, SUPERVISED), features),
                  Sides(~tested, tested, []), 4, seed=0)[0]
    assert row["right"] / row["treatments"] < 0.7                     # 24 treatments, chance 1/3: 3 sd of 12 compounds


def test_a_treatment_is_decided_by_the_mean_of_its_fields():
    frame = screen(mechanisms="xy", compounds=1, doses=(1.0,), plates=2)
    logs = np.log([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3], [0.01, 0.99]])
    right = right_treatments(frame, logs, ["x", "y"])
    assert right["compound"].tolist() == ["x-0", "y-0"]
    assert right["right"].tolist() == [True, True]                    # 0.36 over 0.06, and 0.297 over 0.007
    assert right_treatments(frame, logs[::-1], ["x", "y"])["right"].tolist() == [False, False]


@pytest.mark.parametrize("epochs", [1, 2, 5, 60])
def test_the_learning_rate_falls_to_the_last_epoch(epochs):
    schedule = parse_schedule(rates(epochs))
    values = [rate for _, rate in schedule]
    assert values == sorted(values, reverse=True)
    assert values[0] <= 0.02
    assert all(end < epochs for end, _ in schedule[:-1])


def test_the_learning_rate_is_half_a_cosine_at_the_middle_of_each_part():
    values = [rate for _, rate in parse_schedule(rates(8))]
    assert [one + other for one, other in zip(values, values[::-1], strict=True)] == pytest.approx([0.021] * 8, abs=2e-4)


def test_the_screen_and_the_networks_are_made_by_commands_with_these_settings(monkeypatch, tmp_path):
    words: list[list[str]] = []
    monkeypatch.setattr(labels, "_run", lambda *given: words.append([*map(str, given)]))
    settings = read(["--out", "x", "--steps", "100", "--seed", "3"])
    labels.draw_screen(settings, tmp_path)
    labels.train(tmp_path / "label-free", settings, 240, [])
    labels.train(tmp_path / "supervised-2", settings, 240, ["a", "b"])
    assert [command for command, *_ in words] == ["synth", "pack", "train", "train"]
    drawn, packed = synth.COMMAND.read(words[0][1:]), pack.COMMAND.read(words[1][1:])
    assert (drawn.kind, drawn.compounds, drawn.plates, drawn.sites, drawn.seed) == ("inclusions", 12, 3, 2, 3)
    assert (packed.bbbc021, packed.blocks()) == (drawn.out, (2, 2))
    label_free, supervised = (train.read(given[1:])[0] for given in words[2:])
    assert label_free.objective.is_label_free
    assert label_free.split.hold_out is None
    assert (supervised.objective.mechanism_weight, supervised.objective.replicate_weight) == (1, 0)
    assert supervised.split.hold_out == "a,b"
    assert not supervised.objective.transductive
    for one in (label_free, supervised):
        assert one.data.packed == packed.out
        assert one.optim.epochs == 20                                 # 100 steps of 48 of 240 fields
        assert one.run.seed == 3


def test_a_command_that_fails_is_named():
    with pytest.raises(DataError, match="mscnn pakc ended with code 2"):
        labels._run("pakc")
