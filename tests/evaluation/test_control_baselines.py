"""Baselines of a screen of one effect: what sees nothing shows chance, and what tells control from effect is seen to."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mscnn.core.errors import DataError
from mscnn.data.tables import splits
from mscnn.data.tables.site_table import read_sites
from mscnn.evaluation import aggregate, combine_folds, compare_baselines, load_run, results
from mscnn.report import verdicts
from tests.conftest import make_table

tifffile = pytest.importorskip("tifffile")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """4 plates of noise with 6 control wells and 4 of one compound, in places that change; its fields are brighter.

    A fifth of the wells is held out.  Of the run only what baselines read is there.
    """
    root, rng, rows = tmp_path_factory.mktemp("effect"), np.random.default_rng(0), []
    for plate in range(4):
        kinds = rng.permutation(["DMSO"] * 6 + ["a"] * 4)
        for place, compound in enumerate(kinds):
            name = f"{rng.integers(10**9)}.tif"
            tifffile.imwrite(root / name, rng.poisson(300 if compound == "a" else 200, (128, 128)).astype(np.uint16))
            rows.append((name, f"P{plate}", "Week1", f"B{place + 1:02}", "1", compound, "1",
                         "M" if compound == "a" else "DMSO"))
    columns = ["FileName_DNA", *(f"Metadata_{name}" for name in ("Plate", "Week", "Well", "Site", "Compound",
                                                                 "Concentration", "MOA"))]
    pd.DataFrame(rows, columns=columns).to_csv(root / "sites.csv", index=False)
    table, out = read_sites(root / "sites.csv"), root / "run"
    split = splits.make_split(table, split="wells", test_fraction=0.2)
    out.mkdir()
    (out / "config.yaml").write_text("preset: supervised\nsites: elsewhere/sites.csv\n")
    splits.write(split, table, out)
    (out / "evaluation").mkdir()
    test = table.select(split.side == splits.TEST)
    description = results.EvaluationDescription(
        control="DMSO", aggregate_wells="mean", aggregate_treatments="median", tta="none", head="softmax", notes=[], seed=0,
        channels=["DNA"], environment={}, checkpoint="x", step=1, compounds=["a"], classes=["DMSO", "M"],
        split=replace(splits.to_record(split, table), sides=[]))
    is_m = (test.frame["mechanism"] == "M").to_numpy().astype(int)
    scores = results.write(aggregate.field_predictions(test, np.eye(2)[is_m] * 0.8 + 0.1, ["DMSO", "M"]), description,
                           out / "evaluation")
    return out, scores


def test_one_effect_is_told_from_the_control_or_not_scored(run, caplog):
    out, scores = run
    assert (scores.fields.correct, scores.fields.total) == (4, 4)  # treated alone
    assert (scores.controls.false_positives.count, scores.controls.wells) == (0, 4)
    with caplog.at_level("INFO"):
        found = compare_baselines.score_baselines(out, features=None, nuclei=None, workers=1, microbatch=8,
                                                  moved=str(out.parent / "sites.csv")).baselines
    for name in ("largest class", "week only"):
        accuracy = found[name].controls
        assert {accuracy.control.count, accuracy.effects.count} == {0, 4}  # all wells are called the same
        assert accuracy.balanced == 0.5
    assert found["cell count and histogram"].controls.balanced == 1  # the effect is brightness
    assert all(each.held_out.fields.total == 0 and each.random is None for each in found.values())
    assert "treated wells have one mechanism, of which every guess is right" in caplog.text
    assert "control from effect 50 % (chance 50 %; wells: control 4/4, effects 0/4)" in caplog.text
    assert not any(each.bad for each in verdicts.judge_shortcuts(found))


def test_a_table_that_is_not_there_is_asked_for_by_an_option_that_there_is(run):
    with pytest.raises(DataError, match=r"sites\.csv: the training in .* names its table so.*--data"):
        compare_baselines.score_baselines(run[0], features=None, nuclei=None, workers=1, microbatch=8)


def test_folds_of_wells_that_were_trained_on_are_not_gathered(run, tmp_path):
    out, _ = run
    combined = combine_folds.combine_folds([out / "evaluation"], tmp_path / "all")
    assert combined.controls.unit == "wells"
    leaky, description = tmp_path / "leaky", results.read_description(out / "evaluation")
    leaky.mkdir()
    record = replace(description.split, wells=description.split.wells[1:])
    results.write(results.read_table(out / "evaluation", "fields"), replace(description, split=record), leaky)
    with pytest.raises(DataError, match="its network was trained on what it is scored on") as raised:
        combine_folds.combine_folds([leaky], tmp_path / "none")
    assert str(description.split.wells[0]) in "\n".join(raised.value.details)


def test_scores_of_one_effect_say_that_right_means_called():
    table = make_table([("a", "M"), ("DMSO", "DMSO")])
    assert "treated fields that are right are those that are called" in load_run.note_one_effect(table, ["DMSO", "M"])
    assert not load_run.note_one_effect(table, ["DMSO", "M", "N"])
    assert not load_run.note_one_effect(make_table([("a", "M"), ("DMSO", "")]), ["M", "N"])
