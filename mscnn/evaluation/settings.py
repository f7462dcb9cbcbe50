"""Settings of an evaluation: evaluate.py and `mscnn evaluate`.  Imports no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mscnn.core.config import SCREENS, Parallel
from mscnn.core.errors import UsageError
from mscnn.core.settings import REQUIRED, NonNegativeInt, PositiveInt, setting


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings(Parallel):
    """Settings of `mscnn evaluate`"""

    checkpoint: str = setting(REQUIRED, "run directory, or a checkpoint file", metavar="PATH")
    out: str | None = setting(None, "folder for predictions, scores and pictures; default: RUN/evaluation", metavar="DIR",
                              written=True)
    sites: str | None = setting(None, "another site table to score, of the same channels", metavar="CSV")
    bbbc021: str | None = setting(None, "another folder with the official BBBC021 CSVs to score",
                                  common=False, metavar="DIR")
    packed: str | None = setting(None, "another packed folder to score, of the same channels in the same order",
                                 metavar="DIR")
    image_root: str | None = setting(None, "folder that image paths start from", metavar="DIR")
    follow_links: str | None = setting(None, "folders that links below --image-root may lead to", common=False,
                                       metavar="DIR,DIR,...")
    columns: str | None = setting(None, "role=column,... of --sites, as in training",
                                  common=False, metavar="ROLE=COLUMN,...")
    channels: str | None = setting(None, "channels of --sites, in the checkpoint's order; default: the checkpoint's",
                                   common=False, metavar="NAME,...")
    available: bool = setting(False, "go on with the fields whose image files are all there; every score tells how many "
                                     "are left out", common=False)
    concentration_unit: str | None = setting(None, "unit of the concentrations of another table, as it is shown; default: "
                                                   "what the table says, else the training's", common=False, metavar="UNIT")
    data: str | None = setting(None, "where the training's own site table or folder is now, if it has moved",
                               metavar="PATH")
    assays: str | None = setting(None, "table of assays of the screen that is scored; default: of the training's own "
                                       "screen, that of the training", common=False, metavar="CSV")
    profiles: Literal["held-out", "all"] = setting(
        "held-out", "whose features are written: those of the scored fields, or of all fields with a mechanism, so that "
                    "new compounds can be matched with known ones by `mscnn score`", common=False)
    h5ad: bool = setting(False, "write the features as profiles.h5ad too, for scanpy and others that read AnnData",
                         common=False)
    examples: NonNegativeInt = setting(
        12, "fields that are shown with what each channel and scale adds to their mechanism, one a treatment, wrong ones "
            "first; 0: none")
    microbatch: PositiveInt = setting(8, "fields computed at once", common=False)

    def __post_init__(self):
        super().__post_init__()
        if self.out is None and Path(self.checkpoint).suffix in (".safetensors", ".pt"):
            raise UsageError(f"--checkpoint {self.checkpoint} is a file; say with --out DIR where its evaluation goes")
        if self.out is None and self.another():
            raise UsageError("say with --out DIR where scores of another table go; RUN/evaluation is for what was held out")
        if self.concentration_unit and not self.another():
            raise UsageError(f"--concentration-unit {self.concentration_unit} is of another table; leave it out for the "
                             "training's own, whose unit the checkpoint holds")
        for name in ("columns", "channels"):
            if getattr(self, name) and not self.sites:
                raise UsageError(f"--{name} {getattr(self, name)} describes the table of --sites, which is not given")
        if sum(name is not None for name in (self.data, *(getattr(self, name) for name in SCREENS))) > 1:
            raise UsageError("--data names the training's own table, --sites, --bbbc021 and --packed another one; "
                             "give one of them")

    def another(self) -> bool:
        """Whether another screen than the training's own is scored."""
        return any(getattr(self, name) for name in SCREENS)
