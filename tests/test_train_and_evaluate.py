"""The main job as a user runs it: train.py, then evaluate.py, on a tiny 2-channel screen."""

import json

import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from tests.conftest import run_python

TRAIN = ("screen", "--epochs", "12", "--minibatch", "3", "--lr", "0.003", "--threads", "1", "--log-every", "4")


@pytest.fixture(scope="module")
def run(tmp_path_factory, module_screen):
    """A run on 2 ranks that holds out compound b."""
    run_dir = tmp_path_factory.mktemp("runs") / "held-out-b"
    done = run_python("train.py", *TRAIN, "--sites", module_screen, "--hold-out", "b", "--run-dir", run_dir,
                      "--monitor-every", "6", ranks=2)
    assert done.returncode == 0, done.stderr
    return run_dir, done.stdout


@pytest.fixture(scope="module")
def module_screen(tmp_path_factory):
    from tests.conftest import tiny_screen

    return tiny_screen.__wrapped__(tmp_path_factory.mktemp("screen"))


def evaluate(run_dir, out, *options, ranks: int = 1):
    return run_python("evaluate.py", "--checkpoint", run_dir, "--out", out, *options, ranks=ranks)


def test_a_run_directory_describes_itself(run, module_screen):
    run_dir, console = run
    settings = yaml.safe_load((run_dir / "config.yaml").read_text())
    assert (settings["preset"], settings["hold_out"], settings["minibatch"]) == ("screen", "b", 3)
    assert "--hold-out b" in (run_dir / "command.txt").read_text()
    environment = json.loads((run_dir / "environment.json").read_text())
    assert (environment["ranks"], environment["threads"]["used"]) == (2, 1)
    split = pd.read_csv(run_dir / "split.csv")
    assert split.groupby("compound")["side"].unique().map(list).to_dict() == {
        "DMSO": ["train"], "a": ["train"], "b": ["test"], "c": ["train"]}
    metrics = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in metrics if line["kind"] == "train"]
    assert steps == sorted(set(range(4, 37, 4)) | set(range(3, 37, 3)))  # every 4 steps and at the end of each epoch
    assert [line["step"] for line in metrics if line["kind"] == "held_out"] == [18, 36]
    assert list((run_dir / "tensorboard").iterdir())
    assert len(list((run_dir / "log").iterdir())) == 2
    assert "step    36/36" in console


def test_a_checkpoint_carries_what_evaluation_needs(run, module_screen):
    content = torch.load(run[0] / "checkpoints" / "last.pt", weights_only=True)
    assert content["classes"] == ["DMSO", "bright", "dark"]
    assert (content["channels"], content["image_size"], content["step"]) == (["DNA", "RNA"], [128, 128], 36)
    assert content["config"]["sites"] == str(module_screen)
    assert content["split"]["held_out"] == ["b"]
    assert [len(content["normalisation"][name]) for name in ("mean", "sd")] == [2, 2]
    assert content["optimiser"]["state"]


def test_held_out_compounds_are_scored_by_default(run, tmp_path):
    done = evaluate(run[0], tmp_path / "out")
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores == {"fields": {"correct": 3, "total": 3}, "wells": {"correct": 3, "total": 3},
                      "treatments": {"correct": 1, "total": 1}, "compounds": {"correct": 1, "total": 1}}
    table = pd.read_csv(tmp_path / "out" / "predictions.csv", dtype={"Metadata_Plate": str})
    assert set(table["Metadata_Compound"]) == {"b"}
    assert set(table["Metadata_Plate"]) == {"00123"}
    probabilities = [name for name in table if name.startswith("Probability_")]
    assert probabilities == ["Probability_DMSO", "Probability_bright", "Probability_dark"]
    assert table[probabilities].sum(axis=1).tolist() == pytest.approx([1, 1, 1])
    pd.testing.assert_frame_equal(
        table[probabilities], pd.read_parquet(tmp_path / "out" / "predictions.parquet")[probabilities])
    with Image.open(tmp_path / "out" / "confusion.png") as picture:
        assert min(picture.size) > 200
    assert "treatments     1/1    right" in done.stdout


def test_any_number_of_ranks_writes_the_same_tables(run, tmp_path):
    for ranks in (1, 3):
        done = evaluate(run[0], tmp_path / str(ranks), "--microbatch", "1", "--threads", "1", ranks=ranks)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "1" / "predictions.csv").read_bytes() == (tmp_path / "3" / "predictions.csv").read_bytes()


def test_another_table_is_scored_and_its_trained_compounds_pointed_out(run, module_screen, tmp_path):
    rows = pd.read_csv(module_screen, dtype=str)
    rows.loc[rows["Metadata_Compound"] == "c", "Metadata_MOA"] = ""  # not known: predicted, not scored
    other = module_screen.parent / "other.csv"
    rows[::-1].to_csv(other, index=False)
    done = evaluate(run[0], tmp_path / "out", "--sites", other)
    assert done.returncode == 0, done.stderr
    assert len(pd.read_csv(tmp_path / "out" / "predictions.csv")) == 12
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["fields"]["total"] == 9
    notes = json.loads((tmp_path / "out" / "evaluation.json").read_text())["notes"]
    assert "trained on 2 of these compounds" in notes[0]
    assert "trained on 2 of these compounds" in done.stdout


def test_a_screen_that_does_not_fit_the_checkpoint_is_refused(run, module_screen, tmp_path):
    done = evaluate(run[0], tmp_path / "out", "--sites", module_screen, "--channels", "DNA")
    assert done.returncode == 3
    assert "(1, 128, 128)" in done.stderr
    assert "(2, 128, 128)" in done.stderr
    done = evaluate(tmp_path, tmp_path / "out")
    assert done.returncode == 3
    assert "no checkpoint there" in done.stderr


def test_a_changed_table_is_not_taken_for_the_one_that_was_split(run, module_screen, tmp_path):
    original = module_screen.read_text()
    try:
        module_screen.write_text(original.replace("0.30", "0.40"))
        done = evaluate(run[0], tmp_path / "out")
    finally:
        module_screen.write_text(original)
    assert done.returncode == 3
    assert "not the one that the checkpoint was trained on" in done.stderr


def test_bad_images_end_the_job_before_training_with_all_of_them_named(tiny_screen, tmp_path):
    for name in ("a_B02_DNA.tif", "c_C02_RNA.tif"):
        (tiny_screen.parent / name).unlink()
    (tiny_screen.parent / "b_B02_DNA.tif").write_bytes(b"not a TIFF")
    for ranks in (1, 2):
        done = run_python("train.py", *TRAIN, "--sites", tiny_screen, "--run-dir", tmp_path / "run", ranks=ranks)
        assert done.returncode == 3
        assert "a_B02_DNA.tif: missing" in done.stderr + done.stdout
        assert "c_C02_RNA.tif: missing" in done.stderr
        assert "b_B02_DNA.tif: unreadable" in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "run").exists()


def test_sizes_that_do_not_fit_are_refused_with_a_remedy_that_works(tiny_screen, tmp_path):
    common = ("train.py", *TRAIN, "--max-steps", "1", "--sites", tiny_screen)
    done = run_python(*common, "--image-size", "100x130", "--run-dir", tmp_path / "a")
    assert done.returncode == 3
    assert "--image-size 128x128 (crops)" in done.stderr
    done = run_python(*common, "--image-size", "256x128", "--run-dir", tmp_path / "b")
    assert done.returncode == 0, done.stderr
    assert "fitted to 256x128" in done.stdout


def test_training_that_diverges_ends_with_a_remedy_and_keeps_no_bad_checkpoint(tiny_screen, tmp_path):
    done = run_python("train.py", "screen", "--sites", tiny_screen, "--lr", "1e6", "--epochs", "4", "--minibatch", "3",
                      "--run-dir", tmp_path / "run")
    assert done.returncode == 2
    assert "training diverged" in done.stderr
    path = tmp_path / "run" / "checkpoints" / "last.pt"
    if path.exists():
        weights = torch.load(path, weights_only=True)["network"]
        assert all(torch.isfinite(weight).all() for weight in weights.values())
