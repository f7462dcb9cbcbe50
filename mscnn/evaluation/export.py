"""A trained network for others: weights, description, model card and a program that needs no mscnn.

`python -m mscnn export RUN --out DIR` writes it.
Shape suffixes: N fields, C channels, H W pixels, K classes, F features.
"""

import contextlib
import importlib.util
import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from mscnn.core import machine
from mscnn.core.errors import DataError, UsageError
from mscnn.model import MCNN, NUM_FEATURES

FORMAT = 1
WEIGHTS, CONFIG, CARD, PROGRAM, ONNX = "model.safetensors", "config.json", "README.md", "model.pt2", "model.onnx"
PLATES = "normalisation.safetensors"  # fields and scales of --normalise plate, where config.json holds the facts
ONNX_PACKAGES = ("onnx", "onnxscript")
KEYS = ("format", "classes", "channels", "image_size", "head_relu", "normalisation", "mscnn", "step", "split", "settings")
HEADER = 100_000_000  # bytes: the longest header that safetensors reads, and the longest config.json
PLATE = 2**16         # bytes that the field and scale of a plate may take in one channel; 64x64 nodes take a quarter of it
_INPUT, _OUTPUTS = "fields", ("probabilities", "features")


class Program(nn.Module):
    """Normalised fields (N, C, H, W) -> class probabilities (N, K) and features (N, 512)."""

    def __init__(self, network: MCNN):
        super().__init__()
        self.network = network

    def forward(self, fields: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities and features."""
        features_NF = self.network.features(fields)
        return torch.softmax(self.network.classify(features_NF), dim=1), features_NF


def write(content: dict[str, Any], scores: dict[str, Any] | None, out: Path, *, onnx: bool = False) -> None:
    """Write all files to a new folder, which gets its name when they are whole.

    content: of checkpoint.load; scores: of RUN/evaluation/scores.json, or None.
    """
    if onnx:
        _require_onnx()
    described = describe(content)
    network = _build(described)
    network.load_state_dict(content["network"])
    arrays = content["normalisation"].get("arrays", {})
    with _new_folder(out) as folder:
        weights = {name: value.contiguous() for name, value in network.state_dict().items()}
        safetensors.torch.save_file(weights, folder / WEIGHTS)
        if arrays:
            safetensors.torch.save_file({name: value.contiguous() for name, value in arrays.items()}, folder / PLATES)
        (folder / CONFIG).write_text(json.dumps(described, indent=1) + "\n")
        (folder / CARD).write_text(card(described, scores, onnx=onnx))
        program = exported(network)
        torch.export.save(program, folder / PROGRAM)
        if onnx:
            torch.onnx.export(program, f=folder / ONNX, external_data=False, verbose=False, input_names=[_INPUT],
                              output_names=list(_OUTPUTS))


def describe(content: dict[str, Any]) -> dict[str, Any]:
    """config.json of a checkpoint: all but its tensors."""
    split = {name: value for name, value in content["split"].items() if name != "sides"}
    scale = {name: value for name, value in content["normalisation"].items() if name != "arrays"}
    return {"format": FORMAT, "classes": content["classes"], "channels": content["channels"],
            "image_size": list(content["image_size"]), "head_relu": content["config"]["head_relu"],
            "normalisation": scale, "mscnn": machine.versions(),
            "step": content["step"], "split": split, "settings": content["config"]}


def exported(network: MCNN) -> torch.export.ExportedProgram:
    """The network as a program of float32 for any number of fields."""
    example_NCHW = torch.zeros(2, network.in_channels, network.height, network.width)
    return torch.export.export(Program(network).eval(), (example_NCHW,),
                               dynamic_shapes={"fields": {0: torch.export.Dim("N", min=1)}})


def load(folder: Path) -> tuple[MCNN, dict[str, Any]]:
    """The network, ready to predict, and config.json, whose "normalisation" is for screen.restore.

    Runs no code from the files. Raises DataError naming what is wrong.
    """
    described = _read_config(folder / CONFIG)
    with torch.device("meta"):  # takes no memory, whatever the size
        expected = _build(described).state_dict()
    weights = _read_tensors(folder / WEIGHTS, sum(tensor.nbytes for tensor in expected.values()))
    wrong = [f"{name} is missing" for name in expected if name not in weights]
    wrong += [f"{name} is not of this network" for name in weights if name not in expected]
    for name in expected.keys() & weights.keys():
        found, wanted = weights[name], expected[name]
        if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            wrong.append(f"{name} is {found.dtype} {tuple(found.shape)}, not {wanted.dtype} {tuple(wanted.shape)}")
        elif not torch.isfinite(found).all():
            wrong.append(f"{name} holds values that are not finite")
    if wrong:
        raise DataError(f"{folder / WEIGHTS} does not fit {CONFIG}; export the checkpoint again", sorted(wrong))
    network = _build(described)
    network.load_state_dict(weights)
    if described["normalisation"]["mode"] == "plate":
        described["normalisation"]["arrays"] = _read_tensors(folder / PLATES, _plates_bytes(described))
    return network.eval(), described


def card(described: dict[str, Any], scores: dict[str, Any] | None, *, onnx: bool) -> str:
    """The model card, in Markdown."""
    split, (height, width) = described["split"], described["image_size"]
    held_out = ", ".join(map(_plain, split["held_out"])) or "none"
    mode = described["normalisation"]["mode"]
    trained = {name: ", ".join(map(_plain, values)) for name, values in split["trained"].items()}
    has_seen = described["settings"].get("aux_on_held_out")
    return f"""# M-CNN for whole fields of view

Multi-scale CNN (Godinez et al., Bioinformatics 33, 2017, 2010-2019): a field of {height}x{width} pixels, channels
{", ".join(map(_plain, described["channels"]))}, to the probabilities of
{len(described["classes"])} classes and {NUM_FEATURES} features.
Classes in order: {", ".join(map(_plain, described["classes"]))}.

**Intended use.** Research: hypotheses on the mechanism of compounds in screens of the same assay, stain, magnification
and cell line as those trained on.

**Trained on** compounds {trained.get("compounds") or "not recorded"}; step {described["step"]}; inputs normalised by
"{mode}" ({CONFIG} holds the numbers{f", {PLATES} the plates" if mode == "plate" else ""}).

**Held out** (split {split["method"]}, sha256 {split.get("sha256", "not recorded")}): {held_out}.
{f"{_plain(split['leaks'])}." if split["leaks"] else ""}
{"The network has seen their images, without labels (--aux-on-held-out)." if has_seen else ""}

**Scores on what was held out.** {_scores(scores)}

**Not claimed.** Nothing clinical. Nothing on other cell lines, stains, microscopes or mechanisms: a compound of an unknown
mechanism gets one of the classes all the same. Probabilities are not calibrated.

## Load

```python
from pathlib import Path
import torch
from mscnn.evaluation import export
from mscnn.training import prepare_data
network, described = export.load(Path("."))
normalise = prepare_data.restore(described["normalisation"])
probabilities = torch.softmax(network(torch.zeros(1, network.in_channels, network.height, network.width)), dim=1)
```

Without mscnn: `torch.export.load("{PROGRAM}").module()(fields)` gives (probabilities, features) of normalised fields
(N, {len(described["channels"])}, {height}, {width}) in float32{f", and so does {ONNX} by onnxruntime" if onnx else ""}.

`{WEIGHTS}` and `{CONFIG}` are data and run no code when read. **`{PROGRAM}` is not so**: torch.export.load unpickles
without weights_only what an archive asks it to. Open it only from a source you trust.
"""


def _scores(scores: dict[str, Any] | None) -> str:
    if scores is None:
        return "None: the run has not been evaluated."
    return "; ".join(f"{level} {own['correct']}/{own['total']} right" for level, own in scores.items() if own["total"]) \
        or "None: no scored field has a known mechanism."


def _plain(text: str) -> str:
    """A name of the user's table as one line of Markdown without markup."""
    return "".join(f"\\{letter}" if letter in r"\`*_[]<>#|" else letter for letter in " ".join(str(text).split()))


def _build(described: dict[str, Any]) -> MCNN:
    return MCNN(len(described["classes"]), len(described["channels"]), *described["image_size"],
                head_relu=described["head_relu"], gradient="dense")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        _require_size(path, HEADER)
        described = json.loads(path.read_text())
        if not isinstance(described, dict) or described.get("format") != FORMAT:
            raise ValueError(f"not of format {FORMAT}")
        if missing := [name for name in KEYS if name not in described]:
            raise ValueError(f"lacks {', '.join(missing)}")
        _build_check(described)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as problem:
        raise DataError(f"{path}: no usable description ({problem}); export the checkpoint again") from None
    return described


def _build_check(described: dict[str, Any]) -> None:
    """Raise an exception for a size that would be no network, before memory is taken for it, or for no normalisation."""
    _plates_bytes(described)
    size = described["image_size"]
    if len(size) != 2 or not all(isinstance(side, int) for side in size) or math.prod(size) > 2**26:
        raise ValueError(f"image_size {size} is not two sides of at most {2**26} pixels together")
    with torch.device("meta"):
        _build(described)


def _plates_bytes(described: dict[str, Any]) -> int:
    """What PLATES may hold, at most."""
    scale = described["normalisation"]
    return len(scale["facts"]["plates"]) * len(described["channels"]) * PLATE if scale["mode"] == "plate" else 0


def _read_tensors(path: Path, num_bytes: int) -> dict[str, Tensor]:
    """num_bytes: of the tensors that are expected, at most. Raises DataError."""
    try:
        _require_size(path, num_bytes + HEADER)
        return safetensors.torch.load_file(path)
    except (OSError, ValueError, SafetensorError) as problem:
        raise DataError(f"{path}: not a readable file of weights ({problem}); export the checkpoint again") from None


def _require_size(path: Path, limit: int) -> None:
    """Raise ValueError for what is no file, and could be read for ever, or a larger one."""
    if not path.is_file():
        raise ValueError("no file is there")
    if (size := path.stat().st_size) > limit:
        raise ValueError(f"{size:,} bytes, where at most {limit:,} are expected")


@contextlib.contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder aside, which gets its name when all within went well and vanishes otherwise."""
    if out.exists():
        raise UsageError(f"--out {out} exists; name a new folder, or remove it")
    aside = out.with_name(out.name + ".partial")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
    except OSError as problem:
        raise UsageError(f"--out {out} cannot be written ({problem.strerror}); name another folder") from None
    try:
        yield aside
        os.replace(aside, out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _require_onnx() -> None:
    if missing := [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]:
        raise UsageError(f"--onnx true needs {' and '.join(missing)}, not installed; "
                         "pip install -r requirements-export.txt, or leave out --onnx")
