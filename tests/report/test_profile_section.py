"""What the report shows of the profiles of an evaluation."""


import pytest

from mscnn.evaluation import profile_scores
from mscnn.report import html as report
from mscnn.report import profile_section
from tests.evaluation.test_profile_scores import RULES
from tests.profiling.drawn import screen


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.setattr(profile_scores, "DRAWS", 20)

    def write(frame, statistics=None):
        profile_scores.write(frame, statistics, "DMSO", tmp_path, **RULES)
        return profile_section.shown(*profile_scores.read(tmp_path, "remedy"))

    return write


def html(shown) -> str:
    return report.environment().get_template("profiles.html").module.section(shown)


def test_numbers_lists_and_notes_are_shown(written):
    shown = written(screen(compounds=24), screen(0.5, seed=1, compounds=24))
    page = html(shown)
    assert (shown.names, shown.hits.total, len(shown.hits.rows)) == (["network", "statistics"], 96, profile_section.MOST)
    assert "The first 20 of 96; hits.csv has all of them." in page
    for title in ("Treatments that differ from control wells", "Nearest known compounds of treatments without a mechanism",
                  "Clusters of treatments", "difference from network", "mAP against controls"):
        assert title in page
    assert page.count("<li>") == len(shown.notes) > 0


def test_names_are_escaped_and_what_is_not_there_is_left_out(written):
    frame = screen().replace({"Metadata_Compound": {"c1": "<script>"}})
    page = html(written(frame[frame["Metadata_MOA"] != ""]))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "Nearest known compounds" not in page
    assert "difference from" not in page


def test_without_control_wells_no_list_of_hits_and_no_row_of_dashes(written):
    frame = screen().assign(Metadata_MOA=lambda frame: frame["Metadata_Compound"])  # a mechanism each: nothing is scorable
    page = html(written(frame[frame["Metadata_Compound"] != "DMSO"]))
    assert "Treatments that differ" not in page
    assert "0 wells of DMSO are too few" in page
    assert "recall at" not in page
    assert "<td>column of treated wells" in page


def test_there_is_nothing_without_scored_profiles():
    assert profile_section.shown(None, {}) is None
