"""The library predicts, embeds and explains as evaluate.py does, to the last bit."""

import inspect
import json
import logging
import os
import signal
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from PIL import Image

import mscnn
from mscnn.evaluation.settings import EvaluationSettings
from tests.conftest import run_python
from tests.library.conftest import CHANNELS, KINDS, evaluate, stack, train, write_screen


def probabilities(frame: pd.DataFrame) -> np.ndarray:
    """Probabilities of a table of the library or of evaluate.py."""
    return frame[[name for name in frame if not name.startswith(("Metadata_", "Predicted_"))]].to_numpy()


def same_predictions(got: pd.DataFrame, folder) -> None:
    """Equal to the predictions.parquet of evaluate.py: rows, metadata and every bit of the probabilities."""
    expected = pd.read_parquet(folder / "predictions.parquet")
    names = [name for name in expected if name.startswith("Metadata_")]
    pd.testing.assert_frame_equal(got[names].reset_index(drop=True), expected[names], check_dtype=False)
    assert [f"Probability_{name}" for name in got if not name.startswith("Metadata_")] == [
        name for name in expected if name.startswith("Probability_")]
    np.testing.assert_array_equal(probabilities(got), probabilities(expected))


@pytest.mark.parametrize("kind", KINDS)
def test_files_arrays_and_paths_are_predicted_as_by_evaluate(kind, run_dir, other_screen, tmp_path):
    """20 fields in microbatches of 8, 8 and 4, of another screen, whose plates are measured in their own DMSO wells."""
    out = evaluate(run_dir(kind), tmp_path / "out", "--sites", other_screen)
    run, table = mscnn.load_run(run_dir(kind)), mscnn.read_screen(sites=other_screen)
    plates = "measure" if kind == "plate" else None
    same_predictions(run.predict(table, plates=plates), out)
    metadata = table.filter(like="Metadata_")
    same_predictions(run.predict(stack(table), metadata=metadata, plates=plates), out)
    pairs = list(zip(table["FileName_DNA"], table["FileName_RNA"], strict=True))
    same_predictions(run.predict(pairs, metadata=metadata, plates=plates), out)


@pytest.mark.parametrize("kind", KINDS)
def test_profiles_are_those_of_evaluate(kind, run_dir, screen, tmp_path):
    """Of the training's own screen, with plates by the training's numbers."""
    expected = pd.read_parquet(evaluate(run_dir(kind), tmp_path / "out", "--profiles", "all") / "profiles.parquet")
    got = mscnn.load_run(run_dir(kind)).embed(mscnn.read_screen(sites=screen), plates="training")
    assert set(got) == set(expected)
    pd.testing.assert_frame_equal(got[list(expected)], expected, check_exact=True, check_dtype=False)
    assert got["Image_MCNN_Emb_512"].dtype == np.float32
    assert got.groupby("Metadata_Compound")["Metadata_Scored"].unique().map(list).to_dict() == {
        "DMSO": [False], "a": [False], "b": [True], "c": [False], "d": [True]}


def test_packed_fields_are_predicted_as_by_evaluate(run_dir, run, other_screen, tmp_path):
    assert run_python("-m", "mscnn", "pack", "--sites", other_screen, "--out", tmp_path / "pack").returncode == 0
    out = evaluate(run_dir("dataset"), tmp_path / "out", "--packed", tmp_path / "pack")
    table = mscnn.read_screen(packed=tmp_path / "pack")
    same_predictions(run.predict(table), out)
    chosen = table[table["Metadata_Compound"] == "b"]
    np.testing.assert_array_equal(
        probabilities(run.predict(chosen)),
        probabilities(run.predict(mscnn.read_screen(sites=other_screen).query("Metadata_Compound == 'b'"))))


def test_png_and_files_of_all_channels_are_predicted_as_the_same_arrays(run, other_screen, tmp_path):
    table = mscnn.read_screen(sites=other_screen).head(3)
    counts = stack(table)
    paths, pngs = [], []
    for number, field in enumerate(counts):
        paths.append(tmp_path / f"{number}.tif")
        tifffile.imwrite(paths[-1], field, metadata={"axes": "CYX"})
        pngs.append(tuple(str(tmp_path / f"{number}_{channel}.png") for channel in CHANNELS))
        for path, plane in zip(pngs[-1], field, strict=True):
            Image.fromarray(plane).save(path)
    expected = probabilities(run.predict(counts))
    for given in (paths, pngs, pd.DataFrame({"FileName": paths}), counts.astype(np.float64), counts.astype(np.int64)):
        got = run.predict(given)
        assert list(got) == run.classes  # of these fields no metadata is known
        np.testing.assert_array_equal(got.to_numpy(), expected)


def test_rows_of_a_table_keep_their_index_and_their_metadata(run, other_screen):
    table = mscnn.read_screen(sites=other_screen)
    chosen = table[table["Metadata_MOA"] == "dark"].iloc[::-1]
    got = run.predict(chosen)
    pd.testing.assert_index_equal(got.index, chosen.index)
    assert (got["Metadata_Well"] == chosen["Metadata_Well"]).all()
    np.testing.assert_allclose(got[run.classes].sum(axis=1), 1)
    alone = run.predict(stack(chosen), metadata=chosen[["Metadata_Well"]].reset_index(drop=True))
    assert list(alone) == ["Metadata_Well", *run.classes]
    np.testing.assert_array_equal(alone[run.classes], got[run.classes])


def test_fields_of_other_sizes_are_cropped_as_in_training(screen, tmp_path):
    """Where the run's setting image-size crops or pads, as evaluate.py does for another screen."""
    out = train(tmp_path / "run", "--sites", screen, "--image-size", "128x128")
    large = write_screen(tmp_path / "large", seed=2, shape=(150, 140))
    run, table = mscnn.load_run(out), mscnn.read_screen(sites=large)
    same_predictions(run.predict(table), evaluate(out, tmp_path / "out", "--sites", large))
    np.testing.assert_array_equal(probabilities(run.predict(stack(table))), probabilities(run.predict(table)))


def test_plates_are_measured_only_as_told(run_dir, screen, other_screen):
    run = mscnn.load_run(run_dir("plate"))
    own, other = mscnn.read_screen(sites=screen), mscnn.read_screen(sites=other_screen)
    assert run.by_plate
    with pytest.raises(ValueError, match=r'plates="training".*plates="measure".*wells of DMSO'):
        run.predict(other)
    with pytest.raises(ValueError, match="got 'mesure'"):
        run.predict(other, plates="mesure")
    treated = other[other["Metadata_Compound"] != "DMSO"]
    # In the wells of another table: as if those were among the fields.
    whole = run.predict(other, plates="measure", microbatch=1).loc[treated.index, run.classes]
    np.testing.assert_array_equal(run.predict(treated, plates=other, microbatch=1)[run.classes], whole)
    with pytest.warns(UserWarning, match="no wells of DMSO here: plates have the mean") as caught:
        run.predict(treated, plates="measure")
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="not measured have the mean"):  # no plate is named
        mean = run.predict(stack(own), plates="training")
    with pytest.warns(UserWarning, match="not measured have the mean"):
        named = run.predict(own.assign(Metadata_Plate="elsewhere"), plates="training")
    np.testing.assert_array_equal(mean[run.classes], named[run.classes])
    with pytest.raises(ValueError, match="needs the plate and compound of each field, and Metadata_Plate and"):
        run.predict(stack(own), plates="measure")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.predict(own, plates="training")


def test_an_explanation_is_that_of_evaluates_gallery(run_dir, run, screen, tmp_path):
    """By the shares of channels and scales that evaluate.py writes of its examples."""
    out = evaluate(run_dir("dataset"), tmp_path / "out", "--examples", "2")
    gallery = json.loads((out / "gallery" / "gallery.json").read_text())
    examples = [example for example in gallery if example["channel_shares"]]
    table = mscnn.read_screen(sites=screen)
    for example in examples:
        row = table[(table["Metadata_Plate"] == example["plate"]) & (table["Metadata_Well"] == example["well"])]
        found = run.explain(row)
        assert found.mechanism == example["predicted"]
        assert found.probability == pytest.approx(example["probability"], abs=1e-6)  # alone, not in a microbatch
        for maps, shares in ((found.channels_CHW, example["channel_shares"]), (found.scales_7hw, example["scale_shares"])):
            parts = np.abs(maps.astype(np.float64)).sum(axis=(1, 2))
            np.testing.assert_allclose(parts / parts.sum(), shares, rtol=1e-4)
        pair = tuple(row[[f"FileName_{channel}" for channel in CHANNELS]].iloc[0])
        for same in (pair, stack(row)[0]):
            np.testing.assert_array_equal(run.explain(same).channels_CHW, found.channels_CHW)
    assert len(examples) == 2


def test_an_explanation_sums_to_the_score(run, screen):
    field = stack(mscnn.read_screen(sites=screen).head(1))[0]
    found = {name: run.explain(field, name) for name in run.classes}
    assert [one.mechanism for one in found.values()] == run.classes
    assert sum(one.probability for one in found.values()) == pytest.approx(1)
    scores = torch.tensor([one.score for one in found.values()], dtype=torch.float64)
    np.testing.assert_allclose(torch.softmax(scores, 0), [one.probability for one in found.values()], rtol=1e-4)
    for one in found.values():
        assert (one.channels_CHW.shape, one.scales_7hw.shape) == ((2, 128, 128), (7, 2, 2))
        gained = one.score - one.baseline_score
        assert one.scales_7hw.sum() == pytest.approx(gained, abs=0.02 * abs(gained) + 1e-4)  # the integral has 24 steps
    with pytest.raises(ValueError, match="one of DMSO, bright, dark, got 'dim'"):
        run.explain(field, "dim")
    with pytest.raises(ValueError, match="takes one field, got 20"):
        run.explain(mscnn.read_screen(sites=screen))


def test_microbatches_are_as_large_as_evaluates():
    """So that the last bit is the same by default, wherever it depends on them."""
    default = EvaluationSettings(checkpoint="run").microbatch
    for method in (mscnn.Run.predict, mscnn.Run.embed):
        assert inspect.signature(method).parameters["microbatch"].default == default


def test_a_run_tells_what_it_is(run, run_dir):
    assert (run.classes, run.channels, run.image_size, run.held_out) == (
        ["DMSO", "bright", "dark"], ["DNA", "RNA"], (128, 128), ["b", "d"])
    assert not run.by_plate
    assert "held out: b, d" in repr(run)
    assert mscnn.load_run(run.path).path == run.path  # the file itself
    assert run.notes == []


def test_a_path_without_a_run_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / "nothing.safetensors"):
        with pytest.raises(ValueError, match=r"no checkpoint there.*name a run directory"):
            mscnn.load_run(path)
    with pytest.raises(ValueError, match="run_or_file is empty"):
        mscnn.load_run("")  # the folder that the program runs in is no answer
    (tmp_path / "old.pt").write_bytes(b"PK\3\4")
    with pytest.raises(ValueError, match=r"a checkpoint of mscnn 0\.1.*train again"):
        mscnn.load_run(tmp_path / "old.pt")


def test_the_process_is_left_as_it_was(run, other_screen):
    def state():
        return (torch.get_num_threads(), os.sched_getaffinity(0), signal.getsignal(signal.SIGTERM),
                logging.getLogger("mscnn").handlers, logging.getLogger("mscnn").propagate)

    before = state()
    run.predict(mscnn.read_screen(sites=other_screen).head(2))
    assert state() == before


def test_a_progress_bar_is_shown_only_on_request(run, other_screen, capfd):
    table = mscnn.read_screen(sites=other_screen).head(2)
    run.predict(table)
    assert capfd.readouterr() == ("", "")
    run.predict(table, progress=True)
    assert "2/2" in capfd.readouterr().err


def test_the_package_loads_what_it_needs_when_it_is_needed():
    assert {"load_run", "read_screen", "score_profiles", "__version__"} <= set(dir(mscnn))
    with pytest.raises(AttributeError, match=r"'lod_run'; it has .*load_run"):
        mscnn.lod_run  # noqa: B018
    done = run_python("-c", "import mscnn, sys; assert not {'torch', 'pandas', 'numpy'} & set(sys.modules); "
                            "mscnn.read_screen; assert 'torch' not in sys.modules")
    assert done.returncode == 0, done.stderr
    assert sys.modules["mscnn.library.run"].load_run is mscnn.load_run
