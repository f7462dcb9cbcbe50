"""What reaches which score without looking at the cells, or with a look that needs no training, on the network's folds.

Two kinds: SHORTCUTS see only what a network must not live on, such as the week or the well; REAL see the field, through
features that nothing was trained for.  A shortcut that is high where fields are split at random and at chance where whole
compounds are left out is what that split prevents; one that is high in both says that the screen's layout gives the
mechanism away.  All settings are scikit-learn's defaults but for balanced classes and enough iterations: nothing is tuned,
nothing is random, and everything is fitted on the training side of a fold alone.  Shapes: S fields, F features, K classes.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
import pandas as pd
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mscnn.core.errors import DataError
from mscnn.data.tables.site_table import SiteTable
from mscnn.evaluation.handcrafted import PREFIX
from mscnn.model.lda import EqualPriorLDA

ITERATIONS = 5000  # of the logistic regression; it stops when it has converged
Fold = tuple[np.ndarray, np.ndarray]  # positions of the fields to train on, and of those to predict


@dataclass(frozen=True)
class Screen:
    """What baselines may see.

    table: labelled sites in the order of the screen's table, controls among them; features: (S, F) with the columns
    Image_Basic_* of mscnn/evaluation/handcrafted.py; untrained_SF: activations of a network with random weights, or None.
    """

    table: SiteTable
    features: pd.DataFrame
    untrained_SF: np.ndarray | None = None

    def __post_init__(self):
        others = [self.features] if self.untrained_SF is None else [self.features, self.untrained_SF]
        assert all(len(other) == len(self.table) for other in others), "a row a site"
        assert (self.table.frame["mechanism"] != "").all(), "only labelled sites"


@dataclass(frozen=True)
class Baseline:
    """sees: what it is given of each field; model: the untrained classifier of that."""

    sees: Callable[[Screen], pd.DataFrame | np.ndarray | pd.Series]
    model: Callable[[], Pipeline | DummyClassifier]


def probabilities(name: str, screen: Screen, fold: Fold, classes: list[str]) -> np.ndarray:
    """(S_test, K) of one baseline on one fold, trained on the fold's training side; 0 for a class that is not there."""
    return over_folds(name, screen, [fold], classes)[1]


def over_folds(name: str, screen: Screen, folds: Iterable[Fold], classes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """All folds of one baseline: positions of the tested fields, in the table's order, and their (S_test, K).

    Shortcuts learn from treated wells alone: with the controls, which are everywhere, they would find less.
    The rows that `profiles.field_predictions(table.select(positions), probabilities, classes)` takes.
    """
    baseline, mechanisms_S = BASELINES[name], screen.table.frame["mechanism"].to_numpy()
    seen = baseline.sees(screen)
    tested, found = [], []
    may_train_S = ~screen.table.is_control() if name in SHORTCUTS else np.ones(len(screen.table), bool)
    for train, test in folds:
        tested.append(test)
        found.append(_fitted(baseline, seen, mechanisms_S, (train[may_train_S[train]], test), classes))
    tested_S, found_SK = np.concatenate(tested), np.concatenate(found)
    assert len(set(tested_S)) == len(tested_S), "a field is tested in more than one fold"
    order = np.argsort(tested_S)
    return tested_S[order], found_SK[order]


def random_folds(mechanisms_S: np.ndarray, scored: np.ndarray, *, folds: int = 5, seed: int = 0) -> Iterator[Fold]:
    """The scored fields dealt at random, each mechanism evenly; all other fields are trained on in every fold.

    LEAKS wells, plates and compounds; it serves comparison with folds of compounds.  scored: positions, as those of all
    test sides of such folds together.  Raises DataError where there are too few to deal.
    """
    scored, others = np.sort(scored), np.setdiff1d(np.arange(len(mechanisms_S)), scored)
    if len(scored) == 0 or max(pd.Series(mechanisms_S[scored]).value_counts()) < folds:
        raise DataError(f"no mechanism has {folds} of the {len(scored)} scored fields, so they cannot be dealt to {folds} "
                        "folds at random; score more fields")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)  # its folds do without it
        dealt = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(scored, mechanisms_S[scored]))
    return ((np.union1d(scored[train], others), scored[test]) for train, test in dealt)


def available(screen: Screen) -> list[str]:
    """Names of the baselines that have what they need, shortcuts first."""
    return [name for name in BASELINES if name != UNTRAINED or screen.untrained_SF is not None]


def align(table: SiteTable, features: pd.DataFrame) -> pd.DataFrame:
    """The features of a table's sites, in its order, out of what `python -m mscnn features` wrote for these and others.

    Sites are found by plate, well and site. Raises DataError naming those that are not there, or there twice.
    """
    keys = ["Metadata_Plate", "Metadata_Well", "Metadata_Site"]
    wanted = pd.MultiIndex.from_frame(table.frame[["plate", "well", "site"]])
    known = pd.MultiIndex.from_frame(features[keys])
    if twice := sorted(set(known[known.duplicated()]) & set(wanted)):
        raise DataError("features hold more than one row of a site; give each site of the table a number of its own",
                        [" ".join(site) for site in twice])
    places = known.get_indexer(wanted)
    if missing := [" ".join(site) for site in wanted[places < 0]]:
        raise DataError(f"features lack {len(missing)} of {len(wanted)} sites; write them for the same table with "
                        "`python -m mscnn features`", missing)
    return features.iloc[places].filter(regex=f"^{PREFIX}").reset_index(drop=True)


def _fitted(baseline: Baseline, seen: pd.DataFrame | np.ndarray | pd.Series, mechanisms_S: np.ndarray, fold: Fold,
            classes: list[str]) -> np.ndarray:
    train, test = fold
    rows = seen.iloc if isinstance(seen, pd.DataFrame | pd.Series) else seen
    several = len(set(mechanisms_S[train])) > 1  # of a single mechanism there is nothing to tell apart
    model = (baseline.model if several else _most_frequent)().fit(rows[train], mechanisms_S[train])
    found = pd.DataFrame(model.predict_proba(rows[test]), columns=model.classes_)
    return found.reindex(columns=classes, fill_value=0.0).to_numpy()


def _nothing(screen: Screen) -> np.ndarray:
    return np.zeros((len(screen.table), 1))


def _wells(screen: Screen) -> pd.DataFrame:
    """B02 -> B02, B, 02."""
    well = screen.table.frame["well"]
    return pd.concat([well, well.str.extract(r"^(?P<row>\D*)(?P<column>.*)$")], axis=1)


def _plate_brightness(screen: Screen) -> pd.DataFrame:
    """Mean over a plate's fields of each channel's mean and sd; with few compounds on a plate, a look at those too."""
    return _chosen(screen, "Mean|Sd").groupby(screen.table.frame["plate"].to_numpy()).transform("mean")


def _file_names(screen: Screen) -> pd.Series:
    """Base name of each field's first file."""
    return screen.table.frame["files"].map(lambda files: PurePath(files[0]).name)


def _chosen(screen: Screen, kinds: str) -> pd.DataFrame:
    """The handcrafted features of some kinds."""
    return screen.features.filter(regex=f"^{PREFIX}({kinds})_")


def _most_frequent() -> DummyClassifier:
    """In training: a compound that is left out of the largest class makes that class smaller."""
    return DummyClassifier(strategy="most_frequent")


def _regression() -> LogisticRegression:
    return LogisticRegression(class_weight="balanced", max_iter=ITERATIONS)


def _one_hot() -> Pipeline:
    return make_pipeline(OneHotEncoder(handle_unknown="ignore"), _regression())


def _scaled() -> Pipeline:
    return make_pipeline(StandardScaler(), _regression())


def _discriminant() -> Pipeline:
    return make_pipeline(StandardScaler(), EqualPriorLDA())


def _nearest() -> Pipeline:
    """Of equally near fields, the first in the table."""
    return make_pipeline(StandardScaler(), KNeighborsClassifier(1, algorithm="brute"))


def _letters() -> Pipeline:
    return make_pipeline(TfidfVectorizer(analyzer="char", ngram_range=(3, 5)), _regression())


UNTRAINED = "untrained network"
SHORTCUTS = {
    "largest class": Baseline(_nothing, _most_frequent),
    "week only": Baseline(lambda screen: screen.table.frame[["week"]], _one_hot),
    "well position only": Baseline(_wells, _one_hot),
    "plate brightness only": Baseline(_plate_brightness, _nearest),
    "file name only": Baseline(_file_names, _letters),
    "row order only": Baseline(lambda screen: np.arange(len(screen.table))[:, None], _nearest),
}
REAL = {
    "cell count and histogram": Baseline(lambda screen: _chosen(screen, "Nucleus.*|Percentile"), _scaled),
    "handcrafted features": Baseline(lambda screen: screen.features, _scaled),
    "handcrafted features, LDA": Baseline(lambda screen: screen.features, _discriminant),
    UNTRAINED: Baseline(lambda screen: screen.untrained_SF, _scaled),
}
BASELINES = SHORTCUTS | REAL
