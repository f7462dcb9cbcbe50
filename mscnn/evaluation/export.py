"""A trained network for others: weights, description, model card and a program that needs no mscnn.

`mscnn export RUN --out DIR` writes it.
Shape suffixes: N fields, C channels, H W pixels, K classes, F features.
"""

import contextlib
import importlib.util
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from mscnn.core.errors import DataError, UsageError
from mscnn.core.files import LOCK, PARTIAL, locked_folder
from mscnn.core.logs import log
from mscnn.data.pixels.scale import Scale, scale_from_record
from mscnn.data.pixels.scale_record import ScaleRecord
from mscnn.evaluation.export_description import (
    CARD,
    CONFIG,
    HEADER,
    ONNX,
    PLATES,
    PROGRAM,
    WEIGHTS,
    ExportDescription,
    describe,
    read_config,
    require_size,
)
from mscnn.evaluation.model_card import model_card
from mscnn.evaluation.readout_scores import EvaluationScores
from mscnn.model import MCNN
from mscnn.training.checkpoint import Checkpoint

ONNX_PACKAGES = ("onnx", "onnxscript")
_INPUT, _OUTPUTS = "fields", ("probabilities", "features")


@dataclass(frozen=True)
class ExportedNetwork:
    """A network that was exported, ready to predict."""

    network: MCNN                   # in evaluation mode
    scale: Scale                    # from camera counts to the network's input
    description: ExportDescription


class Program(nn.Module):
    """Predict: normalised fields (N, C, H, W) -> class probabilities (N, K) and features (N, F)."""

    def __init__(self, network: MCNN):
        super().__init__()
        self.network = network

    def forward(self, fields: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities and features."""
        features_NF = self.network.features(fields)
        return torch.softmax(self.network.classify(features_NF), dim=1), features_NF


def write(saved: Checkpoint, scores: EvaluationScores | None, out: Path, *, onnx: bool = False) -> None:
    """Write all files to a new folder, which gets its name when they are whole.

    scores: of the run's evaluation, None without an evaluation.  Raises UsageError where `out` exists or cannot be written,
    and where packages for ONNX are not installed.
    """
    if saved.settings.get("assays"):
        raise UsageError("the network has learnt assays, and an export describes mechanisms; use mscnn.load_run")
    if onnx:
        _require_onnx()
    if saved.readout is not None:
        log.warning("the export holds the network and its last layer, linear discriminant analysis of its features; the "
                    "run's read-out, %s, stays in the checkpoint, which mscnn.load_run reads",
                    saved.readout.facts["choice"]["chosen"])
    description = describe(saved)
    network = description.build()
    network.load_state_dict(saved.network)
    with _new_folder(out) as folder:
        _save_tensors(network.state_dict(), folder / WEIGHTS)
        if saved.scale.arrays:
            _save_tensors({name: torch.from_numpy(array) for name, array in saved.scale.arrays.items()}, folder / PLATES)
        (folder / CONFIG).write_text(json.dumps(description.to_json(), indent=1) + "\n")
        (folder / CARD).write_text(model_card(description, scores, onnx=onnx))
        program = exported(network)
        torch.export.save(program, folder / PROGRAM)
        if onnx:
            torch.onnx.export(program, f=folder / ONNX, external_data=False, verbose=False, input_names=[_INPUT],
                              output_names=list(_OUTPUTS))


def exported(network: MCNN) -> torch.export.ExportedProgram:
    """Return the network as a program of float32 for any number of fields."""
    example_NCHW = torch.zeros(2, network.in_channels, network.height, network.width)
    return torch.export.export(Program(network).eval(), (example_NCHW,),
                               dynamic_shapes={"fields": {0: torch.export.Dim("N", min=1)}})


def load(folder: Path) -> ExportedNetwork:
    """Read an exported network. Runs no code from the files. Raises DataError naming what is wrong."""
    description = read_config(folder / CONFIG)
    with torch.device("meta"):  # takes no memory, whatever the size
        expected = description.build().state_dict()
    weights = _read_tensors(folder / WEIGHTS, sum(tensor.nbytes for tensor in expected.values()))
    if mismatches := sorted(_mismatches(weights, expected)):
        raise DataError(f"{folder / WEIGHTS} does not fit {CONFIG}; export the checkpoint again", mismatches)
    network = description.build()
    network.load_state_dict(weights)
    return ExportedNetwork(network.eval(), _read_scale(folder, description), description)


def _mismatches(weights: dict[str, Tensor], expected: dict[str, Tensor]) -> Iterator[str]:
    """Yield why weights do not fit a network: a line per tensor."""
    yield from (f"{name} is missing" for name in expected if name not in weights)
    yield from (f"{name} is not of this network" for name in weights if name not in expected)
    for name in expected.keys() & weights.keys():
        tensor, wanted = weights[name], expected[name]
        if (tensor.shape, tensor.dtype) != (wanted.shape, wanted.dtype):
            yield f"{name} is {tensor.dtype} {tuple(tensor.shape)}, not {wanted.dtype} {tuple(wanted.shape)}"
        elif not torch.isfinite(tensor).all():
            yield f"{name} holds values that are not finite"


def _read_scale(folder: Path, description: ExportDescription) -> Scale:
    facts = description.normalisation
    if facts["mode"] != "plate":
        record = ScaleRecord(facts)
    else:
        tensors = _read_tensors(folder / PLATES, description.plates_bytes())
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        record = ScaleRecord({"mode": "plate", **facts["facts"]}, arrays)
    try:
        return scale_from_record(record)
    except DataError as problem:
        raise DataError(f"{folder / CONFIG}: {problem}") from None


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def _read_tensors(path: Path, num_bytes: int) -> dict[str, Tensor]:
    """Read a file of tensors, num_bytes: of the tensors that are expected, at most. Raises DataError."""
    try:
        require_size(path, num_bytes + HEADER)
        return safetensors.torch.load_file(path)
    except (OSError, ValueError, SafetensorError) as problem:
        raise DataError(f"{path}: not a readable file of weights ({problem}); export the checkpoint again") from None


@contextlib.contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Yield a partial folder, which gets the name `out` after the block and vanishes where the block fails."""
    if out.exists():
        raise UsageError(f"--out {out} exists; name a new folder, or remove it")
    partial = out.with_name(out.name + PARTIAL)
    with locked_folder(partial):
        for stale in partial.iterdir():
            if stale.name != LOCK:
                shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
        try:
            yield partial
            (partial / LOCK).unlink()
            os.replace(partial, out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _require_onnx() -> None:
    if missing := [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]:
        raise UsageError(f"--onnx true needs {' and '.join(missing)}, not installed; "
                         "install mscnn with its extra export, or leave out --onnx")
