"""Each rank on cores of its own: what every rank on a host may use, who takes which, threads.

Shown by `python -m mscnn.world`.
"""

from collections.abc import Callable
from functools import partial

import torch

from mscnn.core import config
from mscnn.core.errors import UsageError
from mscnn.distributed import cpu_topology
from mscnn.distributed.world import World


def bind_rank(ranks: World, settings: config.Parallel) -> cpu_topology.Plan:
    """Plan the cores of all ranks on this host, bind this process to its own, and set its threads; a collective.

    Raises UsageError on all ranks where cores do not suffice and --oversubscribe does not allow it.
    """
    masks = [frozenset(mask) for mask in ranks.gather_local(sorted(cpu_topology.allowed_cpus()))]
    plan = cpu_topology.plan(cpu_topology.read_topology(), masks, ranks.local_rank, threads=settings.threads,
                    loader_cores=settings.loader_cores, quota=cpu_topology.cgroup_cores())
    short = [f"rank {rank} on {host}" for rank, (host, over) in enumerate(ranks.gather((ranks.host, plan.oversubscribed)))
             if over]
    if short and not settings.oversubscribe:
        raise UsageError(f"too few cores: {', '.join(short)} would share theirs ({plan.why}); start fewer ranks, lower "
                         "--threads, or allow it by --oversubscribe true")
    torch.set_num_threads(plan.threads)  # torchrun's OMP_NUM_THREADS=1 is no longer looked at
    if settings.bind:
        cpu_topology.bind(plan)
    return plan


def bind_single_process(threads: int) -> cpu_topology.Plan:
    """Plan a process without others, such as one that is measured, and set its threads; it is bound to nothing."""
    plan = cpu_topology.plan(cpu_topology.read_topology(), [cpu_topology.allowed_cpus()], 0, threads=threads,
                             quota=cpu_topology.cgroup_cores())
    torch.set_num_threads(plan.threads)
    return plan


def describe_bindings(ranks: World, plan: cpu_topology.Plan) -> list[str]:
    """A line for each rank: its host, cores, memory node and threads; a collective."""
    lines = ranks.gather(f"on {ranks.host}: {plan.describe()}")
    return [f"rank {rank} {line}" for rank, line in enumerate(lines)]


def loader_binding(plan: cpu_topology.Plan, settings: config.Parallel) -> Callable[[], object]:
    """What the thread that reads ahead calls first, to leave the compute cores; nothing where it shares them."""
    return partial(cpu_topology.bind_loader, plan) if settings.bind and plan.loader != plan.compute else lambda: None
