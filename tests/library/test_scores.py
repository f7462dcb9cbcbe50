"""mscnn.score_profiles gives the numbers and lines of `mscnn score`."""

import inspect
import json

import numpy as np
import pandas as pd
import pytest

import mscnn
from mscnn.cli.score import ScoreSettings
from tests.conftest import run_python


def drawn_profiles(seed: int = 0) -> pd.DataFrame:
    """Profiles of 3 mechanisms, 4 compounds each, 2 wells a compound and DMSO, in 2 weeks; some features near constant."""
    rng, rows = np.random.default_rng(seed), []
    for week in ("1", "2"):
        for number in range(14):
            compound, mechanism = (f"c{number:02}", f"m{number % 3}") if number < 12 else ("DMSO", "DMSO")
            for well in ("B02", "C03"):
                centre = np.eye(8)[number % 3] * 0.7
                rows.append([f"P{week}", week, f"{well}{number}", compound, 0.3, mechanism, *(centre + rng.normal(size=8))])
    names = [f"Metadata_{name}" for name in ("Plate", "Week", "Well", "Compound", "Concentration", "MOA")]
    return pd.DataFrame(rows, columns=[*names, *(f"Cells_{n}" for n in range(5)), *(f"Nuclei_{n}" for n in range(3))])


CASES = {"defaults": {},
         "all": {"similarity": "euclidean", "normalise": "mad", "sphere": True, "control": "dmso",
                 "aggregate_wells": "median", "aggregate_treatments": "mean", "taxol_controls": "keep",
                 "features": ["Cells_"], "bootstrap": 50, "permutations": 40, "seed": 3}}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_scores_are_those_of_the_command(options, tmp_path):
    frame = drawn_profiles()
    frame.to_parquet(tmp_path / "profiles.parquet", index=False)
    words = []
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", ",".join(value) if isinstance(value, list) else str(value).lower()]
    done = run_python("-m", "mscnn", "score", tmp_path / "profiles.parquet", "--json", tmp_path / "scores.json", *words)
    assert done.returncode == 0, done.stderr
    expected = json.loads((tmp_path / "scores.json").read_text())
    scored = mscnn.score_profiles(frame, **options)
    assert json.loads(json.dumps(scored.to_json())) == {name: value for name, value in expected.items()
                                             if name not in ("profiles", "settings")}
    assert str(scored) in done.stdout
    assert repr(scored) == str(scored)
    assert (scored.nsc.correct, scored.nscb.total) == (expected["nsc"]["correct"], expected["nscb"]["total"])
    assert [row.compound for row in scored.treatments] == [row["compound"] for row in expected["treatments"]]
    assert 0 < scored.nsc.correct < scored.nsc.total  # so that a difference could show
    assert scored.numbers.to_json() == expected["numbers"]
    assert len(scored.tables["hits.csv"]) == 12


def test_defaults_are_those_of_the_command():
    ours = {name: parameter.default for name, parameter in inspect.signature(mscnn.score_profiles).parameters.items()}
    theirs = ScoreSettings(profiles=["x"])
    assert {*ours} - {"frame"} == {*vars(theirs)} - {"profiles", "json", "out"}
    assert {name: value for name, value in ours.items() if name != "frame"} == {
        name: getattr(theirs, name) for name in ours if name != "frame"}


def test_profiles_of_a_run_can_be_scored(run, screen):
    """b by a, d by c or else; compounds that were trained on are neighbours only."""
    scored = mscnn.score_profiles(run.embed(mscnn.read_screen(sites=screen)), permutations=10, bootstrap=10)
    assert len(scored.features) == 512
    assert [row.compound for row in scored.treatments if row.counts] == ["b", "d"]
    assert "the network was trained on 2 more" in str(scored)


@pytest.mark.parametrize(("change", "message"), [
    ({"similarity": "cosin"}, "similarity must be one of cosine, correlation, euclidean, got 'cosin'"),
    ({"normalise": None}, "normalise must be one of none, standard, z, mad, percentile, got None"),
    ({"permutations": 0}, "permutations must be at least 1, got 0"),
    ({"features": "Cells_"}, r"list of prefixes, got the text 'Cells_'; write \['Cells_'\]"),
    ({"features": ["Other_"]}, "no feature columns that start with Other_"),
    ({"control": "water", "normalise": "z"}, "without a row of water"),
])
def test_options_that_cannot_work_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        mscnn.score_profiles(drawn_profiles(), **change)


@pytest.mark.parametrize(("frame", "message"), [
    (drawn_profiles().to_numpy(), "must be a pandas DataFrame, got ndarray"),
    (drawn_profiles().drop(columns="Metadata_MOA"), "the table: no column Metadata_MOA"),
    (drawn_profiles().assign(Cells_1=np.nan), "1 of 8 features are not finite numbers"),
    (drawn_profiles().head(0), "nothing can be scored"),
])
def test_tables_that_cannot_be_scored_are_refused(frame, message):
    with pytest.raises(ValueError, match=message):
        mscnn.score_profiles(frame)
