"""Files of a run that were changed since: each command gives a result without NaN, or one line and exit code 2 or 3.

`make fuzz` tries thousands of changes; a few of them, always the same, are tried by every run of the tests.
"""

import contextlib
import dataclasses
import io
import json
import logging
import os
import re
import shutil
import signal
import sys
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mscnn import cli
from mscnn.core import config, errors, run_directory
from mscnn.core.logs import Metrics
from mscnn.evaluation import aggregate, baselines, compare_baselines, cross_validation, export, results
from mscnn.evaluation.fold_progress import FoldProgress
from mscnn.evaluation.model_card import model_card
from mscnn.report import confusion, figures
from mscnn.training import checkpoint
from tests.evaluation import test_compare_baselines, test_results
from tests.fuzz import mutations
from tests.report import test_html
from tests.training.test_checkpoint import CHECKPOINT

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", 0))  # of each command; 0: a few, always the same
SAMPLE = settings(max_examples=EXAMPLES or 5, derandomize=not EXAMPLES, deadline=None, database=None, print_blob=False,
                  phases=(Phase.generate, Phase.shrink) if EXAMPLES else (Phase.generate,), report_multiple_bugs=True,
                  suppress_health_check=list(HealthCheck))
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT)  # whose handlers a command that ends changes
PLAN = cross_validation.FoldPlan(Path(), "screen", "k-fold", [["a"], ["b"]], 1,
                                 {"one": {"lr": "0.1"}, "two": {"epochs": 2}})
CHOICE = {"chosen": "one", "settings": {"lr": "0.1"}, "right of total": {"one": {"fields": [1, 2]}}}
FEW = ["--bootstrap", "9", "--permutations", "9", "--json"]
SETTINGS = {"preset": "screen", "sites": "sites.csv", "epochs": 3, "lr": "0.1"}


@dataclasses.dataclass
class Files:
    """A folder whose files are changed, and the command that reads them."""

    folder: Path
    argv: list[str]
    names: list[str]       # of the files, globs
    outputs: list[str]     # files that may not hold NaN, globs

    def __repr__(self) -> str:
        return self.argv[0]

    def paths(self) -> list[Path]:
        return sorted(path for name in self.names for path in self.folder.glob(name))


@pytest.fixture(scope="module")
def quick():
    """Pictures, training and export of programs left out: they read no file."""
    with pytest.MonkeyPatch.context() as patch:
        if not os.environ.get("FUZZ_DRAW"):
            patch.setattr(figures, "to_svg", lambda figure: "<svg/>")
        patch.setattr(figures, "maps", lambda *arguments: {})
        patch.setattr(confusion, "draw", lambda *arguments: None)
        patch.setattr(compare_baselines, "_untrained", lambda *arguments: None)
        patch.setattr(baselines, "available", lambda screen: ["largest class"])
        patch.setattr(compare_baselines, "DRAWS", 9)
        patch.setattr(checkpoint, "read", lambda path: (path, CHECKPOINT))
        patch.setattr(export, "write", lambda saved, scores, out, onnx: _write_card(saved, scores, out))
        yield


def _write_card(saved, scores, out):
    out.mkdir(exist_ok=True)
    (out / "README.md").write_text(model_card(export.describe(saved), scores, onnx=False))


@pytest.fixture(scope="module")
def folds(tmp_path_factory) -> Path:
    return test_html.folds.__wrapped__(tmp_path_factory.mktemp("folds"))


@pytest.fixture(scope="module")
def files(tmp_path_factory, folds, quick) -> dict[str, Files]:
    """The files of each command, small."""
    root = tmp_path_factory.mktemp("foreign")
    one = root / "one"
    shutil.copytree(folds / "fold-0", one)
    shutil.copytree(folds / "scores", one / "evaluation")
    shutil.copytree(folds / "evaluation" / "0" / "gallery", one / "evaluation" / "gallery")
    description = dataclasses.replace(
        results.read_description(folds / "scores"), folds=None, checkpoint="one/checkpoints/last.safetensors", step=3,
        compounds=["a", "b"], classes=test_html.CLASSES, split=test_html.split_of("a", "b"))
    (one / "evaluation" / "evaluation.json").write_text(json.dumps(description.to_json()))
    table = pd.read_parquet(one / "evaluation" / results.FIELDS)
    rng = np.random.default_rng(0)
    profiles = pd.concat([table[[name for name in table if name.startswith("Metadata_")]],
                          aggregate.embedding(rng.random((len(table), 4)))], axis=1)
    profiles.assign(Metadata_Scored=True).to_parquet(one / "evaluation" / results.PROFILES, index=False)
    profiles.to_csv(root / "profiles.csv", index=False)
    pairs = root / "pairs"
    pairs.mkdir()
    test_results.folds.__wrapped__(pairs)
    (root / "loco").mkdir()
    cross_validation.open_or_resume(dataclasses.replace(PLAN, out=root / "loco" / "out"), SETTINGS)
    inner = root / "loco" / "out" / "inner" / "fold-0"
    inner.mkdir(parents=True)
    (inner / "chosen.json").write_text(json.dumps(CHOICE))
    (one / "RUN_STATUS.json").write_text(json.dumps({"status": "running", "begun_at": 3, "fruitless_restarts": 2}))
    screen = root / "screen"
    screen.mkdir()

    class Factory:
        mktemp = staticmethod(lambda name: screen)
    noise, *_ = test_compare_baselines.run.__wrapped__(Factory)
    (noise / "fold-0" / "config.yaml").write_text(f"preset: screen\nsites: {screen / 'sites.csv'}\nseed: 1\n")
    whole = ["evaluation/*.json", "evaluation/*.csv", "evaluation/*.parquet", "evaluation/gallery/*.json",
             "evaluation/gallery/000.jpg", "*.json", "metrics.jsonl", "config.yaml"]
    report, scored, profiles = str(root / "report.html"), str(root / "scored.json"), one / "evaluation" / results.PROFILES
    return {
        "report": Files(one, ["report", str(one), "--out", report], whole, [report]),
        "report of folds": Files(folds, ["report", str(folds), "--out", report],
                                 ["scores/*.json", "scores/*.csv", "scores/*.parquet", "fold-0/*",
                                  "evaluation/0/gallery/gallery.json"], [report]),
        "gather": Files(pairs, ["gather", str(pairs / "0"), str(pairs / "1"), "--out", str(root / "all")], ["0/*", "1/*"],
                        [str(root / "all" / name) for name in ("scores.json", "evaluation.json", "wells.csv")]),
        "score": Files(one, ["score", str(profiles), *FEW, scored], ["evaluation/profiles.parquet"], [scored]),
        "score of CSV": Files(root, ["score", str(root / "profiles.csv"), *FEW, scored], ["profiles.csv"], [scored]),
        "export": Files(one, ["export", str(one), "--out", str(root / "exported")], ["evaluation/scores.json"],
                        [str(root / "exported" / "README.md")]),
        "baselines": Files(noise, ["baselines", str(noise)],
                           ["features.parquet", "scores/evaluation.json", "scores/scores.json", "fold-0/config.yaml",
                            "fold-0/split.csv"], [str(noise / "scores" / "baselines.json")]),
        "curves": Files(one, ["bench", "curves", "--runs", f"{one},{folds / 'fold-1'}", "--by", "seed", "--out",
                              str(root / "curves.png")], ["metrics.jsonl", "config.yaml"], []),
        "resume": Files(one, ["resume", str(one)], ["RUN_STATUS.json", "config.yaml", "metrics.jsonl"], []),
        "loco": Files(root / "loco" / "out", ["loco", str(root / "loco" / "out")], ["*.yaml", "inner/fold-0/chosen.json"],
                      []),
    }


def _resume(run_dir: Path) -> None:
    """Read what a training reads that resumes, besides its checkpoint."""
    run_directory.require_unused(str(run_dir), "auto")
    config.from_flat(run_directory.read_settings(run_dir))
    run_directory.initial_status(run_dir, 3)
    with Metrics(run_dir, 0, after=2):
        pass
    shutil.rmtree(run_dir / "tensorboard")


def _loco(out: Path) -> None:
    """Read what a cross-validation reads that is resumed."""
    plan = dataclasses.replace(PLAN, out=out)
    cross_validation.open_or_resume(plan, SETTINGS)
    cross_validation._choose(plan, 0, out / "inner" / "fold-0", SimpleQueue(), FoldProgress(1, "folds"))


def command(argv: list[str]) -> tuple[int, str]:
    """Run a command in this process; return its exit code and what it said on standard error."""
    programs = {"resume": lambda: _resume(Path(argv[1])), "loco": lambda: _loco(Path(argv[1]))}
    program = programs.get(argv[0], lambda: cli.run_command("mscnn", "mscnn.cli", argv))
    said, out, before, code = io.StringIO(), io.StringIO(), sys.argv, 0
    sys.argv = ["mscnn", *argv]
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(out):
        try:
            errors.run(program)
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            sys.argv = before
            for number, handler in handlers.items():
                signal.signal(number, handler)
            logging.getLogger("mscnn").handlers.clear()
    return code, said.getvalue()


def judge(code: int, said: str, outputs: list[Path]) -> None:
    """Assert the exit code, the one line, and finite numbers."""
    assert "Traceback" not in said, said[-3000:]
    assert code in (0, 2, 3), said
    if code:
        lines = [line for line in said.splitlines() if ": error: " in line]
        assert len(lines) == 1, said
        assert len(lines[0]) < 2000, said
    else:
        for path in outputs:
            if path.suffix == ".json":  # a name may be nan
                json.loads(path.read_text(), parse_constant=pytest.fail)
            elif path.suffix == ".csv":
                assert np.isfinite(pd.read_csv(path).filter(like="Probability_").to_numpy()).all()
            else:
                assert not re.search(r'class="n">[^<]*\b(nan|inf)\b|\b(nan|inf)( %|/| to )', path.read_text()), path


COMMANDS = ["report", "report of folds", "gather", "score", "score of CSV", "export", "baselines", "curves", "resume",
            "loco"]


@pytest.mark.parametrize("name", COMMANDS)
def test_unchanged_files_are_read(files, name):
    own = files[name]
    assert own.paths()
    kept = {path: path.read_bytes() for path in own.paths() if path.is_file()}
    code, said = command(own.argv)
    assert code == 0, said
    judge(code, said, [Path(path) for path in own.outputs])
    for path, raw in kept.items():
        path.write_bytes(raw)


@pytest.mark.parametrize("name", COMMANDS)
@SAMPLE
@given(data=st.data())
def test_what_changed_gives_a_result_or_one_line(files, name, data):
    own = files[name]
    kept = {path: path.read_bytes() for path in own.paths() if path.is_file()}
    path = data.draw(st.sampled_from(sorted(kept)))
    try:
        mutations.mutate(path, data.draw)
        judge(*command(own.argv), [Path(path) for path in own.outputs])
    finally:
        for one, raw in kept.items():
            if one.is_symlink() or not one.is_file() or one.read_bytes() != raw:
                mutations.restore(one, raw)
