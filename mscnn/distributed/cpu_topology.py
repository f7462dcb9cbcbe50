"""What the kernel says of this machine's CPUs: topology, quota of the control group, affinity masks.  Imports no torch.

A core is a physical one; a CPU is one hardware thread of a core, which the kernel numbers.
"""

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import NamedTuple


class Cpu(NamedTuple):
    """A CPU and where it sits. Ranks get cores in the sorted order of their CPUs."""

    socket: int
    memory_node: int
    core: int  # the lowest CPU number on this core: the kernel's core ids repeat from socket to socket
    number: int


Core = tuple[Cpu, ...]  # the CPUs of a core that may be used, lowest number first


@dataclass(frozen=True)
class Topology:
    """The CPUs of a machine."""

    cpus: tuple[Cpu, ...]

    def cores(self, mask: Iterable[int]) -> list[Core]:
        """Return the cores of an affinity mask, by socket, memory node and number.

        A CPU that the topology lacks is a core of its own: some containers show fewer CPUs than they allow.
        """
        known = {cpu.number: cpu for cpu in self.cpus}
        allowed = sorted(known.get(number, Cpu(0, 0, number, number)) for number in mask)
        return [tuple(core) for _, core in groupby(allowed, key=lambda cpu: cpu[:3])]


def read_topology(root: Path = Path("/")) -> Topology:
    """Read the machine's topology under root/sys; without it, every allowed CPU is a core of one socket."""
    system = root / "sys/devices/system"
    memory_nodes = {number: int(folder.name.removeprefix("node")) for folder in system.glob("node/node[0-9]*")
                    for number in parse_cpulist(_text(folder / "cpulist"))}
    folders = {int(folder.name.removeprefix("cpu")): folder for folder in system.glob("cpu/cpu[0-9]*")
               if _text(folder / "online") != "0"}
    lowest: dict[tuple[int, int], int] = {}
    cpus = []
    for number, folder in sorted(folders.items()):
        socket = max(0, int(_text(folder / "topology/physical_package_id") or 0))  # -1: unknown to the firmware
        core_id = int(_text(folder / "topology/core_id") or -1)
        siblings = parse_cpulist(_text(folder / "topology/thread_siblings_list"))
        if not siblings and core_id >= 0:
            siblings = {lowest.setdefault((socket, core_id), number)}
        cpus.append(Cpu(socket, memory_nodes.get(number, 0), min(siblings, default=number), number))
    return Topology(tuple(sorted(cpus)) or tuple(Cpu(0, 0, number, number) for number in sorted(allowed_cpus())))


def cgroup_cores(root: Path = Path("/")) -> float | None:
    """Return the least CPU quota of this process's control group and of its parents, in cores; None: no limit.

    A container with a quota of 2 sees all CPUs of its host.  If it uses them, it is stopped for most of every 0.1 s.
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


def allowed_cpus() -> frozenset[int]:
    """Return this thread's affinity mask: before bind, the one inherited from the launcher. All CPUs without masks."""
    return frozenset(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))


def allowed_cores() -> int:
    """Count the CPUs in this process's affinity mask."""
    return len(allowed_cpus())


def bind(cpus: Iterable[int]) -> str:
    """Bind the calling thread, the main one, to CPUs of its affinity mask. Returns what was done, for the log.

    Later threads inherit the mask, running ones do not: call this before the first parallel operation.
    No memory policy is set: Linux takes a page from the memory node of the core that first touches it.
    """
    if outside := set(cpus) - allowed_cpus():
        return f"not bound: the affinity mask does not hold {name_numbers('CPU', outside)}"
    return _bind(cpus)


def bind_loader(cpus: Iterable[int]) -> str:
    """Bind the calling thread, the one that loads, to its CPUs. Returns what was done, for the log."""
    return _bind(cpus)


@contextmanager
def on(cpus: frozenset[int]) -> Iterator[None]:
    """Bind the calling thread to these CPUs within the block; processes that it starts there stay on them."""
    before = allowed_cpus()
    _bind(cpus)
    try:
        yield
    finally:
        _bind(before)


def cpulist(cpus: Iterable[int]) -> str:
    """Format CPU numbers as the kernel does: 0-9,40-49."""
    runs = groupby(enumerate(sorted(cpus)), key=lambda place: place[1] - place[0])  # constant along a run
    ends = [(run[0][1], run[-1][1]) for _, members in runs if (run := list(members))]
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in ends)


def parse_cpulist(text: str) -> frozenset[int]:
    """Read the CPU numbers of 0-9,40-49."""
    ranges = [item.partition("-") for item in text.strip().split(",") if item]
    return frozenset(number for first, _, last in ranges for number in range(int(first), int(last or first) + 1))


def name_numbers(noun: str, numbers: Iterable[int]) -> str:
    """Format numbered things: "socket 0", "cores 0-9"."""
    numbers = set(numbers)
    return f"{noun}{'' if len(numbers) == 1 else 's'} {cpulist(numbers)}"


def _bind(cpus: Iterable[int]) -> str:
    """Bind the calling thread where the system can, and return what was done."""
    if not hasattr(os, "sched_setaffinity"):
        return "not bound: this system has no affinity masks"
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as problem:
        return f"not bound: {problem.strerror}"
    return f"bound to {name_numbers('CPU', cpus)}"


def _quota(group: Path) -> float:
    """Read the quota of a control group, in cores; infinite where there is no limit, or none that can be read."""
    second_version = _text(group / "cpu.max").split()  # "200000 100000": microseconds in each period; "max 100000": all
    first_version = [_text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")]  # -1: all
    quota, period = second_version or first_version
    return int(quota) / int(period) if quota.isdigit() else math.inf


def _text(path: Path) -> str:
    """Read a file of the kernel's; empty where it is missing: kernels and containers differ in what they show."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
