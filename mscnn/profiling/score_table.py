"""From a table of profiles to its scores: normalise, sphere, aggregate, match.  `mscnn score` and mscnn.score_profiles."""

from dataclasses import dataclass

from mscnn.data.tables import bbbc021
from mscnn.profiling import correction, matching, treatment_profiles
from mscnn.profiling.matching import (
    MatchedTreatment,
    MechanismCounts,
    ProfileScores,
    TreatmentCounts,
    Treatments,
)
from mscnn.profiling.profile_table import ProfileTable
from mscnn.profiling.protocol import PROTOCOLS, MeanAveragePrecision, ProtocolScore
from mscnn.profiling.resampling import Interval, LabelPermutation

RANKED = {"nsc": "mAP   other compounds", "nscb": "mAP   of other batches"}  # protocols whose mAP a console shows


@dataclass(frozen=True, repr=False)
class TableScores:
    """Scores of a table of profiles; str() gives the lines that `mscnn score` logs."""

    scores: ProfileScores
    counts: TreatmentCounts  # rows and features of the table, and what became of them
    features: list[str]      # names of the columns that were compared

    @property
    def nsc(self) -> ProtocolScore:
        """Return the score where no neighbour is of the same compound."""
        return self.scores.nsc

    @property
    def nscb(self) -> ProtocolScore | None:
        """Return the score where no neighbour is of the same compound or the same batch; None where no row has a batch."""
        return self.scores.nscb

    @property
    def same_compound_allowed(self) -> ProtocolScore:
        """Return the score where any other treatment may be the neighbour."""
        return self.scores.same_compound_allowed

    @property
    def mechanisms(self) -> list[MechanismCounts]:
        """Return the counts of each mechanism, in alphabetical order."""
        return self.scores.mechanisms

    @property
    def treatments(self) -> list[MatchedTreatment]:
        """Return each treatment with its neighbours."""
        return self.scores.treatments

    def lines(self) -> list[str]:
        """Return the lines that a console shows."""
        return lines(self.scores, self.counts)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    __repr__ = __str__


def score(table: ProfileTable, *, similarity: str, normalise: str, sphere: bool, control: str, aggregate_wells: str,
          aggregate_treatments: str, taxol_controls: str, bootstrap: int, permutations: int, seed: int) -> TableScores:
    """Match each treatment with its neighbours, and score the matches. Raises DataError for what cannot be scored.

    normalise: none; standard, as in correction.standardise; z, mad or percentile, as in correction.normalise.
    sphere: as in correction.sphere, after it.
    taxol_controls: "drop" leaves BBBC021's taxol 0.3 uM control wells out; bootstrap, permutations: draws.
    """
    treatments, counts, names = treatments_of(
        table, normalise=normalise, sphere=sphere, control=control, aggregate_wells=aggregate_wells,
        aggregate_treatments=aggregate_treatments, taxol_controls=taxol_controls)
    scores = matching.score_profiles(treatments, similarity=similarity, draws=bootstrap, permutations=permutations,
                                     seed=seed)
    return TableScores(scores, counts, names)


def treatments_of(table: ProfileTable, *, normalise: str, sphere: bool, control: str, aggregate_wells: str,
                  aggregate_treatments: str, taxol_controls: str) -> tuple[Treatments, TreatmentCounts, list[str]]:
    """Return the profiles of treatments of a table, its counts, and the names of its features; the rest as in score."""
    if taxol_controls == "drop":
        table = table.select(~bbbc021.is_taxol_control(table.sites()).to_numpy())
    if normalise == "standard":
        table = correction.standardise(table)
    elif normalise != "none":
        table = correction.normalise(table, normalise, control)
    if sphere:
        table = correction.sphere(table, control)
    treatments, counts = treatment_profiles.treatments(table, control, well_rule=aggregate_wells,
                                              treatment_rule=aggregate_treatments)
    return treatments, counts, table.names


def lines(scores: ProfileScores, counts: TreatmentCounts) -> list[str]:
    """Return the lines that a console shows of the scores; counts: from treatment_profiles.treatments."""
    total = scores.nsc.of_all.total
    shown = [f"{counts.rows} rows, {counts.control} of control and {counts.unlabelled} without a mechanism; "
             f"{counts.wells} wells, {total} treatments, {counts.features} features"]
    if scores.trained:
        shown.append(f"the network was trained on {len(scores.trained)} more: neighbours only, they do not count")
    for protocol, title in PROTOCOLS.items():
        score: ProtocolScore | None = getattr(scores, protocol)
        if score is None:
            shown.append(f"{title:24} not scored: no row has a week or batch (Metadata_Week, Metadata_Batch)")
            continue
        share = f"{100 * score.correct / score.total:5.1f}%" if score.total else "    -"
        shown.append(f"{title:24} {score.correct:4d}/{score.total:<4d} {share}   "
                     + _chance(score.interval, score.permuted.over_compounds, 100, ".0f", " %"))
        if score.unscorable:
            shown.append(f"      {score.correct}/{total} with {len(score.unscorable)} unscorable ones counted wrong: "
                         f"{'; '.join(score.unscorable)}")
        shown += [f"      tie: {tie.treatment} is equally near to {'; '.join(tie.neighbours)}" for tie in score.ties]
    for protocol, title in RANKED.items():
        score = getattr(scores, protocol)
        if score and score.mean_average_precision.mean is not None:
            ranked: MeanAveragePrecision = score.mean_average_precision
            shown.append(f"{title:24} {ranked.mean:9.3f}          "
                         + _chance(ranked.interval, ranked.permuted.over_compounds, 1, ".2f", ""))
    return shown


def _chance(interval: Interval, null: LabelPermutation, factor: int, form: str, unit: str) -> str:
    """Return the interval and the null distribution of a share in words."""
    words = (f"95 % interval over {interval.compounds} compounds: {factor * interval.low:{form}} to "
             f"{factor * interval.high:{form}}{unit}")
    return words if null.p is None or null.mean is None else (
        f"{words}; permuted labels: {factor * null.mean:{form}}{unit}, p {null.p:.2g}")
