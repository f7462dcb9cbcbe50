"""Measure handcrafted features of every field, which need no training, for the baselines."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mscnn.cli import parse
from mscnn.core import errors, files
from mscnn.core.config import Table
from mscnn.core.logs import log, progress
from mscnn.core.settings import REQUIRED, NonNegativeInt, require, setting
from mscnn.distributed import cpu_topology


@dataclass(frozen=True, kw_only=True)
class FeaturesSettings(Table):
    """Settings of `mscnn features`"""

    out: str = setting(REQUIRED, "file for Metadata_* and the features, one row per site: .parquet, or .h5ad (AnnData)",
                       metavar="FILE", written=True)
    taxol_controls: Literal["drop", "keep"] = setting("keep", "BBBC021's taxol 0.3 uM control wells")
    nuclei: str | None = setting(None, "channel that shows nuclei; default: DNA, DAPI, Hoechst or nuclei, in any case",
                                 metavar="CHANNEL")
    workers: NonNegativeInt = setting(0, "processes, each measuring a field at a time; 0: one per core")

    def __post_init__(self):
        super().__post_init__()
        require(self.out.endswith((".parquet", ".h5ad")), "out must be a .parquet or .h5ad file", self.out)


COMMAND = parse.Command("features", __doc__, FeaturesSettings)


def main(argv: list[str]) -> None:
    """Write the handcrafted features of all sites."""
    settings = COMMAND.read(argv)

    import pandas as pd  # here, so that --help comes at once

    from mscnn.data.pixels import handcrafted
    from mscnn.data.read_screen import read_screen
    from mscnn.distributed import world
    from mscnn.evaluation import aggregate
    from mscnn.profiling import h5ad_writer
    from mscnn.training import prepare_data

    out = Path(settings.out)
    if out.suffix == h5ad_writer.SUFFIX:
        h5ad_writer.require_h5py()
    with errors.details_to_file(out.parent):
        table = read_screen(settings)
        table = prepare_data.with_channel_names(table, prepare_data.read_headers(table, world.World()))
        nuclei = handcrafted.nuclei_channel(table.channels, settings.nuclei)
        with _output_file(out) as partial, progress(len(table), "measuring", unit="field") as shown:
            measured = handcrafted.of_sites(table, nuclei=nuclei, workers=settings.workers or cpu_topology.allowed_cores(),
                                            advance=shown.advance)
            features = pd.concat([aggregate.metadata(table), measured], axis=1)
            if out.suffix == h5ad_writer.SUFFIX:
                h5ad_writer.write(features, partial)
            else:
                features.to_parquet(partial, index=False)
    log.info("%d features of %d fields in %s; nuclei counted in %s", measured.shape[1], len(table), out,
             table.channels[nuclei])


@contextlib.contextmanager
def _output_file(out: Path) -> Iterator[Path]:
    """Yield the path to write to, as write_atomically. Raises UsageError before the work where it cannot be written."""
    from mscnn.data.pixels import handcrafted

    try:
        if out.exists() and handcrafted.PREFIX.encode() not in out.read_bytes():
            raise FileExistsError(0, "it holds no features of this command")
        files.make_output_folder(out.parent)
        out.with_name(out.name + files.PARTIAL).touch()
    except OSError as problem:
        raise errors.UsageError(f"--out {out} cannot be written ({problem.strerror}); name another file") from None
    with files.write_atomically(out, alone=True) as partial:
        yield partial
