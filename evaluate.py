"""Score a checkpoint on compounds it never saw.   python evaluate.py --checkpoint RUN_OR_FILE [--out DIR]

Checkpoint -> predictions of fields, wells, treatments, compounds, and profiles -> scores.  Runs under torchrun too.
"""

import sys

from mscnn.cli import parse
from mscnn.core import activity, errors
from mscnn.distributed import launchers
from mscnn.evaluation.settings import EvaluationSettings

if __name__ == "__main__":  # settings come before torch is imported, so that --help and refusals come at once
    SETTINGS = errors.run(lambda: parse.evaluate(sys.argv[1:]), is_reporter=launchers.is_rank_zero)
    if SETTINGS.bind:
        launchers.drop_openmp_binding()

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mscnn.core import config, files, machine, memory
from mscnn.core.logs import log, open_logs, progress
from mscnn.data.pixels.reader import FieldReader
from mscnn.data.tables import splits
from mscnn.distributed import core_binding, core_plan, heartbeat, world
from mscnn.evaluation import aggregate, load_run, results
from mscnn.model import MCNN
from mscnn.model.acceleration import Acceleration
from mscnn.training import checkpoint
from mscnn.training.trainer import predict


def main(settings: EvaluationSettings) -> None:
    """One evaluation."""
    ranks = world.init(settings.backend, join_seconds=settings.join_timeout)
    out = Path(settings.out or Path(settings.checkpoint) / "evaluation")
    ranks.run_on_all_or_raise(lambda: files.make_output_folder(out / "log"))
    open_logs(ranks.rank, None)
    if ranks.rank == 0:
        heartbeat.remove_stale(out / "log")
    ranks.require_equal(**machine.versions())
    heartbeat.write_to(out / "log")
    plan = core_binding.bind_rank(ranks, settings)
    memory.keep_memory()
    path, content = ranks.run_on_all_or_raise(lambda: checkpoint.read(Path(settings.checkpoint)))
    with errors.details_to_file(out, speak=ranks.rank == 0):
        chosen = load_run.select_sites(settings, content, ranks)
        scale, notes = load_run.load_scale(settings, content, chosen.table, ranks)
    fields = FieldReader(chosen.table, scale, tuple(content["image_size"]))
    network = load_run.load_network(content, Acceleration())
    all_views = config.from_flat(content["config"]).aggregation.tta == "flips-turns"
    probabilities, features = run_network(settings, network, fields, ranks, plan, all_views)
    ranks.shutdown()
    activity.clear()  # pictures take as long as they take
    if ranks.rank == 0:
        results.begin(out)
        (out / "gallery" / "gallery.json").unlink(missing_ok=True)
        for note in (notes := chosen.notes + notes + checkpoint.caveats(path, content)):
            log.warning("NOTE: %s", note)
        aggregate.field_profiles(chosen.table, features).assign(Metadata_Scored=chosen.is_scored).to_parquet(
            out / results.PROFILES, index=False)
        predictions = aggregate.field_predictions(chosen.scored(), probabilities[chosen.is_scored], content["classes"])
        described = description(content, chosen, path, notes)
        if settings.examples:
            show_examples(settings, network, fields, np.flatnonzero(chosen.is_scored), predictions, described, out)
        results.write(predictions, described, out)


def run_network(settings: EvaluationSettings, network: MCNN, fields: FieldReader, ranks: world.World,
                plan: core_plan.Plan, all_views: bool) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (S, K) and features (S, 512) of all sites of the table, in float32 whatever trained the network."""
    number = len(fields.table)
    heartbeat.set_time_limit(settings.step_timeout, "--step-timeout")
    with progress(number, "predicting", ranks.rank, unit="field") as shown:
        probabilities, features = predict(
            network, fields, np.arange(number), microbatch=settings.microbatch, world=ranks,
            acceleration=Acceleration(), all_views=all_views,
            loader_thread_init=core_binding.loader_binding(plan, settings),
            advance=lambda done: shown.advance(min(done * ranks.size, number - shown.done)))
    if not np.isfinite(probabilities).all():
        raise errors.DataError(f"{settings.checkpoint}: the network gives scores that are not finite; train again")
    return probabilities, features


def show_examples(settings: EvaluationSettings, network: MCNN, fields: FieldReader, scored: np.ndarray,
                  predictions: pd.DataFrame, described: dict[str, Any], out: Path) -> None:
    """Pictures of fields for the report; scored: places in the table of the predictions' rows."""
    from mscnn.report import gallery  # here: it takes seconds

    rules = {name: described[name] for name in ("control", "aggregate_wells", "aggregate_treatments")}
    gallery.write(predictions, aggregate.aggregate(predictions, **rules)["treatments"],
                  lambda row: fields.read(scored[[row]])[0], network, classes=described["classes"],
                  channels=described["channels"], out=out, examples=settings.examples)


def description(content: dict[str, Any], chosen: load_run.EvaluationSites, path: Path, notes: list[str]) -> dict[str, Any]:
    """What a reader of the scores must know."""
    scored, run = chosen.scored(), config.from_flat(content["config"])
    return {"checkpoint": str(path), "step": content["step"], "compounds": splits.treated_compounds(scored),
            "control": scored.control, "channels": content["channels"],
            "classes": content["classes"],
            "notes": notes, "aggregate_wells": run.aggregation.aggregate_wells,
            "aggregate_treatments": run.aggregation.aggregate_treatments, "tta": run.aggregation.tta,
            "head": run.aggregation.head, "seed": run.run.seed,
            "split": {key: value for key, value in content["split"].items() if key != "sides"},
            "environment": machine.environment()}


if __name__ == "__main__":
    errors.run(lambda: heartbeat.watch(lambda: main(SETTINGS), SETTINGS.start_timeout), is_reporter=launchers.is_rank_zero,
               on_exit=launchers.exit_rank)
