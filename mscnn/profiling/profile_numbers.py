"""What profiles say of a screen beside matching: activity, probes of batch and position, known mechanisms, clusters.

   mscnn score PROFILES, and every evaluation

Shapes: T treatments, F features.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from mscnn.core.records import Record
from mscnn.core.words import counted
from mscnn.profiling import clusters, distance_activity, known, probes, replicates, treatment_profiles
from mscnn.profiling.clusters import STABLE, ClusterSummary
from mscnn.profiling.correction import Correction
from mscnn.profiling.known import KnownScore
from mscnn.profiling.probes import Probe
from mscnn.profiling.profile_table import PLACES, ProfileTable
from mscnn.profiling.replicates import BY_DISTANCE, BY_REPLICATES, LIMIT, TREATMENT, Activity
from mscnn.profiling.resampling import Interval

HITS, NEAREST, CLUSTERS = "hits.csv", "nearest.csv", "clusters.csv"
LISTS = {HITS: replicates.COLUMNS, NEAREST: known.COLUMNS, CLUSTERS: clusters.COLUMNS}  # columns of each list
ADDED = {"Test"}  # columns that files of earlier versions lack
TEXT = {"Metadata_Compound", "Metadata_MOA", "Nearest_Compound", "Nearest_MOA", "Active", "Test"}  # all others hold numbers
ACTIVE, BY_POSITION, CLUSTERED = "active treatments", "active by position", "clusters"
KNOWN, NEAREST_KNOWN = "known or new mechanism", "nearest known compounds"
ODD = 5  # columns that are named as features, where no other column is named alike


@dataclass(frozen=True)
class ProfileNumbers(Record):
    """The numbers of a table of profiles."""

    correction: Correction
    activity: Activity
    probes: list[Probe]         # of the corrected profiles
    probes_before: list[Probe]  # of the profiles as they were; empty where no control wells corrected them
    known: KnownScore
    clusters: ClusterSummary
    nearest_note: str = ""      # why no nearest known compounds are listed
    table_note: str = ""        # what to know of the rows and columns

    @property
    def says_something(self) -> bool:
        """Whether any treatment was tested or clustered."""
        return bool(self.activity.judged or self.clusters.clusters)


@dataclass(frozen=True)
class Measured:
    """The numbers of a table of profiles, and its lists for the scientist."""

    numbers: ProfileNumbers
    tables: dict[str, pd.DataFrame]  # by file name: HITS, NEAREST, CLUSTERS
    first: pd.DataFrame              # nearest known compound of each treatment, as known.KnownComparison holds it


def measure(before: ProfileTable, corrected: ProfileTable, correction: Correction, control: str, *,
            aggregate_wells: str = "mean", aggregate_treatments: str = "median", draws: int = 2000,
            seed: int = 0) -> Measured:
    """Return the numbers of profiles of fields or wells; what cannot be had has a note instead.

    before, corrected: the same rows, without and with the correction.  draws: of compounds, for intervals.
    """
    wells = treatment_profiles.wells(corrected, aggregate_wells)
    uncorrected = treatment_profiles.wells(before, aggregate_wells)
    activity, hits = distance_activity.choose(*replicates.activity(wells, control, seed=seed), uncorrected, control)
    frame, profiles_TF = treatment_profiles.of_wells(wells, control, aggregate_treatments)
    compared = known.compare_with_known(frame, profiles_TF, draws=draws, seed=seed)
    chosen_T = _to_cluster(frame, hits)
    clustering = clusters.cluster_treatments(frame[chosen_T], profiles_TF[chosen_T], seed=seed)
    is_fitted = correction.rows > 0  # else probes read the same: they scale features themselves
    read = partial(probes.probes, control=control, is_fitted=is_fitted, seed=seed)
    numbers = ProfileNumbers(correction, activity, read(wells), read(uncorrected) if is_fitted else [], compared.score,
                             clustering.summary, compared.note, _table_note(before))
    return Measured(numbers, {HITS: hits, NEAREST: compared.nearest, CLUSTERS: clustering.table}, compared.first)


def _to_cluster(frame: pd.DataFrame, hits: pd.DataFrame) -> np.ndarray:
    """Return the treatments to cluster, (T,) bool: the active ones, or all where none could be told to be active."""
    active = hits[hits["Active"]]
    if not len(active):
        return np.ones(len(frame), bool)
    return pd.MultiIndex.from_frame(frame[TREATMENT]).isin(pd.MultiIndex.from_frame(active[TREATMENT]))


def _table_note(table: ProfileTable) -> str:
    """Return what readers of numbers must know of the rows and columns of a table."""
    metadata, said = table.metadata, []
    if lacking := [name for name in PLACES if name not in metadata or (metadata[name] == "").all()]:
        said.append(f"no {' and '.join(lacking)}: each row counts as a well, and fields of one well pose as replicates")
    elif number := int((metadata[list(PLACES)] == "").any(axis=1).sum()):
        said.append(f"{counted(number, 'row')} without {' or '.join(PLACES)}: each counts as a well; fill them in")
    doses = metadata["Metadata_Concentration"].isna().groupby(metadata["Metadata_Compound"]).nunique()
    if several := int((doses > 1).sum()):
        said.append(f"{counted(several, 'compound')} with concentrations in some rows only: rows without one count as "
                    "one treatment")
    stems = pd.Series([re.split(r"[\W_\d]", name)[0] for name in table.names], index=table.names)
    odd = [name for name, stem in stems.items() if (stems == stem).sum() == 1]
    if 0 < len(odd) <= min(ODD, len(stems) // 2):
        said.append(f"{', '.join(map(str, odd))} are features, too; --features names the prefixes of features")
    return "; ".join(said)


def lines(numbers: ProfileNumbers) -> Iterator[str]:
    """Yield the lines that a console shows: the numbers, and why others cannot be had."""
    activity, positions, score, found = numbers.activity, numbers.activity.positions, numbers.known, numbers.clusters
    if not numbers.correction.is_none:
        yield _line("corrected", str(numbers.correction))
    yield from _activity(activity)
    if positions.groups:
        test = "the same test" if activity.test == BY_REPLICATES else "replicates"
        yield _line(BY_POSITION, f"{positions.active:4d}/{positions.groups:<4d} groups of {positions.replicates} control "
                    f"wells at one position, by {test}; mAP {positions.mean_average_precision:.3f}, chance "
                    f"{positions.chance:.3f}")
    before = {probe.what: probe for probe in numbers.probes_before}
    yield from (_line(f"{probe.what} from profiles", _probe(probe, before.get(probe.what))) for probe in numbers.probes
                if probe.balanced_accuracy is not None)
    if score.auc is not None and score.interval:
        yield _line(KNOWN, f"AUC {score.auc:.3f}, {_interval(score.interval)}; {score.left_out} compounds left out with "
                    "their mechanism")
    if found.clusters:
        yield _line(CLUSTERED, f"{len(found.clusters):4d}, of {found.treatments} treatments; {found.stable} stable "
                    f"(Jaccard {STABLE} or more); silhouette {found.silhouette:.2f}")
    yield from (_line(what, f"note: {note}") for what, note in notes(numbers))


def notes(numbers: ProfileNumbers) -> Iterator[tuple[str, str]]:
    """Yield numbers that cannot be had and why, or what to know of them."""
    said = {"table": numbers.table_note, ACTIVE: numbers.activity.note, BY_POSITION: numbers.activity.positions.note,
            **{f"{probe.what} from profiles": probe.note for probe in numbers.probes},
            KNOWN: numbers.known.note, NEAREST_KNOWN: numbers.nearest_note, CLUSTERED: numbers.clusters.note}
    yield from ((what, note) for what, note in said.items() if note)


def _activity(activity: Activity) -> Iterator[str]:
    """Yield how many treatments are active, by which test, and how alike replicates are."""
    alike = "" if activity.mean_average_precision is None or activity.interval is None else (
        f"mAP against {activity.negatives} {activity.mean_average_precision:.3f}, {_interval(activity.interval)}, chance "
        f"{activity.chance:.3f}")
    active = f"{activity.active:4d}/{activity.judged:<4d} with q < {LIMIT}"
    if activity.test == BY_DISTANCE:
        yield _line(ACTIVE, f"{active}, by distance from control wells")
    elif alike:
        yield _line(ACTIVE, f"{active}; {alike}")
    if activity.test == BY_DISTANCE and alike:
        yield _line("replicates", alike)


def _line(what: str, found: str) -> str:
    return f"{what:24} {found}"


def _probe(probe: Probe, before: Probe | None) -> str:
    """Return what a probe reads, in words."""
    assert probe.interval is not None
    earlier = "" if before is None or before.balanced_accuracy is None else f" (before: {before.balanced_accuracy:.2f})"
    return (f"balanced accuracy {probe.balanced_accuracy:.2f}{earlier}, chance {probe.chance:.2f}, "
            f"{_interval(probe.interval)}; {probe.classes} classes in {probe.rows} {probe.wells} wells")


def _interval(interval: Interval) -> str:
    return f"95 % interval {interval.low:.2f} to {interval.high:.2f}"
