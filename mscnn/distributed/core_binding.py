"""Bind each rank to cores of its own: gather what every rank on a host may use, plan, bind, set threads.

Shown by `mscnn ranks`.
"""

from collections.abc import Callable
from functools import partial

import torch

from mscnn.core import config
from mscnn.core.errors import UsageError
from mscnn.distributed import cpu_topology
from mscnn.distributed.core_plan import Plan, plan
from mscnn.distributed.world import World


def bind_rank(ranks: World, settings: config.Parallel) -> Plan:
    """Plan the cores of all ranks on this host, bind this process to its own, and set its threads; a collective.

    Raises UsageError on all ranks where there are too few cores and --oversubscribe does not allow it.
    """
    masks = [frozenset(mask) for mask in ranks.gather_local(sorted(cpu_topology.allowed_cpus()))]
    own = plan(cpu_topology.read_topology(), masks, ranks.local_rank, threads=settings.threads,
               loader_cores=settings.loader_cores, quota=cpu_topology.cgroup_cores())
    short = [f"rank {rank} on {host}" for rank, (host, over) in enumerate(ranks.gather((ranks.host, own.oversubscribed)))
             if over]
    if short and not settings.oversubscribe:
        raise UsageError(f"too few cores: {', '.join(short)} would share theirs ({own.why}); start fewer ranks, lower "
                         "--threads, or allow it by --oversubscribe true")
    torch.set_num_threads(own.threads)  # overrides torchrun's OMP_NUM_THREADS=1
    if settings.bind:
        cpu_topology.bind(own.compute)
    return own


def bind_single_process(threads: int) -> Plan:
    """Plan a process that is the only rank, such as a benchmark, and set its threads; bind it to nothing."""
    own = plan(cpu_topology.read_topology(), [cpu_topology.allowed_cpus()], 0, threads=threads,
               quota=cpu_topology.cgroup_cores())
    torch.set_num_threads(own.threads)
    return own


def describe_bindings(ranks: World, plan: Plan) -> list[str]:
    """Return a line for each rank: its host, cores, memory node and threads; a collective."""
    lines = ranks.gather(f"on {ranks.host}: {plan.describe()}")
    return [f"rank {rank} {line}" for rank, line in enumerate(lines)]


def loader_binding(plan: Plan, settings: config.Parallel) -> Callable[[], object]:
    """Return what the loader thread calls first, to leave the compute cores; it does nothing where it shares them."""
    return partial(cpu_topology.bind_loader, plan.loader) if settings.bind and plan.loader != plan.compute else lambda: None
