"""Show that two revisions compute the same numbers, to the last bit.   make same BEFORE=REVISION

    python tests/same.py against REVISION                  that revision and the files as they are now
    python tests/same.py record OUT.json [DATA]            all cases, by the checkout in the working directory
    python tests/same.py compare BEFORE.json AFTER.json    name what differs; exit code 1 if anything does

The cases are in same_cases.py.  Their numbers depend on the CPU and the libraries: both revisions run on one machine, and
the repository holds no hashes.  DATA: folder that holds bbbc021_csv; without it the case `score` has fewer items.
"""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from same_cases import CASES

LIMIT = 300  # seconds that a command may take
SHORT = 32   # characters of an item that is kept as it is


def against(revision: str) -> bool:
    """Record a revision, by its own cases where it has some, and the files as they are; whether nothing differs."""
    here, this, all_ran = Path.cwd(), Path(__file__).resolve(), True
    with tempfile.TemporaryDirectory() as folder:
        before, outs = Path(folder, "before"), (Path(folder, "before.json"), Path(folder, "after.json"))
        if subprocess.run(["git", "worktree", "add", "--quiet", "--detach", before, revision]).returncode:
            sys.exit(f"{revision}: git has no worktree of it, see above; name a commit, tag or branch")
        try:
            for name, checkout, out in zip((revision, "the files as they are"), (before, here), outs, strict=True):
                print(f"{name}:", flush=True)
                own = checkout / "tests" / "same.py"
                words = [own if own.exists() else this, "record", out, here.parent / "shared" / "data"]
                code = subprocess.run([sys.executable, *words], cwd=checkout).returncode
                if not out.exists():
                    sys.exit(f"{name}: nothing was recorded (exit code {code}); see above, mend same.py or same_cases.py")
                all_ran &= code == 0
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", before], check=True)
        return compare(*outs) and all_ran


def record(out: Path, data: Path | None = None) -> bool:
    """Run all cases in a temporary folder and write {case: {item: value or SHA-256}}; whether all of them ran."""
    root, out, recorded = Path.cwd(), out.absolute(), {}
    sys.path.insert(0, str(root))
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        if data and (data / "bbbc021_csv").is_dir():
            Path("data").symlink_to(data.absolute())
        for case in CASES:
            started, name = time.monotonic(), case.__name__
            try:
                recorded[name] = {item: short(value) for item, value in case(partial(command, root)).items()}
            except (OSError, RuntimeError) as problem:
                print(f"{name}: FAILED: {problem}")
            print(f"  {name:20} {len(recorded.get(name, ())):4d} items  {time.monotonic() - started:4.0f} s", flush=True)
    out.write_text(json.dumps(recorded, indent=1) + "\n")
    return len(recorded) == len(CASES)


def compare(before: Path, after: Path) -> bool:
    """Print a line for each case and each item that differs; whether none does."""
    old, new = (json.loads(path.read_text()) for path in (before, after))
    differs = {}
    for case in {**old, **new}:
        was, now = old.get(case, {}), new.get(case, {})
        differs[case] = [name for name in {**was, **now} if was.get(name) != now.get(name)]
        verdict = "missing" if case not in old or case not in new else "DIFFERS" if differs[case] else "same"
        print(f"{case:20} {verdict:8} {len(was):4d} items before, {len(now):4d} after")
        for name in differs[case]:
            print(f"    {name}: {was.get(name, 'missing')[:SHORT]}, now {now.get(name, 'missing')[:SHORT]}")
    count = sum(map(len, differs.values()))
    print(f"{count} items differ" if count else "all items are the same")
    return bool(old) and old.keys() == new.keys() and not count


def command(root: Path, *words: Any, ranks: int = 1, ends: int = 0) -> str:
    """Run a program of the checkout at root, or -m and a module, on one thread a rank; what it printed.

    ends: the exit code that is right.  Raises RuntimeError with the last lines for any other.
    """
    words = [str(root / word) if word in ("train.py", "evaluate.py") else str(word) for word in words]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    variables = {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(["timeout", "--kill-after=30", str(LIMIT), sys.executable, *launcher, *words],
                          env=os.environ | variables, capture_output=True, text=True, errors="replace")
    if done.returncode != ends:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-8:])
        raise RuntimeError(f"exit code {done.returncode}, not {ends}: {' '.join(words)}\n{last}")
    return done.stdout


def short(value: Any) -> str:
    """Return a value in its one form, or the SHA-256 of that where it is long."""
    text = canonical(value)
    return text if len(text) <= SHORT else hashlib.sha256(text.encode()).hexdigest()


def canonical(value: Any) -> str:
    """Write a value as text, the same for the same content only: floats exactly, arrays by type, shape and bytes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name!r}: {canonical(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(canonical, value)) + "]"
    if isinstance(value, pd.DataFrame):
        return canonical([[name, str(column.dtype), column.tolist()] for name, column in value.items()])
    if isinstance(value, torch.Tensor | np.ndarray):
        array = np.ascontiguousarray(value)
        return f"{array.dtype}{array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    assert value is None or type(value) in (str, int, float, bool), type(value)
    return repr(value)


if __name__ == "__main__":
    commands = {"against": against, "record": lambda *paths: record(*map(Path, paths)),
                "compare": lambda *paths: compare(*map(Path, paths))}
    if len(sys.argv) < 3 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    sys.exit(not commands[sys.argv[1]](*sys.argv[2:]))
