"""Folds scored as one: the oracle is the same predictions in one table."""

import json
import shutil

import pandas as pd
import pytest

from mscnn.core.errors import DataError, UsageError
from mscnn.evaluation import results
from tests.conftest import run_python

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
    (folder / results.EVALUATION).write_text(json.dumps({
        "control": control, "notes": list(notes), "aggregate_wells": "mean", "aggregate_treatments": "median",
        "tta": "none",
        "head": "softmax",
        "split": {"method": method, "leaks": leaks, "sha256": "0",
                  "trained": {"compounds": list(trained), "weeks": ["Week2"]}}}))
    (folder / results.SCORES).write_text("{}")
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
    scores = results.combine_folds(folds, tmp_path / "all")
    assert {level: (own["correct"], own["total"]) for level, own in scores.items()} == {
        "fields": (2, 4), "wells": (2, 4), "treatments": (1, 2), "compounds": (1, 2)}
    assert json.loads((tmp_path / "all" / "scores.json").read_text()) == scores
    assert json.loads((tmp_path / "all" / "evaluation.json").read_text())["notes"] == [f"{folds[1]}: a note"]
    assert len(pd.read_csv(tmp_path / "all" / "predictions.csv")) == 4
    assert (tmp_path / "all" / "confusion.png").stat().st_size > 0


def test_a_fold_given_twice_is_refused_by_its_fields(folds, tmp_path):
    with pytest.raises(DataError, match="more than once") as refusal:
        results.combine_folds([*folds, folds[0]], tmp_path / "all")
    assert refusal.value.details == ["P1 B02 1", "P1 B03 1"]
    assert not (tmp_path / "all").exists()


def test_folds_of_other_screens_are_refused(folds, tmp_path):
    other = fold(tmp_path / "other", [("P3", "B02", "1", "a", 1.0, "bright", 0.0, 0.9, 0.1)], control="water")
    with pytest.raises(DataError, match="other settings of control: DMSO, water"):
        results.combine_folds([*folds, other], tmp_path / "all")
    table = pd.read_parquet(folds[1] / results.FIELDS)
    table.rename(columns={"Probability_dark": "Probability_dim"}).to_parquet(folds[1] / results.FIELDS)
    with pytest.raises(DataError, match="only one has Probability_dark, Probability_dim"):
        results.combine_folds(folds, tmp_path / "all")


def test_folds_that_were_trained_on_what_they_are_scored_on_are_refused(folds, tmp_path):
    rows = [("P3", "B02", "1", "x", 1.0, "bright", 0.0, 0.9, 0.1), ("P3", "B03", "1", "y", 1.0, "dark", 0.0, 0.9, 0.1)]
    leaking = fold(tmp_path / "leaking", rows, trained=["y", "z"])
    with pytest.raises(DataError, match="was trained on what it is scored on") as refusal:
        results.combine_folds([*folds, leaking], tmp_path / "all")
    assert refusal.value.details == ["compound y"]
    weeks = fold(tmp_path / "weeks", [(*row[:3], row[3] + "2", *row[4:]) for row in rows], method="leave-week-out")
    assert results.combine_folds([*folds, weeks], tmp_path / "all")  # trained on Week2, scored on Week1
    table = pd.read_parquet(weeks / results.FIELDS)
    table.assign(Metadata_Week="Week2").to_parquet(weeks / results.FIELDS)
    with pytest.raises(DataError) as refusal:
        results.combine_folds([*folds, weeks], tmp_path / "all")
    assert refusal.value.details == ["week Week2"]
    assert results.combine_folds([fold(tmp_path / "random", rows, trained=["y"], leaks="all")], tmp_path / "random-all")


def test_folds_that_were_cut_off_or_aggregated_otherwise_are_refused(folds, tmp_path):
    described = json.loads((folds[1] / results.EVALUATION).read_text())
    (folds[1] / results.EVALUATION).write_text(json.dumps(described | {"aggregate_treatments": "mean"}))
    with pytest.raises(DataError, match="other settings of treatment_by: median, mean"):
        results.combine_folds(folds, tmp_path / "all")
    (folds[1] / results.SCORES).unlink()
    with pytest.raises(DataError, match=f"{folds[1]}: no evaluation to read"):
        results.combine_folds(folds, tmp_path / "all")


def test_what_is_no_evaluation_is_named(folds, tmp_path):
    shutil.rmtree(folds[1])
    with pytest.raises(DataError, match=f"{folds[1]}: no evaluation to read"):
        results.combine_folds(folds, tmp_path / "all")
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / results.FIELDS).write_bytes(b"not parquet")
    with pytest.raises(DataError, match=f"{folds[1]}: no evaluation to read"):
        results.combine_folds(folds, tmp_path / "all")


def test_the_command(folds, tmp_path):
    done = run_python("-m", "mscnn", "gather", *folds, "--out", tmp_path / "all")
    assert done.returncode == 0, done.stderr
    assert "treatments     1/2    right   50.0%" in done.stdout
    refused = run_python("-m", "mscnn", "gather", "--out", tmp_path / "all")
    assert refused.returncode == UsageError.exit_code
    assert "evaluations" in refused.stderr
