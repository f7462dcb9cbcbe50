import numpy as np
from PIL import Image

from mscnn.report.composite import composite, draw_overview


def test_composites_put_the_first_channel_in_blue_and_the_third_in_red():
    site = np.zeros((3, 100, 100), np.uint16)
    for channel, rows in enumerate((slice(0, 30), slice(35, 65), slice(70, 100))):
        site[channel, rows] = 1000
    colours = composite(site)
    assert [colours[row, 0].tolist() for row in (10, 50, 90)] == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
    assert composite(site[:1]).shape == (100, 100, 3)


def test_an_overview_is_a_picture(tmp_path):
    draw_overview({"M": [("a", np.ones((3, 128, 128), np.uint16))] * 2}, "Fields", tmp_path / "overview.png")
    with Image.open(tmp_path / "overview.png") as picture:
        assert len(np.unique(np.asarray(picture).reshape(-1, len(picture.getbands())), axis=0)) > 10
