"""A process that is measured: a line in asks for a step, a line out is JSON.  What `step` and `scaling` start."""

import json
import subprocess
import tempfile
from contextlib import suppress
from typing import Any

from mscnn.core.errors import UsageError

LEAVE_SECONDS = 30  # for it to end by itself


class Process:
    """It ends when its standard input is closed. name: what it is, for the message when it dies."""

    def __init__(self, name: str, command: list[str]):
        self._name = name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed when the process is left
        self._process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=self._errors)

    def answer(self) -> dict[str, Any]:
        """Wait for a line. Raises UsageError with the last words of a process that has died."""
        if line := self._process.stdout.readline():
            return json.loads(line)
        code = self._process.wait()
        self._errors.seek(0)
        said = last_words(self._errors.read().decode(errors="replace")) or "it said nothing"
        how = f"ended with code {code}: {said}" if code >= 0 else f"was killed by signal {-code}; a smaller step may fit"
        raise UsageError(f"{self._name} {how}")

    def ask(self, what: str = "") -> dict[str, Any]:
        """Say a line and wait for the one that answers it."""
        with suppress(BrokenPipeError):  # it has died: answer() says how
            print(what, file=self._process.stdin, flush=True)
        return self.answer()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, problem: type | None, *_: object) -> None:
        with suppress(BrokenPipeError):  # a line that the dead process did not read
            self._process.stdin.close()
        if problem:
            self._process.terminate()   # torchrun passes it on to the ranks
        for end in (self._process.terminate, self._process.kill):
            try:
                self._process.wait(LEAVE_SECONDS)
            except subprocess.TimeoutExpired:
                end()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()


def last_words(errors: str) -> str:
    """Why a job failed, from its standard error: a line that says error, else the first sentence in a launcher's box, else
    the last line.
    """
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    for said in ("error: ", "Error: "):
        if line := next((line for line in lines if said in line), None):
            return line.partition(said)[2]
    words = [line for line in lines if line.strip("-=")]
    if not words:
        return ""
    return words[-1] if lines[-1] == words[-1] else " ".join(words).partition(". ")[0]
