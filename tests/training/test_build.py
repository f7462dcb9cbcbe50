import numpy as np
import pytest

from mscnn.core.errors import UsageError
from mscnn.data.tables.splits import Split
from mscnn.model.lda import fit_lda_layer
from mscnn.training.build import require_enough_for_lda
from tests.conftest import make_table


@pytest.mark.parametrize(("mechanisms", "is_enough"), [("MN", False), ("MMN", True), ("MNO", False), ("MMNO", True)])
def test_lda_is_refused_before_training_exactly_where_it_cannot_be_fitted(mechanisms, is_enough):
    table = make_table([(f"c{number}", name) for number, name in enumerate([*mechanisms, "held out"])])
    split = Split("hold-out", np.array([*["train"] * len(mechanisms), "test"]), ("held out",))
    labels = np.array([sorted(set(mechanisms)).index(name) for name in mechanisms])
    features = np.random.default_rng(0).random((len(labels), 8))
    if is_enough:
        require_enough_for_lda(split, table)
        assert np.isfinite(fit_lda_layer(features, labels, len(set(mechanisms)))[0]).all()
    else:
        with pytest.raises(UsageError, match=f"needs more training fields than mechanisms, got {len(labels)} fields of"):
            require_enough_for_lda(split, table)
        with pytest.raises(ValueError, match="more fields than classes"):
            fit_lda_layer(features, labels, len(set(mechanisms)))
