"""What `mscnn score` writes, and how it names tables."""

import json

import pytest

from mscnn.cli import score
from mscnn.core.errors import UsageError
from tests.profiling.drawn import screen

FEW = ("--bootstrap", "50", "--permutations", "20")


def test_tables_are_named_by_the_shortest_ends_that_differ():
    assert score._names(["a/profiles.parquet", "b/c.csv.gz"]) == {"profiles": "a/profiles.parquet", "c": "b/c.csv.gz"}
    assert list(score._names(["x/a/p.csv", "x/b/p.csv"])) == ["a/p", "b/p"]
    with pytest.raises(UsageError, match=r"a\.csv is named twice"):
        score._names(["a.csv", "b.csv", "a.csv"])


def test_lists_of_an_earlier_call_do_not_stand_beside_other_scores(tmp_path):
    for name, seed in (("one", 0), ("other", 1)):
        screen(seed=seed).to_csv(tmp_path / f"{name}.csv", index=False)
    one, other, out = (str(tmp_path / name) for name in ("one.csv", "other.csv", "out"))
    score.main([one, "--out", out, *FEW])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"scores.json", score.MULTIQC, *score.LISTS}
    score.main([one, other, "--out", out, *FEW])
    content = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert list(content["tables"]) == content["side_by_side"]["tables"] == ["one", "other"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [score.MULTIQC, "one", "other", "scores.json"]
    assert {path.name for path in (tmp_path / "out" / "other").iterdir()} == {*score.LISTS}
    score.main([one, "--out", out, *FEW])
    assert not list((tmp_path / "out" / "one").iterdir())


def test_files_of_others_are_left_alone(tmp_path):
    screen().to_csv(tmp_path / "one.csv", index=False)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "hits.csv").write_text("mine")
    with pytest.raises(UsageError, match=r"holds hits.csv, which this command would write over and did not write"):
        score.main([str(tmp_path / "one.csv"), "--out", str(tmp_path / "out"), *FEW])
    assert (tmp_path / "out" / "hits.csv").read_text() == "mine"
