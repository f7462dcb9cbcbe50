"""From a checkpoint to its predictions: the sites, their scale, the network, and what it computes.

evaluate.py and the library (mscnn.load_run) share it, so that their numbers are equal to the last bit.
Shapes: S sites, K classes.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mscnn.core import config, identity
from mscnn.core.errors import DataError, UsageError, printable
from mscnn.core.logs import log
from mscnn.data.pixels import compare_counts as compare
from mscnn.data.pixels.reader import FieldReader
from mscnn.data.pixels.scale import Scale, scale_from_record
from mscnn.data.read_screen import read_screen
from mscnn.data.tables import splits
from mscnn.data.tables.available import is_available, left_out
from mscnn.data.tables.control import note_absence
from mscnn.data.tables.image_source import source_paths
from mscnn.data.tables.site_table import SiteTable
from mscnn.distributed.world import World
from mscnn.evaluation.settings import EvaluationSettings
from mscnn.model import MCNN
from mscnn.model.acceleration import Acceleration
from mscnn.training import prepare_data
from mscnn.training.checkpoint import Checkpoint
from mscnn.training.inference import predict

NOT_MEASURED = "plates that were not measured have the mean light and scale of those that were"
ONLY_HELD_OUT = "images of fields that were trained on are not there ({}), so profiles are of the held-out fields alone: " \
                "activity and nearest known compounds are not told"
SEEN_ALL = "one label-free network for all folds: it has seen the images of what it is scored on, without labels " \
           "(transductive); each compound is predicted by a read-out that was fitted without it"
LEARNT_APART = "the network was trained on these wells, and taught that control wells are alike and other treatments are " \
               "not: wells without effect seem active more often than q says; confirm hits by new wells"
SCALED = ("plates are scaled by their control wells, so the false positives among these are a little too few: wells "
          "that take no part in the scaling would be called more often")
SEEN = "the network has seen images of what it is scored on, without labels (--transductive)"


class LoadedScale(NamedTuple):
    """A scale for sites to run the network on."""

    scale: Scale
    notes: list[str]    # what a reader of the scores must know
    is_measured: bool   # in the sites themselves, so that another gain or offset of the counts is undone


@dataclass(frozen=True)
class EvaluationSites:
    """Sites to run the network on."""

    table: SiteTable
    is_scored: np.ndarray   # (S,) bool: the sites whose predictions count
    notes: list[str]        # what a reader of the scores must know
    over_compounds: bool = False  # each compound is predicted by a read-out that is fitted to the other ones

    def scored(self) -> SiteTable:
        """Return the sites whose predictions count."""
        return self.table.select(self.is_scored)


def select_sites(settings: EvaluationSettings, checkpoint: Checkpoint, ranks: World) -> EvaluationSites:
    """Return the held-out sites, or those of another table; unless --profiles held-out, those trained on too; a collective.

    Where a label-free network was trained on all compounds, all are predicted, each by a read-out fitted to the others.
    Raises DataError or UsageError on all ranks alike for sites that the network cannot predict.
    """
    data, split = ranks.run_on_all_or_raise(lambda: data_settings(settings, checkpoint)), checkpoint.split
    over_compounds = False
    if settings.another():
        table = ranks.run_on_all_or_raise(lambda: _other_screen(data, checkpoint))
        notes, is_scored = [*splits.overlap(split, table), *filter(None, [note_absence(table)])], np.ones(len(table), bool)
        notes += [*table.notes, *(f"in training, {note}" for note in split.notes)]
        if checkpoint.settings["transductive"] and identity.in_common(split.held_out, table.frame["compound"]):
            notes.append(SEEN)
    else:
        own = ranks.run_on_all_or_raise(lambda: own_sites(data, checkpoint, available=settings.available))
        table, is_scored, over_compounds, notes = own.table, own.is_scored, own.over_compounds, list(own.notes)
        if settings.profiles != "all" and not over_compounds and is_scored.any():
            lacking = ranks.gather(_lacking(table.select(~is_scored)) if ranks.rank == 0 else "")[0]
            if settings.profiles == "held-out" or lacking:
                table, is_scored = table.select(is_scored), np.ones(is_scored.sum(), bool)
                notes += [ONLY_HELD_OUT.format(lacking)] if settings.profiles == "auto" else []
    if not is_scored.any():
        raise UsageError("the checkpoint's split held nothing out; name a table to score with --sites")
    if note := note_one_effect(table, checkpoint.classes):
        notes.append(note)
    unknown = sorted(set(table.frame["mechanism"][is_scored]) - {"", *split.trained["mechanisms"]})
    if unknown and not is_of_assays(checkpoint):
        notes.append(f"mechanisms that were not trained, so always wrong: {'; '.join(unknown)}")
    table = prepare_data.with_shape(table, data.size(), ranks)
    ranks.require_equal(data=table.fingerprint(), pixels=prepare_data.sample_digest(table))
    _require_same_shape(table, data, checkpoint)
    return EvaluationSites(table, is_scored, notes, over_compounds)


def own_sites(data: config.Data, checkpoint: Checkpoint, *, available: bool = False) -> EvaluationSites:
    """Return all sites of the training's own table, and which are scored. Raises DataError where the table has changed.

    available: only the sites whose image files are all there.
    """
    split = checkpoint.split
    table = prepare_data.load_sites(data, needs_labels=not is_label_free(checkpoint), left_out=split.left_out)
    is_scored = splits.restore(split, table).side == splits.TEST
    notes = [*filter(None, [split.leaks, split.meaning]), *split.notes]
    if available and not (is_there := is_available(table.frame["files"])).all():
        notes.append(left_out(table.frame, is_there))
        if is_scored.any() and not is_scored[is_there].any():
            raise DataError("no held-out field has all its image files, as --available needs; name the folder they are in "
                            "with --image-root")
        table, is_scored = table.select(is_there), is_scored[is_there]
    if is_label_free(checkpoint) and not is_scored.any():
        return EvaluationSites(table, ~table.is_control(), [*notes, SEEN_ALL], over_compounds=True)
    return EvaluationSites(table, is_scored, [*notes, *([SEEN] if checkpoint.settings["transductive"] else [])])


def _lacking(table: SiteTable) -> str:
    """Return the first image file of the sites that is not there, and how many lack; "" where all are there."""
    sources = table.frame["record"].str[0] if "record" in table.frame else table.frame["files"].explode()
    paths = dict.fromkeys(path for source in sources.unique() for path in source_paths(source))
    missing = [path for path in paths if not Path(path).exists()]
    return f"{printable(missing[0])} and {len(missing) - 1} more" if len(missing) > 1 else "".join(map(printable, missing))


def note_one_effect(table: SiteTable, classes: list[str]) -> str:
    """Return what a reader must know of scores where a network tells the control from one mechanism; "" elsewhere."""
    if len(classes) != 2 or not set(table.frame["mechanism"][table.is_control()]) & set(classes):
        return ""
    return ("the network tells the control from one mechanism alone: treated fields that are right are those that are "
            "called, which says nothing without the control wells that are called too")


def is_label_free(checkpoint: Checkpoint) -> bool:
    """Return whether the network has learnt no mechanism."""
    return config.from_flat(checkpoint.settings).objective.is_label_free


def is_of_assays(checkpoint: Checkpoint) -> bool:
    """Return whether the network's outputs are assays, and not mechanisms."""
    return bool(checkpoint.settings.get("assays"))


def load_scale(checkpoint: Checkpoint, table: SiteTable, ranks: World, *, other_screen: bool) -> LoadedScale:
    """Return the scale of the training, or that of plates that are measured anew; a collective.

    other_screen: plates are not those of the training, so they are measured in their own reference wells.
    Raises DataError for fields of another size.
    """
    scale, notes = scale_from_record(checkpoint.scale), []
    is_measured = not scale.by_plate and scale.num_channels is None
    data = config.from_flat(checkpoint.settings).data
    reference = data.plate_reference or table.control
    if scale.by_plate and other_screen:
        own = np.flatnonzero(table.is_of(reference))
        if len(own):
            scale, is_measured = prepare_data.fit_scale(table, own, data, ranks), True
        else:
            notes.append(f"no wells of {reference} here: plates have the mean light and scale of training's")
            scale = scale.for_other_screen()
    if not notes and not scale.covers(table.frame["plate"]):
        notes.append(NOT_MEASURED)
    require_measured_size(scale, table, reference)
    return LoadedScale(scale, notes, is_measured)


def compare_counts(checkpoint: Checkpoint, table: SiteTable, ranks: World, *, is_measured: bool) -> list[str]:
    """Return how the camera counts of the sites differ from those of the training; a collective.

    is_measured: as in LoadedScale.  Raises DataError on all ranks alike for counts that the scale cannot be for.
    """
    assert table.native is not None
    if checkpoint.counts is None:
        compare.require_depth(table.native[3], max(checkpoint.scale.facts.get("mean", ()), default=0.0))
        return [compare.UNKNOWN]
    found = prepare_data.measure_counts(table, np.arange(len(table)), ranks)
    return compare.compare(found, checkpoint.counts, checkpoint.channels, is_measured=is_measured)


def require_measured_size(scale: Scale, table: SiteTable, reference: str) -> None:
    """Raise DataError for fields of another size than that at which plates were measured, in wells of the reference."""
    assert table.native is not None
    if scale.size not in (None, table.native[1:3]):
        height, width = scale.size
        raise DataError(f"fields are {table.native[1]}x{table.native[2]}, but plates were measured at {height}x{width}; "
                        f"score fields of that size, or a table with wells of {reference}")


def load_network(checkpoint: Checkpoint, acceleration: Acceleration) -> MCNN:
    """Return the network with its weights; kernel and gradient are the defaults: predictions differ by rounding at most."""
    shape = (len(checkpoint.channels), *checkpoint.image_size)
    network = MCNN(len(checkpoint.classes), *shape, head_relu=checkpoint.settings["head_relu"],
                   pooling=checkpoint.settings.get("pooling", "none"), downscale=checkpoint.settings.get("downscale", 1))
    network = acceleration.prepare(network)
    network.load_state_dict(checkpoint.network)
    return network


def predict_sites(checkpoint: Checkpoint, network: MCNN, fields: FieldReader, ranks: World, *, microbatch: int,
                  source: str, loader_thread_init: Callable[[], object] = lambda: None,
                  advance: Callable[[int], object] = lambda number: None) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities by the network's last layer (S, K) and features (S, 512) of all sites.

    In float32 for any precision of training.  A collective.  source: of the checkpoint, for errors; the rest as in
    inference.predict.  Raises DataError for scores that are not finite.
    """
    probabilities, features = predict(
        network, fields, np.arange(len(fields.table)), microbatch=microbatch, world=ranks,
        tta=config.from_flat(checkpoint.settings).aggregation.tta == "flips-turns", assays=is_of_assays(checkpoint),
        acceleration=Acceleration(), loader_thread_init=loader_thread_init, advance=advance)
    if not np.isfinite(probabilities).all():
        raise DataError(f"{source}: the network gives scores that are not finite; train again")
    return probabilities, features


def note_scaled_by_controls(checkpoint: Checkpoint, table: SiteTable) -> str:
    """Return a doubt about false positives of another table whose control wells scale their own plates, "" for none.

    A chosen read-out may centre features by the control wells of each plate, and --normalise plate scale pixels by them.
    """
    data = config.from_flat(checkpoint.settings).data
    by_pixels = data.normalise == "plate" and identity.is_same(data.plate_reference or table.control, table.control)
    by_features = checkpoint.readout is not None and checkpoint.readout.facts.get("plates") is not None
    return SCALED if (by_pixels or by_features) and table.is_control().any() else ""


def data_settings(settings: EvaluationSettings, checkpoint: Checkpoint) -> config.Data:
    """Return where the table is: the checkpoint's settings, replaced by those of the command line.

    Raises UsageError for the checkpoint's channels in another order.  Raises DataError where the checkpoint, which anybody
    can have made, names no file: /dev/zero would be read for ever.
    """
    data = dataclasses.replace(config.from_flat(checkpoint.settings).data, leave_out=settings.leave_out,
                               leave_out_flags=settings.leave_out_flags)
    asked = [name.strip() for name in (settings.channels or "").split(",")]
    if asked != checkpoint.channels and sorted(asked) == sorted(checkpoint.channels):
        raise UsageError(f"--channels {settings.channels}: the network sees channels in the order "
                         f"{','.join(checkpoint.channels)}; give that order, or leave --channels out")
    if settings.another():
        channels = None if settings.packed else settings.channels or ",".join(checkpoint.channels)
        data = dataclasses.replace(data, bbbc021=settings.bbbc021, sites=settings.sites, packed=settings.packed,
                                   columns=settings.columns, channels=channels, image_root=None, follow_links=None,
                                   assays=None, available=settings.available,
                                   concentration_unit=settings.concentration_unit)
    data = data.at(settings.data, settings.image_root, settings.follow_links)
    if settings.available and data.packed:
        raise UsageError("--available true is for image files, and all fields of a pack are there; leave it out")
    if settings.assays:
        if not is_of_assays(checkpoint):
            raise UsageError(f"--assays {settings.assays}: the network has learnt mechanisms, and no assays; leave it out")
        data = dataclasses.replace(data, assays=settings.assays)
    if data.sites and not (settings.sites or settings.data) and not Path(data.sites).is_file():
        raise DataError(f"{data.sites}: the checkpoint's site table is not there, or no file; say where it is with --data")
    return data


def _other_screen(data: config.Data, checkpoint: Checkpoint) -> SiteTable:
    """Return the sites of another screen than the training's, with the labels that the checkpoint has learnt."""
    table = splits.with_trained_spelling(read_screen(data), checkpoint.split)
    if not data.assays:
        return table
    table = prepare_data.with_assays(table, data)
    assert table.assays is not None
    if not (shared := identity.in_common(checkpoint.classes, table.assays.names)):
        raise DataError(f"{data.assays}: holds none of the {len(checkpoint.classes)} assays that the network has learnt; "
                        f"name its columns as there, as {checkpoint.classes[0]!r}")
    log.info("assays: %d of the %d that the network has learnt; others of the table: %d, left out", len(shared),
             len(checkpoint.classes), len(table.assays.names) - len(shared))
    return dataclasses.replace(table, assays=table.assays.reordered(checkpoint.classes))


def _require_same_shape(table: SiteTable, data: config.Data, checkpoint: Checkpoint) -> None:
    if data.packed and list(table.channels) != checkpoint.channels:
        raise DataError(f"{data.packed} holds channels {', '.join(table.channels)}, the checkpoint was trained on "
                        f"{', '.join(checkpoint.channels)}; pack them in that order with --channels")
    expected = (len(checkpoint.channels), *checkpoint.image_size)
    if table.shape != expected:
        raise DataError(f"fields are {table.shape} (channels, height, width), but the checkpoint was trained on "
                        f"{expected}; score a table of the same channels and size")
