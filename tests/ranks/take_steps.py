"""Started as one or several ranks by test_ranks.py: three training steps and a prediction.

take_steps.py TABLE OUT [BACKEND]
"""

import sys
from pathlib import Path

import numpy as np
import torch

from mscnn import accelerate, config, screen, world
from mscnn.data.augment import Jitter
from mscnn.data.loader import Fields
from mscnn.engine import Tally, Trainer
from mscnn.model import MCNN
from mscnn.objective import Objective, class_weights

MINIBATCHES = [[0, 5, 3, 7, 9], [2, 8], [1, 4, 6, 10, 11, 0, 3]]  # uneven shares; two sites leave a third rank with none
RATES = [0.01, 0.02, 0.01]


def main(table_csv: str, out: str, backend: str = "gloo") -> None:
    """Write the trained parameters, sums and predictions of rank 0."""
    ranks = world.join(backend)
    torch.set_num_threads(1)
    settings = config.Data(sites=table_csv)
    table = screen.check(screen.read_labelled(settings), None, ranks)
    normalisation = screen.measure(table, np.arange(len(table)), settings, ranks)
    classes = table.mechanisms()
    labels = table.frame["mechanism"].map(classes.index).to_numpy()
    torch.manual_seed(0)
    acceleration = accelerate.Acceleration()
    network = acceleration.prepare(MCNN(len(classes), *table.shape))
    trainer = Trainer(
        world=ranks, acceleration=acceleration, network=network, objective=ranks.wrap(Objective(network, 0.1)),
        optimiser=accelerate.optimiser(network, momentum=0.9, weight_decay=5e-5),
        fields=Fields(table, normalisation, None), labels=labels,
        weights=class_weights(labels, len(classes), "balanced")[labels], jitter=Jitter(flips=True, turns=True, gain=0.2),
        microbatch=2, clip_norm=1.0, seed=0)
    tally = Tally()
    minibatches = [np.array(sites) for sites in MINIBATCHES]
    taken = list(trainer.steps(trainer.read_ahead([(0, minibatches)]), RATES, tally))
    numbers = tally.over(ranks)
    probabilities = trainer.predict(np.arange(len(table)))
    everyone = ranks.gather({"rank": ranks.rank, "any": ranks.any(ranks.rank == ranks.size - 1), "text": "µ" * ranks.rank})
    if ranks.rank == 0:
        torch.save({"parameters": network.state_dict(), "taken": taken, "loss": numbers["loss"],
                    "accuracy": numbers["accuracy"], "probabilities": torch.from_numpy(probabilities),
                    "normalisation": [*normalisation.mean, *normalisation.sd], "everyone": everyone}, Path(out))
    del trainer
    ranks.leave()


if __name__ == "__main__":
    main(*sys.argv[1:])
