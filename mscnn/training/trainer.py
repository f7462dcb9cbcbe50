"""The loop: a step over a global minibatch, an epoch, an exact pass of prediction.

Shapes: S sites, N fields of a microbatch, C channels, H W pixels, K classes.
"""

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mscnn.core import activity
from mscnn.data.pixels.augment import Jitter
from mscnn.data.pixels.reader import FieldReader, prefetch
from mscnn.data.tables.sampler import microbatches, shard
from mscnn.distributed.world import World
from mscnn.model import MCNN, NUM_FEATURES
from mscnn.model.acceleration import Acceleration
from mscnn.training.ema import EMA
from mscnn.training.loss import loss_shares
from mscnn.training.targets import Targets


class Microbatch(NamedTuple):
    """A microbatch. weights_N: shares of the cross-entropy; targets_ND, shares_N: of the second task and of its loss, the
    same for all fields, 0 for padding; sites: their places in the table; last: of its step.
    """

    images_NCHW: Tensor
    labels_N: Tensor
    weights_N: Tensor
    targets_ND: Tensor | None
    shares_N: Tensor
    sites: np.ndarray
    last: bool


class StepResult(NamedTuple):
    """A step, known to all ranks but for `broken`. loss: of the whole minibatch; is_skipped: the gradient was not finite,
    and nothing was changed; broken: this rank's sites whose scores were not finite; is_told: a rank was told to stop.
    """

    loss: float
    is_skipped: bool
    nonfinite_sites: list[int]
    stop_requested: bool


@dataclass
class StepMetrics:
    """What has happened since the last line of the log."""

    steps: int = 0         # skipped ones left out
    fields: int = 0        # on this rank, padding left out
    loss: float = 0.0      # this rank's part of the sum over steps of the minibatch's mean loss
    labelled: int = 0      # those of them that have a say in the cross-entropy
    correct: int = 0
    waited: float = 0.0    # seconds this rank spent waiting for data
    started: float = field(default_factory=time.perf_counter)

    def reset(self) -> None:
        """Count from here."""
        self.__init__()

    def all_reduce(self, world: World) -> dict[str, float]:
        """Means over all ranks; a collective."""
        fields, loss, labelled, correct, waited = world.sum(self.fields, self.loss, self.labelled, self.correct,
                                                            self.waited)
        seconds = time.perf_counter() - self.started
        return {"loss": loss / self.steps if self.steps else math.nan, "accuracy": correct / max(labelled, 1),
                "images_per_second": fields / seconds, "data_wait": waited / (seconds * world.size)}


@dataclass(frozen=True)
class Trainer:
    """Everything a training step uses; lessons are those of the sites of the fields' table."""

    world: World
    acceleration: Acceleration
    network: MCNN
    loss_module: nn.Module    # the network with its loss, wrapped for several ranks
    optimiser: torch.optim.Optimizer
    fields: FieldReader
    targets: Targets
    jitter: Jitter
    microbatch: int
    clip_norm: float
    seed: int
    stop_requested: Callable[[], bool] = lambda: False  # whether this rank was told to stop
    ema: EMA | None = None  # of the weights, kept up with every step
    loader_thread_init: Callable[[], object] = lambda: None  # what the thread that reads ahead calls first

    def prefetch(self, epochs: Iterable[tuple[int, list[np.ndarray]]]) -> Generator[Microbatch, None, None]:
        """This rank's microbatches of the epochs' global minibatches, in order, the next one read while one is computed."""
        jobs = (partial(self._load_microbatch, minibatch, sites, real, last, epoch)
                for epoch, minibatches in epochs for minibatch in minibatches
                for sites, real, last in self._own_microbatches(minibatch))
        return prefetch(jobs, thread_init=self.loader_thread_init)

    def steps(self, loaded: Iterator[Microbatch], rates: list[float],
              tally: StepMetrics) -> Iterator[tuple[float, StepResult]]:
        """Take a step at each learning rate with the next minibatch of read_ahead, adding to the tally; yields both."""
        for rate in rates:
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            yield rate, self._step(loaded, tally)

    def warm_up_ddp(self) -> None:
        """A pass over nothing, so that the first step rounds as later ones do, of a run that begins or one that goes on.

        DistributedDataParallel deals gradients to buckets anew after its first backward, and sums over three ranks or more
        are rounded by their place in a bucket.  A collective.
        """
        if self.world.size > 1:
            *given, _, _ = self._load_microbatch(self.targets.train_sites[:1], self.targets.train_sites[:1], False, True, 0)
            with self.world.sync_only_if(self.loss_module, last=True):
                with self.acceleration.autocast():
                    result = self.loss_module(*given)
                with activity.during(activity.EXCHANGE):
                    result["loss"].backward()
            self.optimiser.zero_grad()

    def ema_weights(self) -> AbstractContextManager:
        """Within it the network has the weights that are saved: their running average, where one is kept."""
        return self.ema.swapped_in() if self.ema else nullcontext()

    def predict(self, sites: np.ndarray, all_views: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities and features of the given sites, known to all ranks; a collective."""
        return predict(self.network, self.fields, sites, microbatch=self.microbatch, world=self.world, all_views=all_views,
                       acceleration=self.acceleration, loader_thread_init=self.loader_thread_init)

    def fit_lda_head(self, sites: np.ndarray, all_views: bool) -> None:
        """Put linear discriminant analysis of these sites' features in the place of the last layer; a collective."""
        from mscnn.model.lda import fit_lda_layer  # here: scikit-learn takes as long to load as torch, and few runs need it

        last = self.network.classify
        with self.ema_weights(), torch.no_grad():
            fitted = fit_lda_layer(self.predict(sites, all_views)[1], self.targets.labels[sites], last.out_features)
            for parameter, values in zip((last.weight, last.bias), fitted, strict=True):
                parameter.copy_(torch.from_numpy(values))

    def is_finite(self) -> bool:
        """Whether all that a checkpoint has of the training are finite numbers; they are the same on all ranks."""
        held = [*self.loss_module.state_dict().values(), *(self.ema.shadow if self.ema else ())]
        for state in self.optimiser.state.values():
            held += [value for value in state.values() if isinstance(value, Tensor)]
        return all(bool(torch.isfinite(tensor).all()) for tensor in held)

    def _step(self, loaded: Iterator[Microbatch], tally: StepMetrics) -> StepResult:
        """One optimiser step; gradients travel between ranks with the last microbatch only.

        They are the same on all ranks then, and so is what is made of one that is not finite.
        """
        last, own_loss, broken = False, 0.0, []
        while not last:
            waiting = time.perf_counter()
            *given, sites, last = next(loaded)
            tally.waited += time.perf_counter() - waiting
            activity.set_activity("computing")
            with self.world.sync_only_if(self.loss_module, last=last):
                with self.acceleration.autocast():
                    result = self.loss_module(*given)
                with activity.during(activity.EXCHANGE if last and self.world.size > 1 else "computing"):
                    (result["loss"] * self.world.size).backward()  # ranks average, the objective's shares want a sum
            _, _, weights_N, _, shares_N = given
            own_loss += result["loss"].item()
            broken += sites[~(result["finite_N"] | (shares_N == 0)).numpy()].tolist()
            tally.correct += result["correct"].item()
            tally.labelled += int((weights_N > 0).sum())
            tally.fields += int((shares_N > 0).sum())
        loss, told = self.world.sum(own_loss, float(self.stop_requested()))
        is_skipped = not (self._clip_gradients() and math.isfinite(loss))
        if not is_skipped:
            self.optimiser.step()
            tally.loss += own_loss
            tally.steps += 1
            if self.ema:
                self.ema.update()
        self.optimiser.zero_grad()
        return StepResult(loss, is_skipped, broken, told > 0)

    def _clip_gradients(self) -> bool:
        """Scale the gradient down to clip_norm, where one is asked for; whether it is finite."""
        gradients = [parameter.grad for parameter in self.loss_module.parameters() if parameter.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if self.clip_norm:
            nn.utils.clip_grads_with_norm_(self.loss_module.parameters(), self.clip_norm, norm)
        return bool(torch.isfinite(norm))

    def _own_microbatches(self, minibatch: np.ndarray) -> list[tuple[np.ndarray, bool, bool]]:
        """This rank's microbatches of sites, whether they are real, and which is last; one field that is not where it has
        none.
        """
        own = shard(minibatch, rank=self.world.rank, size=self.world.size)
        if len(own) == 0:
            return [(minibatch[:1], False, True)]
        pieces = microbatches(own, self.microbatch)
        return [(sites, True, number == len(pieces)) for number, sites in enumerate(pieces, 1)]

    def _load_microbatch(self, minibatch: np.ndarray, sites: np.ndarray, real: bool, last: bool, epoch: int) -> Microbatch:
        images_NCHW = self.acceleration.place(self.fields.read(sites, self.jitter, (self.seed, epoch)))
        taught = self.targets
        return Microbatch(
            images_NCHW, torch.from_numpy(taught.labels[sites]), loss_shares(taught.weights, minibatch, sites) * real,
            None if taught.aux_targets is None else taught.aux_targets[sites],
            torch.full((len(sites),), real / len(minibatch)), sites, last)


def flips_and_turns(images_NCHW: Tensor) -> list[Tensor]:
    """The fields, their mirror images, and where they are square all that turned by a quarter."""
    turned = [images_NCHW, images_NCHW.transpose(2, 3)] if images_NCHW.shape[2] == images_NCHW.shape[3] else [images_NCHW]
    return [image.flip(axes) for image in turned for axes in ([], [2], [3], [2, 3])]


def predict(network: MCNN, fields: FieldReader, sites: np.ndarray, *, microbatch: int, world: World,
            acceleration: Acceleration, advance: Callable[[int], None] = lambda number: None,
            loader_thread_init: Callable[[], object] = lambda: None,
            all_views: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (S, K) and features (S, 512) float64 of the given sites, each computed once, known to all ranks.

    Ranks take whole microbatches, which are the same for any number of ranks: so are the numbers to the last bit, with the
    same threads a rank.
    advance: told how many sites this rank has just finished; all_views: features are means over `views` in place of those
    of the field as it is, and probabilities the classifier's of them.
    """
    pieces = shard(microbatches(np.arange(len(sites)), microbatch), rank=world.rank, size=world.size)
    num_classes = network.classify.out_features
    computed = np.zeros((len(sites), num_classes + NUM_FEATURES + 1))  # the last column counts
    network.eval()
    jobs = ((lambda piece=piece: acceleration.place(fields.read(sites[piece]))) for piece in pieces)
    with torch.inference_mode(), acceleration.autocast():
        for piece, images_NCHW in zip(pieces, prefetch(jobs, thread_init=loader_thread_init), strict=True):
            seen, found = flips_and_turns(images_NCHW) if all_views else [images_NCHW], []
            for view_NCHW in seen:
                activity.set_activity("predicting")
                found.append(network.features(acceleration.place(view_NCHW)))
            features_NF = torch.stack(found).mean(0)
            probabilities_NK = torch.softmax(network.classify(features_NF).double(), dim=1)
            computed[piece, :-1] = torch.cat([probabilities_NK, features_NF.double()], dim=1).numpy()
            computed[piece, -1] += 1
            advance(len(piece))
    network.train()
    computed = world.sum_array(computed)
    assert (computed[:, -1] == 1).all(), "a field was not predicted exactly once"
    return computed[:, :num_classes], computed[:, num_classes:-1]
