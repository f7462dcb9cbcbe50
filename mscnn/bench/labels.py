"""Compare what statistics, a label-free and a supervised network predict, by the number of labelled compounds.

Exercised by `mscnn bench labels --out DIR`.
- The screen is drawn: `mscnn synth --kind inclusions`, at half its resolution.  Its mechanisms are shapes of inclusions.
  At the defaults it has 1,728 treated fields, and 432 of DMSO.  Each network takes 800 steps of 48 fields.
- The test compounds are the last of each mechanism, the same ones for any number of labelled compounds.
- The label-free network learns from the images of all compounds, those of the test compounds too, and from no mechanism.
  A supervised network learns from the labelled compounds.  Both take as many steps, with the same settings.
- Statistics are those of `--head chosen`: of the network's input, and handcrafted.
- Each read-out is StandardScaler and EqualPriorLDA on the fields of the labelled compounds, without DMSO.  "all" is the
  product of the three read-outs' probabilities.
- mAP is of the test treatments among each other, and needs no label.

What is there is not made again: the same command resumes.
Shapes: S fields, F features, K mechanisms.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mscnn.bench.settings import LabelsSettings, parse_counts
from mscnn.core import files, run_directory
from mscnn.core.config import Table
from mscnn.core.errors import DataError, UsageError
from mscnn.core.logs import log
from mscnn.data.pixels.reader import FieldReader
from mscnn.data.pixels.scale import scale_from_record
from mscnn.data.read_screen import read_screen
from mscnn.data.tables.site_table import SiteTable
from mscnn.distributed import launchers
from mscnn.distributed.world import World
from mscnn.library.run import load_run
from mscnn.library.scores import score_profiles
from mscnn.library.screen import to_frame
from mscnn.profiling.resampling import interval
from mscnn.readout.candidates import BY_NAME
from mscnn.readout.linear import fit_linear
from mscnn.readout.tables import roots
from mscnn.training import checkpoint
from mscnn.training.statistics import measure_statistics

STATISTICS, LABEL_FREE, SUPERVISED, ALL = "statistics", "label-free", "supervised", "all three"
METHODS = (STATISTICS, LABEL_FREE, SUPERVISED, ALL)
PRESET, MINIBATCH, PEAK = "screen", 48, 0.02
DRAWS = 2000        # of compounds, for intervals
MICROBATCH = 16


@dataclass(frozen=True)
class Sides:
    """Which treated fields are labelled, and which are tested."""

    labelled_S: np.ndarray  # bool
    tested_S: np.ndarray    # bool
    hidden: list[str]       # compounds that a supervised network must not see


def measure(settings: LabelsSettings) -> pd.DataFrame:
    """Draw the screen, train the networks, and return a row per method and number of labelled compounds."""
    out = Path(settings.out)
    draw_screen(settings, out)
    table = read_screen(Table(packed=str(out / "packed")))
    treated = np.flatnonzero(~table.is_control())
    frame = table.frame.iloc[treated].reset_index(drop=True)
    counts = parse_counts("labelled", settings.labelled)
    sides = {count: choose(frame, count, settings.test_compounds) for count in counts}
    train(out / LABEL_FREE, settings, len(table), [])
    features = {LABEL_FREE: embed(out / LABEL_FREE, table, treated)}
    features[STATISTICS] = statistics(out, table, treated)
    rows = []
    for count in counts:
        run, side = out / f"{SUPERVISED}-{count}", sides[count]
        train(run, settings, len(table) - int(frame["compound"].isin(side.hidden).sum()), side.hidden)
        features[SUPERVISED] = embed(run, table, treated)
        rows += compare(frame, features, side, count, settings.seed)
        log.info("%s", "; ".join(f"{row['method']} {row['right']}/{row['treatments']}" for row in rows[-len(METHODS):]))
    return pd.DataFrame(rows)


def choose(frame: pd.DataFrame, count: int, num_test: int) -> Sides:
    """Return the sides for so many labelled compounds a mechanism: the first in alphabetical order; the last are tested.

    Raises UsageError where a mechanism has too few compounds.
    """
    labelled, tested = set(), set()
    for mechanism, compounds in frame.groupby("mechanism")["compound"]:
        names = sorted(set(compounds))
        if count + num_test > len(names):
            raise UsageError(f"labelled {count} and test-compounds {num_test} need {count + num_test} compounds of each "
                             f"mechanism, {mechanism} has {len(names)}; draw more with --compounds")
        labelled |= {*names[:count]}
        tested |= {*names[-num_test:]}
    is_labelled = frame["compound"].isin(labelled).to_numpy()
    return Sides(is_labelled, frame["compound"].isin(tested).to_numpy(), sorted({*frame["compound"]} - labelled))


def compare(frame: pd.DataFrame, features: dict[str, np.ndarray], side: Sides, count: int,
            seed: int) -> list[dict[str, Any]]:
    """Return a row per method: right treatments and fields with their interval, and mAP of the test treatments.

    features: (S, F) of each treated field, by method.
    """
    tested = frame[side.tested_S].reset_index(drop=True)
    classes = sorted(set(frame["mechanism"]))
    labels = frame["mechanism"].map(classes.index).to_numpy()
    logs = {}
    for method, values in features.items():
        read_out = BY_NAME["statistics" if method == STATISTICS else "network"]
        read = values if method == STATISTICS else roots(values)
        fitted = fit_linear(read[side.labelled_S], labels[side.labelled_S], len(classes),
                            components=read_out.components(len(classes)))
        logs[method] = np.log(np.maximum(fitted.probabilities(read[side.tested_S]), 1e-30))
    logs[ALL] = logs[STATISTICS] + logs[LABEL_FREE] + logs[SUPERVISED]
    rows = []
    for method in METHODS:
        right = right_treatments(tested, logs[method], classes)
        share = interval(right["right"].to_numpy(), right["compound"].to_numpy(), draws=DRAWS, seed=seed)
        fields_right = np.array(classes)[logs[method].argmax(1)] == tested["mechanism"].to_numpy()
        precision = None if method == ALL else mean_average_precision(tested, features[method][side.tested_S], seed)
        rows.append({"method": method, "labelled": count, "right": int(right["right"].sum()), "treatments": len(right),
                     "low": share.low, "high": share.high, "fields_right": int(fields_right.sum()), "fields": len(tested),
                     "mAP": precision})
    return rows


def right_treatments(tested: pd.DataFrame, logs_SK: np.ndarray, classes: list[str]) -> pd.DataFrame:
    """Return compound, concentration and right (bool) of each treatment: the mean log-probability of its fields decides."""
    keys = ["compound", "concentration", "mechanism"]
    means = pd.concat([tested[keys], pd.DataFrame(logs_SK, columns=classes)], axis=1).groupby(keys).mean()
    named = means.index.to_frame(index=False)
    return named.assign(right=np.array(classes)[means.to_numpy().argmax(1)] == named["mechanism"].to_numpy())


def mean_average_precision(tested: pd.DataFrame, features_SF: np.ndarray, seed: int) -> float | None:
    """Return the mean average precision of the mechanism: of other compounds, all that are tested."""
    metadata = pd.DataFrame({f"Metadata_{public}": tested[name] for public, name in (
        ("Compound", "compound"), ("Concentration", "concentration"), ("MOA", "mechanism"), ("Week", "week"),
        ("Plate", "plate"), ("Well", "well"))})
    values = pd.DataFrame(features_SF, columns=[f"Feature_{number}" for number in range(features_SF.shape[1])])
    scores = score_profiles(pd.concat([metadata, values], axis=1), normalise="standard", bootstrap=10,
                            permutations=10, seed=seed)  # what is drawn is not shown
    return scores.nsc.mean_average_precision.mean


# ---- the screen and the networks, each made by the command that a user types


def draw_screen(settings: LabelsSettings, out: Path) -> None:
    """Draw the plates and pack them, at half the resolution."""
    plates, packed = out / "plates", out / "packed"
    if not (plates / "BBBC021_v1_moa.csv").exists():
        _run("synth", "--out", plates, "--kind", "inclusions", "--compounds", settings.compounds, "--plates",
             settings.plates, "--sites", settings.sites, "--size", settings.size, "--seed", settings.seed)
    if not packed.exists():
        _run("pack", "--bbbc021", plates, "--out", packed, "--downscale", 2)


def train(run: Path, settings: LabelsSettings, num_fields: int, hidden: list[str]) -> None:
    """Train a network, unless it is there: label-free without hidden compounds, otherwise supervised without them."""
    if (run / run_directory.SUMMARY).exists():
        return
    epochs = max(1, round(settings.steps * MINIBATCH / num_fields))
    objective = (["--mechanism-weight", 1, "--replicate-weight", 0, "--class-weights", "balanced", "--hold-out",
                  ",".join(hidden)] if hidden else [])
    _run("train", PRESET, "--packed", run.parent / "packed", "--normalise", "field", *objective, "--head", "softmax",
         "--minibatch", MINIBATCH, "--microbatch", MINIBATCH, "--epochs", epochs, "--lr", rates(epochs),
         "--seed", settings.seed, "--run-dir", run, "--resume", "auto")


def rates(epochs: int) -> str:
    """Return the schedule of the learning rate: half a cosine from PEAK down, in at most eight parts."""
    ends = sorted({max(1, round(epochs * part / 8)) for part in range(1, 8)} - {epochs})
    middles = [(one + other) / 2 / epochs for one, other in zip([0, *ends], [*ends, epochs], strict=True)]
    values = [PEAK * (0.05 + 0.475 * (1 + np.cos(np.pi * middle))) for middle in middles]
    steps = [f"{rate:.4f};{end}" for rate, end in zip(values, ends, strict=False)]
    return ";".join([*steps, f"{values[-1]:.4f}"])


def embed(run: Path, table: SiteTable, treated: np.ndarray) -> np.ndarray:
    """Return the features (S, 512) of a network for the treated fields."""
    found = load_run(run).embed(to_frame(table.select(treated)), microbatch=MICROBATCH)
    return found.filter(like="Emb_").to_numpy(float)


def statistics(out: Path, table: SiteTable, treated: np.ndarray) -> np.ndarray:
    """Return the statistics (S, F) of the treated fields, from a file if they have been measured."""
    path = out / "statistics.npy"
    if not path.exists():
        _, saved = checkpoint.read(out / LABEL_FREE)
        reader = FieldReader(table, scale_from_record(saved.scale), None)
        measured = measure_statistics(reader, treated, microbatch=MICROBATCH, world=World())
        with files.write_atomically(path) as unfinished, unfinished.open("wb") as file:
            np.save(file, measured)
    return np.load(path)


def _run(command: str, *arguments: Any) -> None:
    """Run a command of mscnn. Raises DataError where it fails."""
    words = [command, *map(str, arguments)]
    log.info("mscnn %s", " ".join(word if len(word) < 100 else word[:60] + "..." for word in words))
    done = subprocess.run([sys.executable, "-m", "mscnn", *words], env=launchers.child_env(), check=False)
    if done.returncode:
        raise DataError(f"mscnn {command} ended with code {done.returncode}; its last lines say why")
