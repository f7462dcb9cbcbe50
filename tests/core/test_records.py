"""Records as JSON: what is written is read back, and what does not fit is named."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from mscnn.core.records import KEY, Record


@dataclass(frozen=True)
class Part(Record):
    """A part."""

    share: float
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Whole(Record):
    """A whole."""

    step: int | None = None
    parts: dict[str, list[Part]]
    best: Part | None
    held_out: bool = field(metadata={KEY: "held out"})
    about: dict[str, Any]


CONTENT = {"parts": {"a": [{"share": 0.5, "names": ["x"]}, {"share": 1}]}, "best": None, "held out": True,
           "about": {"any": [1, None]}}


def test_what_is_written_is_read_back_and_defaults_are_left_out():
    whole = Whole.from_json(CONTENT)
    assert whole == Whole(parts={"a": [Part(0.5, ["x"]), Part(1)]}, best=None, held_out=True, about={"any": [1, None]})
    assert json.dumps(whole.to_json()) == json.dumps(CONTENT)  # numbers, and the order of keys
    assert Whole.from_json(CONTENT | {"step": 3, "other": 0}).to_json() == {"step": 3} | CONTENT


@pytest.mark.parametrize(("change", "words"), [
    ({"step": 1.5}, "step is a number, not a whole number"), ({"step": True}, "step is true or false, not a whole number"),
    ({"best": {}}, "lacks best.share"), ({"best": 3}, "best is a whole number, not an object"),
    ({"held out": "yes"}, "held out is text, not true or false"), ({"about": []}, "about is a list, not an object"),
    ({"parts": {"a": [{"share": "x"}]}}, r"parts\.a\[0\]\.share is text, not a number"),
    ({"parts": {"a": [{"share": 1, "names": [2]}]}}, r"parts\.a\[0\]\.names\[0\] is a whole number, not text")])
def test_the_first_entry_that_does_not_fit_is_named(change, words):
    with pytest.raises(ValueError, match=words):
        Whole.from_json(CONTENT | change)


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match="lacks held out"):
        Whole.from_json({key: value for key, value in CONTENT.items() if key != "held out"})
    with pytest.raises(ValueError, match="it is a list, not an object"):
        Whole.from_json([])
