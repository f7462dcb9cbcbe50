"""Ranks that do not come together end in one line each, with exit code 2, and leave no process behind."""

import os
import socket
import subprocess
import sys
import time

import pytest

from mscnn import cpu
from mscnn.errors import UsageError
from mscnn.launchers import MPICH, SRUN, TORCHRUN, VARIABLES, Place
from mscnn.world import meeting
from tests.conftest import ROOT, run_python

SRUN_SET = {"SLURM_JOB_ID": "17", "SLURM_STEP_ID": "2", "SLURM_STEP_NODELIST": "node[3-4]"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def start(rank: int, size: int, port: int, *arguments: object, **variables: str) -> subprocess.Popen:
    """A process that believes to be this rank, on a port that nobody but rank 0 opens."""
    known = {name for names in VARIABLES.values() for name in names} | {"TORCHELASTIC_USE_AGENT_STORE"}
    place = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1",
             "MASTER_PORT": port}
    clean = {name: value for name, value in os.environ.items() if name not in known}
    return subprocess.Popen([sys.executable, *map(str, arguments or WORLD)], text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, cwd=ROOT,
                            env={**clean, **{name: str(value) for name, value in place.items()}, **variables})


WORLD = ("-m", "mscnn.world", "--join-timeout", "3", "--oversubscribe", "true")


def ends(process: subprocess.Popen, code: int) -> str:
    """What it says, which is one line or nothing."""
    output, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert len(errors.splitlines()) <= 1, errors
    return errors + output


def test_ranks_that_meet_tell_who_is_where():
    port = free_port()
    processes = [start(rank, 2, port) for rank in range(2)]
    said = [ends(process, 0) for process in processes]
    assert said[0].startswith(f"2 ranks by torchrun; gloo, met at 127.0.0.1:{port}, interface lo\nrank 0 on ")
    assert said[0].count("\n") == 3
    assert said[1] == ""


def test_a_rank_that_does_not_come_is_named():
    started = time.monotonic()
    assert "3 ranks were to meet, but in 3 s rank 1, 2 did not come; see" in ends(start(0, 3, free_port()), 2)
    assert time.monotonic() - started < 30


def test_rank_0_that_does_not_come_is_named_by_those_who_look_for_it():
    port = free_port()
    assert f"rank 1 did not reach rank 0 at 127.0.0.1:{port} within 3 s" in ends(start(1, 2, port), 2)


def test_two_ranks_of_one_number_are_named():
    port = free_port()
    claims = [start(0, 3, port), start(1, 3, port), start(1, 3, port)]
    said = [ends(process, 2) for process in claims]
    assert "two processes are rank 1 of 3; give" in said[0]
    assert said[1:] == ["", ""]  # rank 0 speaks for all


def test_a_port_in_use_is_named():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"cannot open port {port} on 127.0.0.1" in ends(start(0, 2, port), 2)


def test_ranks_with_other_settings_are_named(tiny_screen):
    port = free_port()
    processes = [start(rank, 2, port, "train.py", "screen", "--sites", tiny_screen, "--seed", rank, "--run-dir",
                       tiny_screen.parent / "run") for rank in range(2)]
    said = [ends(process, 2) for process in processes]
    assert "rank 1 on " in said[0]
    assert " has settings " in said[0]
    assert "error" not in said[1]  # all know it, rank 0 says it
    assert not (tiny_screen.parent / "run").exists()


def test_ranks_with_another_table_are_named(tiny_screen):
    other = tiny_screen.with_name("other")
    other.mkdir()
    for name in (*tiny_screen.parent.glob("*.tif"), tiny_screen):
        (other / name.name).write_bytes(name.read_bytes())
    table = (other / "sites.csv").read_text()
    (other / "sites.csv").write_text(table.replace("0.30", "0.31"))
    port, arguments = free_port(), ("train.py", "screen", "--sites", "sites.csv", "--run-dir", "run")
    processes = []
    for rank, folder in enumerate((tiny_screen.parent, other)):
        command = ["-c", f"import os, sys, runpy; os.chdir({str(folder)!r}); sys.argv = {list(arguments)!r}; "
                         f"sys.path.insert(0, {str(ROOT)!r}); "
                         f"runpy.run_path({str(ROOT / 'train.py')!r}, run_name='__main__')"]
        processes.append(start(rank, 2, port, *command))
    said = [ends(process, 2) for process in processes]
    assert " has data " in said[0]


TOGETHER = """
from mscnn import errors, launchers, world
def main():
    ranks = world.join()
    def action():
        if ranks.rank in WRONG:
            raise errors.DataError(f"no table for {ranks.rank}")
        return ranks.rank
    assert ranks.together(action) == ranks.rank
    ranks.leave()
errors.run(main, speaks=launchers.speaks, fails=launchers.end)
"""


@pytest.mark.parametrize(("wrong", "said"), [((), ""), ((0, 1), "no table for 0"), ((1,), "rank 1 on ")])
def test_what_goes_wrong_on_one_rank_ends_all_and_is_said_once(wrong, said):
    port = free_port()
    processes = [start(rank, 2, port, "-c", TOGETHER.replace("WRONG", repr(wrong))) for rank in range(2)]
    lines = [ends(process, 3 if wrong else 0) for process in processes]
    assert said in lines[0]
    assert lines[1] == ""
    assert not wrong or lines[0].endswith(f"no table for {wrong[0]}\n")


@pytest.mark.parametrize("wrong", ["0", "x", "65536", "-1"])
def test_a_port_that_is_none_is_refused(wrong):
    with pytest.raises(UsageError, match=f"MASTER_PORT must be a port, 1 to 65535, got '{wrong}'"):
        meeting.address(Place(SRUN), {**SRUN_SET, "MASTER_PORT": wrong})


def test_the_meeting_place_by_launcher():
    torchrun = {"MASTER_ADDR": "node1", "MASTER_PORT": "29500"}
    assert meeting.address(Place(TORCHRUN), torchrun) == ("node1", 29500, True)
    assert meeting.address(Place(TORCHRUN), {**torchrun, "TORCHELASTIC_USE_AGENT_STORE": "True"}) == ("node1", 29500, False)
    assert meeting.address(Place(SRUN), SRUN_SET) == ("node3", 20000 + 17 * 17 + 2, True)
    assert meeting.address(Place(SRUN), {**SRUN_SET, "MASTER_ADDR": "ib0", "MASTER_PORT": "7"}) == ("ib0", 7, True)
    with pytest.raises(AssertionError):
        meeting.address(Place(MPICH), {})


def test_jobs_side_by_side_do_not_meet():
    ports = [meeting.address(Place(SRUN), {**SRUN_SET, "SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)})[1]
             for job in range(500, 600) for step in range(3)]
    assert len(set(ports)) == len(ports)
    assert all(1024 < port < 32768 for port in ports)


def test_the_interface_is_the_one_that_leads_to_the_others():
    assert meeting.interface("here", ["here", "here"]) == "lo"
    assert meeting.interface("here", ["here", "127.0.0.1"]) == "lo"
    assert meeting.interface("here", ["here", "no-such-host.invalid"]) is None


def test_two_agents_on_one_machine_share_its_cores_and_one_place_is_taken_once():
    """Both agents number their ranks from 0."""
    for agents, code in (("01", 0), ("00", 2)):
        port = free_port()
        processes = [start(rank, 2, port, LOCAL_RANK="0", LOCAL_WORLD_SIZE="1", GROUP_RANK=agent)
                     for rank, agent in enumerate(agents)]
        said = [ends(process, code) for process in processes]
        if code:
            assert "ranks 0 and 1 are both local rank 0 on " in said[0]
        else:
            assert "for 2 ranks" in said[0]


@pytest.mark.parametrize("ranks", [1, 2])
def test_openmps_own_binding_is_overruled(tiny_screen, ranks):
    """It leaves the main thread one core, and all ranks the same one."""
    if (cores := cpu.allowed_cores()) < 2:
        pytest.skip("needs two cores")
    arguments = ("train.py", "screen", "--sites", tiny_screen, "--hold-out", "b", "--max-steps", "1", "--minibatch", "2")
    done = run_python(*arguments, "--run-dir", tiny_screen.parent / "run", ranks=ranks, OMP_PROC_BIND="true")
    assert f"{cores} cores for {ranks} rank" in done.stdout, done.stderr
    refused = run_python("-m", "mscnn.world", OMP_PROC_BIND="true")
    assert "error: OMP_PROC_BIND bound this process before" in refused.stderr
