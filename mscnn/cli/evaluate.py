"""Score a checkpoint on the compounds that its split held out, or on any other table."""

from mscnn.cli import parse
from mscnn.distributed import heartbeat, launchers
from mscnn.evaluation.settings import EvaluationSettings

COMMAND = parse.Command("evaluate", __doc__, EvaluationSettings)


def main(argv: list[str]) -> None:
    """Run one evaluation. Settings are read before torch is imported, so that --help and refusals come at once."""
    settings = COMMAND.read(argv)
    if settings.bind:
        launchers.drop_openmp_binding()

    from mscnn.evaluation import aggregate, run

    def job() -> None:
        evaluation = run.evaluate(settings)
        if evaluation is None:
            return
        from mscnn.report import confusion, gallery  # here: matplotlib takes seconds

        if settings.examples:
            description = evaluation.description
            levels = aggregate.aggregate(evaluation.predictions, description.control,
                                         well_rule=description.aggregate_wells,
                                         treatment_rule=description.aggregate_treatments)
            gallery.write(evaluation.predictions, levels["treatments"],
                          lambda row: evaluation.fields.read(evaluation.scored[[row]])[0], evaluation.network,
                          classes=description.classes, channels=description.channels, out=evaluation.out,
                          examples=settings.examples)
        run.write(evaluation)
        confusion.draw_confusion(evaluation.out)

    heartbeat.watch(job, settings.start_timeout)
