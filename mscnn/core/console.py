"""Write to the console whatever has become of it: closed, full, of another encoding, or in a process without resources."""

import io
import os
import sys
from contextlib import suppress
from typing import Any

SPEECHLESS = "its message cannot be written"


def open_streams() -> None:
    """Replace standard streams that were closed before the start; let the others escape what their encoding lacks."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            try:
                setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 it stays open
            except OSError:
                setattr(sys, name, io.StringIO())
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def text_of(problem: BaseException) -> str:
    """Return the message of an error; of one that cannot even be formatted, its kind."""
    try:
        return str(problem)
    except Exception:  # out of memory, or a message of a million levels
        return f"{type(problem).__name__}: {SPEECHLESS}"


def say(text: str) -> None:
    """Write lines to standard error, or as much as is possible; raises nothing."""
    try:
        print(text, file=sys.stderr, flush=True)
    except Exception:  # closed, full, or no memory for a copy of the text
        with suppress(Exception):
            os.write(2, b"mscnn: error: " + SPEECHLESS.encode() + b"\n")


def discard(stream: Any) -> None:
    """Send what a stream still holds, and all that follows, nowhere: it cannot be written, and an exit would try to."""
    with suppress(Exception):  # no descriptor is left, or the stream has none
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def drop_unwritable_output() -> None:
    """Discard the output of streams that cannot be written, as to a closed terminal: an exit would fail at it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # of a stream that a library has closed
            discard(stream)
