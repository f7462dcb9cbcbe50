"""Each rank on cores of its own: what every rank on a host may use, who takes which, threads.

Exercised by `pytest tests/test_placement.py` and shown by `python -m mscnn.world`.
"""

from collections.abc import Callable
from functools import partial

import torch

from mscnn import config, cpu
from mscnn.errors import UsageError
from mscnn.world import World


def settle(ranks: World, settings: config.Ranks) -> cpu.Plan:
    """Plan the cores of all ranks on this host, bind this process to its own, and set its threads; a collective.

    Raises UsageError on all ranks where cores do not suffice and --oversubscribe does not allow it.
    """
    masks = [frozenset(mask) for mask in ranks.gather_here(sorted(cpu.allowed_cpus()))]
    plan = cpu.plan(cpu.read_topology(), masks, ranks.local_rank, threads=settings.threads,
                    loader_cores=settings.loader_cores, quota=cpu.cgroup_cores())
    short = [f"rank {rank} on {host}" for rank, (host, over) in enumerate(ranks.gather((ranks.host, plan.oversubscribed)))
             if over]
    if short and not settings.oversubscribe:
        raise UsageError(f"too few cores: {', '.join(short)} would share theirs ({plan.why}); start fewer ranks, lower "
                         "--threads, or allow it by --oversubscribe true")
    torch.set_num_threads(plan.threads)  # torchrun's OMP_NUM_THREADS=1 is no longer looked at
    if settings.bind:
        cpu.bind(plan)
    return plan


def alone(threads: int) -> cpu.Plan:
    """Plan a process without others, such as one that is measured, and set its threads; it is bound to nothing."""
    plan = cpu.plan(cpu.read_topology(), [cpu.allowed_cpus()], 0, threads=threads, quota=cpu.cgroup_cores())
    torch.set_num_threads(plan.threads)
    return plan


def describe(ranks: World, plan: cpu.Plan) -> list[str]:
    """A line for each rank: its host, cores, memory node and threads; a collective."""
    lines = ranks.gather(f"on {ranks.host}: {plan.describe()}")
    return [f"rank {rank} {line}" for rank, line in enumerate(lines)]


def reader_binding(plan: cpu.Plan, settings: config.Ranks) -> Callable[[], object]:
    """What the thread that reads ahead calls first, to leave the compute cores; nothing where it shares them."""
    return partial(cpu.bind_loader, plan) if settings.bind and plan.loader != plan.compute else lambda: None
