"""Keep the measured times of the branches in the user's cache, a JSON file for each key: what they depend on.

A file that does not fit its key is measured again: damaged, of another machine, or one that others can write.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch

from mscnn.core import machine
from mscnn.core.own_cache import own_folder, read_own, write_own
from mscnn.core.record_files import parse
from mscnn.core.records import Range, Record
from mscnn.model import kernel
from mscnn.model.acceleration import Acceleration
from mscnn.model.measured_ways import Times

FORMAT = 1
LARGEST = 2**16  # bytes of a file, which takes 2 KB
LONGEST = 100    # letters of a reason: a file decides what it quotes


@dataclass(frozen=True)
class KeptTimes(Record):
    """The content of a file."""

    format: Literal[1]
    key: dict[str, Any]
    milliseconds: list[dict[str, Annotated[float, Range(0)] | None]]  # of each branch: measured_ways.Times


def key(candidates: Sequence[Sequence[str]], channels: int, height: int, width: int, acceleration: Acceleration, *,
        keeps_memory: bool) -> dict[str, Any]:
    """Return what the times depend on: CPU, code, threads, the field's shape, precision, the ways of each branch.

    keeps_memory: malloc keeps what is freed (core/memory.py).
    """
    return {"cpu": machine.cpu_model(), "flags": _digest(" ".join(sorted(machine.feature_flags())).encode()),
            "vectors": torch.backends.cpu.get_cpu_capability(), "torch": str(torch.__version__), "code": code_digest(),
            "threads": torch.get_num_threads(), "channels": channels, "size": [height, width],
            "precision": acceleration.precision, "keeps_memory": keeps_memory,
            "ways": [list(candidate_ways) for candidate_ways in candidates]}


def obtain(wanted: dict[str, Any], measure: Callable[[], list[Times]]) -> tuple[list[Times], str]:
    """Return the times of a key, from the cache or measured and kept there; and which of the two, for the log."""
    folder, problem = own_folder(kernel.CACHE)
    if folder is None:
        return measure(), f"measured for this start alone: {problem}"
    path = folder / f"ways-{_digest(json.dumps(wanted, sort_keys=True).encode())}.json"
    try:
        return _kept(path, wanted), f"measured before: {path}"
    except FileNotFoundError:
        how = "measured"
    except (OSError, ValueError, RecursionError) as reason:
        text = " ".join(str(getattr(reason, "strerror", None) or reason or "it is nested too deeply").split())
        how = f"measured again, as the file there was no good ({text[:LONGEST]})"
    times = measure()
    try:
        write_own(path, (json.dumps(KeptTimes(FORMAT, wanted, times).to_json(), indent=1) + "\n").encode())
    except OSError as reason:
        return times, f"measured for this start alone: {path} cannot be written ({reason.strerror})"
    return times, f"{how}: {path}"


def code_digest() -> str:
    """Return a digest of this folder's code: the kernel, its flags, the ways and how they are timed."""
    code = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".py", ".cpp", ".h"):
            code.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return code.hexdigest()[:16]


def _kept(path: Path, wanted: dict[str, Any]) -> list[Times]:
    """Return the times of a file. Raises OSError where it is not its user's own, ValueError where it does not fit."""
    kept = KeptTimes.from_json(parse(read_own(path, largest=LARGEST).decode()))
    if kept.key != wanted:
        differing = [name for name in wanted if kept.key.get(name) != wanted[name]] or [*kept.key.keys() - wanted.keys()]
        raise ValueError(f"it has another {differing[0]}")
    if [list(of_branch) for of_branch in kept.milliseconds] != wanted["ways"]:
        raise ValueError("it has times of other ways")
    if not all(any(of_branch.values()) for of_branch in kept.milliseconds):
        raise ValueError("it lacks the times of a branch")
    return list(kept.milliseconds)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
