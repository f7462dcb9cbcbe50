"""Folds scored as one: the oracle is the same predictions in one table."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mscnn.core.errors import DataError, UsageError
from mscnn.data.tables.assays import Assays
from mscnn.data.tables.splits import SplitRecord
from mscnn.evaluation import aggregate, assay_scores, decisions, prediction_table, readout_scores, results, scoring
from mscnn.evaluation import combine_folds as combine
from mscnn.evaluation.combine_folds import combine_folds
from mscnn.evaluation.results import EvaluationDescription
from mscnn.readout.choice import Choice, Judgement
from tests.conftest import make_table, run_python

CLASSES = ["Probability_DMSO", "Probability_bright", "Probability_dark"]


def fold(folder, rows, control="DMSO", notes=(), trained=(), method="leave-compound-out", leaks=""):
    """rows: plate, well, site, compound, concentration, mechanism, and a probability for each class."""
    columns = [f"Metadata_{name}" for name in ("Plate", "Well", "Site", "Compound", "Concentration", "MOA")]
    table = pd.DataFrame(rows, columns=[*columns, *CLASSES])
    table.insert(6, "Metadata_Week", "Week1")
    table.insert(7, "Metadata_Replicate", "1")
    table.insert(8, "Predicted_MOA", table[CLASSES].idxmax(axis=1).str.removeprefix("Probability_"))
    folder.mkdir()
    table.to_parquet(folder / results.FIELDS, index=False)
    alone = [f"{row[0]} {row[1]}" for row in rows if row[3].lower() == control.lower()]  # control wells that are held out
    split = SplitRecord(method, held_out=[], leaks=leaks, sha256="0", sites={}, unlearnable=[], wells=alone,
                        trained={"compounds": list(trained), "weeks": ["Week2"]})
    (folder / results.EVALUATION).write_text(json.dumps(EvaluationDescription(
        checkpoint="last.safetensors", step=1, compounds=[], control=control, channels=["DNA"],
        classes=["DMSO", "bright", "dark"],
        notes=list(notes), aggregate_wells="mean", aggregate_treatments="median", tta="none", head="softmax", seed=0,
        split=split,
        environment={}).to_json()))
    scores = scoring.scores(aggregate.aggregate(table, control), control, draws=9, permutations=9)
    (folder / results.SCORES).write_text(json.dumps(scoring.LevelScores(**scores).to_json()))
    return folder


@pytest.fixture
def folds(tmp_path):
    """Compound a's two wells lie in two folds; alone each would be right and wrong, their median is right."""
    return [
        fold(tmp_path / "0", [("P1", "B02", "1", "a", 1.0, "bright", 0.0, 0.9, 0.1),
                              ("P1", "B03", "1", "b", 1.0, "dark", 0.0, 0.7, 0.3)]),
        fold(tmp_path / "1", [("P2", "B02", "1", "a", 1.0, "bright", 0.0, 0.4, 0.6),
                              ("P2", "B04", "1", "dmso", 0.0, "DMSO", 0.8, 0.1, 0.1)], notes=["a note"])]


def test_folds_are_scored_as_one(folds, tmp_path):
    scores = combine_folds(folds, tmp_path / "all")
    assert {level: (score.correct, score.total) for level, score in scores.by_level().items()} == {
        "fields": (1, 3), "wells": (1, 3), "treatments": (1, 2), "compounds": (1, 2)}
    assert json.loads((tmp_path / "all" / "scores.json").read_text()) == scores.to_json()
    assert results.read_scores(tmp_path / "all") == scores
    assert json.loads((tmp_path / "all" / "evaluation.json").read_text())["notes"] == [f"{folds[1]}: a note"]
    assert len(pd.read_csv(tmp_path / "all" / "predictions.csv")) == 4  # the control is listed, and not scored
    assert [fold.folder for fold in results.read_description(tmp_path / "all").folds] == [str(folder) for folder in folds]


def test_the_read_outs_of_folds_are_counted_and_scored_as_one(folds, tmp_path):
    """Statistics predict as the fold does; the network is right of both compounds, and only the first fold has it."""
    for number, (folder, chosen) in enumerate(zip(folds, ("network", "statistics"), strict=True)):
        choice = Choice(chosen, "why", 3, {"statistics": Judgement(0.1 + number), "network": Judgement(0.5)})
        fields = results.read_table(folder, "fields")
        right = fields.assign(Probability_bright=1.0, Predicted_MOA="bright")
        tables = {"statistics": fields, **({"network": right} if number == 0 else {})}
        results.write(fields, results.read_description(folder), folder, readout_scores.describe(choice), tables)
    found = combine_folds(folds, tmp_path / "all").readout
    assert (found.chosen, found.folds) == ("statistics", 2)  # the simpler of two that were chosen as often
    assert found.reason == "chosen in 1 of 2 folds, by inner folds of the compounds left"
    statistics, network = found.candidates["statistics"], found.candidates["network"]
    assert (statistics.chosen, statistics.inner_loss, network.chosen) == (1, pytest.approx(0.6), 1)
    assert (statistics.scores.fields.correct, statistics.scores.fields.total) == (1, 3)
    assert (statistics.scores.treatments.correct, statistics.scores.treatments.total) == (1, 2)
    assert network.scores is None
    assert results.read_scores(tmp_path / "all").readout == found


def test_a_fold_given_twice_is_refused_by_its_fields(folds, tmp_path):
    with pytest.raises(DataError, match="more than once") as refusal:
        combine_folds([*folds, folds[0]], tmp_path / "all")
    assert refusal.value.details == ["P1 B02 1", "P1 B03 1"]
    assert not (tmp_path / "all").exists()


def test_folds_of_other_screens_are_refused(folds, tmp_path):
    other = fold(tmp_path / "other", [("P3", "B02", "1", "a", 1.0, "bright", 0.0, 0.9, 0.1)], control="water")
    with pytest.raises(DataError, match="other settings of control: DMSO, water"):
        combine_folds([*folds, other], tmp_path / "all")
    table = pd.read_parquet(folds[1] / results.FIELDS)
    table["Predicted_MOA"] = table["Predicted_MOA"].replace("dark", "dim")
    table.rename(columns={"Probability_dark": "Probability_dim"}).to_parquet(folds[1] / results.FIELDS)
    with pytest.raises(DataError, match="only one has Probability_dark, Probability_dim"):
        combine_folds(folds, tmp_path / "all")


def test_folds_that_were_trained_on_what_they_are_scored_on_are_refused(folds, tmp_path):
    rows = [("P3", "B02", "1", "x", 1.0, "bright", 0.0, 0.9, 0.1), ("P3", "B03", "1", "y", 1.0, "dark", 0.0, 0.9, 0.1)]
    leaking = fold(tmp_path / "leaking", rows, trained=["y", "z"])
    with pytest.raises(DataError, match="was trained on what it is scored on") as refusal:
        combine_folds([*folds, leaking], tmp_path / "all")
    assert refusal.value.details == ["compound y"]
    weeks = fold(tmp_path / "weeks", [(*row[:3], row[3] + "2", *row[4:]) for row in rows], method="leave-week-out")
    assert combine_folds([*folds, weeks], tmp_path / "all")  # trained on Week2, scored on Week1
    table = pd.read_parquet(weeks / results.FIELDS)
    table.assign(Metadata_Week="Week2").to_parquet(weeks / results.FIELDS)
    with pytest.raises(DataError) as refusal:
        combine_folds([*folds, weeks], tmp_path / "all")
    assert refusal.value.details == ["week Week2"]
    assert combine_folds([fold(tmp_path / "random", rows, trained=["y"], leaks="all")], tmp_path / "random-all")


def test_control_wells_that_were_not_held_out_are_refused(folds, tmp_path):
    described = json.loads((folds[1] / results.EVALUATION).read_text())
    (folds[1] / results.EVALUATION).write_text(json.dumps(described | {"split": described["split"] | {
        "wells": [], "trained": described["split"]["trained"] | {"compounds": ["DMSO"]}}}))
    with pytest.raises(DataError, match="was trained on what it is scored on") as refusal:
        combine_folds(folds, tmp_path / "all")
    assert refusal.value.details == ["well P2 B04"]


def test_folds_with_wells_of_one_treatment_say_that_their_profiles_are_not_compared(folds, tmp_path, caplog):
    for folder in folds:
        decided = dict.fromkeys(decisions.COLUMNS, "") | {
            "Metadata_Compound": "a", "Metadata_Concentration": 1.0, "Similarity": 0.5}
        pd.DataFrame([decided]).to_csv(folder / results.DECISIONS, index=False)
    with caplog.at_level("INFO"):
        combine_folds(folds, tmp_path / "all")
    assert f"activity is not known ({combine.SEVERAL})" in caplog.text
    assert decisions.read(tmp_path / "all")["Nearest_Compound"].tolist() == ["", ""]


def test_folds_that_were_cut_off_or_aggregated_otherwise_are_refused(folds, tmp_path):
    described = json.loads((folds[1] / results.EVALUATION).read_text())
    (folds[1] / results.EVALUATION).write_text(json.dumps(described | {"aggregate_treatments": "mean"}))
    with pytest.raises(DataError, match="other settings of aggregate_treatments: median, mean"):
        combine_folds(folds, tmp_path / "all")
    (folds[1] / results.SCORES).unlink()
    with pytest.raises(DataError, match=f"{folds[1]}: no evaluation to read"):
        combine_folds(folds, tmp_path / "all")


def test_what_is_no_evaluation_is_named(folds, tmp_path):
    shutil.rmtree(folds[1])
    with pytest.raises(DataError, match=f"{folds[1]}: no evaluation to read"):
        combine_folds(folds, tmp_path / "all")
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / results.FIELDS).write_bytes(b"not parquet")
    with pytest.raises(DataError, match=f"{folds[1]}: no evaluation to read"):
        combine_folds(folds, tmp_path / "all")


@pytest.mark.parametrize(("change", "words"), [
    ({"split": None}, "lacks split, or folds"), ({"head": None}, "lacks head"),
    ({"notes": "a note"}, "notes is text, not a list"),
    ({"seed": True}, "seed is true or false, not a whole number"), ({"channels": ["DNA", 1]}, r"channels\[1\] is a whole"),
    ({"split": {"method": "x"}}, "lacks split.held_out"), ({"folds": {}}, "folds is an object, not a list")])
def test_a_description_that_lacks_entries_or_has_wrong_types_is_refused_in_one_line(folds, tmp_path, change, words):
    path = folds[1] / results.EVALUATION
    content = json.loads(path.read_text()) | change
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    for read in (lambda: combine_folds(folds, tmp_path / "all"), lambda: results.read_description(folds[1])):
        with pytest.raises(DataError, match=words) as refusal:
            read()
        assert "\n" not in str(refusal.value)


def test_folds_that_were_combined_are_no_fold(folds, tmp_path):
    combine_folds(folds, tmp_path / "all")
    with pytest.raises(DataError, match="holds folds that were combined"):
        combine_folds([tmp_path / "all"], tmp_path / "again")


def test_a_new_evaluation_removes_what_an_earlier_one_left_and_keeps_its_own_gallery(folds, tmp_path):
    left = [folds[0] / name for name in (*results.OUTDATED, results.GALLERY)]
    (folds[0] / "gallery").mkdir()
    for path in left:
        path.write_text("{}")
    results.begin(folds[0])
    assert not [path for path in left if path.exists()]
    left[-1].write_text("[]")  # examples are drawn before the scores are written
    results.write(pd.read_parquet(folds[0] / results.FIELDS), results.read_description(folds[0]), folds[0])
    assert left[-1].exists()


def test_the_command(folds, tmp_path):
    done = run_python("-m", "mscnn", "gather", *folds, "--out", tmp_path / "all")
    assert done.returncode == 0, done.stderr
    assert "treatments     1/2    right   50.0%" in done.stdout
    refused = run_python("-m", "mscnn", "gather", "--out", tmp_path / "all")
    assert refused.returncode == UsageError.exit_code
    assert "EVALUATIONS must be given" in refused.stderr


def assay_fold(folder, rows, unlearnable=()):
    """rows: compound, mechanism, value and probability of assay x; two doses a compound, of which one has the mechanism."""
    table = make_table([(compound, dose, name, f"{folder.name}{compound}{dose}") for compound, mechanism, *_ in rows
                        for dose, name in ((1.0, mechanism), (3.0, ""))], "compound concentration mechanism site")
    values, probabilities = (np.repeat([row[place] for row in rows], 2)[:, None] for place in (2, 3))
    table = replace(table, assays=Assays(["x"], values.astype(np.float32), np.arange(len(values))))
    split = SplitRecord("k-fold", held_out=[], leaks="", sha256="0", sites={}, unlearnable=list(unlearnable),
                        trained={"compounds": [], "weeks": []})
    folder.mkdir()
    results.write(aggregate.assay_predictions(table, probabilities, ["x"]), EvaluationDescription(
        checkpoint="last.safetensors", step=1, compounds=[], control="DMSO", channels=["DNA"], classes=["x"], notes=[],
        aggregate_wells="mean", aggregate_treatments="median", tta="none", head="softmax", seed=0, split=split,
        environment={}), folder)
    return folder


A_AND_B, C_AND_D = [("a", "M", 1, 0.9), ("b", "M", 0, 0.8)], [("c", "", 1, 0.7), ("d", "N", np.nan, 0.1)]


def test_assays_of_folds_are_ranked_together(tmp_path):
    """Ranked 1 0 1: one of two pairs is right.  Each compound is one row, whatever mechanisms its doses have."""
    folds = [assay_fold(tmp_path / "0", A_AND_B), assay_fold(tmp_path / "1", C_AND_D)]
    alone = results.read_scores(folds[1]).assays
    assert (alone.assays["x"].auc, alone.networks) == (None, 1)
    found = combine_folds(folds, tmp_path / "all").assays
    assert found.assays["x"].auc.value == 0.5 == found.mean_auc.value
    assert (found.compounds, found.networks) == (4, 2)
    compounds = results.read_table(tmp_path / "all", "compounds")
    assert compounds["Metadata_Compound"].tolist() == ["a", "b", "c", "d"]
    assert compounds["Metadata_MOA"].tolist() == ["M", "M", "", "N"]
    assert compounds["Assay_x"].tolist()[:3] == [1, 0, 1]
    assert pd.read_csv(tmp_path / "all" / results.ASSAYS)["auc"].tolist() == [0.5]
    assert results.read_scores(tmp_path / "all").assays == found


def test_an_assay_that_a_fold_could_not_learn_is_not_scored(tmp_path):
    folds = [assay_fold(tmp_path / "0", A_AND_B), assay_fold(tmp_path / "1", C_AND_D, unlearnable=["x"])]
    assert combine_folds(folds, tmp_path / "all").assays.assays["x"].reason == assay_scores.NOT_LEARNT


def test_files_of_assays_that_do_not_belong_together_are_refused(tmp_path):
    folder = assay_fold(tmp_path / "0", A_AND_B)
    tables = {level: results.read_table(folder, level) for level in scoring.LEVELS}
    scores = results.read_scores(folder)
    prediction_table.require_scores(tables, scores, "DMSO", folder)
    other = tables | {"compounds": tables["compounds"].assign(Assay_x=[1.0, 1.0])}
    with pytest.raises(DataError, match=r"compounds\.csv holds other assays, or other values, than its scores"):
        prediction_table.require_scores(other, scores, "DMSO", folder)
    with pytest.raises(DataError, match="of assays, or its tables of predictions are, and not both"):
        prediction_table.require_scores(tables, replace(scores, assays=None), "DMSO", folder)
    path = folder / "compounds.csv"
    for text, by, message in (("Assay_x", "Assay_y", "lacks Assay_x"), ("b,M,0.0", "b,M,0.5", "Assay_x holds 0.5 in row 2"),
                              ("Assay_x", "Predicted", "lacks Predicted_MOA")):
        path.write_text((written := path.read_text()).replace(text, by))
        assert path.read_text() != written, written
        with pytest.raises(DataError, match=message):
            results.read_table(folder, "compounds")
        path.write_text(written)


def test_evaluations_of_the_last_version_are_read_and_scored_as_one(folds, tmp_path):
    old = {"evaluation.json": {"checkpoint", "step", "compounds", "control", "channels", "classes", "notes",
                               "aggregate_wells", "aggregate_treatments", "tta", "head", "seed", "split", "environment"},
           "scores.json": {"fields", "wells", "treatments", "compounds", "readout", "calibration", "left_out_mechanism",
                           "assays"}}
    of_split = {"method", "held_out", "leaks", "sha256", "sites", "trained", "unlearnable"}
    for folder in folds:
        for name, entries in old.items():
            written = json.loads((folder / name).read_text())
            kept = {entry: value for entry, value in written.items() if entry in entries}
            if "split" in kept:
                kept["split"] = {entry: value for entry, value in kept["split"].items() if entry in of_split}
                kept["split"]["trained"].pop("plates", None)
            (folder / name).write_text(json.dumps(kept))
    assert results.read_scores(folds[0]).controls is None
    assert (results.read_description(folds[0]).unit, results.read_description(folds[0]).left_out) == ("\u00b5M", None)
    combine_folds(folds, tmp_path / "all")
    assert results.read_scores(tmp_path / "all").fields.total == 3
