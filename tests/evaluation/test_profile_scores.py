"""The profiles of an evaluation, written and read back."""

import json
import logging

import numpy as np
import pandas as pd
import pytest

from mscnn.core.errors import DataError
from mscnn.evaluation import decisions, profile_scores
from mscnn.evaluation.results import PROFILE_SCORES
from mscnn.profiling import profile_table, score_table
from mscnn.profiling.profile_numbers import HITS, LISTS
from mscnn.profiling.replicates import TREATMENT
from tests.profiling.drawn import screen

RULES = {"aggregate_wells": "mean", "aggregate_treatments": "median", "seed": 0}


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(profile_scores, "DRAWS", 50)


def test_profiles_and_statistics_are_scored_side_by_side_by_each_plates_controls(tmp_path):
    profile_scores.write(screen(), screen(0.3, seed=1), "DMSO", tmp_path, **RULES)
    found, lists = profile_scores.read(tmp_path, "remedy")
    assert (list(found.tables), found.side_by_side.tables) == (["network", "statistics"],) * 2
    alone = score_table.score(profile_table.from_frame(screen(), "one"), similarity="cosine", normalise="mad", sphere=False,
                              control="DMSO", taxol_controls="drop", bootstrap=50, permutations=50, **RULES)
    assert found.tables["network"].numbers == alone.numbers
    assert (found.tables["network"].nsc, found.tables["network"].nscb) == (alone.nsc, alone.nscb)
    assert {name: list(table) for name, table in lists.items()} == LISTS
    expected = alone.tables[HITS].assign(Active=alone.tables[HITS]["Active"].astype(str))
    pd.testing.assert_frame_equal(lists[HITS], expected, check_dtype=False)


def test_without_enough_controls_features_are_scaled_over_all_fields(tmp_path):
    frame = screen()
    lacking = frame[~((frame["Metadata_Plate"] == "1-2") & frame["Metadata_Well"].isin([f"{row}01" for row in "ABCDE"]))]
    profile_scores.write(lacking, None, "DMSO", tmp_path, **RULES)
    found, _ = profile_scores.read(tmp_path, "remedy")
    assert found.tables["network"].numbers.correction.normalise == "standard"


def test_profiles_that_cannot_be_scored_are_a_warning_and_no_file(tmp_path, caplog):
    one = screen()
    with caplog.at_level(logging.WARNING):
        profile_scores.write(one[one["Metadata_Compound"] == "c1"].head(2), None, "DMSO", tmp_path, **RULES)
    assert "profiles are not scored: c1 is the only compound with a mechanism" in caplog.text
    assert profile_scores.read(tmp_path, "remedy") == (None, {})


def test_lists_and_numbers_of_the_last_version_are_read(tmp_path):
    profile_scores.write(screen(), None, "DMSO", tmp_path, **RULES)
    scores, lists = profile_scores.read(tmp_path, "remedy")
    before = lists[HITS].drop(columns="Test")
    before.to_csv(tmp_path / HITS, index=False)
    content = json.loads((tmp_path / PROFILE_SCORES).read_text())
    activity = content["tables"]["network"]["numbers"]["activity"]
    activity.pop("test", None)  # a default is not written
    del activity["tested"]
    (tmp_path / PROFILE_SCORES).write_text(json.dumps(content))
    again, read = profile_scores.read(tmp_path, "remedy")
    pd.testing.assert_frame_equal(read[HITS], lists[HITS])
    assert set(read[HITS]["Test"]) == {"replicates"}
    now = scores.tables["network"].numbers.activity
    found = again.tables["network"].numbers.activity
    assert (found.judged, found.test, found.can_decide) == (now.judged, "replicates", True)


def test_single_wells_are_told_by_distance_and_the_summary_says_so(tmp_path):
    frame = screen(1.0)
    single = frame[~frame.duplicated(TREATMENT) | (frame["Metadata_Compound"] == "DMSO")]
    evidence = profile_scores.write(single, None, "DMSO", tmp_path, **RULES)
    _, lists = profile_scores.read(tmp_path, "remedy")
    assert set(lists[HITS]["Test"]) == {"distance"}
    active = int((lists[HITS]["Active"] == "True").sum())
    assert 0 < active < len(lists[HITS])
    fields = single.assign(Metadata_Site="1")
    decided = decisions.table(lists[HITS][[*TREATMENT, "Metadata_MOA"]], fields, np.full(len(lists[HITS]), np.nan), [],
                              evidence)
    assert decisions.summary(decided, evidence).startswith(
        f"{len(decided)} treatments: {active} active (q < 0.05, by distance from control wells)")
    assert (decided["Active"].head(active) == "True").all()
    assert decided["Effect_Size"].head(active).is_monotonic_decreasing
    assert set(decided["Active"].tail(len(decided) - active)) == {"False"}


def test_files_that_do_not_fit_are_refused(tmp_path):
    profile_scores.write(screen(), None, "DMSO", tmp_path, **RULES)
    (tmp_path / HITS).write_text("Metadata_Compound\na\n")
    with pytest.raises(DataError, match=r"hits.csv: lacks Metadata_Concentration, .*; remedy"):
        profile_scores.read(tmp_path, "remedy")
    content = json.loads((tmp_path / PROFILE_SCORES).read_text())
    content["tables"]["network"]["numbers"]["activity"]["active"] = -1
    (tmp_path / PROFILE_SCORES).write_text(json.dumps(content))
    with pytest.raises(DataError, match="active is -1"):
        profile_scores.read(tmp_path, "remedy")
