import re

import pytest

from mscnn.cli import loco
from mscnn.core import config
from mscnn.core.errors import UsageError
from tests.conftest import make_table

LABEL_FREE = ["unlabelled", "--out", "x"]


def chosen(*argv, candidates=None):
    return loco.is_one_network(loco.read([*LABEL_FREE, *argv])[1], candidates or {})


def test_one_network_serves_all_folds_only_where_it_is_the_same_for_all():
    assert chosen()
    assert not chosen("--transductive", "false")
    assert not chosen("--mechanism-weight", "1")
    assert not loco.is_one_network(loco.read(["fields128", "--out", "x", "--transductive", "true"])[1], {})


@pytest.mark.parametrize(("argv", "candidates", "message"), [
    (["--split-method", "k-fold"], {}, "--split-method k-fold does not go with one label-free network for all folds"),
    ([], {"a": {}, "b": {}}, "--candidates choose settings for each fold, and one label-free network serves all"),
])
def test_settings_of_several_networks_are_refused_with_the_remedy(argv, candidates, message):
    with pytest.raises(UsageError, match=re.escape(message) + ".*--transductive false"):
        chosen(*argv, candidates=candidates)


def test_control_wells_that_several_folds_would_hold_out_are_refused_before_any_training():
    """Of 10 control wells each of 5 folds holds 2 out, and each of its inner folds 2 of the 8 that are left."""
    table = make_table([(f"A{number:02}", "DMSO", "DMSO") for number in range(1, 11)] + [
        (f"B{number:02}", f"c{number}", "MN"[number % 2]) for number in range(1, 11)], "well compound mechanism")
    split = config.Split(split_method="k-fold", folds=5, hold_out_controls=0.2)
    loco.require_controls_once(table, split, 5, 0)
    loco.require_controls_once(table, split, 5, 0, inner_folds=4)
    with pytest.raises(UsageError, match="the same control wells out in several of 5 inner folds"):
        loco.require_controls_once(table, split, 5, 0, inner_folds=5)
    with pytest.raises(UsageError, match=r"several of 5 folds; use less than 0\.2, or fewer folds"):
        loco.require_controls_once(table, config.Split(split_method="k-fold", folds=5, hold_out_controls=0.3), 5, 0)
