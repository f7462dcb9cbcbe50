"""A virtual Slurm cluster for the tests of this folder, and what they do with it: submit, wait, read."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT

HERE = Path(__file__).parent
HOME = Path("/tmp/mscnn-cluster")
LOCK = Path("/tmp/mscnn-cluster.lock")
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"}


@dataclass(frozen=True)
class Cluster:
    """Eight pretended nodes, and a folder with a checkout to submit from."""

    checkout: Path
    environment: dict[str, str]

    def run(self, *command: object, timeout: float = 60, **variables: str) -> str:
        """What a command says, run in the checkout; it must succeed."""
        done = subprocess.run([str(word) for word in command], cwd=self.checkout, env=self.environment | variables,
                              text=True, capture_output=True, timeout=timeout)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def submit(self, *arguments: object, **variables: str) -> "Job":
        """A job of sbatch's arguments. variables: of its environment."""
        return self.job(self.run("sbatch", "--parsable", *arguments, **variables).strip())

    def job(self, number: str) -> "Job":
        """A job that was submitted."""
        return Job(self, number)

    def on_disk(self, node: str) -> list[Path]:
        """What lies on a node's own disk."""
        return list((HOME / "disk" / node).iterdir())


@dataclass(frozen=True)
class Job:
    """A job of the cluster."""

    cluster: Cluster
    number: str

    def fact(self, name: str) -> str:
        """What `scontrol show job` says of it."""
        shown = self.cluster.run("scontrol", "show", "job", "--oneliner", self.number)
        return re.search(rf"(?:^| ){re.escape(name)}=(\S*)", shown)[1]

    def nodes(self) -> list[str]:
        """The nodes that it runs or ran on, in order of its ranks; the first ones that are free, not always node1 on."""
        return self.cluster.run("scontrol", "show", "hostnames", self.fact("NodeList")).split()

    def log(self) -> str:
        """What its script and tasks have printed."""
        return "".join(path.read_text() for path in self.cluster.checkout.glob(f"slurm/log/*-{self.number}.out"))

    def wait(self, timeout: float = 60) -> "Job":
        """Let it come to its end."""
        return self.until(self.has_ended, "the end", timeout)

    def has_ended(self) -> bool:
        """Whether Slurm has done with it."""
        return self.fact("JobState") in ENDED

    def until(self, happened: Callable[[], bool], what: str, timeout: float = 60) -> "Job":
        """Wait for something to happen, in time, and before it has ended."""
        deadline = time.monotonic() + timeout
        while not (ended := self.has_ended()) and not happened() and time.monotonic() < deadline:
            time.sleep(0.2)
        if not happened():
            self.cluster.run("scancel", self.number)
            pytest.fail(f"job {self.number}: no {what} {'before it ended' if ended else f'in {timeout} s'}:\n{self.log()}")
        return self

    def processes(self) -> dict[int, str]:
        """{pid: rank} of the processes that it has on any node, its script included."""
        found = {}
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                variables = path.read_bytes().decode(errors="replace").split("\0")
            except OSError:  # it ended meanwhile
                continue
            own = dict(variable.partition("=")[::2] for variable in variables)
            if own.get("SLURM_JOB_ID") == self.number and own.get("SLURM_CONF") == self.cluster.environment["SLURM_CONF"]:
                found[int(path.parent.name)] = own.get("SLURM_PROCID", "")
        return found


def copy_scripts(checkout: Path) -> None:
    """Copy slurm/ as git has it: without the logs of jobs and the site's own file."""
    shutil.copytree(ROOT / "slurm", checkout / "slurm", ignore=shutil.ignore_patterns("*.out", "site.sh"))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster, up for the whole session; one at a time on a machine. Skips where there cannot be any."""
    script = ["bash", str(HERE / "cluster.sh")]
    checked = subprocess.run([*script, "check"], text=True, capture_output=True)
    if checked.returncode:
        pytest.skip(checked.stderr.strip())
    checkout = tmp_path_factory.mktemp("checkout")
    for name in ("mscnn", "train.py", "evaluate.py"):
        (checkout / name).symlink_to(ROOT / name)
    copy_scripts(checkout)
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH", "OMPI", "PM"))}
    environment = outside | {"SLURM_CONF": str(HOME / "slurm.conf"), "CLUSTER_DIR": str(HOME), "PYTHON": sys.executable,
                             "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{HERE / 'pretend'}:{ROOT}",
                             "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            subprocess.run([*script, "up"], env=environment, check=True, timeout=120)
            yield Cluster(checkout, environment)
        finally:
            subprocess.run([*script, "down"], env=environment, check=True, timeout=60)


@pytest.fixture(scope="session")
def plates(cluster: Cluster) -> Path:
    """Synthetic plates: three compounds of one mechanism, and DMSO; 54 fields of 128x128."""
    cluster.run(sys.executable, "-m", "mscnn", "synth", "--out", "plates", "--mechanisms", "Eg5 inhibitors",
                "--compounds", 3, "--plates", 1, timeout=300)
    return cluster.checkout / "plates"
