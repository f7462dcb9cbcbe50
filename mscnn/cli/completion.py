"""Print a script that completes commands, settings and their values in a shell.

bash:  eval "$(mscnn completion bash)"
zsh:   mscnn completion zsh >"${fpath[1]}/_mscnn"
fish:  mscnn completion fish >~/.config/fish/completions/mscnn.fish
"""

import argparse
import importlib
from dataclasses import Field, dataclass
from typing import Any

from mscnn import cli
from mscnn.cli import help_page, parse
from mscnn.core.errors import UsageError
from mscnn.core.presets import PRESETS
from mscnn.core.settings import REQUIRED, Settings, option, require, setting

SHELLS = ("bash", "zsh", "fish", "tcsh")
FILES, FOLDERS = ("FILE", "CSV", "PATH"), ("DIR",)  # what values name, by their metavar


@dataclass(frozen=True, kw_only=True)
class CompletionSettings(Settings):
    """Settings of `mscnn completion`"""

    shell: str = setting(REQUIRED, "the shell", positional=True, metavar="{" + ",".join(SHELLS) + "}")

    def __post_init__(self):
        super().__post_init__()
        require(self.shell in SHELLS, f"shell must be one of {', '.join(SHELLS)}", self.shell)


COMMAND = parse.Command("completion", __doc__, CompletionSettings)


def main(argv: list[str]) -> None:
    """Print the script. Raises UsageError where shtab is not installed."""
    settings = COMMAND.read(argv)
    try:
        import shtab  # an optional dependency
    except ImportError:
        raise UsageError("completion needs the package shtab, which is not installed; pip install shtab") from None
    print(shtab.complete(_parser(), settings.shell))


def _parser() -> argparse.ArgumentParser:
    """Return a parser of all commands and settings, for shtab alone: what is typed is read by parse."""
    parser = argparse.ArgumentParser(prog=cli.PROGRAM)
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    _add_commands(parser, cli.__name__)
    return parser


def _add_commands(parser: argparse.ArgumentParser, package: str) -> None:
    """Add the commands of a package, and the commands within them."""
    parsers = parser.add_subparsers()
    for name, path in cli.find_commands(package).items():
        command = parsers.add_parser(name, help=cli.summary(path))
        module = importlib.import_module(path)
        if hasattr(module, "__path__"):
            _add_commands(command, path)
            continue
        if isinstance(module.COMMAND, parse.TrainingCommand):
            command.add_argument("preset", choices=list(PRESETS))
            _complete(command.add_argument("--config", help="YAML file of settings"), "FILE")
        for _, fields in module.COMMAND.groups():
            for field in fields:
                _add_setting(command, field)


def _add_setting(parser: argparse.ArgumentParser, field: Field) -> None:
    name = field.name if field.metadata["positional"] else f"--{option(field.name)}"
    metavar = help_page.metavar(field)
    shown: dict[str, Any] = {"help": help_page.first_sentence(field).replace("%", "%%")}
    if metavar.startswith("{"):
        shown["choices"] = metavar.strip("{}").split(",")
    if field.metadata["positional"]:
        shown["nargs"] = "+"
    _complete(parser.add_argument(name, **shown), metavar)


def _complete(action: argparse.Action, metavar: str) -> None:
    """Have shtab complete the names of files or folders where a value is one."""
    import shtab

    if metavar in (*FILES, *FOLDERS):
        action.complete = shtab.DIRECTORY if metavar in FOLDERS else shtab.FILE
