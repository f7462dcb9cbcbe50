"""Score profiles of treatments: mechanisms, activity, batch effects, known compounds, clusters.

NSC: how often is the nearest treatment of another compound of the same mechanism?  NSCB: and of another batch?  mAP: how
high do all treatments of the mechanism rank?  Several files are scored side by side, on the treatments that all hold.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mscnn.cli import parse
from mscnn.core import csv_safe, errors, files, paths
from mscnn.core.logs import log
from mscnn.core.settings import MOST_DRAWS, REQUIRED, NonNegativeInt, PositiveInt, Settings, require, setting


@dataclass(frozen=True, kw_only=True)
class ScoreSettings(Settings):
    """Settings of `mscnn score`"""

    profiles: list[str] = setting(
        REQUIRED, ".csv, .csv.gz, .parquet or .h5ad with one row per field, well or treatment: Metadata_Compound, "
                  "Metadata_Concentration, Metadata_MOA, Metadata_Week or Metadata_Batch (for NSCB), and features",
        positional=True, metavar="FILE")
    aggregate_treatments: Literal["mean", "median"] = setting("median", "a treatment's profile from those of its wells")
    aggregate_wells: Literal["mean", "median"] = setting(
        "mean", "a well's profile from those of its fields, where the table has Metadata_Plate and Metadata_Well")
    similarity: Literal["cosine", "correlation", "euclidean"] = setting(
        "cosine", "measure by which NSC, NSCB, mAP and recall find neighbours; all else is by cosine")
    normalise: Literal["none", "standard", "z", "mad", "percentile"] = setting(
        "none", "standard: scale each feature to mean 0 and sd 1 over all rows. The others scale each plate by its control "
                "rows; z: mean and sd; mad: median and MAD; percentile: 1st and 99th percentile; none by less than a "
                "quarter of the spread in the control rows of all plates")
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
    out: str | None = setting(None, "folder for the results, and lists: hits, nearest known compounds, clusters",
                              metavar="DIR", written=True)

    def __post_init__(self):
        super().__post_init__()
        for name in ("bootstrap", "permutations"):
            require(getattr(self, name) <= MOST_DRAWS, f"{name} must be no more than {MOST_DRAWS}", getattr(self, name))


SCORES = "scores.json"
MULTIQC = "mscnn_profile_scores_mqc.json"
LISTS = ("hits.csv", "nearest.csv", "clusters.csv")  # of mscnn.profiling.profile_numbers, which takes long to load
COMMAND = parse.Command("score", __doc__, ScoreSettings)


def main(argv: list[str]) -> None:
    """Score the tables, log the scores, and write them where asked."""
    settings = COMMAND.read(argv)

    from mscnn.profiling import profile_table, side_by_side  # here, so that --help comes at once
    from mscnn.report import multiqc_scores

    _require_writable(settings)
    prefixes = tuple(settings.features.split(",")) if settings.features else ()
    tables = {name: profile_table.read(Path(path), prefixes=prefixes, drop_nan=settings.drop_nan)
              for name, path in _names(settings.profiles).items()}
    scores, compared = side_by_side.score(
        tables, control=settings.control, seed=settings.seed, similarity=settings.similarity, normalise=settings.normalise,
        sphere=settings.sphere, aggregate_wells=settings.aggregate_wells, taxol_controls=settings.taxol_controls,
        aggregate_treatments=settings.aggregate_treatments, bootstrap=settings.bootstrap,
        permutations=settings.permutations)
    options = dataclasses.asdict(settings)
    content = {"profiles": options.pop("profiles"), "settings": options}
    if len(scores) > 1:
        notes = [f"{name}: {note}" for name, one in scores.items() for note in one.notes()]
        shown = [*side_by_side.lines(compared), *notes]
        content |= {"side_by_side": compared.to_json(), "tables": {name: one.to_json() for name, one in scores.items()}}
    else:
        one = next(iter(scores.values()))
        shown, content = one.lines(), content | one.to_json()
    for line in shown:
        log.info("%s", errors.printable(line))
    if settings.json:
        files.make_output_folder(Path(settings.json).absolute().parent)
        files.write_json(Path(settings.json), content)
    if settings.out:
        out = Path(settings.out)
        _remove_lists(out)
        for name, one in scores.items():
            _write_lists(out / name.replace("/", "-") if len(scores) > 1 else out, one.tables)
        files.write_json(out / SCORES, content)
        multiqc_scores.write_profile_scores(out / MULTIQC, scores)


def _names(paths: list[str]) -> dict[str, str]:
    """Return {name: path}: the shortest ends of the paths, without the file's ending, that differ."""
    if twice := sorted({path for path in paths if paths.count(path) > 1}):
        raise errors.UsageError(f"{twice[0]} is named twice; name each table once")
    for parts in range(1, 1 + max(len(Path(path).parts) for path in paths)):
        names = ["/".join([*Path(path).parts[-parts:-1], Path(path).name.split(".")[0]]) for path in paths]
        if len(set(names)) == len(paths):
            return dict(zip(names, paths, strict=True))
    return {path: path for path in paths}


def _require_writable(settings: ScoreSettings) -> None:
    """Raise UsageError where the output would take the place of what is no result of this command."""
    if settings.json and Path(settings.json).is_dir():
        raise errors.UsageError(f"--json {settings.json} is a folder; name a file")
    if settings.json and Path(settings.json).exists() and not paths.has_keys(Path(settings.json), "profiles", "settings"):
        raise errors.UsageError(f"--json {settings.json} is no result of this command; name another file, or remove it")
    if settings.out:
        paths.require_own(Path(settings.out), [SCORES, MULTIQC, *LISTS],
                          lambda folder: paths.has_keys(folder / SCORES, "profiles", "settings"))


def _remove_lists(out: Path) -> None:
    """Remove the lists that an earlier call wrote, so that none stands beside other scores."""
    if (out / SCORES).exists():
        tables = json.loads((out / SCORES).read_text()).get("tables", {})
        for folder in (out, *(out / str(name).replace("/", "-") for name in tables)):
            for name in LISTS:
                (folder / name).unlink(missing_ok=True)


def _write_lists(folder: Path, lists: dict) -> None:
    """Write hits, nearest known compounds and clusters, each whole or not at all."""
    files.make_output_folder(folder)
    for name, table in lists.items():
        with files.write_atomically(folder / name) as partial:
            csv_safe.write_csv(table, partial)
        log.info("%d rows: %s", len(table), folder / name)
