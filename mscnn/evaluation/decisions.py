"""All that decides on a treatment, one row each, best first: decisions.csv.   mscnn evaluate, mscnn gather

Treatments that are active (q < 0.05) stand before those of which that is not known, as where no q can be so low, and these
before inactive ones.  Within each group the largest effect comes first.  Where no effect is known, as without control
wells, those that are most surely of a known mechanism come first (None_Of_The_Known), then those of the highest confidence.

Shapes: T treatments.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mscnn.core import csv_safe, files, foreign_table, identity
from mscnn.core.words import counted
from mscnn.data.tables.sides import OF_WELLS
from mscnn.evaluation.aggregate import PROBABILITY
from mscnn.evaluation.results import DECISIONS, REMEDY, EvaluationDescription
from mscnn.profiling.known import FIRST
from mscnn.profiling.replicates import BY_DISTANCE, LIMIT, TREATMENT

COLUMNS = ["Rank", "Metadata_Compound", "Metadata_Concentration", "Metadata_MOA", "Wells", "Plates", "Predicted_MOA",
           "Probability", "Confidence", "Mean_Average_Precision", "Q_Value", "Active", "Effect_Size", "None_Of_The_Known",
           "Nearest_Compound", "Nearest_Concentration", "Nearest_MOA", "Similarity", "Trained", "Flagged_Fields", "Fields"]
TEXT = {"Metadata_Compound", "Metadata_MOA", "Predicted_MOA", "Active", "Nearest_Compound", "Nearest_MOA", "Trained"}
OF_ACTIVITY = ["Mean_Average_Precision", "Q_Value", "Active", "Effect_Size"]
KEY = [*TREATMENT, "Metadata_MOA"]  # a treatment; of new wells and of the training the mechanism tells them apart
NEAR = 0.1  # p of "none of the known" up to which a treatment counts as near to a known mechanism


@dataclass(frozen=True)
class Evidence:
    """What profiles say of treatments; None and a note where it cannot be had."""

    hits: pd.DataFrame | None = None   # replicates.COLUMNS, a row a treatment
    first: pd.DataFrame | None = None  # known.FIRST, the nearest known compound of each treatment
    activity_note: str = ""            # why activity is not known, or what to know of it
    known_note: str = ""               # the same of known compounds
    can_decide: bool = True            # a treatment can have a q that makes it active
    least_p: float = 0.0               # the least that None_Of_The_Known can be


def table(treatments: pd.DataFrame, fields: pd.DataFrame, confidence_T: np.ndarray, trained: list[str],
          found: Evidence, quality: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the rows of decisions.csv.

    treatments, fields: predictions, as aggregate.aggregate returns them.  confidence_T: calibrated, NaN where not known.
    trained: compounds that what predicts was fitted to, in any spelling.  quality: a row a field of quality.parquet; None
    where it was not measured, and Flagged_Fields is empty then.
    """
    decided = treatments[KEY].copy()
    predicted = treatments.get("Predicted_MOA", pd.Series("", treatments.index))
    names = [name for name in treatments if name.startswith(PROBABILITY)]
    has_prediction = bool(names) and "Predicted_MOA" in treatments
    decided = decided.assign(
        Predicted_MOA=predicted, Confidence=confidence_T,
        Probability=treatments[names].max(axis=1) if has_prediction else np.nan,
        Trained=decided["Metadata_Compound"].isin(identity.in_common(decided["Metadata_Compound"], trained)))
    decided = decided.merge(_counts(fields), "left", TREATMENT)
    decided = decided.merge(_activity(found), "left", TREATMENT)
    decided = decided.assign(Active=decided["Active"].fillna(""))
    first = pd.DataFrame(columns=FIRST) if found.first is None else found.first
    decided = decided.merge(_typed(first, FIRST), "left", KEY)
    decided = decided.fillna({"Nearest_Compound": "", "Nearest_MOA": ""})
    return ranked(decided.assign(Flagged_Fields=_flagged(decided, quality)))


def ranked(decided: pd.DataFrame) -> pd.DataFrame:
    """Return the rows best first, with Rank and the columns in order; they need not have a Rank."""
    group = decided["Active"].map({"True": 0, "": 1, "False": 2})
    by = pd.DataFrame({"group": group, "effect": -decided["Effect_Size"], "none": decided["None_Of_The_Known"],
                       "sure": -decided["Confidence"].fillna(decided["Probability"]),
                       **{name: decided[name] for name in TREATMENT}})
    order = by.sort_values([*by], kind="stable", na_position="last").index
    decided = decided.loc[order].reset_index(drop=True)
    return decided.assign(Rank=np.arange(1, len(decided) + 1))[COLUMNS]


def trained_compounds(description: EvaluationDescription) -> list[str]:
    """Return the compounds that what predicts was fitted to, with their mechanisms.

    Of folds by compound or week, and of read-outs over compounds, none of those that are predicted is among them, unless
    the split leaks.  Of folds of wells or plates all are, but those whose wells were all held out by one fold.
    """
    found: set[str] = set()
    for split in description.splits():
        if description.folds is None or split.leaks or split.method in OF_WELLS:
            found |= set(split.trained.get("compounds", []))
    whole = {name for split in description.splits() if description.folds and split.method in OF_WELLS
             for name in split.held_out}
    return sorted(found - whole)


def write(decided: pd.DataFrame, out: Path) -> None:
    """Write decisions.csv into the folder of an evaluation, whole or not at all."""
    with files.write_atomically(out / DECISIONS) as partial:
        csv_safe.write_csv(decided, partial)


def read(folder: Path) -> pd.DataFrame | None:
    """Read decisions.csv of an evaluation; None where it is not there.

    Columns of TEXT hold text, Active and Trained "True", "False" or "" (not known); all others numbers, NaN where empty.
    Raises DataError for columns that lack, or hold other values.
    """
    path = folder / DECISIONS
    if not path.exists():
        return None
    found = foreign_table.read_csv(path, REMEDY, is_number=lambda name: name not in TEXT, missing=[""])
    found.require(*COLUMNS)
    return csv_safe.unescape_table(pd.DataFrame(
        {name: found.text(name) if name in TEXT else found.numbers(name) for name in COLUMNS}))


def summary(decided: pd.DataFrame, found: Evidence) -> str:
    """Return how many treatments are active and near to a known mechanism, on one line, or why that is not known."""
    active = decided[decided["Active"] == "True"]
    is_known = bool((decided["Active"] != "").any())
    asked, whose = (active, "of these ") if is_known else (decided, "")
    test = ", by distance from control wells" if _is_by_distance(found) else ""
    said = [f"{len(active)} active (q < {LIMIT:g}{test})" if is_known else
            f"activity is not known ({found.activity_note or 'no control wells'})"]
    p_values = asked["None_Of_The_Known"].dropna()
    near = int((p_values <= NEAR).sum())
    if len(p_values) and found.least_p > NEAR:
        said.append(f"whether a mechanism is known cannot be told (with so few held-out compounds of known mechanisms p is "
                    f"{found.least_p:.2f} or more; hold more out)")
    elif len(p_values):
        said.append(f"{whose}{near} near to a known mechanism (p <= {NEAR:g}) and {len(p_values) - near} that may be none "
                    "of the known")
    elif len(asked):
        said.append(f"whether a mechanism is known cannot be told ({found.known_note or 'no known compounds'})")
    return f"{counted(len(decided), 'treatment')}: {'; '.join(said)}"


def _is_by_distance(found: Evidence) -> bool:
    return found.hits is not None and "Test" in found.hits and bool((found.hits["Test"] == BY_DISTANCE).any())


def _counts(fields: pd.DataFrame) -> pd.DataFrame:
    """Return wells, plates and fields of each treatment."""
    named = fields.assign(well=fields["Metadata_Plate"] + "\n" + fields["Metadata_Well"])
    grouped = named.groupby(TREATMENT, dropna=False)
    counts = grouped.agg(Wells=("well", "nunique"), Plates=("Metadata_Plate", "nunique"), Fields=("well", "size"))
    return counts.reset_index()


def _activity(found: Evidence) -> pd.DataFrame:
    """Return OF_ACTIVITY of each treatment; Active is "" where a treatment is not ranked, or none could be active."""
    names = [*TREATMENT, *OF_ACTIVITY]
    hits = _typed(pd.DataFrame(columns=names) if found.hits is None else found.hits, names)
    is_decided = hits["Q_Value"].notna() & found.can_decide
    return hits.assign(Active=(hits["Q_Value"] < LIMIT).astype(str).where(is_decided, ""))


def _typed(found: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return columns as text or numbers, also of a table without rows."""
    return pd.DataFrame({name: found[name].astype(str if name in TEXT else float) for name in names})


def _flagged(decided: pd.DataFrame, quality: pd.DataFrame | None) -> pd.Series:
    """Return the fields of each treatment that a flag of quality names; nothing where quality was not measured."""
    if quality is None:
        return pd.Series(pd.NA, decided.index, dtype="Int64")
    flags = quality.assign(flagged=quality["Flags"] != "").groupby(TREATMENT, dropna=False)["flagged"].sum().reset_index()
    return decided[TREATMENT].merge(flags, "left", TREATMENT).set_index(decided.index)["flagged"].astype("Int64")
