"""The job scripts of slurm/, submitted as they are to a virtual cluster (cluster.sh) of 8 nodes of 2 x 20 cores.

`python -m pytest tests/slurm` trains on 4 ranks of 2 nodes, with --full on 32 ranks of 8 nodes.  Ranks plan for the cores
that their node pretends to have; whether they are bound to them cannot be seen here.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mscnn.core import files, run_directory
from tests.conftest import ROOT
from tests.slurm.conftest import HOME, Job

pytestmark = pytest.mark.ranks

TWO_BY_TWO = ("--nodes=2", "--ntasks-per-node=2")
TWO_BY_ONE = ("--nodes=2", "--ntasks-per-node=1")
SHORT = ("demo", "--hold-out", "eg5-c", "--minibatch", 8, "--threads", 1)
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
SLOW = 400  # seconds until a job counts as hanging; 32 ranks took 220 on two busy cores


# What is asked for

@pytest.mark.parametrize("script", ["train.sbatch", "train_mpi.sbatch"])
def test_headers_ask_for_8_nodes_of_4_ranks_of_10_cores(cluster, script):
    job = cluster.submit("--hold", f"slurm/{script}")
    facts = {name: job.fact(name) for name in ("NumNodes", "NumTasks", "CPUs/Task", "NtasksPerN:B:S:C", "NumCPUs")}
    assert facts == {"NumNodes": "8-8", "NumTasks": "32", "CPUs/Task": "10", "NtasksPerN:B:S:C": "4:0:*:*",
                     "NumCPUs": "320"}
    assert Path(job.fact("StdOut")) == cluster.checkout / f"slurm/log/{job.fact('JobName')}-{job.number}.out"
    cluster.run("scancel", job.number)


def test_open_mpi_binds_the_4_ranks_of_a_node_to_10_cores_each(tmp_path):
    mpirun = shutil.which("mpirun", path=Path(sys.executable).parent) or shutil.which("mpirun")
    if not mpirun or "Open MPI) 5" not in subprocess.run([mpirun, "--version"], text=True, capture_output=True).stdout:
        pytest.skip("no mpirun of Open MPI 5 here, which plans for imaginary nodes")
    if not shutil.which("lstopo-no-graphics"):
        pytest.skip("no lstopo here to draw an imaginary node (Debian: hwloc)")
    node, planner = tmp_path / "node.xml", tmp_path / "mpirun"
    subprocess.run(["lstopo-no-graphics", "-i", "package:2 numa:1 core:20 pu:1", "--of", "xml", node], check=True)
    planner.write_text(f'#!/bin/sh\nexec {mpirun} --prtemca ras simulator --prtemca ras_simulator_num_nodes 8 --prtemca '
                       f'ras_simulator_slots 4 --prtemca ras_simulator_topo_files {node} --rtos donotlaunch '
                       '--display map-devel "$@"\n')
    planner.chmod(0o755)
    job = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "32", "SLURM_NTASKS_PER_NODE": "4", "SLURM_CPUS_PER_TASK": "10"}
    planned = subprocess.run(["bash", "slurm/train_mpi.sbatch"], cwd=ROOT, text=True, capture_output=True, check=True, env={
        **os.environ, **AS_ROOT, **job, "MPI_FLAGS": "", "MPIRUN": str(planner), "PYTHON": sys.executable}).stdout
    found = re.findall(r"Data for node: (\S+)|App rank: (\d+)|Binding: (\S+)", planned)
    nodes = dict.fromkeys(name for name, _, _ in found if name)
    ranks = [int(rank) for _, rank, _ in found if rank]
    bindings = [binding for _, _, binding in found if binding]
    assert (len(nodes), ranks) == (8, list(range(32)))
    assert bindings == 8 * ["package[0][core:L0-9]", "package[0][core:L10-19]",
                            "package[1][core:L20-29]", "package[1][core:L30-39]"]


# What the scripts do, with programs in python's place that end at once

@pytest.fixture
def pretend(cluster, tmp_path):
    """Submit a script with `python` and `mpirun` replaced: each prints its arguments, then does what `then` says."""
    def submit(then: str, *arguments: object, **variables: str) -> Job:
        program = tmp_path / "program"
        program.write_text(f'#!/bin/bash\necho "called: $*"\n{then}\n')
        program.chmod(0o755)
        return cluster.submit(*TWO_BY_ONE, *arguments, PYTHON=str(program), MPIRUN=str(program), **variables)
    return submit


def called(job: Job) -> set[str]:
    """The arguments that its tasks got."""
    return {line.removeprefix("called: ") for line in job.log().splitlines() if line.startswith("called: ")}


def test_without_a_preset_it_is_the_8_node_recipe(pretend):
    job = pretend("", "slurm/train.sbatch", "--seed", 3).wait()
    assert called(job) == {f"train.py bbbc021 --run-dir runs/bbbc021-{job.number} --resume auto "
                           "--join-timeout 300 --seed 3"}
    assert job.fact("JobState") == "COMPLETED"


def test_data_is_read_in_place_where_nodes_have_no_disk(pretend, plates):
    job = pretend("", "slurm/train.sbatch", "demo", DATA="plates", SLURM_TMPDIR="").wait()
    assert {line.partition("300 ")[2] for line in called(job)} == {"--bbbc021 plates"}


def test_images_of_another_screen_are_named_by_their_root(pretend):
    job = pretend("", "slurm/train.sbatch", "screen", "--sites", "sites.csv", DATA="slurm").wait()
    assert {line.partition("300 ")[2] for line in called(job)} == {"--image-root slurm --sites sites.csv"}


def test_packed_fields_are_named_as_what_they_are(pretend, cluster):
    (cluster.checkout / "pack").mkdir()
    (cluster.checkout / "pack" / "pack.json").touch()
    job = pretend("", "slurm/train.sbatch", "demo", DATA="pack", SLURM_TMPDIR="").wait()
    assert {line.partition("300 ")[2] for line in called(job)} == {"--packed pack"}
    job = pretend("", "slurm/evaluate.sbatch", "--out", "OUT", DATA="pack").wait()
    assert called(job) == {"evaluate.py --join-timeout 300 --data pack --out OUT"}


def test_evaluation_is_told_where_the_data_of_training_is_now(pretend, plates):
    job = pretend("", "slurm/evaluate.sbatch", "--checkpoint", "RUN", "--out", "OUT", DATA="plates").wait()
    assert called(job) == {"evaluate.py --join-timeout 300 --data plates --checkpoint RUN --out OUT"}


def test_data_is_copied_once_to_the_disk_of_each_node_and_removed(pretend, plates, cluster):
    disk = HOME / "local"
    job = pretend(f'echo "images: $(hostname) $(ls {disk}/mscnn-*/Week* | grep -c tif)"', "slurm/train.sbatch", "demo",
                  DATA=str(plates), STAGE=str(disk)).wait()
    (option,) = {line.partition("300 ")[2] for line in called(job)}  # the same folder on all nodes
    assert re.fullmatch(rf"--bbbc021 {disk}/mscnn-{job.number}-[0-9a-f]{{16}}", option)
    images = len(list(plates.glob("Week*/**/*.tif")))
    assert sorted(re.findall(r"images: .*", job.log())) == [f"images: {node} {images}" for node in job.nodes()]
    assert job.fact("JobState") == "COMPLETED"
    assert [cluster.on_disk(node) for node in job.nodes()] == [[], []]


@pytest.mark.parametrize("script", ["train.sbatch", "train_mpi.sbatch"])
def test_the_warning_before_the_time_limit_stops_training_which_is_queued_again_and_goes_on(pretend, script, fault_row):
    """The programs in place of training stop as train.py does: they end with 75 when they are told."""
    training = '[ "${SLURM_RESTART_COUNT:-}" ] && exit 0; trap "exit 75" USR1 TERM; echo ready; while :; do sleep 0.1; done'
    job = pretend(training, f"slurm/{script}", "demo")
    tasks = 2 if script == "train.sbatch" else 1
    job.until(lambda: job.log().count("ready") == tasks, "training")
    job.cluster.run("scancel", "--batch", "--signal=USR1", job.number)
    job.until(lambda: job.fact("JobState") == "PENDING", "its turn in the queue")
    assert "time is nearly up: saving, to go on later" in job.log()
    go_on(job)
    assert {re.search("--run-dir (\\S+) --resume auto", line)[1] for line in called(job)} == {f"runs/demo-{job.number}"}
    assert job.fact("JobState") == "COMPLETED"
    fault_row(f"SIGUSR1 to the batch shell of {script}",
              "forwarded; queued again on exit code 75, resumes in its run directory")


def test_a_job_that_is_cancelled_saves_and_stays_cancelled(pretend, fault_row):
    training = 'trap "echo saved; exit 75" TERM; echo ready; while true; do sleep 0.1; done'
    job = pretend(training, "slurm/train.sbatch", "demo")
    job.until(lambda: job.log().count("ready") == 2, "training")
    job.cluster.run("scancel", job.number)
    job.wait()
    assert job.log().count("saved") == 2
    assert (job.fact("JobState"), job.fact("Restarts")) == ("CANCELLED", "0")
    fault_row("SIGTERM to all of a Slurm job (scancel)", "saved, not queued again")


def go_on(job: Job) -> None:
    """Slurm would wait two minutes before it starts a job again; in the second of its end its credential is refused."""
    job.cluster.run("scontrol", "update", f"JobId={job.number}", "StartTime=now+2")
    job.wait(SLOW)


def test_training_that_fails_is_not_queued_again(pretend):
    """One task: Slurm ends others with the first, some perhaps before they have begun, and takes the highest code."""
    job = pretend("exit 7", "--nodes=1", "slurm/train.sbatch", "demo").wait()
    assert (job.fact("JobState"), job.fact("ExitCode"), job.fact("Restarts")) == ("FAILED", "7:0", "0")


@pytest.mark.parametrize("script", ["train.sbatch", "train_mpi.sbatch"])
def test_a_requeued_job_goes_on_in_the_same_folder(pretend, script):
    job = pretend('[ "${SLURM_RESTART_COUNT:-}" ] || sleep 1000', f"slurm/{script}", "demo")
    job.until(lambda: called(job), "training")
    job.cluster.run("scontrol", "requeue", job.number)
    job.until(lambda: job.fact("JobState") == "PENDING", "its turn in the queue")
    go_on(job)
    folders = {re.search("--run-dir (\\S+) --resume auto", line)[1] for line in called(job)}
    assert folders == {f"runs/demo-{job.number}"}
    assert job.fact("JobState") == "COMPLETED"


def test_one_task_that_fails_ends_the_job_and_the_tasks_that_go_on(pretend):
    job = pretend('[ "$SLURM_PROCID" = 0 ] && exec sleep 1000; exit 7', "slurm/train.sbatch", "demo").wait()
    assert job.fact("JobState") == "FAILED"
    job.until(lambda: not job.processes(), "its processes to go", timeout=10)


# What they share, without a cluster

PROGRAMS = r"""
run_dir=$1 SLURM_JOB_ID=7
scontrol() { echo "$*" >>"$run_dir/queue"; }
tell() { printf '{\n "started": %s,\n "exit_code": %s\n}\n' $RANDOM $1 >"$run_dir/RUN_STATUS.json"; }
saves() { trap 'exit 75' USR1; while :; do sleep 0.1; done; }
goes_on() { trap : USR1; sleep 1; sleep 1; echo done; }
ends() { [ ! "$2" ] || tell "$2"; return "$1"; }
source slurm/job.sh
set +e
"""
WARN = "kill -USR1 $$"
LATER = f"(sleep 0.5; {WARN}) &"


@pytest.mark.parametrize(("steps", "status", "is_queued"), [
    (f"{WARN}; run_and_requeue echo done", 75, True),     # warned while data is copied
    (f"{LATER} run_and_requeue sleep 20", 75, True),      # before ranks can listen
    (f"{LATER} run_and_requeue saves", 75, True),
    (f"{LATER} run_and_requeue goes_on", 0, False),
    ("run_and_requeue ends 138", 138, False),
    ("run_and_requeue ends 3 3", 3, False),
    ("run_and_requeue ends 137 42", 137, False),
    ("run_and_requeue ends 137 4", 137, True),            # a rank was lost
    ("run_and_requeue ends 4 4", 4, True),
    ("tell 4; run_and_requeue ends 137", 137, False),     # that was an earlier start
    ("tell 4; run_and_requeue ends 0", 0, False)])
def test_what_comes_of_a_program_and_a_warning(tmp_path, steps, status, is_queued):
    done = subprocess.run(["bash", "-c", PROGRAMS + steps, "job", tmp_path], cwd=ROOT, text=True, capture_output=True,
                          timeout=60)
    assert done.returncode == status, done
    assert ("time is nearly up" in done.stdout) is ("USR1" in steps)
    assert ("done" in done.stdout) is ("goes_on" in steps)
    assert (tmp_path / "queue").exists() is is_queued
    assert not is_queued or (tmp_path / "queue").read_text() == "requeue 7\n"


# What training does in them

@pytest.fixture
def size(request) -> tuple[int, int]:
    """Nodes and ranks a node."""
    return (8, 4) if request.config.getoption("--full") else (2, 2)


def check_trained(job: Job, preset: str, nodes: int, a_node: int) -> dict:
    """It ended well and wrote all it should, with so many ranks on each of so many hosts; returns its environment.json."""
    assert job.fact("JobState") == "COMPLETED", job.log()
    run_dir = job.cluster.checkout / "runs" / f"{preset}-{job.number}"
    written = {path.name for path in run_dir.iterdir()}
    assert {"config.yaml", "command.txt", "environment.json", "split.csv", "metrics.jsonl", "checkpoints"} <= written
    assert {path.name for path in (run_dir / "checkpoints").iterdir()} >= {"last.safetensors"}
    assert (run_dir / f"slurm-{job.number}.out").read_text() == job.log()
    told = re.findall(r"^rank (\d+) on (\S+): cores (\S+) \(socket (\d),", job.log(), flags=re.MULTILINE)
    share = 40 // a_node
    assert len(job.nodes()) == nodes
    assert told == [(str(rank), job.nodes()[rank // a_node], f"{first}-{first + share - 1}", str(first // 20))
                    for rank in range(nodes * a_node) for first in [rank % a_node * share]]
    environment = json.loads((run_dir / "environment.json").read_text())
    assert environment["ranks"] == nodes * a_node
    return environment


def test_srun_starts_ranks_that_meet_across_nodes(cluster):
    told = cluster.run("srun", *TWO_BY_TWO, sys.executable, "-m", "mscnn", "ranks", "--threads", 1, "--join-timeout", SLOW,
                       timeout=SLOW)
    first, _, second, _ = nodes = re.findall(r"on (\S+):", told)
    assert nodes == [first, first, second, second]
    assert first != second
    assert told.startswith(f"4 ranks by srun; gloo, rendezvous at {first}:")
    assert "interface eth0" in told


def test_train_over_gloo(cluster, plates, size):
    nodes, a_node = size
    job = cluster.submit(f"--nodes={nodes}", f"--ntasks-per-node={a_node}", "slurm/train.sbatch", *SHORT, "--max-steps", 2,
                         DATA="plates").wait(SLOW)
    used = check_trained(job, "demo", nodes, a_node)
    assert used["launcher"] == "srun"
    assert used["rendezvous"].endswith("interface eth0")


def by_mpi(cluster, a_node: int) -> dict[str, str]:
    """What train_mpi.sbatch has to be told about the MPI that there is."""
    pytest.importorskip("mpi4py")
    mpirun = shutil.which("mpirun", path=cluster.environment["PATH"])
    if not mpirun:
        pytest.skip("no mpirun here")
    version = subprocess.run([mpirun, "--version"], text=True, capture_output=True).stdout
    if "Open MPI" in version:  # it looks at the cores that there are
        return {"MPI_FLAGS": f"--map-by ppr:{a_node}:node:OVERSUBSCRIBE --bind-to none", **AS_ROOT}
    hydra = {"MPIRUN": mpirun.replace("mpirun", "mpiexec.hydra")} if "Intel" in version else {}
    return {"MPI_FLAGS": f"-ppn {a_node}", **hydra}


def test_train_over_mpi(cluster, plates, size):
    nodes, a_node = size
    job = cluster.submit(f"--nodes={nodes}", f"--ntasks-per-node={a_node}", "slurm/train_mpi.sbatch", *SHORT, "--max-steps",
                         2, DATA="plates", **by_mpi(cluster, a_node)).wait(SLOW)
    used = check_trained(job, "demo", nodes, a_node)
    assert used["rendezvous"] == "MPI"
    assert used["launcher"].startswith("mpi")


def test_train_over_mpi_that_srun_starts(cluster, plates, size):
    nodes, a_node = size
    if subprocess.run(["srun", "--mpi=pmix", "true"], env=cluster.environment, capture_output=True).returncode:
        pytest.skip("srun cannot load its plugin pmix here (Debian: apt-get install libpmix-dev)")
    if "MPIRUN" in (by := by_mpi(cluster, a_node)) or "OVERSUBSCRIBE" not in by["MPI_FLAGS"]:
        pytest.skip("the MPI here is not Open MPI, which PMIx is for")
    job = cluster.submit(f"--nodes={nodes}", f"--ntasks-per-node={a_node}", "slurm/train_mpi.sbatch", *SHORT, "--max-steps",
                         2, DATA="plates", MPIRUN="srun --mpi=pmix").wait(SLOW)
    used = check_trained(job, "demo", nodes, a_node)
    assert (used["rendezvous"], used["launcher"]) == ("MPI", "srun")


def test_the_file_of_a_site_names_the_container_of_all_scripts(pretend, cluster):
    container, site = cluster.checkout / "container", cluster.checkout / "slurm" / "site.sh"
    container.write_text('#!/bin/bash\necho "in $1 on $(hostname)"\nshift\nexec "$@"\n')
    container.chmod(0o755)
    site.write_text(f': "${{RUN_IN:={container} image.sif}}"\n')
    try:
        job = pretend("", "slurm/train.sbatch", "demo").wait()
    finally:
        site.unlink()
    assert sorted(re.findall("^in .*", job.log(), flags=re.MULTILINE)) == [
        f"in image.sif on {node}" for node in job.nodes()]
    assert {line.partition(" --run-dir")[0] for line in called(job)} == {"train.py demo"}


ENDED_BY = [("a rank killed", "train.sbatch"), ("a node lost", "train.sbatch"), ("time limit near", "train.sbatch"),
            ("time limit near", "train_mpi.sbatch")]


@pytest.mark.parametrize(("what", "script"), ENDED_BY)
def test_a_job_that_loses_a_rank_a_node_or_its_time_is_queued_again_and_goes_on(cluster, plates, is_full, fault_row, what,
                                                                                script):
    """Where a node has gone, by Slurm itself."""
    if not is_full and what != "a rank killed":
        pytest.skip("only with --full")
    job = cluster.submit(*TWO_BY_ONE, f"slurm/{script}", *SHORT, "--epochs", 60, "--log-every", 1,
                         "--checkpoint-steps", 1, DATA="plates", **(by_mpi(cluster, 1) if "mpi" in script else {}))
    job.until(lambda: "  epoch " in job.log(), "the first step", timeout=SLOW)
    begun = time.monotonic()
    if what == "time limit near":
        cluster.run("scancel", "--batch", "--signal=USR1", job.number)
    elif what == "a rank killed":
        os.kill(next(pid for pid, rank in job.processes().items() if rank == "1"), signal.SIGKILL)
    else:
        for pid in cluster.run("ip", "netns", "pids", f"mscnn-{job.nodes()[1]}").split():
            os.kill(int(pid), signal.SIGKILL)
    job.until(lambda: job.fact("JobState") == "PENDING", "its turn in the queue", timeout=SLOW)
    seconds = time.monotonic() - begun
    job.until(lambda: not job.processes(), "its processes to go", timeout=10)
    go_on(job)
    run_dir = cluster.checkout / "runs" / f"demo-{job.number}"
    assert job.fact("JobState") == "COMPLETED", job.log()
    assert job.fact("Restarts") == "1"
    assert "resumed at step" in job.log()
    assert run_directory.read_status(run_dir)["status"] == "finished"
    fault_row(f"{what}, in a job of {script} on two nodes", "queued again, resumes in its run directory",
              None if what == "a node lost" else seconds)


def test_a_run_that_cannot_be_begun_is_not_queued_again_whatever_was_told_of_it_before(pretend, cluster):
    """Else a job that fails at once would be queued for ever."""
    job = pretend("exit 4", "--hold", "--nodes=1", "slurm/train.sbatch", "demo")
    run_dir = cluster.checkout / "runs" / f"demo-{job.number}"
    run_dir.mkdir(parents=True)
    files.write_json(run_dir / run_directory.STATUS, {"status": "failed", "exit_code": 4})
    cluster.run("scontrol", "release", job.number)
    job.wait()
    assert (job.fact("JobState"), job.fact("Restarts")) == ("FAILED", "0")


def test_leaving_each_compound_out_gathers_one_score(cluster, plates):
    told = cluster.run("bash", "slurm/loco.sh", "--array=0-2", "--ntasks-per-node=1", "slurm/loco.sbatch", *SHORT[:1],
                       *SHORT[3:], "--max-steps", 2, DATA="plates")
    array, gathering = re.fullmatch(r"array job (\d+), then job (\d+) writes runs/loco-\1/scores\n", told).groups()
    cluster.job(gathering).until(lambda: cluster.job(gathering).fact("JobState") not in ("PENDING", "RUNNING"),
                                 "all folds", SLOW)
    results = cluster.checkout / "runs" / f"loco-{array}"
    left_out = [json.loads((results / "evaluation" / str(fold) / "evaluation.json").read_text())["compounds"]
                for fold in range(3)]
    assert left_out == [["eg5-a"], ["eg5-b"], ["eg5-c"]]
    assert cluster.job(gathering).fact("JobState") == "COMPLETED", cluster.job(gathering).log()
    assert json.loads((results / "scores" / "scores.json").read_text())["compounds"]["total"] == 3
    assert "3 trainings, leave-compound-out" in (results / "report.html").read_text()
    assert json.loads((results / "scores" / "baselines.json").read_text())["folds"] == 3
