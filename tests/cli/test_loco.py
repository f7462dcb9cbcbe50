import re

import pytest

from mscnn.cli import loco
from mscnn.core.errors import UsageError

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
