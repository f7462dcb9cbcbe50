"""Plan which cores each rank computes on, and which cores load its data: pure functions of topology, masks and quota.

Imports no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest

from mscnn.core.words import counted
from mscnn.distributed.cpu_topology import Core, Topology, cpulist, name_numbers


@dataclass(frozen=True)
class Plan:
    """Where one rank computes and loads."""

    compute: tuple[int, ...]  # CPU numbers, one a core
    loader: tuple[int, ...]  # CPU numbers; the same as compute where the loader shares its cores
    sockets: tuple[int, ...]  # of the compute CPUs, as are the memory nodes
    memory_nodes: tuple[int, ...]
    threads: int  # compute threads to use
    asked: int  # compute threads asked for; 0: one a core
    oversubscribed: bool  # more threads than cores or quota; may differ between ranks
    why: str  # for the log, on one line

    def describe(self) -> str:
        """Return one line: cores 10-19 (socket 0, memory node 0), 10 threads, loader on 50-59: 40 cores for 4 ranks."""
        threads = counted(self.threads, "thread")
        loader = "the same cores" if self.loader == self.compute else cpulist(self.loader)
        return (f"{name_numbers('core', self.compute)} ({name_numbers('socket', self.sockets)}, "
                f"{name_numbers('memory node', self.memory_nodes)}), {threads}, loader on {loader}: {self.why}")


def plan(topology: Topology, masks: Sequence[frozenset[int]], local_rank: int, *, threads: int = 0, loader_cores: int = 0,
         quota: float | None = None) -> Plan:
    """Plan one rank of this machine; every rank can compute the plan of each other rank.

    masks: the inherited affinity mask of every rank on this machine, by local rank.  threads: asked for; 0: one a core.
    loader_cores: cores of each rank that load instead of computing.  quota: cores that all ranks together may use.
    Ranks with the same mask split it; a mask that the launcher made for one rank alone is kept.
    """
    part, spare, crowded, why = _part(topology, masks, local_rank)
    num_loading = min(loader_cores, len(part) - 1)
    if num_loading < loader_cores:
        why.append(f"loader cores: asked {loader_cores}, using {num_loading}, as one must compute")
    computing, loading = part[:len(part) - num_loading], part[len(part) - num_loading:]
    compute = tuple(core[0].number for core in computing)
    available = len(compute)
    if quota is not None and quota < len(topology.cores(frozenset().union(*masks))):
        why.append(f"quota of {_count(quota, 'core')} for {_count(len(masks), 'rank')}")
        crowded |= quota < len(masks)
        available = min(available, max(1, int(quota / len(masks))))
    if threads:
        excess = f", more than the {_count(available, 'core')} available" if threads > available else ""
        why.append(f"threads asked: {threads}{excess}")
    # Where there are fewer threads than cores, each may run on any of them: another job would take the first cores, too.
    return Plan(compute=compute, loader=_loader(computing, loading, spare) or compute,
                sockets=tuple(sorted({core[0].socket for core in computing})),
                memory_nodes=tuple(sorted({core[0].memory_node for core in computing})),
                threads=threads or available, asked=threads, oversubscribed=crowded or threads > available,
                why="; ".join(why))


def shares(topology: Topology, mask: frozenset[int], jobs: int) -> list[frozenset[int]]:
    """Split the CPUs of a mask between so many jobs side by side, as between ranks: cores with their siblings."""
    plans = [plan(topology, [mask] * jobs, job) for job in range(jobs)]
    return [frozenset(job_plan.compute) | frozenset(job_plan.loader) for job_plan in plans]


def _part(topology: Topology, masks: Sequence[frozenset[int]],
          local_rank: int) -> tuple[list[Core], list[Core], bool, list[str]]:
    """Return a rank's cores; spare cores of the ranks with its mask; whether ranks outnumber cores; and the reasons."""
    cores = topology.cores(masks[local_rank])
    sharing = [rank for rank, mask in enumerate(masks) if mask == masks[local_rank]]
    position, crowded = sharing.index(local_rank), len(cores) < len(sharing)
    why = [_share(topology, cores, len(sharing), len(masks)) + (", fewer than one each" if crowded else "")]
    own_cores = {core[0].core for core in cores}
    others = [rank for rank, mask in enumerate(masks) if mask != masks[local_rank]
              and not own_cores.isdisjoint(core[0].core for core in topology.cores(mask))]
    if others:
        why.append(f"some cores are shared with {name_numbers('local rank', others)}")
    if crowded:
        return [cores[position % len(cores)]], [], True, why
    parts = _split(cores, len(sharing))
    straddling = [rank for rank, part in zip(sharing, parts, strict=True) if len({core[0].socket for core in part}) > 1]
    if straddling and len(sharing) > 1:
        why.append(f"{name_numbers('local rank', straddling)} on more than one socket")
    used = {core for part in parts for core in part}
    return parts[position], [core for core in cores if core not in used], False, why


def _share(topology: Topology, cores: list[Core], sharing: int, ranks: int) -> str:
    """Describe how many of the machine's cores there are for how many of its ranks."""
    machine = len(topology.cores(cpu.number for cpu in topology.cpus))
    kept = "inherited mask respected: " if sharing < ranks else ""
    narrowed = f"{len(cores)} of " if len(cores) < machine else ""
    return f"{kept}{narrowed}{_count(max(machine, len(cores)), 'core')} for {_count(sharing, 'rank')}"


def _split(cores: list[Core], ranks: int) -> list[list[Core]]:
    """Split sorted cores into equal parts, at least one core each: a step of all ranks takes as long as the slowest part.

    As many parts as fit lie within a memory node, then within a socket; the rest are put together across sockets.
    """
    share = len(cores) // ranks
    parts, rest = [], cores
    for shared in (2, 1, 0):  # fields of Cpu that a part has in common: socket and memory node, socket, none
        within, left = [], []
        for _, members in groupby(rest, key=lambda core: core[0][:shared]):
            group = list(members)
            whole = len(group) // share * share
            within.append([group[start:start + share] for start in range(0, whole, share)])
            left += group[whole:]
        parts += [part for row in zip_longest(*within) for part in row if part]  # in turns: spread where there are more
        rest = left
    return sorted(parts[:ranks])


def _loader(computing: list[Core], loading: list[Core], spare: list[Core]) -> tuple[int, ...]:
    """Return the CPUs for loading: cores set aside; else siblings of compute CPUs; else spare cores of the same sockets.

    There are fewer spare cores than ranks, so all ranks on a socket load there.  Empty where there are none of these.
    """
    sockets = {core[0].socket for core in computing}
    aside = [cpu.number for core in loading for cpu in core]
    siblings = [cpu.number for core in computing for cpu in core[1:]]
    return tuple(sorted(aside or siblings or [cpu.number for core in spare for cpu in core if cpu.socket in sockets]))


def _count(number: float, noun: str) -> str:
    return f"{number:g} {noun}{'' if number == 1 else 's'}"
