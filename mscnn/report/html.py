"""`python -m mscnn report RUN...`: runs -> one HTML file that needs no other.

It reads what the runs have written and computes no prediction.  Everything that comes from a table is escaped.
"""

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from mscnn.core.errors import DataError
from mscnn.core.files import write_atomically
from mscnn.evaluation import aggregate, profile_table, resampling, scoring
from mscnn.report import figures
from mscnn.report.run import LEVELS, Run

EXAMPLES = 12      # right ones, and as many wrong ones, at most
LIMIT = 10_000_000  # bytes of a report
PICTURE = r"\d+(-(channel|scale)-\d+)?\.jpg"  # as gallery.py names its files
CHANCE = 0.05      # a shortcut whose labels, permuted over compounds, score as high more often than this is at chance
# NSC / NSCB in per cent, of 1-nearest-neighbour matching over BBBC021's 103 and 92 treatments.
PUBLISHED = (("Ljosa et al. 2013", "factor analysis of CellProfiler features", 94, 77),
             ("Singh et al. 2014", "illumination correction", 90, 85),
             ("Pawlowski et al. 2016", "transferred network", 91, None),
             ("Ando et al. 2017", "transferred network, sphered", 96, 95),
             ("Godinez et al. 2017", "this network, leave one compound out", 93, None),
             ("Caicedo et al. 2018", "weakly supervised", 95, 89),
             ("Janssens et al. 2021", "unsupervised clusters", 97, 85),
             ("Cross-Zamirski et al. 2022", "self-supervised", 98, 96))


@dataclass(frozen=True)
class Picture:
    """An image in the page: its data address, and what it shows in words."""

    source: str
    words: str


def write(runs: list[Run], out: Path) -> int:
    """Write the report, whole or not at all; returns its bytes."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True,
                                     undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": lambda share: f"{100 * share:.1f} %", "whole": lambda share: f"{100 * share:.0f} %"}
    text = environment.get_template("report.html").render(runs=[_shown(run) for run in runs], published=PUBLISHED,
                                                          levels=LEVELS, chance=CHANCE)
    with write_atomically(out) as partial:
        partial.write_text(text, encoding="utf-8")
    return out.stat().st_size


def _shown(run: Run) -> dict[str, Any]:
    """What the template shows of one run."""
    fields, treatments = run.tables["fields"], run.tables["treatments"]
    names = [name.removeprefix("Probability_") for name in fields if name.startswith("Probability_")]
    styles = figures.style_of([*{*names, *treatments["Metadata_MOA"]} - {"", run.described["control"]}])
    scored = [level for level in ("fields", "treatments") if run.scores[level]["total"]]
    matrices = {level: scoring.confusion(run.tables[level]) for level in scored}
    real = {name: own for name, own in run.baselines.items() if own["kind"] == "real"}
    return {
        "name": run.path.name, "run": run, "splits": run.splits(), "leaks": run.leaks(), "real": real,
        "compared": _compared(run, fields), "shortcuts": _shortcuts(run.baselines),
        "bars": {level: _picture(figures.compared(_bars(run, real, level), level), f"bars of {level} right")
                 for level in scored},
        "confusion": {level: _picture(drawn, f"confusion matrix of {level}")
                      for level, drawn in figures.confusions(matrices).items()},
        "mechanisms": [{**row, "treatments": own} for row, own in _by_mechanism(fields, treatments)],
        "doses": [(mechanism, compound, _picture(drawn, f"dose curve of {compound}"))
                  for (mechanism, compound), drawn in figures.doses(run.tables["wells"], styles).items()],
        "maps": {name: _picture(drawn, f"{name} of treatments") for name, drawn in _maps(run, styles).items()},
        "examples": _examples(run.gallery), "learning": _picture(figures.learning(run.folds), "training loss by epoch"),
        "throughput": _throughput(run), "settings": run.settings, "channels": run.channels(),
        "environment": next((fold.environment for fold in run.folds if fold.environment), {})}


def _bars(run: Run, real: dict[str, Any], level: str) -> list[tuple[str, dict, str]]:
    largest = {"largest class": run.baselines["largest class"]} if run.baselines else {}
    return [("the network", run.scores[level], figures.NETWORK),
            *((name, own["held out"][level], figures.REAL if name in real else figures.SHORTCUT)
              for name, own in {**real, **largest}.items())]


def _best(real: dict[str, Any]) -> str | None:
    """The baseline that gets most fields right."""
    return max(real, key=lambda name: real[name]["held out"]["fields"]["correct"], default=None)


def _compared(run: Run, fields) -> dict[str, Any] | None:
    """The network beside the best baseline that sees the cells, field by field, by compound."""
    best = _best({name: own for name, own in run.baselines.items() if own["kind"] == "real"})
    if best is None:
        return None
    theirs, ours = run.baselines[best]["held out"]["compounds' fields"], scoring.by_compound(fields)
    compounds = sorted({*theirs} & {*ours})
    if not compounds:
        return None
    counts = np.array([(ours[name][0], theirs[name][0], ours[name][1]) for name in compounds])
    found = resampling.difference(*counts.T)
    more = int(counts[:, 0].sum() - counts[:, 1].sum())
    told = ("so few compounds cannot tell which is better" if len(compounds) < resampling.FEW
            else "by compound, the difference is more than chance" if found["low"] > 0 or found["high"] < 0
            else "by compound, chance may make such a difference")
    return {"name": best, "baseline": run.baselines[best]["held out"], "more": more, "told": told,
            "few": len(compounds) < resampling.FEW, **found}


def _shortcuts(baselines: dict[str, Any]) -> list[dict[str, Any]]:
    """What each shortcut would get, and what that means."""
    rows = []
    for name, own in baselines.items():
        if own["kind"] != "shortcut" or name == "largest class":
            continue
        held_out, at_random = own["held out"]["fields"], own["random"] and own["random"]["fields"]
        if at_random is None or held_out["interval"]["compounds"] < resampling.FEW:
            rows.append({"name": name, "held_out": held_out, "random": at_random, "bad": False,
                         "verdict": "too few compounds, or fields, to tell"})
            continue
        gives_away, tempting = (score["permuted"]["p"] is not None and score["permuted"]["p"] <= CHANCE
                                for score in (held_out, at_random))
        rows.append({"name": name, "held_out": held_out, "random": at_random, "bad": gives_away, "verdict": (
            "tells the mechanism of what was tested: part of the score may come from it" if gives_away
            else "would be learned from a random split; leaving compounds out prevents it" if tempting
            else "tells nothing here")})
    return rows


def _by_mechanism(fields, treatments) -> list[tuple[dict, dict]]:
    by_treatment = {row["mechanism"]: row for row in scoring.by_mechanism(treatments).to_dict("records")}
    return [(row, by_treatment.get(row["mechanism"], {"correct": 0, "total": 0, "predicted": 0}))
            for row in scoring.by_mechanism(fields).to_dict("records")]


def _maps(run: Run, styles: dict[str, tuple[str, str]]) -> dict[str, str]:
    """Of one network's features of all treatments, or of the probabilities by networks that had not seen the compound."""
    if run.profiles is None:
        table = run.tables["treatments"][run.tables["treatments"]["Metadata_MOA"] != ""]
        features = table[[name for name in table if name.startswith("Probability_")]].to_numpy(float)
        ringed = (table["Predicted_MOA"] != table["Metadata_MOA"]).to_numpy()
        of, ring = "probabilities, each by a network that was trained without the compound", "wrong"
    else:
        read = profile_table.read(run.profiles)
        known = (read.metadata["Metadata_MOA"] != "").to_numpy() & ~read.is_control(run.described["control"])
        if read.metadata["Metadata_Compound"][known].nunique() < 2:
            return {}
        found, _ = aggregate.treatments(read, run.described["control"], wells=run.described["aggregate_wells"],
                                       treatment_by=run.described["aggregate_treatments"], need_batches=False)
        features, table = found.profiles_TF, found.frame
        ringed = table["Metadata_Compound"].isin(run.described["compounds"]).to_numpy()
        of, ring = "the network's 512 features", "held out"
    if len(features) < 4 or not np.ptp(features, axis=0).any():
        return {}
    return figures.maps(features, table["Metadata_MOA"].to_numpy(), ringed, ring, styles, of)


def _examples(gallery: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Wrong and right ones, spread over compounds, with their pictures inline."""
    chosen = {"wrong": [], "right": []}
    turn = {}
    for entry in gallery:
        key = (entry["predicted"] == entry["mechanism"], entry["compound"])
        turn[key] = turn.get(key, -1) + 1
        chosen["right" if key[0] else "wrong"].append((turn[key], len(chosen["right"]) + len(chosen["wrong"]), entry))
    return {kind: [entry | {"pictures": _pictures(entry)}
                   for *_, entry in sorted(found, key=lambda item: item[:2])[:EXAMPLES]] for kind, found in chosen.items()}


def _pictures(entry: dict[str, Any]) -> dict[str, Any]:
    names = entry["files"]
    return {kind: _file(entry["folder"], of) if isinstance(of, str) else [_file(entry["folder"], name) for name in of]
            for kind, of in names.items()}


def _throughput(run: Run) -> dict[str, Any]:
    done = [fold.summary for fold in run.folds if fold.summary]
    if not done:
        return {}
    return {"trainings": len(done), "fields": sum(own["fields"] for own in done),
            "hours": sum(own["seconds"] for own in done) / 3600,
            "images_per_second": float(np.median([own["images_per_second"] for own in done])),
            "peak_memory_gib": max(own["peak_memory_gib"] for own in done)}


def _picture(svg: str, words: str) -> Picture | None:
    return Picture("data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode(), words) if svg else None


def _file(folder: Path, name: str) -> str:
    if not re.fullmatch(PICTURE, name):  # else a run from elsewhere could name any file, and the page would hold it
        raise DataError(f"{folder}: {name!r} is no picture of a gallery; evaluate the run again")
    path = folder / name
    if not path.is_file():
        raise DataError(f"{path}: is missing; evaluate the run again")
    if path.resolve().parent != folder.resolve():  # as above: a link may name any file too
        raise DataError(f"{path}: is a link out of its gallery; evaluate the run again")
    return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()
