"""`mscnn report RUN...`: runs -> one HTML file that needs no other file.

The report reads what runs have written and computes no prediction.  Everything that comes from a table is escaped.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from mscnn.core import words
from mscnn.core.files import write_atomically
from mscnn.evaluation import scoring
from mscnn.evaluation.scoring import LEVELS, Score
from mscnn.report import (
    assays,
    calibration,
    controls,
    data_urls,
    dose_section,
    examples,
    figures,
    palette,
    profile_section,
    published,
    quality_section,
    scope,
    verdicts,
)
from mscnn.report.assays import ShownAssays
from mscnn.report.controls import ShownControls
from mscnn.report.examples import ShownExamples
from mscnn.report.page import data as page_data
from mscnn.report.page import places, scripts
from mscnn.report.page.data import Explorer
from mscnn.report.page.places import PlacedTreatments
from mscnn.report.profile_section import ShownProfiles
from mscnn.report.quality_section import ShownQuality
from mscnn.report.run import Run
from mscnn.report.verdicts import CHANCE, LARGEST_CLASS, Comparison, RetrievalVerdict, Shortcut

ROWS = 500          # rows of a table, at most
DOSES = 60          # compounds whose dose curves are drawn, at most
NAMES = 40          # compounds that a cell names, at most
LIMIT = 10_000_000  # bytes of a report


@dataclass(frozen=True)
class Picture:
    """An image in the page."""

    source: str  # data URL
    words: str   # what it shows


@dataclass(frozen=True)
class MechanismRow:
    """The predictions of one true mechanism."""

    mechanism: str
    fields: Score
    treatments: Score
    predicted: int     # fields that are predicted to have it


@dataclass(frozen=True)
class Throughput:
    """The trainings that have ended."""

    trainings: int
    fields: int
    hours: float
    images_per_second: float  # median of the trainings
    peak_memory_gib: float    # of a process, largest of the trainings


@dataclass(frozen=True)
class ShownRun:
    """All that the template shows of a run."""

    run: Run
    compared: Comparison | None
    retrieved: RetrievalVerdict | None
    shortcuts: list[Shortcut]
    bars: dict[str, Picture]                      # {level: shares right of the network and of baselines}
    confusion: dict[str, Picture]                 # {level: matrix}
    reliability: dict[str, Picture]               # {level: of probabilities}; {} where the scores hold no calibration
    mechanisms: list[MechanismRow]
    doses: list[tuple[str, str, Picture]]         # mechanism, compound, dose curve
    new_doses: list[tuple[str, str, Picture]]     # likewise of compounds without a known mechanism, by the predicted one
    maps: dict[str, Picture]                      # {"PCA": ..., "UMAP": ...}
    scope: str                                    # on what was scored, the end of a sentence
    examples: ShownExamples | None                # None without a gallery
    unit: str                                     # of concentrations
    learning: Picture | None
    profiles: ShownProfiles | None                # None where they were not scored
    throughput: Throughput | None
    environment: dict[str, Any]                   # of the first training that wrote it
    assays: ShownAssays | None                    # None where mechanisms are predicted
    assays_picture: Picture | None
    controls: ShownControls | None                # None where no control well is scored
    quality: ShownQuality | None                  # None where it was not measured
    is_bbbc021: bool                              # all known compounds are of that screen, with which values were published
    explorer: Explorer | None                     # None for assays: their treatments have no predicted mechanism


def write(runs: list[Run], out: Path) -> int:
    """Write the report, whole or not at all; return its bytes."""
    shown = [_shown(run, number, len(runs)) for number, run in enumerate(runs, start=1)]
    text = environment().get_template("report.html").render(
        runs=shown, published=published.VALUES, levels=LEVELS, chance=CHANCE, most=ROWS, doses=DOSES,
        scripts=scripts.load() if any(each.explorer for each in shown) else scripts.Scripts([], scripts.policy([])),
        style=scripts.load_style())
    with write_atomically(out, alone=True) as partial:
        partial.write_text(text, encoding="utf-8")
    return out.stat().st_size


def environment() -> jinja2.Environment:
    """Return the environment of the templates: names are escaped, and a name that is not there is an error."""
    found = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True,
                               undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    found.filters |= {"names": _names, "number": words.counted, "thousands": lambda number: f"{number:,}",
                      "percent": lambda share: f"{100 * share:.1f} %", "whole": lambda share: f"{100 * share:.0f} %"}
    return found


def _shown(run: Run, number: int, runs: int) -> ShownRun:
    """Return what the page shows of a run; number: from 1, of so many runs."""
    fields, treatments = run.tables["fields"], run.tables["treatments"]
    names = [name.removeprefix("Probability_") for name in fields if name.startswith("Probability_")]
    styles = palette.mechanism_styles([*{*names, *treatments["Metadata_MOA"]} - {"", run.description.control}])
    scored = [level for level in ("fields", "treatments") if run.scores.by_level()[level].total]
    of_assays = assays.shown(run.scores.assays)
    most_doses = 0 if of_assays else DOSES  # the curves are of the true mechanism
    known_doses = _doses(run, dose_section.known(run.tables["wells"]), styles, most_doses)
    new = dose_section.predicted(run.tables["wells"], run.tables["compounds"], run.description.control)
    placed = places.place(run) if run.profiles or not of_assays else places.NOWHERE
    matrices = {level: scoring.confusion(run.tables[level], run.description.control) for level in scored}
    return ShownRun(
        run=run, compared=_compared(run), retrieved=verdicts.judge_retrieval(run.retrieval),
        shortcuts=verdicts.judge_shortcuts(run.baselines),
        bars={level: _picture(figures.compared(_bars(run, level), level), f"bars of {level} right") for level in scored},
        confusion={level: _picture(drawn, f"confusion matrix of {level}")
                   for level, drawn in figures.confusions(matrices).items()},
        reliability=_reliability(run), mechanisms=[] if of_assays else _by_mechanism(run),
        doses=known_doses, new_doses=_doses(run, new, styles, most_doses - len(known_doses)),
        maps={name: _picture(drawn, f"{name} of treatments") for name, drawn in _maps(run, placed, styles).items()},
        scope=scope.of_run(run), examples=examples.shown(run.gallery), unit=run.description.unit, learning=_learning(run),
        profiles=profile_section.shown(run.profile_scores, run.lists), throughput=_throughput(run),
        environment=next((fold.environment for fold in run.folds if fold.environment), {}), assays=of_assays,
        assays_picture=_picture(of_assays.picture, "ROC AUC of assays") if of_assays and of_assays.picture else None,
        controls=controls.shown(run.scores.controls, run.tables["wells"], run.description.control, run.baselines),
        quality=quality_section.shown(run.quality, run.description), is_bbbc021=published.is_bbbc021(treatments),
        explorer=None if of_assays else page_data.explore(run, placed, styles, number, runs))


def _compared(run: Run) -> Comparison | None:
    return verdicts.compare(run.baselines, run.tables, run.scores, run.description.control,
                            readout=run.scores.readout.chosen if run.scores.readout else "", folds=len(run.splits()) > 1)


def _names(names: list[str]) -> str:
    """Join names, the first NAMES of them."""
    return "; ".join(names[:NAMES]) + (f" and {len(names) - NAMES:,} more" if len(names) > NAMES else "")


def _bars(run: Run, level: str) -> list[tuple[str, Score, str]]:
    """Return name, score and colour of the network, of baselines that see the cells, and of the largest class."""
    real = verdicts.real_baselines(run.baselines)
    largest = {LARGEST_CLASS: run.baselines[LARGEST_CLASS]} if LARGEST_CLASS in run.baselines else {}
    return [("the chosen read-out" if run.scores.readout else "the network", run.scores.by_level()[level], palette.NETWORK),
            *((name, result.held_out.by_level()[level], palette.REAL if name in real else palette.SHORTCUT)
              for name, result in {**real, **largest}.items() if result.held_out.by_level()[level].total)]


def _doses(run: Run, wells: pd.DataFrame, styles: dict[str, tuple[str, str]],
           most: int) -> list[tuple[str, str, Picture]]:
    """Return mechanism, compound and dose curve of so many compounds, in the order of their wells."""
    drawn = figures.doses(wells, styles, most, run.description.unit)
    return [(mechanism, compound, _picture(svg, f"dose curve of {compound}"))
            for (mechanism, compound), svg in drawn.items()]


def _by_mechanism(run: Run) -> list[MechanismRow]:
    fields, treatments = (scoring.by_mechanism(run.tables[level], run.description.control)
                          for level in ("fields", "treatments"))
    by_treatment = {row["mechanism"]: Score(row["correct"], row["total"])
                    for row in treatments.to_dict("records")}
    return [MechanismRow(row["mechanism"], Score(row["correct"], row["total"]),
                         by_treatment.get(row["mechanism"], Score(0, 0)), row["predicted"])
            for row in fields.to_dict("records")]


def _maps(run: Run, placed: PlacedTreatments, styles: dict[str, tuple[str, str]]) -> dict[str, str]:
    """Draw the maps that are seen without scripts and in print; treatments that were held out, or are wrong, are ringed."""
    frame = placed.frame
    if run.profiles is None:
        of_frame = run.tables["treatments"]
        ringed, ring = (of_frame["Predicted_MOA"] != of_frame["Metadata_MOA"]) & (of_frame["Metadata_MOA"] != ""), "wrong"
    else:
        ringed, ring = frame["Metadata_Compound"].isin(run.description.compounds or []), "held out"
    is_some = ringed.to_numpy() & (not ringed.all())  # a ring about every treatment tells nothing
    return figures.maps(placed.projections, placed.of, frame["Metadata_MOA"].to_numpy(), is_some, ring, styles)


def _reliability(run: Run) -> dict[str, Picture]:
    found = run.scores.calibration
    return {level: _picture(drawn, f"reliability of probabilities of {level}")
            for level, drawn in calibration.reliability(found.by_level()).items()} if found else {}


def _learning(run: Run) -> Picture | None:
    drawn = figures.learning(run.folds)
    return _picture(drawn, "training loss by epoch") if drawn else None


def _throughput(run: Run) -> Throughput | None:
    done = [fold.summary for fold in run.folds if fold.summary]
    if not done:
        return None
    return Throughput(len(done), sum(summary.fields for summary in done), sum(summary.seconds for summary in done) / 3600,
                      float(np.median([summary.images_per_second for summary in done])),
                      max(summary.peak_memory_gib for summary in done))


def _picture(svg: str, words: str) -> Picture:
    return Picture(data_urls.of_svg(svg), words)
