"""Measure steps, loader, collectives and scaling: what the numbers of the documentation rest on.

`mscnn bench COMMAND`, or `mscnn bench COMMAND`.  Each module of this folder is a command.
"""

from pathlib import Path
from typing import Any

from mscnn import cli
from mscnn.core import files, machine, paths
from mscnn.core.errors import UsageError


def main(argv: list[str]) -> None:
    """Run the measurement that argv names first."""
    cli.run_command(f"{cli.PROGRAM} bench", __name__, argv)


def print_and_write(table: str, json: str | None, results: dict[str, Any]) -> None:
    """Print the table, and write the results with a description of this machine where a file is named."""
    print(table)
    if json and Path(json).exists() and not paths.has_keys(Path(json), "host", "packages"):
        raise UsageError(f"--json {json} is no result of this command; name another file, or remove it")
    if json:
        files.write_json(Path(json), machine.environment(**results))
