"""Run train.py, or evaluate.py, with a fault in one of its ranks.   start.py FAULT RANK STEP WHEN SCRIPT [ARGUMENTS]

The fault comes at that step (from 1) of that rank, and when it does, the file WHEN is written.  Faults are put in from
outside: train.py knows nothing of them.
"""

import ctypes
import os
import resource
import runpy
import shutil
import signal
import sys
import time
from pathlib import Path

import torch

from mscnn.data.pixels import read_pixels, reader
from mscnn.data.pixels.reader import FieldReader
from mscnn.distributed import launchers
from mscnn.training import checkpoint, trainer

HOURS = 10**5  # seconds
SLOW = 2.5


def no_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
    torch.ones(2**33)


def broken() -> None:
    raise RuntimeError("broken on purpose")


def run_dir() -> Path:
    return Path(sys.argv[sys.argv.index("--run-dir") + 1])


def vanish() -> None:
    shutil.rmtree(run_dir().rename(run_dir().with_name("gone")))  # renamed, nobody can write there in between


def read_only() -> None:
    for path in [run_dir(), *run_dir().rglob("*")]:
        path.chmod(0o555)


ACTIONS = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "abort": os.abort,
    "segfault": lambda: ctypes.string_at(0),
    "raise": broken,
    "memory": no_memory,
    "hang": lambda: time.sleep(HOURS),
    "hang-without-python": lambda: ctypes.PyDLL(None).sleep(HOURS),  # keeps the interpreter's lock
    "SIGTERM": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "SIGUSR1": lambda: os.kill(os.getpid(), signal.SIGUSR1),
    "parent": lambda: os.kill(os.getppid(), signal.SIGKILL),
    "read-only": read_only,
    "vanish": vanish,
}


def arm(fault: str, step: int, when: Path) -> None:
    """Put the fault in: ACTION comes before a step, reading:ACTION before a read, saving:ACTION in a save, starting:ACTION
    before the first exchange of gradients; cut damages the file that is read next, nan a pixel; slow makes each read so.
    """
    where, _, action = fault.rpartition(":")
    count, trains = 0, where != "reading"

    def perhaps() -> bool:
        nonlocal count
        count += trains
        if count != step:
            return False
        when.write_text(str(time.time()))
        return True

    def before(owner: object, name: str) -> None:
        known = getattr(owner, name)

        def faulty(*arguments, **named):
            if perhaps():
                ACTIONS[action]()
            return known(*arguments, **named)
        setattr(owner, name, faulty)

    if action == "slow":
        quick_pixels = reader.read_pixels

        def slow_pixels(table, site):
            time.sleep(SLOW)
            return quick_pixels(table, site)
        reader.read_pixels = slow_pixels
    elif action == "cut":  # the very file that is read next
        known_pixels = reader.read_pixels

        def faulty_pixels(table, site):
            if perhaps():
                path = table.frame["record"].iat[site][0] if "record" in table.frame else table.frame["files"].iat[site][0]
                os.truncate(path, Path(path).stat().st_size // 2)
            return known_pixels(table, site)
        reader.read_pixels = faulty_pixels
    elif action == "nan":
        read = FieldReader.read

        def faulty_read(self, sites, *how):
            fields_NCHW = read(self, sites, *how)
            if perhaps():
                fields_NCHW[0, 0, 5, 7] = float("nan")
            return fields_NCHW
        FieldReader.read = faulty_read
    elif where == "reading":  # for training, and not for the preparations
        before(read_pixels, "read_site")
        take_step = trainer.Trainer._step

        def first_step(*arguments):
            nonlocal trains
            trains = True
            return take_step(*arguments)
        trainer.Trainer._step = first_step
    elif where == "saving":
        before(checkpoint.safetensors.torch, "save_file")
    elif where == "starting":
        before(trainer.Trainer, "warm_up_ddp")
    else:
        before(trainer.Trainer, "_step")


if __name__ == "__main__":
    fault, rank, step, when, *command = sys.argv[1:]
    if launchers.detect().rank == int(rank):
        arm(fault, int(step), Path(when))
    sys.argv = command
    runpy.run_path(command[0], run_name="__main__")
