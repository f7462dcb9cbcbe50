"""What ranks agree on before an evaluation computes anything, and which sites it decides on."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from mscnn.core.errors import UsageError
from mscnn.distributed.world import World
from mscnn.evaluation import load_run, run
from mscnn.evaluation.predict_run import Predictions
from mscnn.evaluation.settings import EvaluationSettings
from tests.conftest import make_table


class SecondReads(World):
    """Rank 0 of two ranks, the other of which has something else in one of its facts."""

    other: str

    def require_equal(self, **facts: str) -> None:
        if self.other in facts:
            raise UsageError(f"rank 1 has another {self.other}, rank 0 has {facts[self.other]}")


@pytest.mark.parametrize("fact", ["settings", "checkpoint"])
def test_ranks_that_differ_are_refused_before_a_site_is_read(monkeypatch, tmp_path, fact):
    ranks = SecondReads(host="here")
    object.__setattr__(ranks, "other", fact)
    monkeypatch.setattr(run.world, "init", lambda backend, join_seconds: ranks)
    monkeypatch.setattr(run.core_binding, "bind_rank", lambda ranks, settings: None)
    monkeypatch.setattr(run.memory, "keep_memory", lambda: "")
    monkeypatch.setattr(run.heartbeat, "write_to", lambda folder: None)
    monkeypatch.setattr(run.checkpoint, "read", lambda path: (path, SimpleNamespace(step=12, sha256="0123456789abcdef0")))
    monkeypatch.setattr(run.load_run, "select_sites", lambda *arguments: pytest.fail("sites were read"))
    words = "of step 12 with SHA-256 0123456789abcdef" if fact == "checkpoint" else ""
    with pytest.raises(UsageError, match=f"rank 1 has another {fact}, rank 0 has {words}"):
        run.evaluate(EvaluationSettings(checkpoint="run", out=str(tmp_path / "out")))


def test_an_evaluation_leaves_the_files_of_others_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(run.world, "init", lambda backend, join_seconds: World(host="here"))
    (tmp_path / "wells.csv").write_text("the user's own")
    with pytest.raises(UsageError, match=r"holds wells\.csv, which this command would write over and did not write"):
        run.evaluate(EvaluationSettings(checkpoint="run", out=str(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["wells.csv"]
    assert (tmp_path / "wells.csv").read_text() == "the user's own"


def test_compounds_without_a_mechanism_are_decided_on_and_not_scored(monkeypatch, tmp_path):
    """Beside the held-out compound; not those that were trained on, nor control wells."""
    table = make_table([("held out", "x"), ("new", ""), ("trained", "y"), ("DMSO", "DMSO"), ("DMSO", "")])
    sites = load_run.EvaluationSites(table, np.arange(5) == 0, [])
    found = Predictions(np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]), np.zeros((5, 2)))
    evaluation = run._tables(SimpleNamespace(settings={}), sites, found, tmp_path, None, SimpleNamespace(table=table),
                             SimpleNamespace(classes=["x", "y"]))
    rows, predictions = evaluation.decided()
    assert rows.tolist() == [0, 1]
    assert predictions[["Metadata_Compound", "Predicted_MOA"]].to_numpy().tolist() == [["held out", "x"], ["new", "y"]]
    assert evaluation.predictions["Metadata_Compound"].tolist() == ["held out"]
    monkeypatch.setattr(run.decisions, "trained_compounds", lambda description: ["new", "trained"])  # label-free
    assert run._fitted_to(evaluation) == ["trained"]
    assert run._fitted_to(replace(evaluation, is_another=True)) == ["new", "trained"]
