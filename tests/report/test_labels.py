"""The plot of `mscnn bench labels`.  pytest tests/report/test_labels.py"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from mscnn.report.labels import draw_labels


def test_the_plot_shows_each_method_once_and_the_share_of_treatments(tmp_path, monkeypatch):
    rows = [{"method": method, "labelled": count, "right": 24 * number, "treatments": 96, "low": 0.0, "high": 1.0,
             "mAP": None if method == "all three" else 0.2 * number}
            for number, method in enumerate(("statistics", "label-free", "supervised", "all three"), 1)
            for count in (2, 4, 8)]
    drawn: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: (drawn.append(figure), save(figure, path)))
    draw_labels(pd.DataFrame(rows), tmp_path / "labels.png")
    shares, precisions = drawn[0].axes
    names = [text.get_text() for text in shares.get_legend().get_texts()]
    assert sorted(names) == ["all three", "chance", "label-free", "statistics", "supervised"]
    lines = [container.lines[0].get_ydata() for container in shares.containers]
    np.testing.assert_allclose(np.array(lines, float), [[25] * 3, [50] * 3, [75] * 3, [100] * 3])
    assert len(precisions.lines) == 3
    with Image.open(tmp_path / "labels.png") as picture:
        assert picture.size[0] > 500
