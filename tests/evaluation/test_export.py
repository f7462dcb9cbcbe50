import importlib.util
import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

from mscnn.core.errors import DataError, UsageError
from mscnn.data.pixels.scale import scale_from_record
from mscnn.evaluation import export, export_description
from mscnn.evaluation.readout_scores import EvaluationScores
from mscnn.evaluation.scoring import Score
from mscnn.training import checkpoint
from tests.conftest import run_python, tiny_screen
from tests.data.pixels.test_plate_scale import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two steps of training that hold out compound b; scores as an evaluation would leave them."""
    screen = tiny_screen.__wrapped__(tmp_path_factory.mktemp("screen"))
    run_dir = tmp_path_factory.mktemp("runs") / "tiny"
    done = run_python("train.py", "supervised", "--max-steps", "2", "--minibatch", "3", "--threads", "1", "--sites", screen,
                      "--hold-out", "b", "--run-dir", run_dir)
    assert done.returncode == 0, done.stderr
    (run_dir / "evaluation").mkdir()
    scores = EvaluationScores(Score(2, 3), Score(0, 0), Score(0, 0), Score(0, 0))
    (run_dir / "evaluation" / "scores.json").write_text(json.dumps(scores.to_json()))
    return run_dir


@pytest.fixture(scope="module")
def folder(run):
    out = run.parent / "exported"
    done = run_python("-m", "mscnn", "export", run, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture
def copy(folder, tmp_path):
    for name in (export.WEIGHTS, export.CONFIG):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    return tmp_path


def fields(number: int):
    return torch.randn(number, 2, 128, 128, generator=torch.Generator().manual_seed(0))


def test_what_is_loaded_is_the_checkpoints_network(run, folder):
    saved, exported = checkpoint.load(run / "checkpoints" / "last.safetensors"), export.load(folder)
    assert all(torch.equal(value, saved.network[name]) for name, value in exported.network.state_dict().items())
    assert not exported.network.training
    assert exported.scale == scale_from_record(saved.scale)
    description = exported.description
    assert (description.classes, description.channels) == (["DMSO", "bright", "dark"], ["DNA", "RNA"])
    assert description.split.held_out == ["b"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [export.WEIGHTS, export.CONFIG, export.CARD, export.PROGRAM])


def test_the_program_gives_the_same_where_there_is_no_mscnn(folder, tmp_path):
    network = export.load(folder).network
    torch.save(fields(3), tmp_path / "fields.pt")
    script = ("import sys, torch; program = torch.export.load(sys.argv[1]).module(); "
              "fields = torch.load(sys.argv[2], weights_only=True);"
              "torch.save([program(fields), program(fields[:1])], sys.argv[3]);"
              "assert not [name for name in sys.modules if name.startswith('mscnn')]")
    subprocess.run([sys.executable, "-I", "-c", script, folder / export.PROGRAM, tmp_path / "fields.pt",
                    tmp_path / "out.pt"], cwd=tmp_path, check=True)
    found = torch.load(tmp_path / "out.pt", weights_only=True)
    for given, (probabilities, features) in zip((fields(3), fields(3)[:1]), found, strict=True):
        with torch.inference_mode():
            expected = network.features(given)
            torch.testing.assert_close(features, expected, rtol=0, atol=1e-5)  # float32, sums in another order
            torch.testing.assert_close(probabilities, torch.softmax(network.classify(expected), 1), rtol=0, atol=1e-6)


def test_the_cards_lines_load_the_network(folder):
    card = (folder / export.CARD).read_text()
    assert "fields 2/3 right" in card
    assert "hold-out" in card
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    assert len(code.splitlines()) == 6
    done = run_python("-c", f"import os; os.chdir({str(folder)!r})\n{code}\nassert probabilities.shape == (1, 3)")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("change", "named"), [
    (lambda w: w.pop("classify.bias"), "classify.bias is missing"),
    (lambda w: w.update(other=torch.zeros(1)), "other is not of this network"),
    (lambda w: w.update({"classify.bias": torch.zeros(4)}), "classify.bias is torch.float32 (4,)"),
    (lambda w: w["classify.bias"].fill_(float("nan")), "classify.bias holds values that are not finite")])
def test_weights_that_do_not_fit_are_named(copy, change, named):
    weights = safetensors.torch.load_file(copy / export.WEIGHTS)
    change(weights)
    safetensors.torch.save_file(weights, copy / export.WEIGHTS)
    with pytest.raises(DataError, match=re.escape(named)):
        export.load(copy)


def test_damaged_files_are_refused(copy):
    (copy / export.WEIGHTS).write_bytes((copy / export.WEIGHTS).read_bytes()[:1000])
    with pytest.raises(DataError, match="not a readable file"):
        export.load(copy)
    described = json.loads((copy / export.CONFIG).read_text())
    for normalisation in ([], {}, {"mode": "plate"}, {"mode": "plate", "facts": {"plates": 2}}):
        (copy / export.CONFIG).write_text(json.dumps(described | {"normalisation": normalisation}))
        with pytest.raises(DataError, match="no usable description"):
            export.load(copy)
    for text, reason in (("{}", "not of format 1"), ("[" * 10**5, "recursion")):
        (copy / export.CONFIG).write_text(text)
        with pytest.raises(DataError, match=reason):
            export.load(copy)
    os.truncate(copy / export.CONFIG, export_description.HEADER + 1)
    with pytest.raises(DataError, match="100,000,001 bytes, where at most 100,000,000"):
        export.load(copy)


def test_a_failed_export_leaves_nothing(run, tmp_path, monkeypatch):
    saved = checkpoint.load(run / "checkpoints" / "last.safetensors")
    monkeypatch.setattr(export, "exported", lambda network: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export.write(saved, None, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="exists"):
        export.write(saved, None, tmp_path)


def test_onnx_without_its_packages_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"with its extra export"):
        export.write(checkpoint.load(run / "checkpoints" / "last.safetensors"), None, tmp_path / "out", onnx=True)


@pytest.mark.skipif(not all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")),
                    reason="pip install -r requirements-export.txt")
def test_onnxruntime_gives_the_same(run, tmp_path):
    import onnxruntime

    export.write(checkpoint.load(run / "checkpoints" / "last.safetensors"), None, tmp_path / "out", onnx=True)
    network = export.load(tmp_path / "out").network
    session = onnxruntime.InferenceSession(tmp_path / "out" / export.ONNX)
    for number in (1, 3):
        probabilities, features = session.run(None, {"fields": fields(number).numpy()})
        with torch.inference_mode():
            expected = network.features(fields(number))
        torch.testing.assert_close(torch.from_numpy(features), expected, rtol=0, atol=1e-5)
        assert probabilities.sum(axis=1) == pytest.approx(1)


def test_plates_on_one_scale_travel_with_the_network(run, tmp_path):
    """--normalise plate: facts as JSON, fields and scales as tensors; a site comes out as in training, to the last bit."""
    scale = tiny()
    saved = replace(checkpoint.load(run / "checkpoints" / "last.safetensors"), scale=scale.to_record())
    export.write(saved, None, tmp_path / "out")
    restored = export.load(tmp_path / "out").scale
    site = np.random.default_rng(0).integers(0, 4000, (scale.field_PChw.shape[1], *scale.size), dtype=np.uint16)
    for plate in (*scale.plates, "another"):
        np.testing.assert_array_equal(restored.apply(site, plate), scale.apply(site, plate))
    with (tmp_path / "out" / export.PLATES).open("ab") as file:  # more than two plates of two channels can take
        file.truncate(4 * export_description.PLATE + export_description.HEADER + 1)
    with pytest.raises(DataError, match="bytes, where at most"):
        export.load(tmp_path / "out")
    (tmp_path / "out" / export.PLATES).unlink()
    with pytest.raises(DataError, match="not a readable file of weights"):
        export.load(tmp_path / "out")
