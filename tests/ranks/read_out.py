"""Started as one or several ranks by test_ranks.py: statistics of pixels, and read-outs leaving one compound out.

read_out.py TABLE OUT
"""

import sys
from pathlib import Path

import numpy as np
import torch

from mscnn.core import config
from mscnn.data.pixels.dataset_scale import DatasetScale
from mscnn.data.pixels.reader import FieldReader
from mscnn.data.tables.splits import SplitRecord
from mscnn.distributed import world
from mscnn.evaluation import readout_predictions
from mscnn.readout.tables import side_by_side
from mscnn.training import prepare_data
from mscnn.training.statistics import columns_of, measure_statistics


def main(table_csv: str, out: str) -> None:
    """Write what rank 0 has measured, predicted and chosen."""
    ranks = world.init("gloo")
    torch.set_num_threads(1)
    table = prepare_data.with_shape(prepare_data.load_sites(config.Data(sites=table_csv)), None, ranks)
    fields = FieldReader(table, DatasetScale("field", (), ()), None)
    statistics = measure_statistics(fields, np.arange(len(table)), microbatch=2, world=ranks)
    columns = {"network": ["n1", "n2"], "statistics": columns_of(table.channels)["statistics"]}
    network = np.random.default_rng(0).normal(size=(len(table), 2))
    features = side_by_side(columns, network, statistics)
    facts = readout_predictions.facts_of_sites(table, table.mechanisms())
    folds = [SplitRecord("leave-compound-out", [name], "", "", {}, {}, []) for name in ("a", "b", "c")]
    found = readout_predictions.over_compounds(features, facts, folds, 3, inner_folds=2, ranks=ranks)
    if ranks.rank == 0:
        torch.save({"statistics": torch.from_numpy(statistics), "chosen": torch.from_numpy(found.chosen_SK),
                    "candidates": {name: torch.from_numpy(of_SK) for name, of_SK in found.candidates.items()},
                    "choices": [choice.to_json() for choice in found.choices]}, Path(out))
    ranks.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
