"""Settings of `python -m mscnn`, a record for each of its commands."""

from dataclasses import dataclass
from typing import Literal

from mscnn.core.config import Table
from mscnn.core.errors import UsageError
from mscnn.core.settings import REQUIRED, parse_size, require, setting


@dataclass(frozen=True, kw_only=True)
class Gathering:
    """Settings of `python -m mscnn gather`"""

    out: str = setting(REQUIRED, "folder for the tables, scores and pictures of all folds together")


@dataclass(frozen=True, kw_only=True)
class Export:
    """Settings of `python -m mscnn export`"""

    out: str = setting(REQUIRED, "new folder for weights, description, model card and program")
    onnx: bool = setting(False, "model.onnx too, by the packages of requirements-export.txt")


@dataclass(frozen=True, kw_only=True)
class Loco:
    """The folds"""

    out: str = setting(REQUIRED, "folder for all folds and their common scores; one that was begun is gone on with")
    jobs: int = setting(0, "folds side by side, each on cores of its own; 0: one a core")
    candidates: str | None = setting(None, "YAML file {name: {setting: value}}: for each fold, the settings are chosen "
                                           "among these by inner folds of its training compounds")
    inner_folds: int = setting(3, "groups of training compounds that a choice is made by")
    baselines: bool = setting(True, "score baselines on the same folds at the end")
    nuclei: str | None = setting(None, "channel that shows nuclei, for the baselines; default: the one called DNA, DAPI, "
                                       "Hoechst or nuclei")

    def __post_init__(self):
        require(self.jobs >= 0, "jobs must be 0 or more", self.jobs)
        require(self.inner_folds >= 2, "inner-folds must be at least 2", self.inner_folds)


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """Settings of `python -m mscnn baselines`"""

    features: str | None = setting(None, "what `python -m mscnn features` wrote for the table; default: measured, into RUN")
    nuclei: str | None = setting(None, "channel that shows nuclei; default: the one called DNA, DAPI, Hoechst or nuclei")
    workers: int = setting(0, "fields measured at once; 0: one a core")
    microbatch: int = setting(8, "fields that the untrained network computes at once")
    data: str | None = setting(None, "where the training's site table or folder is now, if it has moved")
    image_root: str | None = setting(None, "folder that image paths start from, if they have moved")

    def __post_init__(self):
        require(self.workers >= 0, "workers must be 0 or more", self.workers)
        require(self.microbatch >= 1, "microbatch must be at least 1", self.microbatch)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Settings of `python -m mscnn report`"""

    out: str | None = setting(None, "HTML file; default: report.html in the first run")


@dataclass(frozen=True, kw_only=True)
class Score:
    """Settings of `python -m mscnn score`"""

    aggregate_treatments: Literal["mean", "median"] = setting("median", "a treatment's profile from those of its wells")
    aggregate_wells: Literal["mean", "median"] = setting("mean",
                                                         "a well's profile from those of its fields, where the table has "
                                                         "Metadata_Plate and Metadata_Well")
    similarity: Literal["cosine", "correlation", "euclidean"] = setting("cosine", "what is near")
    normalise: Literal["none", "z", "mad", "percentile"] = setting(
        "none", "each plate by its control rows: mean and sd; median and MAD; 1st and 99th percentile")
    sphere: bool = setting(False, "then turn and scale all features so that control rows vary alike in all directions")
    control: str = setting("DMSO", "the compound of untreated wells, in any case: never a neighbour")
    taxol_controls: Literal["drop", "keep"] = setting(
        "drop", "BBBC021's taxol 0.3 uM control wells: they lie in every week, so that taxol 0.3 has no neighbour in NSCB")
    features: str | None = setting(None, "beginnings of the names of feature columns, as Cells_,Nuclei_; default: all "
                                         "numeric columns that are no metadata")
    drop_nan: bool = setting(False, "leave out features that are not finite in some row, in place of refusing them")
    bootstrap: int = setting(5000, "draws of compounds for the intervals")
    permutations: int = setting(1000, "draws of permuted mechanisms for the nulls")
    seed: int = setting(0, "of both")
    json: str | None = setting(None, "file for the results")

    def __post_init__(self):
        for name in ("bootstrap", "permutations"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        require(self.seed >= 0, "seed must be 0 or more", self.seed)


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
class Features(Table):
    """Settings of `python -m mscnn features`"""

    out: str = setting(REQUIRED, "parquet file for Metadata_* and the features, a row a site")
    taxol_controls: Literal["drop", "keep"] = setting("keep", "BBBC021's taxol 0.3 uM control wells")
    nuclei: str | None = setting(None, "the channel that shows nuclei; default: the one called DNA, DAPI, Hoechst or "
                                       "nuclei, in any case")
    workers: int = setting(0, "fields measured at once, each by a process; 0: one a core")

    def __post_init__(self):
        super().__post_init__()
        require(self.out.endswith(".parquet"), "out must be a .parquet file", self.out)
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
