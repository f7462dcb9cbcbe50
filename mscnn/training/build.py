"""What a run is made of: the data that it learns from, and the network with all that a step uses."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mscnn.core import config, errors, machine
from mscnn.core.logs import log
from mscnn.data.pixels.augment import Jitter
from mscnn.data.pixels.compare_counts import require_same_counts
from mscnn.data.pixels.count_statistics import CountsRecord
from mscnn.data.pixels.reader import FieldReader
from mscnn.data.pixels.scale import Scale, scale_from_record
from mscnn.data.tables import auto_split, splits
from mscnn.data.tables.site_table import SiteTable
from mscnn.distributed import core_binding, core_plan, world
from mscnn.distributed.sharded_linear import REPLICATED, SHARDED, ShardedLinear, bytes_sent, choose
from mscnn.model import MCNN
from mscnn.model.acceleration import choose_acceleration, nesterov_sgd
from mscnn.training import checkpoint, prepare_data
from mscnn.training.checkpoint import Checkpoint
from mscnn.training.choose_ways import choose_ways
from mscnn.training.contrast import build_contrast
from mscnn.training.ema import EMA
from mscnn.training.loss import LossModule
from mscnn.training.stop_signal import StopRequest
from mscnn.training.targets import build_targets
from mscnn.training.train_state import require_same_data, require_same_settings
from mscnn.training.trainer import Trainer

OWN = ("network.hidden.weight",)  # of LossModule: what differs between ranks where the first layer is sharded


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from."""

    table: SiteTable
    split: splits.Split
    scale: Scale                                     # from camera counts to the network's input
    counts: CountsRecord                             # sample type and distribution of the training images
    resumed_from: tuple[Path, Checkpoint] | None     # where the run continues; None where it starts


def load_data(settings: config.Config, ranks: world.World) -> TrainingData:
    """Read the table, split it, find the checkpoint to resume from, fit the scale and measure the counts; a collective."""
    table = ranks.run_on_all_or_raise(lambda: prepare_data.load_sites(
        settings.data, to_train=True, needs_labels=not settings.objective.is_label_free))
    table = prepare_data.with_shape(table, settings.data.size(), ranks, settings.network.downscale)
    asked = settings.split
    outer = Path(asked.split_within) if asked.split_within else None
    within = ranks.run_on_all_or_raise(lambda: splits.training_side(outer, table)) if outer else None
    split = make_split(settings, table, within)
    pixels = ranks.run_on_all_or_raise(lambda: prepare_data.sample_digest(table))
    ranks.require_equal(data=table.fingerprint(), pixels=pixels, split=splits.to_record(split, table).sha256)
    if settings.aggregation.head != "softmax":
        require_enough_for_lda(split, table)
    log.info("split: %s", splits.describe(split, table))
    if not len(split.test()) and not settings.objective.is_label_free:
        log.warning("no compound is held out, so that this run cannot be scored; name some with --hold-out, or choose "
                    "another --split-method")
    elif len(split.test()) and not split.leaks and table.is_control().any() and not splits.control_wells(split, table):
        log.info("no control well is held out, so that false positives cannot be counted; --hold-out-controls 0.2 holds a "
                 "fifth of them out")
    resumed_from = ranks.run_on_all_or_raise(lambda: find_resume_checkpoint(settings, split, table))
    ranks.require_equal(checkpoint=resumed_from[1].sha256 if resumed_from else "none")
    scale = (scale_from_record(resumed_from[1].scale) if resumed_from else
             prepare_data.fit_scale(table, split.train(), settings.data, ranks))
    counts = prepare_data.measure_counts(table, split.train(), ranks)
    if resumed_from and resumed_from[1].counts:
        require_same_counts(counts, resumed_from[1].counts, table.channels)
        counts = resumed_from[1].counts
    return TrainingData(table, split, scale, counts, resumed_from)


def make_split(settings: config.Config, table: SiteTable, within: np.ndarray | None = None) -> splits.Split:
    """Split the sites as the settings ask.  within: (S,) bool, the sites that are split; None: all."""
    asked, objective = settings.split, settings.objective
    shared: dict[str, Any] = {"folds": asked.folds, "fold": asked.fold, "within": within,
                              "hold_out_controls": asked.hold_out_controls, "seed": settings.run.seed,
                              "needs_labels": not objective.is_label_free}
    if asked.split_method == "auto":
        sees_all = objective.is_label_free and objective.transductive
        return auto_split.auto_split(table, hold_out=asked.hold_out, sees_all=sees_all, **shared)
    return splits.make_split(table, split=asked.split_method, hold_out=asked.hold_out or "none",
                             test_fraction=asked.test_fraction, **shared)


def require_enough_for_lda(split: splits.Split, table: SiteTable) -> None:
    """Raise UsageError for a training side on which the discriminant analysis at the end of training cannot be fitted."""
    labels = table.frame["mechanism"].iloc[split.train()]
    fields, mechanisms = int((labels != "").sum()), labels[labels != ""].nunique()
    if fields and fields <= mechanisms:
        raise errors.UsageError(f"--head lda needs more training fields than mechanisms, got {fields} fields of "
                                f"{mechanisms}; hold out fewer, or use --head softmax")


def find_resume_checkpoint(settings: config.Config, split: splits.Split,
                           table: SiteTable) -> tuple[Path, Checkpoint] | None:
    """Return the checkpoint to resume from, and its path; None to start.

    Raises UsageError or DataError for the checkpoint of another run.
    """
    if settings.run.resume != "auto" or settings.run.run_dir is None:
        return None
    latest = checkpoint.newest(Path(settings.run.run_dir) / checkpoint.FOLDER)
    if latest is None:
        return None
    path, saved = latest
    require_same_settings(settings, saved.settings)
    require_same_data(table, saved)
    splits.restore(saved.split, table)
    if splits.to_record(split, table).sha256 != saved.split.sha256:
        raise errors.DataError(f"{path} was trained on another split; name a new --run-dir")
    return latest


def build_trainer(settings: config.Config, data: TrainingData, ranks: world.World, plan: core_plan.Plan,
                  stop: StopRequest) -> tuple[Trainer, dict[str, dict[str, Any]]]:
    """Build the network and all that a step uses; return it, and {choice: {"asked", "used", ...}}; a collective."""
    objective, optim, classes = settings.objective, settings.optim, data.table.classes()
    aug = settings.augment
    jitter = Jitter(flips=aug.flips, quarter_turns=aug.quarter_turns, rotate=aug.rotate, zoom=aug.aug_zoom,
                    shift=aug.aug_shift, gain=aug.aug_gain, offset=aug.aug_offset, crop=aug.aug_crop,
                    gamma=aug.aug_gamma, dropout=aug.aug_dropout)
    torch.manual_seed(settings.run.seed)
    choices: dict[str, dict[str, Any]]
    acceleration, choices = choose_acceleration(settings.compute.accelerate, settings.compute.precision,
                                                machine.feature_flags())
    needs_plain_weights = objective.needs_no_labels() or optim.ema_decay or settings.aggregation.head != "softmax"
    if acceleration.backend == "ipex" and needs_plain_weights:
        raise errors.UsageError("--statistics-weight, --replicate-weight, --view-weight, --ema-decay and --head lda or "
                                "chosen do not go with --accelerate ipex, which packs the weights; use --accelerate native")
    assert data.table.shape is not None
    chosen = choose_ways(settings, data.table.shape, acceleration, ranks,
                         data.resumed_from[1].resume.numerics if data.resumed_from else None)
    choices |= {"kernel": chosen.kernel, "gradient": chosen.gradient}
    for name, report in choices.items():
        log.info("%s: asked %s, using %s: %s", name, report["asked"], report["used"], report["why"])
    for line in chosen.table:
        log.info("%s", line)
    asked = settings.network
    network = acceleration.prepare(MCNN(len(classes), *data.table.shape, head_relu=asked.head_relu, gradient=chosen.ways,
                                        kernel=asked.kernel, pooling=asked.pooling,
                                        downscale=asked.downscale))
    log.info("network: %s parameters, %d %s", f"{sum(p.numel() for p in network.parameters()):,}", len(classes),
             "mechanisms" if data.table.assays is None else "assays")
    choices["first layer"] = choose_first_layer(settings, network, ranks, acceleration.backend)
    log.info("first layer: asked %s, using %s: %s", *choices["first layer"].values())
    if is_sharded := choices["first layer"]["used"] == SHARDED:
        network.hidden = ShardedLinear(network.hidden, ranks, in_bfloat16=settings.compute.compress == "bfloat16")
    fields = FieldReader(data.table, data.scale, settings.data.size())
    bind_loader = core_binding.loader_binding(plan, settings.parallel)
    targets = build_targets(fields, data.split, objective, optim, ranks, bind_loader)
    contrast = build_contrast(objective, targets)
    loss_module = LossModule(network, optim.label_smoothing, objective.statistics_weight,
                             0 if targets.aux_targets is None else targets.aux_targets.shape[1],
                             objective.mechanism_weight, contrast=contrast is not None)
    optimiser = nesterov_sgd(loss_module, momentum=optim.momentum, weight_decay=optim.weight_decay)
    acceleration.take_over(network, optimiser)
    return Trainer(
        world=ranks, acceleration=acceleration, network=network, targets=targets, fields=fields, jitter=jitter,
        loss_module=ranks.to_ddp(loss_module, settings.compute.compress, own=OWN if is_sharded else ()),
        optimiser=optimiser,
        microbatch=optim.microbatch, clip_norm=optim.clip_norm, seed=settings.run.seed, contrast=contrast,
        ema=EMA(network, optim.ema_decay) if optim.ema_decay else None, stop_requested=stop,
        loader_thread_init=bind_loader), choices


def choose_first_layer(settings: config.Config, network: MCNN, ranks: world.World, backend: str) -> dict[str, str]:
    """Return {"asked", "used", "why"} for the first linear layer: sharded over the ranks, or replicated.

    Raises UsageError where it cannot be sharded as asked.
    """
    asked, in_bfloat16 = settings.compute.first_layer, settings.compute.compress == "bfloat16"
    why_not = "a single process" if ranks.size == 1 else "Intel's extension packs the weights" if backend == "ipex" else ""
    if why_not and asked == SHARDED and ranks.size > 1:
        raise errors.UsageError(f"--first-layer sharded: {why_not}; use --accelerate native, or --first-layer replicated")
    sent = bytes_sent(features=network.hidden.in_features, outputs=network.hidden.out_features,
                      minibatch=settings.optim.minibatch, size=ranks.size, in_bfloat16=in_bfloat16)
    used = REPLICATED if why_not else choose(sent) if asked == "auto" else asked
    counted = f"a rank would send {sent[SHARDED] / 1e6:.1f} MB sharded a step, {sent[REPLICATED] / 1e6:.1f} replicated"
    return {"asked": asked, "used": used, "why": why_not or counted}
