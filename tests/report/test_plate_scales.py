import numpy as np
import pandas as pd

from mscnn.report.plate_scales import draw_plate_scales
from tests.data.pixels.test_plate_scale import tiny


def test_the_picture_orders_plates_by_week_and_keeps_its_numbers(tmp_path):
    scale = tiny()
    scale.provenance.week.update({"P10": "Week2", "P2": "Week10"})
    draw_plate_scales(scale, tmp_path / "intensity.png")
    assert (tmp_path / "intensity.png").stat().st_size > 10_000
    table = pd.read_csv(tmp_path / "intensity.csv")
    assert table["plate"].tolist() == ["P10", "P10", "P2", "P2"]
    assert table["channel"].tolist() == ["DNA", "RNA"] * 2
    np.testing.assert_allclose(table["scale"], scale.scale_PC[::-1].ravel())
