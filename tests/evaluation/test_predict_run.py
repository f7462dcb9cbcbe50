"""A label-free network with a chosen read-out, from its training to its scores: one small run."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch

import mscnn
from mscnn.core import config, errors
from mscnn.data.tables import splits
from mscnn.distributed.world import World
from mscnn.evaluation import (
    decisions,
    known_profiles,
    known_reference,
    load_run,
    predict_run,
    readout_predictions,
    results,
    run,
    run_folders,
)
from mscnn.evaluation.combine_folds import combine_folds
from mscnn.evaluation.settings import EvaluationSettings
from mscnn.model.lda import fit_lda_layer
from mscnn.readout.candidates import LEARNT_MECHANISMS, SAW_TRAINING_ONLY
from mscnn.readout.readout import fit_readout
from mscnn.readout.tables import UNKNOWN, SiteFacts, side_by_side
from mscnn.training import checkpoint, readout
from tests.conftest import make_table, run_python

PERIODS = {"fine": 4, "mid": 8, "coarse": 16}  # pixels of the pattern that shows the mechanism


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    """Six compounds of three mechanisms on two plates, untreated wells, and a compound whose mechanism is not known."""
    folder, rng, rows = tmp_path_factory.mktemp("screen"), np.random.default_rng(0), []
    plan = [(f"{mechanism}-{number}", mechanism, period) for mechanism, period in PERIODS.items() for number in range(2)]
    for column, (compound, mechanism, period) in enumerate([("DMSO", "", 1), *plan, ("new", "", 8)], 2):
        for plate in ("P1", "P2"):
            wave = np.tile(np.sin(2 * np.pi * np.arange(128) / period + rng.uniform(0, 6)), (128, 1))
            name = f"{compound}-{plate}.tif"
            tifffile.imwrite(folder / name, rng.poisson(rng.uniform(300, 400) + 200 * wave).astype(np.uint16))
            rows.append([name, plate, f"B{column:02}", compound, 1.0, mechanism])
    names = ("Plate", "Well", "Compound", "Concentration", "MOA")
    table = pd.DataFrame(rows, columns=["FileName_DNA", *(f"Metadata_{name}" for name in names)])
    table.to_csv(folder / "sites.csv", index=False)
    return folder / "sites.csv"


@pytest.fixture(scope="module")
def evaluated(screen, tmp_path_factory):
    """The run directory of a step of training without labels, evaluated."""
    run_dir = tmp_path_factory.mktemp("runs") / "label-free"
    done = run_python("train.py", "screen", "--sites", screen, "--hold-out", "none", "--mechanism-weight", "0",
                      "--replicate-weight", "1", "--head", "chosen", "--readout-folds", "2", "--max-steps", "1",
                      "--minibatch", "8", "--threads", "1", "--class-weights", "none", "--label-smoothing", "0",
                      "--run-dir", run_dir)
    assert done.returncode == 0, done.stderr
    assert "read-out: " in done.stdout
    done = run_python("evaluate.py", "--checkpoint", run_dir, "--examples", "0", "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert "fields right by each read-out alone: statistics 12/12; network " in done.stdout
    return run_dir


def test_each_compound_is_predicted_by_a_read_out_fitted_to_the_others(evaluated):
    folder = evaluated / "evaluation"
    fields, statistics, profiles = (results.read_table(folder, "fields"),
                                    *(pd.read_parquet(folder / name) for name in (results.STATISTICS, results.PROFILES)))
    columns = {"network": list(profiles.filter(like="Image_")), "statistics": list(statistics.filter(like="Image_"))}
    features = side_by_side(columns, profiles[columns["network"]].to_numpy(), statistics[columns["statistics"]].to_numpy())
    truth, compounds = (statistics[f"Metadata_{name}"].to_numpy(str) for name in ("MOA", "Compound"))
    classes = sorted(PERIODS)
    facts = SiteFacts(np.array([classes.index(name) if name else UNKNOWN for name in truth]), compounds,
                      *(statistics[f"Metadata_{name}"].to_numpy(str) for name in ("Plate", "Well")), compounds == "DMSO")
    for compound in np.unique(compounds[truth != ""]):
        test = np.flatnonzero(compounds == compound)
        readout = fit_readout(features, facts, np.flatnonzero((truth != "") & (compounds != compound)), 3, folds=2)
        found = fields[fields["Metadata_Compound"] == compound][[f"Probability_{name}" for name in classes]]
        np.testing.assert_allclose(found, readout.predict(features.select(test), facts.plates_S[test]), atol=1e-6)


def test_the_last_layer_is_fitted_to_the_fields_of_a_known_mechanism(evaluated):
    profiles, (_, saved) = pd.read_parquet(evaluated / "evaluation" / results.PROFILES), checkpoint.read(evaluated)
    features, truth = profiles.filter(like="Image_").to_numpy(), profiles["Metadata_MOA"].to_numpy(str)
    labels = np.array([sorted(PERIODS).index(name) for name in truth[truth != ""]])
    weights_KF, biases_K = fit_lda_layer(features[truth != ""], labels, 3)
    found = features @ saved.network["classify.weight"].numpy().T + saved.network["classify.bias"].numpy()
    np.testing.assert_allclose(found, features @ weights_KF.T + biases_K, rtol=1e-2, atol=1e-2)


def test_untreated_wells_of_a_known_mechanism_are_predicted_by_the_read_out_of_the_checkpoint(evaluated):
    table = make_table([("DMSO", "DMSO")] * 4 + [(f"{mechanism}-{number}", mechanism) for mechanism in PERIODS
                                                 for number in range(8)])
    facts = readout_predictions.facts_of_sites(table, table.mechanisms())
    rng, columns = np.random.default_rng(0), {"network": ["n1", "n2"], "statistics": ["s1", "s2"]}
    features = side_by_side(columns, *rng.normal(size=(2, len(table), 2)))
    whole = fit_readout(features, facts, np.arange(len(table)), 4, folds=2)
    found = predict_run._read_out(
        replace(checkpoint.read(evaluated)[1], classes=table.mechanisms()), whole, SimpleNamespace(table=table), features,
        predict_run.Predictions(np.zeros((len(table), 4)), np.zeros((len(table), 2))), World(), over_compounds=True,
        measure_plates=False)
    for name, probabilities_SK in [*found.readout.candidates.items(), (whole.choice.chosen, found.probabilities_SK)]:
        expected = whole.probabilities(name, features, facts.plates_S)
        np.testing.assert_array_equal(probabilities_SK[:4], expected[:4])
        assert not np.isclose(probabilities_SK[4:], expected[4:]).all(1).any()


def test_scores_and_description_say_what_was_chosen_and_how_it_was_scored(evaluated):
    scores, description = (read(evaluated / "evaluation") for read in (results.read_scores, results.read_description))
    assert (scores.fields.correct, scores.fields.total) == (12, 12)
    assert scores.readout.folds == sum(candidate.chosen for candidate in scores.readout.candidates.values()) == 6
    assert scores.readout.candidates["network"].scores.fields.total == 12
    assert (scores.left_out_mechanism.treatments, scores.left_out_mechanism.mechanisms) == (6, 3)
    assert scores.calibration.fields.total == 12
    assert scores.readout.candidates["statistics, by plate controls"].note.startswith("fewer than 4 untreated wells")
    assert [fold.split.held_out for fold in description.folds] == [[f"{name}-{number}"] for name in sorted(PERIODS)
                                                                   for number in range(2)]
    assert any(note.startswith("one label-free network for all folds: it has seen") for note in description.notes)
    assert run_folders.trainings_of(evaluated) == [evaluated]
    assert run_folders.evaluations_of(evaluated) == [evaluated / "evaluation"]
    with pytest.raises(errors.DataError, match="holds folds that were combined before"):
        combine_folds([evaluated / "evaluation"], evaluated / "all")


def test_the_library_predicts_a_compound_without_a_mechanism_as_the_evaluation_does(evaluated, screen):
    torch.set_num_threads(1)  # as the evaluation
    fields = results.read_table(evaluated / "evaluation", "fields")
    run_of_library, table = mscnn.load_run(evaluated), mscnn.read_screen(sites=screen)
    predicted = run_of_library.predict(table)  # the same fields share a microbatch: equal to the last bit
    is_new = (fields["Metadata_Compound"] == "new").to_numpy()
    names = [f"Probability_{name}" for name in run_of_library.classes]
    expected = predicted[table["Metadata_Compound"] == "new"][run_of_library.classes]
    np.testing.assert_array_equal(fields[is_new][names], expected)
    assert fields[is_new]["Predicted_MOA"].tolist() == ["mid", "mid"]
    assert json.loads((evaluated / "evaluation" / "scores.json").read_text())["fields"]["total"] == 12  # without them


def test_all_that_decides_is_listed_by_treatment_and_known_compounds_are_kept(evaluated):
    folder, (_, saved) = evaluated / "evaluation", checkpoint.read(evaluated)
    decided, treatments = decisions.read(folder), results.read_table(folder, "treatments")
    known = [f"{name}-{number}" for name in PERIODS for number in range(2)]
    assert sorted(decided["Metadata_Compound"]) == sorted([*known, "new"])
    assert load_run.LEARNT_APART in results.read_description(folder).notes
    assert set(decided["Trained"]) == {"False"}  # each is predicted by a read-out that was fitted without it
    shares = treatments.filter(like="Probability_").max(axis=1) / treatments.filter(like="Probability_").sum(axis=1)
    expected = dict(zip(treatments["Metadata_Compound"], shares, strict=True))
    assert dict(zip(decided["Metadata_Compound"], decided["Confidence"], strict=True)) == pytest.approx(expected)
    assert results.read_scores(folder).confidence.how == "read-out"
    assert (decided["Nearest_Compound"] != "").all()
    kept = known_profiles.read(evaluated, saved.sha256)
    wells = pd.read_parquet(folder / results.PROFILES).query("Metadata_Compound != 'new'")
    assert len(kept.metadata) == len(wells) == 14  # a field a well
    assert kept.metadata[kept.metadata["Metadata_Compound"] != "DMSO"]["Scored"].all()


def test_new_compounds_are_compared_with_the_trainings_which_are_computed_where_none_are_kept(evaluated, screen, tmp_path):
    path, (_, saved) = evaluated / known_profiles.FILE, checkpoint.read(evaluated)
    before = known_profiles.read(evaluated, saved.sha256)
    table = pd.read_csv(screen)
    new = table[table["Metadata_Compound"].isin(["DMSO", "new"])].assign(Metadata_MOA="")
    new.to_csv(screen.parent / "new.csv", index=False)
    path.unlink()
    done = run_python("evaluate.py", "--checkpoint", evaluated, "--sites", screen.parent / "new.csv", "--out", tmp_path,
                      "--examples", "0", "--threads", "1")
    assert done.returncode == 0, done.stderr
    after = known_profiles.read(evaluated, saved.sha256)
    pd.testing.assert_frame_equal(before.metadata, after.metadata)
    np.testing.assert_allclose(before.features_SF, after.features_SF, rtol=1e-4, atol=1e-5)  # microbatches are others
    scores = results.read_scores(tmp_path)
    assert [score.total for score in scores.by_level().values()] == [0, 0, 0, 0]
    assert scores.confidence.how == "read-out"
    decided = decisions.read(tmp_path)
    assert decided["Metadata_Compound"].tolist() == ["new"]
    assert decided["Nearest_Compound"].iat[0] in set(before.metadata["Metadata_Compound"])
    assert "1 treatment: activity is not known (" in done.stdout
    assert f"next: mscnn report {tmp_path}" in done.stdout
    assert len(pd.read_csv(tmp_path / "nearest.csv")) == 5


def test_what_keeps_known_compounds_away_is_a_note(evaluated, screen, tmp_path, monkeypatch):
    path, saved = checkpoint.read(evaluated)
    settings = EvaluationSettings(checkpoint=str(evaluated), sites=str(screen), out=str(tmp_path))

    def find(**change):
        elsewhere = tmp_path / path.name  # beside which nothing is kept
        return known_reference.find(replace(settings, **change), saved, elsewhere, None, World()).note

    assert find(profiles="held-out").startswith("new compounds are not compared with the known ones of the training, as "
                                                "--profiles held-out asks: none are kept in")
    (tmp_path / known_profiles.FILE).write_text("no parquet")
    assert "remove it, and it is written anew" in find(profiles="held-out")
    monkeypatch.setattr(load_run, "own_sites", lambda *arguments: (_ for _ in ()).throw(errors.DataError("it has moved")))
    assert "which cannot be had (it has moved); evaluate the run itself once" in find()


def test_too_few_mechanisms_are_an_evaluation_without_predictions(evaluated, screen, tmp_path, monkeypatch):
    """All files are there; a biologist still sees activity and profiles."""
    monkeypatch.setattr(run, "_why_unpredictable", lambda saved, sites: "1 mechanism known, and a prediction needs two")
    monkeypatch.setattr(run.core_binding, "bind_rank", lambda ranks, settings: None)
    monkeypatch.setattr(run.core_binding, "loader_binding", lambda plan, settings: lambda: None)
    monkeypatch.setattr(run.heartbeat, "write_to", lambda folder: None)
    monkeypatch.setattr(run.world, "init", lambda backend, join_seconds: World(host="here"))
    found = run.evaluate(EvaluationSettings(checkpoint=str(evaluated), out=str(tmp_path / "out"), examples=0))
    run.write(found)
    run.write_decisions(found, run.score_profiles(found))
    scores, description = results.read_scores(tmp_path / "out"), results.read_description(tmp_path / "out")
    assert (scores.fields.total, scores.confidence, description.classes) == (0, None, [])
    assert "1 mechanism known, and a prediction needs two; no mechanism is predicted" in description.notes
    for level, rows in {"fields": 14, "wells": 14, "treatments": 7, "compounds": 7}.items():
        table = results.read_table(tmp_path / "out", level)
        assert len(table) == rows
        assert set(table["Predicted_MOA"]) == {""}
    decided = decisions.read(tmp_path / "out")
    assert len(decided) == 7
    assert decided["Probability"].isna().all()
    assert decided["Similarity"].notna().all()


def sites_of(rows):
    table = make_table(rows)
    return load_run.EvaluationSites(table, np.ones(len(table), bool), [], over_compounds=True)


def test_what_a_label_free_network_cannot_predict_is_said(evaluated):
    _, saved = checkpoint.read(evaluated)
    pairs = [("a", "one"), ("b", "one"), ("c", "two"), ("d", "two"), ("e", "")]
    assert run._why_unpredictable(saved, sites_of(pairs)) == ""
    assert run._why_unpredictable(saved, sites_of(pairs[:3])) == \
        "without c fewer than two mechanisms are known, and a prediction needs two"
    one = replace(saved, split=replace(saved.split, trained=saved.split.trained | {"mechanisms": ["one"]}))
    assert run._why_unpredictable(one, sites_of(pairs)) == "1 mechanism known, and a prediction needs two"
    early = replace(saved, readout=None, resume=replace(saved.resume, has_lda_head=False))
    assert "label-free, and without a read-out of mechanisms yet, at step 1 of 1" in run._why_unpredictable(
        early, sites_of(pairs))
    learnt = replace(early, settings=saved.settings | {"mechanism_weight": 1.0})
    assert run._why_unpredictable(learnt, sites_of(pairs[:1])) == ""


def test_a_read_out_of_other_statistics_is_refused(evaluated):
    _, saved = checkpoint.read(evaluated)
    with pytest.raises(errors.DataError, match="its read-out is of other features than this version measures"):
        readout_predictions.load_readout(saved, {"network": ["a"], "statistics": ["b"]}, "run")


@pytest.mark.parametrize("broken", ["statistics", "features"])
def test_what_is_not_finite_is_refused_before_a_read_out_reads_it(evaluated, monkeypatch, broken):
    _, saved = checkpoint.read(evaluated)
    values = {"statistics": np.zeros((1, 9)), "features": np.zeros((1, 512))}
    values[broken][0, 3] = np.nan
    monkeypatch.setattr(load_run, "predict_sites", lambda *given, **options: (np.zeros((1, 3)), values["features"]))
    monkeypatch.setattr(predict_run, "measure_statistics", lambda *given, **options: values["statistics"])
    with pytest.raises(errors.DataError, match="statistics or features are not finite, and no read-out can use them"):
        predict_run.predict_run(saved, None, SimpleNamespace(table=[None]), World(), microbatch=1, source="run")


def test_many_compounds_are_left_out_in_groups():
    rows = [(f"c{number:03}", f"m{number % 2}") for number in range(readout_predictions.MOST_FOLDS + 3)]
    few, many = (readout_predictions.compound_folds(make_table([*part, ("not known", "")]), 0) for part in (rows[:7], rows))
    assert [fold.held_out for fold in few] == [[compound] for compound, _ in rows[:7]]
    assert {fold.method for fold in many} == {"k-fold"}
    assert len(many) == readout_predictions.MOST_FOLDS
    assert sorted(name for fold in many for name in fold.held_out) == [compound for compound, _ in rows]
    assert splits.SplitRecord.from_json(many[0].summary()) == many[0]


@pytest.mark.parametrize(("transductive", "learnt"), [(False, ["a"]), (True, ["a", "b"])])
def test_images_that_are_held_out_are_learnt_only_by_a_transductive_network(evaluated, monkeypatch, transductive, learnt):
    _, saved = checkpoint.read(evaluated)
    split = replace(saved.split, trained=saved.split.trained | {"compounds": ["a"]}, held_out=["b"])
    saved = replace(saved, split=split, settings=saved.settings | {"transductive": transductive})
    found = SimpleNamespace(chosen_SK=np.ones((1, 3)), notes=[])
    told = []
    monkeypatch.setattr(readout_predictions, "by_checkpoint", lambda *given, **options: told.append(options) or found)
    for measure in (False, True):
        predict_run._read_out(saved, None, SimpleNamespace(table=make_table([("c", "fine")])), None,
                              predict_run.Predictions(np.zeros((1, 3)), np.zeros((1, 512))), World(), over_compounds=False,
                              measure_plates=measure)
    assert told == [{"measure": measure, "learnt": learnt} for measure in (False, True)]


def test_the_network_is_judged_only_where_it_has_learnt_all_images_and_no_mechanism():
    table = make_table([("a", "one"), ("b", "two")])
    for hold_out, mechanism_weight, transductive, reason in (
            ("none", 0, False, ""), ("a", 0, True, ""), ("a", 0, False, SAW_TRAINING_ONLY),
            ("none", 1, False, LEARNT_MECHANISMS), ("a", 1, True, LEARNT_MECHANISMS)):
        objective = config.Objective(mechanism_weight=mechanism_weight, replicate_weight=1, transductive=transductive)
        split = splits.make_split(table, split="hold-out", hold_out=hold_out, needs_labels=False)
        assert readout._why_not_judged(objective, split) == reason
