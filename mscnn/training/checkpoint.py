"""Checkpoints on disk: whole, verified, opened without running code from them.

A run directory's checkpoints/ holds step-NNNNNNNN.pt, the newest few, and the links last.pt, best.pt (least training loss
over an epoch) and good.pt (the newest that training has gone on from).  What a link names is kept.
"""

import errno
import hashlib
import math
import os
import pickletools
import re
import shutil
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mscnn.core.errors import DataError, UsageError
from mscnn.core.files import PARTIAL, write_atomically
from mscnn.core.logs import log
from mscnn.training import checkpoint_schema

FORMAT = 2
FOLDER, LAST, BEST, GOOD = "checkpoints", "last.pt", "best.pt", "good.pt"
SAFE_TORCH = "2.10"  # before it, a file can get round weights_only=True
REQUIRED = ("format", "sha256", *checkpoint_schema.SCHEMA)
SPARE = 2**20     # bytes that must be left beside a checkpoint
# Bytes of the largest file that is opened.  Weights, momentum and averages take 0.48 GiB for fields of 1024x1280, and 6 GiB
# for 4096x4096, larger than any camera's; training them takes more memory than reading them.
PROOF = 2**33
CALLS = r"torch\._utils _rebuild_tensor_v2|torch \w+Storage|collections OrderedDict"  # all that pickle needs for a content
SHARED = 10       # times the file's bytes that its content may come to, where parts of it are named again; honest ones: 2
DEPTH = 16        # of lists in lists; honest ones: 7


def save(folder: Path, content: dict[str, Any], *, keep: int, is_best: bool = False) -> Path:
    """Write aside, flush to disk, rename, link, and remove what is no longer kept: a reader sees whole files only.

    content: the keys of REQUIRED but format and sha256; builtins and tensors only.  keep: how many of the newest stay.
    Raises OSError where it cannot be written; what was there before is there still.
    """
    assert set(content) == set(REQUIRED) - {"format", "sha256"}, set(content) ^ set(REQUIRED)
    remove_partial(folder)
    content = {"format": FORMAT, "sha256": digest(content), **content}
    needed = sum(tensor.nbytes for tensor in _tensors(content)) + SPARE
    if (free := shutil.disk_usage(folder).free) < needed:
        raise OSError(errno.ENOSPC, f"{needed / 2**20:.0f} MiB are needed and {free / 2**20:.0f} free", str(folder))
    path = folder / f"step-{content['step']:08d}.pt"
    try:
        with write_atomically(path) as partial, partial.open("wb") as file:
            torch.save(content, file)
    except RuntimeError as problem:  # what torch makes of a write that fails half-way
        raise OSError(errno.EIO, str(problem.__context__ or problem).splitlines()[0], str(path)) from None
    before = _linked(folder, LAST)
    if before and before != path:
        _link(folder, GOOD, before)
    if is_best:
        _link(folder, BEST, path)
    _link(folder, LAST, path)
    linked = {_linked(folder, name) for name in (LAST, BEST, GOOD)}
    for old in list_checkpoints(folder)[keep:]:
        if old not in linked:
            old.unlink()
    return path


def set_latest(folder: Path, path: Path, *, is_best: bool) -> None:
    """Make this the last one: newer files, which are damaged, are set aside as *.damaged and count no more. A process that
    was killed may have written it, and not its links.
    """
    for newer in list_checkpoints(folder):
        if newer > path:
            os.replace(newer, newer.with_suffix(".damaged"))
    if is_best:
        _link(folder, BEST, path)
    _link(folder, LAST, path)


def caveats(path: Path, content: dict[str, Any]) -> list[str]:
    """What a reader of scores must know of a checkpoint: it is not the end of its training, or not the newest."""
    found = []
    if content["step"] < content["steps"]:
        found.append(f"training had not come to its end: step {content['step']} of {content['steps']}"
                     + (", its last layer as trained" if content["config"]["head"] == "lda" else ""))
    elif content["config"]["head"] == "lda" and not content["training"].get("is_read_out", True):
        found.append("training was stopped before its read-out: its last layer is as trained")
    newer = [own.name for own in list_checkpoints(path.parent) if own.name > path.resolve().name]
    if path.parent.name == FOLDER and newer:
        found.append(f"{path.resolve().name} was scored, and not {newer[0]}")
    return found


def remove_partial(folder: Path) -> None:
    """Remove what a process that was killed while it wrote has left behind."""
    for stale in folder.glob(f"*{PARTIAL}"):
        stale.unlink(missing_ok=True)


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, the newest first."""
    return sorted((path for path in folder.glob("step-*.pt") if re.fullmatch(r"step-\d+\.pt", path.name)), reverse=True)


def newest(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint of a folder that is whole, with its content; those that are not are named in the log.

    None where there is no file at all.  Raises DataError where there are some and none is whole.
    """
    refused = []
    for path in list_checkpoints(folder):
        try:
            return path, load(path)
        except DataError as problem:
            log.warning("%s; an older one is used", problem)
            refused.append(str(problem))
    if refused:
        raise DataError(f"{folder}: none of its {len(refused)} checkpoints is whole; train again", refused)
    return None


def read(run_or_file: Path) -> tuple[Path, dict[str, Any]]:
    """A checkpoint file, or the newest whole one of a run directory, and its content. Raises DataError."""
    folder = run_or_file / FOLDER
    if run_or_file.is_dir() and (found := newest(folder)):
        return found
    path = folder / LAST if run_or_file.is_dir() else run_or_file
    if not path.is_file():
        raise DataError(f"{run_or_file}: no checkpoint there ({path} is missing); name a run directory or a .pt file")
    return path, load(path)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint and verify its SHA-256 and its form; pickled code in it is refused, never run. Raises DataError
    naming what is wrong; MemoryError, or torch's RuntimeError, where the machine is short of it: that is no damage.

    Raises UsageError where this torch could be made to run such code: no file is read there.
    """
    if torch.__version__ < SAFE_TORCH:
        raise UsageError(f"{path} is not read: torch {torch.__version__} may run code hidden in a checkpoint; use "
                         f"torch {SAFE_TORCH} or newer, as in the main environment (`make .venv`)")
    try:
        _refuse_bombs(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        _refuse_laughs(content, path.stat().st_size)
        wrong = _wrong(content)
    except Exception as problem:  # damage shows as many kinds of error; all mean that the file cannot be used
        if isinstance(problem, MemoryError) or (
                isinstance(problem, RuntimeError) and re.search("(allocate|enough) memory", str(problem))):
            raise
        reason = str(problem).strip().splitlines() or [type(problem).__name__]
        wrong = f"not a readable checkpoint ({reason[0]}); train again or use another one"
    if wrong:
        raise DataError(f"{path}: {wrong}")
    return content


def _wrong(content: Any) -> str | None:
    """Why a content cannot be used, None where it can. Raises any exception where it is not at all like one."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else content
        found = found if type(found) in (int, str) else type(found).__name__
        return f"checkpoint format {found!r}, this version reads {FORMAT}; use the version that wrote it"
    if missing := [key for key in REQUIRED if key not in content]:
        return f"lacks {', '.join(missing)}; it was not written by this program"
    if digest({key: value for key, value in content.items() if key not in ("format", "sha256")}) != content["sha256"]:
        return "not what was written (its SHA-256 differs); use another one"
    if not all(bool(torch.isfinite(tensor).all()) for tensor in _tensors(content) if tensor.is_floating_point()):
        return "holds numbers that are not finite; use another one"
    if strange := next(checkpoint_schema.schema_errors(content), None):
        return f"its {strange} is not as this program writes it; use another one"
    return None


def digest(content: Any) -> str:
    """SHA-256 over all that is in it: keys, types, numbers, shapes and bytes of tensors, in order. Raises TypeError."""
    sha = hashlib.sha256()
    for part in _parts(content):
        sha.update(part)
    return sha.hexdigest()


def _parts(value: Any) -> Iterator[bytes | memoryview]:
    if isinstance(value, dict):
        yield f"{{{len(value)}".encode()
        for key, own in value.items():
            yield from _parts(key)
            yield from _parts(own)
    elif isinstance(value, list | tuple):
        yield f"[{len(value)}".encode()
        for own in value:
            yield from _parts(own)
    elif isinstance(value, Tensor):
        yield f"{value.dtype}{tuple(value.shape)}".encode()
        yield memoryview(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy())
    elif type(value) in (str, int, float, bool, type(None)):
        yield f"{type(value).__name__}{value!r};".encode()
    else:
        raise TypeError(f"a checkpoint holds builtins and tensors, not {type(value).__name__}")


def _tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor once, however often it is named."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        own = waiting.pop()
        if isinstance(own, Tensor):
            if own.numel() and own.data_ptr() not in seen:
                seen.add(own.data_ptr())
                yield own
        elif isinstance(own, dict | list | tuple):
            waiting.extend(own.values() if isinstance(own, dict) else own)


def _refuse_bombs(path: Path) -> None:
    """Raise ValueError for a file that is too large, would be once it is unpacked, or calls what save never does: torch
    lets any file call bytearray(10**12).
    """
    if not path.is_file():
        raise ValueError("no regular file")
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
        if max(size, unpacked) > PROOF or unpacked > size:
            raise ValueError(f"{size} bytes that hold {unpacked}")
        pickles = [name for name in archive.namelist() if name.lower().endswith(".pkl")]
        if len(pickles) != 1:
            raise ValueError(f"{len(pickles)} pickles in it")
        calls = {str(word) for code, word, _ in pickletools.genops(archive.read(pickles[0])) if "GLOBAL" in code.name}
    if foreign := sorted(word for word in calls if not re.fullmatch(CALLS, word)):
        raise ValueError(f"it would call {', '.join(foreign)}")


def _refuse_laughs(content: Any, size: int) -> None:
    """Raise ValueError, or TypeError, for what would take more time or memory than a file of so many bytes may: tensors
    larger than their storage, and lists in lists that are named again and again, or in themselves.
    """
    waiting, cost = [(content, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        if type(value) is Tensor:
            own, needed = (), math.prod(value.shape) * value.element_size()  # nbytes overflows
            if needed > value.untyped_storage().nbytes():
                raise ValueError(f"a tensor of {needed} bytes, of which the file holds {value.untyped_storage().nbytes()}")
        elif type(value) in (dict, OrderedDict, list, tuple):
            if type(value) is OrderedDict:
                vars(value).clear()  # _metadata of state_dict, which nobody needs, or anything else: it is in no digest
            own = [*value, *value.values()] if isinstance(value, dict) else value
            needed = len(own) + sum(len(text) for text in own if type(text) is str)
        else:
            raise TypeError(f"a checkpoint holds builtins and tensors, not {type(value).__name__}")
        cost += needed
        if cost > SHARED * size or depth > DEPTH:
            raise ValueError(f"{size} bytes that stand for {cost} and more, {depth} deep")
        waiting += [(part, depth + 1) for part in own if type(part) not in (str, int, float, bool, type(None))]


def _linked(folder: Path, name: str) -> Path | None:
    """The file that a link names, None where there is none."""
    path = folder / name
    return folder / os.readlink(path) if path.is_symlink() and path.exists() else None


def _link(folder: Path, name: str, to: Path) -> None:
    aside = folder / (name + PARTIAL)
    aside.unlink(missing_ok=True)
    aside.symlink_to(to.name)
    os.replace(aside, folder / name)
