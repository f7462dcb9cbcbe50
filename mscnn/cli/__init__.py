"""Commands: each module of this folder but PARTS is one, and so is each folder of commands within it.

A command is a file with a docstring, whose first line is its summary (one sentence); a record of settings;
`COMMAND = parse.Command(NAME, __doc__, Record)`; and `main(argv)`, which calls `COMMAND.read(argv)`.  features.py is an
example.  `core.settings.setting` makes the record's fields, with their help.  What imports torch is imported within `main`.
"""

import ast
import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable
from pathlib import Path

import mscnn
from mscnn.core.errors import UsageError
from mscnn.core.logs import open_logs
from mscnn.distributed import launchers

PROGRAM = "mscnn"
PARTS = ("parse", "help_page", "evaluate_first")  # modules that commands share


def find_commands(package: str) -> dict[str, str]:
    """Return {command: dotted name of its module} for the modules of a package, in alphabetical order."""
    folder = importlib.import_module(package).__path__
    return {module.name.replace("_", "-"): f"{package}.{module.name}" for module in pkgutil.iter_modules(folder)
            if module.name not in PARTS}


def summary(module: str) -> str:
    """Return the first line of a module's docstring, which is read without importing the module."""
    source = Path(importlib.util.find_spec(module).origin).read_text()
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def run_command(program: str, package: str, argv: list[str]) -> None:
    """Run the command that comes first in argv; --help lists all of them. Raises UsageError for an unknown command.

    program: how the user starts it, as "mscnn bench".
    """
    commands = find_commands(package)
    if argv in (["--help"], ["-h"]):
        print(f"usage: {program} COMMAND ...\n\nCommands; each explains itself with --help:\n")
        print("\n".join(f"  {name:15} {summary(module)}" for name, module in commands.items()))
        return
    if argv == ["--version"]:
        print(f"{PROGRAM} {mscnn.__version__}")
        return
    if not argv or argv[0] not in commands:
        fault = f"there is no command {argv[0]}{did_you_mean(argv[0], commands)}" if argv else "name a command; see --help"
        raise UsageError(f"{fault} (commands: {', '.join(commands)})")
    open_logs(0 if launchers.is_rank_zero() else 1, None)
    importlib.import_module(commands[argv[0]]).main(argv[1:])


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of a refusal: the known word nearest to one that is not known, dashes in front aside."""
    plain = {one.lstrip("-"): one for one in known}
    nearest = difflib.get_close_matches(word.lstrip("-"), plain, n=1)
    return f"; did you mean {plain[nearest[0]]}?" if nearest else "; see --help"
