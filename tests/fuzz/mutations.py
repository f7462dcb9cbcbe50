"""Small changes of the files of a run, each drawn by hypothesis: of an editor, a disk, another program or a stranger."""

import datetime
import decimal
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import yaml
from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy], Any]
RAW = "raw:"  # of text that stands in JSON as it is
VALUES = [None, True, False, -1, 0, 1, 3, 0.5, 1.5, -0.25, 1e308, -1e308, 5e-324, 10**30, 2**63, -(2**70), f"{RAW}NaN",
          f"{RAW}Infinity", f"{RAW}-Infinity", f"{RAW}1e999", f"{RAW}{'9' * 5000}", "", " ", "x", "median",
          "../../etc/passwd", "/", "..", "\0", "\ud800", "nan", "=1+1", "\u202e",
          "line\nbreak", "y" * 3000, [], [[]], ["x"],
          [0, 1], [1.5, None], {}, {"x": 1}, {"": []}]
NUMBERS = [float("nan"), float("inf"), float("-inf"), -1.0, 0.0, 1.0, 0.5, 2.0, 1e308, -1e308, 1e-320, 1e40, 2**53 + 1.0]
TEXTS = ["", " ", "nan", "NA", "None", "x", "DMSO", "dmso", "\0", "=1", "a,b", '"', "\n", "\u202e", "é" * 300, "1e999",
         "-inf", "9" * 400]
OTHERS = [b"{}", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b"PAR1", b"a,b\n1,2\n", b'{"a":' * 90_000]
DAMAGE = ["cut", "empty", "flip", "insert", "append", "folder", "bom", "utf-16", "nested", "other", "zeros", "link"]
OF_YAML = [".nan", ".inf", "0o7", "!!binary x", "2020-01-01", "{}", "[]", "1_000", "*a", "!!set {a}"]


def mutate(path: Path, draw: Draw) -> None:
    """Change one file in place."""
    kinds = {".json": _json, ".jsonl": _json_lines, ".yaml": _yaml, ".csv": _csv, ".parquet": _parquet}
    if draw(st.integers(0, 5)) == 0:
        _bytes(path, draw)
    else:
        kinds.get(path.suffix, _bytes)(path, draw)


def _bytes(path: Path, draw: Draw) -> None:
    raw = path.read_bytes()
    place = draw(st.integers(0, max(len(raw) - 1, 0)))
    kind = draw(st.sampled_from(DAMAGE))
    new = {"cut": raw[:place], "empty": b"", "flip": raw[:place] + bytes([draw(st.integers(0, 255))]) + raw[place + 1:],
           "insert": raw[:place] + draw(st.binary(min_size=1, max_size=8)) + raw[place:], "append": raw + raw,
           "bom": b"\xef\xbb\xbf" + raw, "utf-16": raw.decode("latin-1").encode("utf-16"), "nested": b"[" * 200_000,
           "other": draw(st.sampled_from(OTHERS)), "zeros": bytes(len(raw))}.get(kind, raw)
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(path.name + ".elsewhere" if draw(st.booleans()) else "/dev/zero")
    else:
        path.write_bytes(new)


def restore(path: Path, raw: bytes) -> None:
    """Undo `mutate`."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.write_bytes(raw)


def _json(path: Path, draw: Draw) -> None:
    path.write_bytes(_dumped(_changed(json.loads(path.read_text()), draw), draw))


def _json_lines(path: Path, draw: Draw) -> None:
    lines = path.read_text().splitlines()
    number = draw(st.integers(0, len(lines) - 1))
    changed = _dumped(_changed(json.loads(lines[number]), draw), draw)
    rest = [line.encode() for line in lines]
    kind = draw(st.sampled_from(["change", "drop", "twice", "blank"]))
    rest[number:number + 1] = {"change": [changed], "drop": [], "twice": [rest[number]] * 2,
                               "blank": [b"", rest[number]]}[kind]
    path.write_bytes(b"\n".join(rest))


def _yaml(path: Path, draw: Draw) -> None:
    content = yaml.safe_load(path.read_text())
    changed = _changed(content, draw)
    text = yaml.safe_dump(json.loads(json.dumps(changed)), allow_unicode=True).replace(RAW, "")
    if draw(st.integers(0, 4)) == 0:
        key = draw(st.sampled_from(["seed", "preset", "? [a]", "!!int ''", "2020-01-01", "on", "channels", "lr"]))
        text += f"{key}: {draw(st.sampled_from(OF_YAML))}\n"
    path.write_text(text, errors="surrogatepass")


def _dumped(content: Any, draw: Draw) -> bytes:
    text = json.dumps(content)
    for value in VALUES:
        if isinstance(value, str) and value.startswith(RAW):
            text = text.replace(json.dumps(value), value.removeprefix(RAW))
    if draw(st.integers(0, 9)) == 0 and text.startswith("{") and len(text) > 2:
        text = "{" + text[1:].split(", ")[0].rstrip("}") + ", " + text[1:]  # its first key twice
    return text.encode("utf-8", "surrogatepass")


def _changed(content: Any, draw: Draw) -> Any:
    """Return JSON with one entry changed, removed or added."""
    places = list(_places(content))
    if not places:
        return draw(st.sampled_from(VALUES))
    holder, key = draw(st.sampled_from(places))
    kind = draw(st.sampled_from(["value", "value", "value", "drop", "add", "rename"]))
    if kind == "drop":
        del holder[key]
    elif kind == "value":
        holder[key] = draw(st.sampled_from(VALUES))
    elif isinstance(holder, dict):
        value = holder.pop(key) if kind == "rename" else holder[key]
        holder[draw(st.sampled_from(["x", "", "\0", "\ud800", "DMSO", "y" * 500]))] = value
    else:
        holder.insert(0, draw(st.sampled_from(VALUES)) if kind == "add" else holder[key])
    return content


def _places(content: Any):
    if isinstance(content, dict | list):
        for key, value in list(content.items()) if isinstance(content, dict) else enumerate(content):
            yield content, key
            yield from _places(value)


def _csv(path: Path, draw: Draw) -> None:
    rows = [line.split(",") for line in path.read_text().split("\n")]
    row = draw(st.integers(0, max(len(rows) - 2, 0)))
    column = draw(st.integers(0, len(rows[row]) - 1))
    kind = draw(st.sampled_from(["cell", "cell", "cell", "number", "drop row", "twice", "longer", "shorter", "semicolons",
                                 "drop column", "trailing"]))
    if kind == "cell":
        rows[row][column] = draw(st.sampled_from(TEXTS)).replace("\ud800", "")
    elif kind == "number":
        rows[row][column] = str(draw(st.sampled_from(NUMBERS)))
    elif kind == "drop row":
        del rows[row]
    elif kind == "twice":
        rows.insert(row, rows[row])
    elif kind == "longer":
        rows[row].append("x")
    elif kind == "shorter":
        rows[row].pop()
    elif kind == "drop column":
        rows = [[*one[:column], *one[column + 1:]] for one in rows]
    elif kind == "trailing":
        rows = [[*one, ""] for one in rows]
    path.write_text("\n".join((";" if kind == "semicolons" else ",").join(one) for one in rows))


def _parquet(path: Path, draw: Draw) -> None:
    frame = pd.read_parquet(path)
    name, row = draw(st.sampled_from(list(frame))), draw(st.integers(0, len(frame) - 1))
    kind = draw(st.sampled_from(["number", "text", "missing", "drop row", "drop column", "rename", "no rows", "rows twice",
                                 "index", "named index", "column twice", "nothing", *TYPES]))
    if kind in TYPES:
        frame = frame.astype({name: object})
        frame[name] = TYPES[kind](frame[name])
    elif kind in ("number", "text", "missing"):
        values = {"number": NUMBERS, "text": TEXTS, "missing": [None]}[kind]
        frame = frame.astype({name: object})
        frame.loc[frame.index[row], name] = draw(st.sampled_from(values))
    elif kind == "drop row":
        frame = frame.drop(index=frame.index[row])
    elif kind == "drop column":
        frame = frame.drop(columns=name)
    elif kind == "rename":
        new = draw(st.sampled_from(["x", "", "Metadata_X", "Probability_", "Probability_x", "\0"]))
        frame = frame.rename(columns={name: new})
    elif kind == "no rows":
        frame = frame.iloc[:0]
    elif kind == "rows twice":
        frame = pd.concat([frame, frame])
    elif kind == "index":
        frame = frame.set_index(pd.Index([0] * len(frame)))
    elif kind == "named index":
        frame = frame.set_index(name)
    try:
        table = pa.Table.from_pandas(frame)
    except (pa.ArrowException, ValueError, TypeError):
        table = pa.Table.from_pandas(frame.astype({name: str}))
    if kind == "column twice":
        table = table.append_column(name, table.column(name))
    if kind == "nothing":
        table = table.select([])
    pa.parquet.write_table(table, path)


TYPES: dict[str, Callable[[pd.Series], Any]] = {
    "categories": lambda column: pd.Categorical(column),
    "dates": lambda column: pd.date_range("2020", periods=len(column)),
    "zones": lambda column: pd.date_range("2020", periods=len(column), tz="UTC"),
    "days": lambda column: [datetime.date(2020, 1, 1)] * len(column),
    "times": lambda column: [datetime.time(1)] * len(column),
    "decimals": lambda column: [decimal.Decimal("0.5")] * len(column),
    "lists": lambda column: [[1.0]] * len(column),
    "objects": lambda column: [{"a": 1}] * len(column),
    "bytes": lambda column: [b"x"] * len(column),
    "truths": lambda column: [True] * len(column),
    "all missing": lambda column: [None] * len(column),
    "integers": lambda column: range(len(column)),
    "large": lambda column: np.full(len(column), 2**64 - 1, np.uint64),
    "halves": lambda column: np.full(len(column), 0.5, np.float16),
    "nullable": lambda column: pd.array([None] * len(column), "Int64"),
    "durations": lambda column: pd.to_timedelta(range(len(column))),
    "periods": lambda column: pd.period_range("2020", periods=len(column)),
    "same text": lambda column: ["x"] * len(column),
    "infinite": lambda column: [float("inf")] * len(column),
    "huge": lambda column: [1e308] * len(column)}
