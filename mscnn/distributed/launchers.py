"""The rank of this process, from the variables that its launcher set.  Imports no torch.

Launchers: torchrun, mpirun of Open MPI, mpiexec of MPICH and Intel MPI, srun, or none.  Where launchers nest, the innermost
started this process and all values come from it.  mpirun in sbatch leaves stale SLURM_PROCID and SLURM_LOCALID, and
torchrun in srun has ranks of its own.
"""

import contextlib
import json
import logging
import os
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mscnn.core.errors import UsageError, printable

TORCHRUN, OPEN_MPI, MPICH, SRUN, NONE = "torchrun", "mpirun (Open MPI)", "mpiexec (MPICH, Intel MPI)", "srun", "none"
# Innermost first: rank, size, local rank, local size, and other variables that the launcher always sets.
VARIABLES = {
    TORCHRUN: ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    OPEN_MPI: ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    MPICH: ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    SRUN: ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE", "SLURM_NODEID",
           "SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_STEP_NODELIST"),
}
ERROR_FILE = "TORCHELASTIC_ERROR_FILE"  # of torchrun: path of a file in which a rank says why it failed
PARENT = "MSCNN_PARENT"  # pid of the process that started this one, if that was a program of ours
OPENMP_BINDING = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")


@dataclass(frozen=True)
class RankInfo:
    """The place of a process among those that one launcher started."""

    launcher: str
    rank: int = 0
    size: int = 1           # ranks of the job
    local_rank: int = 0     # on its node
    local_size: int = 1     # ranks on its node
    node: int = 0           # as the launcher numbers nodes; 0 where it does not


def detect() -> RankInfo:
    """Return the rank of this process. Raises UsageError."""
    return from_environment(os.environ)


def is_rank_zero() -> bool:
    """Tell whether this process reports what all ranks know: rank 0, or a process that cannot find its rank."""
    try:
        return detect().rank == 0
    except UsageError:
        return True


def child_env() -> dict[str, str]:
    """Return the environment of a child process that ends when this process has ended."""
    return os.environ | {PARENT: str(os.getpid())}


def starters() -> list[int]:
    """Return the pids of the processes with which this one ends: a program of ours, and the launcher."""
    named = os.environ.get(PARENT, "")
    return [*([int(named)] if named.isdigit() else []), *([] if detect().launcher == NONE else [os.getppid()])]


def has_ended(starter: int, parent: int) -> bool:
    """Tell whether a process that started this one has ended; parent: the pid of the parent when this process began.

    A parent that has ended and was not waited for still has its pid, but its children have another parent.
    """
    if starter == parent:
        return os.getppid() != parent
    try:
        os.kill(starter, 0)  # sends nothing
    except ProcessLookupError:
        return True
    return False


def drop_openmp_binding() -> list[str]:
    """Unset OpenMP's own binding, which job scripts often set: it leaves this thread one core once torch is imported.

    Call it before that import; core_binding.bind_rank binds cores.  Returns the variables that were set.
    """
    return [name for name in OPENMP_BINDING if os.environ.pop(name, None)]


def abort_at_exit(code: int) -> None:
    """Let the exit of this process end the MPI job with this exit code; 0: the job continues.

    Without it, a failed rank waits in MPI_Finalize for the others, and they wait for it in the next collective.
    Does nothing in a process that has not started MPI.
    """
    if library := sys.modules.get("mpi4py.MPI"):
        library._set_abort_status(code)  # used by `python -m mpi4py`; the public function cannot be undone


def exit_rank(code: int, said: str = "") -> None:
    """End a failed rank at once with this exit code, and so the MPI job that it belongs to; a single process only exits.

    said: what this rank has reported, which torchrun repeats at the end of its own report.
    """
    if said and (path := os.environ.get(ERROR_FILE)):
        with contextlib.suppress(OSError):
            Path(path).write_text(json.dumps({"message": printable(said.splitlines()[0]), "timestamp": int(time.time())}))
    library = sys.modules.get("mpi4py.MPI")
    if library or any(names[1] in os.environ for names in VARIABLES.values()):  # may be one of several ranks
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        if library:
            library.COMM_WORLD.Abort(code)
        os._exit(code)  # gloo's threads abort a process that exits in order while its group is alive: exit code 134


def from_environment(environment: Mapping[str, str]) -> RankInfo:
    """Return the rank that the innermost launcher gave. Raises UsageError for missing or inconsistent variables."""
    for launcher, names in VARIABLES.items():
        if not _started_by(launcher, environment):
            continue
        if missing := [name for name in names if name not in environment]:
            raise UsageError(f"{launcher} seems to have started this process, but {', '.join(missing)} "
                             f"{'is' if len(missing) == 1 else 'are'} not set; start all ranks with one launcher")
        info = _rank_info(launcher, names, environment)
        if not (0 <= info.rank < info.size and 0 <= info.local_rank < info.local_size <= info.size):
            raise UsageError(f"rank {info.rank} of {info.size}, local rank {info.local_rank} of {info.local_size} "
                             f"by {launcher} is inconsistent; start all ranks with one launcher")
        return info
    return RankInfo(NONE)


def hosts(nodelist: str) -> list[str]:
    """Expand a Slurm node list, in its order: "n[1-2,07],gpu3" -> n1, n2, n07, gpu3. Raises UsageError."""
    parts = re.findall(r"(?:[^,\[\]]|\[[\d,-]+\])+", nodelist)
    if not parts or ",".join(parts) != nodelist:
        raise UsageError(f"the node list {nodelist!r} cannot be parsed; set the host of rank 0 by MASTER_ADDR")
    return [name for part in parts for name in _expanded(part)]


def tasks_per_node(text: str) -> list[int]:
    """Expand Slurm's tasks by node: "4(x2),3" -> 4, 4, 3."""
    return [int(number) for number, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", text) for _ in range(int(times or 1))]


def _expanded(part: str) -> list[str]:
    """Expand r[1-2]n[08-09] -> r1n08, r1n09, r2n08, r2n09."""
    prefix, opened, rest = part.partition("[")
    if not opened:
        return [part]
    inside, _, suffix = rest.partition("]")
    numbers = []
    for span in inside.split(","):
        first, _, last = span.partition("-")
        numbers += [f"{number:0{len(first)}d}" for number in range(int(first), int(last or first) + 1)]
    return [f"{prefix}{number}{end}" for number in numbers for end in _expanded(suffix)]


def _started_by(launcher: str, environment: Mapping[str, str]) -> bool:
    """Tell whether the environment holds variables of this launcher."""
    if launcher == TORCHRUN:
        return "RANK" in environment or "WORLD_SIZE" in environment
    if launcher == MPICH and "SLURM_STEP_NUM_TASKS" in environment and "MPI_LOCALRANKID" not in environment:
        return False  # srun --mpi=pmi2 sets PMI_RANK and PMI_SIZE itself
    if launcher == SRUN:  # a batch script has SLURM_PROCID too, but it is no step
        return "SLURM_STEP_NUM_TASKS" in environment
    return bool({*VARIABLES[launcher][:2]} & {*environment})


def _rank_info(launcher: str, names: tuple[str, ...], environment: Mapping[str, str]) -> RankInfo:
    """Build the RankInfo from the launcher's variables. Raises UsageError."""
    values = [environment[name] for name in names]
    node = 0
    try:
        if launcher == SRUN:
            node = int(environment["SLURM_NODEID"])
            values[3] = str([*tasks_per_node(values[3]), *[0] * (node + 1)][node])
        elif launcher == TORCHRUN:
            node = int(environment.get("GROUP_RANK", 0))
        rank, size, local_rank, local_size = map(int, values[:4])
        return RankInfo(launcher, rank, size, local_rank, local_size, node)
    except ValueError:
        shown = ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
        raise UsageError(f"{launcher} set {shown}, which must be numbers; start all ranks with one launcher") from None
