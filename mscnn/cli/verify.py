"""Read all packed fields and compare them with their CRC-32s."""

from dataclasses import dataclass
from pathlib import Path

from mscnn.cli import parse
from mscnn.core import errors
from mscnn.core.logs import log, progress
from mscnn.core.settings import REQUIRED, Settings, setting


@dataclass(frozen=True, kw_only=True)
class VerifySettings(Settings):
    """Settings of `mscnn verify`"""

    packed: str = setting(REQUIRED, "folder that `mscnn pack` wrote", positional=True, metavar="DIR")


COMMAND = parse.Command("verify", __doc__, VerifySettings)


def main(argv: list[str]) -> None:
    """Compare packed fields with their CRC-32s. Raises DataError that lists those that differ."""
    settings = COMMAND.read(argv)

    from mscnn.data.pixels import packed  # here, so that --help comes at once

    folder = Path(settings.packed)
    table = packed.read_packed(folder)
    with progress(len(table), "verifying", unit="field") as shown:
        wrong = packed.verify(table, shown.advance)
    if wrong:
        raise errors.DataError(f"{folder}: {len(wrong)} things are wrong", wrong)
    log.info("%s: all %d fields are as they were written", folder, len(table))
