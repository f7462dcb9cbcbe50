"""The run directory, which describes itself: config.yaml, command.txt, environment.json, and what is trained there.

Exercised by `pytest tests/test_rundir.py`.
"""

import importlib.metadata
import json
import os
import platform
import shlex
import socket
import sys
import time
from pathlib import Path
from typing import Any

from mscnn.errors import PROBLEMS, UsageError

PACKAGES = ("torch", "torchvision", "numpy", "pillow", "tifffile", "pandas", "scikit-learn")


def choose(asked: str | None, preset: str) -> Path:
    """The folder asked for, which must be new or empty, or the next free runs/PRESET-NNN."""
    if asked is None:
        taken = [int(path.name.rpartition("-")[2]) for path in Path("runs").glob(f"{preset}-[0-9][0-9][0-9]")]
        return Path("runs") / f"{preset}-{max(taken, default=0) + 1:03}"
    path = Path(asked)
    if path.exists() and (not path.is_dir() or any(child.name != PROBLEMS for child in path.iterdir())):
        raise UsageError(f"run directory {path} exists and is not empty; name a new one with --run-dir, or remove it")
    return path


def create(run_dir: Path, settings: str, environment: dict[str, Any]) -> None:
    """Make the folder and write what is known before training. settings: the resolved configuration as YAML."""
    (run_dir / "checkpoints").mkdir(parents=True, exist_ok=True)
    (run_dir / "config.yaml").write_text(settings)
    (run_dir / "command.txt").write_text(shlex.join([Path(sys.executable).name, *sys.argv]) + "\n")
    write_json(run_dir / "environment.json", environment)


def environment(**used: Any) -> dict[str, Any]:
    """This machine and software, and what of each choice was asked for and used."""
    return {"started": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "host": socket.gethostname(), "cpu": _cpu_model(),
            "cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version(),
            "packages": {name: _version(name) for name in PACKAGES}, **used}


def write_json(path: Path, content: Any) -> None:
    """Indented, so that people can read it."""
    path.write_text(json.dumps(content, indent=1) + "\n")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
