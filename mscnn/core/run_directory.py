"""The run directory, which describes itself: config.yaml, command.txt, environment.json, and what is trained there."""

import hashlib
import json
import os
import re
import shlex
import socket
import sys
import time
from pathlib import Path
from typing import IO, Any

from mscnn.core.errors import PROBLEMS, UsageError
from mscnn.core.files import lock_file, read_yaml, write_json

STATUS, LOCK = "RUN_STATUS.json", "lock"
FRUITLESS = 3  # restarts in a row that did not get further than the one before; then a run is not started again
SUMMARY = "summary.json"  # written last: a training without it has not come to its end
_held: list[IO[str]] = []


def require_unused(asked: str | None, resume: str = "never") -> None:
    """Raise UsageError where the run directory that was asked for holds something; with resume "auto" only if that is no
    run, or one that has been started again and again and got nowhere.
    """
    path = Path(asked) if asked else None
    if path and resume == "auto" and (path / "config.yaml").exists():
        before = read_status(path)
        got_further = (path / SUMMARY).exists() or _last_step(path) > before.get("begun_at", -1)
        if (fruitless := before.get("fruitless_restarts", 0)) >= FRUITLESS and not got_further:
            raise UsageError(f"run directory {path} was started {fruitless} times in a row without getting further; mend "
                             f"the cause (log/ there), remove {path / STATUS}, and start it again")
        return
    if path and path.exists() and (not path.is_dir() or any(child.name != PROBLEMS for child in path.iterdir())):
        raise UsageError(f"run directory {path} exists and is not empty; name a new one with --run-dir, or remove it")


def create(asked: str | None, preset: str, settings: str, environment: dict[str, Any]) -> Path:
    """Make the folder asked for, or the next free runs/PRESET-001, and write what is known before training.

    settings: the resolved configuration as YAML.  Returns the folder.  One rank calls this; it holds the folder until it
    ends.  Raises UsageError where that cannot be, or another process holds it.
    """
    try:
        run_dir = _next_free_dir(preset) if asked is None else Path(asked)
        run_dir.mkdir(parents=True, exist_ok=True)
        _lock(run_dir)
        (run_dir / "config.yaml").write_text(settings)  # first: by it a run is known as one that can go on
        (run_dir / "checkpoints").mkdir(exist_ok=True)
        with (run_dir / "command.txt").open("a") as commands:  # a line for each time it was started
            commands.write(shlex.join([Path(sys.executable).name, *sys.argv]) + "\n")
        write_json(run_dir / "environment.json", environment)
    except OSError as problem:
        raise UsageError(f"the run directory cannot be written ({problem}); name another one with --run-dir") from None
    return run_dir


def read_status(run_dir: Path) -> dict[str, Any]:
    """What RUN_STATUS.json says; nothing where it is not there, or was written by hand."""
    try:
        found = json.loads((run_dir / STATUS).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def archive_stale_scores(run_dir: Path, step: int) -> None:
    """Scores of a run that goes on are those of this step, and no longer the run's: they get a name that says so."""
    folder, number = run_dir / "evaluation", 0
    while folder.exists():
        number += 1
        named = run_dir / (f"evaluation-of-step-{step}" + (f"-{number}" if number > 1 else ""))
        if not named.exists():
            folder.rename(named)


def _last_step(run_dir: Path) -> int:
    """Of the newest checkpoint, by its name; -1 where there is none."""
    names = (re.fullmatch(r"step-(\d+)\.safetensors", path.name) for path in (run_dir / "checkpoints").glob("step-*"))
    return max((int(name[1]) for name in names if name), default=-1)


def update_status(run_dir: Path, **facts: Any) -> None:
    """Add to what RUN_STATUS.json says."""
    write_json(run_dir / STATUS, read_status(run_dir) | facts)


def initial_status(run_dir: Path, step: int) -> dict[str, Any]:
    """The status of a run that begins, or goes on, at this step; counts the restarts in a row that got no further."""
    before = read_status(run_dir)
    fruitless = before.get("fruitless_restarts", 0) + 1 if before and step <= before.get("begun_at", -1) else 0
    return {"status": "running", "begun_at": step, "fruitless_restarts": fruitless, "started": time.strftime("%FT%T%z"),
            "host": socket.gethostname(), "pid": os.getpid()}


def _lock(run_dir: Path) -> None:
    """Lock the folder for as long as this process lives, where its file system can."""
    try:
        _held.append(lock_file(run_dir / LOCK))
    except BlockingIOError:
        raise UsageError(f"{run_dir}: another process trains there; wait for it, or end it") from None


def _next_free_dir(preset: str) -> Path:
    """Make runs/PRESET-NNN with the next number; another run that starts at the same time gets another one."""
    while True:
        numbers = [int(found[1]) for path in Path("runs").glob(f"{preset}-*")
                   if (found := re.fullmatch(rf"{preset}-(\d+)", path.name))]
        run_dir = Path("runs") / f"{preset}-{max(numbers, default=0) + 1:03}"
        try:
            run_dir.mkdir(parents=True)
            return run_dir
        except FileExistsError:
            continue


def read_settings(run_dir: Path) -> dict[str, Any]:
    """The resolved settings of a run, by name. Raises UsageError where there are none, or no such as train.py writes."""
    path, remedy = run_dir / "config.yaml", "name a run directory of train.py, or copy the file again from where it ran"
    if not path.exists():
        raise UsageError(f"{run_dir} holds no settings (no {path.name}); name a run directory of train.py")
    found = read_yaml(path, remedy=remedy)
    if not isinstance(found, dict) or "preset" not in found:
        raise UsageError(f"{path}: holds no settings of a run; {remedy}")
    return found


def digest(text: str) -> str:
    """A short name for a text, the same only for the same text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
