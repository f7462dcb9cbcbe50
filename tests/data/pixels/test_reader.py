import numpy as np
import pytest
import tifffile
import torch

from mscnn.data.pixels.augment import Jitter
from mscnn.data.pixels.dataset_scale import DatasetScale
from mscnn.data.pixels.reader import FieldReader
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


def test_ranks_share_out_whole_microbatches_and_read_each_site_once(fields):
    sites = np.array([3, 1, 0, 2, 1])
    shares = [list(fields.read_share(sites, microbatch=2, rank=rank, size=2)) for rank in range(2)]
    assert [positions.tolist() for positions, _ in shares[0] + shares[1]] == [[0, 1], [4], [2, 3]]
    for positions, fields_NCHW in shares[0] + shares[1]:
        torch.testing.assert_close(fields_NCHW, fields.read(sites[positions]), rtol=0, atol=0)
    placed = fields.read_share(sites, microbatch=2, rank=1, size=2, place=lambda fields_NCHW: fields_NCHW + 1)
    torch.testing.assert_close(next(placed)[1], fields.read(sites[2:4]) + 1, rtol=0, atol=0)
    placed.close()
    assert list(fields.read_share(sites[:1], microbatch=2, rank=1, size=2)) == []
