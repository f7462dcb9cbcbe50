"""Score a checkpoint on compounds it never saw.   python evaluate.py --checkpoint RUN_OR_FILE --out DIR

Checkpoint -> predictions of fields, wells, treatments, compounds -> scores.json, confusion.png.  Runs under torchrun too.
"""

import sys

from mscnn import commandline, errors

if __name__ == "__main__":  # settings come before torch is imported, so that --help and refusals come at once
    SETTINGS = errors.run(lambda: commandline.evaluate(sys.argv[1:]))

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mscnn import accelerate, checkpoint, config, cpu, profiles, rundir, scoring, screen, world
from mscnn.data import splits
from mscnn.data.loader import Fields
from mscnn.data.normalise import Normalisation
from mscnn.data.tables import SiteTable
from mscnn.engine import predict
from mscnn.log import log, open_logs, progress
from mscnn.model import MCNN
from mscnn.report import confusion


def main(settings: commandline.Evaluation) -> None:
    """One evaluation."""
    ranks, out = world.join(), Path(settings.out)
    open_logs(ranks.rank, None)
    threads, _ = cpu.threads_per_rank(cpu.allowed_cores(), ranks.local_size, settings.threads)
    torch.set_num_threads(threads)
    path = checkpoint.find(Path(settings.checkpoint))
    content = checkpoint.load(path)
    with errors.offenders_in(out, speak=ranks.rank == 0):
        table, sites, notes = chosen_sites(settings, content, ranks)
        probabilities = run_network(settings, content, table, sites, ranks)
    if ranks.rank == 0:
        write(out, content, table.select(sites), probabilities, path, notes)
    ranks.leave()


def chosen_sites(settings: commandline.Evaluation, content: dict[str, Any],
                 ranks: world.World) -> tuple[SiteTable, np.ndarray, list[str]]:
    """The table, which of its sites are predicted, and what a reader of the scores must know."""
    data, record = config.from_flat(content["config"]).data, content["split"]
    if settings.image_root:
        data = dataclasses.replace(data, image_root=settings.image_root)
    if settings.sites:
        data = dataclasses.replace(data, bbbc021=None, sites=settings.sites, image_root=settings.image_root,
                                   columns=settings.columns, channels=settings.channels or ",".join(content["channels"]))
    table = screen.open_screen(data, ranks, labelled_only=not settings.sites)
    expected = (len(content["channels"]), *content["image_size"])
    if table.shape != expected:
        raise errors.DataError(f"fields are {table.shape} (channels, height, width), but the checkpoint was trained on "
                               f"{expected}; score a table of the same channels and size")
    if settings.sites:
        return table, np.arange(len(table)), splits.overlap(record, table)
    sites = splits.restore(record, table).test()
    if len(sites) == 0:
        raise errors.UsageError("the checkpoint's split held nothing out; name a table to score with --sites")
    return table, sites, [record["leaks"]] if record["leaks"] else []


def run_network(settings: commandline.Evaluation, content: dict[str, Any], table: SiteTable, sites: np.ndarray,
                ranks: world.World) -> np.ndarray:
    """Probabilities (S, K) of the chosen sites."""
    head_relu = content["config"]["head_relu"]
    network, _ = accelerate.prepare(MCNN(len(content["classes"]), *table.shape, head_relu=head_relu))
    network.load_state_dict(content["network"])
    fields = Fields(table, Normalisation(**content["normalisation"]), tuple(content["image_size"]))
    with progress(len(sites), "predicting", ranks.rank, unit="field") as shown:
        return predict(network, fields, sites, num_classes=len(content["classes"]), microbatch=settings.microbatch,
                       world=ranks, advance=lambda number: shown.advance(min(number * ranks.size, len(sites) - shown.done)))


def write(out: Path, content: dict[str, Any], table: SiteTable, probabilities: np.ndarray, path: Path,
          notes: list[str]) -> None:
    """Predictions at every level, scores and the confusion matrices; the scores are also printed."""
    out.mkdir(parents=True, exist_ok=True)
    levels = profiles.aggregate(profiles.field_predictions(table, probabilities, content["classes"]))
    levels["fields"].to_parquet(out / "predictions.parquet", index=False)
    for level, predictions in levels.items():
        predictions.to_csv(out / ("predictions.csv" if level == "fields" else f"{level}.csv"), index=False)
    if alien := sorted(set(table.mechanisms()) - set(content["split"]["trained"]["mechanisms"])):
        notes = [*notes, f"mechanisms that were not trained, so always wrong: {'; '.join(alien)}"]
    scores = scoring.scores(levels)
    rundir.write_json(out / "scores.json", scores)
    rundir.write_json(out / "evaluation.json", {"checkpoint": str(path), "compounds": splits.treated_compounds(table),
                                                "notes": notes, "environment": rundir.environment()})
    for note in notes:
        log.warning("NOTE: %s", note)
    if not scores["fields"]["total"]:
        log.info("no site has a known mechanism: predictions without scores in %s", out)
        return
    matrices = {level: scoring.confusion(levels[level]) for level in ("fields", "treatments")}
    confusion.draw(matrices, "Which mechanism is taken for which?", out / "confusion.png")
    for level, score in scores.items():
        log.info("%-11s %4d/%-4d right  %5.1f%%", level, score["correct"], score["total"],
                 100 * score["correct"] / score["total"])
    log.info("tables and pictures: %s", out)


if __name__ == "__main__":
    errors.run(lambda: main(SETTINGS))
