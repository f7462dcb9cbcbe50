"""Training that is stopped, broken or cut off, and goes on: whole runs of train.py on a tiny screen."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch.distributed import run as torchrun

from mscnn.core import config, run_directory
from mscnn.core.errors import DataError, UsageError
from mscnn.core.presets import PRESETS
from mscnn.training import checkpoint
from mscnn.training.train_state import TrainState, require_same_settings
from mscnn.training.trainer import StepResult
from tests.checkpoint_content import content_digest
from tests.conftest import ROOT, run_python

COMMON = ("supervised", "--hold-out", "b", "--minibatch", "3", "--epochs", "2", "--lr", "0.003", "--class-weights", "none",
          "--threads", "1", "--statistics-weight", "1", "--ema-decay", "0.9", "--clip-norm", "5",
          "--eval-every", "1", "--log-every", "2", "--oversubscribe", "true")
STEPS = 6


def train(run_dir, screen, *options, ranks: int = 1):
    return run_python("train.py", *COMMON, "--sites", screen, "--run-dir", run_dir, *options, ranks=ranks)


def metrics(run_dir) -> list[dict]:
    """Without what depends on time."""
    return [{key: value for key, value in json.loads(line).items() if key not in ("images_per_second", "data_wait")}
            for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def final(run_dir, step: int = STEPS) -> str:
    """SHA-256 of all that is in the last checkpoint, but for where it lies and when it was to stop."""
    _, saved = checkpoint.read(run_dir)
    assert saved.step == step
    return content_digest(saved, "run_dir", "resume", "stop_after")


@pytest.fixture(scope="module")
def module_screen(tmp_path_factory):
    from tests.conftest import tiny_screen

    return tiny_screen.__wrapped__(tmp_path_factory.mktemp("screen"))


@pytest.mark.parametrize(("ranks", "first_layer"), [*((ranks, "replicated") for ranks in (1, 2, 3)), (3, "sharded")])
def test_a_run_that_goes_on_from_any_step_is_the_one_that_never_stopped(module_screen, tmp_path, ranks, first_layer):
    also = {1: ("--rotate", "20"), 2: ("--replicate-weight", "0.5", "--epochs", "1"),  # a step for each pair
            3: ("--first-layer", first_layer)}[ranks]
    whole, options = tmp_path / "whole", ("--checkpoint-steps", "1", "--keep-checkpoints", "9", *also)
    done = train(whole, module_screen, *options, ranks=ranks)
    assert done.returncode == 0, done.stderr
    kept = [path.name for path in checkpoint.list_checkpoints(whole / "checkpoints")]
    assert kept == [f"step-{n:08d}.safetensors" for n in range(6, 0, -1)]
    for step in range(1, STEPS) if ranks == 1 else (2, 3):
        part = tmp_path / f"from-{step}"
        shutil.copytree(whole, part, symlinks=True)
        (part / "summary.json").unlink()
        for later in checkpoint.list_checkpoints(part / "checkpoints")[:STEPS - step]:
            later.unlink()
        if step == STEPS // 2 and ranks != 2:  # as if it had been killed while it looked at the held-out side, not after
            lines = (part / "metrics.jsonl").read_text().splitlines(keepends=True)
            (part / "metrics.jsonl").write_text("".join(line for line in lines if '"held_out", "step": 3,' not in line))
            assert len(metrics(part)) == len(metrics(whole)) - 1
        done = train(part, module_screen, *options, "--resume", "auto", ranks=ranks)
        assert done.returncode == 0, done.stderr
        assert f"resumed at step {step}: bit for bit" in done.stdout
        assert final(part) == final(whole)
        assert metrics(part) == metrics(whole)
    again = train(whole, module_screen, *options, "--resume", "auto")
    assert (again.returncode, "has already finished" in again.stdout) == (0, True)


def test_another_number_of_ranks_goes_on_alike_and_says_so(module_screen, tmp_path):
    whole, part = tmp_path / "whole", tmp_path / "part"
    assert train(whole, module_screen).returncode == 0
    assert train(part, module_screen, "--stop-after", "1e-9", ranks=2).returncode == 75
    done = train(part, module_screen, "--resume", "auto")
    assert done.returncode == 0, done.stderr
    assert "the same fields in the same order, rounded differently (ranks 2, now 1)" in done.stdout
    (_, one), (_, other) = checkpoint.read(whole), checkpoint.read(part)
    for name, weight in one.network.items():
        torch.testing.assert_close(other.network[name], weight, rtol=1e-3, atol=1e-4)


def test_a_run_goes_on_with_its_first_layer_held_otherwise(module_screen, tmp_path):
    """Sharded over 2 ranks for a step, over 3 for another, then replicated: the checkpoint holds the whole layer."""
    whole, part, stop = tmp_path / "whole", tmp_path / "part", ("--checkpoint-steps", "1", "--stop-after", "1e-9")
    assert train(whole, module_screen).returncode == 0
    assert train(part, module_screen, *stop, "--first-layer", "sharded", ranks=2).returncode == 75
    done = train(part, module_screen, *stop, "--first-layer", "sharded", "--resume", "auto", ranks=3)
    assert (done.returncode, "rounded differently (ranks 2, now 3)" in done.stdout) == (75, True), done.stderr
    done = train(part, module_screen, "--first-layer", "replicated", "--resume", "auto", ranks=3)
    assert done.returncode == 0, done.stderr
    assert "rounded differently (first layer sharded, now replicated)" in done.stdout
    (_, one), (_, other) = checkpoint.read(whole), checkpoint.read(part)
    for name, weight in one.network.items():  # the moving average
        torch.testing.assert_close(other.network[name], weight, rtol=1e-3, atol=1e-4)
    (momentum, expected) = (saved.resume.optimiser["state"] for saved in (other, one))
    for number, state in expected.items():
        torch.testing.assert_close(momentum[number]["momentum_buffer"], state["momentum_buffer"], rtol=1e-2, atol=1e-4)


def test_the_clock_stops_a_run_which_says_where(module_screen, tmp_path):
    done = train(tmp_path / "run", module_screen, "--stop-after", "1e-9")
    assert done.returncode == 75
    assert "stopped: --stop-after 1e-09 at step 1 of 6" in done.stderr
    status = json.loads((tmp_path / "run" / run_directory.STATUS).read_text())
    assert (status["status"], status["step"], status["steps"], status["exit_code"]) == ("stopped", 1, 6, 75)
    (only,) = checkpoint.list_checkpoints(tmp_path / "run" / "checkpoints")
    assert only.name == "step-00000001.safetensors"


def test_a_run_that_was_stopped_before_its_read_out_goes_on_with_it(module_screen, tmp_path):
    whole, part, options = tmp_path / "whole", tmp_path / "part", ("--head", "chosen", "--max-steps", "1")
    assert train(whole, module_screen, *options).returncode == 0
    done = train(part, module_screen, *options, "--stop-after", "1e-9")
    assert (done.returncode, "head: linear" in done.stdout) == (75, False), done.stderr
    assert final(part, step=1) != final(whole, step=1)
    noted = [checkpoint.caveats(*checkpoint.read(run_dir)) for run_dir in (part, whole)]
    assert noted == [["training was stopped before the discriminant analysis: its last layer is as trained"], []]
    done = train(part, module_screen, *options, "--resume", "auto")
    assert (done.returncode, "head: linear" in done.stdout) == (0, True), done.stderr
    assert final(part, step=1) == final(whole, step=1)
    assert metrics(part) == metrics(whole)
    chosen = checkpoint.read(part)[1].readout.facts["choice"]
    assert chosen["chosen"] == "statistics"  # features of this network are those of one that learnt the mechanisms
    assert "not judged" in chosen["candidates"]["network"]["note"]


def test_a_stop_after_an_epoch_that_would_not_have_been_saved_does_not_count_as_its_best(module_screen, tmp_path):
    whole, part = tmp_path / "whole", tmp_path / "part"
    options = ("--checkpoint-every", "2", "--lr", "0.3")  # a rate at which the second epoch is worse than the first
    assert train(whole, module_screen, *options).returncode == 0
    first, second = (sum(line["loss"] for line in metrics(whole)[place:place + 2]) for place in (0, 3))
    assert first < second
    stopped = subprocess.run([sys.executable, "tests/faults/start.py", "SIGTERM", "0", "3", tmp_path / "when", "train.py",
                              *COMMON, "--sites", module_screen, "--run-dir", part, *options], cwd=ROOT,
                             env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
    assert (stopped.returncode, checkpoint.read(part)[1].step) == (75, 3)
    assert train(part, module_screen, *options, "--resume", "auto").returncode == 0
    assert final(part) == final(whole)


def test_data_of_the_same_names_that_is_other_data_is_refused(module_screen, tmp_path):
    swapped = pd.read_csv(module_screen, dtype=str)
    swapped = swapped[["FileName_RNA", "FileName_DNA", *swapped.columns[2:]]]
    swapped.to_csv(module_screen.with_name("swapped.csv"), index=False)
    assert train(tmp_path / "run", module_screen, "--stop-after", "1e-9").returncode == 75
    done = train(tmp_path / "run", module_screen.with_name("swapped.csv"), "--resume", "auto")
    assert done.returncode == 3
    assert "was started with channels ['DNA', 'RNA'], its data now has ['RNA', 'DNA']" in done.stderr


def test_a_run_that_never_gets_further_is_not_started_for_ever(module_screen, tmp_path):
    run_dir = tmp_path / "run"
    assert train(run_dir, module_screen, "--stop-after", "1e-9").returncode == 75
    status = json.loads((run_dir / run_directory.STATUS).read_text())
    for _ in range(run_directory.FRUITLESS):  # as if the process had been killed before its next checkpoint
        (run_dir / run_directory.STATUS).write_text(json.dumps(run_directory.initial_status(run_dir, status["step"])))
    run_directory.require_unused(str(run_dir), "auto")
    (run_dir / run_directory.STATUS).write_text(json.dumps(run_directory.initial_status(run_dir, status["step"])))
    done = train(run_dir, module_screen, "--resume", "auto")
    assert done.returncode == 2
    assert "started 3 times in a row without progress" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_stops_all_ranks_at_one_step_and_the_run_goes_on(module_screen, tmp_path, number):
    run_dir = tmp_path / "run"
    command = [ROOT / "train.py", *COMMON, "--sites", module_screen, "--run-dir", run_dir, "--epochs", "200"]
    handled = ["--signals-to-handle", "SIGTERM,SIGINT,SIGUSR1"] if number == signal.SIGUSR1 else []
    if handled and handled[0] not in torchrun.get_args_parser().format_help():
        pytest.skip("this torchrun does not pass SIGUSR1 on; that of a later torch does")
    starter = subprocess.Popen([sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *handled,
                                *map(str, command)], cwd=ROOT)
    path, deadline = run_dir / "metrics.jsonl", time.monotonic() + 300
    while not (path.exists() and path.read_text().count("\n") > 3) and time.monotonic() < deadline:
        assert starter.poll() is None
        time.sleep(0.05)
    starter.send_signal(number)
    starter.send_signal(number)
    starter.wait(timeout=120)
    status = json.loads((run_dir / run_directory.STATUS).read_text())
    assert status["status"] == "stopped"
    # On a busy machine torchrun gets the second signal before it has passed the first one on, and sends SIGTERM instead.
    assert status["reason"] in {number.name, "SIGTERM"}
    assert status["step"] == checkpoint.read(run_dir)[1].step == metrics(run_dir)[-1]["step"]
    done = train(run_dir, module_screen, "--epochs", "200", "--resume", "auto", "--stop-after", "1e-9")
    assert done.returncode == 75, done.stderr
    assert f"resumed at step {status['step']}" in done.stdout


def test_other_settings_or_another_split_do_not_go_on(module_screen, tmp_path):
    run_dir = tmp_path / "run"
    assert train(run_dir, module_screen, "--stop-after", "1e-9").returncode == 75
    (run_dir / "evaluation").mkdir()
    assert train(run_dir, module_screen, "--stop-after", "1e-9", "--resume", "auto").returncode == 75
    assert [path.name for path in run_dir.glob("evaluation*")] == ["evaluation-of-step-1"]  # no longer the run's scores
    for options, message in {("--label-smoothing", "0.3"): "label_smoothing 0.1, now 0.3", ("--hold-out", "a"): "hold_out",
                             ("--seed", "4"): "seed 0, now 4"}.items():
        done = train(run_dir, module_screen, "--resume", "auto", *options)
        assert done.returncode == 2
        assert message in done.stderr
    assert train(run_dir, module_screen).returncode == 2  # without --resume a run directory is never written over


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(module_screen, tmp_path):
    run_dir = tmp_path / "run"
    assert train(run_dir, module_screen, "--max-steps", "4", "--checkpoint-steps", "1").returncode == 0
    (run_dir / "summary.json").unlink()
    newest = checkpoint.list_checkpoints(run_dir / "checkpoints")[0]
    with newest.open("r+b") as file:
        file.seek(newest.stat().st_size // 2)
        file.write(b"\x55\xaa" * 8)
    done = train(run_dir, module_screen, "--max-steps", "4", "--checkpoint-steps", "1", "--resume", "auto")
    assert done.returncode == 0, done.stderr
    assert f"{newest.name}: not" in done.stdout
    assert "resumed at step 3" in done.stdout


def test_a_run_killed_after_its_last_checkpoint_is_finished(module_screen, tmp_path):
    run_dir = tmp_path / "run"
    assert train(run_dir, module_screen, "--max-steps", "4").returncode == 0
    before = checkpoint.read(run_dir)[1].sha256
    (run_dir / "summary.json").unlink()
    done = train(run_dir, module_screen, "--max-steps", "4", "--resume", "auto")
    assert done.returncode == 0, done.stderr
    assert (run_dir / "summary.json").exists()
    assert checkpoint.read(run_dir)[1].sha256 == before
    other = train(run_dir, module_screen, "--max-steps", "4", "--resume", "auto", "--lr", "0.1")
    assert other.returncode == 2
    assert "lr 0.003, now 0.1" in other.stderr or "lr '0.003', now '0.1'" in other.stderr


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    run_dir = run_directory.create(str(tmp_path / "run"), "demo", "", {})
    with pytest.raises(UsageError, match="another process is training there"):
        run_directory.create(str(run_dir), "demo", "", {})


class Full:
    """A trainer whose checkpoints find no room."""

    world = SimpleNamespace(rank=0)
    is_finite = staticmethod(lambda: True)
    gather_wholes = staticmethod(dict)


@pytest.mark.parametrize("problem", [OSError(28, "No space left on device"), OSError(30, "Read-only file system")])
def test_a_checkpoint_that_cannot_be_written_is_told_and_counted_and_the_last_one_fails(tmp_path, monkeypatch, problem):
    def fail(*_, **__):
        raise problem

    settings, told = SimpleNamespace(run=SimpleNamespace(keep_checkpoints=2)), []
    monkeypatch.setattr(checkpoint, "save", fail)
    monkeypatch.setattr(TrainState, "to_checkpoint", lambda *_, **__: {})
    monkeypatch.setattr("mscnn.training.train_state.log.error", lambda text, *values: told.append(text % values))
    state = TrainState({}, step=7)
    for _ in range(2):
        state.save(settings, Full(), None, tmp_path, is_last=False)
    assert "NOT SAVED: the checkpoint of step 7" in told[1]
    assert "2 so far" in told[1]
    with pytest.raises(DataError, match="last checkpoint could not be written"):
        state.save(settings, Full(), None, tmp_path, is_last=True)


def test_the_best_epoch_is_told_from_those_that_were_saved(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(checkpoint, "save", lambda *_, keep, is_best: saved.append(is_best))
    monkeypatch.setattr(TrainState, "to_checkpoint", lambda *_, **__: {})
    settings, state = SimpleNamespace(run=SimpleNamespace(keep_checkpoints=2)), TrainState({})

    def epoch(*losses: float, saves: bool) -> None:
        for loss in losses:
            state.record_step(StepResult(loss, False, [], False), None, 3)
            state.save(settings, Full(), None, tmp_path, is_last=False)  # within an epoch it is never the best
        state.end_epoch(saves=saves)
        state.save(settings, Full(), None, tmp_path, is_last=False)  # where it does not count, as it was told to stop

    for losses, saves in (((4, 2), True), ((1, 1), False), ((2, 2), True), ((3, 3), True)):
        epoch(*losses, saves=saves)
    assert [number for number, is_best in enumerate(saved) if is_best] == [2, 8]


def test_a_loss_spike_is_told(monkeypatch):
    told = []
    monkeypatch.setattr("mscnn.training.train_state.log.warning", lambda text, *values: told.append(text % values))
    state = TrainState({})
    for loss in [*[1.0, 1.2] * 15, 1.3, 9.0]:
        state.record_step(StepResult(loss, False, [], False), None, 3)
    assert len(told) == 1
    assert told[0].startswith("loss spike: 9.0000 at step 32")


def test_a_length_that_follows_from_the_fields_is_recorded_and_resumed(module_screen, tmp_path):
    run_dir, left_open = tmp_path / "run", ("--epochs", "0", "--minibatch", "0", "--max-steps", "3")
    done = train(run_dir, module_screen, *left_open, "--stop-after", "1e-9")
    assert done.returncode == 75, done.stderr
    used = run_directory.read_settings(run_dir)
    fields = len(pd.read_csv(run_dir / "split.csv").query("side == 'train'"))
    assert used["minibatch"] == min(8, fields // 2) // 2 * 2
    assert used["epochs"] == -(-450 // -(-fields // used["minibatch"]))
    assert f"minibatch: asked auto, using {used['minibatch']}: {fields} fields" in done.stdout
    choice = json.loads((run_dir / "environment.json").read_text())["epochs"]
    assert (choice["asked"], choice["used"]) == ("auto", used["epochs"])
    done = train(run_dir, module_screen, *left_open, "--resume", "auto")
    assert done.returncode == 0, done.stderr
    assert "as the run was begun" in done.stdout
    assert checkpoint.read(run_dir)[1].settings["epochs"] == used["epochs"]
    assert "has already finished" in train(run_dir, module_screen, *left_open, "--resume", "auto").stdout


def test_a_run_of_a_schedule_that_named_no_length_is_resumed_with_one_that_does():
    before = config.from_flat({"preset": "demo", **PRESETS["demo"](), "lr": "0.01;30;0.002"})
    now = config.from_flat({"preset": "demo", **PRESETS["demo"]()})
    require_same_settings(now, config.absolute(before).flat())
    with pytest.raises(UsageError, match=r"epochs 40, now 8; lr '0.01;30;0.002', now '0.01;30;0.002;40'"):
        require_same_settings(replace(now, optim=replace(now.optim, epochs=8)), config.absolute(before).flat())


def test_an_epoch_of_one_step_is_one_step_and_warned_of(module_screen, tmp_path):
    done = train(tmp_path / "run", module_screen, "--minibatch", "32", "--max-steps", "1")
    assert re.search(r"training: 1 step of at most 32 fields, 1 step an epoch\nan epoch is one step, of all \d+ fields",
                     done.stdout)
