import numpy as np
import pytest

from mscnn.core import config
from mscnn.data.pixels.reader import Fields
from mscnn.data.pixels.statistics import describe
from mscnn.data.tables import splits
from mscnn.distributed.world import World
from mscnn.training import prepare_data
from mscnn.training.loss import UNKNOWN
from mscnn.training.targets import FARTHEST, prepare


@pytest.fixture
def fields(tiny_screen):
    settings = config.Data(sites=str(tiny_screen), normalise="field")
    table = prepare_data.check(prepare_data.read_labelled(settings), None, World())
    return Fields(table, prepare_data.measure(table, np.arange(len(table)), settings, World()), None)


@pytest.mark.parametrize("held_out_pixels", [False, True])
def test_labels_and_targets_come_from_the_training_side_alone(fields, held_out_pixels):
    split = splits.make_split(fields.table, split="hold-out", hold_out="a")
    train, test = split.train(), split.test()
    optim = config.Optim(statistics=1.0, held_out_pixels=held_out_pixels, class_weights="balanced", microbatch=2)
    taught = prepare(fields, split, optim, World())
    assert (taught.labels[test] == UNKNOWN).all()
    assert not taught.weights[test].any()
    classes = fields.table.mechanisms()
    assert [classes[label] for label in taught.labels[train]] == fields.table.frame["mechanism"].iloc[train].tolist()
    assert np.all(taught.sites == (np.arange(len(fields.table)) if held_out_pixels else train))
    described = describe(fields.read(np.arange(len(fields.table)))).double().numpy()
    sd = described[train].std(0)
    expected = (described - described[train].mean(0)) / np.where(sd > 0, sd, 1)
    assert (abs(expected) > FARTHEST).any()
    np.testing.assert_allclose(taught.targets[taught.sites], expected[taught.sites].clip(-FARTHEST, FARTHEST), atol=1e-3)
    if not held_out_pixels:
        assert not taught.targets[test].any()


def test_without_the_second_task_nothing_is_described(fields, monkeypatch):
    monkeypatch.setattr(Fields, "read", lambda *given: 1 / 0)
    split = splits.make_split(fields.table, split="hold-out", hold_out="a")
    taught = prepare(fields, split, config.Optim(), World())
    assert taught.targets is None
    assert taught.weights.tolist() == (split.side == splits.TRAIN).tolist()
