"""Score a checkpoint on compounds it never saw.   python evaluate.py --checkpoint RUN_OR_FILE [--out DIR]

Checkpoint -> predictions of fields, wells, treatments, compounds, and profiles -> scores.  Runs under torchrun too.
"""

import sys

from mscnn import commandline, errors, launchers

if __name__ == "__main__":  # settings come before torch is imported, so that --help and refusals come at once
    SETTINGS = errors.run(lambda: commandline.evaluate(sys.argv[1:]), speaks=launchers.speaks)
    if SETTINGS.bind:
        launchers.drop_openmp_binding()

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mscnn import accelerate, checkpoint, config, cpu, placement, profiles, rundir, trained, watchdog, world
from mscnn.data import splits
from mscnn.data.loader import Fields
from mscnn.engine import predict
from mscnn.log import log, open_logs, progress
from mscnn.model import MCNN
from mscnn.report import results


def main(settings: config.Evaluation) -> None:
    """One evaluation."""
    ranks = world.join(settings.backend, join_seconds=settings.join_timeout)
    out = Path(settings.out or Path(settings.checkpoint) / "evaluation")
    ranks.together(lambda: rundir.make(out / "log"))
    open_logs(ranks.rank, None)
    if ranks.rank == 0:
        watchdog.clear(out / "log")
    ranks.agree(**rundir.versions())
    watchdog.write_to(out / "log")
    plan = placement.settle(ranks, settings)
    cpu.keep_memory()
    path, content = ranks.together(lambda: checkpoint.read(Path(settings.checkpoint)))
    with errors.offenders_in(out, speak=ranks.rank == 0):
        chosen = trained.sites(settings, content, ranks)
        scale, notes = trained.scale(settings, content, chosen.table, ranks)
    fields = Fields(chosen.table, scale, tuple(content["image_size"]))
    network = trained.network(content, accelerate.Acceleration())
    all_views = config.from_flat(content["config"]).levels.views == "all"
    probabilities, features = run_network(settings, network, fields, ranks, plan, all_views)
    ranks.leave()
    watchdog.resting()  # pictures take as long as they take
    if ranks.rank == 0:
        results.begin(out)
        (out / "gallery" / "gallery.json").unlink(missing_ok=True)
        for note in (notes := chosen.notes + notes + checkpoint.notes(path, content)):
            log.warning("NOTE: %s", note)
        profiles.field_profiles(chosen.table, features).assign(Metadata_Scored=chosen.is_scored).to_parquet(
            out / results.PROFILES, index=False)
        predictions = profiles.field_predictions(chosen.scored(), probabilities[chosen.is_scored], content["classes"])
        described = description(content, chosen, path, notes)
        if settings.examples:
            show_examples(settings, network, fields, np.flatnonzero(chosen.is_scored), predictions, described, out)
        results.write(predictions, described, out)


def run_network(settings: config.Evaluation, network: MCNN, fields: Fields, ranks: world.World,
                plan: cpu.Plan, all_views: bool) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (S, K) and features (S, 512) of all sites of the table, in float32 whatever trained the network."""
    number = len(fields.table)
    watchdog.allow(settings.step_timeout, "--step-timeout")
    with progress(number, "predicting", ranks.rank, unit="field") as shown:
        probabilities, features = predict(
            network, fields, np.arange(number), microbatch=settings.microbatch, world=ranks,
            acceleration=accelerate.Acceleration(), all_views=all_views,
            enter_reader=placement.reader_binding(plan, settings),
            advance=lambda done: shown.advance(min(done * ranks.size, number - shown.done)))
    if not np.isfinite(probabilities).all():
        raise errors.DataError(f"{settings.checkpoint}: the network gives scores that are not finite; train again")
    return probabilities, features


def show_examples(settings: config.Evaluation, network: MCNN, fields: Fields, scored: np.ndarray, predictions: pd.DataFrame,
                  described: dict[str, Any], out: Path) -> None:
    """Pictures of fields for the report; scored: places in the table of the predictions' rows."""
    from mscnn.report import gallery  # here: it takes seconds

    rules = {name: described[name] for name in ("control", "well_by", "treatment_by")}
    gallery.write(predictions, profiles.aggregate(predictions, **rules)["treatments"],
                  lambda row: fields.read(scored[[row]])[0], network, classes=described["classes"],
                  channels=described["channels"], out=out, examples=settings.examples)


def description(content: dict[str, Any], chosen: trained.Chosen, path: Path, notes: list[str]) -> dict[str, Any]:
    """What a reader of the scores must know."""
    scored, run = chosen.scored(), config.from_flat(content["config"])
    return {"checkpoint": str(path), "step": content["step"], "compounds": splits.treated_compounds(scored),
            "control": scored.control, "channels": content["channels"],
            "classes": content["classes"],
            "notes": notes, "well_by": run.levels.well_by,
            "treatment_by": run.levels.treatment_by, "views": run.levels.views,
            "readout": run.levels.readout, "seed": run.run.seed,
            "split": {key: value for key, value in content["split"].items() if key != "sides"},
            "environment": rundir.environment()}


if __name__ == "__main__":
    errors.run(lambda: watchdog.watch(lambda: main(SETTINGS), SETTINGS.start_timeout), speaks=launchers.speaks,
               fails=launchers.end)
