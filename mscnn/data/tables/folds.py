"""The compounds, weeks and plates that folds hold out, in the order of --fold: pure functions of the site table."""

import numpy as np

from mscnn.core import identity
from mscnn.core.errors import UsageError
from mscnn.data.tables.sampler import Stream
from mscnn.data.tables.site_table import SiteTable, natural


def fold_compounds(table: SiteTable, *, split: str, folds: int = 5, seed: int = 0) -> list[list[str]]:
    """Return the compounds that each fold holds out, in the order of --fold; of leave-week-out all of the week.

    Compounds without a label are in no other fold.
    """
    if split == "leave-compound-out":
        return [[compound] for compound in treated_compounds(table.labelled())]
    if split == "k-fold":
        return grouped_folds(table, folds, seed)
    assert split == "leave-week-out", split
    if (table.frame["week"] == "").any():
        raise UsageError("split leave-week-out needs a week for every site; name the column with --columns week=COLUMN")
    home = home_weeks(table)
    return [sorted(compound for compound in home if home[compound] == week)
            for week in sorted(set(home.values()), key=natural)]


def treated_compounds(table: SiteTable) -> list[str]:
    """Return the compounds other than the control, in alphabetical order."""
    return sorted(set(table.frame["compound"][~table.is_control()]))


def grouped_folds(table: SiteTable, folds: int, seed: int) -> list[list[str]]:
    """Return the labelled compounds in `folds` groups of near equal size, each mechanism spread over the groups."""
    labelled = table.labelled()
    mechanism_of = dict(zip(labelled.frame["compound"], labelled.frame["mechanism"], strict=True))
    compounds = treated_compounds(labelled)
    if folds > len(compounds):
        raise UsageError(f"folds is {folds}, but there are only {len(compounds)} compounds; use at most that many")
    shuffled = np.random.default_rng([Stream.FOLDS, seed]).permutation(compounds).tolist()
    by_mechanism = sorted(shuffled, key=lambda compound: mechanism_of[compound])  # stable: random within a mechanism
    return [sorted(by_mechanism[group::folds]) for group in range(folds)]


def home_weeks(table: SiteTable) -> dict[str, str]:
    """Return by compound the week in which most of its concentrations were run; of equal weeks the earlier.

    In BBBC021 a compound has one week.  Taxol is the exception: its control wells are in every week.
    """
    treated = table.frame[~table.is_control()]
    doses = treated.groupby(["compound", "week"])["concentration"].nunique().reset_index()
    doses["order"] = doses["week"].map(natural)
    doses = doses.sort_values(["order"], kind="stable").sort_values("concentration", ascending=False, kind="stable")
    first = doses.drop_duplicates("compound")
    return dict(zip(first["compound"], first["week"], strict=True))


def plates(table: SiteTable) -> list[list[str]]:
    """Return the plate that each fold holds out, in natural order, in each of its spellings."""
    names = sorted(set(table.frame["plate"]), key=natural)
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(identity.normal_form(name), []).append(name)
    return list(groups.values())


def pick(choices: list[list[str]], fold: int, split: str) -> list[str]:
    """Return what a fold holds out. Raises UsageError where there are fewer folds."""
    if fold >= len(choices):
        unit = {"leave-compound-out": "compounds", "leave-week-out": "weeks", "leave-plate-out": "plates",
                "k-fold": "folds"}[split]
        raise UsageError(f"fold is {fold}, but there are {len(choices)} {unit}; use 0 to {len(choices) - 1}")
    return choices[fold]
