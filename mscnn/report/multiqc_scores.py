"""Sections for a MultiQC report: scores.   mscnn evaluate, mscnn gather, mscnn score"""

from collections.abc import Mapping
from pathlib import Path

from mscnn.evaluation import results
from mscnn.evaluation.scoring import LEVELS
from mscnn.profiling.score_table import TableScores
from mscnn.report.multiqc import COUNT, SHARE, Header, write_section


def write_scores(out: Path) -> None:
    """Write the section of an evaluation: the share of right predictions at each level, or the scores of assays.

    Raises DataError where the folder holds no finished evaluation.
    """
    scores = results.read_scores(out)
    row: dict[str, float | None] = {}
    for level, score in scores.by_level().items():
        if score.total:
            row |= {level: 100 * score.correct / score.total, f"{level}_total": score.total}
    if scores.assays and scores.assays.mean_auc and scores.assays.mean_average_precision:
        row |= {"auc": scores.assays.mean_auc.value, "average_precision": scores.assays.mean_average_precision.value}
    headers: dict[str, Header] = {level: (level.capitalize(), f"{level} whose mechanism is predicted right", SHARE)
                                  for level in LEVELS}
    headers |= {f"{level}_total": (f"n {level}", f"{level} whose mechanism is known", COUNT | {"hidden": level == "wells"})
                for level in LEVELS}
    number = {"format": "{:,.3f}", "min": 0, "max": 1}
    headers |= {"auc": ("ROC AUC", "mean over assays; 0.5 by chance", number),
                "average_precision": ("Average precision", "mean over assays", number)}
    write_section(out / results.MULTIQC, "Predicted mechanisms",
                  "Predictions that are right, of what was held out (mscnn evaluate).", headers,
                  {"/".join(out.absolute().parts[-2:]): row})


def write_profile_scores(path: Path, scores: Mapping[str, TableScores]) -> None:
    """Write the section of `mscnn score`: NSC, NSCB and mean average precision of each table."""
    rows: dict[str, dict[str, float | str | None]] = {}
    for name, one in scores.items():
        row = rows[name] = {}
        for protocol, score in (("nsc", one.nsc), ("nscb", one.nscb)):
            if score and score.total:
                row |= {protocol: 100 * score.correct / score.total, f"{protocol}_total": score.total,
                        f"{protocol}_map": score.mean_average_precision.mean}
    headers: dict[str, Header] = {}
    for protocol, rule in (("nsc", "another compound"), ("nscb", "another compound and batch")):
        shown = protocol.upper()
        headers |= {protocol: (shown, f"treatments whose nearest of {rule} has their mechanism", SHARE),
                    f"{protocol}_total": (f"n {shown}", f"treatments that {shown} can score", COUNT),
                    f"{protocol}_map": (f"mAP {shown}", f"mean average precision over treatments of {rule}",
                                        {"format": "{:,.3f}", "min": 0, "max": 1})}
    write_section(path, "Profiles", "How well profiles of treatments match by mechanism (mscnn score).",
                  headers, rows)
