"""The run directory: config.yaml, command.txt, environment.json, RUN_STATUS.json, checkpoints, logs."""

import hashlib
import os
import re
import shlex
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from mscnn.core.errors import PROBLEMS, DataError, UsageError
from mscnn.core.files import LOCK, lock_file, read_yaml, write_json
from mscnn.core.record_files import read_json

STATUS = "RUN_STATUS.json"
FRUITLESS = 3  # restarts in a row without progress, after which a run is not started again
SUMMARY = "summary.json"  # written last: a training without it is not finished
_held: list[IO[str]] = []
_updating = threading.Lock()


def require_unused(asked: str | None, resume: str = "never") -> None:
    """Raise UsageError if the requested run directory is in use.

    resume "never": it must be empty or absent.  resume "auto": it may also hold a run that made progress in its restarts.
    """
    path = Path(asked) if asked else None
    if path and resume == "auto" and (path / "config.yaml").exists():
        before = read_status(path)
        made_progress = (path / SUMMARY).exists() or _last_step(path) > before.get("begun_at", -1)
        if (fruitless := before.get("fruitless_restarts", 0)) >= FRUITLESS and not made_progress:
            raise UsageError(f"run directory {path} was started {fruitless} times in a row without progress; fix the "
                             f"cause (see log/ there), remove {path / STATUS}, and start it again")
        return
    if path and path.exists() and (not path.is_dir() or any(child.name != PROBLEMS for child in path.iterdir())):
        raise UsageError(f"run directory {path} exists and is not empty; name a new one with --run-dir, or remove it")


def create(asked: str | None, preset: str, settings: str, environment: dict[str, Any]) -> Path:
    """Make the requested folder, or the next free runs/PRESET-001, and write what is known before training.

    settings: the resolved configuration as YAML.  Returns the folder.  One rank calls this, and locks the folder until its
    process ends.  Raises UsageError where the folder cannot be written, or another process has locked it.
    """
    try:
        run_dir = _next_free_dir(preset) if asked is None else Path(asked)
        run_dir.mkdir(parents=True, exist_ok=True)
        _lock(run_dir)
        (run_dir / "config.yaml").write_text(settings)  # first: a folder with this file can be resumed
        (run_dir / "checkpoints").mkdir(exist_ok=True)
        with (run_dir / "command.txt").open("a") as commands:  # a line for each start
            commands.write(shlex.join([Path(sys.executable).name, *sys.argv]) + "\n")
        write_json(run_dir / "environment.json", environment)
    except OSError as problem:
        raise UsageError(f"the run directory cannot be written ({problem}); name another one with --run-dir") from None
    return run_dir


def read_status(run_dir: Path) -> dict[str, Any]:
    """Read RUN_STATUS.json; empty where it is missing or damaged."""
    try:
        status = read_json(run_dir / STATUS, dict[str, Any], "")
    except DataError:
        return {}
    return status if all(type(status.get(name, 0)) is int for name in ("begun_at", "fruitless_restarts")) else {}


def archive_stale_scores(run_dir: Path, step: int) -> None:
    """Rename the evaluation of a run that resumes: its scores are those of this step, not of the finished run."""
    folder, number = run_dir / "evaluation", 0
    while folder.exists():
        number += 1
        archive = run_dir / (f"evaluation-of-step-{step}" + (f"-{number}" if number > 1 else ""))
        if not archive.exists():
            folder.rename(archive)


def _last_step(run_dir: Path) -> int:
    """Return the step of the newest checkpoint, by its name; -1: there is none."""
    names = (re.fullmatch(r"step-(\d+)\.safetensors", path.name) for path in (run_dir / "checkpoints").glob("step-*"))
    return max((int(name[1]) for name in names if name), default=-1)


def update_status(run_dir: Path, *, only_from: str | None = None, **facts: Any) -> None:
    """Add these facts to RUN_STATUS.json. only_from: the status that must be there, else nothing is written."""
    with _updating:  # threads of one process
        before = read_status(run_dir)
        if only_from is None or before.get("status") == only_from:
            write_json(run_dir / STATUS, before | facts)


def mark_stopping(run_dir: Path, reason: str) -> None:
    """Set the status of a running training that was asked to stop: its launcher may kill it before it has saved."""
    with suppress(OSError):
        update_status(run_dir, only_from="running", status="stopping", reason=reason)


def initial_status(run_dir: Path, step: int) -> dict[str, Any]:
    """Return the status of a run that starts or resumes at this step; count the restarts in a row without progress."""
    before = read_status(run_dir)
    fruitless = before.get("fruitless_restarts", 0) + 1 if before and step <= before.get("begun_at", -1) else 0
    return {"status": "running", "begun_at": step, "fruitless_restarts": fruitless, "started": time.strftime("%FT%T%z"),
            "host": socket.gethostname(), "pid": os.getpid()}


def _lock(run_dir: Path) -> None:
    """Lock the folder until this process ends, if its file system has locks. Raises UsageError."""
    try:
        _held.append(lock_file(run_dir / LOCK))
    except BlockingIOError:
        raise UsageError(f"{run_dir}: another process is training there; wait until it ends, or end it") from None


def _next_free_dir(preset: str) -> Path:
    """Make runs/PRESET-NNN with the next free number; runs that start at the same time get different numbers."""
    while True:
        numbers = [int(match[1]) for path in Path("runs").glob(f"{preset}-*")
                   if (match := re.fullmatch(rf"{preset}-(\d+)", path.name))]
        run_dir = Path("runs") / f"{preset}-{max(numbers, default=0) + 1:03}"
        try:
            run_dir.mkdir(parents=True)
            return run_dir
        except FileExistsError:
            continue


def read_settings(run_dir: Path) -> dict[str, Any]:
    """Read the resolved settings of a run, by name. Raises UsageError where they are missing or not written by train.py."""
    path, remedy = run_dir / "config.yaml", "name a run directory of train.py, or copy the file again from where it ran"
    if not path.exists():
        raise UsageError(f"{run_dir} holds no settings (no {path.name}); name a run directory of train.py")
    settings = read_yaml(path, remedy=remedy)
    if not isinstance(settings, dict) or "preset" not in settings:
        raise UsageError(f"{path}: holds no settings of a run; {remedy}")
    return settings


def digest(text: str) -> str:
    """Return a short digest of a text (SHA-256, 16 hexadecimal digits)."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
