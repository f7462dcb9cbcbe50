import re
from dataclasses import replace

import numpy as np
import pytest

from mscnn.core import config
from mscnn.core.errors import UsageError
from mscnn.data.pixels.reader import FieldReader
from mscnn.data.pixels.statistics import pixel_statistics
from mscnn.data.tables import splits
from mscnn.data.tables.assays import read_assays
from mscnn.distributed.world import World
from mscnn.training import prepare_data
from mscnn.training.loss import UNKNOWN
from mscnn.training.statistics import measure_statistics
from mscnn.training.targets import CLIP_SD, build_targets
from tests.conftest import make_table


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


def test_statistics_are_those_of_the_sites_asked_for(fields):
    every, some = (measure_statistics(fields, np.array(sites), microbatch=2, world=World()) for sites in (range(6), [5, 2]))
    np.testing.assert_array_equal(some, every[[5, 2]])
    assert len(np.unique(every, axis=0)) == 6


def targets_of(rows, objective, columns="plate compound concentration mechanism"):
    table = make_table(rows, columns)
    split = splits.make_split(table, split="hold-out", needs_labels=False)
    return build_targets(FieldReader(table, None, None), split, objective, config.Optim(class_weights="balanced"), World())


def test_treatments_are_compound_and_dose_in_any_spelling():
    found = targets_of([("P1", "Taxol", 1.0, "a"), ("P2", "taxol ", 1.0, "a"), ("P1", "taxol", 3.0, "a"),
                        ("P3", "TAXOL", 3.0, ""), ("p1 ", "DMSO", np.nan, ""), ("P2", "DMSO", np.nan, "")],
                       config.Objective(mechanism_weight=0, replicate_weight=1))
    assert found.treatments.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.compounds.tolist() == [0, 0, 0, 0, 1, 1]
    assert found.plates.tolist() == [0, 1, 0, 2, 0, 1]
    assert not found.on_one_plate.any()
    assert not found.weights.any()  # label-free: no mechanism counts


@pytest.mark.parametrize("held_out_pixels", [False, True])
def test_only_fields_that_are_read_put_a_treatment_on_a_second_plate(held_out_pixels):
    table = make_table([("P1", "a", 1.0, "x"), ("P2", "a", 1.0, "x"), ("P1", "b", 1.0, "y")],
                       "plate compound concentration mechanism")
    split = splits.Split("random", np.array([splits.TRAIN, splits.TEST, splits.TRAIN]), ("a",))
    found = build_targets(FieldReader(table, None, None), split,
                          config.Objective(view_weight=1, transductive=held_out_pixels), config.Optim(), World())
    assert found.on_one_plate.tolist() == [not held_out_pixels, not held_out_pixels, True]


def test_sites_without_a_mechanism_have_no_label():
    found = targets_of([("P1", "a", 1.0, "x"), ("P1", "b", 1.0, ""), ("P1", "c", 1.0, "y")], config.Objective())
    assert found.labels.tolist() == [0, UNKNOWN, 1]
    assert found.weights.tolist() == [1, 0, 1]


@pytest.mark.parametrize(("rows", "negatives", "message"), [
    ([("P1", "a", 1.0, ""), ("P1", "b", 1.0, "")], "all",
     "needs treatments of several fields, got 2 treatments of one field; use --view-weight"),
    ([("P1", "a", 1.0, ""), ("P2", "a", 1.0, "")], "all", "the table has one; use --view-weight"),
    ([("P1", "a", 1.0, ""), ("P1", "a", 1.0, ""), ("P2", "b", 1.0, "")], "plate",
     "each plate has one; use --negatives all"),
])
def test_what_cannot_be_contrasted_is_refused_with_a_remedy(rows, negatives, message):
    objective = config.Objective(mechanism_weight=0, replicate_weight=0.5, negatives=negatives)
    with pytest.raises(UsageError, match=re.escape(message)):
        targets_of(rows, objective)


def test_one_plate_and_single_fields_are_told_and_learnt_from(caplog):
    found = targets_of([("P1", "a", 1.0, ""), ("P1", "a", 1.0, ""), ("P1", "b", 1.0, ""), ("P2", "c", 1.0, "")],
                       config.Objective(mechanism_weight=0, replicate_weight=1))
    assert found.on_one_plate.all()
    assert "2 of them have one field and attract none" in caplog.text
    assert "3 of them are on one plate only" in caplog.text


def test_a_plate_of_one_compound_is_told_beside_others(caplog):
    targets_of([("P1", "a", 1.0, ""), ("P1", "b", 1.0, ""), ("P2", "a", 1.0, "")],
               config.Objective(mechanism_weight=0, replicate_weight=1, negatives="plate"))
    assert "1 of them plates hold one compound, where nothing repels" in caplog.text


def test_assays_are_labels_of_the_training_side_alone(tmp_path):
    """Compound c is held out, the control was not measured, b is measured in one of two assays."""
    table = make_table([("a", ""), ("DMSO", "DMSO"), ("b", "M"), ("c", ""), ("a", "")])
    (tmp_path / "assays.csv").write_text("compound,y,x\na,1,0\nb,0,\nc,1,1\n")
    table = replace(table, assays=read_assays(tmp_path / "assays.csv", table.frame["compound"]))
    split = splits.make_split(table, split="hold-out", hold_out="c")
    found = build_targets(FieldReader(table, None, None), split, config.Objective(), config.Optim(class_weights="balanced"),
                          World())
    assert found.train_sites.tolist() == [0, 2, 4]
    labels, weights = (values[found.rows_of(np.arange(5))] for values in (found.labels, found.weights))
    assert labels[:, 1].tolist() == [1, 0, 0, 0, 1]
    # y: 2 active fields and 1 inactive, 3 / (2 * 2) and 3 / (2 * 1); x has one class among the training compounds
    assert weights.tolist() == [[0, 0.75], [0, 0], [0, 1.5], [0, 0], [0, 0.75]]
