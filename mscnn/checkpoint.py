"""A trained network on disk: everything needed to go on or to evaluate, opened without running code from it.

Exercised by `pytest tests/test_checkpoint.py`.
"""

from pathlib import Path
from typing import Any

import torch

from mscnn.errors import DataError, UsageError
from mscnn.files import put

FORMAT = 1
LAST = "last.pt"
SAFE_TORCH = "2.10"  # before it, a file can get round weights_only=True
REQUIRED = ("format", "step", "config", "classes", "channels", "normalisation", "image_size", "split",
            "network", "optimiser")


def save(path: Path, content: dict[str, Any]) -> None:
    """Write aside, flush to disk, rename: a reader sees the old file or the new one, never a part.

    content: the keys of REQUIRED but format; builtins and tensors only.
    """
    aside = path.with_name(path.name + ".partial")
    assert set(content) == set(REQUIRED) - {"format"}, set(content) ^ set(REQUIRED)
    with aside.open("wb") as file:
        torch.save({"format": FORMAT, **content}, file)
    put(aside, path)


def find(run_or_file: Path) -> Path:
    """A checkpoint file, or the last one of a run directory. Raises DataError."""
    path = run_or_file / "checkpoints" / LAST if run_or_file.is_dir() else run_or_file
    if not path.is_file():
        raise DataError(f"{run_or_file}: no checkpoint there ({path} is missing); name a run directory or a .pt file")
    return path


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint; pickled code in it is refused, never run. Raises DataError naming what is wrong.

    Raises UsageError where this torch could be made to run such code: no file is read there.
    """
    if torch.__version__ < SAFE_TORCH:
        raise UsageError(f"{path} is not read: torch {torch.__version__} may run code hidden in a checkpoint; use "
                         f"torch {SAFE_TORCH} or newer, as in the main environment (`make .venv`)")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # damage shows as many kinds of error; all mean that the file cannot be used
        reason = str(problem).strip().splitlines() or [type(problem).__name__]
        raise DataError(f"{path}: not a readable checkpoint ({reason[0]}); train again or use another one") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{path}: checkpoint format {found!r}, this version reads {FORMAT}; use the version that wrote it")
    if missing := [key for key in REQUIRED if key not in content]:
        raise DataError(f"{path}: lacks {', '.join(missing)}; it was not written by this program")
    return content
