"""Write the fields of a screen to one file per plate, which training reads at memory speed.

The same command resumes an unfinished pack.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mscnn.cli import parse
from mscnn.core import errors, files
from mscnn.core.config import Table
from mscnn.core.logs import log, progress
from mscnn.core.settings import REQUIRED, NonNegativeInt, parse_size, setting
from mscnn.core.words import counted
from mscnn.distributed import cpu_topology


@dataclass(frozen=True, kw_only=True)
class PackSettings(Table):
    """Settings of `mscnn pack`"""

    out: str = setting(REQUIRED, "folder for the packed fields; an unfinished one is resumed", metavar="DIR", written=True)
    taxol_controls: Literal["drop", "keep"] = setting("keep", "BBBC021's taxol 0.3 uM control wells; training drops them "
                                                              "by default")
    only: Literal["labelled", "all"] = setting("labelled", "pack the sites with a known mechanism, or all sites")
    downscale: str = setting("1", "average blocks of pixels to one: the side of square ones, or their height x width. "
                                  "4x5 makes 256x256 of 1024x1280", metavar="N|HxW")
    workers: NonNegativeInt = setting(0, "images decoded at once; 0: one per core")
    overwrite: bool = setting(False, "write over a pack that was made with other options, or of other fields")

    def __post_init__(self):
        super().__post_init__()
        self.blocks()

    def blocks(self) -> tuple[int, int]:
        """Return height and width in pixels of the blocks that are averaged. Raises UsageError."""
        text = self.downscale if "x" in self.downscale.lower() else f"{self.downscale}x{self.downscale}"
        try:
            return parse_size("downscale", text)
        except errors.UsageError:
            raise errors.UsageError(f"downscale must be a number of pixels, or HEIGHTxWIDTH like 4x5, got "
                                    f"{self.downscale!r}") from None


COMMAND = parse.Command("pack", __doc__, PackSettings)


def main(argv: list[str]) -> None:
    """Pack the fields of a screen, or the rest of them where an earlier call was stopped."""
    settings = COMMAND.read(argv)

    from mscnn.data.pixels.pack import pack  # here, so that --help comes at once
    from mscnn.data.pixels.packed import read_packed
    from mscnn.data.read_screen import read_screen, screen_format
    from mscnn.data.tables.control import require_control
    from mscnn.distributed import world
    from mscnn.training import prepare_data

    out = Path(settings.out)
    if settings.packed and out.resolve() == Path(settings.packed).resolve():
        raise errors.UsageError(f"--out {out} is the pack that is read; name another folder")
    with errors.details_to_file(out.parent):
        table = read_screen(settings)
        require_control(table)
        if settings.only == "labelled":
            is_labelled = (table.frame["mechanism"] != "").to_numpy()
            if not (is_labelled & ~table.is_control()).any():
                raise errors.DataError("no treated site has a known mechanism; name its column with --columns "
                                       "mechanism=COLUMN, or pack all sites by --only all")
            if left_out := int((~is_labelled & ~table.is_control()).sum()):
                log.warning("%d of %d sites are left out: their mechanism is not known; --only all packs them", left_out,
                            len(table))
            table = table.select(is_labelled | table.is_control())
        header = prepare_data.read_headers(table, world.World())
        with files.locked_folder(out), progress(len(table), "packing", unit="field") as shown:
            kept = pack(prepare_data.with_channel_names(table, header), header, out, screen=screen_format(settings),
                        advance=shown.advance, blocks=settings.blocks(), overwrite=settings.overwrite,
                        workers=settings.workers or cpu_topology.allowed_cores())
        prepare_data.read_headers(read_packed(out, table.control), world.World())  # refuses copies that only pixels show
    size = sum(path.stat().st_size for path in out.iterdir())
    log.info("%s of %s (%d there before) in %s, %.2f GiB; train with --packed %s", counted(len(table), "field"),
             counted(table.frame["plate"].nunique(), "plate"), kept, out, size / 2**30, out)
