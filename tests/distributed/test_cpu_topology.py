import os
from pathlib import Path

import pytest

from mscnn.distributed.core_plan import plan
from mscnn.distributed.cpu_topology import (
    Cpu,
    Topology,
    allowed_cores,
    allowed_cpus,
    cgroup_cores,
    cpulist,
    parse_cpulist,
    read_topology,
)
from tests.conftest import run_python


def machine(sockets: int, cores: int, *, smt: int = 1, nodes: int = 1, interleaved: bool = False) -> Topology:
    """So many cores a socket; second threads are numbered after all first ones; nodes: memory nodes of the machine.

    interleaved: CPUs are dealt to the sockets in turns, each with a memory node of its own; otherwise one after another.
    """
    total = sockets * cores
    place = [(number % sockets, number % sockets) if interleaved else (number // cores, number * nodes // total)
             for number in range(total)]
    return Topology(tuple(sorted(Cpu(*place[core], core, core + total * thread)
                                 for core in range(total) for thread in range(smt))))


RECIPE = machine(2, 20, smt=2, nodes=2)  # the 2018 recipe's nodes: CPUs 0-39 and their siblings 40-79
DESKTOP = machine(1, 8)
EPYC = machine(2, 64, smt=2, nodes=8)
INTERLEAVED = machine(2, 20, smt=2, nodes=2, interleaved=True)


def whole(topology: Topology) -> frozenset[int]:
    return frozenset(cpu.number for cpu in topology.cpus)


@pytest.mark.parametrize(("text", "numbers"), [
    ("", []), ("3", [3]), ("0-2", [0, 1, 2]), ("0-1,4,6-8", [0, 1, 4, 6, 7, 8]), ("9,11", [9, 11])])
def test_cpu_lists_are_the_kernels_ranges(text, numbers):
    assert cpulist(reversed(numbers)) == text
    assert parse_cpulist(text + "\n") == set(numbers)


def write_files(root: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}\n")
    return root


def write_sysfs(root: Path, topology: Topology, without: str = "nothing") -> Path:
    """What the kernel would show of the machine. As on real ones, core ids begin at 0 on each socket, with gaps."""
    first = {cpu.socket: cpu.core for cpu in reversed(topology.cpus)}
    for cpu in topology.cpus:
        siblings = [other.number for other in topology.cpus if other.core == cpu.core]
        files = {"physical_package_id": cpu.socket, "core_id": 2 * (cpu.core - first[cpu.socket]),
                 "thread_siblings_list": cpulist(siblings)}
        write_files(root / f"sys/devices/system/cpu/cpu{cpu.number}/topology",
                    {name: content for name, content in files.items() if name != without})
    if without != "node":
        for node in {cpu.memory_node for cpu in topology.cpus}:
            held = cpulist(cpu.number for cpu in topology.cpus if cpu.memory_node == node)
            write_files(root, {f"sys/devices/system/node/node{node}/cpulist": held})
    return root


@pytest.mark.parametrize("topology", [RECIPE, DESKTOP, EPYC, INTERLEAVED])
@pytest.mark.parametrize("without", ["nothing", "core_id", "thread_siblings_list"])
def test_the_topology_is_what_the_kernel_shows(tmp_path, topology, without):
    assert read_topology(write_sysfs(tmp_path, topology, without)) == topology


def test_without_core_ids_and_siblings_every_cpu_is_a_core(tmp_path):
    cpus = tmp_path / "sys/devices/system/cpu"
    write_files(cpus, {f"cpu{number}/topology/physical_package_id": number // 2 for number in range(4)})
    assert read_topology(tmp_path) == Topology((Cpu(0, 0, 0, 0), Cpu(0, 0, 1, 1), Cpu(1, 0, 2, 2), Cpu(1, 0, 3, 3)))
    for number in range(4):
        (cpus / f"cpu{number}/topology/physical_package_id").unlink()
    assert read_topology(tmp_path) == machine(1, 4)


def test_without_memory_nodes_there_is_one(tmp_path):
    topology = read_topology(write_sysfs(tmp_path, RECIPE, "node"))
    assert {cpu.memory_node for cpu in topology.cpus} == {0}
    planned = [plan(topology, [whole(topology)] * 4, rank) for rank in range(4)]
    assert [cpulist(one.compute) for one in planned] == ["0-9", "10-19", "20-29", "30-39"]


def test_a_memory_node_without_cpus_and_a_socket_that_is_not_told_do_no_harm(tmp_path):
    write_sysfs(tmp_path, machine(1, 2))
    write_files(tmp_path / "sys/devices/system", {
        "node/node1/cpulist": "", "node/possible": "0-1", "cpu/cpuidle/current_driver": "none", "cpu/online": "0-1",
        "cpu/cpu0/topology/physical_package_id": -1, "cpu/cpu1/topology/physical_package_id": -1})
    assert read_topology(tmp_path) == machine(1, 2)


def test_cpus_that_are_offline_do_not_count(tmp_path):
    """New kernels take away the topology of an offline CPU, old ones leave it."""
    write_sysfs(tmp_path, machine(1, 2))
    write_files(tmp_path / "sys/devices/system/cpu", {
        "cpu1/online": 1, "cpu2/online": 0, "cpu3/online": 0, "cpu3/topology/core_id": 0,
        "cpu3/topology/thread_siblings_list": 3})
    assert read_topology(tmp_path) == machine(1, 2)


def test_where_the_kernel_shows_nothing_every_allowed_cpu_is_a_core(tmp_path):
    assert read_topology(tmp_path) == Topology(tuple(Cpu(0, 0, number, number) for number in sorted(allowed_cpus())))


def test_this_machines_topology_holds_every_allowed_cpu():
    assert whole(read_topology()) >= os.sched_getaffinity(0)


@pytest.mark.parametrize(("groups", "files", "cores"), [
    ("0::/box", {"box/cpu.max": "200000 100000"}, 2.0),
    ("0::/box", {"box/cpu.max": "max 100000"}, None),
    ("0::/", {"cpu.max": "150000 100000"}, 1.5),
    ("0::/slice/box", {"slice/cpu.max": "100000 50000", "slice/box/cpu.max": "400000 100000"}, 2.0),  # the least counts
    ("0::/slice/box", {"slice/cpu.max": "max 100000", "slice/box/cpu.max": "400000 100000"}, 4.0),
    ("0::/slice", {"other/cpu.max": "100000 100000"}, None),
    ("4:cpuacct,cpu:/box", {"cpu/box/cpu.cfs_quota_us": 300000, "cpu/box/cpu.cfs_period_us": 100000}, 3.0),
    ("4:cpu,cpuacct:/box", {"cpu,cpuacct/box/cpu.cfs_quota_us": 50000, "cpu,cpuacct/box/cpu.cfs_period_us": 100000}, 0.5),
    ("4:cpu:/box\n0::/", {"cpu/box/cpu.cfs_quota_us": -1, "cpu/box/cpu.cfs_period_us": 100000}, None),
    ("4:cpu:/docker/a", {"cpu/cpu.cfs_quota_us": 200000, "cpu/cpu.cfs_period_us": 100000}, 2.0),  # as seen from within
    ("4:cpuset:/box", {"cpuset/box/cpu.max": "100000 100000", "cpu/box/cpu.cfs_quota_us": 1}, None),
    ("1:name=systemd:/\n0::/box", {"unified/box/cpu.max": "200000 100000"}, 2.0)])
def test_a_control_groups_quota_in_cores(tmp_path, groups, files, cores):
    write_files(tmp_path, {"proc/self/cgroup": groups})
    write_files(tmp_path / "sys/fs/cgroup", files)
    assert cgroup_cores(tmp_path) == cores


def test_without_control_groups_there_is_no_quota(tmp_path):
    assert cgroup_cores(tmp_path) is None


BIND = """
import os, sys, threading
from mscnn.distributed import cpu_topology
compute, loader = ({int(number)} for number in sys.argv[1:])
def in_a_thread(act):
    seen = []
    thread = threading.Thread(target=lambda: seen.append((act(), os.sched_getaffinity(0))))
    thread.start()
    thread.join()
    return seen[0]
"""


def run_binding(program: str, compute: int, loader: int) -> str:
    done = run_python("-c", BIND + program, compute, loader)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_binding_holds_the_main_thread_and_those_it_starts_and_the_loader_goes_elsewhere():
    first, last = min(allowed_cpus()), max(allowed_cpus())
    program = """
print(cpu_topology.bind(compute), os.sched_getaffinity(0), in_a_thread(lambda: "inherited"),
      in_a_thread(lambda: cpu_topology.bind_loader(loader)), os.sched_getaffinity(0), sep="; ")
"""
    assert run_binding(program, first, last) == (
        f"bound to CPU {first}; {{{first}}}; ('inherited', {{{first}}}); ('bound to CPU {last}', {{{last}}}); {{{first}}}")


def test_binding_never_widens_the_inherited_mask():
    first, last = min(allowed_cpus()), max(allowed_cpus())
    if first == last:
        pytest.skip("one CPU cannot be left out of a mask")
    program = "os.sched_setaffinity(0, loader); print(cpu_topology.bind(compute), os.sched_getaffinity(0))"
    assert run_binding(program, first, last) == (
        f"not bound: the affinity mask does not hold CPU {first} {{{last}}}")


def test_where_nothing_can_be_bound_it_is_said():
    first = min(allowed_cpus())
    refused = """
def refuse(process, cpus):
    raise PermissionError(1, "Operation not permitted")
os.sched_setaffinity = refuse
print(cpu_topology.bind(compute), cpu_topology.bind_loader(loader), sep="; ")
"""
    assert run_binding(refused, first, first) == "not bound: Operation not permitted; not bound: Operation not permitted"
    absent = ("del os.sched_setaffinity, os.sched_getaffinity; "
              "print(cpu_topology.bind(compute), len(cpu_topology.allowed_cpus()))")
    assert run_binding(absent, first, first) == f"not bound: this system has no affinity masks {os.cpu_count()}"


def test_only_cores_in_the_mask_count():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert allowed_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert allowed_cores() == len(before)
