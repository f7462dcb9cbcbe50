"""The main job as a user runs it: train.py, then evaluate.py, on a tiny 2-channel screen."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
import torch.nn.functional as F
import yaml
from PIL import Image
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from mscnn.data.pixels.augment import Jitter
from mscnn.data.pixels.dataset_scale import DatasetScale
from mscnn.data.pixels.reader import FieldReader
from mscnn.data.tables.sampler import epoch_minibatches
from mscnn.data.tables.site_table import read_sites
from mscnn.evaluation.scoring import LEVELS
from mscnn.model import MCNN
from mscnn.profiling import h5ad
from mscnn.training import checkpoint
from tests.conftest import run_python

TRAIN = ("supervised", "--epochs", "12", "--minibatch", "3", "--lr", "0.003", "--threads", "1", "--log-every", "4")


@pytest.fixture(scope="module")
def run(tmp_path_factory, module_screen):
    """A run on 2 ranks that holds out compound b."""
    run_dir = tmp_path_factory.mktemp("runs") / "held-out-b"
    done = run_python("train.py", *TRAIN, "--sites", module_screen, "--hold-out", "b", "--run-dir", run_dir,
                      "--eval-every", "6", ranks=2)
    assert done.returncode == 0, done.stderr
    return run_dir, done.stdout


@pytest.fixture(scope="module")
def module_screen(tmp_path_factory):
    from tests.conftest import tiny_screen

    return tiny_screen.__wrapped__(tmp_path_factory.mktemp("screen"))


def evaluate(run_dir, out, *options, ranks: int = 1):
    examples = () if "--examples" in options else ("--examples", "0")  # they take seconds
    return run_python("evaluate.py", "--checkpoint", run_dir, "--out", out, *examples, *options, ranks=ranks)


def right_of_total(out, level: str) -> tuple[int, int]:
    score = json.loads((out / "scores.json").read_text())[level]
    return score["correct"], score["total"]


def test_a_run_directory_describes_itself(run, module_screen):
    run_dir, console = run
    settings = yaml.safe_load((run_dir / "config.yaml").read_text())
    assert (settings["preset"], settings["hold_out"], settings["minibatch"]) == ("supervised", "b", 3)
    assert "--hold-out b" in (run_dir / "command.txt").read_text()
    environment = json.loads((run_dir / "environment.json").read_text())
    assert (environment["ranks"], environment["launcher"]) == (2, "torchrun")
    assert [line.split(":")[0].split()[1] for line in environment["places"]] == ["0", "1"]
    assert all(" 1 thread, " in line for line in environment["places"])
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
    saved = checkpoint.load(run[0] / "checkpoints" / "last.safetensors")
    assert saved.classes == ["DMSO", "bright", "dark"]
    assert (saved.channels, saved.image_size, saved.step) == (["DNA", "RNA"], [128, 128], 36)
    assert saved.settings["sites"] == str(module_screen)
    assert saved.split.held_out == ["b"]
    assert [len(saved.scale.facts[name]) for name in ("mean", "sd")] == [2, 2]
    assert saved.resume.optimiser["state"]


def test_held_out_compounds_are_scored_by_default(run, tmp_path):
    done = evaluate(run[0], tmp_path / "out")
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert {level: (own["correct"], own["total"]) for level, own in scores.items() if level in LEVELS} == {
        "fields": (3, 3), "wells": (3, 3), "treatments": (1, 1), "compounds": (1, 1)}
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


def test_predictions_are_the_networks_own(run, module_screen, tmp_path):
    """Against the checkpoint's weights applied in this process, with mean and sd taken from the pixels of a, c, DMSO."""
    assert evaluate(run[0], tmp_path / "out").returncode == 0
    saved = checkpoint.load(run[0] / "checkpoints" / "last.safetensors")
    network = MCNN(3, 2, 128, 128)
    network.load_state_dict(saved.network)
    rows = pd.read_csv(module_screen, dtype=str)
    pixels = np.stack([[tifffile.imread(module_screen.parent / name) for name in names]
                       for names in zip(rows["FileName_DNA"], rows["FileName_RNA"], strict=True)]).astype(np.float64)
    trained = (rows["Metadata_Compound"] != "b").to_numpy()
    mean, sd = pixels[trained].mean(axis=(0, 2, 3)), pixels[trained].std(axis=(0, 2, 3))
    fields = torch.tensor((pixels[~trained] - mean[:, None, None]) / sd[:, None, None], dtype=torch.float32)
    with torch.no_grad():
        expected = torch.softmax(network(fields).double(), dim=1).numpy()
    got = pd.read_parquet(tmp_path / "out" / "predictions.parquet").filter(like="Probability_").to_numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5)  # float32 in another layout


def test_profiles_are_the_networks_activations_and_can_be_matched(run, module_screen):
    """--profiles all: those of the training side too; the predictions stay those of the held-out compound."""
    done = evaluate(run[0], run[0] / "evaluation", "--profiles", "all", "--examples", "1", "--h5ad", "true")
    assert done.returncode == 0, done.stderr
    assert [example["compound"] for example in json.loads(
        (run[0] / "evaluation" / "gallery" / "gallery.json").read_text())] == ["b", "DMSO"]
    profiles = pd.read_parquet(run[0] / "evaluation" / "profiles.parquet")
    scored = profiles["Metadata_Compound"] == "b"
    assert (profiles["Metadata_Scored"] == scored).all()
    assert (len(profiles), scored.sum(), len(pd.read_parquet(run[0] / "evaluation" / "predictions.parquet"))) == (12, 3, 3)
    features = torch.tensor(profiles.filter(like="Image_MCNN_Emb_").to_numpy(), dtype=torch.float32)
    saved = checkpoint.load(run[0] / "checkpoints" / "last.safetensors")
    weight, bias = (saved.network[f"classify.{name}"] for name in ("weight", "bias"))
    expected = torch.softmax(F.linear(features, weight, bias), dim=1)
    got = pd.read_parquet(run[0] / "evaluation" / "predictions.parquet").filter(like="Probability_").to_numpy()
    np.testing.assert_allclose(got, expected.numpy()[scored], atol=1e-5)
    as_anndata = h5ad.read(run[0] / "evaluation" / "profiles.h5ad", "").columns
    for name, column in profiles.items():
        assert as_anndata[name].to_pylist() == [None if value == "" else value for value in column], name
    scored = run_python("-m", "mscnn", "score", run[0] / "evaluation" / "profiles.parquet")
    assert scored.returncode == 0, scored.stderr
    assert "NSC   not same compound     1/1 " in scored.stdout  # b, by a, which was trained on and does not count itself
    assert "trained on 2 more" in scored.stdout


def test_any_number_of_ranks_writes_the_same_tables(run, tmp_path):
    for ranks in (1, 3):
        done = evaluate(run[0], tmp_path / str(ranks), "--microbatch", "1", "--threads", "1", "--oversubscribe", "true",
                        ranks=ranks)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "1" / "predictions.csv").read_bytes() == (tmp_path / "3" / "predictions.csv").read_bytes()


def test_another_table_is_scored_and_its_trained_compounds_pointed_out(run, module_screen, tmp_path):
    rows = pd.read_csv(module_screen, dtype=str)
    rows.loc[rows["Metadata_Compound"] == "c", "Metadata_MOA"] = ""  # not known: predicted, not scored
    other = module_screen.parent / "other.csv"
    rows[::-1].to_csv(other, index=False)
    done = evaluate(run[0], tmp_path / "out", "--sites", other, "--concentration-unit", "ug/ml")
    assert done.returncode == 0, done.stderr
    assert len(pd.read_csv(tmp_path / "out" / "predictions.csv")) == 12
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert {level: score["total"] for level, score in scores.items() if level in LEVELS} == {
        "fields": 6, "wells": 6, "treatments": 2, "compounds": 2}  # c is not known, DMSO is no treatment and never scored
    description = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert "trained on 2 of these compounds" in description["notes"][0]
    assert description["unit"] == "\u00b5g/ml"
    assert "trained on 2 of these compounds" in done.stdout


def test_fields_on_another_scale_are_told_beside_the_scores_or_refused(run, module_screen, tmp_path):
    saved = checkpoint.load(run[0] / "checkpoints" / "last.safetensors")
    assert (saved.counts.dtype, saved.counts.fields, len(saved.counts.channels)) == ("uint16", 9, 2)
    rows = pd.read_csv(module_screen, dtype=str)
    for folder, change in (("times", lambda plane: plane * 20), ("bytes", lambda plane: (plane >> 4).astype(np.uint8))):
        for name in [*rows["FileName_DNA"], *rows["FileName_RNA"]]:
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(tmp_path / folder / name, change(tifffile.imread(module_screen.parent / name)))
        rows.to_csv(tmp_path / folder / "sites.csv", index=False)
    done = evaluate(run[0], tmp_path / "out", "--sites", tmp_path / "times" / "sites.csv", ranks=2)
    assert done.returncode == 0, done.stderr
    notes = json.loads((tmp_path / "out" / "evaluation.json").read_text())["notes"]
    assert any("intensities are far from those of the training (DNA median" in note for note in notes)
    assert "NOTE: intensities are far" in done.stdout
    done = evaluate(run[0], tmp_path / "none", "--sites", tmp_path / "bytes" / "sites.csv")
    assert (done.returncode, "are uint8" in done.stderr, "Traceback" in done.stderr) == (3, True, False)
    assert not (tmp_path / "none" / "scores.json").exists()


def test_what_flatters_or_dooms_a_score_is_said_beside_it(module_screen, tmp_path):
    done = run_python("train.py", *TRAIN, "--sites", module_screen, "--split-method", "random", "--test-fraction", "0.3",
                      "--max-steps", "2", "--run-dir", tmp_path / "run")
    assert "LEAKS" in done.stdout
    done = evaluate(tmp_path / "run", tmp_path / "out")
    assert "are on both sides" in json.loads((tmp_path / "out" / "evaluation.json").read_text())["notes"][0]
    assert "NOTE: fields of the same wells" in done.stdout
    rows = pd.read_csv(module_screen, dtype=str).replace({"Metadata_MOA": {"dark": "brand new"}})
    rows.to_csv(module_screen.parent / "new.csv", index=False)
    evaluate(tmp_path / "run", tmp_path / "out", "--sites", module_screen.parent / "new.csv")
    notes = json.loads((tmp_path / "out" / "evaluation.json").read_text())["notes"]
    assert "not trained, so always wrong: brand new" in notes[-1]


def test_a_training_says_what_it_will_lack(module_screen, tmp_path):
    refused = run_python("train.py", "supervised", "--sites", module_screen, "--control", "DSMO", "--max-steps", "1",
                         "--run-dir", tmp_path / "run")
    assert (refused.returncode, "no well of DSMO, the control: DMSO would count as treated" in refused.stderr) == (2, True)
    rows = pd.read_csv(module_screen, dtype=str)
    rows[rows["Metadata_Compound"] != "DMSO"].to_csv(module_screen.parent / "treated.csv", index=False)
    done = run_python("train.py", "supervised", "--sites", module_screen.parent / "treated.csv", "--max-steps", "1",
                      "--hold-out", "none",
                      "--run-dir", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "no well of DMSO: the screen seems to have no untreated wells" in done.stdout
    assert "no compound is held out, so that this run cannot be scored" in done.stdout


def test_a_screen_that_does_not_fit_the_checkpoint_is_refused(run, module_screen, tmp_path):
    done = evaluate(run[0], tmp_path / "out", "--sites", module_screen, "--channels", "DNA")
    assert done.returncode == 3
    assert "(1, 128, 128)" in done.stderr
    assert "(2, 128, 128)" in done.stderr
    done = evaluate(run[0], tmp_path / "out", "--sites", module_screen, "--channels", "RNA,DNA")
    assert done.returncode == 2
    assert "--channels RNA,DNA: the network sees channels in the order DNA,RNA" in done.stderr
    done = evaluate(tmp_path, tmp_path / "out")
    assert done.returncode == 3
    assert "no checkpoint there" in done.stderr


def test_tables_and_images_that_moved_are_found_again(run, module_screen, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(module_screen.parent, moved)
    for path in moved.glob("[ac]_*.tif"):
        path.unlink()  # the training side is not needed for held-out scores
    hidden = module_screen.rename(module_screen.with_suffix(".away"))
    try:
        assert evaluate(run[0], tmp_path / "lost").returncode == 3
        done = evaluate(run[0], tmp_path / "out", "--data", moved / "sites.csv")
    finally:
        hidden.rename(module_screen)
    assert done.returncode == 0, done.stderr
    assert right_of_total(tmp_path / "out", "fields") == (3, 3)
    assert "NOTE: images of fields that were trained on are not there (" in done.stdout
    assert pd.read_parquet(tmp_path / "out" / "profiles.parquet")["Metadata_Compound"].unique().tolist() == ["b"]
    images = tmp_path / "images"
    images.mkdir()
    for path in moved.glob("b_*.tif"):
        path.rename(images / path.name)
    (moved / "sites.csv").rename(tmp_path / "sites.csv")
    done = evaluate(run[0], tmp_path / "out2", "--data", tmp_path / "sites.csv", "--image-root", images)
    assert done.returncode == 0, done.stderr
    done = evaluate(run[0], tmp_path / "out3", "--data", tmp_path / "sites.csv")
    assert "--image-root" in done.stderr


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


def test_a_network_that_broke_in_its_last_step_is_not_saved(tiny_screen, tmp_path):
    done = run_python("train.py", "supervised", "--sites", tiny_screen, "--lr", "1e39", "--max-steps", "1",
                      "--run-dir", tmp_path / "run")
    assert done.returncode == 2
    assert "training diverged" in done.stderr
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


def test_a_run_is_the_textbook_loop(tiny_screen, tmp_path):
    """Every setting that changes a step, against plain PyTorch on whole minibatches, over two epochs."""
    settings = {"hold_out": "b", "epochs": 2, "minibatch": 4, "microbatch": 3, "lr": "0.01;1;0.02", "momentum": 0.8,
                "weight_decay": 0.01, "clip_norm": 0.5, "class_weights": "balanced", "label_smoothing": 0.2,
                "ema_decay": 0.3,
                "flips": True, "quarter_turns": False, "aug_gain": 0.3, "aug_offset": 0.2, "rotate": 30.0,
                "head_relu": False, "seed": 5}
    rows = pd.read_csv(tiny_screen, dtype=str).iloc[:-1]  # classes of unequal size
    rows.to_csv(tiny_screen, index=False)
    options = [text for name, value in settings.items() for text in (f"--{name.replace('_', '-')}", str(value).lower())]
    done = run_python("train.py", "supervised", "--sites", tiny_screen, "--log-every", "1", *options,
                      "--run-dir", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    saved = checkpoint.load(tmp_path / "run" / "checkpoints" / "last.safetensors")
    expected, losses, rates = textbook(tiny_screen, settings, saved.scale.facts)
    for name, weight in expected.items():
        torch.testing.assert_close(saved.network[name], weight, rtol=1e-4, atol=1e-5, msg=name)
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["lr"] for line in metrics] == rates
    assert [line["loss"] for line in metrics] == pytest.approx(losses, rel=1e-4)


def textbook(table_csv, settings: dict, scale: dict):
    """The same run without ranks, microbatches, prefetch or checkpoints: final weights, losses and rates."""
    table = read_sites(table_csv)
    training = np.flatnonzero(table.frame["compound"] != settings["hold_out"])
    labels = torch.tensor([["DMSO", "bright", "dark"].index(name) for name in table.frame["mechanism"]])
    counts = torch.bincount(labels[training])
    weights = (len(training) / (3 * counts.double()))[labels].float()
    fields = FieldReader(table, DatasetScale("dataset", scale["mean"], scale["sd"]), None)
    jitter = Jitter(flips=True, quarter_turns=False, gain=0.3, offset=0.2, rotate=30.0)
    torch.manual_seed(settings["seed"])
    network = MCNN(3, 2, 128, 128, head_relu=False)
    optimiser = torch.optim.SGD(network.parameters(), lr=1.0, momentum=0.8, nesterov=True, weight_decay=0.01, foreach=False)
    losses, rates = [], []
    averages = {name: weight.clone() for name, weight in network.state_dict().items()}
    for epoch, rate in enumerate((0.01, 0.02)):
        for part in epoch_minibatches(len(training), 4, seed=5, epoch=epoch):
            sites = training[part]
            images = fields.read(sites, jitter, (5, epoch))
            each = F.cross_entropy(network(images), labels[sites], reduction="none", label_smoothing=0.2)
            loss = (each * weights[sites]).sum() / weights[sites].sum()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
            optimiser.param_groups[0]["lr"] = rate
            optimiser.step()
            optimiser.zero_grad()
            decay = min(0.3, (1 + len(losses)) / (10 + len(losses)))
            averages = {name: decay * averages[name] + (1 - decay) * weight
                        for name, weight in network.state_dict().items()}
            losses.append(loss.item())
            rates.append(rate)
    return averages, losses, rates


def test_the_read_out_is_discriminant_analysis_of_the_training_fields(tiny_screen, tmp_path):
    """Against scikit-learn's on the profiles that evaluate.py writes, after two epochs of both tasks on 2 ranks."""
    done = run_python("train.py", "supervised", "--sites", tiny_screen, "--hold-out", "b", "--max-steps", "4",
                      "--minibatch", "6", "--statistics-weight", "5", "--transductive", "true", "--ema-decay", "0.9",
                      "--head", "lda", "--tta", "flips-turns", "--eval-every", "1", "--run-dir", tmp_path / "run", ranks=2)
    assert done.returncode == 0, done.stderr
    assert "statistics of 12 fields, 3 of them held out" in done.stdout
    done = evaluate(tmp_path / "run", tmp_path / "out", "--profiles", "all")
    assert done.returncode == 0, done.stderr
    assert "has seen images of what it is scored on" in json.loads((tmp_path / "out" / "evaluation.json").read_text())[
        "notes"][0]
    profiles = pd.read_parquet(tmp_path / "out" / "profiles.parquet")
    features, held_out = profiles.filter(like="Image_MCNN_Emb_").to_numpy(), profiles["Metadata_Scored"].to_numpy()
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[1 / 3] * 3).fit(
        features[~held_out], profiles["Metadata_MOA"][~held_out])
    got = pd.read_parquet(tmp_path / "out" / "predictions.parquet").filter(like="Probability_").to_numpy()
    np.testing.assert_allclose(got, lda.predict_proba(features[held_out]), atol=0.01)


def test_training_that_diverges_ends_with_a_remedy_and_keeps_no_bad_checkpoint(tiny_screen, tmp_path):
    done = run_python("train.py", "supervised", "--sites", tiny_screen, "--lr", "1e6", "--epochs", "4", "--minibatch", "3",
                      "--run-dir", tmp_path / "run")
    assert done.returncode == 2
    assert "training diverged" in done.stderr
    path = tmp_path / "run" / "checkpoints" / "last.safetensors"
    if path.exists():
        weights = checkpoint.load(path).network
        assert all(torch.isfinite(weight).all() for weight in weights.values())


def test_plates_on_one_scale_are_the_same_for_any_number_of_ranks_and_in_evaluation(tiny_screen, tmp_path):
    options = ("supervised", "--sites", tiny_screen, "--normalise", "plate", "--hold-out", "b", "--minibatch", 4,
               "--max-steps", 1)
    for ranks in (1, 2):
        done = run_python("train.py", *options, "--run-dir", tmp_path / str(ranks), ranks=ranks)
        assert done.returncode == 0, done.stderr
    one, two = (checkpoint.load(tmp_path / ranks / "checkpoints" / "last.safetensors").scale
                for ranks in "12")
    assert one.facts == two.facts
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(two.arrays[name], array)
    assert {path.name for path in (tmp_path / "1").iterdir()} >= {"intensity.json", "intensity.npz", "intensity.png"}
    done = run_python("evaluate.py", "--checkpoint", tmp_path / "1", "--out", tmp_path / "own", "--examples", "0")
    assert done.returncode == 0, done.stderr
    other = tmp_path / "other.csv"
    for name in tiny_screen.parent.glob("*.tif"):  # another screen whose plate has the same name, twice as bright
        tifffile.imwrite(tmp_path / name.name, 2 * tifffile.imread(name))
    other.write_text(tiny_screen.read_text())
    done = run_python("evaluate.py", "--checkpoint", tmp_path / "1", "--sites", other, "--out", tmp_path / "another",
                      "--examples", "0")
    assert done.returncode == 0, done.stderr
    own, another = (pd.read_csv(tmp_path / name / "predictions.csv") for name in ("own", "another"))
    held_out = another[another["Metadata_Compound"] == "b"].reset_index(drop=True)  # the same wells
    probabilities = [name for name in own if not name.startswith("Metadata_")]
    numbers = own[probabilities].select_dtypes("number")
    pd.testing.assert_frame_equal(held_out[numbers.columns], numbers, rtol=1e-2, atol=1e-3)  # counts are whole numbers
