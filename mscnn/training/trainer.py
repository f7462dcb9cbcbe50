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
from mscnn.data.pixels.reader import Fields, ahead
from mscnn.data.tables.sampler import microbatches, shard
from mscnn.distributed.world import World
from mscnn.model import MCNN, NUM_FEATURES
from mscnn.model.acceleration import Acceleration
from mscnn.training.ema import Average
from mscnn.training.loss import loss_shares
from mscnn.training.targets import Lessons


class Loaded(NamedTuple):
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


class Taken(NamedTuple):
    """A step, known to all ranks but for `broken`. loss: of the whole minibatch; is_skipped: the gradient was not finite,
    and nothing was changed; broken: this rank's sites whose scores were not finite; is_told: a rank was told to stop.
    """

    loss: float
    is_skipped: bool
    broken: list[int]
    is_told: bool


@dataclass
class Tally:
    """What has happened since the last line of the log."""

    steps: int = 0         # skipped ones left out
    fields: int = 0        # on this rank, padding left out
    loss: float = 0.0      # this rank's part of the sum over steps of the minibatch's mean loss
    labelled: int = 0      # those of them that have a say in the cross-entropy
    correct: int = 0
    waited: float = 0.0    # seconds this rank spent waiting for data
    started: float = field(default_factory=time.perf_counter)

    def restart(self) -> None:
        """Count from here."""
        self.__init__()

    def over(self, world: World) -> dict[str, float]:
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
    objective: nn.Module    # the network with its loss, wrapped for several ranks
    optimiser: torch.optim.Optimizer
    fields: Fields
    lessons: Lessons
    jitter: Jitter
    microbatch: int
    clip_norm: float
    seed: int
    is_told: Callable[[], bool] = lambda: False  # whether this rank was told to stop
    average: Average | None = None  # of the weights, kept up with every step
    enter_reader: Callable[[], object] = lambda: None  # what the thread that reads ahead calls first

    def read_ahead(self, epochs: Iterable[tuple[int, list[np.ndarray]]]) -> Generator[Loaded, None, None]:
        """This rank's microbatches of the epochs' global minibatches, in order, the next one read while one is computed."""
        jobs = (partial(self._load, minibatch, sites, real, last, epoch)
                for epoch, minibatches in epochs for minibatch in minibatches
                for sites, real, last in self._pieces(minibatch))
        return ahead(jobs, enter=self.enter_reader)

    def steps(self, loaded: Iterator[Loaded], rates: list[float], tally: Tally) -> Iterator[tuple[float, Taken]]:
        """Take a step at each learning rate with the next minibatch of read_ahead, adding to the tally; yields both."""
        for rate in rates:
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            yield rate, self._step(loaded, tally)

    def rehearse(self) -> None:
        """A pass over nothing, so that the first step rounds as later ones do, of a run that begins or one that goes on.

        DistributedDataParallel deals gradients to buckets anew after its first backward, and sums over three ranks or more
        are rounded by their place in a bucket.  A collective.
        """
        if self.world.size > 1:
            *given, _, _ = self._load(self.lessons.sites[:1], self.lessons.sites[:1], False, True, 0)
            with self.world.accumulate(self.objective, last=True):
                with self.acceleration.autocast():
                    result = self.objective(*given)
                with activity.during(activity.EXCHANGE):
                    result["loss"].backward()
            self.optimiser.zero_grad()

    def averaged(self) -> AbstractContextManager:
        """Within it the network has the weights that are saved: their running average, where one is kept."""
        return self.average.in_place() if self.average else nullcontext()

    def predict(self, sites: np.ndarray, all_views: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities and features of the given sites, known to all ranks; a collective."""
        return predict(self.network, self.fields, sites, microbatch=self.microbatch, world=self.world, all_views=all_views,
                       acceleration=self.acceleration, enter_reader=self.enter_reader)

    def read_out(self, sites: np.ndarray, all_views: bool) -> None:
        """Put linear discriminant analysis of these sites' features in the place of the last layer; a collective."""
        from mscnn.model.lda import linear_layer  # here: scikit-learn takes as long to load as torch, and few runs need it

        last = self.network.classify
        with self.averaged(), torch.no_grad():
            fitted = linear_layer(self.predict(sites, all_views)[1], self.lessons.labels[sites], last.out_features)
            for parameter, values in zip((last.weight, last.bias), fitted, strict=True):
                parameter.copy_(torch.from_numpy(values))

    def is_finite(self) -> bool:
        """Whether all that a checkpoint has of the training are finite numbers; they are the same on all ranks."""
        held = [*self.objective.state_dict().values(), *(self.average.kept if self.average else ())]
        for state in self.optimiser.state.values():
            held += [value for value in state.values() if isinstance(value, Tensor)]
        return all(bool(torch.isfinite(tensor).all()) for tensor in held)

    def _step(self, loaded: Iterator[Loaded], tally: Tally) -> Taken:
        """One optimiser step; gradients travel between ranks with the last microbatch only.

        They are the same on all ranks then, and so is what is made of one that is not finite.
        """
        last, own_loss, broken = False, 0.0, []
        while not last:
            waiting = time.perf_counter()
            *given, sites, last = next(loaded)
            tally.waited += time.perf_counter() - waiting
            activity.set_activity("computing")
            with self.world.accumulate(self.objective, last=last):
                with self.acceleration.autocast():
                    result = self.objective(*given)
                with activity.during(activity.EXCHANGE if last and self.world.size > 1 else "computing"):
                    (result["loss"] * self.world.size).backward()  # ranks average, the objective's shares want a sum
            _, _, weights_N, _, shares_N = given
            own_loss += result["loss"].item()
            broken += sites[~(result["finite_N"] | (shares_N == 0)).numpy()].tolist()
            tally.correct += result["correct"].item()
            tally.labelled += int((weights_N > 0).sum())
            tally.fields += int((shares_N > 0).sum())
        loss, told = self.world.sum(own_loss, float(self.is_told()))
        is_skipped = not (self._clipped() and math.isfinite(loss))
        if not is_skipped:
            self.optimiser.step()
            tally.loss += own_loss
            tally.steps += 1
            if self.average:
                self.average.follow()
        self.optimiser.zero_grad()
        return Taken(loss, is_skipped, broken, told > 0)

    def _clipped(self) -> bool:
        """Scale the gradient down to clip_norm, where one is asked for; whether it is finite."""
        gradients = [parameter.grad for parameter in self.objective.parameters() if parameter.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if self.clip_norm:
            nn.utils.clip_grads_with_norm_(self.objective.parameters(), self.clip_norm, norm)
        return bool(torch.isfinite(norm))

    def _pieces(self, minibatch: np.ndarray) -> list[tuple[np.ndarray, bool, bool]]:
        """This rank's microbatches of sites, whether they are real, and which is last; one field that is not where it has
        none.
        """
        own = shard(minibatch, rank=self.world.rank, size=self.world.size)
        if len(own) == 0:
            return [(minibatch[:1], False, True)]
        pieces = microbatches(own, self.microbatch)
        return [(sites, True, number == len(pieces)) for number, sites in enumerate(pieces, 1)]

    def _load(self, minibatch: np.ndarray, sites: np.ndarray, real: bool, last: bool, epoch: int) -> Loaded:
        images_NCHW = self.acceleration.place(self.fields.read(sites, self.jitter, (self.seed, epoch)))
        taught = self.lessons
        return Loaded(
            images_NCHW, torch.from_numpy(taught.labels[sites]), loss_shares(taught.weights, minibatch, sites) * real,
            None if taught.targets is None else taught.targets[sites], torch.full((len(sites),), real / len(minibatch)),
            sites, last)


def views(images_NCHW: Tensor) -> list[Tensor]:
    """The fields, their mirror images, and where they are square all that turned by a quarter."""
    turned = [images_NCHW, images_NCHW.transpose(2, 3)] if images_NCHW.shape[2] == images_NCHW.shape[3] else [images_NCHW]
    return [image.flip(axes) for image in turned for axes in ([], [2], [3], [2, 3])]


def predict(network: MCNN, fields: Fields, sites: np.ndarray, *, microbatch: int, world: World,
            acceleration: Acceleration, advance: Callable[[int], None] = lambda number: None,
            enter_reader: Callable[[], object] = lambda: None, all_views: bool = False) -> tuple[np.ndarray, np.ndarray]:
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
        for piece, images_NCHW in zip(pieces, ahead(jobs, enter=enter_reader), strict=True):
            seen, found = views(images_NCHW) if all_views else [images_NCHW], []
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
