"""Describe the machine and its software: CPU, versions, and the environment.json of a run.  Imports no torch."""

import hashlib
import importlib.metadata
import os
import platform
import socket
import time
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "numpy", "pillow", "tifffile", "pandas", "scikit-learn")


def environment(**used: Any) -> dict[str, Any]:
    """Return the content of environment.json: machine, software, and what of each choice was asked for and used."""
    return {"started": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "host": socket.gethostname(), "cpu": cpu_model(),
            "cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version(),
            "packages": {name: _version(name) for name in PACKAGES}, **used}


def versions() -> dict[str, str]:
    """Return what must be equal on all ranks: versions of Python, torch and numpy, and a digest of this program."""
    code = hashlib.sha256()
    for path in sorted(Path(__file__).parent.parent.rglob("*")):
        if path.suffix in (".py", ".cpp"):
            code.update(path.read_bytes())
    return {"python": platform.python_version(), "torch": _version("torch"), "numpy": _version("numpy"),
            "program": code.hexdigest()[:16]}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def cpu_model() -> str:
    """Return the name of the CPU model."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def feature_flags() -> frozenset[str]:
    """Return the CPU's feature flags in the kernel's names (avx512f, avx512_bf16, amx_bf16, ...); empty: unknown."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), ()))
