"""Write synthetic plates in the layout of BBBC021, and a picture of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mscnn.cli import parse
from mscnn.core import errors, files
from mscnn.core.logs import log, progress
from mscnn.core.settings import REQUIRED, NonNegativeInt, PositiveInt, Settings, parse_size, require, setting
from mscnn.distributed import cpu_topology


@dataclass(frozen=True, kw_only=True)
class SynthSettings(Settings):
    """Settings of `mscnn synth`"""

    out: str = setting(REQUIRED, "new folder for images, CSVs and overview.png", metavar="DIR", written=True)
    kind: Literal["looks", "inclusions"] = setting(
        "looks", "looks: mechanisms of BBBC021 change the looks of cells, in 8 doses; inclusions: they give a few bright "
                 "inclusions a shape, in 2 doses, of which statistics of pixels see little")
    mechanisms: str = setting("demo", "demo (6 distinct looks, all inclusions), all (12), or NAME,NAME")
    compounds: PositiveInt = setting(3, "compounds of each mechanism")
    plates: PositiveInt = setting(2, "replicate plates of each week")
    sites: PositiveInt = setting(1, "sites of each well")
    size: str = setting("auto", "height x width of a field in pixels; auto: 128x128 for looks, 256x256 for inclusions, "
                                "whose cells have 44 pixels at any size", metavar="HxW")
    assays: NonNegativeInt = setting(0, "assays in assays.csv, of which each finds some mechanisms active; a third of the "
                                        "cells is empty, one value in 20 is wrong")
    seed: NonNegativeInt = setting(0, "the same seed writes the same bytes")

    def __post_init__(self):
        super().__post_init__()
        require(min(self.height_width()) >= 32, "size must be at least 32x32", self.size)

    def height_width(self) -> tuple[int, int]:
        """Return height and width of a field in pixels."""
        auto = {"looks": (128, 128), "inclusions": (256, 256)}[self.kind]
        return auto if self.size == "auto" else parse_size("size", self.size)


COMMAND = parse.Command("synth", __doc__, SynthSettings)


def main(argv: list[str]) -> None:
    """Write synthetic plates and a picture of them."""
    settings = COMMAND.read(argv)

    from mscnn.data.tables.bbbc021 import find_csvs, read_bbbc021  # here, so that --help comes at once
    from mscnn.synthetic import assays, inclusion_plates, inclusions, phenotypes, plates, screen_plan

    out, (height, width) = Path(settings.out), settings.height_width()
    looks = settings.kind == "looks"
    sets = {"demo": list(screen_plan.DEMO_MECHANISMS if looks else inclusions.MECHANISMS),
            "all": list(phenotypes.MECHANISMS if looks else inclusions.MECHANISMS)}
    mechanisms = sets.get(settings.mechanisms, [name.strip() for name in settings.mechanisms.split(",")])
    if out.exists() and any(out.iterdir()):
        raise errors.UsageError(f"{out} exists and is not empty; name a new folder with --out, or remove it")
    try:
        plan = (screen_plan.compounds if looks else inclusion_plates.plan)(mechanisms, settings.compounds)
    except ValueError as problem:
        raise errors.UsageError(str(problem)) from None
    plan_fields = screen_plan.plan_fields if looks else inclusion_plates.plan_fields
    fields = list(plan_fields(plan, settings.plates, settings.sites, settings.seed))
    total = len(fields)
    write = plates.write_plates if looks else inclusion_plates.write_inclusion_plates
    with files.locked_folder(out), progress(total, "drawing", unit="field") as shown:
        write(out, mechanisms=mechanisms, compounds_per_mechanism=settings.compounds, plates_per_week=settings.plates,
              sites_per_well=settings.sites, height=height, width=width, seed=settings.seed,
              workers=cpu_topology.allowed_cores(), progress=lambda done, _: shown.advance(done - shown.done))
        if settings.assays:
            drawn = sorted({(field.well.compound, field.mechanism) for field in fields} - {("DMSO", "")})
            assays.write_assays(out / "assays.csv", drawn, settings.assays, settings.seed)
    table = read_bbbc021(*find_csvs(out), taxol_controls="drop").labelled()
    overview(table, out / "overview.png")
    log.info("%d fields of %dx%d in %s; look at %s", total, height, width, out, out / "overview.png")


def overview(table: Any, path: Path) -> None:
    """Draw a composite of each mechanism at falling doses of its first compound, and of DMSO, from a SiteTable."""
    from mscnn.data.pixels.images import read_site
    from mscnn.report.composite import draw_overview

    rows = {}
    for mechanism, sites in table.frame.groupby("mechanism"):
        first = sites[sites["compound"] == sorted(sites["compound"])[0]]
        shown = first.sort_values(["concentration", "plate", "well", "site"], ascending=[False, True, True, True])
        shown = shown.head(4) if mechanism == "DMSO" else shown.drop_duplicates("concentration")
        rows[mechanism] = [(f"{compound} {dose:g} µM", read_site(files)) for compound, dose, files in
                           zip(shown["compound"], shown["concentration"], shown["files"], strict=True)]
    draw_overview(rows, "Synthetic fields: DNA blue, tubulin green, actin red", path)
