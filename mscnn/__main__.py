"""`python -m mscnn COMMAND`: the tools around training.

synth: writes synthetic plates.
gather: scores the folds of a screen, each evaluated on its own, as one.
"""

import sys
from pathlib import Path

from mscnn import commandline, config, cpu, errors
from mscnn.log import log, open_logs, progress

COMMANDS = ("synth", "gather")


def main() -> None:
    """Run the command that is named first."""
    if sys.argv[1:] in (["--help"], ["-h"]):
        print(f"{__doc__}\nCommands: {', '.join(COMMANDS)}; each explains itself with --help.")
        return
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        got = sys.argv[1] if len(sys.argv) > 1 else "nothing"
        raise errors.UsageError(f"name a command first ({', '.join(COMMANDS)}), got {got}; "
                                f"python -m mscnn {COMMANDS[0]} --help explains it")
    open_logs(0, None)
    {"synth": synth, "gather": gather}[sys.argv[1]](sys.argv[2:])


def gather(argv: list[str]) -> None:
    """Score folds together."""
    evaluations, settings = commandline.gather(argv)

    from mscnn.report import results  # here, so that --help comes at once

    with errors.offenders_in(Path(settings.out)):
        results.gather([Path(folder) for folder in evaluations], Path(settings.out))


def synth(argv: list[str]) -> None:
    """Write synthetic plates and a picture of them."""
    settings = commandline.synth(argv)

    from mscnn.data import synthetic  # here, so that --help needs none of them
    from mscnn.data.bbbc021 import find_csvs, read_bbbc021
    from mscnn.data.phenotypes import MECHANISMS

    out, (height, width) = Path(settings.out), config.parse_size("size", settings.size)
    named = {"demo": list(synthetic.DEMO_MECHANISMS), "all": list(MECHANISMS)}
    mechanisms = named.get(settings.mechanisms, [name.strip() for name in settings.mechanisms.split(",")])
    if out.exists() and any(out.iterdir()):
        raise errors.UsageError(f"{out} exists and is not empty; name a new folder with --out, or remove it")
    try:
        plan = synthetic.compounds(mechanisms, settings.compounds)
    except ValueError as problem:
        raise errors.UsageError(str(problem)) from None
    total = synthetic.num_fields(plan, settings.plates, settings.sites)
    with progress(total, "drawing", unit="field") as shown:
        synthetic.write_plates(out, mechanisms=mechanisms, compounds_per_mechanism=settings.compounds,
                               plates_per_week=settings.plates, sites_per_well=settings.sites, height=height,
                               width=width, seed=settings.seed, workers=cpu.allowed_cores(),
                               progress=lambda done, _: shown.advance(done - shown.done))
    table = read_bbbc021(*find_csvs(out), taxol_controls="drop").labelled()
    overview(table, out / "overview.png")
    log.info("%d fields of %dx%d in %s; look at %s", total, height, width, out, out / "overview.png")


def overview(table, path: Path) -> None:
    """A composite of each mechanism at falling doses of its first compound, and DMSO."""
    from mscnn.data.images import read_site
    from mscnn.report.composite import draw_overview

    rows = {}
    for mechanism, group in table.frame.groupby("mechanism"):
        first = group[group["compound"] == sorted(group["compound"])[0]]
        shown = first.sort_values(["concentration", "plate", "well", "site"], ascending=[False, True, True, True])
        shown = shown.head(4) if mechanism == "DMSO" else shown.drop_duplicates("concentration")
        rows[mechanism] = [(f"{compound} {dose:g} µM", read_site(files)) for compound, dose, files in
                           zip(shown["compound"], shown["concentration"], shown["files"], strict=True)]
    draw_overview(rows, "Synthetic fields: DNA blue, tubulin green, actin red", path)


if __name__ == "__main__":
    errors.run(main)
