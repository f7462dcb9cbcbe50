"""Which read-out was chosen, why, and what each candidate alone would have got: "readout" of scores.json."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from mscnn.core.logs import log
from mscnn.core.records import Count, Record
from mscnn.data.tables.left_out import LeftOut
from mscnn.evaluation import aggregate, scoring
from mscnn.evaluation.assay_scores import AssayScores
from mscnn.evaluation.calibration import LevelCalibration
from mscnn.evaluation.confidence import TreatmentConfidence
from mscnn.evaluation.control_scores import ControlScores
from mscnn.evaluation.left_out_mechanism import LeftOutMechanism
from mscnn.evaluation.scoring import LevelScores
from mscnn.readout.choice import Choice

DRAWS = 1000  # of compounds, for the interval of a candidate


@dataclass(frozen=True)
class CandidateScore(Record):
    """A candidate, judged by inner folds and scored on the fields of the evaluation."""

    chosen: Count = 0                  # folds that chose it
    inner_loss: float | None = None    # mean over folds of its score in inner folds, less is better; None: not judged
    note: str = ""                     # why it cannot be had, or is not judged
    scores: LevelScores | None = None  # alone, on the scored fields; None where it cannot be had


@dataclass(frozen=True)
class ReadoutScores(Record):
    """All candidates."""

    chosen: str   # by most folds
    reason: str   # for people
    folds: Count  # that chose
    candidates: dict[str, CandidateScore] = field(default_factory=dict)  # by name, the simplest first

    def __post_init__(self):
        if self.chosen not in self.candidates:
            raise ValueError(f"has chosen {self.chosen!r}, which is no candidate")

    def scored(self) -> dict[str, LevelScores]:
        """Return the scores of the candidates that could be had."""
        return {name: candidate.scores for name, candidate in self.candidates.items() if candidate.scores}

    def left_out(self) -> dict[str, int]:
        """Return why candidates cannot be had or are not judged, and of how many each is true."""
        return dict(Counter(candidate.note for candidate in self.candidates.values() if candidate.note))


@dataclass(frozen=True)
class EvaluationScores(LevelScores):
    """The scores of all levels, of the candidates, and of the probabilities: scores.json."""

    readout: ReadoutScores | None = None                # None where the head is not chosen
    calibration: LevelCalibration | None = None         # None in files of earlier versions, and of assays
    left_out_mechanism: LeftOutMechanism | None = None  # None without read-outs over compounds
    confidence: TreatmentConfidence | None = None       # None in files of earlier versions, and where none is predicted
    assays: AssayScores | None = None  # None where mechanisms are predicted; where assays are, no level has a total
    controls: ControlScores | None = None  # None where no control well is scored, and of assays
    left_out: LeftOut | None = None    # fields of the screen that --leave-out left out; None: none were


def describe(choice: Choice) -> ReadoutScores:
    """Return what a choice says, before anything is scored."""
    return ReadoutScores(choice.chosen, choice.reason, 1, {
        name: CandidateScore(int(name == choice.chosen), judgement.loss, judgement.note)
        for name, judgement in choice.candidates.items()})


def merge(parts: Sequence[ReadoutScores]) -> ReadoutScores:
    """Return the choices of several folds as one, without scores."""
    if len(parts) == 1:
        return parts[0]
    merged = {}
    for name in dict.fromkeys(name for part in parts for name in part.candidates):
        of_folds = [(part.candidates[name], part.folds) for part in parts if name in part.candidates]
        judged = [(candidate.inner_loss, folds) for candidate, folds in of_folds if candidate.inner_loss is not None]
        total = sum(folds for _, folds in judged)
        merged[name] = CandidateScore(
            sum(candidate.chosen for candidate, _ in of_folds),
            sum(loss * folds for loss, folds in judged) / total if total else None,
            next((candidate.note for candidate, _ in of_folds if candidate.note), ""))
    folds = sum(part.folds for part in parts)
    best = max(merged, key=lambda name: merged[name].chosen)  # the first of equals: the simplest
    return ReadoutScores(best, f"chosen in {merged[best].chosen} of {folds} folds, by inner folds of the compounds left",
                         folds, merged)


def with_scores(readout: ReadoutScores, tables: dict[str, pd.DataFrame], control: str, *, well_rule: str,
                treatment_rule: str) -> ReadoutScores:
    """Return the candidates with the scores of their predictions.  tables: fields, as aggregate.field_predictions."""
    scored = {}
    for name, fields in tables.items():
        levels = aggregate.aggregate(fields, control, well_rule=well_rule, treatment_rule=treatment_rule)
        scored[name] = LevelScores(**scoring.scores(levels, control, draws=DRAWS, permutations=0))
    return replace(readout, candidates={name: replace(candidate, scores=scored.get(name))
                                        for name, candidate in readout.candidates.items()})


def log_readout(readout: ReadoutScores) -> None:
    """Log what was chosen and why, what each candidate alone gets, and which cannot be had or judged."""
    log.info("read-out: %s: %s", readout.chosen, readout.reason)
    alone = [f"{name} {scores.fields.correct}/{scores.fields.total}" for name, scores in readout.scored().items()
             if scores.fields.total]
    if alone:
        log.info("fields right by each read-out alone: %s", "; ".join(alone))
    if reasons := readout.left_out():
        log.info("not chosen from: %s", "; ".join(f"{number} read-outs ({note})" for note, number in reasons.items()))
