"""Train without a compound, or a week, and score on it, for each in turn.

workstation:  mscnn loco fields256 --out runs/loco
cluster:      slurm/loco.sh
"""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mscnn.cli import parse
from mscnn.cli.baselines import BaselinesSettings, score_baselines
from mscnn.cli.report import write_report
from mscnn.core import config
from mscnn.core.errors import UsageError
from mscnn.core.files import read_yaml
from mscnn.core.optional_parts import OptionalParts
from mscnn.core.settings import REQUIRED, NonNegativeInt, Settings, SeveralInt, build, current_name, option, setting
from mscnn.distributed import cpu_topology

SET_BY_FOLD = ("fold", "hold_out", "run_dir", "split_within")  # settings of a training that loco gives itself
METHODS = ("leave-compound-out", "leave-week-out", "k-fold")
# Settings of a training that candidates may differ in.
CHOOSABLE = {field.name for record in (config.Network, config.Optim, config.Augment, config.Data)
             for field in dataclasses.fields(record)} - {field.name for field in dataclasses.fields(config.Table)} - {
                 "assays"}


@dataclass(frozen=True, kw_only=True)
class LocoSettings(Settings):
    """The folds"""

    out: str = setting(REQUIRED, "folder for all folds and their common scores; an unfinished one is resumed",
                       metavar="DIR", written=True)
    jobs: NonNegativeInt = setting(0, "folds side by side, each on cores of its own, or ranks of the one network of all "
                                      "folds; 0: one per core")
    candidates: str | None = setting(None, "YAML file {name: {setting: value}}: for each fold, the settings are chosen "
                                           "among these by inner folds of its training compounds", metavar="FILE")
    inner_folds: SeveralInt = setting(3, "inner folds, each a group of training compounds, by which settings are chosen",
                                      common=False)
    baselines: bool = setting(True, "score baselines on the same folds at the end")
    nuclei: str | None = setting(None, "channel that shows nuclei, for the baselines; default: DNA, DAPI, Hoechst or "
                                       "nuclei, in any case", common=False, metavar="CHANNEL")

COMMAND = parse.TrainingCommand("loco", __doc__, more=LocoSettings,
                                defaults={"split_method": METHODS[0], "hold_out": "none"})


def main(argv: list[str]) -> None:
    """Train without each compound and score on it; then score the baselines on the same folds, and write the report."""
    settings, training = read(argv)

    from mscnn.data.pixels import handcrafted  # here, so that --help comes at once
    from mscnn.data.tables import splits
    from mscnn.distributed import world
    from mscnn.evaluation import cross_validation, results
    from mscnn.training import prepare_data
    from mscnn.training.choose_length import choose_length

    out, split, seed = Path(settings.out), training.split, training.run.seed
    candidates = read_candidates(settings.candidates, argv)
    one_network = is_one_network(training, candidates)
    if candidates and training.data.assays:
        raise UsageError(f"--candidates {settings.candidates} are judged by the mechanisms that are right, and --assays "
                         "has none; leave one of the two out")
    with_baselines = settings.baselines and not training.data.assays  # which predict mechanisms
    labelled = prepare_data.load_sites(training.data, to_train=True)
    table = prepare_data.with_shape(labelled, training.data.size(), world.World(), training.network.downscale)
    if with_baselines:  # refused here, not after all trainings
        handcrafted.nuclei_channel(table.channels, settings.nuclei)
    folds = splits.fold_compounds(table, split=split.split_method, folds=split.folds, seed=seed)
    if split.hold_out_controls:
        require_controls_once(table, split, len(folds), seed, settings.inner_folds if candidates else 0)
    most = choose_length(training.optim, training.objective, len(table))[0].minibatch if one_network else len(folds)
    plan = cross_validation.FoldPlan(out, training.preset, split.split_method, folds,
                                     settings.jobs or min(cpu_topology.allowed_cores(), most), candidates,
                                     settings.inner_folds, "all" if training.objective.is_label_free else "held-out")
    cross_validation.open_or_resume(plan, training.flat())

    def prepare(number: int, folder: Path) -> None:
        made = splits.make_split(table, split=split.split_method, folds=split.folds, fold=number, seed=seed,
                                 hold_out_controls=split.hold_out_controls)
        splits.write(made, table, folder)

    scores = cross_validation.run_one_network(plan) if one_network else cross_validation.run_folds(plan, prepare)
    parts = OptionalParts(f"tables and scores are whole in {scores}")
    with parts.part(results.CONFUSION):
        from mscnn.report import confusion

        confusion.draw_confusion(scores)
    with parts.part(results.MULTIQC):
        from mscnn.report import multiqc_scores

        multiqc_scores.write_scores(scores)
    if with_baselines:
        with parts.part(results.BASELINES):
            score_baselines(BaselinesSettings(runs=[str(out)], nuclei=settings.nuclei))
    with parts.part("report.html"):
        write_report([out], out / "report.html")
    parts.finish()


def read(argv: list[str]) -> tuple[LocoSettings, config.Config]:
    """Read the settings of the folds, and of the training of each. Raises UsageError."""
    for name in sorted(parse.given(argv) & {*SET_BY_FOLD}):
        raise UsageError(f"--{option(name)} is set for each fold; leave it out")
    values = COMMAND.read(argv)
    training = config.from_flat(values)
    if training.split.split_method not in METHODS:
        raise UsageError(f"split-method must be one of {', '.join(METHODS)} here, got {training.split.split_method}")
    return build(LocoSettings, values), training


def require_controls_once(table: Any, split: config.Split, folds: int, seed: int, inner_folds: int = 0) -> None:
    """Raise UsageError where two folds would hold out the same control well, which is then predicted twice.

    table: a SiteTable.  inner_folds: of each fold, which choose its settings; 0: none.
    """
    from mscnn.data.tables import splits  # here, so that --help comes at once

    def require(made: list[splits.Split], what: str) -> None:
        wells = [name for each in made for name in each.wells]
        if len(set(wells)) < len(wells):
            raise UsageError(f"--hold-out-controls {split.hold_out_controls:g} would hold the same control wells out in "
                             f"several of {len(made)} {what}; use less than {1 / len(made):.2g}, or fewer folds")

    controls: dict[str, Any] = {"hold_out_controls": split.hold_out_controls, "seed": seed, "needs_labels": False}
    outer = [splits.make_split(table, split=split.split_method, folds=split.folds, fold=fold, **controls)
             for fold in range(folds)]
    require(outer, "folds")
    for each in outer if inner_folds else ():
        require([splits.make_split(table, split="k-fold", folds=inner_folds, fold=fold, within=each.side == splits.TRAIN,
                                   **controls) for fold in range(inner_folds)], "inner folds")


def is_one_network(training: config.Config, candidates: dict[str, dict[str, Any]]) -> bool:
    """Return whether one network serves all folds: no mechanism is learnt from, and held-out images may be seen.

    Raises UsageError for settings that ask for several all the same.
    """
    if not (training.objective.is_label_free and training.objective.transductive):
        return False
    remedy = "give --transductive false, which trains a network for each fold"
    if training.split.split_method != METHODS[0]:
        raise UsageError(f"--split-method {training.split.split_method} does not go with one label-free network for all "
                         f"folds, which leaves compounds out of its read-out; {remedy}")
    if training.split.hold_out_controls:
        raise UsageError(f"--hold-out-controls {training.split.hold_out_controls:g} does not go with one label-free "
                         f"network for all folds, whose read-outs are fitted to all control wells; {remedy}")
    if candidates:
        raise UsageError(f"--candidates choose settings for each fold, and one label-free network serves all; {remedy}")
    return True


def read_candidates(path: str | None, argv: list[str]) -> dict[str, dict[str, Any]]:
    """Read {name: {setting: value}} from a YAML file, each checked together with the other arguments. Raises UsageError."""
    if path is None:
        return {}
    candidates = read_yaml(Path(path), option="--candidates")
    if (not isinstance(candidates, dict) or not all(isinstance(value, dict) for value in candidates.values())
            or len(candidates) < 2):
        raise UsageError(f"--candidates {path}: give two or more, as {{name: {{setting: value}}}}")
    for name, values in candidates.items():
        if not re.fullmatch(r"\w[\w.-]*", str(name)):  # it becomes a folder's
            raise UsageError(f"--candidates {path}: names are letters, digits, points and dashes, got {name!r}")
        names = {current_name(str(key).replace("-", "_"), config.NAMES) for key in values}
        if fixed := sorted(names - CHOOSABLE):
            raise UsageError(f"--candidates {path}: {name}: {', '.join(fixed)} cannot be chosen; settings of intensity, "
                             "network, training and augmentation can")
        try:
            read([*argv, *(word for key, value in values.items() for word in (f"--{key}", str(value)))])
        except UsageError as problem:
            raise UsageError(f"--candidates {path}: {name}: {problem}") from None
    return {str(name): values for name, values in candidates.items()}
