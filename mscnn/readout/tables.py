"""What read-outs are fitted to: the features of sites, in one or two tables, and what is known of each site.

Shapes: S sites, D features of all tables together.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mscnn.core import identity

NETWORK, STATISTICS = "network", "statistics"
# Names of features of the network, and of statistics of its input.  Image_ is where pycytominer looks for features.
EMBEDDING, PIXELS = "Image_MCNN_Emb_", "Image_Pixels_"
UNKNOWN = -1  # label of a site whose mechanism is not known, or is none of the classes


@dataclass(frozen=True)
class SiteFacts:
    """What is known of each site."""

    labels_S: np.ndarray      # number of the mechanism among the classes; UNKNOWN
    compounds_S: np.ndarray   # text, in normal form
    plates_S: np.ndarray      # text, in normal form
    wells_S: np.ndarray       # text, in normal form
    is_control_S: np.ndarray  # bool: untreated wells

    def select(self, sites: np.ndarray) -> "SiteFacts":
        """Return the facts of the sites at a boolean mask or at positions."""
        return SiteFacts(self.labels_S[sites], self.compounds_S[sites], self.plates_S[sites], self.wells_S[sites],
                         self.is_control_S[sites])


@dataclass(frozen=True)
class Features:
    """The features of sites: tables side by side, the same columns in fitting and in prediction."""

    columns: dict[str, list[str]]  # by table, NETWORK or STATISTICS, the names of its features, in order
    values_SD: np.ndarray          # float64, finite

    def __post_init__(self):
        assert sum(map(len, self.columns.values())) == self.values_SD.shape[1], "a name a column"

    def select(self, sites: np.ndarray) -> "Features":
        """Return the features of the sites at a boolean mask or at positions."""
        return Features(self.columns, self.values_SD[sites])


def side_by_side(columns: dict[str, list[str]], network_SF: np.ndarray, statistics_SD: np.ndarray) -> Features:
    """Return the features of the network and the statistics of the same sites, as a read-out takes them."""
    return Features(columns, np.hstack([roots(network_SF), statistics_SD]))


def roots(network_SF: np.ndarray) -> np.ndarray:
    """Return the square roots of a network's features, with their sign: activations of a ReLU have long tails."""
    return np.sign(network_SF) * np.sqrt(np.abs(network_SF.astype(np.float64)))


def facts_of(frame: pd.DataFrame, is_control_S: np.ndarray, classes: list[str]) -> SiteFacts:
    """Return the facts of sites.  frame: a row a site, with mechanism, compound, plate and well."""
    numbers = {name: number for number, name in enumerate(classes)}
    forms = identity.normal_table(frame, {role: role for role in ("compound", "plate", "well")})
    return SiteFacts(frame["mechanism"].map(numbers).fillna(UNKNOWN).to_numpy(int),
                     forms["compound"].to_numpy(str), forms["plate"].to_numpy(str), forms["well"].to_numpy(str),
                     np.asarray(is_control_S, bool))


def places(columns: dict[str, list[str]], tables: tuple[str, ...]) -> np.ndarray:
    """Return the positions of the features of some tables, in the order of the columns."""
    of_tables = np.repeat(list(columns), [len(names) for names in columns.values()])
    return np.flatnonzero(np.isin(of_tables, tables))
