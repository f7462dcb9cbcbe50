"""Score a checkpoint on the compounds that its split held out, or on any other table."""

from mscnn.cli import parse
from mscnn.core.logs import log, working
from mscnn.core.optional_parts import OptionalParts
from mscnn.distributed import heartbeat, launchers
from mscnn.evaluation.settings import EvaluationSettings

COMMAND = parse.Command("evaluate", __doc__, EvaluationSettings)


def main(argv: list[str], *, is_last: bool = True) -> None:
    """Run one evaluation. Settings are read before torch is imported, so that --help and refusals come at once.

    is_last: no report follows, so that the log names it.
    """
    settings = COMMAND.read(argv)
    if settings.bind:
        launchers.drop_openmp_binding()

    from mscnn.evaluation import known_profiles, results, run
    from mscnn.evaluation.decisions import Evidence
    from mscnn.profiling import h5ad_writer

    if settings.h5ad:
        h5ad_writer.require_h5py()

    def job() -> None:
        evaluation = run.evaluate(settings)
        if evaluation is None:
            return
        with working("scores and their intervals"):
            run.write(evaluation)
        parts = OptionalParts(f"tables and scores are whole in {evaluation.out}")
        with parts.part(results.PROFILES):
            run.write_profiles(evaluation)
        with parts.part(results.QUALITY):
            run.write_quality(evaluation)
        if settings.h5ad:
            with parts.part(results.ANNDATA):
                run.write_anndata(evaluation.profiles, evaluation.out)
        with parts.part(known_profiles.FILE):
            run.keep_known(evaluation)
        evidence, summary = Evidence(), ""
        with parts.part(results.PROFILE_SCORES), working("scores of the profiles"):
            evidence = run.score_profiles(evaluation)
        with parts.part(results.DECISIONS):
            summary = run.write_decisions(evaluation, evidence)
        with parts.part(results.CONFUSION):
            from mscnn.report import confusion  # here: matplotlib takes seconds

            confusion.draw_confusion(evaluation.out)
        with parts.part(results.MULTIQC):
            from mscnn.report import multiqc_scores

            multiqc_scores.write_scores(evaluation.out)
        with parts.part("examples"):
            draw_examples(evaluation)
        if summary:
            log.info("%s: %s", summary, evaluation.out / results.DECISIONS)
        if is_last:
            log.info("next: mscnn report %s", evaluation.out if settings.out else settings.checkpoint)
        parts.finish()

    def draw_examples(evaluation: run.Evaluation) -> None:
        if settings.examples:
            from mscnn.report import gallery

            gallery.write(evaluation, examples=settings.examples)

    heartbeat.watch(job, settings.start_timeout)
