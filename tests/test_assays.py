"""Assays as a user learns them: train, evaluate, report, on a screen of eight compounds, four of them held out."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from mscnn.data.pixels.dataset_scale import DatasetScale
from mscnn.data.pixels.reader import FieldReader
from mscnn.data.tables.site_table import read_sites
from mscnn.model import MCNN
from mscnn.training import checkpoint
from tests.conftest import run_python

HELD_OUT = "e,f,g,h"
# bright: a hole in both sides; one: active alone in training; rare: active alone in what is held out; DMSO is not there.
ASSAYS = """compound,rare,bright,one
A,1,active,1
b,0,,1
c,0,inactive,
d,,inactive,1
e,1,active,0
f,1,,1
g,1,inactive,0
h,,active,1
"""
TRAIN = ("train", "supervised", "--epochs", "3", "--minibatch", "4", "--lr", "0.003", "--threads", "1", "--log-every", "2")


def write_screen(folder, seed=0):
    """Two wells of each of eight compounds, four of them bright, and of DMSO; only the held-out e has a mechanism."""
    rng, rows = np.random.default_rng(seed), []
    for column, compound in enumerate([*"abcdefgh", "DMSO"], 2):
        for row in "BC":
            tifffile.imwrite(folder / f"{compound}{row}.tif",
                             rng.poisson(900 if compound in "abeh" else 300, (128, 128)).astype(np.uint16))
            mechanism = "M" if compound == "e" else ""
            rows.append(("P1", f"{row}{column:02d}", "1", compound, mechanism, f"{compound}{row}.tif"))
    pd.DataFrame(rows, columns=["plate", "well", "site", "compound", "mechanism", "filename"]).to_csv(
        folder / "sites.csv", index=False)
    (folder / "assays.csv").write_text(ASSAYS)
    return folder


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    return write_screen(tmp_path_factory.mktemp("screen"))


@pytest.fixture(scope="module")
def run(screen):
    done = run_python("-m", "mscnn", *TRAIN, "--sites", screen / "sites.csv", "--assays", screen / "assays.csv",
                      "--hold-out", HELD_OUT, "--run-dir", screen / "run", "--eval-every", "1", ranks=2)
    assert done.returncode == 0, done.stderr
    return screen / "run", done.stdout


@pytest.fixture(scope="module")
def evaluated(run):
    done = run_python("-m", "mscnn", "evaluate", "--checkpoint", run[0])
    assert done.returncode == 0, done.stderr
    return run[0] / "evaluation", done.stdout + done.stderr


def test_training_says_what_it_learns_and_what_it_cannot(run):
    run_dir, console = run
    assert "sites: 18, of which 16 have a known value in an assay" in console
    assert "assays of one class among the training compounds, so not learnt: 1: one" in console
    assert "3 assays" in console
    saved = checkpoint.load(run_dir / "checkpoints" / "last.safetensors")
    assert saved.classes == ["bright", "one", "rare"]
    assert saved.split.unlearnable == ["one"]
    held_out = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [line["total"] for line in held_out if line["kind"] == "held_out"] == [20] * 3  # two fields of ten known cells
    assert "held-out cells: " in console


def test_probabilities_are_sigmoids_of_the_networks_outputs(run, evaluated, screen):
    saved = checkpoint.load(run[0] / "checkpoints" / "last.safetensors")
    network = MCNN(3, 1, 128, 128)
    network.load_state_dict(saved.network)
    table = read_sites(screen / "sites.csv")
    held_out = np.flatnonzero(table.frame["compound"].isin(HELD_OUT.split(",")))
    facts = saved.scale.facts
    images = FieldReader(table, DatasetScale("dataset", facts["mean"], facts["sd"]), None).read(held_out)
    with torch.no_grad():
        expected = torch.sigmoid(network(images).double())
    got = pd.read_parquet(evaluated[0] / "predictions.parquet")
    assert got.columns[-6:].tolist() == [f"{kind}_{name}" for kind in ("Assay", "Probability")
                                         for name in ("bright", "one", "rare")]
    assert "Predicted_MOA" not in got
    np.testing.assert_allclose(got.filter(like="Probability_"), expected, rtol=1e-3, atol=1e-5)  # another layout


def test_assays_are_scored_over_compounds(run, evaluated):
    out, console = evaluated
    fields = pd.read_parquet(out / "predictions.parquet")
    known_SA, of_SA = fields.filter(like="Assay_").to_numpy(), fields.filter(like="Probability_").to_numpy()
    curve = [json.loads(line) for line in (run[0] / "metrics.jsonl").read_text().splitlines()]
    right = (((of_SA > 0.5) == (known_SA == 1)) & ~np.isnan(known_SA)).sum()
    assert [line["correct"] for line in curve if line["kind"] == "held_out"][-1] == right
    compounds = fields.groupby("Metadata_Compound")[["Assay_bright", "Probability_bright"]].mean()  # of two wells
    written = pd.read_csv(out / "compounds.csv").set_index("Metadata_Compound")
    pd.testing.assert_frame_equal(written[compounds.columns.tolist()], compounds)
    known = compounds.dropna()
    scores = json.loads((out / "scores.json").read_text())
    assert scores["assays"]["compounds"] == 4
    bright = scores["assays"]["assays"]["bright"]
    assert (bright["active"], bright["inactive"]) == (2, 1)
    for name, of in (("auc", roc_auc_score), ("average_precision", average_precision_score)):
        assert bright[name]["value"] == pytest.approx(of(known["Assay_bright"], known["Probability_bright"]))
    assert scores["fields"] == {"correct": 0, "total": 0}
    table = pd.read_csv(out / "assays.csv").set_index("assay")
    assert table.loc["bright", "auc"] == bright["auc"]["value"]
    assert table.loc["one", "reason"].startswith("one class among the training compounds")
    assert table.loc["rare", "reason"].startswith("one class among the compounds that are scored")
    assert "over 1 of 3 assays" in console
    assert json.loads((out / "evaluation.json").read_text())["notes"] == []  # a mechanism that was not trained is no matter
    assert not (out / "confusion.png").exists()
    assert json.loads((out / "gallery" / "gallery.json").read_text()) == []  # examples are of mechanisms


def test_the_report_has_the_assays_and_nothing_of_mechanisms(run, evaluated):
    done = run_python("-m", "mscnn", "report", run[0])
    assert done.returncode == 0, done.stderr
    text = (run[0] / "report.html").read_text()
    assert "Mean ROC AUC" in text
    assert "over 1 of 3 assays" in " ".join(text.split())
    assert all(f"<td>{name}</td>" in text for name in ("bright", "one", "rare"))
    assert "How well is each assay predicted?" in text
    assert not any(words in text for words in ("Which mechanisms are confused?", "No baselines were run", "<h2>Dose", "0/0",
                                               "Published values"))


@pytest.mark.parametrize(("command", "message"), [
    (("baselines", "RUN"), "has learnt assays, and baselines predict mechanisms"),
    (("export", "RUN", "--out", "OUT"), "has learnt assays, and an export describes mechanisms"),
    (("evaluate", "--checkpoint", "RUN", "--assays", "OTHER", "--out", "OUT"), "restore it, or its assays, or name"),
    (("evaluate", "--checkpoint", "RUN", "--assays", "NONE", "--out", "OUT"), "say where it is with --assays"),
    (("evaluate", "--checkpoint", "RUN", "--sites", "SITES", "--assays", "FOREIGN", "--out", "OUT"),
     "holds none of the 3 assays that the network has learnt"),
    ((*TRAIN, "--sites", "SITES", "--assays", "OTHER", "--hold-out", HELD_OUT, "--eval-every", "1",
      "--run-dir", "PART", "--resume", "auto"),
     "restore it, or its assays, or name a table"),
    (("loco", "supervised", "--sites", "SITES", "--assays", "OTHER", "--candidates", "CANDIDATES", "--out", "OUT"),
     "--assays has none"),
    ((*TRAIN, "--sites", "SITES", "--assays", "OTHER", "--head", "lda"), "--assays goes with --head softmax"),
    (("train", "screen", "--sites", "SITES", "--assays", "OTHER", "--head", "softmax"), "learnt by mechanism-weight"),
])
def test_what_assays_do_not_go_with_is_refused(run, evaluated, screen, tmp_path, command, message):
    (tmp_path / "other.csv").write_text(ASSAYS.replace("g,1", "g,0"))
    (tmp_path / "foreign.csv").write_text("compound,x\na,1\n")
    (tmp_path / "candidates.yaml").write_text("one: {lr: '0.1'}\ntwo: {lr: '0.2'}\n")
    if "PART" in command:
        shutil.copytree(run[0], tmp_path / "part")
        (tmp_path / "part" / "summary.json").unlink()  # as if it had not finished
    places = {"RUN": run[0], "OUT": tmp_path / "out", "OTHER": tmp_path / "other.csv", "NONE": tmp_path / "none.csv",
              "SITES": screen / "sites.csv", "FOREIGN": tmp_path / "foreign.csv", "PART": tmp_path / "part",
              "CANDIDATES": tmp_path / "candidates.yaml"}
    done = run_python("-m", "mscnn", *(places.get(word, word) for word in command))
    assert done.returncode in (2, 3), done.stdout
    assert message in " ".join(done.stderr.split())


def test_another_screen_is_predicted_and_scored_where_its_assays_are_given(run, tmp_path):
    other = write_screen(tmp_path, seed=1)
    (other / "assays.csv").write_text("compound,bright,new\na,1,1\nc,0,1\nh,1,0\n")
    for options, scored in (((), 0), (("--assays", other / "assays.csv"), 1)):
        done = run_python("-m", "mscnn", "evaluate", "--checkpoint", run[0], "--sites", other / "sites.csv", "--out",
                          tmp_path / f"out-{scored}", *options)
        assert done.returncode == 0, done.stderr
        scores = json.loads((tmp_path / f"out-{scored}" / "scores.json").read_text())["assays"]
        assert sum("auc" in score for score in scores["assays"].values()) == scored
        assert scores["compounds"] == 8
