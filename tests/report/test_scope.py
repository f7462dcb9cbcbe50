"""What the first sentence of the report says of whom was scored."""

from types import SimpleNamespace

import pandas as pd
import pytest

from mscnn.data.tables.splits import SplitRecord
from mscnn.report import scope


def run_of(method, held_out=(), trained=(), *, leaks="", folds=1, is_one_network=True):
    split = SplitRecord(method, list(held_out), leaks, "0", {}, {"compounds": list(trained)}, [])
    return SimpleNamespace(splits=lambda: [split] * folds, is_folds=lambda: not is_one_network,
                           description=SimpleNamespace(leaks=lambda: leaks),
                           tables={"treatments": pd.DataFrame({"Metadata_Compound": ["a", "a", "B", "new"],
                                                               "Metadata_MOA": ["M", "M", "N", ""]})})


@pytest.mark.parametrize(("run", "words"), [
    (run_of("hold-out", ["A", "b"], ["c"]), "of compounds that were held out of training (hold-out)"),
    (run_of("hold-out", ["x"], ["c"]), "of compounds that the network was not trained on"),          # of another table
    (run_of("hold-out", ["x"], ["c", "b"]), "of 2 compounds, of which the network was trained on 1"),  # likewise
    (run_of("wells", ["P A01"], ["a", "b"]),
     "of wells that were held out of training; other wells of the same compounds were trained on"),
    (run_of("leave-plate-out", ["P"], ["a"]),
     "of plates that were held out of training; other plates of the same compounds were trained on"),
    (run_of("random", leaks="fields of a well are on both sides"), "of fields that were taken out at random"),
    (run_of("k-fold", folds=3, is_one_network=False),
     "each by a network that was trained without the compound (3 trainings, k-fold)"),
    (run_of("k-fold", folds=3),
     "each by a read-out that was fitted without the compound, of one label-free network (3 read-outs, k-fold)")])
def test_the_sentence_claims_no_more_than_the_split_does(run, words):
    assert scope.of_run(run) == words
