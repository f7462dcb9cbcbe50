"""The loop: a step over a global minibatch, an epoch, an exact pass of prediction.  Exercised by `pytest tests/ranks`.

Shapes: S sites, N fields of a microbatch, C channels, H W pixels, K classes.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from mscnn.accelerate import Acceleration
from mscnn.data.augment import Jitter
from mscnn.data.loader import Fields, ahead
from mscnn.data.sampler import microbatches, shard
from mscnn.model import MCNN, NUM_FEATURES
from mscnn.objective import loss_shares
from mscnn.world import World

Loaded = tuple[Tensor, Tensor, Tensor, bool]  # a microbatch: images_NCHW, labels_N, shares_N of the loss; the step's last


@dataclass
class Tally:
    """What has happened since the last line of the log."""

    steps: int = 0
    fields: int = 0        # on this rank, padding left out
    loss: float = 0.0      # this rank's part of the sum over steps of the minibatch's mean loss
    correct: int = 0
    waited: float = 0.0    # seconds this rank spent waiting for data
    started: float = field(default_factory=time.perf_counter)

    def restart(self) -> None:
        """Count from here."""
        self.__init__()

    def over(self, world: World) -> dict[str, float]:
        """Means over all ranks; a collective."""
        fields, loss, correct, waited = world.sum(self.fields, self.loss, self.correct, self.waited)
        seconds = time.perf_counter() - self.started
        return {"loss": loss / self.steps, "accuracy": correct / fields, "images_per_second": fields / seconds,
                "data_wait": waited / (seconds * world.size)}


@dataclass(frozen=True)
class Trainer:
    """Everything a training step uses; labels and weights are per site of the fields' table."""

    world: World
    acceleration: Acceleration
    network: MCNN
    objective: nn.Module    # the network with its loss, wrapped for several ranks
    optimiser: torch.optim.Optimizer
    fields: Fields
    labels: np.ndarray      # (S,) class of each site
    weights: np.ndarray     # (S,) weight of each site in the loss
    jitter: Jitter
    microbatch: int
    clip_norm: float
    seed: int
    enter_reader: Callable[[], object] = lambda: None  # what the thread that reads ahead calls first

    def read_ahead(self, epochs: Iterable[tuple[int, list[np.ndarray]]]) -> Generator[Loaded, None, None]:
        """This rank's microbatches of the epochs' global minibatches, in order, the next one read while one is computed."""
        jobs = ((lambda sites=sites, shares=shares, last=last, epoch=epoch: (*self._load(sites, shares, epoch), last))
                for epoch, minibatches in epochs for minibatch in minibatches
                for sites, shares, last in self._pieces(minibatch))
        return ahead(jobs, enter=self.enter_reader)

    def steps(self, loaded: Iterator[Loaded], rates: list[float], tally: Tally) -> Iterator[float]:
        """Take a step at each learning rate with the next minibatch of read_ahead, adding to the tally; yields the rate."""
        for rate in rates:
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            self._step(loaded, tally)
            yield rate

    def predict(self, sites: np.ndarray) -> np.ndarray:
        """Probabilities of the given sites, known to all ranks; a collective."""
        return predict(self.network, self.fields, sites, microbatch=self.microbatch, world=self.world,
                       acceleration=self.acceleration, enter_reader=self.enter_reader)[0]

    def is_finite(self) -> bool:
        """Whether all parameters are finite numbers; they are the same on all ranks."""
        return all(bool(torch.isfinite(parameter).all()) for parameter in self.network.parameters())

    def _step(self, loaded: Iterator[Loaded], tally: Tally) -> None:
        """One optimiser step; gradients travel between ranks with the last microbatch only."""
        last = False
        while not last:
            waiting = time.perf_counter()
            images_NCHW, labels_N, shares_N, last = next(loaded)
            tally.waited += time.perf_counter() - waiting
            with self.world.accumulate(self.objective, last=last):
                with self.acceleration.autocast():
                    result = self.objective(images_NCHW, labels_N, shares_N)
                (result["loss"] * self.world.size).backward()  # ranks average, the objective's shares want a sum
            tally.loss += result["loss"].item()
            tally.correct += result["correct"].item()
            tally.fields += int((shares_N > 0).sum())
        if self.clip_norm:
            nn.utils.clip_grad_norm_(self.objective.parameters(), self.clip_norm)
        self.optimiser.step()
        self.optimiser.zero_grad()
        tally.steps += 1

    def _pieces(self, minibatch: np.ndarray) -> list[tuple[np.ndarray, Tensor, bool]]:
        """This rank's microbatches of sites, their shares of the loss, and which is last; one field of share 0 where it
        has none.
        """
        own = shard(minibatch, rank=self.world.rank, size=self.world.size)
        if len(own) == 0:
            return [(minibatch[:1], torch.zeros(1), True)]
        pieces = microbatches(own, self.microbatch)
        return [(sites, loss_shares(self.weights, minibatch, sites), number == len(pieces))
                for number, sites in enumerate(pieces, 1)]

    def _load(self, sites: np.ndarray, shares_N: Tensor, epoch: int) -> tuple[Tensor, Tensor, Tensor]:
        images_NCHW = self.acceleration.place(self.fields.read(sites, self.jitter, (self.seed, epoch)))
        return images_NCHW, torch.from_numpy(self.labels[sites]), shares_N


def views(images_NCHW: Tensor) -> list[Tensor]:
    """The fields, their mirror images, and where they are square all that turned by a quarter."""
    turned = [images_NCHW, images_NCHW.transpose(2, 3)] if images_NCHW.shape[2] == images_NCHW.shape[3] else [images_NCHW]
    return [image.flip(axes) for image in turned for axes in ([], [2], [3], [2, 3])]


def predict(network: MCNN, fields: Fields, sites: np.ndarray, *, microbatch: int, world: World,
            acceleration: Acceleration, advance: Callable[[int], None] = lambda number: None,
            enter_reader: Callable[[], object] = lambda: None, all_views: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (S, K) and features (S, 512) float64 of the given sites, each computed once, known to all ranks.

    advance: told how many sites this rank has just finished; all_views: means over `views` in place of the field as it is.
    """
    own = shard(np.arange(len(sites)), rank=world.rank, size=world.size)
    pieces, num_classes = microbatches(own, microbatch), network.classify.out_features
    computed = np.zeros((len(sites), num_classes + NUM_FEATURES + 1))  # the last column counts
    network.eval()
    jobs = ((lambda piece=piece: acceleration.place(fields.read(sites[piece]))) for piece in pieces)
    with torch.inference_mode(), acceleration.autocast():
        for piece, images_NCHW in zip(pieces, ahead(jobs, enter=enter_reader), strict=True):
            seen = views(images_NCHW) if all_views else [images_NCHW]
            for view_NCHW in seen:
                features_NF = network.features(acceleration.place(view_NCHW))
                probabilities_NK = torch.softmax(network.classify(features_NF).double(), dim=1)
                computed[piece, :-1] += torch.cat([probabilities_NK, features_NF.double()], dim=1).numpy() / len(seen)
            computed[piece, -1] += 1
            advance(len(piece))
    network.train()
    computed = world.sum_array(computed)
    assert (computed[:, -1] == 1).all(), "a field was not predicted exactly once"
    return computed[:, :num_classes], computed[:, num_classes:-1]
