"""Settings of an evaluation: evaluate.py and `mscnn evaluate`.  Imports no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mscnn.core.config import LEFT_OUT_FLAGS, SCREENS, Parallel, check_leave_out
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
    profiles: Literal["auto", "held-out", "all"] = setting(
        "auto", "whose features are computed. auto: those of all fields of the training's own table, where their images "
                "are there, so that activity against control wells and nearest known compounds are told; held-out: those "
                "of the scored fields alone, in less time", common=False)
    h5ad: bool = setting(False, "write the features as profiles.h5ad too, for scanpy and others that read AnnData",
                         common=False)
    leave_out: str | None = setting(None, "quality.csv of the other table, whose flagged fields are left out; of "
                                          "the training's own table, those that the training left out",
                                    common=False, metavar="CSV")
    leave_out_flags: str = setting(LEFT_OUT_FLAGS, "with --leave-out: which flags", common=False, metavar="FLAG,...")
    quality: bool = setting(True, "measure focus, saturation, debris and cells of each field that is read", common=False)
    examples: NonNegativeInt = setting(
        12, "fields of wrong, right and new treatments, in turn, that are shown with what each channel and scale adds to "
            "their mechanism; 0: no pictures")
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
        if self.leave_out and not self.another():
            raise UsageError(f"--leave-out {self.leave_out} goes with another table, by --sites, --bbbc021 or --packed; of "
                             "the training's own, the fields that the training left out are left out anyway")
        check_leave_out(self.leave_out, self.leave_out_flags)
        if sum(name is not None for name in (self.data, *(getattr(self, name) for name in SCREENS))) > 1:
            raise UsageError("--data names the training's own table, --sites, --bbbc021 and --packed another one; "
                             "give one of them")

    def another(self) -> bool:
        """Whether another screen than the training's own is scored."""
        return any(getattr(self, name) for name in SCREENS)
