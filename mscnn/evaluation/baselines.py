"""Baselines: classifiers that see no cells, or cells through features that need no training.

SHORTCUTS see only what a network must not use, such as the week or the well.  REAL see the field through features without
training.  A shortcut that is high on random folds and at chance on folds of compounds shows what the split prevents.  A
shortcut that is high on both shows that the screen's layout gives the mechanism away.

All settings are scikit-learn's defaults, except for balanced classes and enough iterations.  Nothing is tuned, nothing is
random, and every classifier is fitted on the training side of a fold alone.

Shapes: S fields, F features, K classes.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mscnn.core import identity
from mscnn.core.errors import DataError
from mscnn.data.pixels.handcrafted import PREFIX
from mscnn.data.tables.image_source import show_source, without_folders
from mscnn.data.tables.site_table import PUBLIC_SITE, SiteTable
from mscnn.model.lda import EqualPriorLDA

PIXELS = "Image_Pixels_"  # names of pixel statistics
ITERATIONS = 5000  # of the logistic regression; it stops when it has converged
Fold = tuple[np.ndarray, np.ndarray]  # positions of the fields to train on, and of those to predict


@dataclass(frozen=True)
class Screen:
    """All that baselines may see."""

    table: SiteTable                        # labelled sites in the order of the screen's table, controls among them
    features: pd.DataFrame                  # (S, F), columns Image_Basic_* of mscnn/data/pixels/handcrafted.py
    statistics_SD: np.ndarray | None = None  # pixel statistics, each field scaled by itself
    untrained_SF: np.ndarray | None = None   # activations of a network with random weights

    def __post_init__(self):
        others = [self.features, self.statistics_SD, self.untrained_SF]
        assert all(other is None or len(other) == len(self.table) for other in others), "a row a site"
        assert (self.table.frame["mechanism"] != "").all(), "only labelled sites"


@dataclass(frozen=True)
class Baseline:
    """An input and a classifier."""

    sees: Callable[[Screen], pd.DataFrame | np.ndarray | pd.Series]  # a row per field
    model: Callable[[], Pipeline | DummyClassifier]                  # returns the classifier, not fitted


def probabilities(name: str, screen: Screen, fold: Fold, classes: list[str]) -> np.ndarray:
    """Return (S_test, K) of one baseline on one fold; 0 for a class without training fields."""
    return over_folds(name, screen, [fold], classes)[1]


def over_folds(name: str, screen: Screen, folds: Iterable[Fold], classes: list[str], *, with_control: bool = False,
               advance: Callable[[int], object] = lambda number: None) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of all tested fields, in the table's order, and one baseline's probabilities (S_test, K).

    Shortcuts are fitted on treated wells alone: control wells are everywhere and would hide what a shortcut can reach.
    with_control: they are fitted on control wells too, which they are asked to tell from the treated ones.
    aggregate.field_predictions(table.select(positions), probabilities, classes) makes a table of the result.
    advance: called with the number of folds that have just been predicted.
    """
    baseline, mechanisms_S = BASELINES[name], screen.table.frame["mechanism"].to_numpy()
    inputs = baseline.sees(screen)
    tested, parts = [], []
    may_train_S = np.ones(len(screen.table), bool)
    if name in SHORTCUTS and not with_control:
        may_train_S = ~screen.table.is_control()
    for train, test in folds:
        tested.append(test)
        parts.append(_fit_and_predict(baseline, inputs, mechanisms_S, (train[may_train_S[train]], test), classes))
        advance(1)
    tested_S = np.concatenate(tested)
    assert len(set(tested_S)) == len(tested_S), "a field is tested in more than one fold"
    order = np.argsort(tested_S)
    return tested_S[order], np.concatenate(parts)[order]


def random_folds(mechanisms_S: np.ndarray, scored: np.ndarray, *, folds: int = 5, seed: int = 0) -> Iterator[Fold]:
    """Split the scored fields at random, stratified by mechanism; all other fields are on every training side.

    LEAKS wells, plates and compounds: for comparison with folds of compounds.  scored: positions of the fields on all test
    sides together.  Raises DataError for too few fields.
    """
    scored, others = np.sort(scored), np.setdiff1d(np.arange(len(mechanisms_S)), scored)
    if len(scored) == 0 or max(pd.Series(mechanisms_S[scored]).value_counts()) < folds:
        raise DataError(f"no mechanism has {folds} of the {len(scored)} scored fields, which {folds} random folds need; "
                        "score more fields")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)  # its folds do without it
        sides = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(scored, mechanisms_S[scored]))
    return ((np.union1d(scored[train], others), scored[test]) for train, test in sides)


def available(screen: Screen) -> list[str]:
    """Return the names of the baselines whose inputs the screen has, shortcuts first."""
    lacking = {UNTRAINED} if screen.untrained_SF is None else set()
    lacking |= {f"{STATISTICS}, LDA", f"{BOTH}, LDA"} if screen.statistics_SD is None else set()
    return [name for name in BASELINES if name not in lacking]


def tables(screen: Screen) -> dict[str, pd.DataFrame]:
    """Return the tables of features that need no training, by name: a row a field."""
    statistics = statistics_table(screen)
    return {STATISTICS: statistics, HANDCRAFTED: screen.features, BOTH: pd.concat([statistics, screen.features], axis=1)}


def statistics_table(screen: Screen) -> pd.DataFrame:
    """Return the pixel statistics as Image_Pixels_001, ..., a row a field."""
    assert screen.statistics_SD is not None
    names = [f"{PIXELS}{number:03d}" for number in range(1, screen.statistics_SD.shape[1] + 1)]
    return pd.DataFrame(screen.statistics_SD, columns=names)


def align(table: SiteTable, features: pd.DataFrame) -> pd.DataFrame:
    """Return the features of a table's sites, in its order.

    features: as `mscnn features` writes them; sites are found by plate, well and site.  Raises DataError naming
    sites that are missing or there twice.
    """
    wanted = pd.MultiIndex.from_frame(identity.normal_table(table.frame, {role: role for role in PUBLIC_SITE}))
    known = pd.MultiIndex.from_frame(identity.normal_table(features, PUBLIC_SITE))
    if (is_twice := known.duplicated() & known.isin(wanted)).any():
        twice = features.loc[is_twice, list(PUBLIC_SITE.values())].drop_duplicates().astype(str)
        raise DataError("features hold more than one row of a site; give each site of the table a number of its own",
                        sorted(" ".join(site) for site in twice.to_numpy()))
    places = known.get_indexer(wanted)
    if missing := [table.name(site) for site in np.flatnonzero(places < 0).tolist()]:
        raise DataError(f"features lack {len(missing)} of {len(wanted)} sites; write them for the same table with "
                        "`mscnn features`", missing)
    return features.iloc[places].filter(regex=f"^{PREFIX}").reset_index(drop=True)


def _fit_and_predict(baseline: Baseline, inputs: pd.DataFrame | np.ndarray | pd.Series, mechanisms_S: np.ndarray,
                     fold: Fold, classes: list[str]) -> np.ndarray:
    train, test = fold
    rows = inputs.iloc if isinstance(inputs, pd.DataFrame | pd.Series) else inputs
    several = len(set(mechanisms_S[train])) > 1  # a regression of a single class cannot be fitted
    model = (baseline.model if several else _most_frequent)().fit(rows[train], mechanisms_S[train])
    probabilities = pd.DataFrame(model.predict_proba(rows[test]), columns=model.classes_)
    return probabilities.reindex(columns=classes, fill_value=0.0).to_numpy()


def _nothing(screen: Screen) -> np.ndarray:
    return np.zeros((len(screen.table), 1))


def _wells(screen: Screen) -> pd.DataFrame:
    """Return well, row and column: B02 -> B02, B, 02."""
    well = screen.table.frame["well"]
    return pd.concat([well, well.str.extract(r"^(?P<row>\D*)(?P<column>.*)$")], axis=1)


def _plate_brightness(screen: Screen) -> pd.DataFrame:
    """Return the mean over a plate's fields of each channel's mean and sd; few compounds on a plate show in it."""
    return _of_kinds(screen, "Mean|Sd").groupby(screen.table.frame["plate"].to_numpy()).transform("mean")


def _file_names(screen: Screen) -> pd.Series:
    """Return the base name of each field's first file."""
    return screen.table.frame["files"].map(lambda sources: show_source(without_folders(sources[0])))


def _of_kinds(screen: Screen, kinds: str) -> pd.DataFrame:
    """Return the handcrafted features of some kinds, a regular expression."""
    return screen.features.filter(regex=f"^{PREFIX}({kinds})_")


def _most_frequent() -> DummyClassifier:
    """Return a classifier that predicts the largest class of the training side."""
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
    """Return a classifier by the nearest field; of equally near fields, by the first in the table."""
    return make_pipeline(StandardScaler(), KNeighborsClassifier(1, algorithm="brute"))


def _letters() -> Pipeline:
    return make_pipeline(TfidfVectorizer(analyzer="char", ngram_range=(3, 5)), _regression())


UNTRAINED = "untrained network"
HANDCRAFTED, STATISTICS, BOTH = "handcrafted features", "pixel statistics", "both tables"
SHORTCUTS = {
    "largest class": Baseline(_nothing, _most_frequent),
    "week only": Baseline(lambda screen: screen.table.frame[["week"]], _one_hot),
    "well position only": Baseline(_wells, _one_hot),
    "plate brightness only": Baseline(_plate_brightness, _nearest),
    "file name only": Baseline(_file_names, _letters),
    "row order only": Baseline(lambda screen: np.arange(len(screen.table))[:, None], _nearest),
}
REAL = {
    "cell count and histogram": Baseline(lambda screen: _of_kinds(screen, "Nucleus.*|Percentile"), _scaled),
    HANDCRAFTED: Baseline(lambda screen: screen.features, _scaled),
    f"{HANDCRAFTED}, LDA": Baseline(lambda screen: screen.features, _discriminant),
    f"{STATISTICS}, LDA": Baseline(statistics_table, _discriminant),
    f"{BOTH}, LDA": Baseline(lambda screen: tables(screen)[BOTH], _discriminant),
    UNTRAINED: Baseline(lambda screen: screen.untrained_SF, _scaled),
}
BASELINES = SHORTCUTS | REAL
