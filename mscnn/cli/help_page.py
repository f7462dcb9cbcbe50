"""What --help and --help-all show: a line or two a setting, its default, and its values.

--help shows the first sentence of the common settings; --help-all, like the documentation, shows all of all settings.
"""

import argparse
import dataclasses
import shutil
import types
import typing
from typing import Any

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from mscnn.core.settings import REQUIRED, option, plain_type

WIDEST = 120  # columns of a page on a wide terminal
ALL = "--help-all"


class HelpFormatter(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Show the default beside each option, no types, and keep the line breaks of the description."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=34, width=min(shutil.get_terminal_size().columns, WIDEST) - 2)

    def _get_help_string(self, action: argparse.Action) -> str:
        text, default = action.help or "", action.default
        if default is None or default == argparse.SUPPRESS or action.nargs == 0 or not action.option_strings:
            return text
        shown = str(default).lower() if isinstance(default, bool) else str(default)
        return f"{text} (default: {shown.replace('%', '%%')})"


def add_help_all(parser: ArgumentParser) -> None:
    """Add --help-all, which shows what `parser` shows; a parser for --help has fewer settings."""
    parser.add_argument(ALL, action="help", help="show all settings and exit")


def usage(program: str, fields: list[dataclasses.Field]) -> str:
    """Return the line of usage: positional and required settings by name."""
    words = [field.name.upper() + ("" if field.type is str else " ...") for field in fields if field.metadata["positional"]]
    words += [f"--{option(field.name)} {metavar(field)}" for field in fields
              if field.default is REQUIRED and not field.metadata["positional"]]
    return " ".join([program, *words, "[--SETTING VALUE ...]"])


def text(field: dataclasses.Field, show_all: bool) -> str:
    """Return the help of a setting: all of it, or its first sentence; SUPPRESS for one that --help leaves out."""
    if show_all:
        return field.metadata["help"]
    if not field.metadata["common"] and field.default is not REQUIRED:
        return argparse.SUPPRESS
    return first_sentence(field)


def first_sentence(field: dataclasses.Field) -> str:
    """Return the first sentence of a setting's help."""
    return field.metadata["help"].partition(". ")[0]


def metavar(field: dataclasses.Field) -> str:
    """Return what stands for a setting's value: its choices, N for an integer, X for a number, TEXT, or what it names."""
    kind = without_none(plain_type(field.type))
    if typing.get_origin(kind) is typing.Literal:
        return "{" + ",".join(map(str, typing.get_args(kind))) + "}"
    return field.metadata["metavar"] or {bool: "{true,false}", int: "N", float: "X"}.get(kind, "TEXT")


def without_none(kind: Any) -> Any:
    """Return the type beside None in `str | None`, any other type as it is."""
    if isinstance(kind, types.UnionType):
        return next(part for part in typing.get_args(kind) if part is not type(None))
    return kind
