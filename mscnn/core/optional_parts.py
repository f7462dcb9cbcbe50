"""Parts of a command that its result does not need, such as pictures: one that fails is reported, and ends nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

from mscnn.core.errors import DataError, printable
from mscnn.core.logs import log

LONGEST = 300  # letters of a reason


class OptionalParts:
    """Which parts failed, and why."""

    def __init__(self, kept: str):
        """Begin. kept: what is whole in any case, for the error."""
        self.kept = kept
        self.failures: list[str] = []  # a line per part

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Note whatever error ends the block, and go on after it."""
        try:
            yield
        except Exception as problem:  # of a library, the disk or memory: none of them is worth the result
            kind = "" if isinstance(problem, DataError) else f"{type(problem).__name__}: "
            self.failures.append(f"{name} ({kind}{_first_line(problem)})")

    def log(self) -> None:
        """Log an error naming the parts that failed, where any did, in the midst of a command."""
        if self.failures:
            log.error("NOT WRITTEN: %s; %s", "; ".join(self.failures), self.kept)

    def finish(self) -> None:
        """Raise DataError naming the parts that failed, where any did: one line, and exit code 3."""
        if self.failures:
            raise DataError(f"not written: {'; '.join(self.failures)}; {self.kept}")


def _first_line(problem: Exception) -> str:
    return printable((str(problem).splitlines() or ["no reason"])[0][:LONGEST])
