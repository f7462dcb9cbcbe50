"""Checkpoints on disk: whole, verified, data alone.  A file is safetensors, with all else as JSON in its header.

A run directory's checkpoints/ holds step-NNNNNNNN.safetensors, the newest few, and the links last, best (least mean
training loss of an epoch) and good (the one before the last).  What a link names is kept.

A new entry needs a field in Checkpoint or ResumeRecord, its type in checkpoint_schema.SCHEMA, and lines in TrainState
(to_checkpoint, load); a changed meaning needs a new FORMAT.
"""

import dataclasses
import errno
import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from mscnn.core import config
from mscnn.core.errors import DataError
from mscnn.core.files import PARTIAL, write_atomically
from mscnn.core.logs import log
from mscnn.core.settings import current_names
from mscnn.data.pixels.count_statistics import CountsRecord
from mscnn.data.pixels.scale import ScaleRecord
from mscnn.data.tables.splits import SplitRecord
from mscnn.readout.record import ReadoutRecord
from mscnn.training import checkpoint_schema

FORMAT = 5
MISSING = {"3": ("counts", "readout"), "4": ("readout",)}  # entries that older formats, which are read too, do not have
FOLDER, LAST, BEST, GOOD = "checkpoints", "last.safetensors", "best.safetensors", "good.safetensors"
SPARE = 2**20  # bytes that must stay free beside a checkpoint
# Bytes of the largest file that is opened.  Weights, momentum and averages take 0.48 GiB for fields of 1024x1280, and 6 GiB
# for 4096x4096, larger than any camera's; training them takes more memory than reading them.
LARGEST = 2**33
ZIP = b"PK"    # the first bytes of a checkpoint of mscnn 0.1, a pickle in a zip archive


@dataclass(frozen=True, kw_only=True)
class ResumeRecord:
    """What only a resumed training needs."""

    loss_module: dict[str, Tensor]   # the weights as the optimiser left them, those of the auxiliary head among them
    optimiser: dict[str, Any]        # its state_dict: momentum by parameter, and settings
    ema: dict[str, Any] | None       # moving average of the weights: steps, and a tensor a parameter; None without one
    rng_state: Tensor                # of torch's generator
    best_epoch_mean: float | None    # least mean loss of the epochs after which the run saved; None before the first
    epoch_losses: list[float]        # of the steps of this epoch so far
    recent_losses: list[float]       # by which a spike is recognised
    nonfinite_steps: int             # in a row, up to now
    has_lda_head: bool               # the last layer is the discriminant analysis
    is_best: bool                    # this checkpoint has the least mean loss
    numerics: dict[str, Any]         # what the rounding depends on: ranks, threads, precision, kernel, versions


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """All that evaluation and a resumed training need."""

    step: int                        # optimiser steps taken
    total_steps: int                 # of the whole training
    settings: dict[str, Any]         # of the run by name, paths absolute: Config.flat()
    classes: list[str]               # mechanisms in the order of the network's outputs
    channels: list[str]              # in the order the network sees them
    image_size: list[int]            # height and width in pixels
    scale: ScaleRecord               # from camera counts to the network's input
    split: SplitRecord               # who was trained on, and who was held out
    network: dict[str, Tensor]       # the weights to predict with: the moving average, where one is kept
    resume: ResumeRecord
    counts: CountsRecord | None = None  # sample type and distribution of the training images; None in format 3
    readout: ReadoutRecord | None = None  # of --head chosen: what predicts; None for other heads, and before it is fitted
    sha256: str = ""                 # over all the above, as read from a file; "" before it is written


def save(folder: Path, checkpoint: Checkpoint, *, keep: int, is_best: bool = False) -> Path:
    """Write a checkpoint whole, set the links, and remove what is no longer kept; return its path.

    keep: how many of the newest stay.  Raises OSError where it cannot be written: earlier checkpoints are untouched.
    """
    remove_partial(folder)
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_without_tensors(_content(checkpoint), "", tensors, {}), allow_nan=False)
    needed = sum(tensor.nbytes for tensor in tensors.values()) + len(text) + SPARE
    if (free := shutil.disk_usage(folder).free) < needed:
        raise OSError(errno.ENOSPC, f"{needed / 2**20:.0f} MiB are needed and {free / 2**20:.0f} free", str(folder))
    header = {"format": str(FORMAT), "sha256": digest(text, tensors), "content": text}
    path = folder / f"step-{checkpoint.step:08d}.safetensors"
    try:
        with write_atomically(path) as partial:
            safetensors.torch.save_file(tensors, partial, header)
    except SafetensorError as problem:  # a write that failed half-way
        raise OSError(errno.EIO, str(problem), str(path)) from None
    previous = _linked(folder, LAST)
    if previous and previous != path:
        _link(folder, GOOD, previous)
    if is_best:
        _link(folder, BEST, path)
    _link(folder, LAST, path)
    linked = {_linked(folder, name) for name in (LAST, BEST, GOOD)}
    for old in list_checkpoints(folder)[keep:]:
        if old not in linked:
            old.unlink()
    return path


def set_latest(folder: Path, path: Path, *, is_best: bool) -> None:
    """Make this checkpoint the last one: newer files, which are damaged, are renamed *.damaged and count no more.

    A process that was killed may have written the file and not its links.
    """
    for newer in list_checkpoints(folder):
        if newer > path:
            os.replace(newer, newer.with_suffix(".damaged"))
    if is_best:
        _link(folder, BEST, path)
    _link(folder, LAST, path)


def caveats(path: Path, checkpoint: Checkpoint) -> list[str]:
    """Return what a reader of scores must know: the checkpoint is not the end of its training, or not the newest."""
    notes, wants_lda = [], checkpoint.settings["head"] != "softmax"
    if checkpoint.step < checkpoint.total_steps:
        notes.append(f"training had not come to its end: step {checkpoint.step} of {checkpoint.total_steps}"
                     + (", its last layer as trained" if wants_lda else ""))
    elif wants_lda and not checkpoint.resume.has_lda_head:
        notes.append("training was stopped before the discriminant analysis: its last layer is as trained")
    newer = [other.name for other in list_checkpoints(path.parent) if other.name > path.resolve().name]
    if path.parent.name == FOLDER and newer:
        notes.append(f"{path.resolve().name} was scored, and not {newer[0]}")
    return notes


def remove_partial(folder: Path) -> None:
    """Remove what a process that was killed while it wrote has left behind."""
    for stale in folder.glob(f"*{PARTIAL}"):
        stale.unlink(missing_ok=True)


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, the newest first."""
    return sorted((path for path in folder.glob("step-*.safetensors") if re.fullmatch(r"step-\d+\.safetensors", path.name)),
                  reverse=True)


def newest(folder: Path) -> tuple[Path, Checkpoint] | None:
    """Return the newest valid checkpoint of a folder and its path; the log names those that are damaged.

    None where there is no file at all.  Raises DataError where there are some and none is valid.
    """
    refused = []
    for path in [*list_checkpoints(folder), *sorted(folder.glob("step-*.pt"), reverse=True)]:
        try:
            return path, load(path)
        except DataError as problem:
            log.warning("%s; an older one is used", problem)
            refused.append(str(problem))
    if refused:
        raise DataError(f"{folder}: none of its {len(refused)} checkpoints is valid; train again", refused)
    return None


def read(run_or_file: Path) -> tuple[Path, Checkpoint]:
    """Return a checkpoint file, or the newest valid one of a run directory, and its path. Raises DataError."""
    folder = run_or_file / FOLDER
    if run_or_file.is_dir() and (latest := newest(folder)):
        return latest
    path = folder / LAST if run_or_file.is_dir() else run_or_file
    if not path.is_file():
        raise DataError(f"{run_or_file}: no checkpoint there ({path} is missing); name a run directory or a "
                        ".safetensors file")
    return path, load(path)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint, verify its SHA-256, and check all that is in it. Raises DataError naming what is wrong.

    Raises MemoryError, or torch's RuntimeError, where the machine is short of memory: that is no damage.
    """
    try:
        content = _read(path)
    except Exception as problem:  # damage shows as many kinds of error; all mean that the file cannot be used
        if isinstance(problem, MemoryError) or (
                isinstance(problem, RuntimeError) and re.search("(allocate|enough) memory", str(problem))):
            raise
        text = str(problem).strip().splitlines() or [type(problem).__name__]
        raise DataError(f"{path}: not a readable checkpoint ({text[0]}); train again or use another one") from None
    if isinstance(content, str):
        raise DataError(f"{path}: {content}")
    return content


def digest(text: str, tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 over the JSON text and each tensor's name, type, shape and bytes, by name."""
    sha = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def _read(path: Path) -> Checkpoint | str:
    """Return a checkpoint, or why it cannot be used. Raises any exception where the file is damaged."""
    if not path.is_file():
        raise ValueError("no regular file")
    if (size := path.stat().st_size) > LARGEST:
        raise ValueError(f"{size} bytes, more than any checkpoint has")
    with path.open("rb") as file:
        if file.read(len(ZIP)) == ZIP:
            return "a checkpoint of mscnn 0.1, which this version does not read; use mscnn 0.1 for it, or train again"
    data = path.read_bytes()  # not mapped: an error of the disk under a memory map kills the process without a message
    tensors = safetensors.torch.load(data)
    header = json.loads(data[8:8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {})
    del data
    if header.get("format") not in (str(FORMAT), *MISSING):
        return f"checkpoint format {header.get('format')!r}, this version reads {', '.join(MISSING)} and {FORMAT}; use " \
               "the one that wrote it"
    if (sha256 := digest(header["content"], tensors)) != header["sha256"]:
        return "not what was written (its SHA-256 differs); use another one"
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values() if tensor.is_floating_point()):
        return "holds numbers that are not finite; use another one"
    content = _with_tensors(json.loads(header["content"], parse_constant=_refuse_constant), tensors)
    content |= dict.fromkeys(MISSING.get(header["format"], ()))
    if header["format"] in MISSING and isinstance(content.get("settings"), dict):
        content["settings"] = current_names(content["settings"], config.NAMES)
    if wrong := next(checkpoint_schema.schema_errors(content), None):
        return f"its {wrong} is not as this program writes it; use another one"
    return _from_content(content, sha256)


def _content(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return a checkpoint as nested dicts and lists of builtins and tensors."""
    def shallow(record: Any) -> dict[str, Any]:
        return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}

    def with_arrays(record: ScaleRecord | ReadoutRecord) -> dict[str, Any]:
        return {"facts": record.facts, "arrays": {name: torch.from_numpy(array) for name, array in record.arrays.items()}}

    content = shallow(checkpoint)
    del content["sha256"]
    return content | {"counts": checkpoint.counts.to_json() if checkpoint.counts else None,
                      "scale": with_arrays(checkpoint.scale),
                      "readout": with_arrays(checkpoint.readout) if checkpoint.readout else None,
                      "split": dataclasses.asdict(checkpoint.split), "resume": shallow(checkpoint.resume)}


def _from_content(content: dict[str, Any], sha256: str) -> Checkpoint:
    """Return the inverse of _content."""
    resume, counts, readout = content["resume"], content["counts"], content["readout"]
    states = {int(number): state for number, state in resume["optimiser"]["state"].items()}  # JSON has no numbers as keys
    def taken(record: dict[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return record["facts"], {name: tensor.numpy() for name, tensor in record["arrays"].items()}

    return Checkpoint(**content | {
        "sha256": sha256, "scale": ScaleRecord(*taken(content["scale"])),
        "split": SplitRecord.from_json(content["split"]),
        "counts": None if counts is None else CountsRecord.from_json(counts),
        "readout": None if readout is None else ReadoutRecord(*taken(readout)),
        "resume": ResumeRecord(**resume | {"optimiser": resume["optimiser"] | {"state": states}})})


def _without_tensors(value: Any, name: str, tensors: dict[str, Tensor], seen: dict[tuple, str]) -> Any:
    """Return the value with {"tensor": NAME} for each tensor, which is put into `tensors`; the same memory is put once."""
    if isinstance(value, Tensor):
        memory = (value.data_ptr(), value.dtype, tuple(value.shape), value.stride())
        if memory not in seen or not value.numel():
            seen[memory] = name
            tensors[name] = value.detach().contiguous()
        return {"tensor": seen[memory]}
    if isinstance(value, dict):
        return {key: _without_tensors(item, f"{name}/{key}" if name else str(key), tensors, seen)
                for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_tensors(item, f"{name}/{number}", tensors, seen) for number, item in enumerate(value)]
    return value


def _with_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return the inverse of _without_tensors. Raises KeyError for a tensor that is not there."""
    if isinstance(value, dict):
        if value.keys() == {"tensor"} and isinstance(value["tensor"], str):
            return tensors[value["tensor"]]
        return {key: _with_tensors(item, tensors) for key, item in value.items()}
    return [_with_tensors(item, tensors) for item in value] if isinstance(value, list) else value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} in its JSON")


def _linked(folder: Path, name: str) -> Path | None:
    """Return the file that a link names, None where there is none."""
    path = folder / name
    return folder / os.readlink(path) if path.is_symlink() and path.exists() else None


def _link(folder: Path, name: str, to: Path) -> None:
    partial = folder / (name + PARTIAL)
    partial.unlink(missing_ok=True)
    partial.symlink_to(to.name)
    os.replace(partial, folder / name)
