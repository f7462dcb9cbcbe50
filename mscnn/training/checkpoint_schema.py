"""What the content of a checkpoint has to look like, whoever made it: anybody can make a SHA-256 that fits."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import torch

from mscnn.core import config
from mscnn.data.pixels import plate_scale
from mscnn.data.pixels.dataset_scale import DatasetScale
from mscnn.data.pixels.scale_record import ScaleRecord
from mscnn.data.tables import splits
from mscnn.model import MCNN

# What is read of a content: {key: form}, [form of each], or a type.
SCHEMA = {"step": int, "config": {"preset": str, "head_relu": bool, "aux_on_held_out": bool, "head": str},
          "classes": [str], "channels": [str], "normalisation": {"mode": str}, "image_size": [int],
          "split": {"method": str, "held_out": [str], "leaks": str, "sha256": str, "sides": [str],
                    "trained": {"compounds": [str], "mechanisms": [str]}},
          "network": dict, "training": dict, "steps": int}


def schema_errors(content: dict[str, Any]) -> Iterator[str]:
    """Names of what is not as those who use a content rely on, for anybody can make a digest; or raises any exception."""
    yield from _mismatches(content, SCHEMA, "")
    settings, classes, channels = content["config"], content["classes"], content["channels"]
    kinds = {field.name: field.type for group in config.GROUPS.values() for field in dataclasses.fields(group)}
    yield from _mismatches(settings, {name: kinds[name] for name in settings if name in kinds}, "config")
    config.from_flat(settings)
    scale = {name: value for name, value in content["normalisation"].items() if name != "arrays"}
    json.dumps([scale, *(content[name] for name in SCHEMA if name not in ("normalisation", "network", "training"))])
    "".join(classes + channels).encode()
    if classes != sorted(set(classes)):
        yield "classes"
    if not {*content["split"]["sides"]} <= {splits.TRAIN, splits.TEST, splits.UNUSED}:
        yield "split sides"
    if scale["mode"] == "plate":
        yield from _mismatches(scale, {"facts": {"plates": [str], "offset": float}}, "normalisation")
        arrays = {name: array.numpy() for name, array in content["normalisation"]["arrays"].items()}
        plates = plate_scale.from_record(ScaleRecord(scale["facts"], arrays))
        fits = plates.field_PChw.shape[1] == len(channels) and len(plates.size) == 2
    else:
        fields = DatasetScale(**scale)
        fits = {"field": 0, "dataset": len(channels)}.get(fields.mode) == len(fields.mean) == len(fields.sd) \
            and all(isinstance(number, float) for number in (*fields.mean, *fields.sd))
    if not fits:
        yield "normalisation"
    height, width = content["image_size"]
    with torch.device("meta"):  # takes no memory, whatever the size
        expected = MCNN(len(classes), len(channels), height, width, gradient="dense").state_dict()
    found = content["network"]
    yield from (f"network {name!r}" for name in [*expected, *found] if name not in expected or name not in found
                or (found[name].shape, found[name].dtype) != (expected[name].shape, expected[name].dtype))


def _mismatches(value: Any, form: Any, name: str) -> Iterator[str]:
    """Names of what is not of a form of FORM, or of the annotation of a setting."""
    if isinstance(form, dict) and isinstance(value, dict):
        for key, own in form.items():
            yield from _mismatches(value.get(key), own, f"{name} {key}".strip())
    elif isinstance(form, list) and isinstance(value, list):
        for own in value:
            yield from _mismatches(own, form[0], name)
    elif get_origin(form) is Literal:
        if value not in get_args(form):
            yield name
    elif isinstance(form, dict | list) or not isinstance(value, (float, int) if form is float else form):
        yield name
