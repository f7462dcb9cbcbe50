"""Score a checkpoint on compounds it never saw.   python evaluate.py --checkpoint RUN_OR_FILE --out DIR

Checkpoint -> predictions of fields, wells, treatments, compounds -> scores.json, confusion.png.  Runs under torchrun too.
"""

import sys

from mscnn import commandline, errors, launchers

if __name__ == "__main__":  # settings come before torch is imported, so that --help and refusals come at once
    SETTINGS = errors.run(lambda: commandline.evaluate(sys.argv[1:]), speaks=launchers.speaks)
    if SETTINGS.bind:
        launchers.drop_openmp_binding()

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from mscnn import accelerate, checkpoint, config, cpu, placement, profiles, rundir, screen, world
from mscnn.data import splits
from mscnn.data.intensity import Intensity
from mscnn.data.loader import Fields
from mscnn.data.normalise import Normalisation
from mscnn.data.sources import read_table
from mscnn.data.tables import SiteTable
from mscnn.engine import predict
from mscnn.log import log, open_logs, progress
from mscnn.model import MCNN
from mscnn.report import results


def main(settings: config.Evaluation) -> None:
    """One evaluation."""
    ranks = world.join(settings.backend, join_seconds=settings.join_timeout, step_seconds=settings.step_timeout)
    out = Path(settings.out)
    rundir.make(out)
    open_logs(ranks.rank, None)
    ranks.agree(**rundir.versions())
    plan = placement.settle(ranks, settings)
    cpu.keep_memory()
    path = ranks.together(lambda: checkpoint.find(Path(settings.checkpoint)))
    content = ranks.together(lambda: checkpoint.load(path))
    with errors.offenders_in(out, speak=ranks.rank == 0):
        table, notes = chosen_sites(settings, content, ranks)
        scale, more = scale_of(settings, content, table, ranks)
    probabilities = run_network(settings, content, table, scale, ranks, plan)
    if ranks.rank == 0:
        write(out, content, table, probabilities, path, notes + more)
    ranks.leave()


def chosen_sites(settings: config.Evaluation, content: dict[str, Any],
                 ranks: world.World) -> tuple[SiteTable, list[str]]:
    """The sites that are predicted, checked, and what a reader of the scores must know."""
    data, record = config.from_flat(content["config"]).data, content["split"]
    if settings.moved:
        data = dataclasses.replace(data, **{name: settings.moved for name in config.SCREENS if getattr(data, name)})
    if settings.another():
        channels = None if settings.packed else settings.channels or ",".join(content["channels"])
        data = dataclasses.replace(data, **{name: getattr(settings, name) for name in config.SCREENS},
                                   columns=settings.columns, channels=channels, image_root=None)
    if settings.image_root:
        data = dataclasses.replace(data, image_root=settings.image_root)
    if settings.another():
        table = ranks.together(lambda: read_table(data))
        notes = splits.overlap(record, table)
    else:
        labelled = ranks.together(lambda: screen.read_labelled(data))
        table = labelled.select(splits.restore(record, labelled).test())
        notes = [record["leaks"]] if record["leaks"] else []
    if len(table) == 0:
        raise errors.UsageError("the checkpoint's split held nothing out; name a table to score with --sites")
    table = screen.check(table, data.size(), ranks)
    if data.packed and list(table.channels) != content["channels"]:
        raise errors.DataError(f"{data.packed} holds channels {', '.join(table.channels)}, the checkpoint was trained on "
                               f"{', '.join(content['channels'])}; pack them in that order with --channels")
    expected = (len(content["channels"]), *content["image_size"])
    if table.shape != expected:
        raise errors.DataError(f"fields are {table.shape} (channels, height, width), but the checkpoint was trained on "
                               f"{expected}; score a table of the same channels and size")
    return table, notes


def run_network(settings: config.Evaluation, content: dict[str, Any], table: SiteTable, scale: Normalisation | Intensity,
                ranks: world.World, plan: cpu.Plan) -> np.ndarray:
    """Probabilities (S, K) of all sites of the table."""
    head_relu = content["config"]["head_relu"]
    acceleration = accelerate.Acceleration()  # scores are computed in float32, whatever trained the network
    network = acceleration.prepare(MCNN(len(content["classes"]), *table.shape, head_relu=head_relu))
    network.load_state_dict(content["network"])
    fields = Fields(table, scale, tuple(content["image_size"]))
    with progress(len(table), "predicting", ranks.rank, unit="field") as shown:
        probabilities = predict(
            network, fields, np.arange(len(table)), microbatch=settings.microbatch, world=ranks, acceleration=acceleration,
            enter_reader=placement.reader_binding(plan, settings),
            advance=lambda number: shown.advance(min(number * ranks.size, len(table) - shown.done)))
    if not np.isfinite(probabilities).all():
        raise errors.DataError(f"{settings.checkpoint}: the network gives scores that are not finite; train again")
    return probabilities


def scale_of(settings: config.Evaluation, content: dict[str, Any], table: SiteTable,
             ranks: world.World) -> tuple[Normalisation | Intensity, list[str]]:
    """As in training; plates of another table are measured in their own reference wells. And what a reader must know."""
    scale, notes = screen.restore(content["normalisation"]), []
    if not isinstance(scale, Intensity):
        return scale, notes
    data = config.from_flat(content["config"]).data
    reference = data.reference or table.control
    if settings.another():
        own = np.flatnonzero(table.is_of(reference))
        if len(own):
            scale = screen.measure(table, own, data, ranks)
        else:
            notes.append(f"no wells of {reference} here: plates have the mean light and scale of training's")
            scale = scale.of_no_plate()
    if not scale.covers(table.frame["plate"]):
        notes.append("plates that were not measured have the mean light and scale of those that were")
    _, height, width, _ = table.native
    if (height, width) != scale.size:
        raise errors.DataError(f"fields are {height}x{width}, but plates were measured at {scale.size[0]}x"
                               f"{scale.size[1]}; score fields of that size, or a table with wells of {reference}")
    return scale, notes


def write(out: Path, content: dict[str, Any], table: SiteTable, probabilities: np.ndarray, path: Path,
          notes: list[str]) -> None:
    """What a reader of the scores must know, then predictions, scores and pictures."""
    if alien := sorted(set(table.mechanisms()) - set(content["split"]["trained"]["mechanisms"])):
        notes = [*notes, f"mechanisms that were not trained, so always wrong: {'; '.join(alien)}"]
    rundir.write_json(out / results.EVALUATION, {
        "checkpoint": str(path), "compounds": splits.treated_compounds(table), "control": table.control, "notes": notes,
        "environment": rundir.environment()})
    for note in notes:
        log.warning("NOTE: %s", note)
    results.write(profiles.field_predictions(table, probabilities, content["classes"]), table.control, out)


if __name__ == "__main__":
    errors.run(lambda: main(SETTINGS), speaks=launchers.speaks, fails=launchers.end)
