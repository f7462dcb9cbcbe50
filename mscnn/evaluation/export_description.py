"""What an exported network is, without its tensors: config.json, and the names of the files beside it."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mscnn.core import machine
from mscnn.core.errors import DataError
from mscnn.core.files import read_text
from mscnn.core.record_files import parse
from mscnn.core.records import Record
from mscnn.data.tables.splits import SplitRecord
from mscnn.model import MCNN
from mscnn.training.checkpoint import Checkpoint

FORMAT = 1
WEIGHTS, CONFIG, CARD, PROGRAM, ONNX = "model.safetensors", "config.json", "README.md", "model.pt2", "model.onnx"
PLATES = "normalisation.safetensors"  # fields and scales of --normalise plate, where config.json holds the facts
HEADER = 100_000_000  # bytes: the longest header that safetensors reads, and the longest config.json
PLATE = 2**16         # bytes that the field and scale of a plate may take in one channel; 64x64 nodes take a quarter of it
MAX_PIXELS = 2**26


@dataclass(frozen=True)
class ExportDescription(Record):
    """A description of an exported network: config.json."""

    format: int                     # FORMAT
    classes: list[str]              # mechanisms in the order of the network's outputs
    channels: list[str]             # in the order the network sees them
    image_size: list[int]           # height and width in pixels
    head_relu: bool                 # the head has a ReLU before the classifier
    normalisation: dict[str, Any]   # facts of the scale: "mode" and numbers; of plates "mode" and "facts"
    mscnn: dict[str, str]           # versions of Python, torch, numpy and this program
    step: int                       # optimiser steps taken
    split: SplitRecord              # who was trained on and who was held out, without sides
    settings: dict[str, Any]        # of the training, by name

    def build(self) -> MCNN:
        """Return the network without its weights."""
        height, width = self.image_size
        return MCNN(len(self.classes), len(self.channels), height, width, head_relu=self.head_relu, gradient="dense",
                    pooling=self.settings.get("pooling", "none"), downscale=self.settings.get("downscale", 1))

    def plates_bytes(self) -> int:
        """Return how many bytes PLATES may hold, at most."""
        scale = self.normalisation
        return len(scale["facts"]["plates"]) * len(self.channels) * PLATE if scale["mode"] == "plate" else 0


def describe(saved: Checkpoint) -> ExportDescription:
    """Return the description of a checkpoint's network."""
    facts = {name: value for name, value in saved.scale.facts.items() if name != "mode"}
    mode = saved.scale.facts["mode"]
    return ExportDescription(
        FORMAT, saved.classes, saved.channels, list(saved.image_size), saved.settings["head_relu"],
        {"mode": mode, "facts": facts} if mode == "plate" else {"mode": mode, **facts}, machine.versions(), saved.step,
        replace(saved.split, sides=[]), saved.settings)


def read_config(path: Path) -> ExportDescription:
    """Read config.json. Raises DataError for a file that describes no network or no scale, and for a network too large."""
    try:
        content = parse(read_text(path, largest=HEADER))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"not of format {FORMAT}")
        description = ExportDescription.from_json(content)
        description.plates_bytes()
        if len(size := description.image_size) != 2 or math.prod(size) > MAX_PIXELS:
            raise ValueError(f"image_size {size} is not two sides of at most {MAX_PIXELS} pixels together")
        with torch.device("meta"):  # takes no memory
            description.build()
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as problem:
        raise DataError(f"{path}: no usable description ({problem}); export the checkpoint again") from None
    return description


def require_size(path: Path, limit: int) -> None:
    """Raise ValueError for what is no file, and could be read for ever, and for a file of more bytes than `limit`."""
    if not path.is_file():
        raise ValueError("no file is there")
    if (size := path.stat().st_size) > limit:
        raise ValueError(f"{size:,} bytes, where at most {limit:,} are expected")
