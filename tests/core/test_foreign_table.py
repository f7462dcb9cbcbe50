"""Tables of any program: what each type of column becomes, and what is refused by name."""

import datetime
import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from mscnn.core import foreign_table
from mscnn.core.errors import DataError

FRAME = pd.DataFrame({
    "text": ["a", None], "categories": pd.Categorical(["a", None]), "counts": [1, 2], "gaps": pd.array([1, None], "Int64"),
    "shares": [1.0, 0.25], "decimals": [decimal.Decimal("1.5"), None], "truths": [True, False],
    "days": [datetime.date(2020, 1, 2), None], "lists": [[1], [2]], "objects": [{"a": 1}, {"a": 2}], "bytes": [b"a", b"b"],
    "durations": pd.to_timedelta([1, 2]), "missing": [None, None], "large": np.array([2**64 - 1, 1], np.uint64)})
TEXT = {"text": ["a", ""], "categories": ["a", ""], "counts": ["1", "2"], "gaps": ["1", ""], "shares": ["1", "0.25"],
        "decimals": ["1.5", ""], "truths": ["True", "False"], "days": ["2020-01-02", ""], "missing": ["", ""],
        "large": ["18446744073709551615", "1"]}
NUMBERS = {"counts": [1, 2], "gaps": [1, np.nan], "shares": [1, 0.25], "decimals": [1.5, np.nan],
           "missing": [np.nan, np.nan], "large": [2.0**64, 1]}


@pytest.fixture(params=["frame", "file"])
def table(request, tmp_path):
    if request.param == "frame":
        return foreign_table.from_frame(FRAME.set_index(pd.Index([0, 0])), "the table", "mend it")
    pa.parquet.write_table(pa.Table.from_pandas(FRAME.set_index(pd.Index([0, 0]))), tmp_path / "table.parquet")
    return foreign_table.read_parquet(tmp_path / "table.parquet", "mend it")


@pytest.mark.parametrize("name", FRAME)
def test_a_column_is_text_or_numbers_or_refused_by_name(table, name):
    for expected, read in ((TEXT, table.text), (NUMBERS, table.numbers)):
        if name in expected:
            np.testing.assert_array_equal(read(name).to_numpy(), expected[name])
        else:
            with pytest.raises(DataError, match=rf"column {name} holds .*mend it") as refusal:
                read(name)
            assert "\n" not in str(refusal.value)


def test_an_index_of_pandas_is_no_column_unless_it_is_metadata(tmp_path):
    FRAME[["counts"]].set_index(pd.Index(["x", "y"])).to_parquet(tmp_path / "a.parquet")
    FRAME[["counts"]].set_index(pd.Index(["x", "y"], name="Metadata_Well")).to_parquet(tmp_path / "b.parquet")
    names = [list(foreign_table.read_parquet(tmp_path / name, "").columns) for name in ("a.parquet", "b.parquet")]
    assert names == [["counts"], ["counts", "Metadata_Well"]]


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    twice = pa.table([[1], [2]], names=["a", "a"])
    pa.parquet.write_table(twice, tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("a,b,a\n1,2,3\n")
    for read in (lambda: foreign_table.read_parquet(tmp_path / "a.parquet", "mend it"),
                 lambda: foreign_table.from_frame(twice.to_pandas(), "the table", "mend it"),
                 lambda: foreign_table.read_csv(tmp_path / "a.csv", "mend it", is_number=lambda name: True, missing=[])):
        with pytest.raises(DataError, match=r"column a is there twice.*mend it"):
            read()


@pytest.mark.parametrize("content", [b"", b"PAR1", b"x" * 100, None])
@pytest.mark.parametrize("ending", ["parquet", "csv", "csv.gz"])
def test_what_is_no_table_is_refused_in_a_line(tmp_path, content, ending):
    path = tmp_path / f"a.{ending}"
    path.mkdir() if content is None else path.write_bytes(content + b"\xff\n")
    read = {"parquet": lambda: foreign_table.read_parquet(path, "mend it")}.get(
        ending, lambda: foreign_table.read_csv(path, "mend it", is_number=lambda name: False, missing=[]))
    with pytest.raises(DataError, match="mend it") as refusal:
        read()
    assert "\n" not in str(refusal.value)


def test_numbers_that_are_not_finite_are_refused_by_row():
    table = foreign_table.from_frame(pd.DataFrame({"a": [1, np.inf], "b": [np.nan, 1]}), "the table", "mend it")
    with pytest.raises(DataError, match="column a holds inf in row 2, not a finite number"):
        table.finite("a", or_missing=True)
    assert table.finite("b", or_missing=True).isna().tolist() == [True, False]
    with pytest.raises(DataError, match="column b holds nan in row 1"):
        table.finite("b")
