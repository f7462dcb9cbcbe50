"""Files of records: what is no such file is refused in one line that names file, entry, value and remedy."""

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest

from mscnn.core.errors import DataError, UsageError
from mscnn.core.files import read_yaml
from mscnn.core.record_files import read_json, read_json_lines
from mscnn.core.records import Range, Record, checked


@dataclass(frozen=True)
class Row(Record):
    """A row."""

    name: str
    share: Annotated[float, Range(0, 1)]
    rule: Literal["mean", "median"] = "mean"
    about: dict[str, Any] | None = None


GOOD = {"name": "a", "share": 0.5}
BAD = [
    ("", "Expecting value"), ("[]", "it is a list, not an object"),
    ("[" * 10**5, "nested too deeply"),
    ('{"name": "a", "name": "b", "share": 1}', "'name' is there twice"), ('{"name": "a"}', "lacks share"),
    ('{"name": "\\ud800", "share": 1}', "name is .*half a character"),
    ('{"name": 1, "share": 1}', "name is a whole number"),
    *[(json.dumps(GOOD)[:-1] + f', "about": {{"x": [{value}]}}}}', r"about.x\[0\] is .*not a finite number")
      for value in ("NaN", "Infinity", "-Infinity", "1e999")],
    ('{"name": "a", "share": NaN}', "share is nan, not a finite number"),
    ('{"name": "a", "share": 1.5}', "share is 1.5, not from 0 to 1"),
    ('{"name": "a", "share": true}', "share is true or false"),
    (f'{{"name": "a", "share": {10**30}}}', "share is 1000.*, not a number of 64 bits"),
    (f'{{"name": "a", "share": {"9" * 5000}}}', "Exceeds the limit"),
    ('{"name": "a", "share": 1, "rule": "max"}', "rule is 'max', not one of mean, median"),
    ('{"name": "a", "share": 1, "rule": ["mean"]}', "rule is .*, not one of mean, median")]


@pytest.mark.parametrize(("text", "words"), BAD, ids=range(len(BAD)))
def test_json_that_does_not_fit_is_refused_in_a_line(tmp_path, text, words):
    path = tmp_path / "row.json"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"row.json: cannot be read \(.*{words}.*; mend it") as refusal:
        read_json(path, Row, "mend it")
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 600
    path.write_text(json.dumps(GOOD) + "\n" + text + "\n")
    if text:
        with pytest.raises(DataError, match=r"\((line 2: |it is nested)"):
            read_json_lines(path, Row, "mend it")


@pytest.mark.parametrize("content", [None, b"\xff\xfe{}", b"\x00" * 9, "link"])
def test_what_is_no_text_is_refused_in_a_line(tmp_path, content):
    path = tmp_path / "row.json"
    if content is None:
        path.mkdir()
    elif content == "link":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read \(.*; mend it"):
        read_json(path, Row, "mend it")
    with pytest.raises(UsageError, match=r"cannot be read \(.*; mend it"):
        read_yaml(path, remedy="mend it")


def test_good_files_are_read_whatever_their_line_ends_and_marks(tmp_path):
    path = tmp_path / "rows.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode())
    assert read_json(path, Row, "") == Row("a", 0.5)
    path.write_text(json.dumps(GOOD) + "\n\n" + json.dumps(GOOD))
    assert read_json_lines(path, Row, "") == [Row("a", 0.5)] * 2
    assert checked(list[Row], [GOOD]) == [Row("a", 0.5)]


def test_a_yaml_key_that_is_there_twice_is_refused(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("seed: 1\nepochs: 2\nseed: 3\n")
    with pytest.raises(UsageError, match="it has seed twice"):
        read_yaml(path)
    path.write_text("a: {b: [{c: 1, c: 2}]}\n")
    with pytest.raises(UsageError, match="it has c twice"):
        read_yaml(path)
