"""What the page's scripts show of a run, as one JSON document.

Shapes: T treatments, W wells, K mechanisms.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import to_hex

from mscnn.data.tables import wells as well_names
from mscnn.evaluation import results
from mscnn.evaluation.aggregate import PROBABILITY
from mscnn.report import palette
from mscnn.report.page import pictures, places, plates, plots, treatments
from mscnn.report.page.found import Found, summarise
from mscnn.report.page.places import PlacedTreatments
from mscnn.report.page.plates import Plates, to_numbers
from mscnn.report.page.treatments import COLUMNS, COMPOUND, DOSE, MECHANISM
from mscnn.report.run import Run

FIRST = 50            # rows of the table that the page shows without scripts
CHOICES = 60          # mechanisms whose probability can be chosen, at most: the most frequent predictions
CONTROL, UNKNOWN = "#8a8f98", "#dde1e6"  # colours of wells that have no mechanism
STEPS = 32            # colours of a scale


@dataclass(frozen=True)
class Explorer:
    """What the page needs of a run."""

    prefix: str                         # of the names of models
    number: int                         # of the run on the page, from 1
    unit: str                           # of concentrations
    found: Found
    json: str                           # for the scripts; "<" is escaped
    columns: list[treatments.Column]    # of the table: those that hold anything
    rows: list[list[str]]               # the first FIRST treatments, as text
    total: int                          # treatments
    placed: PlacedTreatments
    missing: list[str]                  # what is not shown, and which command makes it


def explore(run: Run, placed: PlacedTreatments, styles: dict[str, tuple[str, str]], number: int, runs: int) -> Explorer:
    """Return what the page explores of a run.

    styles: colour and marker of each mechanism.  number: of the run, from 1; runs: on the page.
    """
    unit, prefix = run.description.unit, f"run{number}-"
    of_plates = plates.of_run(run, run.quality)
    frame = treatments.of_run(run, placed.frame)
    numbers = _numbers_of(frame)
    shown = [column for column in COLUMNS if _holds(frame[column.name])]
    found = summarise(frame, unit, str(number) if runs > 1 else "", _least_p(run))
    document = {
        "unit": unit, "control": run.description.control, "mechanisms": _styles(styles), "scale": _scale(),
        "colours": {"control": CONTROL, "unknown": UNKNOWN}, "lines": palette.MECHANISMS,
        "columns": [vars(column) for column in shown],
        "treatments": {column.name: _column(frame[column.name], column.kind) for column in shown},
        "most": {name: _most(frame, plates.most_frequent(of_plates, column))
                 for name, column in (("plate", plates.PLATE), ("week", "Metadata_Week"))},
        "places": _places(placed, frame), "plates": _wells(of_plates, numbers, frame[MECHANISM].tolist()),
        "tells_unlike": found.least_p <= found.near,
        "models": {"plate": plots.plate(of_plates.rows, of_plates.columns, prefix),
                   "map": plots.scatter(prefix, _first_places(placed))}}
    of_pictures, left_out = pictures.choose(run.galleries, numbers, len(to_json(document)))
    document["pictures"] = of_pictures
    return Explorer(prefix, number, unit, found, to_json(document), shown, _first(frame, shown), len(frame), placed,
                    _missing(run.decisions, run.quality, of_pictures, left_out, placed))


def _least_p(run: Run) -> float:
    """Return the least p of "none of the known": 1 / (1 + compounds whose mechanism was left out); 0 where not measured."""
    known = next(iter(run.profile_scores.tables.values())).numbers.known if run.profile_scores else None
    return 1 / (1 + known.left_out) if known else 0.0


def to_json(document: Any) -> str:
    """Return JSON that no name can leave: "<" is escaped, and so are the line ends that scripts know and JSON does not."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _first_places(placed: PlacedTreatments) -> np.ndarray:
    return placed.projections[0].places_T2 if placed.projections else np.zeros((0, 2))


def _holds(column: pd.Series) -> bool:
    return bool(column.notna().any() and (column.astype(str) != "").any())


def _column(column: pd.Series, kind: str) -> list[Any]:
    return [str(value) for value in column] if kind in ("text", "mechanism") else to_numbers(column, 6)


def _styles(styles: dict[str, tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "colour": colour, "marker": plots.MARKERS[marker]} for name, (colour, marker) in styles.items()]


def _scale() -> list[str]:
    """Return colours of low to high numbers, which the colour-blind can order (Nunez et al. 2018)."""
    return [to_hex(colormaps[palette.ATTRIBUTION_MAP](step / (STEPS - 1))) for step in range(STEPS)]


def _numbers_of(frame: pd.DataFrame) -> dict[tuple[str, float], int]:
    """Return {(compound, concentration or -1): row of the treatment}."""
    keys = zip(frame[COMPOUND], frame[DOSE].fillna(-1), strict=True)
    return {(str(compound), float(dose)): number for number, (compound, dose) in reversed([*enumerate(keys)])}


def _most(frame: pd.DataFrame, found: dict[tuple[str, float], str]) -> list[str]:
    return [found.get((str(compound), float(dose)), "") for compound, dose in
            zip(frame[COMPOUND], frame[DOSE].fillna(-1), strict=True)]


def _places(placed: PlacedTreatments, frame: pd.DataFrame) -> dict[str, Any]:
    """Return {projection: axes, x and y of each treatment of the table}; None where a treatment has no place."""
    rows = {key: row for row, key in enumerate(zip(placed.frame[COMPOUND], placed.frame[DOSE].fillna(-1), strict=True))}
    order = [rows.get(key) for key in zip(frame[COMPOUND], frame[DOSE].fillna(-1), strict=True)]
    return {each.name: {"axes": each.axes, **{
        name: to_numbers([np.nan if row is None else each.places_T2[row, axis] for row in order])
        for axis, name in enumerate("xy")}} for each in placed.projections}


def _wells(found: Plates, numbers: dict[tuple[str, float], int], mechanisms: list[str]) -> dict[str, Any]:
    """Return columns with an entry per well; numbers: of treatments; mechanisms: theirs."""
    wells = found.frame
    order = {name: number for number, name in enumerate(found.names)}
    probabilities = wells[[name for name in wells if name.startswith(PROBABILITY)]]
    predicted = wells["Predicted_MOA"] if "Predicted_MOA" in wells else pd.Series("", index=wells.index)
    common = predicted.value_counts().index
    chosen = sorted(probabilities, key=lambda name: (name.removeprefix(PROBABILITY) not in common, name))[:CHOICES]
    doses = wells["Metadata_Concentration"].astype(float)
    treatment = [-1 if control else numbers.get((str(compound), float(dose)), -1) for control, compound, dose in
                 zip(wells["Control"], wells["Metadata_Compound"], doses.fillna(-1), strict=True)]
    known = [name or (mechanisms[row] if row >= 0 else "")  # "" of a well that is not predicted
             for name, row in zip(wells["Metadata_MOA"], treatment, strict=True)]
    names = ["", *sorted({*known, *predicted} - {""})]
    place = {name: number for number, name in enumerate(names)}
    return {
        "names": found.names, "rows": found.rows, "columns": found.columns,
        "plate": [order[name] for name in wells[plates.PLATE]], "row": wells["Row"].tolist(),
        "column": wells["Column"].tolist(), "treatment": treatment, "control": wells["Control"].astype(int).tolist(),
        "well": [well_names.well_name(row, column) if row >= 0 else str(name) for row, column, name in
                 zip(wells["Row"], wells["Column"], wells[plates.WELL], strict=True)],
        "names_of": names, "known": [place[name] for name in known],
        "predicted": [place[name] for name in predicted],
        "probability": to_numbers(probabilities.max(axis=1)) if len(probabilities.columns) else [],
        "probabilities": {name.removeprefix(PROBABILITY): _per_mille(wells[name]) for name in chosen},
        "flags": wells["Flags"].tolist() if "Flags" in wells else [],
        "compound": [str(name) if number < 0 else "" for name, number in
                     zip(wells["Metadata_Compound"], treatment, strict=True)],
        "measures": {name: {"title": title, "values": to_numbers(wells[name])} for name, title in found.measures.items()}}


def _per_mille(shares: pd.Series) -> list[int | None]:
    """Return shares as whole numbers, which take a third of the letters."""
    return [None if share != share else round(1000 * share) for share in shares.astype(float).tolist()]


def _first(frame: pd.DataFrame, shown: list[treatments.Column]) -> list[list[str]]:
    """Return the first rows as the page shows them without scripts."""
    return [[_text(row[column.name], column.kind) for column in shown] for row in frame.head(FIRST).to_dict("records")]


def _text(value: Any, kind: str) -> str:
    if kind in ("text", "mechanism"):
        return str(value)
    if value != value:
        return "–"
    return {"share": f"{value:.2f}", "count": f"{value:.0f}", "p": f"{value:.2g}"}.get(kind, f"{value:.4g}")


def _missing(decisions: pd.DataFrame | None, quality: pd.DataFrame | None, of_pictures: list[Any], left_out: int,
             placed: PlacedTreatments) -> list[str]:
    again = "evaluate again to have them"
    return [words for is_missing, words in (
        (decisions is None, f"Calibrated confidence, activity and nearest known compounds: no {results.DECISIONS} here; "
                            f"{again}."),
        (quality is None, f"Cell counts, focus and flags of quality: no {results.QUALITY} here; {again}."),
        (not of_pictures, f"Pictures of treatments: no {results.PICTURES} here; {again}."),
        (left_out, f"Pictures of the last {left_out:,} treatments, which would make the page too large: the folder gallery "
                   "has them."),
        (not placed.projections, f"A map: it takes {places.FEWEST} treatments that are not all alike.")) if is_missing]
