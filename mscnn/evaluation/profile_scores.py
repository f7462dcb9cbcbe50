"""What the profiles of an evaluation say of its screen: the network's, and statistics where a read-out reads them.

The numbers are those of `mscnn score`, side by side.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mscnn.core import csv_safe, files, foreign_table
from mscnn.core.errors import DataError
from mscnn.core.logs import log
from mscnn.core.record_files import read_json
from mscnn.core.records import Record
from mscnn.evaluation import known_profiles
from mscnn.evaluation.decisions import Evidence
from mscnn.evaluation.results import PROFILE_SCORES
from mscnn.profiling import correction, profile_table, side_by_side
from mscnn.profiling.known import KnownComparison
from mscnn.profiling.profile_numbers import ADDED, HITS, LISTS, NEAREST, TEXT, ProfileNumbers
from mscnn.profiling.profile_table import ProfileTable
from mscnn.profiling.protocol import ProtocolScore
from mscnn.profiling.replicates import BY_REPLICATES
from mscnn.profiling.score_table import TableScores
from mscnn.profiling.side_by_side import SideBySide

NETWORK, STATISTICS = "network", "statistics"
DRAWS = 1000  # of compounds and of labels


@dataclass(frozen=True)
class MeasuredProfiles(Record):
    """The numbers of one table of profiles."""

    numbers: ProfileNumbers
    nsc: ProtocolScore | None   # None where fewer than two compounds have a mechanism
    nscb: ProtocolScore | None  # None, too, where no week is known


@dataclass(frozen=True)
class ProfileScores(Record):
    """Tables of profiles of an evaluation: profile_scores.json."""

    tables: dict[str, MeasuredProfiles]  # by name, the network first
    side_by_side: SideBySide


def write(profiles: pd.DataFrame, statistics: pd.DataFrame | None, control: str, out: Path, *, aggregate_wells: str,
          aggregate_treatments: str, seed: int, reference: ProfileTable | None = None) -> Evidence:
    """Score the profiles of an evaluation, and write profile_scores.json and the lists of the network's profiles.

    profiles, statistics: a row a field, as Evaluation holds them.  Profiles are scaled by the control wells of each plate
    (median and MAD) where all plates have enough of them, else over all fields.  reference: known wells of the training,
    with which treatments of another screen are compared, too.  What cannot be scored is a warning: the evaluation is whole
    without.  Returns what the profiles say of each treatment.
    """
    compared = None if reference is None else _compare(profiles, reference, control, aggregate_wells, aggregate_treatments,
                                                       seed)
    try:
        tables = {NETWORK: profile_table.from_frame(profiles, NETWORK)}
        if statistics is not None:
            tables[STATISTICS] = profile_table.from_frame(statistics, STATISTICS)
        normalise = "mad" if correction.has_controls(tables[NETWORK], control) else "standard"
        scores, beside = side_by_side.score(
            tables, control=control, seed=seed, similarity="cosine", normalise=normalise, sphere=False,
            aggregate_wells=aggregate_wells, aggregate_treatments=aggregate_treatments, taxol_controls="drop",
            bootstrap=DRAWS, permutations=DRAWS)
    except DataError as problem:
        log.warning("profiles are not scored: %s", why := str(problem).splitlines()[0])
        if compared is None:
            return Evidence(activity_note=why, known_note=why)
        csv_safe.write_csv(compared.nearest, out / NEAREST)
        return Evidence(None, compared.first, why, compared.note, least_p=1 / (1 + compared.score.left_out))
    if compared is not None:
        scores[NETWORK] = _with_training(scores[NETWORK], compared)
    network = scores[NETWORK]
    for name, table in network.tables.items():
        csv_safe.write_csv(table, out / name)
    found = ProfileScores({name: MeasuredProfiles(one.numbers, one.nsc, one.nscb) for name, one in scores.items()
                           if one.numbers}, beside)
    files.write_json(out / PROFILE_SCORES, found.to_json())
    assert network.numbers is not None
    activity, of_known = network.numbers.activity, network.numbers.known
    return Evidence(network.tables[HITS], network.first, activity.note, of_known.note, activity.can_decide,
                    1 / (1 + of_known.left_out))


def _compare(profiles: pd.DataFrame, reference: ProfileTable, control: str, aggregate_wells: str, aggregate_treatments: str,
             seed: int) -> KnownComparison | None:
    """Return the comparison with the known compounds of the training; None, and a warning, where it cannot be had."""
    try:
        return known_profiles.compare(profile_table.from_frame(profiles, NETWORK), reference, control,
                                      aggregate_wells=aggregate_wells, aggregate_treatments=aggregate_treatments,
                                      draws=DRAWS, seed=seed)
    except DataError as problem:
        log.warning("treatments are not compared with the training's: %s", str(problem).splitlines()[0])
        return None


def _with_training(scores: TableScores, compared: KnownComparison) -> TableScores:
    """Return the scores of the network's profiles, what is said of known mechanisms by the training's compounds, too."""
    assert scores.numbers is not None
    numbers = replace(scores.numbers, known=compared.score, nearest_note=compared.note)
    return replace(scores, numbers=numbers, tables={**scores.tables, NEAREST: compared.nearest}, first=compared.first)


def read(folder: Path, remedy: str) -> tuple[ProfileScores | None, dict[str, pd.DataFrame]]:
    """Return the numbers of an evaluation's profiles, and its lists; none where they were not written. Raises DataError."""
    if not (folder / PROFILE_SCORES).exists():
        return None, {}
    found = read_json(folder / PROFILE_SCORES, ProfileScores, remedy)
    return found, {name: _read_list(folder / name, remedy) for name in LISTS if (folder / name).exists()}


def _read_list(path: Path, remedy: str) -> pd.DataFrame:
    """Read a list. Raises DataError for columns that lack, or hold other values."""
    table = foreign_table.read_csv(path, remedy, is_number=lambda name: name not in TEXT, missing=[""])
    table.require(*(name for name in LISTS[path.name] if name not in ADDED))
    found = pd.DataFrame({name: table.text(name) if name in TEXT else table.numbers(name) for name in LISTS[path.name]
                          if name in table.columns})
    if path.name == HITS and "Test" not in found:  # of earlier versions, which had one test
        found["Test"] = np.where(found["P_Value"].notna(), BY_REPLICATES, "")
    return csv_safe.unescape_table(found)
