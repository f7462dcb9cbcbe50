"""mscnn synth: both kinds of screens by the command.  pytest tests/cli/test_synth.py"""

import pandas as pd
import pytest

from mscnn.cli import synth
from mscnn.core.errors import UsageError
from mscnn.data.tables.assays import read_assays
from mscnn.data.tables.bbbc021 import find_csvs, read_bbbc021


def test_a_screen_of_inclusions_with_its_picture(tmp_path):
    out = tmp_path / "out"
    synth.main(["--out", str(out), "--kind", "inclusions", "--mechanisms", "Arc inclusions,Z inclusions",
                "--compounds", "1", "--plates", "1", "--sites", "2", "--size", "32x48"])
    frame = read_bbbc021(*find_csvs(out)).labelled().frame
    assert frame["mechanism"].value_counts().to_dict() == {"DMSO": 24, "Arc inclusions": 4, "Z inclusions": 4}
    assert (out / "overview.png").stat().st_size > 0
    with pytest.raises(UsageError, match="is not empty"):
        synth.main(["--out", str(out)])


@pytest.mark.parametrize("arguments", [["--kind", "shapes"], ["--kind", "inclusions", "--mechanisms", "Bars"],
                                       ["--mechanisms", "Bar inclusions"]])
def test_unknown_kinds_and_mechanisms_are_refused(tmp_path, arguments):
    with pytest.raises(UsageError, match=r"shapes|must be different ones of"):
        synth.main(["--out", str(tmp_path / "out"), *arguments])


def test_a_screen_with_assays_is_one_that_training_reads(tmp_path):
    out = tmp_path / "out"
    synth.main(["--out", str(out), "--mechanisms", "Eg5 inhibitors,Epithelial", "--compounds", "3", "--plates", "1",
                "--size", "32x32", "--assays", "4"])
    table = read_bbbc021(*find_csvs(out))
    assays = read_assays(out / "assays.csv", table.frame["compound"])
    assert len(assays.names) == 4
    treated = set(table.frame["compound"]) - {"DMSO"}
    assert set(pd.read_csv(out / "assays.csv")["compound"]) == treated | {"taxol"}
    assert set(table.frame["compound"][assays.is_measured()]) <= treated
