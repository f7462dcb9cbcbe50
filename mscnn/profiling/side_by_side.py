"""Several tables of profiles on the same treatments: each number of each table, and differences in pairs over compounds.

mscnn score ONE.parquet OTHER.csv ...
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mscnn.core import identity
from mscnn.core.errors import DataError
from mscnn.core.records import Count, Record
from mscnn.core.words import counted
from mscnn.profiling import profile_numbers, resampling, score_table
from mscnn.profiling.profile_table import ProfileTable
from mscnn.profiling.replicates import BY_DISTANCE, TREATMENT
from mscnn.profiling.resampling import Difference, Interval
from mscnn.profiling.score_table import TableScores


@dataclass(frozen=True)
class ComparedValue(Record):
    """A number of one table, beside the first table's."""

    value: float | None              # None where the table has none
    interval: Interval | None = None
    difference: Difference | None = None  # from the first table, over compounds in pairs; None where it cannot be had


@dataclass(frozen=True)
class SideBySide(Record):
    """Tables of profiles, scored on the treatments that all of them hold."""

    tables: list[str]                          # names; the first is what the others are compared with
    treatments: Count                          # that all tables hold
    left_out: dict[str, int]                   # {name: treatments that another table lacks}
    numbers: dict[str, list[ComparedValue]]    # {number: of each table}


def on_same_treatments(tables: dict[str, ProfileTable], control: str) -> tuple[dict[str, ProfileTable], dict[str, int]]:
    """Return the rows of treatments that all tables hold, and of the control; and how many others each table has.

    Treatments are matched by compound, in any spelling, and concentration.  A mechanism that one table lacks is another's.
    Raises DataError where no treatment is common, and for treatments whose mechanism differs between tables.
    """
    keys = {name: _keys(table) for name, table in tables.items()}
    treated = {name: keys[name][~table.is_control(control)] for name, table in tables.items()}
    common = pd.MultiIndex.from_frame(next(iter(treated.values())))
    for of_table in treated.values():
        common = common.intersection(pd.MultiIndex.from_frame(of_table))
    if not len(common):
        compounds = [set(of_table[TREATMENT[0]]) for of_table in treated.values()]
        raise DataError("the tables have no treatment in common: " + (
            "compounds agree, concentrations do not; give all tables one unit" if set.intersection(*compounds) else
            "their compounds differ; give tables of one screen"),
                        [f"{name}: {', '.join(sorted(set(of_table['Metadata_Compound']))[:5])} ..."
                         for name, of_table in treated.items()])
    _require_same_mechanisms(tables, keys, common)
    tables = _with_mechanisms(tables, keys)
    chosen = {name: table.select(pd.MultiIndex.from_frame(keys[name]).isin(common) | table.is_control(control))
              for name, table in tables.items()}
    return chosen, {name: len(of_table.drop_duplicates()) - len(common.unique()) for name, of_table in treated.items()}


def score(tables: dict[str, ProfileTable], *, control: str, seed: int,
          **options: Any) -> tuple[dict[str, TableScores], SideBySide]:
    """Score each table as score_table.score does, several of them on the same treatments, and side by side.

    tables: emptied as they are scored, so that their memory is free.  options: of score_table.score.
    """
    left_out: dict[str, int] = {}
    if len(tables) > 1:
        chosen, left_out = on_same_treatments(tables, control)
        tables |= chosen
    scores = {name: score_table.score(tables.pop(name), control=control, seed=seed, **options) for name in list(tables)}
    return scores, compare(scores, left_out, seed=seed)


def compare(scores: dict[str, TableScores], left_out: dict[str, int], *, seed: int = 0) -> SideBySide:
    """Return the numbers that a table has, beside each other; scores: of the tables that on_same_treatments returns."""
    numbers: dict[str, list[ComparedValue]] = {}
    found = {name: {**dict(_matched(one)), **dict(_measured(one))} for name, one in scores.items()}
    first = next(iter(found.values()))
    for number in dict.fromkeys(number for of_table in found.values() for number in of_table):
        numbers[number] = []
        for of_table in found.values():
            value, interval, of_treatments = of_table.get(number, (None, None, None))
            paired = None if of_table is first else _difference(of_treatments, first.get(number, (None,) * 3)[2], seed)
            numbers[number].append(ComparedValue(value, interval, paired))
    numbers = {number: values for number, values in numbers.items() if any(value.value is not None for value in values)}
    treatments = next((len(one.treatments) for one in scores.values()), 0)
    return SideBySide(list(scores), treatments, left_out, numbers)


def lines(found: SideBySide) -> Iterator[str]:
    """Yield the lines that a console shows: a row a number, a column a table, and differences from the first table."""
    yield f"{counted(found.treatments, 'treatment')} with a mechanism in all of {len(found.tables)} tables" + "".join(
        f"; {number} more in {name} are left out" for name, number in found.left_out.items() if number)
    names = [name[:24] for name in found.tables]
    yield f"{'':46}" + "".join(f"{name:>26}" for name in names)
    for number, values in found.numbers.items():
        yield f"{number:46}" + "".join(f"{_shown(value):>26}" for value in values)
    yield f"in brackets: difference from {found.tables[0]}, 95 % interval over compounds in pairs"


Number = tuple[float | None, Interval | None, "pd.Series | None"]  # value, interval, values by (compound, concentration)


def _matched(one: TableScores) -> Iterator[tuple[str, Number]]:
    """Yield the numbers of matching, with their values of each treatment."""
    for protocol, title in (("nsc", "other compounds"), ("nscb", "other batches")):
        score = getattr(one, protocol)
        if score is None:
            continue
        rows = [row for row in one.treatments if row.counts and getattr(row, protocol).scorable]
        index = _index([row.compound for row in rows], [row.concentration for row in rows])
        ranked = score.mean_average_precision
        yield f"mAP, {title}", (ranked.mean, ranked.interval, pd.Series(
            [getattr(row, protocol).average_precision for row in rows], index, dtype=float))
        share = score.correct / score.total if score.total else None
        yield f"{protocol.upper()}, share right", (share, score.interval, pd.Series(
            [getattr(row, protocol).right for row in rows], index, dtype=float))
        if protocol == "nsc":
            yield from ((f"recall at {recall.k}, {title}", (recall.mean, recall.interval, None)) for recall in score.recall)


def _measured(one: TableScores) -> Iterator[tuple[str, Number]]:
    """Yield the numbers of profile_numbers.py."""
    if one.numbers is None:
        return
    activity, hits = one.numbers.activity, one.tables[profile_numbers.HITS]
    of_controls = f"against controls, chance {activity.chance or 0:.2f}"  # another chance: other rankings
    if activity.treatments:
        ranked = hits[hits["Mean_Average_Precision"].notna()]
        yield f"mAP {of_controls}", (activity.mean_average_precision, activity.interval, pd.Series(
            ranked["Mean_Average_Precision"].to_numpy(float), _of(ranked)))
    if activity.judged:
        tested = hits[hits["P_Value"].notna()]
        test = "by distance from controls" if activity.test == BY_DISTANCE else of_controls
        yield f"active {test}", (activity.active / activity.judged, None, pd.Series(
            tested["Active"].to_numpy(float), _of(tested)))
    if activity.positions.groups:
        share = activity.positions.active / activity.positions.groups
        yield "active by position, share", (share, None, None)
    for when, probes in (("", one.numbers.probes), (", uncorrected", one.numbers.probes_before)):
        for probe in probes:
            if probe.balanced_accuracy is not None:
                yield (f"{probe.what} of {probe.wells} wells{when}, chance {probe.chance:.2f}",
                       (probe.balanced_accuracy, probe.interval, None))
    if one.numbers.known.auc is not None:
        yield "known or new mechanism, AUC", (one.numbers.known.auc, one.numbers.known.interval, None)
    if one.numbers.clusters.clusters:
        yield "stable clusters, share", (one.numbers.clusters.stable / len(one.numbers.clusters.clusters), None, None)


def _of(hits: pd.DataFrame) -> pd.MultiIndex:
    """Return an index of the treatments of a list."""
    return _index(hits[TREATMENT[0]].to_list(), hits[TREATMENT[1]].to_list())


def _index(compounds: list[str], doses: list) -> pd.MultiIndex:
    """Return an index of treatments, in whatever spelling."""
    return pd.MultiIndex.from_arrays([list(map(identity.normal_form, compounds)), list(map(str, doses))], names=TREATMENT)


def _difference(ours: pd.Series | None, theirs: pd.Series | None, seed: int) -> Difference | None:
    """Return the difference of two means over the treatments that both have; None without any."""
    if ours is None or theirs is None:
        return None
    both = pd.concat({side: values.groupby(level=[0, 1]).mean() for side, values in (("ours", ours), ("theirs", theirs))},
                     axis=1).dropna()
    if both.empty:
        return None
    by_compound = both.groupby(level=0).agg(["sum", "size"])
    return resampling.difference(by_compound["ours", "sum"].to_numpy(), by_compound["theirs", "sum"].to_numpy(),
                                 by_compound["ours", "size"].to_numpy(), seed=seed)


def _shown(value: ComparedValue) -> str:
    if value.value is None:
        return "-"
    if value.difference is None:
        return f"{value.value:.3f}"
    return f"{value.value:.3f} [{value.difference.low:+.3f}, {value.difference.high:+.3f}]"


def _keys(table: ProfileTable) -> pd.DataFrame:
    """Return compound in normal form, and concentration, of each row."""
    return pd.DataFrame({TREATMENT[0]: identity.normal_forms(table.metadata[TREATMENT[0]], "compound").to_numpy(),
                         TREATMENT[1]: table.metadata[TREATMENT[1]].astype(str).to_numpy()})


def _require_same_mechanisms(tables: dict[str, ProfileTable], keys: dict[str, pd.DataFrame], common: pd.MultiIndex) -> None:
    named = pd.concat([keys[name].assign(table=name, mechanism=identity.normal_forms(
        table.metadata["Metadata_MOA"], "mechanism").to_numpy(), shown=table.metadata["Metadata_MOA"].to_numpy())
        for name, table in tables.items()]).drop_duplicates()
    named = named[pd.MultiIndex.from_frame(named[TREATMENT]).isin(common) & (named["mechanism"] != "")]
    counts = named.groupby(TREATMENT)["mechanism"].nunique()
    if len(apart := counts[counts > 1]):
        rows = named.set_index(TREATMENT).loc[apart.index]
        raise DataError("mechanisms of treatments differ between the tables; give all tables the same Metadata_MOA",
                        [f"{compound} {dose}: {'; '.join(sorted(set(group['shown'] + ' (' + group['table'] + ')')))}"
                         for (compound, dose), group in rows.groupby(level=[0, 1])])


def _with_mechanisms(tables: dict[str, ProfileTable], keys: dict[str, pd.DataFrame]) -> dict[str, ProfileTable]:
    """Return the tables, a treatment without a mechanism with that which another table gives it."""
    given = pd.concat([keys[name].assign(mechanism=table.metadata["Metadata_MOA"].to_numpy())
                       for name, table in tables.items()])
    given = given[given["mechanism"] != ""].drop_duplicates(TREATMENT).set_index(TREATMENT)["mechanism"]
    found = {}
    for name, table in tables.items():
        own = table.metadata["Metadata_MOA"]
        known = pd.Series(given.reindex(pd.MultiIndex.from_frame(keys[name])).fillna("").to_numpy(), own.index)
        metadata = table.metadata.assign(Metadata_MOA=own.where(own != "", known))
        found[name] = ProfileTable(metadata, table.features_SF, table.names)
    return found
