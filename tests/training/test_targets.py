import numpy as np
import pytest

from mscnn.core import config
from mscnn.data.pixels.reader import FieldReader
from mscnn.data.pixels.statistics import pixel_statistics
from mscnn.data.tables import splits
from mscnn.distributed.world import World
from mscnn.training import prepare_data
from mscnn.training.loss import UNKNOWN
from mscnn.training.targets import CLIP_SD, build_targets


@pytest.fixture
def fields(tiny_screen):
    settings = config.Data(sites=str(tiny_screen), normalise="field")
    table = prepare_data.with_shape(prepare_data.load_sites(settings), None, World())
    return FieldReader(table, prepare_data.fit_scale(table, np.arange(len(table)), settings, World()), None)


@pytest.mark.parametrize("held_out_pixels", [False, True])
def test_labels_and_targets_come_from_the_training_side_alone(fields, held_out_pixels):
    split = splits.make_split(fields.table, split="hold-out", hold_out="a")
    train, test = split.train(), split.test()
    objective = config.Objective(statistics_weight=1.0, transductive=held_out_pixels)
    optim = config.Optim(class_weights="balanced", microbatch=2)
    taught = build_targets(fields, split, objective, optim, World())
    assert (taught.labels[test] == UNKNOWN).all()
    assert not taught.weights[test].any()
    classes = fields.table.mechanisms()
    assert [classes[label] for label in taught.labels[train]] == fields.table.frame["mechanism"].iloc[train].tolist()
    assert np.all(taught.train_sites == (np.arange(len(fields.table)) if held_out_pixels else train))
    described = pixel_statistics(fields.read(np.arange(len(fields.table)))).double().numpy()
    sd = described[train].std(0)
    expected = (described - described[train].mean(0)) / np.where(sd > 0, sd, 1)
    assert (abs(expected) > CLIP_SD).any()
    np.testing.assert_allclose(taught.aux_targets[taught.train_sites],
                               expected[taught.train_sites].clip(-CLIP_SD, CLIP_SD), atol=1e-3)
    if not held_out_pixels:
        assert not taught.aux_targets[test].any()


def test_without_the_second_task_nothing_is_described(fields, monkeypatch):
    monkeypatch.setattr(FieldReader, "read", lambda *given: 1 / 0)
    split = splits.make_split(fields.table, split="hold-out", hold_out="a")
    taught = build_targets(fields, split, config.Objective(), config.Optim(), World())
    assert taught.aux_targets is None
    assert taught.weights.tolist() == (split.side == splits.TRAIN).tolist()
