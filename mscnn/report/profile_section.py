"""What the profiles of an evaluation say of its screen, as the report shows it."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from mscnn.evaluation.profile_scores import ProfileScores
from mscnn.profiling import profile_numbers
from mscnn.profiling.clusters import Cluster
from mscnn.profiling.profile_numbers import HITS, NEAREST
from mscnn.profiling.side_by_side import ComparedValue

MOST = 20  # rows of a list; the CSV file has all


@dataclass(frozen=True)
class ShownList:
    """The first rows of a list for the scientist."""

    file: str
    rows: list[dict[str, Any]]
    total: int


@dataclass(frozen=True)
class ShownProfiles:
    """Numbers of the tables of profiles, and lists of the network's."""

    names: list[str]                                 # of the tables
    correction: str                                  # what was done to the profiles first
    numbers: list[tuple[str, list[ComparedValue]]]   # a number, and its value in each table
    notes: list[tuple[str, str]]                     # tables, and why they lack a number or what to know of one
    hits: ShownList
    nearest: ShownList
    clusters: list[Cluster]          # at most MOST


def shown(scores: ProfileScores | None, lists: dict[str, pd.DataFrame]) -> ShownProfiles | None:
    """Return what the report shows; None without profiles that were scored."""
    if scores is None:
        return None
    first = next(iter(scores.tables.values())).numbers
    tables: dict[str, list[str]] = {}
    for name, table in scores.tables.items():
        for what, note in profile_numbers.notes(table.numbers):
            tables.setdefault(f"{what}: {note}", []).append(name)
    notes = [(", ".join(names), note) for note, names in tables.items()]
    hits = _first(lists, HITS) if first.activity.control_wells else ShownList(HITS, [], 0)  # else there is nothing to see
    return ShownProfiles(list(scores.tables), str(first.correction), list(scores.side_by_side.numbers.items()), notes,
                         hits, _first(lists, NEAREST), (first.clusters.clusters or [])[:MOST])


def _first(lists: dict[str, pd.DataFrame], name: str) -> ShownList:
    table = lists.get(name, pd.DataFrame())
    return ShownList(name, table.head(MOST).to_dict("records"), len(table))
