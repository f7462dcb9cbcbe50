import numpy as np
import pandas as pd
from PIL import Image

from mscnn.report.composite import composite, draw_overview
from mscnn.report.confusion import draw, figure


def test_composites_put_the_first_channel_in_blue_and_the_third_in_red():
    site = np.zeros((3, 100, 100), np.uint16)
    for channel, rows in enumerate((slice(0, 30), slice(35, 65), slice(70, 100))):
        site[channel, rows] = 1000
    colours = composite(site)
    assert [colours[row, 0].tolist() for row in (10, 50, 90)] == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
    assert composite(site[:1]).shape == (100, 100, 3)


def test_confusion_panels_show_counts_where_they_belong():
    counts = pd.DataFrame([[3, 1, 0], [0, 2, 6]], index=["M", "N"], columns=["M", "N", "O$x$"])
    panel = figure({"fields": counts}, "Which?").axes[0]
    assert {text.get_position(): text.get_text() for text in panel.texts} == {(0, 0): "3", (1, 0): "1", (1, 1): "2",
                                                                             (2, 1): "6"}
    assert panel.get_title() == "fields: 5/12 right (41.7%)"
    assert [label.get_text() for label in panel.get_yticklabels()] == ["M (4)", "N (8)"]
    shades = panel.images[0].get_array()
    np.testing.assert_allclose(shades, [[0.75, 0.25, 0], [0, 0.25, 0.75]])  # of the row


def test_pictures_are_written(tmp_path):
    counts = pd.DataFrame([[3, 1, 0], [0, 2, 1]], index=["M", "N"], columns=["M", "N", "$O_{"])
    draw({"fields": counts, "treatments": counts.iloc[:1, :1]}, "Which?", tmp_path / "confusion.png")
    draw_overview({"M": [("a", np.ones((3, 128, 128), np.uint16))] * 2}, "Fields", tmp_path / "overview.png")
    for name in ("confusion.png", "overview.png"):
        with Image.open(tmp_path / name) as picture:
            assert len(np.unique(np.asarray(picture).reshape(-1, picture.getbands().__len__()), axis=0)) > 10
