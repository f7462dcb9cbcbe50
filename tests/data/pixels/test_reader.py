import threading

import numpy as np
import pytest
import tifffile
import torch

from mscnn.data.pixels.augment import Jitter
from mscnn.data.pixels.dataset_scale import DatasetScale
from mscnn.data.pixels.reader import FieldReader, prefetch
from mscnn.data.tables.site_table import SiteTable
from tests.conftest import make_table


@pytest.fixture
def fields(tmp_path) -> FieldReader:
    for n in range(4):
        tifffile.imwrite(tmp_path / f"{n}.tif", np.full((128, 130), n * 10, np.uint16))
    frame = make_table([("a", "m")] * 4).frame
    frame["files"] = [(str(tmp_path / f"{n}.tif"),) for n in range(4)]
    return FieldReader(SiteTable(frame, ("DNA",)), DatasetScale("dataset", (10.0,), (5.0,)), (128, 128))


def test_fields_are_read_in_order_fitted_and_normalised(fields):
    batch = fields.read(np.array([2, 0]))
    assert (batch.shape, batch.dtype) == ((2, 1, 128, 128), torch.float32)
    assert batch[:, 0, 0, 0].tolist() == [2.0, -2.0]


def test_augmentation_depends_on_seed_epoch_and_site_alone(fields):
    jitter = Jitter(offset=1.0)
    together, alone = fields.read(np.array([0, 1, 2, 3]), jitter, (7, 1)), fields.read(np.array([2]), jitter, (7, 1))
    torch.testing.assert_close(together[2:3], alone, rtol=0, atol=0)
    others = [fields.read(np.array([2]), jitter, keys)[0, 0, 0, 0].item() for keys in ((7, 1), (7, 2), (8, 1))]
    assert len(set(others)) == 3
    plain = fields.read(np.arange(4))
    changes = (together - plain)[:, 0, 0, 0].tolist()
    assert len(set(changes)) == 4  # sites of one minibatch change each in its own way


def test_reading_ahead_keeps_order_and_runs_at_most_so_far():
    started = []
    results = prefetch([lambda n=n: started.append(n) or n for n in range(20)], depth=2)
    assert next(results) == 0
    assert next(results) == 1
    assert len(started) <= 2 + 2 + 1  # taken, waiting, and one in hand
    assert list(results) == list(range(2, 20))


def test_a_failure_surfaces_in_its_turn():
    def fail():
        raise OSError("disk gone")

    results = prefetch([lambda: 1, fail, lambda: 3])
    assert next(results) == 1
    with pytest.raises(OSError, match="disk gone"):
        next(results)


def test_leaving_early_stops_the_thread():
    results = prefetch([lambda n=n: n for n in range(1000)])
    next(results)
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "reader"]
