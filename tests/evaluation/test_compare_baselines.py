"""Baselines on a run's folds: against scikit-learn by hand, and a screen whose layout alone gives mechanisms away."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mscnn
from mscnn.core.errors import DataError, UsageError
from mscnn.data.pixels.dataset_scale import DatasetScale
from mscnn.data.pixels.images import read_site
from mscnn.data.pixels.statistics import pixel_statistics
from mscnn.data.tables import splits
from mscnn.data.tables.site_table import SiteTable, read_sites
from mscnn.evaluation import aggregate, combine_folds, compare_baselines, load_run, results, scoring
from mscnn.profiling.retrieval import RetrievalComparison
from mscnn.report import html, verdicts
from mscnn.report import run as runs
from tests.conftest import make_table

tifffile = pytest.importorskip("tifffile")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folds of a screen of noise: 8 compounds of 2 mechanisms, each in its own well of 6 plates; the network guesses."""
    root = tmp_path_factory.mktemp("noise")
    rng, rows = np.random.default_rng(0), []
    for number in range(8):
        for plate in range(6):
            name = f"{plate}-{number}.tif"
            tifffile.imwrite(root / name, rng.poisson(200, (128, 128)).astype(np.uint16))
            rows.append((name, f"P{plate}", "Week1", f"{'BCDEFGHI'[number]}{number + 2:02d}", "1", f"c{number}", "1",
                         "MN"[number % 2]))
    columns = ["FileName_DNA", *(f"Metadata_{name}" for name in ("Plate", "Week", "Well", "Site", "Compound",
                                                                 "Concentration", "MOA"))]
    pd.DataFrame(rows, columns=columns).to_csv(root / "sites.csv", index=False)
    table, out = read_sites(root / "sites.csv"), root / "loco"
    folds = []
    for number in range(8):
        folder = out / f"fold-{number}"
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(f"preset: screen\nsites: {root / 'then' / 'sites.csv'}\n")
        split = splits.make_split(table, split="leave-compound-out", fold=number)
        splits.write(split, table, folder)
        folds.append(results.FoldDescription(str(number), f"fold-{number}/checkpoints/last.safetensors",
                                             replace(splits.to_record(split, table), sides=[])))
    (out / "scores").mkdir()
    guessed = aggregate.field_predictions(table, np.tile([0.6, 0.4], (48, 1)), ["M", "N"])
    results.write(guessed, results.EvaluationDescription(
        control="DMSO", aggregate_wells="mean", aggregate_treatments="median", tta="none", head="softmax", notes=[], seed=0,
        channels=["DNA"], environment={}, folds=folds), out / "scores")
    found = compare_baselines.score_baselines(out, features=None, nuclei=None, workers=1, microbatch=8,
                                              moved=str(root / "sites.csv"))
    return out, table, found.baselines


def statistics_of(table: SiteTable) -> np.ndarray:
    """Pixel statistics of fields that are scaled by themselves; peaks are counted, so the last bit of the scale matters."""
    scale = DatasetScale("field", (), ())
    fields_SCHW = np.stack([scale.apply(read_site(files)) for files in table.frame["files"]])
    return pixel_statistics(torch.from_numpy(fields_SCHW)).double().numpy()


def test_a_baseline_is_fitted_on_each_folds_training_side_alone(run):
    out, table, found = run
    measured = pd.read_parquet(out / compare_baselines.FEATURES)
    assert measured["Metadata_Plate"].tolist() == table.frame["plate"].tolist()
    handcrafted, labels = measured.filter(like="Image_Basic_").to_numpy(), table.frame["mechanism"].to_numpy()
    statistics = statistics_of(table)
    regression = LogisticRegression(class_weight="balanced", max_iter=5000)
    discriminant = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[0.5, 0.5])
    for name, features, classifier in (
            ("handcrafted features", handcrafted, regression), ("handcrafted features, LDA", handcrafted, discriminant),
            ("pixel statistics, LDA", statistics, discriminant),
            ("both tables, LDA", np.hstack([statistics, handcrafted]), discriminant)):
        right = {}
        for compound in sorted(set(table.frame["compound"])):
            test = (table.frame["compound"] == compound).to_numpy()
            model = make_pipeline(StandardScaler(), classifier).fit(features[~test], labels[~test])
            right[compound] = [int((model.predict(features[test]) == labels[test]).sum()), 6]
        assert found[name].held_out.compounds_fields == right
    written = scoring.BaselineResults.from_json(json.loads((out / "scores" / "baselines.json").read_text()))
    assert written.baselines == found


def test_tables_without_training_are_scored_as_by_mscnn_score(run):
    out, _, _ = run
    written = json.loads((out / "scores" / "baselines.json").read_text())["retrieval"]
    found = RetrievalComparison.from_json(written)
    assert list(found.tables) == ["pixel statistics", "handcrafted features", "both tables"]
    scored = mscnn.score_profiles(pd.read_parquet(out / compare_baselines.FEATURES), normalise="standard")
    assert found.tables["handcrafted features"].nsc == scored.nsc
    assert found.tables["handcrafted features"].nscb == scored.nscb
    assert (found.network, found.difference) == (None, None)
    assert "profiles of 8 networks cannot be compared with each other" in found.note


def test_one_network_of_all_folds_has_the_same_baselines_and_is_compared_by_retrieval(run, tmp_path):
    """A label-free network: its folds are those of its read-outs."""
    out, table, expected = run
    one = tmp_path / "loco"
    (one / "network").mkdir(parents=True)
    (one / "scores").mkdir()
    (one / "network" / "config.yaml").write_text(
        f"preset: screen\nsites: {out.parent / 'sites.csv'}\n"
        "mechanism_weight: 0\nreplicate_weight: 1\ntransductive: true\n")
    description = results.read_description(out / "scores")
    description = replace(description, checkpoint="loco/network/checkpoints/last.safetensors", step=1, compounds=["c0"],
                          classes=["M", "N"], split=description.folds[0].split)
    results.write(results.read_table(out / "scores", "fields"), description, one / "scores")
    is_n = (table.frame["mechanism"] == "N").to_numpy()
    told = np.eye(2)[is_n.astype(int)] + np.random.default_rng(0).normal(0, 0.1, (48, 2))
    aggregate.field_profiles(table, told).assign(Metadata_Scored=True).to_parquet(one / "scores" / results.PROFILES)
    found = compare_baselines.score_baselines(one, features=out / compare_baselines.FEATURES, nuclei=None, workers=1,
                                              microbatch=8)
    assert found.baselines == expected
    assert found.retrieval.network.nsc.mean_average_precision.mean == 1
    assert (found.retrieval.network.nsc.correct, found.retrieval.network.nsc.total) == (8, 8)
    assert found.retrieval.difference.difference == pytest.approx(
        1 - found.retrieval.tables[found.retrieval.best].nsc.mean_average_precision.mean)
    assert "has seen images of what it is scored on, without labels" in found.retrieval.note


def test_the_layout_tells_under_a_random_split_and_not_where_compounds_are_left_out(run):
    out, _, found = run
    well = found["well position only"]
    assert well.random.fields.correct == 48
    assert well.held_out.fields.correct <= 24
    assert well.random.fields.permuted.p <= html.CHANCE < well.held_out.fields.permuted.p
    page = out / "report.html"
    html.write([runs.read(out)], page)
    text = page.read_text()
    row = text[text.index("<td>well position</td>"):]
    assert "would be learned from a random split; leaving compounds out prevents it" in row[:row.index("</tr>")]


def test_features_that_are_given_are_taken_and_profiles_of_all_folds_are_compared(run, tmp_path):
    """A network a fold, each with features in an order of its own; one of them tells the mechanism."""
    out, table, _ = run
    rng, is_n = np.random.default_rng(1), (table.frame["mechanism"] == "N").to_numpy()
    for number in range(8):
        told = np.where(is_n[:, None], 1, -1) * rng.permutation([1, 0, 0]) + rng.normal(0, 0.01, (48, 3))
        (out / "evaluation" / str(number)).mkdir(parents=True)
        aggregate.field_profiles(table, told).assign(
            Metadata_Scored=(table.frame["compound"] == f"c{number}").to_numpy()).to_parquet(
                out / "evaluation" / str(number) / results.PROFILES)
    with pytest.raises(UsageError, match="is not there; leave it out"):
        compare_baselines.score_baselines(out, features=tmp_path / "none.parquet", nuclei=None, workers=1, microbatch=8,
                           moved=str(out.parent / "sites.csv"))
    bright = [float(read_site(files).mean()) for files in table.frame["files"]]
    tells = (table.frame["mechanism"] == "M").astype(float)
    given = aggregate.metadata(table).assign(Image_Basic_Percentile_DNA_50=tells, Image_Basic_Mean_DNA=bright,
                                            Image_Basic_Sd_DNA=1.0)
    given.sample(frac=1, random_state=0).to_parquet(tmp_path / "given.parquet")  # in another order
    found = compare_baselines.score_baselines(out, features=tmp_path / "given.parquet", nuclei=None, workers=1,
                                              microbatch=8, moved=str(out.parent / "sites.csv"))
    assert found.baselines["handcrafted features"].held_out.fields.correct == 48  # the one that holds the mechanism
    assert found.retrieval.network.nsc.mean_average_precision.mean > 0.9
    assert (found.retrieval.network.nsc.correct, found.retrieval.network.nsc.total) == (8, 8)
    assert found.retrieval.note == "each treatment by the network of its fold, of 8"


@pytest.fixture(scope="module")
def effect_run(tmp_path_factory):
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


def test_one_effect_is_told_from_the_control_or_not_scored(effect_run, caplog):
    out, scores = effect_run
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


def test_a_table_that_is_not_there_is_asked_for_by_an_option_that_there_is(effect_run):
    with pytest.raises(DataError, match=r"sites\.csv: the training in .* names its table so.*--data"):
        compare_baselines.score_baselines(effect_run[0], features=None, nuclei=None, workers=1, microbatch=8)


def test_folds_of_wells_that_were_trained_on_are_not_gathered(effect_run, tmp_path):
    out, _ = effect_run
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
