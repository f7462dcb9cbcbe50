"""Which cores a rank computes on and which it loads on: topology -> plan -> bind; memory held.  Imports no torch.

A core is a physical one, a CPU is what the kernel numbers: one hardware thread of a core.
"""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, zip_longest
from pathlib import Path, PurePosixPath
from typing import NamedTuple


class Cpu(NamedTuple):
    """A logical CPU and where it sits. Sorted, CPUs stand in the order in which cores are dealt to ranks."""

    socket: int
    memory_node: int
    core: int  # the lowest CPU number on this core: the kernel's core ids repeat from socket to socket
    number: int


Core = tuple[Cpu, ...]  # the CPUs of a physical core that may be used, lowest number first


@dataclass(frozen=True)
class Topology:
    """The logical CPUs of a machine."""

    cpus: tuple[Cpu, ...]

    def cores(self, mask: Iterable[int]) -> list[Core]:
        """The physical cores of an affinity mask, by socket, memory node and number.

        A CPU that the topology does not know is a core of its own: some containers show fewer CPUs than they allow.
        """
        known = {cpu.number: cpu for cpu in self.cpus}
        allowed = sorted(known.get(number, Cpu(0, 0, number, number)) for number in mask)
        return [tuple(core) for _, core in groupby(allowed, key=lambda cpu: cpu[:3])]


@dataclass(frozen=True)
class Plan:
    """Where one rank computes and loads."""

    compute: tuple[int, ...]  # CPU numbers, one a core
    loader: tuple[int, ...]  # CPU numbers; the same as compute where the loader shares its cores
    sockets: tuple[int, ...]  # of the compute CPUs, as are the memory nodes
    memory_nodes: tuple[int, ...]
    threads: int  # compute threads to use
    asked: int  # compute threads asked for; 0: as many as there are cores
    oversubscribed: bool  # more threads than cores or quota for them; another rank's plan may differ
    why: str  # for the log, on one line

    def describe(self) -> str:
        """One line: cores 10-19 (socket 0, memory node 0), 10 threads, loader on 50-59: 40 cores for 4 ranks."""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        loader = "the same cores" if self.loader == self.compute else cpulist(self.loader)
        return (f"{_named('core', self.compute)} ({_named('socket', self.sockets)}, "
                f"{_named('memory node', self.memory_nodes)}), {threads}, loader on {loader}: {self.why}")


def allowed_cpus() -> frozenset[int]:
    """This thread's affinity mask: before bind, the one inherited from the launcher. All CPUs where there are no masks."""
    return frozenset(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))


def allowed_cores() -> int:
    """CPUs in this process's affinity mask."""
    return len(allowed_cpus())


def read_topology(root: Path = Path("/")) -> Topology:
    """The machine as the kernel describes it under root/sys; elsewhere every allowed CPU is a core of one socket."""
    system = root / "sys/devices/system"
    memory_nodes = {number: int(folder.name.removeprefix("node")) for folder in system.glob("node/node[0-9]*")
                    for number in parse_cpulist(_text(folder / "cpulist"))}
    folders = {int(folder.name.removeprefix("cpu")): folder for folder in system.glob("cpu/cpu[0-9]*")
               if _text(folder / "online") != "0"}
    lowest: dict[tuple[int, int], int] = {}
    cpus = []
    for number, folder in sorted(folders.items()):
        socket = max(0, int(_text(folder / "topology/physical_package_id") or 0))  # -1: the firmware does not tell
        core_id = int(_text(folder / "topology/core_id") or -1)
        siblings = parse_cpulist(_text(folder / "topology/thread_siblings_list"))
        if not siblings and core_id >= 0:
            siblings = {lowest.setdefault((socket, core_id), number)}
        cpus.append(Cpu(socket, memory_nodes.get(number, 0), min(siblings, default=number), number))
    return Topology(tuple(sorted(cpus)) or tuple(Cpu(0, 0, number, number) for number in sorted(allowed_cpus())))


def cgroup_cores(root: Path = Path("/")) -> float | None:
    """The least CPU quota of this process's control group and those around it, in cores; None: no limit.

    A container with a quota of 2 sees all CPUs of its host, and is stopped for most of every 0.1 s if it uses them.
    """
    mounted, quotas = root / "sys/fs/cgroup", []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounts = (mounted / "cpu", mounted / controllers) if controllers else (mounted, mounted / "unified")
        group = PurePosixPath(name)
        quotas += [_quota(mount / around.relative_to("/")) for mount in mounts for around in (group, *group.parents)]
    least = min(quotas, default=math.inf)
    return None if least == math.inf else least


def plan(topology: Topology, masks: Sequence[frozenset[int]], local_rank: int, *, threads: int = 0, loader_cores: int = 0,
         quota: float | None = None) -> Plan:
    """The share of one rank in this machine; every rank can work out that of each other.

    masks: the inherited affinity mask of every rank on this machine, by local rank.  threads: asked for, 0: one a core.
    loader_cores: cores of each rank that load instead of computing.  quota: cores that all ranks together may fill.
    Ranks with the same mask split it; a mask that the launcher made for one rank alone is kept.
    """
    part, spare, crowded, why = _part(topology, masks, local_rank)
    taken = min(loader_cores, len(part) - 1)
    if taken < loader_cores:
        why.append(f"loader cores: asked {loader_cores}, using {taken}, as one must compute")
    computing, loading = part[:len(part) - taken], part[len(part) - taken:]
    compute = tuple(core[0].number for core in computing)
    available = len(compute)
    if quota is not None and quota < len(topology.cores(frozenset().union(*masks))):
        why.append(f"quota of {_count(quota, 'core')} for {_count(len(masks), 'rank')}")
        crowded |= quota < len(masks)
        available = min(available, max(1, int(quota / len(masks))))
    if threads:
        excess = f", more than the {_count(available, 'core')} available" if threads > available else ""
        why.append(f"threads asked: {threads}{excess}")
    # Fewer threads than cores are left free to move among them: the first cores are those that any other job would take.
    return Plan(compute=compute, loader=_loader(computing, loading, spare) or compute,
                sockets=tuple(sorted({core[0].socket for core in computing})),
                memory_nodes=tuple(sorted({core[0].memory_node for core in computing})),
                threads=threads or available, asked=threads, oversubscribed=crowded or threads > available,
                why="; ".join(why))


def shares(jobs: int) -> list[frozenset[int]]:
    """The allowed CPUs dealt out to so many jobs side by side, as to ranks: cores with their siblings."""
    topology, masks = read_topology(), [allowed_cpus()] * jobs
    plans = [plan(topology, masks, job) for job in range(jobs)]
    return [frozenset(own.compute) | frozenset(own.loader) for own in plans]


@contextmanager
def on(cpus: frozenset[int]) -> Iterator[None]:
    """What the calling thread starts in the meantime runs on these CPUs."""
    before = allowed_cpus()
    _bind(tuple(sorted(cpus)))
    try:
        yield
    finally:
        _bind(tuple(sorted(before)))


def bind(plan: Plan) -> str:
    """Bind the calling thread, the main one, to the compute CPUs. Returns what was done, for the log.

    Threads started later inherit it, those already running do not: call it before the first parallel operation.
    No memory policy is set: Linux takes a page from the memory node of the core that first touches it.
    """
    if outside := set(plan.compute) - allowed_cpus():
        return f"not bound: the affinity mask does not hold {_named('CPU', outside)}"
    return _bind(plan.compute)


def bind_loader(plan: Plan) -> str:
    """Bind the calling thread, the one that loads, to the loader CPUs. Returns what was done, for the log."""
    return _bind(plan.loader)


def cpulist(cpus: Iterable[int]) -> str:
    """CPU numbers as the kernel writes them: 0-9,40-49."""
    runs = groupby(enumerate(sorted(cpus)), key=lambda place: place[1] - place[0])  # constant along a run
    ends = [(run[0][1], run[-1][1]) for _, members in runs if (run := list(members))]
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in ends)


def parse_cpulist(text: str) -> frozenset[int]:
    """The CPU numbers of 0-9,40-49."""
    ranges = [item.partition("-") for item in text.strip().split(",") if item]
    return frozenset(number for first, _, last in ranges for number in range(int(first), int(last or first) + 1))


def _part(topology: Topology, masks: Sequence[frozenset[int]],
          local_rank: int) -> tuple[list[Core], list[Core], bool, list[str]]:
    """A rank's cores; cores left over among the ranks of the same mask; whether ranks outnumber cores; and why."""
    cores = topology.cores(masks[local_rank])
    sharing = [rank for rank, mask in enumerate(masks) if mask == masks[local_rank]]
    position, crowded = sharing.index(local_rank), len(cores) < len(sharing)
    why = [_share(topology, cores, len(sharing), len(masks)) + (", fewer than one each" if crowded else "")]
    mine = {core[0].core for core in cores}
    others = [rank for rank, mask in enumerate(masks) if mask != masks[local_rank]
              and not mine.isdisjoint(core[0].core for core in topology.cores(mask))]
    if others:
        why.append(f"some cores are shared with {_named('local rank', others)}")
    if crowded:
        return [cores[position % len(cores)]], [], True, why
    parts = _split(cores, len(sharing))
    straddling = [rank for rank, part in zip(sharing, parts, strict=True) if len({core[0].socket for core in part}) > 1]
    if straddling and len(sharing) > 1:
        why.append(f"{_named('local rank', straddling)} on more than one socket")
    used = {core for part in parts for core in part}
    return parts[position], [core for core in cores if core not in used], False, why


def _share(topology: Topology, cores: list[Core], sharing: int, ranks: int) -> str:
    """In words: how many of the machine's cores there are for how many of its ranks."""
    machine = len(topology.cores(cpu.number for cpu in topology.cpus))
    kept = "inherited mask respected: " if sharing < ranks else ""
    narrowed = f"{len(cores)} of " if len(cores) < machine else ""
    return f"{kept}{narrowed}{_count(max(machine, len(cores)), 'core')} for {_count(sharing, 'rank')}"


def _split(cores: list[Core], ranks: int) -> list[list[Core]]:
    """Equal parts of sorted cores, for at most as many ranks: all steps together wait for the slowest part.

    As many parts as fit lie within a memory node, then within a socket; what is left is put together across sockets.
    """
    share = len(cores) // ranks
    parts, rest = [], cores
    for shared in (2, 1, 0):  # fields of Cpu that a part has in common: socket and memory node, socket, none
        within, left = [], []
        for _, members in groupby(rest, key=lambda core: core[0][:shared]):
            place = list(members)
            whole = len(place) // share * share
            within.append([place[start:start + share] for start in range(0, whole, share)])
            left += place[whole:]
        parts += [part for row in zip_longest(*within) for part in row if part]  # in turns: spread where there are more
        rest = left
    return sorted(parts[:ranks])


def _loader(computing: list[Core], loading: list[Core], spare: list[Core]) -> tuple[int, ...]:
    """CPUs for loading: the cores set aside; else siblings of the compute CPUs; else left-over cores of the same sockets.

    There are fewer left-over cores than ranks, so all ranks on a socket load there.  None of these: empty.
    """
    sockets = {core[0].socket for core in computing}
    aside = [cpu.number for core in loading for cpu in core]
    siblings = [cpu.number for core in computing for cpu in core[1:]]
    return tuple(sorted(aside or siblings or [cpu.number for core in spare for cpu in core if cpu.socket in sockets]))


def _bind(cpus: tuple[int, ...]) -> str:
    """Bind the calling thread where the system can, and say what came of it."""
    if not hasattr(os, "sched_setaffinity"):
        return "not bound: this system has no affinity masks"
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as problem:
        return f"not bound: {problem.strerror}"
    return f"bound to {_named('CPU', cpus)}"


def _quota(group: Path) -> float:
    """Cores that a control group may fill; infinite where nothing limits it or it is not to be seen."""
    second_version = _text(group / "cpu.max").split()  # "200000 100000": microseconds in each period; "max 100000": all
    first_version = [_text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")]  # -1: all
    quota, period = second_version or first_version
    return int(quota) / int(period) if quota.isdigit() else math.inf


def _text(path: Path) -> str:
    """What a file of the kernel's says; nothing where there is none: kernels and containers differ in what they show."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _count(number: float, noun: str) -> str:
    return f"{number:g} {noun}{'' if number == 1 else 's'}"


def _named(noun: str, numbers: Iterable[int]) -> str:
    numbers = set(numbers)
    return f"{noun}{'' if len(numbers) == 1 else 's'} {cpulist(numbers)}"
