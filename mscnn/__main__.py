"""`python -m mscnn COMMAND`: the tools around training.

check: looks for all that is wrong with a screen, its table and its images; else draws its plates.
pack: writes the fields of a screen to a file a plate, which training reads at memory speed.
verify: reads all packed fields and compares them with their CRC-32s.
features: measures every field by features that need no training.
synth: writes synthetic plates.
loco: trains without each compound, or week, in turn and scores on it.
baselines: scores what sees no cells, and what needs no training, on the folds of a run.
report: writes one HTML file of what runs say about compounds they never saw.
gather: scores the folds of a screen, each evaluated on its own, as one.
export: writes a trained network for others.
score: matches profiles of treatments, of any program, with their nearest neighbours: NSC and NSCB.
"""

import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

from mscnn.cli import parse, tools
from mscnn.core import errors, files
from mscnn.core.logs import log, open_logs, progress
from mscnn.core.settings import parse_size
from mscnn.distributed import cpu_topology


def main() -> None:
    """Run the command that is named first."""
    if sys.argv[1:] in (["--help"], ["-h"]):
        print(f"{__doc__}\nCommands: {', '.join(COMMANDS)}; each explains itself with --help.")
        return
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        got = sys.argv[1] if len(sys.argv) > 1 else "nothing"
        raise errors.UsageError(f"name a command first ({', '.join(COMMANDS)}), got {got}; "
                                f"python -m mscnn {next(iter(COMMANDS))} --help explains it")
    open_logs(0, None)
    COMMANDS[sys.argv[1]](sys.argv[2:])


def check(argv: list[str]) -> None:
    """List all problems of a screen, or tell what it holds."""
    settings = parse.check(argv)

    from mscnn.core import csv_safe  # here, so that --help comes at once
    from mscnn.data.check_screen import check_files, check_table, plate_maps, readers, summary
    from mscnn.data.read_screen import read_screen
    from mscnn.data.tables.bbbc021 import find_csvs
    from mscnn.data.tables.problems import Problem, count, in_order, write_csv
    from mscnn.report.plates import draw

    source = find_csvs(Path(settings.bbbc021))[0] if settings.bbbc021 else Path(settings.sites)
    problems_csv, picture, maps_csv = _check_outputs(Path(settings.out), source)
    problems: list[Problem] = []
    try:
        table = read_screen(settings, problems)
        problems += check_table(table, source)
        with readers(cpu_topology.allowed_cores()) as each:
            found, site = check_files(table, source, each)
    except errors.DataError as fatal:
        lines = [Problem(None, str(source), line, "") for line in (fatal.what, *fatal.details)]
        write_csv([*problems, *lines], problems_csv)
        raise
    if problems := in_order(problems + found):
        write_csv(problems, problems_csv)
        for number_and_remedy in count(problems):
            log.warning("%s", number_and_remedy)
        raise errors.DataError(f"{source}: {len(problems)} problems, all listed in {problems_csv}; mend them, check again",
                               [problem.line(source) for problem in problems])
    maps = plate_maps(table)
    csv_safe.write_csv(maps, maps_csv)
    draw(maps, table.control, picture)
    log.info("%s\nno problems found; look at %s", summary(table, site), picture)


def _check_outputs(out: Path, source: Path) -> tuple[Path, Path, Path]:
    """Paths of problems.csv, plate_maps.png and plate_maps.csv, without what an earlier check left there."""
    paths = out / "problems.csv", out / "plate_maps.png", out / "plate_maps.csv"
    if source.resolve() in [path.resolve() for path in paths]:
        raise errors.UsageError(f"--out {out} would write over {source}; name another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path in paths:
            path.unlink(missing_ok=True)
    except OSError as problem:
        raise errors.UsageError(f"--out {out} cannot be written to ({problem.strerror}); name another folder") from None
    return paths


def pack(argv: list[str]) -> None:
    """Pack fields, or go on with it."""
    settings = parse.pack(argv)

    from mscnn.data.pixels.pack import pack
    from mscnn.data.read_screen import read_screen, screen_format
    from mscnn.distributed import world  # here, so that --help comes at once
    from mscnn.training import prepare_data

    out = Path(settings.out)
    if settings.packed and out.resolve() == Path(settings.packed).resolve():
        raise errors.UsageError(f"--out {out} is the pack that is read; name another folder")
    with errors.details_to_file(out.parent):
        table = read_screen(settings)
        if settings.only == "labelled":
            table = table.select((table.frame["mechanism"] != "").to_numpy() | table.is_control())
        if len(table) == 0:
            raise errors.DataError("no site has a known mechanism; fill in that column, or pack them all by --only all")
        header = prepare_data.read_headers(table, world.World())
        with progress(len(table), "packing", unit="field") as shown:
            kept = pack(prepare_data.with_channel_names(table, header), header, out, screen=screen_format(settings),
                        advance=shown.advance, downscale=settings.downscale,
                        workers=settings.workers or cpu_topology.allowed_cores())
    size = sum(path.stat().st_size for path in out.iterdir())
    log.info("%d fields of %d plates (%d of them there before) in %s, %.2f GiB; train with --packed %s", len(table),
             table.frame["plate"].nunique(), kept, out, size / 2**30, out)


def verify(argv: list[str]) -> None:
    """Compare packed fields with their CRC-32s."""
    folder = Path(parse.verify(argv))

    from mscnn.data.pixels import packed  # here, so that --help comes at once

    table = packed.read_packed(folder)
    with progress(len(table), "verifying", unit="field") as shown:
        wrong = packed.verify(table, shown.advance)
    if wrong:
        raise errors.DataError(f"{folder}: {len(wrong)} things are wrong", wrong)
    log.info("%s: all %d fields are as they were written", folder, len(table))


def features(argv: list[str]) -> None:
    """Write the handcrafted features of all sites."""
    settings = parse.features(argv)

    import pandas as pd  # here, so that --help comes at once

    from mscnn.data.read_screen import read_screen
    from mscnn.distributed import world
    from mscnn.evaluation import aggregate, handcrafted
    from mscnn.training import prepare_data

    out = Path(settings.out)
    with errors.details_to_file(out.parent):
        table = read_screen(settings)
        table = prepare_data.with_channel_names(table, prepare_data.read_headers(table, world.World()))
        nuclei = handcrafted.nuclei_channel(table.channels, settings.nuclei)
        with _output_file(out) as partial, progress(len(table), "measuring", unit="field") as shown:
            measured = handcrafted.of_sites(table, nuclei=nuclei, workers=settings.workers or cpu_topology.allowed_cores(),
                                            advance=shown.advance)
            pd.concat([aggregate.metadata(table), measured], axis=1).to_parquet(partial, index=False)
    log.info("%d features of %d fields in %s; nuclei counted in %s", measured.shape[1], len(table), out,
             table.channels[nuclei])


@contextlib.contextmanager
def _output_file(out: Path) -> Iterator[Path]:
    """Yield the path to write to, as write_atomically; an output that cannot be written is found before the work."""
    try:
        if out.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        files.make_output_folder(out.parent)
        out.with_name(out.name + files.PARTIAL).touch()
    except OSError as problem:
        raise errors.UsageError(f"--out {out} cannot be written ({problem.strerror}); name another file") from None
    with files.write_atomically(out) as partial:
        yield partial


def gather(argv: list[str]) -> None:
    """Score folds together."""
    evaluations, settings = parse.gather(argv)

    from mscnn.evaluation import results  # here, so that --help comes at once
    from mscnn.report import confusion

    with errors.details_to_file(Path(settings.out)):
        results.combine_folds([Path(folder) for folder in evaluations], Path(settings.out))
    confusion.draw_confusion(Path(settings.out))


def loco(argv: list[str]) -> None:
    """Train without each compound and score on it, one fold after the other."""
    settings, of_runs = parse.loco(argv)

    from mscnn.data.tables import splits
    from mscnn.distributed import world  # here, so that --help comes at once
    from mscnn.evaluation import cross_validation, handcrafted
    from mscnn.report import confusion
    from mscnn.training import prepare_data

    how, seed = of_runs.split, of_runs.run.seed
    candidates = parse.candidates(settings.candidates, argv)
    table = prepare_data.with_shape(prepare_data.load_labelled_sites(of_runs.data), of_runs.data.size(), world.World())
    if settings.baselines:  # found here, not after all trainings
        handcrafted.nuclei_channel(table.channels, settings.nuclei)
    folds = splits.fold_compounds(table, split=how.split_method, folds=how.folds, seed=seed)
    plan = cross_validation.FoldPlan(Path(settings.out), of_runs.preset, how.split_method, folds,
                     settings.jobs or min(cpu_topology.allowed_cores(), len(folds)), candidates, settings.inner_folds)
    cross_validation.open_or_resume(plan, of_runs.flat())

    def prepare(number: int, folder: Path) -> None:
        splits.write(splits.make_split(table, split=how.split_method, folds=how.folds, fold=number, seed=seed), table,
                     folder)

    confusion.draw_confusion(cross_validation.run_folds(plan, prepare))
    try:
        if settings.baselines:
            _compare([plan.out], tools.Baselines(nuclei=settings.nuclei))
    finally:  # without baselines too, where they fail
        _report([plan.out], plan.out / "report.html")


def baselines(argv: list[str]) -> None:
    """Score baselines on the folds of runs."""
    runs, settings = parse.baselines(argv)
    _compare([Path(run) for run in runs], settings)


def _compare(runs: list[Path], settings: tools.Baselines) -> None:
    from mscnn.evaluation import compare_baselines  # here, so that --help comes at once

    for run in runs:
        with errors.details_to_file(run):
            compare_baselines.score_baselines(run, features=Path(settings.features) if settings.features else None,
                                              nuclei=settings.nuclei,
                                              workers=settings.workers or cpu_topology.allowed_cores(),
                                              microbatch=settings.microbatch,
                                              moved=settings.data, image_root=settings.image_root)


def export(argv: list[str]) -> None:
    """Write a trained network for others."""
    source, settings = parse.export(argv)

    from mscnn.evaluation import export, results  # here, so that --help comes at once
    from mscnn.training import checkpoint

    _, saved = checkpoint.read(Path(source))
    evaluation, out = Path(source) / "evaluation", Path(settings.out)
    scores = results.read_scores(evaluation) if (evaluation / results.SCORES).is_file() else None
    export.write(saved, scores, out, onnx=settings.onnx)
    log.info("step %d of %s in %s, %.0f MiB; how to load it is in %s", saved.step, source, out,
             sum(path.stat().st_size for path in out.iterdir()) / 2**20, out / export.CARD)


def report(argv: list[str]) -> None:
    """Write the report of runs."""
    runs, settings = parse.report(argv)
    _report([Path(run) for run in runs], Path(settings.out or Path(runs[0]) / "report.html"))


def _report(runs: list[Path], out: Path) -> None:
    from mscnn.report import html, run  # here, so that --help comes at once

    if out.is_dir():
        raise errors.UsageError(f"--out {out} is a folder; name a file")
    read = [run.read(path) for path in runs]
    files.make_output_folder(out.parent)
    size = html.write(read, out)
    log.info("report: %s (%.1f MB)", out, size / 1e6)
    if size > html.LIMIT:
        log.warning("%s is larger than 10 MB; report fewer runs at once", out)


def score(argv: list[str]) -> None:
    """Match treatments with their nearest neighbours."""
    path, settings = parse.score(argv)

    from mscnn.data.tables import bbbc021
    from mscnn.evaluation import aggregate, matching, profile_table

    if settings.json and Path(settings.json).is_dir():
        raise errors.UsageError(f"--json {settings.json} is a folder; name a file")
    prefixes = tuple(settings.features.split(",")) if settings.features else ()
    table = profile_table.read(Path(path), prefixes=prefixes, drop_nan=settings.drop_nan)
    if settings.taxol_controls == "drop":
        table = table.select(~bbbc021.is_taxol_control(table.sites()).to_numpy())
    if settings.normalise != "none":
        table = aggregate.normalise(table, settings.normalise, settings.control)
    if settings.sphere:
        table = aggregate.sphere(table, settings.control)
    treatments, counted = aggregate.treatments(table, settings.control, well_rule=settings.aggregate_wells,
                                               treatment_rule=settings.aggregate_treatments)
    scores = matching.score_profiles(treatments, similarity=settings.similarity, draws=settings.bootstrap,
                           permutations=settings.permutations, seed=settings.seed)
    for line in matching.lines(scores, counted):
        log.info("%s", line)
    if settings.json:
        files.make_output_folder(Path(settings.json).absolute().parent)
        files.write_json(Path(settings.json), {
            "profiles": path, "settings": dataclasses.asdict(settings), "counted": counted.to_json(),
            "features": table.names, **scores.to_json()})


def synth(argv: list[str]) -> None:
    """Write synthetic plates and a picture of them."""
    settings = parse.synth(argv)

    from mscnn.data.tables.bbbc021 import find_csvs, read_bbbc021
    from mscnn.synthetic import plates  # here, so that --help needs none of them
    from mscnn.synthetic.phenotypes import MECHANISMS

    out, (height, width) = Path(settings.out), parse_size("size", settings.size)
    named = {"demo": list(plates.DEMO_MECHANISMS), "all": list(MECHANISMS)}
    mechanisms = named.get(settings.mechanisms, [name.strip() for name in settings.mechanisms.split(",")])
    if out.exists() and any(out.iterdir()):
        raise errors.UsageError(f"{out} exists and is not empty; name a new folder with --out, or remove it")
    try:
        plan = plates.compounds(mechanisms, settings.compounds)
    except ValueError as problem:
        raise errors.UsageError(str(problem)) from None
    total = plates.num_fields(plan, settings.plates, settings.sites)
    with progress(total, "drawing", unit="field") as shown:
        plates.write_plates(out, mechanisms=mechanisms, compounds_per_mechanism=settings.compounds,
                               plates_per_week=settings.plates, sites_per_well=settings.sites, height=height,
                               width=width, seed=settings.seed, workers=cpu_topology.allowed_cores(),
                               progress=lambda done, _: shown.advance(done - shown.done))
    table = read_bbbc021(*find_csvs(out), taxol_controls="drop").labelled()
    overview(table, out / "overview.png")
    log.info("%d fields of %dx%d in %s; look at %s", total, height, width, out, out / "overview.png")


def overview(table, path: Path) -> None:
    """A composite of each mechanism at falling doses of its first compound, and DMSO."""
    from mscnn.data.pixels.images import read_site
    from mscnn.report.composite import draw_overview

    rows = {}
    for mechanism, group in table.frame.groupby("mechanism"):
        first = group[group["compound"] == sorted(group["compound"])[0]]
        shown = first.sort_values(["concentration", "plate", "well", "site"], ascending=[False, True, True, True])
        shown = shown.head(4) if mechanism == "DMSO" else shown.drop_duplicates("concentration")
        rows[mechanism] = [(f"{compound} {dose:g} µM", read_site(files)) for compound, dose, files in
                           zip(shown["compound"], shown["concentration"], shown["files"], strict=True)]
    draw_overview(rows, "Synthetic fields: DNA blue, tubulin green, actin red", path)


COMMANDS = {function.__name__: function for function in (
    check, pack, verify, features, synth, loco, baselines, gather, report, export, score)}

if __name__ == "__main__":
    errors.run(main)
