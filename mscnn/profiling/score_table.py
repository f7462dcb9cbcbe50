"""From a table of profiles to its scores: correct, aggregate, match, measure.  `mscnn score` and mscnn.score_profiles."""

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from mscnn.core.words import counted, examples
from mscnn.data.tables import bbbc021
from mscnn.profiling import correction, matching, profile_numbers, treatment_profiles
from mscnn.profiling.correction import Correction
from mscnn.profiling.matching import MatchedTreatment, MechanismCounts, ProfileScores, TreatmentCounts, Treatments
from mscnn.profiling.profile_numbers import ProfileNumbers
from mscnn.profiling.profile_table import ProfileTable
from mscnn.profiling.protocol import PROTOCOLS, MeanAveragePrecision, ProtocolScore
from mscnn.profiling.resampling import Interval, LabelPermutation
from mscnn.profiling.treatment_profiles import NothingToMatch

RANKED = {"nsc": "mAP   other compounds", "nscb": "mAP   of other batches"}  # protocols whose mAP a console shows
NAMED = 12  # treatments of a kind that a console names
MORE_MECHANISMS = ("fill in Metadata_MOA of more compounds, or write the profiles of all fields of a run: `mscnn evaluate "
                   "--profiles all`")


@dataclass(frozen=True, repr=False)
class TableScores:
    """Scores of a table of profiles; str() gives the lines that `mscnn score` logs."""

    scores: ProfileScores | None  # None where fewer than two compounds have a mechanism
    counts: TreatmentCounts       # rows and features of the table, and what became of them
    features: list[str]           # names of the columns that were compared
    numbers: ProfileNumbers | None = None                           # None where they were not asked for
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)  # hits, nearest known compounds, clusters, by file name
    note: str = ""                                                 # why nothing was matched
    first: pd.DataFrame | None = None  # nearest known compound of each treatment, as known.KnownComparison holds it

    @property
    def nsc(self) -> ProtocolScore | None:
        """Return the score where no neighbour is of the same compound."""
        return self.scores and self.scores.nsc

    @property
    def nscb(self) -> ProtocolScore | None:
        """Return the score where no neighbour is of the same compound or the same batch; None where no row has a batch."""
        return self.scores and self.scores.nscb

    @property
    def same_compound_allowed(self) -> ProtocolScore | None:
        """Return the score where any other treatment may be the neighbour."""
        return self.scores and self.scores.same_compound_allowed

    @property
    def mechanisms(self) -> list[MechanismCounts]:
        """Return the counts of each mechanism, in alphabetical order."""
        return self.scores.mechanisms if self.scores else []

    @property
    def treatments(self) -> list[MatchedTreatment]:
        """Return each treatment with its neighbours."""
        return self.scores.treatments if self.scores else []

    def lines(self) -> list[str]:
        """Return the lines that a console shows."""
        matched = lines(self.scores, self.counts) if self.scores else [_rows(self.counts), f"not matched: {self.note}"]
        return matched + (list(profile_numbers.lines(self.numbers)) if self.numbers else [])

    def notes(self) -> list[str]:
        """Return why numbers cannot be had, or what to know of them, a line each."""
        return [*([f"not matched: {self.note}"] if self.note else []),
                *(f"{protocol.upper()} not scored: {reason}" for protocol, reason in self.not_scored().items()),
                *(f"{what}: {note}" for what, note in (profile_numbers.notes(self.numbers) if self.numbers else []))]

    def not_scored(self) -> dict[str, str]:
        """Return by protocol why it has no score, and what to do about it."""
        return why_not_scored(self.scores, self.counts) if self.scores else {}

    def to_json(self) -> dict[str, Any]:
        """Return the scores as JSON holds them, without the tables."""
        return {"counted": self.counts.to_json(), "features": self.features,
                **(self.scores.to_json() if self.scores else {"note": self.note}),
                **({"not_scored": reasons} if (reasons := self.not_scored()) else {}),
                **({"numbers": self.numbers.to_json()} if self.numbers else {})}

    def __str__(self) -> str:
        return "\n".join(self.lines())

    __repr__ = __str__


def score(table: ProfileTable, *, similarity: str, normalise: str, sphere: bool, control: str, aggregate_wells: str,
          aggregate_treatments: str, taxol_controls: str, bootstrap: int, permutations: int, seed: int,
          numbers: bool = True) -> TableScores:
    """Match each treatment with its neighbours, and score the matches. Raises DataError for what cannot be scored.

    normalise: none; standard, as in correction.standardise; z, mad or percentile, as in correction.normalise_plates.
    sphere: as in correction.whiten, after it.
    taxol_controls: "drop" leaves BBBC021's taxol 0.3 uM control wells out; bootstrap, permutations: draws.
    numbers: also measure what profile_numbers.py does.
    """
    before, corrected, done = _corrected(table, normalise, sphere, control, taxol_controls)
    scores, counts, note = None, treatment_profiles.count(corrected, control), ""
    try:
        treatments, counts = treatment_profiles.treatments(corrected, control, well_rule=aggregate_wells,
                                                           treatment_rule=aggregate_treatments)
        scores = matching.score_profiles(treatments, similarity=similarity, draws=bootstrap, permutations=permutations,
                                         seed=seed)
    except NothingToMatch as problem:
        note = str(problem)
        if not numbers:
            raise
    if not numbers:
        return TableScores(scores, counts, corrected.names)
    measured = profile_numbers.measure(before, corrected, done, control, aggregate_wells=aggregate_wells,
                                       aggregate_treatments=aggregate_treatments, draws=bootstrap, seed=seed)
    reasons = why_not_scored(scores, counts) if scores else {}
    if (scores is None or len(reasons) == len(PROTOCOLS)) and not measured.numbers.says_something:
        raise NothingToMatch(note or f"nothing can be scored: {'; '.join(dict.fromkeys(reasons.values()))}")
    return TableScores(scores, counts, corrected.names, measured.numbers, measured.tables, note, measured.first)


def treatments_of(table: ProfileTable, *, normalise: str, sphere: bool, control: str, aggregate_wells: str,
                  aggregate_treatments: str, taxol_controls: str) -> tuple[Treatments, TreatmentCounts, list[str]]:
    """Return the profiles of treatments of a table, its counts, and the names of its features; the rest as in score."""
    _, corrected, _ = _corrected(table, normalise, sphere, control, taxol_controls)
    treatments, counts = treatment_profiles.treatments(corrected, control, well_rule=aggregate_wells,
                                                       treatment_rule=aggregate_treatments)
    return treatments, counts, corrected.names


def _corrected(table: ProfileTable, normalise: str, sphere: bool, control: str,
               taxol_controls: str) -> tuple[ProfileTable, ProfileTable, Correction]:
    """Return the rows that are scored, the same corrected, and what was done."""
    if taxol_controls == "drop" and (is_taxol := bbbc021.is_taxol_control(table.sites()).to_numpy()).any():
        table = table.select(~is_taxol)
    return table, *correction.correct(table, normalise=normalise, sphere=sphere, control=control)


def _rows(counts: TreatmentCounts) -> str:
    return (f"{counted(counts.rows, 'row')}, {counts.control:,} of control and {counts.unlabelled:,} without a mechanism; "
            f"{counted(counts.wells, 'well')}")


def why_not_scored(scores: ProfileScores, counts: TreatmentCounts) -> dict[str, str]:
    """Return by protocol why no treatment can be scored, and the remedy."""
    found = {}
    if not scores.nsc.total:
        found["nsc"] = f"no treatment that counts shares its mechanism with another compound; {MORE_MECHANISMS}"
    if scores.nscb is None:
        found["nscb"] = (f"{counted(counts.weekless, 'row')} of a known mechanism without a week or batch; fill in "
                         "Metadata_Week" if counts.weekless else
                         "no row has a week or batch (Metadata_Week, Metadata_Batch)")
    elif not scores.nscb.total:
        found["nscb"] = ("no treatment that counts shares its mechanism with a compound of another week or batch; "
                         + ("add those of another batch" if scores.nsc.total else MORE_MECHANISMS))
    if not scores.same_compound_allowed.total:
        found["same_compound_allowed"] = f"no treatment that counts shares its mechanism with another; {MORE_MECHANISMS}"
    return found


def lines(scores: ProfileScores, counts: TreatmentCounts) -> list[str]:
    """Return the lines that a console shows of the scores; counts: from treatment_profiles.treatments."""
    total = scores.nsc.of_all.total
    reasons = why_not_scored(scores, counts)
    shown = [f"{_rows(counts)}, {counted(total, 'treatment')}, {counted(counts.features, 'feature')}"]
    if scores.trained:
        shown.append(f"the network was trained on {len(scores.trained)} more: neighbours only, they do not count")
    for protocol, title in PROTOCOLS.items():
        score: ProtocolScore | None = getattr(scores, protocol)
        if score is None or protocol in reasons:
            shown.append(f"{title:24} not scored: {reasons[protocol]}")
            continue
        share = f"{100 * score.correct / score.total:5.1f}%"
        shown.append(f"{title:24} {score.correct:4d}/{score.total:<4d} {share}   "
                     + _chance(score.interval, score.permuted.over_compounds, 100, ".0f", " %"))
        if score.unscorable:
            shown.append(f"      {score.correct}/{total} with {len(score.unscorable)} unscorable ones counted wrong: "
                         f"{_some(score.unscorable)}")
        shown += [f"      tie: {tie.treatment} is equally near to {_some(tie.neighbours)}" for tie in score.ties[:NAMED]]
        if len(score.ties) > NAMED:
            shown.append(f"      tie: {len(score.ties) - NAMED} more treatments")
    for protocol, title in RANKED.items():
        score = getattr(scores, protocol)
        if score and score.mean_average_precision.mean is not None:
            ranked: MeanAveragePrecision = score.mean_average_precision
            shown.append(f"{title:24} {ranked.mean:9.3f}          "
                         + _chance(ranked.interval, ranked.permuted.over_compounds, 1, ".2f", ""))
    if recalls := [recall for recall in scores.nsc.recall if recall.mean is not None]:
        shown.append(f"{'recall other compounds':24} " + ", ".join(
            f"at {recall.k} {recall.mean:.3f}" + ("" if (null := recall.permuted.over_compounds).mean is None
                                                  else f" (permuted {null.mean:.3f})") for recall in recalls))
    return shown


def _some(names: list[str]) -> str:
    return examples(names, NAMED, "; ")


def _chance(interval: Interval, null: LabelPermutation, factor: int, form: str, unit: str) -> str:
    """Return the interval and the null distribution of a share in words."""
    words = (f"95 % interval over {counted(interval.compounds, 'compound')}: {factor * interval.low:{form}} to "
             f"{factor * interval.high:{form}}{unit}")
    return words if null.p is None or null.mean is None else (
        f"{words}; permuted labels: {factor * null.mean:{form}}{unit}, p {null.p:.2g}")
