import pandas as pd

from mscnn.scoring import confusion, scores

TABLE = pd.DataFrame({"Metadata_MOA": ["M", "M", "N", "O", ""], "Predicted_MOA": ["M", "N", "N", "M", "M"]})


def test_right_and_total_at_each_level_leave_out_the_unknown():
    assert scores({"fields": TABLE, "compounds": TABLE[:1]}) == {"fields": {"correct": 2, "total": 4},
                                                                 "compounds": {"correct": 1, "total": 1}}


def test_confusion_has_true_rows_and_only_what_occurs():
    counts = confusion(pd.concat([TABLE, pd.DataFrame({"Metadata_MOA": ["M"], "Predicted_MOA": ["Q"]})]))
    assert (counts.index.tolist(), counts.columns.tolist()) == (["M", "N", "O"], ["M", "N", "O", "Q"])
    assert counts.to_numpy().tolist() == [[1, 1, 0, 1], [0, 1, 0, 0], [1, 0, 0, 0]]
