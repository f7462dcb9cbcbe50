"""On what a score was measured, in words: the end of the report's first sentence.   pytest tests/report/test_scope.py"""

from mscnn.core import identity, words
from mscnn.data.tables.sides import OF_WELLS
from mscnn.report.run import Run


def of_run(run: Run) -> str:
    """Return whose treatments and fields were scored, and whether the network was trained on their compounds."""
    splits = run.splits()
    method = splits[0].method
    if run.description.leaks():
        return "of fields that were taken out at random"
    if method in OF_WELLS:
        what = "plates" if method == "leave-plate-out" else "wells"
        return f"of {what} that were held out of training; other {what} of the same compounds were trained on"
    if run.is_folds():
        trainings = words.counted(len(splits), "training")
        return f"each by a network that was trained without the compound ({trainings}, {method})"
    if len(splits) > 1:
        return ("each by a read-out that was fitted without the compound, of one label-free network "
                f"({len(splits)} read-outs, {method})")
    scored = run.tables["treatments"].query("Metadata_MOA != ''")["Metadata_Compound"].unique()
    if seen := identity.in_common(scored, splits[0].trained["compounds"]):
        return f"of {words.counted(len(scored), 'compound')}, of which the network was trained on {len(seen)}"
    if len(identity.in_common(scored, splits[0].held_out)) == len(scored):
        return f"of compounds that were held out of training ({method})"
    return "of compounds that the network was not trained on"
