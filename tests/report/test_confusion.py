import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mscnn.core.errors import DataError
from mscnn.evaluation import results
from mscnn.report.confusion import MOST, bounded, draw, draw_confusion, figure


def test_confusion_panels_show_counts_where_they_belong():
    counts = pd.DataFrame([[3, 1, 0], [0, 2, 6]], index=["M", "N"], columns=["M", "N", "O$x$"])
    panel = figure({"fields": counts}, "Which?").axes[0]
    assert {text.get_position(): text.get_text() for text in panel.texts} == {(0, 0): "3", (1, 0): "1", (1, 1): "2",
                                                                             (2, 1): "6"}
    assert panel.get_title() == "fields: 5/12 right (41.7%)"
    assert [label.get_text() for label in panel.get_yticklabels()] == ["M (4)", "N (8)"]
    shades = panel.images[0].get_array()
    np.testing.assert_allclose(shades, [[0.75, 0.25, 0], [0, 0.25, 0.75]])  # of the row


def test_matrices_are_drawn_whatever_classes_are_called(tmp_path):
    counts = pd.DataFrame([[3, 1, 0], [0, 2, 1]], index=["M", "N"], columns=["M", "N", "$O_{"])
    draw({"fields": counts, "treatments": counts.iloc[:1, :1]}, "Which?", tmp_path / "confusion.png")
    with Image.open(tmp_path / "confusion.png") as picture:
        assert len(np.unique(np.asarray(picture).reshape(-1, len(picture.getbands())), axis=0)) > 10


def evaluation(folder, mechanism: str):
    """Two fields of a compound, both predicted as M."""
    names = ("Plate", "Week", "Well", "Site", "Replicate", "Compound", "Concentration", "MOA")
    fields = pd.DataFrame(
        [("P", "W", well, "1", "1", "a", 1.0, mechanism, "M", 0.9, 0.1) for well in ("B02", "B03")],
        columns=[*(f"Metadata_{name}" for name in names), "Predicted_MOA", "Probability_M", "Probability_N"])
    results.write(fields, results.EvaluationDescription(
        control="DMSO", aggregate_wells="mean", aggregate_treatments="median", tta="none", head="softmax", notes=[], seed=0,
        channels=["DNA"], environment={}, folds=[]), folder)


def test_an_evaluation_is_drawn_from_its_files_where_fields_were_scored(tmp_path):
    for mechanism, is_drawn in (("N", True), ("", False)):
        evaluation(tmp_path, mechanism)
        assert not (tmp_path / results.CONFUSION).exists()  # none of an earlier evaluation
        draw_confusion(tmp_path)
        assert (tmp_path / results.CONFUSION).exists() == is_drawn
    (tmp_path / results.SCORES).unlink()
    with pytest.raises(DataError, match=r"scores\.json: cannot be read"):
        draw_confusion(tmp_path)


def test_of_many_mechanisms_the_largest_are_drawn_and_all_others_as_one():
    names = [f"m{number:03}" for number in range(200)]
    counts = pd.DataFrame(np.ones((200, 200), int), index=names, columns=names)
    counts.loc["m150", "m150"] = 500
    drawn = bounded(counts)
    assert drawn.shape == (MOST, MOST)
    assert (drawn.to_numpy().sum(), drawn.loc["m150", "m150"]) == (counts.to_numpy().sum(), 500)
    assert (drawn.index[-1], drawn.columns[-1]) == ("171 other mechanisms", "171 other mechanisms")
    (panel,) = figure({"fields": counts}, "title").axes
    assert panel.get_title() == f"fields: 699/{200 * 200 + 499} right ({699 / 40499:.1%})"  # of all, not of those drawn
    assert bounded(counts.iloc[:5, :7]).equals(counts.iloc[:5, :7])
