"""Started as several ranks by test_ranks.py: a sharded linear layer beside the whole one, in float64.

shard_a_layer.py OUT BACKEND IN_BFLOAT16
"""

import sys
from pathlib import Path

import torch
from torch import nn

from mscnn.distributed import world
from mscnn.distributed.sharded_linear import ShardedLinear

FEATURES, OUTPUTS = 11, 3  # columns that no number of ranks divides


def main(out: str, backend: str, in_bfloat16: str) -> None:
    """Write on rank 0 the largest differences from the whole layer over all ranks, by what is compared."""
    ranks = world.init(backend)
    torch.manual_seed(0)
    whole = nn.Linear(FEATURES, OUTPUTS, dtype=torch.float64)
    layer = ShardedLinear(whole, ranks, in_bfloat16=in_bfloat16 == "True")
    found: dict[str, float] = {}
    for rows_R in ([rank % 3 + 1 for rank in range(ranks.size)], [1] * ranks.size):  # the second time, gradients add up
        inputs_MD = torch.randn(sum(rows_R), FEATURES, dtype=torch.float64)
        gradients_MF = torch.randn(sum(rows_R), OUTPUTS, dtype=torch.float64)
        first = sum(rows_R[:ranks.rank])
        own = slice(first, first + rows_R[ranks.rank])
        expected_MD, inputs_ND = inputs_MD.clone().requires_grad_(), inputs_MD[own].clone().requires_grad_()
        expected_MF = whole(expected_MD)
        expected_MF.backward(gradients_MF)
        layer.rows_R = rows_R
        outputs_NF = layer(inputs_ND)
        outputs_NF.backward(gradients_MF[own])
        with layer.gathered():
            unlike = layer(inputs_MD)
        compared = {"outputs": (outputs_NF, expected_MF[own]), "inputs": (inputs_ND.grad, expected_MD.grad[own]),
                    "gathered": (unlike, expected_MF)}
        for name, (one, other) in compared.items():
            found[name] = max(found.get(name, 0.0), float((one - other).abs().max().detach()))
    found["weight"] = float((layer.weight.grad * ranks.size - layer.own_columns(whole.weight.grad)).abs().max())
    found["there and back"] = float((layer.whole(layer.weight.detach()) - whole.weight).abs().max())
    only = layer.whole(layer.weight.detach(), only_on=ranks.size - 1)
    found["on others"] = float((only is None) == (ranks.rank == ranks.size - 1))
    worst = {name: max(each[name] for each in ranks.gather(found)) for name in found}
    if ranks.rank == 0:
        torch.save(worst, Path(out))
    ranks.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
