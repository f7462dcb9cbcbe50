"""Train the multi-scale CNN on whole fields of view.

python train.py demo   |   torchrun --nproc-per-node 2 train.py fields256 --run-dir DIR
"""

from mscnn.cli import parse
from mscnn.distributed import heartbeat, launchers
from mscnn.training.stop_signal import StopRequest


def main(argv: list[str]) -> None:
    """Run one training. Settings are read before torch is imported, so that --help and refusals come at once."""
    settings, resolved = parse.train(argv)
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
            from mscnn.report.plate_scales import draw_plate_scales  # here: matplotlib takes its time

            draw_plate_scales(plate_scale.load(prepared.run_dir), prepared.run_dir / "intensity.png")
        run.train(prepared)
        del prepared  # the wrapped network goes before the process group
        ranks.shutdown()

    heartbeat.watch(job, settings.parallel.start_timeout)
