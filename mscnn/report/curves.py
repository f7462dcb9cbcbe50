"""Learning curves of several runs, grouped by a setting: does it change how the network learns?

`mscnn bench curves --runs RUN,RUN,... --by precision --out FILE.png` draws them; exercised by
`pytest tests/report/test_curves.py`.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mscnn.core import csv_safe
from mscnn.core.errors import DataError
from mscnn.core.logs import TRAIN
from mscnn.report import palette
from mscnn.report.run import read_metrics


def losses(run_dir: Path) -> pd.Series:
    """Return the training loss by step, from a run's metrics.jsonl. Raises DataError where it holds none."""
    path = run_dir / "metrics.jsonl"
    if not path.exists():
        raise DataError(f"{run_dir}: no metrics to read (no {path.name}); name a run directory of train.py")
    metrics = read_metrics(path)
    train = metrics[metrics["kind"] == TRAIN].drop_duplicates("step", keep="last")
    if not len(train):
        raise DataError(f"{run_dir}: metrics.jsonl holds no training step; let the run take some")
    return pd.Series(train["loss"].to_numpy(), index=train["step"].to_numpy(), name=str(run_dir))


def by_value(curves: dict[Path, pd.Series], values: dict[Path, str]) -> pd.DataFrame:
    """Return the table that is drawn: a row per step, columns (value of the setting, run)."""
    columns = {(values[run], str(run)): curve for run, curve in curves.items()}
    return pd.DataFrame(columns).sort_index(axis=1).rename_axis("step")


def distances(table: pd.DataFrame, window: int) -> dict[str, float]:
    """Return the mean absolute difference of smoothed losses "within" a value of the setting, and "between" values.

    Where the second is no larger than the first, the setting changes the curve no more than another seed does.
    """
    smooth = table.rolling(window, min_periods=1).mean().to_numpy()
    groups = table.columns.get_level_values(0)
    within, between = [], []
    for i in range(len(groups)):
        for j in range(i):
            (within if groups[i] == groups[j] else between).append(np.nanmean(np.abs(smooth[:, i] - smooth[:, j])))
    return {"within": float(np.mean(within)) if within else float("nan"),
            "between": float(np.mean(between)) if between else float("nan")}


def draw(table: pd.DataFrame, setting: str, window: int, path: Path) -> None:
    """Draw a line per run, smoothed over `window` steps, a colour per value of the setting; save the numbers as CSV."""
    figure = Figure(figsize=(8, 4.5), layout="constrained", dpi=110)
    axes = figure.subplots()
    for colour, (value, runs) in zip(palette.LINES, table.T.groupby(level=0), strict=False):
        smooth = runs.T.rolling(window, min_periods=1).mean()
        for number, column in enumerate(smooth):
            axes.plot(smooth.index, smooth[column], color=colour, linewidth=1.2,
                      label=f"{value}, {smooth.shape[1]} runs" if number == 0 else None)
    apart = distances(table, window)
    axes.set(title=f"Does {setting} change how the network learns?", ylabel=f"training loss, mean of {window} steps",
             xlabel=f"step   (mean distance of two curves: {apart['within']:.3f} within a {setting}, "
                    f"{apart['between']:.3f} between)")
    axes.set_yscale("log")
    axes.legend()
    figure.savefig(path)
    csv_safe.write_csv(table, path.with_suffix(".csv"), index=True)
