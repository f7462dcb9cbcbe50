"""Train the multi-scale CNN on whole fields of view.

one process:    mscnn train demo
several ranks:  torchrun --nproc-per-node 2 -m mscnn train demo
"""

from pathlib import Path

from mscnn.cli import parse
from mscnn.core import config
from mscnn.core.optional_parts import OptionalParts
from mscnn.distributed import heartbeat, launchers
from mscnn.training.stop_signal import StopRequest

COMMAND = parse.TrainingCommand("train", __doc__)


def main(argv: list[str]) -> None:
    """Run one training. Settings are read before torch is imported, so that --help and refusals come at once."""
    settings, resolved = read(argv)
    stop = StopRequest(settings.run.stop_after)  # from here on a signal stops the run after its next step
    if settings.parallel.bind:
        launchers.drop_openmp_binding()

    from mscnn.data.pixels import plate_scale
    from mscnn.training import run

    def job() -> None:
        prepared = run.prepare(settings, resolved, stop)
        if prepared is None:
            return
        ranks = prepared.trainer.world
        if ranks.rank == 0 and settings.data.normalise == "plate":
            draw_intensity(prepared.run_dir)
        run.train(prepared)
        del prepared  # the wrapped network goes before the process group
        ranks.shutdown()

    def draw_intensity(run_dir: Path) -> None:
        parts = OptionalParts("the training goes on without")
        with parts.part("intensity.png"):
            from mscnn.report.plate_scales import draw_plate_scales  # here: matplotlib takes its time

            draw_plate_scales(plate_scale.load(run_dir), run_dir / "intensity.png")
        parts.log()

    heartbeat.watch(job, settings.parallel.start_timeout)


def read(argv: list[str]) -> tuple[config.Config, str]:
    """Read the settings of a training. Returns them, and the same as YAML. Raises UsageError."""
    settings = config.from_flat(COMMAND.read(argv))
    return settings, settings.to_yaml()
