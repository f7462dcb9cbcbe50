"""The schema of a checkpoint's content.  A SHA-256 that fits does not prove it: anybody can make one."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import torch
from torch import Tensor

from mscnn.core import config
from mscnn.core.settings import plain_type
from mscnn.data.pixels.count_statistics import CountsRecord
from mscnn.data.pixels.scale import ScaleRecord, scale_from_record
from mscnn.data.tables import splits
from mscnn.model import MCNN
from mscnn.readout.record import ReadoutRecord, from_record

# {key: schema}, [schema of each item], a type, or a tuple of types.
SCHEMA = {
    "step": int, "total_steps": int, "classes": [str], "channels": [str], "image_size": [int], "network": dict,
    "settings": {"preset": str, "head_relu": bool, "transductive": bool, "head": str},
    "counts": (dict, type(None)), "readout": (dict, type(None)), "scale": {"facts": {"mode": str}, "arrays": dict},
    "split": {"method": str, "held_out": [str], "leaks": str, "sha256": str, "sides": [str], "sites": dict,
              "trained": {"compounds": [str], "mechanisms": [str]}, "unlearnable": [str],
              "left_out": (dict, type(None))},
    "resume": {"loss_module": dict, "optimiser": {"state": dict, "param_groups": [dict]}, "ema": (dict, type(None)),
               "rng_state": Tensor, "best_epoch_mean": (float, type(None)), "epoch_losses": [float],
               "recent_losses": [float], "nonfinite_steps": int, "has_lda_head": bool, "is_best": bool, "numerics": dict}}


def schema_errors(content: dict[str, Any]) -> Iterator[str]:
    """Yield the names of entries on which a reader of checkpoints could not rely.

    content: nested dicts and lists of builtins and tensors.  Raises any exception where it is nothing like a checkpoint.
    """
    if not isinstance(content, dict):
        raise TypeError(f"a checkpoint's content is an object of JSON, not {type(content).__name__}")
    yield from (name for name in content if name not in SCHEMA)
    yield from (f"resume {name}" for name in content["resume"] if name not in SCHEMA["resume"])
    yield from _mismatches(content, SCHEMA, "")
    settings, classes, channels = content["settings"], content["classes"], content["channels"]
    types = {field.name: plain_type(field.type) for group in config.GROUPS.values() for field in dataclasses.fields(group)}
    yield from _mismatches(settings, {name: types[name] for name in settings if name in types}, "settings")
    config.from_flat(settings)
    yield from _mismatches(content["split"], {"notes": [str]} if "notes" in content["split"] else {}, "split")
    "".join(classes + channels).encode()
    if classes != sorted(set(classes)):
        yield "classes"
    if not {*content["split"]["sides"]} <= {splits.TRAIN, splits.TEST, splits.UNUSED}:
        yield "split sides"
    facts, arrays = content["scale"]["facts"], content["scale"]["arrays"]
    if facts["mode"] == "plate":
        yield from _mismatches(facts, {"plates": [str], "size": [int], "offset": float}, "scale facts")
    scale = scale_from_record(ScaleRecord(facts, {name: tensor.numpy() for name, tensor in arrays.items()}))
    if scale.num_channels not in (None, len(channels)) or (scale.size and len(scale.size) != 2):
        yield "scale"
    height, width = content["image_size"]
    with torch.device("meta"):  # takes no memory, whatever the size
        expected = MCNN(len(classes), len(channels), height, width, gradient="dense",
                        pooling=settings.get("pooling", "none"), downscale=settings.get("downscale", 1)).state_dict()
    weights = content["network"]
    yield from (f"network {name!r}" for name in [*expected, *weights] if name not in expected or name not in weights
                or (weights[name].shape, weights[name].dtype) != (expected[name].shape, expected[name].dtype))
    if (readout := content["readout"]) is not None:
        yield from _mismatches(readout, {"facts": dict, "arrays": dict}, "readout")
        from_record(ReadoutRecord(readout["facts"], {name: tensor.numpy() for name, tensor in readout["arrays"].items()}),
                    len(classes))
    if content["counts"] is not None and len(CountsRecord.from_json(content["counts"]).channels) != len(channels):
        yield "counts"


def _mismatches(value: Any, schema: Any, name: str) -> Iterator[str]:
    """Yield the names of entries that do not fit a schema, or the type of a setting."""
    if isinstance(schema, dict) and isinstance(value, dict):
        for key, expected in schema.items():
            yield from _mismatches(value.get(key), expected, f"{name} {key}".strip())
    elif isinstance(schema, list) and isinstance(value, list):
        for item in value:
            yield from _mismatches(item, schema[0], name)
    elif get_origin(schema) is Literal:
        if value not in get_args(schema):
            yield name
    elif isinstance(schema, dict | list) or not isinstance(value, (float, int) if schema is float else schema):
        yield name
