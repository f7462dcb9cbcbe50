"""Recorded environments: what launchers set, alone and nested, with the values of other ranks' variables left out."""

import os
import subprocess
import sys

import pytest
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from mscnn.core.errors import UsageError
from mscnn.distributed.launchers import (
    MPICH,
    NONE,
    OPEN_MPI,
    PARENT,
    SRUN,
    TORCHRUN,
    VARIABLES,
    RankInfo,
    exit_rank,
    from_environment,
    has_ended,
    hosts,
    is_rank_zero,
    starters,
    tasks_per_node,
)

TORCHRUN_SET = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "1",
                "MASTER_ADDR": "node1", "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "none"}
OPEN_MPI_SET = {"OMPI_COMM_WORLD_RANK": "9", "OMPI_COMM_WORLD_SIZE": "32", "OMPI_COMM_WORLD_LOCAL_RANK": "1",
                "OMPI_COMM_WORLD_LOCAL_SIZE": "4", "OMPI_COMM_WORLD_NODE_RANK": "1", "PMIX_RANK": "9"}
MPICH_SET = {"PMI_RANK": "2", "PMI_SIZE": "3", "PMI_FD": "7", "MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "1"}
BATCH_SET = {"SLURM_JOB_ID": "17", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NTASKS": "32",
             "SLURM_JOB_NODELIST": "node[1-8]", "SLURM_TASKS_PER_NODE": "4(x8)"}
SRUN_SET = BATCH_SET | {"SLURM_PROCID": "30", "SLURM_LOCALID": "2", "SLURM_NODEID": "7", "SLURM_STEP_ID": "0",
                        "SLURM_STEP_NUM_TASKS": "32", "SLURM_STEP_TASKS_PER_NODE": "4(x8)",
                        "SLURM_STEP_NODELIST": "node[1-8]"}
IN_SRUN = RankInfo(SRUN, rank=30, size=32, local_rank=2, local_size=4, node=7)
IN_TORCHRUN = RankInfo(TORCHRUN, rank=3, size=4, local_rank=1, local_size=2, node=1)
IN_OPEN_MPI = RankInfo(OPEN_MPI, rank=9, size=32, local_rank=1, local_size=4)


@pytest.mark.parametrize(("environment", "place"), [
    ({}, RankInfo(NONE)),
    (TORCHRUN_SET, IN_TORCHRUN),
    (OPEN_MPI_SET, IN_OPEN_MPI),
    (MPICH_SET, RankInfo(MPICH, rank=2, size=3, local_rank=0, local_size=1)),
    (SRUN_SET, IN_SRUN),
    (BATCH_SET, RankInfo(NONE)),                                       # the batch script itself
    (SRUN_SET | {"PMI_RANK": "30", "PMI_SIZE": "32", "PMI_FD": "9"}, IN_SRUN),  # srun --mpi=pmi2
    (SRUN_SET | {"PMIX_RANK": "30", "PMIX_NAMESPACE": "slurm.pmix.17.0"}, IN_SRUN),  # srun --mpi=pmix
])
def test_each_launcher_alone(environment, place):
    assert from_environment(environment) == place


@pytest.mark.parametrize(("environment", "place"), [
    (BATCH_SET | OPEN_MPI_SET, IN_OPEN_MPI),                       # mpirun in sbatch
    (SRUN_SET | {"SLURM_PROCID": "0", "SLURM_LOCALID": "0"} | OPEN_MPI_SET, IN_OPEN_MPI),  # whose daemons srun started
    (SRUN_SET | MPICH_SET, RankInfo(MPICH, rank=2, size=3, local_rank=0, local_size=1)),
    (SRUN_SET | TORCHRUN_SET, IN_TORCHRUN),                        # torchrun in srun
    (OPEN_MPI_SET | TORCHRUN_SET, IN_TORCHRUN),                    # an agent for each rank of mpirun
])
def test_nested_launchers_the_innermost_wins_with_all_its_values(environment, place):
    assert from_environment(environment) == place


@pytest.mark.parametrize(("launcher", "environment"), [
    (TORCHRUN, TORCHRUN_SET), (OPEN_MPI, OPEN_MPI_SET), (MPICH, MPICH_SET), (SRUN, SRUN_SET)])
def test_a_set_that_lacks_one_is_refused_by_name(launcher, environment):
    for name in VARIABLES[launcher]:
        if launcher == SRUN and name == "SLURM_STEP_NUM_TASKS":
            continue  # without it nothing tells a step from a batch script
        partial = {key: value for key, value in environment.items() if key != name}
        with pytest.raises(UsageError, match=f"{name} is not set"):
            from_environment(BATCH_SET | partial if launcher != SRUN else partial)


@pytest.mark.parametrize("changed", [{"RANK": "4"}, {"LOCAL_RANK": "2"}, {"RANK": "-1"}, {"LOCAL_WORLD_SIZE": "9"}])
def test_impossible_places_are_refused(changed):
    with pytest.raises(UsageError, match="is inconsistent"):
        from_environment(TORCHRUN_SET | changed)


def test_a_node_beyond_those_that_have_tasks_cannot_be():
    with pytest.raises(UsageError, match="local rank 2 of 0 by srun is inconsistent"):
        from_environment(SRUN_SET | {"SLURM_NODEID": "8"})


def test_numbers_that_are_none_are_shown():
    with pytest.raises(UsageError, match="WORLD_SIZE=four"):
        from_environment(TORCHRUN_SET | {"WORLD_SIZE": "four"})


@pytest.mark.parametrize(("text", "names"), [
    ("node1", ["node1"]), ("node[1-3]", ["node1", "node2", "node3"]), ("n[08-10,12]", ["n08", "n09", "n10", "n12"]),
    ("a,b[1-2]-ib,c", ["a", "b1-ib", "b2-ib", "c"]), ("rack1-n[7]", ["rack1-n7"]),
    ("r[1-2]n[08-09]", ["r1n08", "r1n09", "r2n08", "r2n09"])])
def test_node_lists_of_slurm(text, names):
    assert hosts(text) == names


@pytest.mark.parametrize("text", ["n[1-2", "n]", "", "a,,b", "n[a-b]"])
def test_node_lists_that_are_not_understood_are_shown(text):
    with pytest.raises(UsageError, match="cannot be parsed"):
        hosts(text)


def test_tasks_by_node():
    assert tasks_per_node("4(x8)") == [4] * 8
    assert tasks_per_node("2,4(x2),1") == [2, 4, 4, 1]


def test_rank_0_speaks_and_whoever_cannot_tell(monkeypatch):
    for name in {name for names in VARIABLES.values() for name in names}:
        monkeypatch.delenv(name, raising=False)
    assert is_rank_zero()
    for name, value in TORCHRUN_SET.items():
        monkeypatch.setenv(name, value)
    assert not is_rank_zero()
    monkeypatch.setenv("RANK", "0")
    assert is_rank_zero()
    monkeypatch.setenv("RANK", "4")  # cannot be
    assert is_rank_zero()


def test_a_process_ends_with_its_program_and_with_its_launcher(monkeypatch):
    monkeypatch.setenv(PARENT, "123456")
    for names in VARIABLES.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)
    assert starters() == [123456]
    for name, value in TORCHRUN_SET.items():
        monkeypatch.setenv(name, value)
    assert starters() == [123456, os.getppid()]


def test_a_starter_has_ended_when_it_is_gone_or_its_child_has_another_parent():
    own = os.getppid()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        assert not has_ended(other.pid, own)  # further up than the parent
        other.communicate(b"\n")
    assert has_ended(other.pid, own)
    assert not has_ended(own, own)
    assert has_ended(other.pid, other.pid)  # it was the parent, and is no more


def test_torchrun_repeats_what_a_rank_has_reported_at_the_end_of_its_own_report(tmp_path, monkeypatch):
    """The finding: the one line of a refusal stood above a wall of torchrun's text, which named no reason."""
    path = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(path))
    exit_rank(3)
    assert not path.exists()  # a rank that reported nothing
    exit_rank(3, "error: no table there\x1b[2J\n  a detail")
    failure = ProcessFailure(local_rank=0, pid=7, exitcode=3, error_file=str(path))
    assert failure.message == r"error: no table there\x1b[2J"
    assert str(ChildFailedError("mscnn", {0: failure})).splitlines()[-2].endswith(r": error: no table there\x1b[2J")
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "none" / "error.json"))
    exit_rank(3, "error: no table there")  # where it cannot be written, torchrun says no reason
