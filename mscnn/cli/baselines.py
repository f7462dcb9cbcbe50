"""Score what sees no cells, and what needs no training, on the very folds of a run."""

from dataclasses import dataclass
from pathlib import Path

from mscnn.cli import parse
from mscnn.core import errors
from mscnn.core.settings import REQUIRED, NonNegativeInt, PositiveInt, Settings, setting
from mscnn.distributed import cpu_topology


@dataclass(frozen=True, kw_only=True)
class BaselinesSettings(Settings):
    """Settings of `mscnn baselines`"""

    runs: list[str] = setting(REQUIRED, "run directories, or folders of folds", positional=True, metavar="DIR")
    features: str | None = setting(None, "file that `mscnn features` wrote for the run's table; default: the "
                                         "features are measured, into RUN", metavar="FILE")
    nuclei: str | None = setting(None, "channel that shows nuclei; default: DNA, DAPI, Hoechst or nuclei, in any case",
                                 metavar="CHANNEL")
    workers: NonNegativeInt = setting(0, "fields measured at once; 0: one per core")
    microbatch: PositiveInt = setting(8, "fields that the untrained network computes at once")
    data: str | None = setting(None, "where the training's site table or folder is now, if it has moved", metavar="PATH")
    image_root: str | None = setting(None, "folder that image paths start from, if they have moved", metavar="DIR")
    follow_links: str | None = setting(None, "folders that links below --image-root may lead to", common=False,
                                       metavar="DIR,DIR,...")


COMMAND = parse.Command("baselines", __doc__, BaselinesSettings)


def main(argv: list[str]) -> None:
    """Score baselines on the folds of runs."""
    score_baselines(COMMAND.read(argv))


def score_baselines(settings: BaselinesSettings) -> None:
    """Score baselines on the folds of each run, into its folder."""
    from mscnn.evaluation import compare_baselines  # here, so that --help comes at once

    for run in map(Path, settings.runs):
        with errors.details_to_file(run):
            compare_baselines.score_baselines(run, features=Path(settings.features) if settings.features else None,
                                              nuclei=settings.nuclei,
                                              workers=settings.workers or cpu_topology.allowed_cores(),
                                              microbatch=settings.microbatch,
                                              moved=settings.data, image_root=settings.image_root,
                                              follow_links=settings.follow_links)
