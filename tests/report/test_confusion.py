import numpy as np
import pandas as pd
from PIL import Image

from mscnn.report.confusion import draw, figure


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
