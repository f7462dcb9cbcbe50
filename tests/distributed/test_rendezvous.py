"""A rendezvous that fails ends the ranks with one line each and exit code 2, and leaves no process behind."""

import dataclasses
import gc
import os
import re
import socket
import subprocess
import time
from pathlib import Path

import pytest
import torch.distributed as dist

from mscnn.core.errors import UsageError
from mscnn.distributed import cpu_topology, rendezvous
from mscnn.distributed.launchers import MPICH, SRUN, TORCHRUN, VARIABLES, RankInfo
from mscnn.distributed.network import interface, listening_address
from tests import forked_process
from tests.conftest import ROOT, run_python

SRUN_SET = {"SLURM_JOB_ID": "17", "SLURM_STEP_ID": "2", "SLURM_STEP_NODELIST": "node[3-4]"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def start(rank: int, size: int, port: int, *arguments: object, forked: bool = False, folder: Path = ROOT,
          **variables: str) -> forked_process.RunningProcess:
    """A process that believes to be this rank, on a port that nobody but rank 0 opens."""
    known = {name for names in VARIABLES.values() for name in names} | {"TORCHELASTIC_USE_AGENT_STORE"}
    place = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1",
             "MASTER_PORT": port}
    clean = {name: value for name, value in os.environ.items() if name not in known}
    begin = forked_process.start if forked else forked_process.start_fresh
    return begin([str(word) for word in arguments or WORLD],
                 {**clean, **{name: str(value) for name, value in place.items()}, **variables}, folder)


WORLD = ("-m", "mscnn", "ranks", "--join-timeout", "3", "--oversubscribe", "true")
BRIEFLY = (*WORLD, "--join-timeout", "1")  # for those who wait for nobody


def ends(process: forked_process.RunningProcess, code: int) -> str:
    """What it says, which is one line or nothing."""
    process.wait(60)
    output, errors = process.outputs()
    assert process.returncode == code, errors
    assert len(errors.splitlines()) <= 1, errors
    return errors + output


def test_ranks_print_where_each_one_runs():
    port = free_port()
    processes = [start(rank, 2, port) for rank in range(2)]
    said = [ends(process, 0) for process in processes]
    assert said[0].startswith(f"2 ranks by torchrun; gloo, rendezvous at 127.0.0.1:{port}, interface lo\nrank 0 on ")
    assert said[0].count("\n") == 3
    assert said[1] == ""


def test_a_missing_rank_is_named():
    started = time.monotonic()
    assert "rank 1, 2 of 3 missing at the rendezvous after 1 s; see" in ends(start(0, 3, free_port(), *BRIEFLY), 2)
    assert time.monotonic() - started < 30


def test_a_missing_rank_0_is_named_by_the_others():
    port = free_port()
    assert f"rank 1 did not reach rank 0 at 127.0.0.1:{port} within 1 s" in ends(start(1, 2, port, *BRIEFLY), 2)


def test_duplicate_ranks_are_named():
    port = free_port()
    claims = [start(0, 3, port), start(1, 3, port), start(1, 3, port)]
    said = [ends(process, 2) for process in claims]
    assert "two processes are rank 1 of 3; give" in said[0]
    assert said[1:] == ["", ""]  # rank 0 reports for all


def test_a_port_in_use_is_named():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"cannot open port {port} on 127.0.0.1" in ends(start(0, 2, port), 2)


def test_ranks_with_other_settings_are_named(tiny_screen):
    port = free_port()
    processes = [start(rank, 2, port, "train.py", "supervised", "--sites", tiny_screen, "--seed", rank, "--run-dir",
                       tiny_screen.parent / "run", forked=True) for rank in range(2)]
    said = [ends(process, 2) for process in processes]
    assert "rank 1 on " in said[0]
    assert " has settings " in said[0]
    assert "error" not in said[1]  # all know it, rank 0 reports it
    assert not (tiny_screen.parent / "run").exists()


def test_ranks_with_another_table_are_named(tiny_screen):
    other = tiny_screen.with_name("other")
    other.mkdir()
    for name in (*tiny_screen.parent.glob("*.tif"), tiny_screen):
        (other / name.name).write_bytes(name.read_bytes())
    table = (other / "sites.csv").read_text()
    (other / "sites.csv").write_text(table.replace("0.30", "0.31"))
    port, command = free_port(), (ROOT / "train.py", "supervised", "--sites", "sites.csv", "--run-dir", "run")
    processes = [start(rank, 2, port, *command, forked=True, folder=folder)
                 for rank, folder in enumerate((tiny_screen.parent, other))]
    said = [ends(process, 2) for process in processes]
    assert " has data " in said[0]


TOGETHER = """
from mscnn.core import errors
from mscnn.distributed import launchers, world
def main():
    ranks = world.init()
    def action():
        if ranks.rank in WRONG:
            raise errors.DataError(f"no table for {ranks.rank}")
        return ranks.rank
    assert ranks.run_on_all_or_raise(action) == ranks.rank
    ranks.shutdown()
errors.run(main, is_reporter=launchers.is_rank_zero, on_exit=launchers.exit_rank)
"""


@pytest.mark.parametrize(("wrong", "said"), [((), ""), ((0, 1), "no table for 0"), ((1,), "rank 1 on ")])
def test_an_error_on_one_rank_ends_all_and_is_reported_once(wrong, said):
    port = free_port()
    processes = [start(rank, 2, port, "-c", TOGETHER.replace("WRONG", repr(wrong))) for rank in range(2)]
    lines = [ends(process, 3 if wrong else 0) for process in processes]
    assert said in lines[0]
    assert lines[1] == ""
    assert not wrong or lines[0].endswith(f"no table for {wrong[0]}\n")


@pytest.mark.parametrize("wrong", ["0", "x", "65536", "-1"])
def test_a_port_that_is_none_is_refused(wrong):
    with pytest.raises(UsageError, match=f"MASTER_PORT must be a port, 1 to 65535, got '{wrong}'"):
        rendezvous.endpoint(RankInfo(SRUN), {**SRUN_SET, "MASTER_PORT": wrong})


def found(launcher: str, environment: dict[str, str], **place: int) -> tuple:
    """Host, port, whether rank 0 opens it, and the other hosts; for the first of two hosts, unless told otherwise."""
    spot = rendezvous.endpoint(RankInfo(launcher, **{"size": 2, **place}), environment)
    return spot.host, spot.port, spot.opens, spot.others


def test_the_endpoint_by_launcher():
    torchrun = {"MASTER_ADDR": "node1", "MASTER_PORT": "29500"}
    agent, port = {**torchrun, "TORCHELASTIC_USE_AGENT_STORE": "True"}, 20000 + 17 * 17 + 2
    assert found(TORCHRUN, torchrun) == ("node1", 29500, True, ())
    assert found(TORCHRUN, agent) == ("node1", 29500, False, ())
    assert found(SRUN, SRUN_SET) == ("node3", port, True, ("node4",))
    named = {**SRUN_SET, "MASTER_ADDR": "ib0", "MASTER_PORT": "7"}
    assert found(SRUN, named) == ("ib0", 7, True, ("node4",))
    assert found(SRUN, {**named, "SLURM_STEP_NODELIST": "node["}) == ("ib0", 7, True, ())
    with pytest.raises(UsageError, match="set the host of rank 0 by MASTER_ADDR"):
        found(SRUN, {**SRUN_SET, "SLURM_STEP_NODELIST": "node["})
    with pytest.raises(AssertionError):
        found(MPICH, {})


def test_ranks_of_one_host_use_loopback():
    torchrun = {"MASTER_ADDR": "node1", "MASTER_PORT": "29500"}
    assert found(TORCHRUN, torchrun, local_size=2) == ("127.0.0.1", 29500, True, ())
    assert found(SRUN, {**SRUN_SET, "SLURM_STEP_NODELIST": "node3"}, local_size=2) == ("127.0.0.1", 20291, True, ())
    agent = {**torchrun, "TORCHELASTIC_USE_AGENT_STORE": "True"}  # torchrun has opened it there
    assert found(TORCHRUN, agent, local_size=2) == ("node1", 29500, False, ())


def test_jobs_side_by_side_use_different_ports():
    ports = [found(SRUN, {**SRUN_SET, "SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)})[1]
             for job in range(500, 600) for step in range(3)]
    assert len(set(ports)) == len(ports)
    assert all(1024 < port < 32768 for port in ports)


def test_the_nonce_differs_from_job_to_job():
    jobs = [rendezvous.nonce(RankInfo(SRUN), SRUN_SET | {name: "5"}) for name in
            ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT", "MSCNN_NONCE", "SLURM_PROCID", "SLURM_NODEID")]
    assert jobs[-1] == jobs[-2] == rendezvous.nonce(RankInfo(SRUN), SRUN_SET)  # the same on each rank
    torchrun = {"MASTER_ADDR": "node1", "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "none"}
    jobs += [rendezvous.nonce(RankInfo(TORCHRUN), torchrun | {name: "5"}) for name in
             ("MASTER_PORT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MSCNN_NONCE", "RANK", "LOCAL_RANK")]
    assert len(set(jobs)) == 10
    shown = repr(rendezvous.endpoint(RankInfo(SRUN, size=2), SRUN_SET | {"MSCNN_NONCE": "secret"}))
    assert "secret" not in shown


def test_job_scripts_generate_a_nonce_for_their_ranks():
    script = "set -euo pipefail; source slurm/job.sh; env | grep ^MSCNN_NONCE="  # env sees what srun would
    plain = {name: value for name, value in os.environ.items() if name != "MSCNN_NONCE"}
    made_up = {subprocess.run(["bash", "-c", script], cwd=ROOT, text=True, capture_output=True, check=True,
                              env=plain | before).stdout for before in ({}, {}, {"MSCNN_NONCE": "stale"})}
    assert len(made_up) == 3
    assert all(re.fullmatch("MSCNN_NONCE=[0-9a-f]{32}\n", line) for line in made_up), made_up


@pytest.mark.parametrize(("seconds", "why"), [((10, 3), "rank 0 of 2 missing at the rendezvous after 3 s; see"),
                                              ((3, 60), "error: rank 1 of 2 lost rank 0 (")])
def test_ranks_with_another_nonce_are_missing(seconds, why):
    """Whichever ends first: rank 1 has seen no rank 0 that would report for it. Forked ranks start at the same time."""
    port = free_port()
    ranks = [start(rank, 2, port, *WORLD, "--join-timeout", seconds[rank], forked=True, MSCNN_NONCE=nonce)
             for rank, nonce in enumerate(["one", "other"])]
    assert [process.wait(120) for process in ranks] == [2, 2]
    errors = [process.outputs()[1] for process in ranks]
    assert len(errors[0].splitlines()) == 1
    assert (f"rank 1 of 2 missing at the rendezvous after {seconds[0]} s; see their output, give all ranks the same "
            "MSCNN_NONCE or none") in errors[0]
    assert why in errors[1].splitlines()[-1]  # torch warns of a store that has gone


def test_two_jobs_on_one_store_stay_apart():
    """Without nonces, two processes are rank 0, or gloo connects ranks of both jobs."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    arguments = (store.port, *WORLD, "--join-timeout", "60")
    jobs = [[start(rank, 2, *arguments, forked=True, MSCNN_NONCE=nonce, TORCHELASTIC_USE_AGENT_STORE="True")
             for rank in range(2)] for nonce in ("one", "other")]
    for job in jobs:
        said = [ends(process, 0) for process in job]
        where = f"127.0.0.1:{store.port} (torchrun's store, on all interfaces)"
        assert f"gloo, rendezvous at {where}, interface lo\n" in said[0]
        assert said[1] == ""
    spaces = {key.split("/")[0] for key in store.list_keys()}
    assert len([space for space in spaces if space.startswith("mscnn-")]) == 2
    assert not [space for space in spaces if "one" in space or "other" in space]
    assert len(spaces) == 2  # all our keys, gloo's too, hold the digest of the nonce


def listeners(port: int) -> list[str]:
    """Local addresses, in hexadecimal as the kernel has them, at which a port is listened on."""
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return [row[1].split(":")[0] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "0A"]


def answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_rank_0_listens_at_the_endpoint_only():
    port = free_port()
    rank_0 = start(0, 2, port, *WORLD, "--join-timeout", "60")
    until = time.monotonic() + 60
    while not listeners(port) and time.monotonic() < until:
        time.sleep(0.05)
    assert listeners(port) == ["0100007F"]  # 127.0.0.1
    assert answers("127.0.0.1", port)
    assert not answers("127.0.0.2", port)  # an address of this machine as well
    ends(start(1, 2, port), 0)
    ends(rank_0, 0)


@pytest.fixture
def names(monkeypatch) -> dict[str, list[str]]:
    """{name: addresses} that this host is to know, besides addresses themselves, and which of its own lead where."""
    known, resolve = {}, socket.getaddrinfo

    def pretended(host, port, *arguments, **options):
        if host in known and not known[host]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [entry for address in known.get(host, [host]) for entry in resolve(address, port, *arguments, **options)]
    monkeypatch.setattr(socket, "getaddrinfo", pretended)
    monkeypatch.setattr("mscnn.distributed.network._source", lambda other: known.get(f"to {other}"))
    return known


@pytest.mark.parametrize(("addresses", "towards", "expected"), [
    (["10.7.0.1"], "10.8.0.1", "10.7.0.1"),                    # by its name, whatever leads to the others
    (["fd00::1"], None, "fd00::1"),
    (["fd00::1", "10.7.0.1"], None, "10.7.0.1"),
    (["127.0.1.1"], "10.7.0.1", "10.7.0.1"),                   # Debian's /etc/hosts: nobody else comes to 127.0.1.1
    ([], "10.7.0.1", "10.7.0.1"),
    (["10.7.0.1", "10.8.0.1"], "10.8.0.1", "10.8.0.1"),        # two networks
    (["10.7.0.1", "10.8.0.1"], "10.9.0.1", "node1 is 10.7.0.1 and 10.8.0.1 on its own host"),
    (["127.0.1.1"], "127.0.0.1", "node1 is 127.0.1.1 on its own host"),
    (["127.0.1.1", "::1"], None, "node1 is 127.0.1.1 and ::1 on its own host"),
    ([], None, "node1 is unknown on its own host"),
])
def test_the_address_is_one_that_others_reach(names, addresses, towards, expected):
    names.update({"node1": addresses, "to node2": towards})
    own, why = listening_address("node1", ["node2"])
    assert (own or why) == expected
    if towards:
        assert listening_address("node1", [])[0] in (None, expected)


@pytest.mark.parametrize(("host", "addresses"), [
    ("127.0.0.1", ["127.0.0.1"]), ("127.0.0.3", ["127.0.0.3"]), ("::1", ["::1"]), ("localhost", ["::1", "127.0.0.1"])])
def test_a_loopback_that_was_asked_for_is_one(names, host, addresses):
    names[host] = addresses
    assert listening_address(host, ["node2"]) == (addresses[-1], "")


@pytest.mark.parametrize(("addresses", "hears", "phrase"), [
    (["127.0.1.1"], True, "(listening on all interfaces, as node1 is 127.0.1.1 on its own host)"),
    (["203.0.113.9"], True, "(listening on all interfaces, as 203.0.113.9 is no address of its own host)"),
    (["127.0.1.1"], False, "(listening on 127.0.0.2)"),
])
def test_all_interfaces_are_a_last_resort_and_named(names, monkeypatch, addresses, hears, phrase):
    names["node1"], port = addresses, free_port()
    if not hears:
        monkeypatch.setattr("mscnn.distributed.network.towards", lambda other: "127.0.0.2")  # in place of another interface
    spot = rendezvous.Endpoint("node1", port, others=() if hears else ("node2",), nonce="a")
    store, where = rendezvous.open_store(spot, RankInfo(SRUN, size=2), 5)
    assert where == f"node1:{port} {phrase}"
    assert answers("127.0.0.1", port) is hears
    assert answers("127.0.0.2", port)
    store.set("key", "value")
    names["node1"] = ["127.0.0.2"]  # as other ranks have it
    other, where = rendezvous.open_store(spot, RankInfo(SRUN, rank=1, size=2), 5)
    assert (other.get("key"), where) == (b"value", f"node1:{port}")
    stranger, _ = rendezvous.open_store(dataclasses.replace(spot, nonce="b"), RankInfo(SRUN, rank=1, size=2), 5)
    assert not stranger.check(["key"])


def test_the_socket_is_closed_with_the_store_and_once():
    """Its number is another file's by then, which a second close would take away."""
    spot = rendezvous.Endpoint("127.0.0.1", free_port())
    store, where = rendezvous.open_store(spot, RankInfo(SRUN, size=2), 5)
    assert listeners(spot.port) == ["0100007F"]
    assert where == f"127.0.0.1:{spot.port}"
    del store
    gc.collect()
    assert listeners(spot.port) == []
    files = [open(os.devnull) for _ in range(64)]  # noqa: SIM115
    gc.collect()
    assert [os.fstat(file.fileno()).st_rdev for file in files] == [os.stat(os.devnull).st_rdev] * 64
    for file in files:
        file.close()


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(("hosts", "expected"), [(["node1", "node1"], "127.0.0.1"), (["node1", "node2"], "127.0.0.2")])
def test_ranks_of_mpirun_use_the_interface_to_the_other_host(names, monkeypatch, rank, hosts, expected):
    """127.0.0.2 stands in for that interface. The others know only what rank 0 broadcasts over MPI."""
    monkeypatch.setattr("mscnn.distributed.network.towards", lambda other: {"node2": "127.0.0.2"}[other])
    monkeypatch.setattr(socket, "gethostname", lambda: hosts[rank])
    told, of_rank_0 = [], None

    def share(value, root):
        if value == hosts[rank]:
            return hosts[root]
        told.append(value or told[0])
        return told[-1]
    if rank == 1:
        of_rank_0 = rendezvous._serve(rendezvous.Endpoint(expected, 0), 5)[0]
        told.append([expected, of_rank_0.port, "made up"])
    store, where = rendezvous.store_over_mpi(RankInfo(MPICH, rank=rank, size=2), share, 5)
    host, port, made_up = told[-1]
    assert (where, host) == (f"{expected}:{port}", expected)
    assert listeners(port) == [{"127.0.0.1": "0100007F", "127.0.0.2": "0200007F"}[expected]]
    assert rank == 1 or re.fullmatch("[0-9a-f]{32}", made_up)
    store.set("key", "value")
    same = rendezvous._of_this_job(dist.TCPStore(host, port, is_master=False, wait_for_workers=False), made_up)
    assert same.get("key") == b"value"


def test_the_interface_is_the_one_that_leads_to_the_others():
    assert interface("here", ["here", "here"]) == "lo"
    assert interface("here", ["here", "127.0.0.1"]) == "lo"
    assert interface("here", ["here", "no-such-host.invalid"]) is None


def test_two_agents_on_one_machine_share_its_cores_and_one_place_is_taken_once():
    """Both agents number their ranks from 0."""
    for agents, code in (("01", 0), ("00", 2)):
        port = free_port()
        processes = [start(rank, 2, port, forked=True, LOCAL_RANK="0", LOCAL_WORLD_SIZE="1", GROUP_RANK=agent)
                     for rank, agent in enumerate(agents)]
        said = [ends(process, code) for process in processes]
        if code:
            assert "ranks 0 and 1 are both local rank 0 on " in said[0]
        else:
            assert "for 2 ranks" in said[0]


@pytest.mark.parametrize("ranks", [1, 2])
def test_openmps_own_binding_is_overruled(tiny_screen, ranks):
    """It leaves the main thread one core, and all ranks the same one."""
    if (cores := cpu_topology.allowed_cores()) < 2:
        pytest.skip("needs two cores")
    arguments = ("train.py", "supervised", "--sites", tiny_screen, "--hold-out", "b", "--max-steps", "1",
                 "--minibatch", "2")
    done = run_python(*arguments, "--run-dir", tiny_screen.parent / "run", ranks=ranks, OMP_PROC_BIND="true")
    assert f"{cores} cores for {ranks} rank" in done.stdout, done.stderr


def test_where_openmps_own_binding_cannot_be_overruled_it_is_refused():
    refused = run_python("-m", "mscnn", "ranks", OMP_PROC_BIND="true")
    assert "error: OMP_PROC_BIND bound this process before" in refused.stderr
