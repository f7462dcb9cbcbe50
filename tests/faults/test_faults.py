"""What clusters do to a job, done to trainings of two ranks: `make faults` does all of it and prints a table.

Without --full a few of them, for `make test`.
"""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from mscnn.core import run_directory
from mscnn.core.errors import DataError
from mscnn.training import checkpoint
from tests.conftest import ROOT, processes_with, run_python, started_ranks
from tests.faults.conftest import START, STEPS, TORCHRUN

LIMIT = 15.0   # seconds beyond its timeout in which a job has to end
TIMEOUT = 8.0  # --step-timeout of the faults that are only noticed by it
LOST = r"rank 1 on \S+ \(last heartbeat at step \d, .*\) was lost: killed"
BROKEN = "RuntimeError: broken on purpose"
DISK = 40      # MiB, room for some of the checkpoints of a run
NOT_FULL = "only with --full"
# Fault: what the program says, the timeout that it takes, its part in `make test`.
CRASHES = {
    "kill": ("kill -9 of a rank", LOST, 0, True),
    "stop": ("SIGSTOP of a rank", LOST, TIMEOUT, True),
    "raise": ("exception in a rank", BROKEN, 0, True),
    "abort": ("abort() in a rank", LOST, 0, False),
    "segfault": ("segmentation fault in a rank", LOST, 0, False),
    "memory": ("a rank without memory", r"rank 1 on \S+ ran out of memory while computing", 0, False),
    "hang": ("endless computation in a rank", r"rank 1 on \S+ made no progress: computing took longer", TIMEOUT, False),
    "hang-without-python": ("the same in compiled code that holds the interpreter", LOST, TIMEOUT, False),
    "reading:hang": ("a read that never returns", r"rank 1 on \S+ made no progress: reading 00123 \w+ \w+ took longer",
                     TIMEOUT, True),
    "reading:raise": ("exception in the thread that reads", BROKEN, 0, False),
    "reading:kill": ("kill -9 of a rank while it reads", LOST, 0, False),
    "starting:kill": ("kill -9 of a rank before its first step", LOST, 0, False),
    "saving:kill": ("kill -9 of rank 0 while it saves",
                    LOST.replace("1", "0", 1), 0, False),
}


@pytest.mark.parametrize("fault", CRASHES)
def test_a_rank_that_fails_ends_the_job_with_its_reason_once(new_run, undisturbed, fault_row, is_full, fault):
    what, says, timeout, is_short = CRASHES[fault]
    if not (is_short or is_full):
        pytest.skip(NOT_FULL)
    run = new_run()
    rank = 0 if "saving" in fault else 1
    process = run.start(*(("--step-timeout", timeout) if timeout else ()), fault=fault, rank=rank,
                        step={"reading": 2, "starting": 1}.get(fault.split(":")[0], 3))
    seconds = run.end(process)
    output = run.output.read_text()
    assert process.returncode != 0
    assert seconds < timeout + LIMIT, output
    assert len(re.findall(says, re.sub(r"(?m)^ *traceback : .*$", "", output))) == 1, output  # which torchrun repeats
    assert len(run.errors()) <= 1, output
    assert re.search(says, run.status()["reason"]), run.status()
    assert run.status()["status"] == "failed"
    outcome = "reported once"
    if "hang" in fault:
        assert "most recent call first" in (run.run_dir / "log" / "rank-1.txt").read_text()
        outcome += ", with all stacks"
    if is_full or fault == "kill":
        assert run.finish() == undisturbed.hash()
        outcome += "; resumes to the same bits"
    fault_row(what, outcome, seconds)


@pytest.mark.usefixtures("full_only")
@pytest.mark.parametrize("fault", ["kill", "stop", "raise"])
def test_over_mpi_a_rank_that_fails_ends_the_job_too(new_run, mpiexec, fault_row, fault):
    what, says, timeout, _ = CRASHES[fault]
    run = new_run(mpiexec=mpiexec)
    process = run.start("--step-timeout", TIMEOUT, fault=fault)
    seconds = run.end(process)
    output = run.output.read_text()
    assert process.returncode != 0
    assert seconds < timeout + LIMIT, output
    assert len(run.errors()) <= 1, output
    if fault != "kill":  # of which mpiexec speaks, and ends all
        assert len(re.findall(says, re.sub(r"(?m)^ *traceback : .*$", "", output))) == 1, output  # which torchrun repeats
    assert all(checkpoint.load(path) for path in checkpoint.list_checkpoints(run.run_dir / "checkpoints"))
    fault_row(f"{what}, over MPI", "reported by mpiexec" if fault == "kill" else "reported once", seconds)


@pytest.mark.parametrize("whom", ["one rank", "all ranks"])
def test_runs_that_are_killed_anywhere_end_alike(new_run, undisturbed, fault_row, is_full, whom):
    if whom == "one rank" and not is_full:
        pytest.skip(NOT_FULL)
    times = 50 if is_full else 2
    moments, seconds, early = random.Random(whom), [], 0
    for number in range(times):
        run = new_run(f"run-{number}")
        with run.forked() as ranks:
            run.until("metrics.jsonl", ranks[0])
            time.sleep(moments.uniform(0, 0.8 if is_full else 0.1))
            begun, hit = time.monotonic(), ranks if whom == "all ranks" else [moments.choice(ranks)]
            early += any(process.poll() is None for process in hit)
            for process in hit:
                process.kill()
            for process in ranks:
                process.wait(LIMIT)
            seconds.append(time.monotonic() - begun)
        assert run.finish() == undisturbed.hash(), number
        shutil.rmtree(run.folder)
    assert early
    fault_row(f"kill -9 of {whom} at {times} random moments, {early} of them before its end",
              f"{times}/{times} resume to the same bits", max(seconds))


def test_of_many_ranks_one_says_which_has_gone(new_run, fault_row):
    """The neighbours of a lost rank know of it first, and long before rank 0 where there are many."""
    run = new_run()
    with run.forked(ranks=4) as ranks:
        run.until("metrics.jsonl", ranks[0])
        begun = time.monotonic()
        ranks[2].kill()
        codes = [process.wait(LIMIT) for process in ranks]
        seconds = time.monotonic() - begun
        said = "".join(errors for process in ranks for _, errors in [process.outputs()])
    assert codes == [4, 4, -signal.SIGKILL, 4]
    assert said.count("\n") == 1, said
    assert re.match(LOST.replace("1", "2", 1), said.removeprefix("train.py: error: ")), said
    assert run.status()["reason"] == said.removeprefix("train.py: error: ").strip()
    fault_row("kill -9 of one of 4 ranks", "reported once", seconds)


@pytest.mark.usefixtures("full_only")
def test_a_job_that_is_suspended_as_a_whole_goes_on(new_run, undisturbed, fault_row):
    """As batch systems do it for a more urgent one; all ranks seem to be late then."""
    run = new_run()
    with run.forked("--step-timeout", TIMEOUT, "--start-timeout", 2 * TIMEOUT) as ranks:
        run.until("metrics.jsonl", ranks[0])
        for process in ranks:
            os.kill(process.pid, signal.SIGSTOP)
        time.sleep(3 * TIMEOUT)
        assert [process.poll() for process in ranks] == [None, None]
        for process in ranks:
            os.kill(process.pid, signal.SIGCONT)
        assert [process.wait(100) for process in ranks] == [0, 0], [process.outputs() for process in ranks]
    assert run.hash() == undisturbed.hash()
    fault_row("all ranks suspended for three time limits", "continues to the same bits")


STOPS = {  # who is told, by what, and where; whether `make test` has it
    "SIGTERM to torchrun": ("agent", signal.SIGTERM, "", False),
    "SIGUSR1 to torchrun, twice": ("agent", signal.SIGUSR1, "", False),
    "SIGTERM to one rank": ("rank", None, "SIGTERM", False),
    "SIGUSR1 to one rank while it reads": ("rank", None, "reading:SIGUSR1", False),
    "SIGTERM to rank 0 while it saves": ("rank", None, "saving:SIGTERM", False),
    "SIGUSR1 to torchrun with its default signals": ("default", signal.SIGUSR1, "", False),
    "kill -9 of torchrun": ("rank", None, "parent", True),
}


@pytest.mark.parametrize("what", STOPS)
def test_a_run_that_is_told_to_stop_saves_and_goes_on(new_run, undisturbed, fault_row, is_full, what):
    whom, number, fault, is_short = STOPS[what]
    if not (is_short or is_full):
        pytest.skip(NOT_FULL)
    run, is_long = new_run(), bool(number) or fault == "parent"  # else it may have ended before it is stopped
    process = run.start(*(("--epochs", "400") if is_long else ()), fault=fault, step=2, rank=0 if "saving" in fault else 1,
                        torchrun=TORCHRUN[:3] if whom == "default" else TORCHRUN)
    begun = None
    if number:  # at any moment of a run that would be long
        run.until("metrics.jsonl", process)
        time.sleep(0.5)
        begun = time.time()
        for _ in range(2 if "twice" in what else 1):
            process.send_signal(number)
    seconds = run.end(process) if begun is None else run.end(process) or time.time() - begun
    status = run.status()
    assert (status["status"], status["exit_code"]) == ("stopped", 75), run.output.read_text()
    assert status["step"] == checkpoint.read(run.run_dir)[1].step
    assert seconds < LIMIT
    if not is_long:
        assert run.finish() == undisturbed.hash()
    fault_row(what, f"saved at once{'' if is_long else '; resumes to the same bits'}", seconds)


@pytest.mark.usefixtures("full_only")
def test_an_evaluation_that_is_killed_leaves_no_scores_that_pass_for_whole(undisturbed, tmp_path, fault_row):
    times, moments, out, early = 10, random.Random(3), tmp_path / "evaluation", 0
    command = ("evaluate.py", "--checkpoint", undisturbed.run_dir, "--threads", "1", "--examples", "2", "--out", out)
    whole = tables(evaluated(command))
    for number in (signal.SIGTERM, signal.SIGKILL):
        for _ in range(times):
            shutil.rmtree(out)
            with started_ranks(*command, ranks=1) as (process,):
                while not out.exists():
                    time.sleep(0.02)
                time.sleep(moments.uniform(0, 1.0))
                if process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):  # it has just ended
                        os.kill(process.pid, number)
                early += process.wait(60) == -number
            if (out / "scores.json").exists():
                assert tables(out) == whole
            assert tables(evaluated(command)) == whole
    assert early
    fault_row(f"SIGTERM and kill -9 of evaluate.py at {2 * times} random moments, {early} of them before its end",
              "no scores or complete ones; the same when run again")


@pytest.mark.parametrize("fields", [3, 7])
def test_evaluation_is_the_same_to_the_byte_on_any_ranks(undisturbed, fault_screen, tmp_path, fault_row, is_full, fields):
    if fields == 7 and not is_full:
        pytest.skip(NOT_FULL)
    some = fault_screen.with_name(f"{fields}.csv")
    pd.read_csv(fault_screen, dtype=str).iloc[:fields].to_csv(some, index=False)
    found = [tables(evaluated(("evaluate.py", "--checkpoint", undisturbed.run_dir, "--threads", "1", "--microbatch", "2",
                               "--oversubscribe", "true", "--sites", some, "--image-root", fault_screen.parent,
                               "--examples", "0", "--out", tmp_path / str(ranks)), ranks)) for ranks in (1, 2, 3, 4)]
    assert {"decisions.csv", "predictions.csv", "wells.csv", "scores.json"} <= {*found[0]}
    assert all(each == found[0] for each in found)
    fault_row(f"evaluation of {fields} fields on 1 to 4 ranks", "the same tables to the byte")


@pytest.mark.usefixtures("full_only")
def test_ranks_of_unequal_speed_wait_for_each_other(undisturbed, fault_screen, tmp_path, fault_row):
    """One rank needs 15 s more for its fields than the other, 2.5 s for each; nothing may take longer than 3 s."""
    out = tmp_path / "evaluation"
    process = subprocess.run([*TORCHRUN, "--nproc-per-node", "2", START, "slow", "1", "0", tmp_path / "when", "evaluate.py",
                              "--checkpoint", undisturbed.run_dir, "--threads", "1", "--microbatch", "1", "--oversubscribe",
                              "true", "--sites", fault_screen, "--examples", "0", "--out", out, "--step-timeout", "3"],
                             cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, text=True,
                             capture_output=True)
    assert process.returncode == 0, process.stderr
    assert (out / "scores.json").exists()
    fault_row("one rank of an evaluation 15 s later than the other, `--step-timeout 3`", "the other rank waits")


def evaluated(command: tuple[object, ...], ranks: int = 1) -> Path:
    """Where the evaluation was written."""
    done = run_python(*command, ranks=ranks)
    assert done.returncode == 0, done.stderr
    return Path(command[command.index("--out") + 1])


def tables(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in [*sorted(folder.glob("*.csv")), folder / "scores.json"]}


@pytest.mark.usefixtures("full_only")
def test_runs_end_in_order(new_run, fault_row):
    """gloo's threads may abort a process that leaves in the wrong order."""
    times = 50
    for number in range(times):
        run = new_run(f"run-{number}")
        process = run.start("--max-steps", "1")
        run.end(process)
        output = run.output.read_text()
        assert process.returncode == 0, output
        assert "abort" not in output.lower()
        assert "terminate" not in output
        assert run.status()["status"] == "finished"
        assert not list((run.run_dir / "log").glob("*.json"))
        shutil.rmtree(run.folder)
    fault_row(f"{times} trainings to their end", f"{times}/{times} with exit code 0 on all ranks")


@pytest.mark.usefixtures("full_only")
def test_a_disk_that_fills_up_costs_no_checkpoint(new_run, undisturbed, fault_row):
    run = new_run()
    run.run_dir.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}M", "tmpfs", run.run_dir]).returncode:
        pytest.skip("no small disk can be mounted here: that takes root")
    try:
        process = run.start("--keep-checkpoints", "9")
        run.end(process)
        output = run.output.read_text()
        assert run.status()["exit_code"] == 3, output
        assert "NOT SAVED: the checkpoint of step" in output
        assert len(run.errors()) == 1
        good = checkpoint.list_checkpoints(run.run_dir / "checkpoints")
        assert good
        assert all(checkpoint.load(path) for path in good)
        subprocess.run(["mount", "-o", f"remount,size={10 * DISK}M", run.run_dir], check=True)
        assert run.finish() == undisturbed.hash()
    finally:
        subprocess.run(["umount", "-l", run.run_dir], check=True)
    fault_row("disk full", "reported at each checkpoint, exit code 3 at the end; given room, resumes to the same bits")


@pytest.mark.usefixtures("full_only")
@pytest.mark.parametrize(("fault", "what"), [("vanish", "run directory removed"), ("read-only", "run directory read-only")])
def test_a_run_directory_that_cannot_be_written_is_told(new_run, undisturbed, fault_row, fault, what):
    run = new_run()
    seconds = run.end(process := run.start(fault=fault))
    output = run.output.read_text()
    assert process.returncode != 0
    assert "NOT SAVED: the checkpoint of step" in output
    assert len(run.errors()) == 1, output
    assert "the last checkpoint could not be written" in run.errors()[0]
    outcome = "reported at each checkpoint, exit code 3 at the end"
    if fault == "read-only":
        assert checkpoint.list_checkpoints(run.run_dir / "checkpoints")
        for path in [run.run_dir, *run.run_dir.rglob("*")]:
            path.chmod(0o755)
        assert run.finish() == undisturbed.hash()
        outcome += "; made writable, resumes to the same bits"
    fault_row(what, outcome, seconds)


@pytest.mark.usefixtures("full_only")
def test_folds_end_with_the_command_that_started_them(fault_screen, tmp_path, fault_row):
    out = tmp_path / "loco"
    command = (sys.executable, "-m", "mscnn", "loco", "supervised", "--out", out, "--sites", fault_screen, "--split-method",
               "k-fold",
               "--folds", "2", "--minibatch", "3", "--baselines", "false", "--epochs")
    known = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([*command, "400"], cwd=ROOT, env=known, stdout=subprocess.DEVNULL) as process:
        while len(begun := list(out.glob("fold-*/metrics.jsonl"))) == 0:
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
    killed = time.monotonic()
    while left := processes_with(str(out)):
        assert time.monotonic() < killed + LIMIT, left
        time.sleep(0.1)
    seconds = time.monotonic() - killed
    assert {run_directory.read_status(path.parent)["exit_code"] for path in begun} == {75}
    fault_row("kill -9 of mscnn loco", "its trainings save and end", seconds)


@pytest.mark.parametrize("kind", ["tiff", "packed"])
def test_data_that_is_damaged_while_it_is_used_is_named(new_run, fault_screen, undisturbed, fault_row, is_full, kind):
    if kind == "packed" and not is_full:
        pytest.skip(NOT_FULL)
    run = new_run()
    place = run.folder / "data"
    shutil.copytree(fault_screen.parent, place)
    run.data = ("--sites", place / "sites.csv")
    if kind == "packed":
        subprocess.run([sys.executable, "-m", "mscnn", "pack", "--sites", place / "sites.csv", "--out",
                        run.folder / "pack"], check=True, cwd=ROOT, capture_output=True)
        run.data = ("--packed", run.folder / "pack")
    seconds = run.end(run.start(fault="cut", step=8))
    output = run.output.read_text()
    assert run.status()["exit_code"] == 3, output
    assert len(set(run.errors())) == 1, output  # ranks share the file of a plate: each that finds the damage reports it
    assert re.search(r"plate-0001\.fields: was cut short" if kind == "packed" else r"\.tif: .*(cut short|unreadable)",
                     run.errors()[0]), output
    assert seconds < LIMIT
    assert all(checkpoint.load(path) for path in checkpoint.list_checkpoints(run.run_dir / "checkpoints"))
    run.data = ("--sites", fault_screen)
    fault_row(f"a {kind} file cut short while it is read from", "reported by each rank that finds it, exit code 3", seconds)
    if is_full and kind == "tiff":
        assert run.finish() == undisturbed.hash()


@pytest.mark.usefixtures("full_only")
def test_a_pixel_that_is_no_number_costs_a_step(new_run, fault_row):
    run = new_run()
    run.end(process := run.start(fault="nan", step=8))
    output = run.output.read_text()
    assert process.returncode == 0, output
    assert len(re.findall(r"step \d skipped, 1 in a row: .* fields: 00123 \w+ \w+", output)) == 1
    assert checkpoint.read(run.run_dir)[1].step == STEPS
    fault_row("NaN in a pixel on one rank alone", "all ranks skip the step; the field is named")


@pytest.mark.usefixtures("full_only")
def test_a_learning_rate_that_explodes_ends_the_run(new_run, fault_row):
    run = new_run()
    run.end(run.start("--lr", "1e30", "--epochs", "9"))
    output = run.output.read_text()
    assert run.status()["exit_code"] == 2, output
    assert "training diverged" in run.status()["reason"]
    assert len(run.errors()) == 1, output
    for path in checkpoint.list_checkpoints(run.run_dir / "checkpoints"):
        checkpoint.load(path)  # refuses what is not finite
    fault_row("exploding learning rate", "exit code 2, no checkpoint that is not finite")


def test_damaged_checkpoints_are_never_used(undisturbed, tmp_path, fault_row, is_full):
    path = checkpoint.list_checkpoints(undisturbed.run_dir / "checkpoints")[0]
    content, number, moments = path.read_bytes(), 300 if is_full else 20, random.Random(5)
    damaged = tmp_path / "damaged.safetensors"
    refused = 0
    for turn in range(number):
        place, bit = moments.randrange(len(content)), 1 << moments.randrange(8)
        damaged.write_bytes(content[:place] if turn % 2 else
                            content[:place] + bytes([content[place] ^ bit]) + content[place + 1:])
        try:
            loaded = checkpoint.load(damaged)
        except DataError:
            refused += 1
        else:  # a byte that means nothing, such as padding: all that is in it is what was written
            assert loaded.sha256 == checkpoint.load(path).sha256
    assert refused >= 0.9 * number
    fault_row(f"{number} checkpoints cut short or with a flipped bit",
              f"{refused} refused, {number - refused} flips in padding")
