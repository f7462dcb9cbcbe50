"""Match each treatment's profile with its neighbours: NSC, NSCB and mAP.

NSC: how often is the nearest treatment of another compound of the same mechanism?  NSCB: and of another batch?  mAP: how
high do all treatments of the mechanism rank?
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mscnn.cli import parse
from mscnn.core import errors, files, paths
from mscnn.core.logs import log
from mscnn.core.settings import MOST_DRAWS, REQUIRED, NonNegativeInt, PositiveInt, Settings, require, setting


@dataclass(frozen=True, kw_only=True)
class ScoreSettings(Settings):
    """Settings of `mscnn score`"""

    profiles: str = setting(
        REQUIRED, ".csv, .csv.gz or .parquet with one row per field, well or treatment: Metadata_Compound, "
                  "Metadata_Concentration, Metadata_MOA, Metadata_Week or Metadata_Batch (for NSCB), and features",
        positional=True, metavar="FILE")
    aggregate_treatments: Literal["mean", "median"] = setting("median", "a treatment's profile from those of its wells")
    aggregate_wells: Literal["mean", "median"] = setting(
        "mean", "a well's profile from those of its fields, where the table has Metadata_Plate and Metadata_Well")
    similarity: Literal["cosine", "correlation", "euclidean"] = setting("cosine", "measure by which neighbours are near")
    normalise: Literal["none", "standard", "z", "mad", "percentile"] = setting(
        "none", "standard: scale each feature to mean 0 and sd 1 over all rows. The others scale each plate by its control "
                "rows; z: mean and sd; mad: median and MAD; percentile: 1st and 99th percentile")
    sphere: bool = setting(False, "whiten (sphere) all features by the control rows of all plates, after --normalise")
    control: str = setting("DMSO", "compound of untreated wells, in any spelling: never a neighbour", metavar="COMPOUND")
    taxol_controls: Literal["drop", "keep"] = setting(
        "drop", "BBBC021's taxol 0.3 uM control wells: they lie in every week, so that taxol 0.3 has no neighbour in NSCB")
    features: str | None = setting(None, "prefixes of the names of feature columns, as Cells_,Nuclei_; default: all "
                                         "numeric columns without metadata", metavar="PREFIX,...")
    drop_nan: bool = setting(False, "leave out features that are not finite in some row; else they are refused")
    bootstrap: PositiveInt = setting(5000, "bootstrap draws of compounds for the intervals")
    permutations: PositiveInt = setting(1000, "label permutations of mechanisms for the null distributions")
    seed: NonNegativeInt = setting(0, "seed of the bootstrap and of the permutations")
    json: str | None = setting(None, "file for the results", metavar="FILE", written=True)

    def __post_init__(self):
        super().__post_init__()
        for name in ("bootstrap", "permutations"):
            require(getattr(self, name) <= MOST_DRAWS, f"{name} must be no more than {MOST_DRAWS}", getattr(self, name))


COMMAND = parse.Command("score", __doc__, ScoreSettings)


def main(argv: list[str]) -> None:
    """Match treatments with their neighbours, log the scores, and write them where asked."""
    settings = COMMAND.read(argv)

    from mscnn.profiling import profile_table, score_table  # here, so that --help comes at once

    if settings.json and Path(settings.json).is_dir():
        raise errors.UsageError(f"--json {settings.json} is a folder; name a file")
    if settings.json and Path(settings.json).exists() and not paths.has_keys(Path(settings.json), "profiles", "settings"):
        raise errors.UsageError(f"--json {settings.json} is no result of this command; name another file, or remove it")
    prefixes = tuple(settings.features.split(",")) if settings.features else ()
    table = profile_table.read(Path(settings.profiles), prefixes=prefixes, drop_nan=settings.drop_nan)
    scored = score_table.score(
        table, similarity=settings.similarity, normalise=settings.normalise, sphere=settings.sphere,
        control=settings.control, aggregate_wells=settings.aggregate_wells,
        aggregate_treatments=settings.aggregate_treatments, taxol_controls=settings.taxol_controls,
        bootstrap=settings.bootstrap, permutations=settings.permutations, seed=settings.seed)
    for line in scored.lines():
        log.info("%s", line)
    if settings.json:
        options = dataclasses.asdict(settings)
        files.make_output_folder(Path(settings.json).absolute().parent)
        files.write_json(Path(settings.json), {"profiles": options.pop("profiles"), "settings": options,
                                               "counted": scored.counts.to_json(), "features": scored.features,
                                               **scored.scores.to_json()})
