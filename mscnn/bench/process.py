"""Start a process that is measured, and ask it for steps: a line in asks for a step, a line out is JSON.

Exercised by `mscnn bench step` and `scaling`.
"""

import json
import os
import subprocess
import tempfile
from contextlib import suppress
from typing import Any, TextIO

from mscnn.core.errors import UsageError

EXIT_SECONDS = 30  # until a process that should exit is terminated, then killed


class Process:
    """A process that answers lines, and exits when its standard input is closed.

    name: names the process in errors.
    """

    def __init__(self, name: str, command: list[str]):
        self._name = name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed by __exit__
        self._process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=self._errors)

    def answer(self) -> dict[str, Any]:
        """Wait for a line. Raises UsageError with the reason where the process has died."""
        if line := self._process.stdout.readline():
            return json.loads(line)
        code = self._process.wait()
        self._errors.seek(0)
        reason = failure_reason(self._errors.read().decode(errors="replace")) or "without a message"
        outcome = (f"ended with code {code}: {reason}" if code >= 0
                   else f"was killed by signal {-code}; a smaller step may fit")
        raise UsageError(f"{self._name} {outcome}")

    def ask(self, request: str = "") -> dict[str, Any]:
        """Write a line to the process and wait for its answer."""
        with suppress(BrokenPipeError):  # it has died: answer() raises the reason
            print(request, file=self._process.stdin, flush=True)
        return self.answer()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, problem: type | None, *_: object) -> None:
        with suppress(BrokenPipeError):  # a line that the dead process did not read
            self._process.stdin.close()
        if problem:
            self._process.terminate()   # torchrun forwards the signal to the ranks
        for end in (self._process.terminate, self._process.kill):
            try:
                self._process.wait(EXIT_SECONDS)
            except subprocess.TimeoutExpired:
                end()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()


def failure_reason(errors: str) -> str:
    """Return why a job failed, from its standard error.

    That is the text after "error:", else the first sentence in a launcher's box of dashes, else the last line.
    """
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    for mark in ("error: ", "Error: "):
        if line := next((line for line in lines if mark in line), None):
            return line.partition(mark)[2]
    text = [line for line in lines if line.strip("-=")]
    if not text:
        return ""
    return text[-1] if lines[-1] == text[-1] else " ".join(text).partition(". ")[0]


def reserve_stdout() -> TextIO:
    """Return a file that writes to the standard output, and send all other output of this process to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers
