"""The layout of an assay that Harmony writes (XML: layers of wells) -> a raw map."""

import io
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import pandas as pd
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse

from mscnn.core.errors import DataError
from mscnn.core.words import examples
from mscnn.data.plate_maps.plate_map import COLUMNS, RawMap
from mscnn.data.plate_maps.roles import metadata_name, role_of
from mscnn.data.plate_maps.units import common_unit
from mscnn.data.tables.problems import Problem
from mscnn.data.tables.wells import well_name

_REMEDY = "export the layout of the assay from Harmony again, or give a table of wells"
_DEEPEST = 12


@dataclass
class _Reading:
    """What was read so far."""

    path: Path
    layers: dict[str, dict[tuple[int, int], str]] = field(default_factory=dict)  # {name: {(row, column): text}}
    cells: dict[tuple[int, int], str] = field(default_factory=dict)              # of the layer that is being read
    size: dict[str, int] = field(default_factory=lambda: {"PlateRows": 32, "PlateCols": 48})
    problems: list[Problem] = field(default_factory=list)
    name: str = ""   # of the layer that is being read
    unit: str = ""
    root: str = ""   # name of the outermost element
    depth: int = 0


def read_assay_layout(raw: bytes, path: Path, given: dict[str, str]) -> RawMap:
    """Return the map of an AssayLayout. Raises DataError for other XML, and for a layout without values."""
    layers, size, problems = _layers(raw, path)
    values = {name: cells for name, cells in layers.items() if cells}
    if not values:
        raise DataError(f"{path}: the layout has a value in no well of its layers ({examples(list(layers), 12)}); fill it "
                        "in in Harmony, or give a table of wells")
    names = _names(values, given, path)
    places = sorted({place for cells in values.values() for place in cells})
    frame = pd.DataFrame("", index=range(len(places)), columns=list(COLUMNS), dtype="str")
    frame["well"] = [_name(place) for place in places]
    for layer, cells in values.items():
        name, unit = names[layer]
        texts = [cells.get(place, "") for place in places]
        frame[name] = list(map(common_unit, frame["unit"], texts)) if name == "unit" else texts
        if unit:
            frame["unit"] = [common_unit(own, unit) if text else own
                             for own, text in zip(frame["unit"], texts, strict=True)]
    problems += [Problem(None, str(path), f"well {_name(place)} is beyond the plate of {size[0]} x {size[1]} wells",
                         "wells are beyond their plate; " + _REMEDY)
                 for place in places if not (1 <= place[0] <= size[0] and 1 <= place[1] <= size[1])]
    empty = [name for name in layers if name not in values]
    notes = (f"layers without values are left out: {examples(empty)}",) if empty else ()
    return RawMap(frame, "Harmony assay layout", notes, tuple(problems), str(path))


def _layers(raw: bytes, path: Path) -> tuple[dict[str, dict[tuple[int, int], str]], tuple[int, int], list[Problem]]:
    """Return {layer: {(row, column) from 1: text}}, rows and columns of the plate, and wells that are there twice."""
    reading = _Reading(path)
    try:
        for event, element in iterparse(io.BytesIO(raw), ("start", "end"), forbid_dtd=True, forbid_entities=True,
                                        forbid_external=True):
            tag = element.tag.rpartition("}")[2]
            reading.depth += 1 if event == "start" else -1
            if event == "start":
                reading.root = reading.root or tag
                if "AssayLayout" not in reading.root or reading.depth > _DEEPEST:
                    raise DataError(f"{path}: XML of {reading.root[:60]}, no layout of an assay; {_REMEDY}")
            else:
                _take(reading, tag, element)
    except DefusedXmlException:
        raise DataError(f"{path}: its XML declares a document type or entities, as no layout does; {_REMEDY}") from None
    except (ParseError, ValueError) as problem:
        if isinstance(problem, DataError):
            raise
        raise DataError(f"{path}: cut short or no XML of a layout ({str(problem)[:200]}); {_REMEDY}") from None
    if not reading.layers:
        raise DataError(f"{path}: XML of {reading.root} without a layer; {_REMEDY}")
    return reading.layers, (reading.size["PlateRows"], reading.size["PlateCols"]), reading.problems


def _take(reading: _Reading, tag: str, element: Element) -> None:
    """Take what an element that ends says."""
    text = (element.text or "").strip()
    if tag in reading.size:
        reading.size[tag] = int(text)
    elif tag == "Name" and not reading.cells:
        reading.name = text
    elif tag in ("Unit", "ValueUnit") and not reading.cells:
        reading.unit = text
    elif tag == "Well":
        _add(element, reading.cells, reading.name, reading.path, reading.problems)
        element.clear()
    elif tag == "Layer":
        title = (reading.name or f"layer {len(reading.layers) + 1}") + (f" ({reading.unit})" if reading.unit else "")
        if title in reading.layers:
            reading.problems.append(Problem(None, str(reading.path), f"layer {title!r} is there twice",
                                            f"layers repeat; {_REMEDY}"))
        reading.layers[title] = {place: text for place, text in reading.cells.items() if text}
        reading.cells, reading.unit, reading.name = {}, "", ""
        element.clear()


def _add(element: Element, cells: dict[tuple[int, int], str], layer: str, path: Path, problems: list[Problem]) -> None:
    texts = {child.tag.rpartition("}")[2]: (child.text or "").strip() for child in element}
    place = int(texts.get("Row", "")), int(texts.get("Col", ""))
    if place in cells:
        problems.append(Problem(None, str(path), f"layer {layer!r} has row {place[0]} column {place[1]} twice",
                                "wells repeat in a layer; " + _REMEDY))
    cells[place] = texts.get("Value", "")


def _names(layers: dict[str, dict[tuple[int, int], str]], given: dict[str, str], path: Path) -> dict[str, tuple[str, str]]:
    """Return {layer: (its column of a map, its unit)}. Raises DataError where none, or several, could be the compound."""
    if wrong := [f"{role}={layer}" for role, layer in given.items() if layer not in layers or role not in COLUMNS[2:]]:
        raise DataError(f"{path}: has no such layers with values; it has {examples(list(layers), 12)}", wrong)
    chosen = {layer: role for role, layer in given.items()}
    names = {}
    for layer in layers:
        role, unit = role_of(layer)
        role = chosen.get(layer, "" if role in given or role not in COLUMNS[2:] else role)
        names[layer] = role or metadata_name(layer), unit if role == "concentration" else ""
    columns = [name for name, _ in names.values()]
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice or "compound" not in columns:
        what = f"more than one layer is the {examples(twice)}" if twice else "no layer is the compound"
        raise DataError(f"{path}: {what}; choose with --columns ROLE=LAYER; its layers are {examples(list(layers), 12)}")
    return names


def _name(place: tuple[int, int]) -> str:
    try:
        return well_name(place[0] - 1, place[1] - 1)
    except ValueError:
        return f"row {place[0]} column {place[1]}"
