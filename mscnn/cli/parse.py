"""Read settings from the command line and from YAML files; no other file parses arguments.

Options are spelled with dashes (--hold-out); underscores are accepted too.  Imports no torch, so --help is quick.
"""

import dataclasses
import functools
import importlib.metadata
import inspect
import re
from argparse import SUPPRESS
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from mscnn.cli import PROGRAM, did_you_mean, help_page
from mscnn.core import config, paths
from mscnn.core.errors import UsageError
from mscnn.core.files import read_yaml
from mscnn.core.logs import log
from mscnn.core.presets import PRESETS
from mscnn.core.settings import REQUIRED, build, current_name, current_names, is_blank, option, plain_type
from mscnn.distributed import launchers

OLDEST_TORCH = (2, 8)  # the oldest with which the tests have passed


@dataclass(frozen=True)
class Command:
    """A command: its name, what --help says of it, and its settings."""

    name: str         # as the user types it after `mscnn`
    description: str  # a summary on its first line
    record: type      # of its settings

    @property
    def program(self) -> str:
        """Return how the user starts the command."""
        return f"{PROGRAM} {self.name}"

    def groups(self) -> list[tuple[str, list[dataclasses.Field]]]:
        """Return titles and settings: the command's own first, then those of the records that it inherits from."""
        fields = {field.name: field for field in dataclasses.fields(self.record)}
        groups = []
        for record in self.record.__mro__:
            own = [fields.pop(name) for name in inspect.get_annotations(record) if name in fields]
            if own:
                groups.append((record.__doc__ or "", own))
        return groups

    def parser(self, *, show_all: bool = True) -> ArgumentParser:
        """Return the parser of the command; show_all: its help shows every setting."""
        parser = _parser(self.program, self.description)
        groups = self.groups()
        parser.usage = help_page.usage(self.program, [field for _, fields in groups for field in fields])
        _add_groups(parser, groups, {}, show_all)
        return parser

    def read(self, argv: list[str]) -> Any:
        """Read the settings into the record. --help and --help-all exit here. Raises UsageError."""
        values = _parse(self.parser(show_all=help_page.ALL in argv), argv)
        for field in dataclasses.fields(self.record):
            if field.metadata["positional"] and field.type is str:
                words = values[field.name]
                if len(words) > 1:
                    raise UsageError(f"{field.name} takes one value, got {len(words)}: {' '.join(words)}")
                values[field.name] = words[0]
        _check_texts(list(dataclasses.fields(self.record)), values)
        return build(self.record, values)


@dataclass(frozen=True)
class TrainingCommand:
    """A command whose settings start from a preset: those of a training, and some of its own."""

    name: str                  # as the user types it after `mscnn`
    description: str           # a summary on its first line
    more: type | None = None   # record of the command's own settings
    defaults: dict[str, Any] = dataclasses.field(default_factory=dict)  # of the command, over the preset's

    @property
    def program(self) -> str:
        """Return how the user starts the command."""
        return f"{PROGRAM} {self.name}"

    def groups(self) -> list[tuple[str, list[dataclasses.Field]]]:
        """Return titles and settings: the command's own first, then those of a training, group by group."""
        records = [*([self.more] if self.more else []), *config.GROUPS.values()]
        return [(record.__doc__ or "", list(dataclasses.fields(record))) for record in records]

    def parser(self, *, show_all: bool = True, start: dict[str, Any] | None = None) -> ArgumentParser:
        """Return the parser of the command.

        show_all: its help shows every setting; start: defaults over those of the records.
        """
        presets = "\n".join(f"  {name:10} {preset.__doc__}" for name, preset in PRESETS.items())
        parser = _parser(self.program, f"{self.description}\n\npresets; {self.program} PRESET --help shows the defaults of "
                         f"one:\n{presets}", print_config="--print-config")
        parser.usage = f"{self.program} PRESET [--config FILE] [--SETTING VALUE ...]"
        parser.add_argument("preset", choices=list(PRESETS), help=SUPPRESS)  # usage and description name it
        parser.add_argument("--config", action="config", help="YAML file of settings, over the preset's", metavar="FILE")
        print_config = next(action for action in parser._actions if "--print-config" in action.option_strings)
        print_config.help, print_config.metavar = "print all settings as YAML and exit", ""
        _add_groups(parser, self.groups(), start or {}, show_all)
        return parser

    def read(self, argv: list[str]) -> dict[str, Any]:
        """Read {setting: value}: those of the preset, then of --config, then of the command line. Raises UsageError.

        --help, --help-all and --print-config exit here.
        """
        preset = _leading_preset(argv)
        start = (_without_its_screen(PRESETS[preset](), argv) if preset else {}) | self.defaults
        values = _parse(self.parser(show_all=help_page.ALL in argv, start=start), argv)
        if values["preset"] != preset:
            raise UsageError(f"the configuration file is of preset {values['preset']}, the command line says {preset}; "
                             "name the same one, or take the line out of the file")
        _drop_other_screens(values, argv)
        _check_texts([field for _, fields in self.groups() for field in fields], values)
        return values


def given(argv: list[str]) -> set[str]:
    """Return the settings that the command line names, by today's names."""
    return {current_name(argument.split("=")[0][2:].replace("-", "_"), config.NAMES)
            for argument in argv if argument.startswith("--")}


def _check_texts(fields: list[dataclasses.Field], values: dict[str, Any]) -> None:
    """Raise UsageError for text that is empty, and for paths that cannot be what was meant."""
    for field in fields:
        value, kind = values.get(field.name), field.metadata["metavar"]
        name = field.name if field.metadata["positional"] else f"--{option(field.name)}"
        if is_blank(value):
            raise UsageError(f"{name} is empty; give a value"
                             + ("" if field.default is REQUIRED else ", or leave it out for its default"))
        words = value.split(",") if kind == paths.LIST and value else value if isinstance(value, list) else [value]
        for word in words if kind in (*paths.KINDS, paths.LIST) else ():
            if word is not None:
                paths.check(name, word, "DIR" if kind == paths.LIST else kind, written=field.metadata["written"])


def _parser(program: str, description: str, print_config: str | None = None) -> ArgumentParser:
    parser = ArgumentParser(prog=program, description=description, exit_on_error=False, print_config=print_config,
                            formatter_class=help_page.HelpFormatter)
    help_page.add_help_all(parser)
    return parser


def _add_groups(parser: ArgumentParser, groups: list[tuple[str, list[dataclasses.Field]]], start: dict[str, Any],
                show_all: bool) -> None:
    """Add an option, or a positional argument, for each setting; start: defaults over those of the records."""
    for title, fields in groups:
        group = parser.add_argument_group(title)
        for field in fields:
            shown: dict[str, Any] = {"help": help_page.text(field, show_all).replace("%", "%%")}
            if field.metadata["positional"]:
                group.add_argument(field.name, nargs="+", metavar=field.name.upper(), **shown)
                continue
            shown |= {"type": plain_type(field.type), "metavar": help_page.metavar(field)}
            if field.default is REQUIRED:
                group.add_argument(f"--{option(field.name)}", required=True, **shown)
            else:
                group.add_argument(f"--{option(field.name)}", default=start.get(field.name, field.default), **shown)


def _parse(parser: ArgumentParser, argv: list[str]) -> dict[str, Any]:
    """Return {setting: value} by today's names. Raises UsageError in one line for arguments that do not fit."""
    options = [word for action in parser._actions for word in action.option_strings]
    names = {word.lstrip("-").replace("-", "_") for word in options}
    argv = _with_current_names(argv, names)
    for argument in argv:
        word = argument.split("=")[0]
        if word.startswith("--") and word != "--" and word not in options:
            raise UsageError(f"there is no option {word}{did_you_mean(word, options)}")
    argv = _with_true(argv, parser)
    try:
        values = {key: value for key, value in parser.parse_args(argv).as_dict().items() if key != "config"}
        _require_torch()
        return values
    except ArgumentError as problem:
        message = " ".join(str(problem).replace("Parser key", "option").split())
        if lacking := re.search(r"following arguments are required: (.*)$", message):
            shown = {action.dest: " ".join([*action.option_strings[:1], str(action.metavar or "")]).strip()
                     for action in parser._actions}
            message = f"{', '.join(shown.get(name, name) for name in lacking[1].split(', '))} must be given; see --help"
        elif unknown := re.search(r"Option '([\w.]+)' is not accepted", message):
            message = ("the configuration file has an unknown setting "
                       f"{unknown[1]}{did_you_mean(unknown[1].split('.')[-1], sorted(names))}")
        elif wrong := re.search(r"option \"(\w+)\": .*Expected a <class '(int|float|bool)'>. Got value: (.*)$", message):
            kind = {"int": "a whole number", "float": "a number", "bool": "true or false"}[wrong[2]]
            message = f"{option(wrong[1])} must be {kind}, got {wrong[3]!r}"
        elif "class 'str'" in message:  # in YAML 0.01, 123 and no are not text
            message += "; write the value in quotes in the configuration file"
        raise UsageError(message) from None


def _with_current_names(argv: list[str], known: set[str]) -> list[str]:
    """Return the arguments with dashes, and today's names and values of settings; the log names those replaced.

    A configuration file becomes its content.  Raises UsageError for one that should not be parsed, or names another one.
    """
    result, waiting = [], list(argv)
    while waiting:
        word, equals, value = waiting.pop(0).partition("=")
        if not word.startswith("--"):
            result.append(word + equals + value)
            continue
        name = word[2:].replace("-", "_")
        if name != (new := current_name(name, known)):
            _log_renamed(f"--{option(name)}", f"--{option(new)}")
            if not equals and waiting:
                value = waiting.pop(0)
            result += [f"--{option(new)}", str(current_names({name: value}, known)[new])]
        elif name == "config" and (equals or waiting):
            path = value if equals else waiting.pop(0)
            result.append(f"--config={_config_text(path, known)}")
        else:
            result.append(f"--{option(name)}{equals}{value}")
    return result


def _with_true(argv: list[str], parser: ArgumentParser) -> list[str]:
    """Return the arguments with `true` after each switch that stands alone: --allow-missing means --allow-missing true."""
    switches = {word for action in parser._actions if getattr(action, "_typehint", None) is bool
                for word in action.option_strings}
    takes_word = any(not action.option_strings for action in parser._actions)
    awaits_word = takes_word and argv[:1] != [] and argv[0].startswith("-")
    result = []
    for word, following in zip(argv, [*argv[1:], "--"], strict=False):
        result.append(word)
        if word in switches and (following.startswith("--")
                                 or (awaits_word and following.lower() not in ("true", "false", "yes", "no"))):
            result.append("true")
    return result


def _config_text(path: str, known: set[str]) -> str:
    """Return the content of a configuration file, with today's names of settings, as YAML."""
    paths.check("--config", path, "FILE")
    content = read_yaml(Path(path), option="--config")
    if not isinstance(content, dict):
        raise UsageError(f"--config {path}: holds no settings; write a line `setting: value` for each")
    if "config" in content:
        raise UsageError(f"--config {path}: it names another file, {content['config']!r}; write its settings out")
    for name in content:
        if name != (new := current_name(str(name), known)):
            _log_renamed(f"{path}: {name}", new)
    return yaml.safe_dump(current_names(content, known), sort_keys=False)


@functools.cache
def _log_renamed(old: str, new: str) -> None:
    """Log the new name of a setting, once and on rank 0."""
    if launchers.is_rank_zero():
        log.warning("%s is called %s now; the old name works in this release only", old, new)


def _require_torch() -> None:
    """Raise UsageError where torch is missing or too old, without importing it, which may fail in any way then."""
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        version = "none"
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if not numbers or tuple(map(int, numbers.groups())) < OLDEST_TORCH:
        raise UsageError(f"torch {'.'.join(map(str, OLDEST_TORCH))} or newer is needed, found {version}; "
                         "install the one in requirements.txt (`make .venv`)")


def _without_its_screen(defaults: dict[str, Any], argv: list[str]) -> dict[str, Any]:
    """Return a preset's settings, without those of its own screen where the command line names another screen."""
    if not given(argv) & {*config.SCREENS}:
        return defaults
    return {name: value for name, value in defaults.items() if name not in (*config.SCREENS, "channels", "columns")}


def _drop_other_screens(values: dict[str, Any], argv: list[str]) -> None:
    """Remove the screen of the configuration file, and what is told of it, where the command line names another screen."""
    named_here = given(argv)
    named = {name for name in config.SCREENS if values[name] is not None}
    if len(named) > 1 and len(named & named_here) == 1:
        for name in (*config.SCREENS, "image_root", "follow_links", "channels", "columns", "leave_out",
                     "concentration_unit"):
            values[name] = values[name] if name in named_here else None
        values["available"] = values["available"] and "available" in named_here


def _leading_preset(argv: list[str]) -> str | None:
    """Return the preset's name, which comes first; None where only help is asked for. Raises UsageError."""
    if argv and argv[0] in PRESETS:
        return argv[0]
    if {"-h", "--help", help_page.ALL} & {*argv}:
        return None
    got = argv[0] if argv else "nothing"
    raise UsageError(f"the first argument must be a preset ({', '.join(PRESETS)}), got {got}"
                     + (did_you_mean(got, list(PRESETS)) if argv and not got.startswith("-") else ""))
