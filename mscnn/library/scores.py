"""mscnn.score_profiles: what a data frame of profiles says of its screen, the same numbers as `mscnn score`."""

import numpy as np
import pandas as pd

from mscnn.core.errors import UsageError
from mscnn.core.records import LARGEST
from mscnn.core.settings import MOST_DRAWS
from mscnn.profiling import profile_table, score_table
from mscnn.profiling.score_table import TableScores

__all__ = ["TableScores", "score_profiles"]
_CHOICES = {"similarity": ("cosine", "correlation", "euclidean"),
            "normalise": ("none", "standard", "z", "mad", "percentile"),
            "aggregate_wells": ("mean", "median"), "aggregate_treatments": ("median", "mean"),
            "taxol_controls": ("drop", "keep")}


def score_profiles(frame: pd.DataFrame, *, similarity: str = "cosine", normalise: str = "none", sphere: bool = False,
                   control: str = "DMSO", aggregate_wells: str = "mean", aggregate_treatments: str = "median",
                   taxol_controls: str = "drop", features: list[str] | None = None, drop_nan: bool = False,
                   bootstrap: int = 5000, permutations: int = 1000, seed: int = 0) -> TableScores:
    """Match each treatment's profile with its neighbours, and measure activity, batch effects, known compounds, clusters.

    NSC compares with other compounds, NSCB with other compounds of other batches.  Each has a mean average precision.
    Defaults and numbers are those of `mscnn score`.

    Args:
        frame: a row a field, a well or a treatment: Metadata_Compound, Metadata_Concentration (micromolar, empty where not
            given), Metadata_MOA (empty where not known), Metadata_Week or Metadata_Batch (for NSCB), optionally
            Metadata_Plate and Metadata_Well; all other numeric columns are features.  `run.embed` makes such a table.
            Where a column Metadata_Scored is False the network was trained on the compound: it may be a neighbour, and
            does not count.
        similarity: cosine, correlation or euclidean.
        normalise: standard: each feature to mean 0 and sd 1 over all rows; by each plate's control rows: z (mean and sd),
            mad (median and MAD) or percentile (1st and 99th percentile); none.
        sphere: whiten all features by the control rows of all plates, after `normalise`.
        control: compound of the untreated wells, in any spelling: never a neighbour.
        aggregate_wells: mean or median: a well's profile from those of its fields.
        aggregate_treatments: mean or median: a treatment's profile from those of its wells.
        taxol_controls: drop or keep BBBC021's taxol 0.3 uM control wells.
        features: prefixes of the names of feature columns, as ["Cells_", "Nuclei_"]; None: all numeric columns.
        drop_nan: leave out features that are not finite in some row; else they are refused.
        bootstrap: draws of compounds for the 95 % intervals, at least 1.
        permutations: of the mechanisms' labels for the null distributions, at least 1.
        seed: of both, 0 or more.

    Returns:
        Scores with nsc, nscb and same_compound_allowed (each with correct, total, interval, permuted,
        mean_average_precision and recall; nscb is None where no row has a week or batch, all three where fewer than two
        compounds have a mechanism), mechanisms, treatments, counts and features; numbers (activity, probes, known,
        clusters; each with a note where something cannot be had); and tables, data frames by name: hits.csv,
        nearest.csv, clusters.csv.  str() gives the lines that `mscnn score` logs.

    Raises:
        ValueError: columns are missing or hold other values, or nothing can be scored; the message names the remedy.
    """
    given = {"similarity": similarity, "normalise": normalise, "aggregate_wells": aggregate_wells,
             "aggregate_treatments": aggregate_treatments, "taxol_controls": taxol_controls}
    for name, value in given.items():
        if value not in _CHOICES[name]:
            raise UsageError(f"{name} must be one of {', '.join(_CHOICES[name])}, got {value!r}")
    for name, value, least, most in (("bootstrap", bootstrap, 1, MOST_DRAWS), ("permutations", permutations, 1, MOST_DRAWS),
                                     ("seed", seed, 0, LARGEST)):
        if not isinstance(value, int | np.integer) or value < least:
            raise UsageError(f"{name} must be at least {least}, got {value!r}")
        if value > most:
            raise UsageError(f"{name} must be no more than {most}, got {value!r}")
    if not isinstance(frame, pd.DataFrame):
        raise UsageError(f"profiles must be a pandas DataFrame, got {type(frame).__name__}; read a file with "
                         "pandas.read_parquet or pandas.read_csv(..., dtype={'Metadata_Plate': str})")
    if isinstance(features, str):
        raise UsageError(f"features must be a list of prefixes, got the text {features!r}; write [{features!r}]")
    table = profile_table.from_frame(frame.rename(columns=str), "the table", prefixes=tuple(features or ()),
                                     drop_nan=drop_nan)
    return score_table.score(table, similarity=similarity, normalise=normalise, sphere=sphere, control=control,
                             aggregate_wells=aggregate_wells, aggregate_treatments=aggregate_treatments,
                             taxol_controls=taxol_controls, bootstrap=bootstrap, permutations=permutations, seed=seed)
