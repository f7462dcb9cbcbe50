"""Settings of `python -m mscnn`, a record for each of its commands."""

from dataclasses import dataclass
from typing import Literal

from mscnn.config import REQUIRED, Table, parse_size, require, setting
from mscnn.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Gathering:
    """Settings of `python -m mscnn gather`"""

    out: str = setting(REQUIRED, "folder for the tables, scores and pictures of all folds together")


@dataclass(frozen=True, kw_only=True)
class Packing(Table):
    """Settings of `python -m mscnn pack`"""

    out: str = setting(REQUIRED, "folder for the packed fields; one that was begun is gone on with")
    taxol_controls: Literal["drop", "keep"] = setting("keep", "BBBC021's taxol 0.3 uM control wells; training drops them "
                                                              "unless it is told to keep them")
    only: Literal["labelled", "all"] = setting("labelled", "pack the sites whose mechanism is known, or all")
    downscale: int = setting(1, "average blocks of so many by so many pixels to one")
    workers: int = setting(0, "images decoded at once; 0: one a core")

    def __post_init__(self):
        super().__post_init__()
        require(self.downscale >= 1, "downscale must be at least 1", self.downscale)
        require(self.workers >= 0, "workers must be 0 or more", self.workers)


@dataclass(frozen=True, kw_only=True)
class Check(Table):
    """Settings of `python -m mscnn check`"""

    out: str = setting("check", "folder for problems.csv, or for plate_maps.png and .csv if there are no problems; those "
                                "of an earlier check are replaced")

    def __post_init__(self):
        super().__post_init__()
        if self.packed:
            raise UsageError(f"--packed {self.packed}: check reads image files; use `python -m mscnn verify {self.packed}`")


@dataclass(frozen=True, kw_only=True)
class Synthesis:
    """Settings of `python -m mscnn synth`"""

    out: str = setting(REQUIRED, "new folder for images, CSVs and overview.png")
    mechanisms: str = setting("demo", "demo (6 distinct ones), all (12), or NAME,NAME")
    compounds: int = setting(3, "compounds of each mechanism")
    plates: int = setting(2, "replicate plates a week")
    sites: int = setting(1, "sites a well")
    size: str = setting("128x128", "height x width of a field in pixels")
    seed: int = setting(0, "the same seed writes the same bytes")

    def __post_init__(self):
        for name in ("compounds", "plates", "sites"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        require(self.seed >= 0, "seed must be 0 or more", self.seed)
        require(min(parse_size("size", self.size)) >= 32, "size must be at least 32x32", self.size)
