"""Dataclasses that files hold as JSON, checked when they are read: anybody can have written a file."""

import dataclasses
import types
from dataclasses import dataclass
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

KEY = "key"  # of the metadata of a field whose key in JSON is not its name: field(metadata={KEY: "held out"})
NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", types.NoneType: "null",
         list: "a list", dict: "an object"}


@dataclass(frozen=True)
class Record:
    """Base of the dataclasses that files hold as JSON.

    A field is text, a number, a bool, None, a record, a list, a dict with text as keys, a union of these, or Any.
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
        return _from_json(cls, content, "")


def _to_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        values = {field: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {_key(field): _to_json(item) for field, item in values.items() if item != _default(field)}
    if isinstance(value, dict):
        return {key: _to_json(item) for key, item in value.items()}
    return [_to_json(item) for item in value] if isinstance(value, list | tuple) else value


def _from_json(kind: Any, value: Any, name: str) -> Any:
    """Return a value of an annotated type; name: where it stands in the JSON, for the error."""
    plain = get_origin(kind) or kind
    if kind is Any or (kind is float and type(value) is int):
        return value
    if plain in (Union, types.UnionType):
        return _first_that_fits(get_args(kind), value, name)
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return _record(kind, value, name)
    if type(value) is not plain:
        raise ValueError(f"{name or 'it'} is {NAMES.get(type(value))}, not {NAMES.get(plain, 'an object')}")
    if plain is list:
        return [_from_json(get_args(kind)[0], item, f"{name}[{number}]") for number, item in enumerate(value)]
    if plain is dict:
        return {key: _from_json(get_args(kind)[1], item, f"{name}.{key}".lstrip(".")) for key, item in value.items()}
    return value


def _record(kind: type, content: dict[str, Any], name: str) -> Any:
    hints, values = get_type_hints(kind), {}
    for field in dataclasses.fields(kind):
        path = f"{name}.{_key(field)}".lstrip(".")
        if _key(field) in content:
            values[field.name] = _from_json(hints[field.name], content[_key(field)], path)
        elif _default(field) is dataclasses.MISSING:
            raise ValueError(f"lacks {path}")
    return kind(**values)


def _first_that_fits(kinds: tuple[Any, ...], value: Any, name: str) -> Any:
    """Return the value as the first type that fits. Raises the ValueError of the first type where none does."""
    problems = []
    for kind in kinds:
        try:
            return _from_json(kind, value, name)
        except ValueError as problem:
            problems.append(problem)
    raise problems[0]


def _key(field: dataclasses.Field) -> str:
    return field.metadata.get(KEY, field.name)


def _default(field: dataclasses.Field) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
