"""Parts of an evaluation that fail, after its scores were written."""

import pandas as pd
import pytest

from mscnn.cli import evaluate
from mscnn.core.errors import DataError
from mscnn.evaluation import results, run
from mscnn.report import confusion, gallery
from tests.evaluation import test_results


@pytest.fixture
def evaluation(tmp_path, monkeypatch):
    """A run whose fields are predicted, but not scored."""
    folds = test_results.folds.__wrapped__(tmp_path)
    found = run.Evaluation(out=tmp_path / "out", network=None, fields=None, scored=None, is_another=True,
                           profiles=pd.DataFrame({"a": [1.0]}), statistics=None, candidates={}, readout=None,
                           predictions=results.read_table(folds[0], "fields"),
                           description=results.read_description(folds[0]))
    found.out.mkdir()
    monkeypatch.setattr(run, "evaluate", lambda settings: found)
    monkeypatch.setattr(gallery, "write", lambda *arguments, **options: None)
    return found


def fail(*arguments, **options):
    raise MemoryError("a picture of gigabytes")


@pytest.mark.parametrize(("module", "name", "part"), [
    (confusion, "draw_confusion", "confusion.png"), (gallery, "write", "examples"),
    (run, "write_profiles", "profiles.parquet")])
def test_a_part_that_fails_leaves_the_scores_and_the_other_parts(evaluation, monkeypatch, module, name, part):
    monkeypatch.setattr(module, name, fail)
    with pytest.raises(DataError) as refusal:
        evaluate.main(["--checkpoint", "x", "--out", str(evaluation.out)])
    assert str(refusal.value) == (f"not written: {part} (MemoryError: a picture of gigabytes); tables and scores are whole "
                                  f"in {evaluation.out}")
    assert results.read_scores(evaluation.out).fields.total == 2
    there = {path.name for path in evaluation.out.iterdir()} & {"confusion.png", "profiles.parquet"}
    assert there == {"confusion.png", "profiles.parquet"} - {part}


def test_all_is_there_where_nothing_fails(evaluation):
    evaluate.main(["--checkpoint", "x", "--out", str(evaluation.out)])
    assert {"confusion.png", "profiles.parquet", "scores.json"} <= {path.name for path in evaluation.out.iterdir()}
