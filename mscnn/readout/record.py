"""A read-out as a checkpoint holds it: facts in JSON, and arrays.  Anybody can have made one: it is checked when read."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mscnn.core.records import checked
from mscnn.readout.candidates import BY_NAME, PRODUCT, UNSCALED
from mscnn.readout.choice import Choice
from mscnn.readout.linear import LinearReadout
from mscnn.readout.plate_controls import PlateControls
from mscnn.readout.readout import Readout
from mscnn.readout.tables import NETWORK, STATISTICS, places


@dataclass(frozen=True)
class ReadoutRecord:
    """The content of a Readout."""

    facts: dict[str, Any]                                        # of JSON: columns, parts, choice, plates
    arrays: dict[str, np.ndarray] = field(default_factory=dict)  # by name, float64


def to_record(readout: Readout) -> ReadoutRecord:
    """Return the record of a read-out."""
    facts: dict[str, Any] = {"columns": readout.columns, "parts": list(readout.parts), "choice": readout.choice.to_json()}
    arrays = {}
    for number, part in enumerate(readout.parts.values()):
        arrays |= {f"weights-{number}": part.weights_KD, f"biases-{number}": part.biases_K}
    if readout.controls:
        facts["plates"] = readout.controls.plates
        arrays |= {"centre": readout.controls.centre_PD, "spread": readout.controls.spread_PD}
    return ReadoutRecord(facts, {name: np.ascontiguousarray(array) for name, array in arrays.items()})


def from_record(record: ReadoutRecord, num_classes: int) -> Readout:
    """Return the read-out of a record. Raises ValueError naming what does not fit."""
    facts, arrays = record.facts, dict(record.arrays)
    columns = checked(dict[str, list[str]], facts.get("columns"), "columns")
    names = [name for of_table in columns.values() for name in of_table]
    if not {*columns} <= {NETWORK, STATISTICS} or len(set(names)) < len(names) or not names:
        raise ValueError(f"columns are of {', '.join(columns) or 'no table'}, or a name is there twice")
    parts = {}
    for number, name in enumerate(checked(list[str], facts.get("parts"), "parts")):
        if name not in BY_NAME or BY_NAME[name].uses == PRODUCT or not {*BY_NAME[name].tables} <= {*columns}:
            raise ValueError(f"parts holds {name!r}, which no read-out has")
        width = len(places(columns, BY_NAME[name].tables))
        parts[name] = LinearReadout(_taken(arrays, f"weights-{number}", (num_classes, width)),
                                    _taken(arrays, f"biases-{number}", (num_classes,)))
    readout = Readout(columns, parts, checked(Choice, facts.get("choice"), "choice"), _controls(facts, arrays, len(names)))
    if unknown := [name for name in readout.choice.candidates if name not in BY_NAME]:
        raise ValueError(f"choice has the candidate {unknown[0]!r}, which there is not")
    if readout.choice.chosen not in readout.names():
        raise ValueError(f"choice has chosen {readout.choice.chosen!r}, which is not among its parts")
    if readout.controls is None and any(BY_NAME[name].scaling != UNSCALED for name in parts):
        raise ValueError("parts are scaled by plate controls, which are not there")
    if arrays:
        raise ValueError(f"has arrays {', '.join(sorted(arrays))} that nothing uses")
    return readout


def _controls(facts: dict[str, Any], arrays: dict[str, np.ndarray], width: int) -> PlateControls | None:
    if facts.get("plates") is None:
        return None
    plates = checked(list[str], facts["plates"], "plates")
    shape = (len(plates), width)
    controls = PlateControls(plates, _taken(arrays, "centre", shape), _taken(arrays, "spread", shape))
    if not plates or len(set(plates)) < len(plates) or not (controls.spread_PD > 0).all():
        raise ValueError("plates are none, or a plate is there twice, or a spread is not above 0")
    return controls


def _taken(arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Take out an array of finite float64. Raises ValueError where it is missing or of another shape."""
    array = arrays.pop(name, None)
    if array is None or array.shape != shape or array.dtype != np.float64 or not np.isfinite(array).all():
        raise ValueError(f"{name} is {'missing' if array is None else f'{array.dtype} {array.shape}'}, not finite float64 "
                         f"{shape}")
    return array
