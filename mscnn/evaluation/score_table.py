"""From a table of profiles to its scores: normalise, sphere, aggregate, match.  `mscnn score` and mscnn.score_profiles."""

from dataclasses import dataclass

from mscnn.data.tables import bbbc021
from mscnn.evaluation import aggregate, matching
from mscnn.evaluation.matching import MatchedTreatment, MechanismCounts, ProfileScores, ProtocolScore, TreatmentCounts
from mscnn.evaluation.profile_table import ProfileTable


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
    def nscb(self) -> ProtocolScore:
        """Return the score where no neighbour is of the same compound or the same batch."""
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
        return matching.lines(self.scores, self.counts)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    __repr__ = __str__


def score(table: ProfileTable, *, similarity: str, normalise: str, sphere: bool, control: str, aggregate_wells: str,
          aggregate_treatments: str, taxol_controls: str, bootstrap: int, permutations: int, seed: int) -> TableScores:
    """Match each treatment with its nearest neighbours, and score the matches. Raises DataError for what cannot be scored.

    normalise: none, z, mad or percentile, as in aggregate.normalise; sphere: as in aggregate.sphere, after it;
    taxol_controls: "drop" leaves BBBC021's taxol 0.3 uM control wells out; bootstrap, permutations: draws.
    """
    if taxol_controls == "drop":
        table = table.select(~bbbc021.is_taxol_control(table.sites()).to_numpy())
    if normalise != "none":
        table = aggregate.normalise(table, normalise, control)
    if sphere:
        table = aggregate.sphere(table, control)
    treatments, counts = aggregate.treatments(table, control, well_rule=aggregate_wells,
                                              treatment_rule=aggregate_treatments)
    scores = matching.score_profiles(treatments, similarity=similarity, draws=bootstrap, permutations=permutations,
                                     seed=seed)
    return TableScores(scores, counts, table.names)
