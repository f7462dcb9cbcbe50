"""Dataclasses that files hold as JSON, checked when they are read: anybody can have written a file."""

import dataclasses
import math
import reprlib
import types
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NoReturn, Self, Union, get_args, get_origin, get_type_hints

KEY = "key"  # of the metadata of a field whose key in JSON is not its name: field(metadata={KEY: "held out"})
NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", types.NoneType: "null",
         list: "a list", dict: "an object"}
LARGEST = 2**63 - 1  # of a whole number: what arrays hold


@dataclass(frozen=True)
class Range:
    """Bounds of a number, within the annotation of a field: Annotated[float, Range(0, 1)]."""

    low: float
    high: float = math.inf


Count = Annotated[int, Range(0)]
Share = Annotated[float, Range(0, 1)]
NonNegative = Annotated[float, Range(0)]


@dataclass(frozen=True)
class Record:
    """Base of the dataclasses that files hold as JSON.

    A field is text, a number, a bool, None, a Literal, a record, a list, a dict with text as keys, a union of these, or
    Any.  Numbers are finite, whole numbers have at most 64 bits, within Any too; Annotated bounds them further.
    A field with a default is left out of the JSON where it has that default, and may be missing there.
    """

    def to_json(self) -> dict[str, Any]:
        """Return the record as dicts and lists, keys in the order of the fields."""
        return _to_json(self)

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """Return the record of a JSON object. Raises ValueError naming the first entry that is missing or does not fit.

        Keys that no field has are ignored.
        """
        return checked(cls, content)


def _to_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        values = {field: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {_key(field): _to_json(item) for field, item in values.items() if item != _default(field)}
    if isinstance(value, dict):
        return {key: _to_json(item) for key, item in value.items()}
    return [_to_json(item) for item in value] if isinstance(value, list | tuple) else value


def checked(kind: Any, value: Any, name: str = "") -> Any:
    """Return the value of an annotated type, records from dicts. Raises ValueError naming what does not fit, and its value.

    name: where the value stands in its file.
    """
    plain: Any = get_origin(kind) or kind
    arguments = get_args(kind)
    if kind is Any:
        return _anything(value, name)
    if plain is Annotated:
        return _within(arguments[1], checked(arguments[0], value, name), name)
    if plain is Literal:
        if value not in arguments or type(value) is not type(arguments[arguments.index(value)]):
            raise ValueError(f"{name or 'it'} is {reprlib.repr(value)}, not one of {', '.join(map(str, arguments))}")
        return value
    if plain in (Union, types.UnionType):
        return _first_that_fits(arguments, value, name)
    if isinstance(plain, type) and dataclasses.is_dataclass(plain) and isinstance(value, dict):
        return _record(plain, value, name)
    if type(value) is not plain and not (plain is float and type(value) is int):
        raise ValueError(f"{name or 'it'} is {NAMES.get(type(value), type(value).__name__)}, not "
                         f"{NAMES.get(plain, 'an object')}: {reprlib.repr(value)}")
    if plain is list and isinstance(value, list):
        return [checked(arguments[0] if arguments else Any, item, f"{name}[{number}]") for number, item in enumerate(value)]
    if plain is dict and isinstance(value, dict):
        keys, values = arguments or (str, Any)
        return {checked(keys, key, f"a key of {name or 'it'}"): checked(values, item, f"{name}.{key}".lstrip("."))
                for key, item in value.items()}
    return _scalar(value, name)


def _anything(value: Any, name: str) -> Any:
    """Return a value that JSON can hold. Raises ValueError as `checked`."""
    return checked(type(value), value, name) if type(value) in NAMES else _refuse(value, name, "a value of JSON")


def _scalar(value: Any, name: str) -> Any:
    """Return text that can be written, or a number that arrays can hold. Raises ValueError for any other."""
    if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        _refuse(value, name, "text: it holds half a character")
    if isinstance(value, float) and not math.isfinite(value):
        _refuse(value, name, "a finite number")
    if isinstance(value, int) and not -LARGEST <= value <= LARGEST:
        _refuse(value, name, "a number of 64 bits")
    return value


def _within(bounds: Range, value: Any, name: str) -> Any:
    if not bounds.low <= value <= bounds.high:
        _refuse(value, name, f"{bounds.low:g} or more" if bounds.high == math.inf else
                f"from {bounds.low:g} to {bounds.high:g}")
    return value


def _refuse(value: Any, name: str, what: str) -> NoReturn:
    raise ValueError(f"{name or 'it'} is {reprlib.repr(value)}, not {what}")


def _record(kind: type, content: dict[str, Any], name: str) -> Any:
    hints, values = get_type_hints(kind, include_extras=True), {}
    for field in dataclasses.fields(kind):
        path = f"{name}.{_key(field)}".lstrip(".")
        if _key(field) in content:
            values[field.name] = checked(hints[field.name], content[_key(field)], path)
        elif _default(field) is dataclasses.MISSING:
            raise ValueError(f"lacks {path}")
    try:
        return kind(**values)
    except ValueError as problem:  # of the record's own check
        raise ValueError(f"{name} {problem}" if name else str(problem)) from None


def _first_that_fits(kinds: tuple[Any, ...], value: Any, name: str) -> Any:
    """Return the value as the first type that fits. Raises the ValueError of the first type where none does."""
    problems = []
    for kind in kinds:
        try:
            return checked(kind, value, name)
        except ValueError as problem:
            problems.append(problem)
    raise problems[0]


def _key(field: dataclasses.Field) -> str:
    return field.metadata.get(KEY, field.name)


def _default(field: dataclasses.Field) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
