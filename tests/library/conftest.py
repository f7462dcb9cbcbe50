"""A small screen of two plates, runs trained on it for two steps, and what evaluate.py says of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch

import mscnn
from tests.conftest import run_python

LEVELS = {"a": ("bright", 900), "b": ("bright", 800), "c": ("dark", 200), "d": ("dark", 250), "DMSO": ("DMSO", 500)}
CHANNELS = ("DNA", "RNA")
# What decides how a run scales its fields and computes its features and probabilities.
KINDS = {"dataset": (), "field": ("--normalise", "field", "--tta", "flips-turns", "--head", "lda"),
         "plate": ("--normalise", "plate")}


def write_screen(folder: Path, *, seed: int = 0, gain: float = 1.0, shape: tuple[int, int] = (128, 128)) -> Path:
    """Write two plates of ten fields, a file per channel; return the CSV. gain: of the second plate."""
    rng, rows = np.random.default_rng(seed), []
    folder.mkdir(parents=True, exist_ok=True)
    for plate, bright in (("00123", 1.0), ("00124", gain)):
        for column, (compound, (mechanism, level)) in enumerate(LEVELS.items(), 2):
            for well in "BC":
                names = [f"{plate}_{well}{column}_{channel}.tif" for channel in CHANNELS]
                for name in names:
                    counts = rng.poisson(level * bright * rng.uniform(0.9, 1.1), shape)
                    tifffile.imwrite(folder / name, counts.astype(np.uint16))
                rows.append([*names, plate, f"Week{int(plate) - 122}", f"{well}{column:02}", "1", compound, "0.30",
                             mechanism])
    header = [*(f"FileName_{channel}" for channel in CHANNELS),
              *(f"Metadata_{name}" for name in ("Plate", "Week", "Well", "Site", "Compound", "Concentration", "MOA"))]
    pd.DataFrame(rows, columns=header).to_csv(folder / "sites.csv", index=False)
    return folder / "sites.csv"


def train(out: Path, *screen: object) -> Path:
    """Train two steps; return the run directory."""
    done = run_python("train.py", "supervised", "--hold-out", "b,d", "--epochs", "1", "--minibatch", "6",
                      "--max-steps", "2",
                      "--threads", "2", "--oversubscribe", "true", "--run-dir", out, *screen)
    assert done.returncode == 0, done.stderr
    return out


def evaluate(run: Path, out: Path, *options: object) -> Path:
    """Evaluate with as many threads as this process has, which decide the last bit; return the folder of the results."""
    done = run_python("evaluate.py", "--checkpoint", run, "--out", out, "--threads", torch.get_num_threads(),
                      "--oversubscribe", "true", *(() if "--examples" in options else ("--examples", "0")), *options)
    assert done.returncode == 0, done.stderr
    return out


def stack(table: pd.DataFrame) -> np.ndarray:
    """Return the raw counts (N, C, H, W) of the image files that a table names, read by tifffile alone."""
    return np.stack([[tifffile.imread(row[f"FileName_{channel}"]) for channel in CHANNELS] for _, row in table.iterrows()])


@pytest.fixture(scope="session")
def screen(tmp_path_factory) -> Path:
    """The CSV of a screen of 16-bit TIFFs."""
    return write_screen(tmp_path_factory.mktemp("screen"), gain=1.3)


@pytest.fixture(scope="session")
def other_screen(tmp_path_factory) -> Path:
    """The CSV of another screen, whose plates have the same names and other light."""
    return write_screen(tmp_path_factory.mktemp("other"), seed=1, gain=0.8)


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory, screen) -> Callable[[str], Path]:
    """Return the run directory of one of KINDS, trained when it is first asked for."""
    folder, trained = tmp_path_factory.mktemp("runs"), {}

    def get(kind: str) -> Path:
        if kind not in trained:
            trained[kind] = train(folder / kind, "--sites", screen, *KINDS[kind])
        return trained[kind]

    return get


@pytest.fixture(scope="session")
def run(run_dir) -> "mscnn.Run":
    """The run of kind dataset."""
    return mscnn.load_run(run_dir("dataset"))
