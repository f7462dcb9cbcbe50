"""Score a checkpoint on the compounds it never saw.   python evaluate.py --checkpoint RUN_OR_FILE [--out DIR]"""

from mscnn.cli import parse
from mscnn.distributed import heartbeat, launchers


def main(argv: list[str]) -> None:
    """Run one evaluation. Settings are read before torch is imported, so that --help and refusals come at once."""
    settings = parse.evaluate(argv)
    if settings.bind:
        launchers.drop_openmp_binding()

    from mscnn.evaluation import aggregate, run

    def job() -> None:
        evaluation = run.evaluate(settings)
        if evaluation is None:
            return
        from mscnn.report import confusion, gallery  # here: matplotlib takes seconds

        if settings.examples:
            rules = evaluation.description
            levels = aggregate.aggregate(evaluation.predictions, rules["control"], wells=rules["aggregate_wells"],
                                         treatments=rules["aggregate_treatments"])
            gallery.write(evaluation.predictions, levels["treatments"],
                          lambda row: evaluation.fields.read(evaluation.scored[[row]])[0], evaluation.network,
                          classes=rules["classes"], channels=rules["channels"], out=evaluation.out,
                          examples=settings.examples)
        run.write(evaluation)
        confusion.draw_confusion(evaluation.out)

    heartbeat.watch(job, settings.start_timeout)
