"""Started as one or several ranks by test_ranks.py: three training steps and a prediction.

take_steps.py TABLE OUT [BACKEND [BROKEN [LEARNT [FIRST_LAYER]]]]
BROKEN: a site with pixels not finite; LEARNT: of OBJECTIVES, assays: of assays.csv beside TABLE
FIRST_LAYER: replicated or sharded
"""

import sys
from pathlib import Path

import numpy as np
import torch

from mscnn.core import config
from mscnn.data.pixels.augment import Jitter
from mscnn.data.pixels.reader import FieldReader
from mscnn.data.tables import splits
from mscnn.distributed import world
from mscnn.distributed.sharded_linear import ShardedLinear
from mscnn.model import MCNN
from mscnn.model.acceleration import Acceleration, nesterov_sgd
from mscnn.training import prepare_data, targets
from mscnn.training.build import OWN
from mscnn.training.contrast import build_contrast
from mscnn.training.loss import LossModule
from mscnn.training.trainer import StepMetrics, Trainer

MINIBATCHES = [[0, 5, 3, 7, 9], [2, 8], [1, 4, 6, 10, 11, 0, 3]]  # uneven shares; two sites leave a third rank with none
RATES = [0.01, 0.02, 0.01]
OBJECTIVES = {**dict.fromkeys(("mechanism", "assays"), config.Objective(statistics_weight=0.5)),
              "contrast": config.Objective(mechanism_weight=0, replicate_weight=1, view_weight=0.3, statistics_weight=0.5)}


class Broken(FieldReader):
    """Fields of which one is not finite."""

    site = -1

    def read(self, sites, *how):
        fields_NCHW = super().read(sites, *how)
        fields_NCHW[np.asarray(sites) == self.site] = float("nan")
        return fields_NCHW


def main(table_csv: str, out: str, backend: str = "gloo", broken: str = "-1",
         learnt: str = "mechanism", first_layer: str = "replicated") -> None:
    """Write the trained parameters, sums and predictions of rank 0."""
    ranks = world.init(backend)
    torch.set_num_threads(1)
    assays = Path(table_csv).with_name("assays.csv")
    settings = config.Data(sites=table_csv, assays=str(assays) if learnt == "assays" else None)
    table = prepare_data.with_shape(prepare_data.load_sites(settings), None, ranks)
    normalisation = prepare_data.fit_scale(table, np.arange(len(table)), settings, ranks)
    counts = prepare_data.measure_counts(table, np.arange(len(table)), ranks)
    Broken.site = int(broken)
    fields, everything = Broken(table, normalisation, None), splits.make_split(table, split="hold-out")
    objective, optim = OBJECTIVES[learnt], config.Optim(class_weights="balanced", microbatch=2)
    taught = targets.build_targets(FieldReader(table, normalisation, None), everything, objective, optim, ranks)
    torch.manual_seed(0)
    acceleration = Acceleration()
    network = acceleration.prepare(MCNN(len(table.classes()), *table.shape))
    if first_layer == "sharded":
        network.hidden = ShardedLinear(network.hidden, ranks)
    contrast = build_contrast(objective, taught)
    loss_module = LossModule(network, 0.1, objective.statistics_weight, taught.aux_targets.shape[1],
                             objective.mechanism_weight, contrast=contrast is not None)
    trainer = Trainer(
        world=ranks, acceleration=acceleration, network=network, targets=taught,
        loss_module=ranks.to_ddp(loss_module, own=OWN if first_layer == "sharded" else ()),
        optimiser=nesterov_sgd(loss_module, momentum=0.9, weight_decay=5e-5), fields=fields,
        jitter=Jitter(flips=True, quarter_turns=True, gain=0.2), microbatch=2, clip_norm=1.0, seed=0, contrast=contrast)
    trainer.warm_up_ddp()
    tally = StepMetrics()
    minibatches = [np.repeat(sites, 2 if contrast else 1) for sites in MINIBATCHES]  # two views of each
    taken = list(trainer.steps(trainer.prefetch([(0, minibatches)]), RATES, tally))
    named = [sorted(site for own in ranks.gather(step.nonfinite_sites) for site in own) for _, step in taken]
    numbers = tally.all_reduce(ranks)
    probabilities = trainer.predict(np.arange(len(table)))[0]
    wholes = trainer.gather_wholes()
    parameters = {name: wholes.get(tensor.data_ptr(), tensor).clone() for name, tensor in network.state_dict().items()}
    weight = network.hidden.weight
    kept = [weight, trainer.optimiser.state[weight]["momentum_buffer"]]
    held = ranks.gather(sum(tensor.untyped_storage().nbytes() for tensor in kept))
    everyone = ranks.gather({"rank": ranks.rank, "any": ranks.any(ranks.rank == ranks.size - 1), "text": "µ" * ranks.rank})
    is_finite = [trainer.is_finite()]
    if ranks.rank == ranks.size - 1:  # a replicated layer is the same on all ranks; here it is not
        weight.data[0, 0] = torch.nan
    is_finite.append(trainer.is_finite())
    finite = ranks.gather(is_finite)
    if ranks.rank == 0:
        torch.save({"parameters": parameters, "taken": [rate for rate, _ in taken],
                    "skipped": [step.is_skipped for _, step in taken], "broken": named, "loss": numbers["loss"],
                    "accuracy": numbers["accuracy"], "probabilities": torch.from_numpy(probabilities),
                    "normalisation": [*normalisation.mean, *normalisation.sd], "counts": counts.to_json(),
                    "everyone": everyone, "held": held, "finite": finite}, Path(out))
    del trainer
    ranks.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
