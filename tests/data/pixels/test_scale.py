import json

import numpy as np
import pytest

from mscnn.core.errors import DataError
from mscnn.data.pixels.dataset_scale import DatasetScale
from mscnn.data.pixels.scale import Scale, scale_from_record
from mscnn.data.pixels.scale_record import ScaleRecord
from tests.data.pixels.test_plate_scale import tiny

SCALES = {"dataset": DatasetScale("dataset", (1000.1, 30.5), (77.7, 3.1)), "field": DatasetScale("field", (), ()),
          "plate": tiny()}
FACTS = {"mode": "dataset", "mean": [1.0], "sd": [2.0]}


@pytest.mark.parametrize("mode", SCALES)
def test_a_scale_comes_back_from_its_record_and_json_bit_for_bit(mode):
    scale: Scale = SCALES[mode]
    record = scale.to_record()
    again = scale_from_record(ScaleRecord(json.loads(json.dumps(record.facts)), record.arrays))
    assert record.facts["mode"] == mode
    assert (again.size, again.num_channels) == (scale.size, scale.num_channels)
    site_CHW = np.random.default_rng(0).poisson(500, (2, 64, 80)).astype(np.uint16)
    for plate in ("P2", "P9"):
        np.testing.assert_array_equal(again.apply(site_CHW, plate), scale.apply(site_CHW, plate))
        out_CHW = np.empty(site_CHW.shape, np.float32)
        assert scale.apply(site_CHW, plate, out_CHW) is out_CHW
        np.testing.assert_array_equal(out_CHW, scale.apply(site_CHW, plate))


def test_only_plates_write_files_and_change_for_another_screen(tmp_path):
    for mode, scale in SCALES.items():
        scale.save(tmp_path / mode)
        assert (tmp_path / mode).exists() == scale.by_plate == scale.before_crop == (mode == "plate")
        assert (scale.for_other_screen() is scale) == (mode != "plate")
    assert SCALES["dataset"].covers(["P99"])


@pytest.mark.parametrize(("changes", "message"), [
    ({"mode": "other"}, "scale of mode 'other', this version reads dataset, field and plate"),
    ({"more": 1}, "scale with mode, mean, sd, more"), ({"mean": 1.0}, "it has mode, mean and sd"),
    ({"sd": [2.0, 2.0]}, "train again"), ({"sd": [0.0]}, "train again"), ({"sd": ["a"]}, "train again"),
    ({"mean": [float("nan")]}, "train again"), ({"mode": "field"}, "train again"), ({"mean": [], "sd": []}, "train again"),
    ({"mode": "plate"}, "measure the plates again")])
def test_facts_that_no_scale_has_are_refused(changes, message):
    assert scale_from_record(ScaleRecord(FACTS)) == DatasetScale("dataset", (1.0,), (2.0,))
    with pytest.raises(DataError, match=message):
        scale_from_record(ScaleRecord(FACTS | changes))
