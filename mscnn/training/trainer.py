"""A training step over a global minibatch, and the passes beside it: warm-up, prediction, the LDA head.

Shapes: S sites, M fields of the global minibatch, N fields of a microbatch, C channels, H W pixels, E numbers of an
embedding, D statistics of the auxiliary task.
"""

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from mscnn.core import activity
from mscnn.data.pixels.augment import Jitter
from mscnn.data.pixels.prefetch import prefetch
from mscnn.data.pixels.reader import FieldReader
from mscnn.data.tables.sampler import microbatches, occurrences, shard
from mscnn.distributed.sharded_linear import ShardedLinear
from mscnn.distributed.world import World
from mscnn.model import MCNN
from mscnn.model.acceleration import Acceleration
from mscnn.training.contrast import Contrast, ContrastResult
from mscnn.training.ema import EMA
from mscnn.training.inference import predict
from mscnn.training.loss import LossModule, loss_shares
from mscnn.training.targets import Targets


@dataclass(frozen=True)
class Microbatch:
    """The fields that a rank computes at once."""

    images_NCHW: Tensor
    labels_N: Tensor
    weights_N: Tensor           # shares of the global minibatch's cross-entropy; 0 for padding and unlabelled fields.
                                # Of assays labels and shares are (N, A)
    aux_targets_ND: Tensor | None # of the auxiliary task; None without it
    aux_shares_N: Tensor        # shares of the auxiliary loss: the same for all fields, 0 for padding
    sites_N: np.ndarray         # positions in the table
    places_N: np.ndarray        # in the global minibatch; none for padding
    minibatch_M: np.ndarray     # sites of the global minibatch
    rows_R: list[int]           # fields that each rank computes at the same time, padding among them
    is_last: bool               # of its step


class Share(NamedTuple):
    """What a rank computes at once of a global minibatch."""

    places_N: np.ndarray  # in the minibatch
    is_real: bool         # False: padding, one field that counts nowhere
    rows_R: list[int]     # fields that each rank computes at the same time, padding among them
    is_last: bool         # of its step


@dataclass(frozen=True)
class StepResult:
    """The outcome of a step; all ranks have the same but for nonfinite_sites."""

    loss: float                 # of the global minibatch
    is_skipped: bool            # the gradient was not finite, and nothing was changed
    nonfinite_sites: list[int]  # this rank's sites whose scores were not finite
    stop_requested: bool        # a rank was asked to stop


@dataclass
class StepMetrics:
    """What has happened since the last line of the log, on this rank."""

    steps: int = 0         # without skipped ones
    fields: int = 0        # without padding
    loss: float = 0.0      # this rank's part of the sum over steps of the minibatch's mean loss
    labelled: int = 0      # fields (of assays: cells) that count in the cross-entropy; label-free: that another attracts
    correct: int = 0       # of these; label-free: those whose nearest other field attracts them
    waited: float = 0.0    # seconds that this rank waited for data
    started: float = field(default_factory=time.perf_counter)

    def reset(self) -> None:
        """Count from here."""
        self.__init__()

    def all_reduce(self, world: World) -> dict[str, float]:
        """Return means over all ranks; a collective. Without a field that counts there is no accuracy."""
        fields, loss, labelled, correct, waited = world.sum(self.fields, self.loss, self.labelled, self.correct,
                                                            self.waited)
        seconds = time.perf_counter() - self.started
        accuracy = {"accuracy": correct / labelled} if labelled else {}
        return {"loss": loss / self.steps if self.steps else math.nan, **accuracy,
                "images_per_second": fields / seconds, "data_wait": waited / (seconds * world.size)}


@dataclass(frozen=True)
class Trainer:
    """Everything that a training step uses."""

    world: World
    acceleration: Acceleration
    network: MCNN
    loss_module: nn.Module                   # the network with its loss, wrapped for several ranks
    optimiser: torch.optim.Optimizer
    fields: FieldReader
    targets: Targets                         # of the sites of the fields' table
    jitter: Jitter
    microbatch: int                          # fields
    clip_norm: float                         # 0: off
    seed: int
    ema: EMA | None = None                   # of the weights, updated after every step
    contrast: Contrast | None = None         # losses over the embeddings of the global minibatch
    stop_requested: Callable[[], bool] = lambda: False  # whether this rank was asked to stop
    loader_thread_init: Callable[[], object] = lambda: None  # what the thread that reads ahead calls first

    @property
    def sharded(self) -> ShardedLinear | None:
        """The first linear layer, if each rank holds a part of it alone."""
        return self.network.hidden if isinstance(self.network.hidden, ShardedLinear) else None

    def prefetch(self, epochs: Iterable[tuple[int, list[np.ndarray]]]) -> Generator[Microbatch, None, None]:
        """Yield this rank's microbatches in order, reading the next one while one is computed.

        epochs: the number of each and its global minibatches, as positions in the table.
        """
        jobs = (partial(self._load_microbatch, minibatch, share, epoch) for epoch, minibatches in epochs
                for minibatch in minibatches for share in self._own_shares(minibatch))
        return prefetch(jobs, thread_init=self.loader_thread_init)

    def steps(self, loaded: Iterator[Microbatch], rates: list[float],
              metrics: StepMetrics) -> Iterator[tuple[float, StepResult]]:
        """Take a step at each learning rate with the next minibatch of `prefetch`; yield the rate and the result."""
        for rate in rates:
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            yield rate, self._step(loaded, metrics)

    def warm_up_ddp(self) -> None:
        """Run a pass over padding alone, so that the first step is rounded like later ones; a collective.

        DistributedDataParallel assigns gradients to buckets anew after its first backward, and sums over three ranks or
        more are rounded by their place in a bucket.
        """
        if self.world.size > 1:
            first = self.targets.train_sites[:1]
            padding = Share(np.zeros(1, dtype=int), is_real=False, rows_R=[1] * self.world.size, is_last=True)
            batch = self._load_microbatch(first, padding, epoch=0)
            with self.world.sync_only_if(self.loss_module, last=True):
                result = self._forward(batch)
                loss = result["loss"] + (result["embeddings_NE"].sum() * 0 if self.contrast else 0)
                with activity.during(activity.EXCHANGE):
                    loss.backward()
            self.optimiser.zero_grad()

    def ema_weights(self) -> AbstractContextManager:
        """Return a context in which the network has the weights that are saved: their moving average, where it is kept."""
        return self.ema.swapped_in() if self.ema else nullcontext()

    def predict(self, sites: np.ndarray, tta: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities and features of the given sites, known to all ranks; a collective."""
        with self.sharded.gathered() if self.sharded else nullcontext():  # ranks predict different numbers of fields
            return predict(self.network, self.fields, sites, microbatch=self.microbatch, world=self.world, tta=tta,
                           assays=self.fields.table.assays is not None, acceleration=self.acceleration,
                           loader_thread_init=self.loader_thread_init)

    def replace_last_layer(self, features_SF: np.ndarray, labels_S: np.ndarray) -> None:
        """Replace the last layer by linear discriminant analysis of features of the network with the weights of the EMA.

        With EMA the average weights get the new layer, and the live weights keep theirs.
        """
        from mscnn.model.lda import fit_lda_layer  # here: scikit-learn takes as long to load as torch, and few runs need it

        last = self.network.classify
        with self.ema_weights(), torch.no_grad():
            fitted = fit_lda_layer(features_SF, labels_S, last.out_features)
            for parameter, values in zip((last.weight, last.bias), fitted, strict=True):
                parameter.copy_(torch.from_numpy(values))

    def is_finite(self) -> bool:
        """Return whether all numbers that a checkpoint would hold are finite, on all ranks alike; a collective."""
        tensors = [*self.loss_module.state_dict().values(), *(self.ema.shadow if self.ema else ())]
        for state in self.optimiser.state.values():
            tensors += [value for value in state.values() if isinstance(value, Tensor)]
        is_finite = all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
        return not self.world.any(not is_finite) if self.sharded else is_finite

    def gather_wholes(self) -> dict[int, Tensor]:
        """Return on rank 0 the whole of each tensor that is sharded, by the address of its part; a collective.

        They are the weight, its momentum and its moving average.
        """
        if not (layer := self.sharded):
            return {}
        parts = [layer.weight.detach(), *self.optimiser.state[layer.weight].values()]
        parts += [average for average, parameter in zip(self.ema.shadow, self.network.parameters(), strict=True)
                  if parameter is layer.weight] if self.ema else []
        parts = [part for part in parts if isinstance(part, Tensor) and part.shape == layer.weight.shape]
        return {part.data_ptr(): whole for part in parts if (whole := layer.whole(part, only_on=0)) is not None}

    def _step(self, loaded: Iterator[Microbatch], metrics: StepMetrics) -> StepResult:
        """Take one optimiser step; ranks exchange gradients with its last microbatch only.

        The gradient is the same on all ranks then, and so is the decision to skip one that is not finite.
        """
        own_loss, nonfinite_sites = 0.0, []
        batches = self._batches_of_step(loaded, metrics)
        for batch, result in self._contrasted(list(batches), metrics) if self.contrast else self._backpropagated(batches):
            own_loss += result["loss"].item()
            nonfinite_sites += batch.sites_N[~(result["finite_N"] | (batch.aux_shares_N == 0)).numpy()].tolist()
            metrics.correct += int(result["correct"])
            metrics.labelled += int((batch.weights_N > 0).sum())
            metrics.fields += int((batch.aux_shares_N > 0).sum())
        loss, stops = self.world.sum(own_loss, float(self.stop_requested()))
        is_skipped = not (self._clip_and_check() and math.isfinite(loss))
        if not is_skipped:
            self.optimiser.step()
            metrics.loss += own_loss
            metrics.steps += 1
            if self.ema:
                self.ema.update()
        self.optimiser.zero_grad()
        return StepResult(loss, is_skipped, nonfinite_sites, stops > 0)

    def _batches_of_step(self, loaded: Iterator[Microbatch], metrics: StepMetrics) -> Iterator[Microbatch]:
        """Yield this rank's microbatches of a step; count how long each was waited for."""
        is_last = False
        while not is_last:
            waiting = time.perf_counter()
            batch = next(loaded)
            is_last = batch.is_last
            metrics.waited += time.perf_counter() - waiting
            activity.set_activity("computing")
            yield batch

    def _backpropagated(self, batches: Iterable[Microbatch]) -> Iterator[tuple[Microbatch, dict[str, Tensor]]]:
        """Go forward and back with each microbatch; yield it with what _forward returns."""
        for batch in batches:
            with self.world.sync_only_if(self.loss_module, last=batch.is_last):
                result = self._forward(batch)
                self._backward(result["loss"], batch)
            yield batch, result

    def _contrasted(self, batches: list[Microbatch],
                    metrics: StepMetrics) -> Iterator[tuple[Microbatch, dict[str, Tensor]]]:
        """Do the same where the loss compares the embeddings of the global minibatch; a collective.

        All embeddings come first, then each microbatch goes back from their gradients.  The first microbatch goes forward
        once, the others twice.
        """
        first, others = batches[0], batches[1:]
        with self.world.sync_only_if(self.loss_module, last=first.is_last):
            result = self._forward(first)
            embeddings = [result["embeddings_NE"].detach(), *map(self._embed, others)]
            contrast = self._contrast_of_step(batches, embeddings, metrics)
            surrogate = result["loss"] + _inner(result["embeddings_NE"], contrast.gradients_ME[first.places_N])
            self._backward(surrogate, first)
        yield first, {**result, "loss": result["loss"].detach() + contrast.loss / self.world.size}  # ranks add up losses
        for batch in others:
            with self.world.sync_only_if(self.loss_module, last=batch.is_last):
                result = self._forward(batch)
                surrogate = result["loss"] + _inner(result["embeddings_NE"], contrast.gradients_ME[batch.places_N])
                self._backward(surrogate, batch)
            yield batch, result

    def _contrast_of_step(self, batches: list[Microbatch], embeddings: list[Tensor],
                          metrics: StepMetrics) -> ContrastResult:
        """Return the contrast of the global minibatch from the embeddings of this rank's microbatches; a collective."""
        assert self.contrast is not None
        sites_M = batches[0].minibatch_M
        embeddings_ME = torch.zeros(len(sites_M), embeddings[0].shape[1])
        for batch, embeddings_NE in zip(batches, embeddings, strict=True):
            embeddings_ME[batch.places_N] = embeddings_NE[:len(batch.places_N)]
        self.world.sum_in_place(embeddings_ME)  # each place is filled on one rank: the sum is exact
        result = self.contrast.loss(embeddings_ME, sites_M)
        if self.world.rank == 0 and not self.targets.weights.any():
            metrics.correct += result.matched
            metrics.labelled += result.anchors
        return result

    def _embed(self, batch: Microbatch) -> Tensor:
        """Return the embeddings (N, E) of a microbatch, without a graph."""
        loss_module = cast(LossModule, getattr(self.loss_module, "module", self.loss_module))  # without its wrapper
        self._announce(batch)
        with torch.no_grad(), self.acceleration.autocast():
            return loss_module.embed(self.network.features(batch.images_NCHW))

    def _backward(self, loss: Tensor, batch: Microbatch) -> None:
        """Go back through the network; ranks exchange gradients at the last microbatch."""
        with activity.during(activity.EXCHANGE if batch.is_last and self.world.size > 1 else "computing"):
            (loss * self.world.size).backward()  # DDP averages over ranks, the shares must add up

    def _forward(self, batch: Microbatch) -> dict[str, Tensor]:
        """Return what LossModule.forward does, in the precision asked for."""
        self._announce(batch)
        with self.acceleration.autocast():
            return self.loss_module(batch.images_NCHW, batch.labels_N, batch.weights_N, batch.aux_targets_ND,
                                    batch.aux_shares_N)

    def _announce(self, batch: Microbatch) -> None:
        """Tell a sharded layer how many fields each rank is about to compute."""
        if self.sharded:
            self.sharded.rows_R = batch.rows_R

    def _clip_and_check(self) -> bool:
        """Clip the gradient to the norm clip_norm, if one is set; return whether it is finite, on all ranks alike."""
        gradients = {id(parameter): parameter.grad for parameter in self.loss_module.parameters()
                     if parameter.grad is not None}
        if self.sharded:
            own = gradients.pop(id(self.sharded.weight))
            squares = self.world.sum(float(own.norm()) ** 2)[0] + float(nn.utils.get_total_norm(gradients.values())) ** 2
            norm = torch.tensor(squares).sqrt()
        else:
            norm = nn.utils.get_total_norm(gradients.values())
        if self.clip_norm:
            nn.utils.clip_grads_with_norm_(self.loss_module.parameters(), self.clip_norm, norm)
        return bool(torch.isfinite(norm))

    def _own_shares(self, minibatch: np.ndarray) -> list[Share]:
        """Return what this rank computes of a minibatch, a microbatch at a time; without fields, one field of padding.

        Where the first linear layer is sharded, all ranks compute as many microbatches, some of them padding.
        """
        parts_R = [microbatches(shard(np.arange(len(minibatch)), rank=rank, size=self.world.size), self.microbatch)
                   for rank in range(self.world.size)]
        own = parts_R[self.world.rank]
        number = max(1, *map(len, parts_R if self.sharded else [own]))
        padding = np.zeros(1, dtype=int)
        return [Share(own[each] if each < len(own) else padding, each < len(own),
                      [len(parts[each]) if each < len(parts) else 1 for parts in parts_R], each == number - 1)
                for each in range(number)]

    def _load_microbatch(self, minibatch: np.ndarray, share: Share, epoch: int) -> Microbatch:
        places, is_real, targets = share.places_N, share.is_real, self.targets
        sites = minibatch[places]
        rows = targets.rows_of(sites)
        images_NCHW = self.acceleration.place(
            self.fields.read(sites, self.jitter, (self.seed, epoch), occurrences(minibatch)[places]))
        return Microbatch(
            images_NCHW=images_NCHW, labels_N=torch.from_numpy(targets.labels[rows]),
            weights_N=loss_shares(targets.weights, targets.rows_of(minibatch), rows) * is_real,
            aux_targets_ND=None if targets.aux_targets is None else targets.aux_targets[sites],
            aux_shares_N=torch.full((len(sites),), is_real / len(minibatch)), sites_N=sites,
            places_N=places[:len(places) * is_real], minibatch_M=minibatch, rows_R=share.rows_R, is_last=share.is_last)


def _inner(embeddings_NE: Tensor, gradients_NE: Tensor) -> Tensor:
    """Return the sum whose gradient by the embeddings is the one given; 0 for padding, whose gradients are none."""
    return (embeddings_NE[:len(gradients_NE)] * gradients_NE).sum()
