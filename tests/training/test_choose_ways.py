"""Which ways a run takes: as it began, as asked, by counting or by measuring. All times are given."""

import json
import shutil

import pytest

from mscnn.core import activity, config
from mscnn.distributed.world import World
from mscnn.model import kernel, measured_ways, ways
from mscnn.model.acceleration import Acceleration
from mscnn.model.ways import COMPILED, DENSE, SPARSE, WINOGRAD
from mscnn.training import checkpoint, choose_ways
from tests.checkpoint_content import content_digest
from tests.conftest import run_python

LARGE, TINY = (3, 1024, 1280), (3, 128, 128)
COUNTED_TORCH = (SPARSE,) * 2 + (DENSE,) * 5
BEGAN = (COMPILED, WINOGRAD, WINOGRAD) + (DENSE,) * 4


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """A machine with the kernel, on which dense is the fastest way of all branches but the first."""
    state = {"kernel": (True, "here"), "measured": 0}

    def measure(candidates, channels, height, width, acceleration):
        state["measured"] += 1
        state["activities"] = [name for name, _ in activity.current().values()]
        return [{way: 1.0 + (way == DENSE) * (-0.5 if i else 0.5) for way in of_branch}
                for i, of_branch in enumerate(candidates)]

    monkeypatch.setattr(kernel, "available", lambda: state["kernel"])
    monkeypatch.setattr(kernel, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(measured_ways, "measure", measure)
    return state


def chosen(shape=LARGE, *, numerics=None, backend="native", precision="float32", **asked) -> choose_ways.ChosenWays:
    settings = config.from_flat({"preset": "supervised", "sites": "x.csv", **asked})
    return choose_ways.choose_ways(settings, shape, Acceleration(precision, backend=backend), World(), numerics)


@pytest.mark.parametrize(("asked", "expected", "why"), [
    ({"gradient": "dense"}, (DENSE,) * 7, "as asked"),
    ({"gradient": "winograd"}, (WINOGRAD,) * 5 + (DENSE,) * 2, "as asked"),
    ({"gradient": "sparse", "kernel": "torch"}, (SPARSE,) * 6 + (DENSE,), "as asked"),
    ({"kernel": "torch"}, COUNTED_TORCH, "by counting: --kernel torch"),
    ({"backend": "ipex"}, LARGE, "by counting: Intel's extension packs the weights"),
    ({"shape": TINY}, TINY, "by counting: a small field"),
    ({"downscale": 4}, (3, 256, 320), "by counting: a small field")])
def test_nothing_is_measured_where_a_way_is_asked_for_or_matters_little(machine, asked, expected, why):
    found = chosen(**asked)
    if len(expected) == 3:  # the shape for which counting decides
        expected = ways.by_counting("auto", "auto", *expected)
    assert (found.ways, machine["measured"], found.table) == (expected, 0, [])
    assert found.gradient == {"asked": asked.get("gradient", "auto"), "used": ", ".join(expected), "why": why}


def test_the_fastest_way_of_each_branch_is_taken_and_reported(machine):
    found = chosen()
    assert found.ways == (COMPILED,) + (DENSE,) * 6
    measured = found.gradient["measured_ms"]
    assert measured[:2] == [{COMPILED: 1.0, WINOGRAD: 1.0, DENSE: 1.5}, {COMPILED: 1.0, WINOGRAD: 1.0, DENSE: 0.5}]
    assert found.gradient["used"] == "compiled, dense, dense, dense, dense, dense, dense"
    assert found.gradient["why"].startswith("measured: ")
    assert found.kernel == {"asked": "auto", "used": "compiled C++", "why": "here"}
    assert [line.split()[-1] for line in found.table] == ["used", *found.ways]
    assert chosen().gradient["why"].startswith("measured before: ")
    assert machine["measured"] == 1
    chosen(downscale=2)
    chosen(precision="bfloat16")
    chosen(keep_memory=False)
    assert machine["measured"] == 4


def test_the_heartbeat_can_tell_that_ways_are_timed(machine):
    chosen()
    assert "timing the ways of the branches" in machine["activities"]
    assert "timing the ways of the branches" not in [name for name, _ in activity.current().values()]


def test_without_the_kernel_its_ways_are_no_candidates(machine):
    machine["kernel"] = (False, "no C++ compiler")
    found = chosen()
    assert found.kernel == {"asked": "auto", "used": "torch", "why": "no C++ compiler"}
    assert {way for of_branch in found.gradient["measured_ms"] for way in of_branch} == {SPARSE, DENSE}
    assert found.ways == (SPARSE,) + (DENSE,) * 6


def test_a_kernel_that_no_branch_needs_is_not_used(machine):
    assert chosen(gradient="dense").kernel == {"asked": "auto", "used": "torch", "why": "no branch uses it (here)"}


@pytest.mark.parametrize("began", [BEGAN, COUNTED_TORCH, (DENSE,) * 7, (SPARSE,) * 6 + (DENSE,)])
def test_a_resumed_run_keeps_its_ways(machine, began):
    found = chosen(numerics={"gradient": ", ".join(began)})
    assert (found.ways, machine["measured"]) == (began, 0)
    assert found.gradient == {"asked": "auto", "used": ", ".join(began), "why": "as the run began"}
    assert found.kernel["used"] == ("compiled C++" if COMPILED in began else "torch")


def test_a_way_of_any_name_is_kept_where_it_can_be_computed(monkeypatch):
    """As another compiled way may be added, here "new"."""
    known, products = ways.candidates, ways.products
    monkeypatch.setattr(ways, "WAYS", (*ways.WAYS, "new"))
    monkeypatch.setattr(ways, "candidates", lambda gradient, use_kernel, channels, pool: [
        *known(gradient, use_kernel, channels, pool), *(["new"] if use_kernel == "auto" else [])])
    monkeypatch.setattr(ways, "products", lambda way, *shape: 10**12 if way == "new" else products(way, *shape))
    began = ("new",) * 7
    found = chosen(numerics={"gradient": ", ".join(began)})
    assert (found.ways, found.kernel["used"]) == (began, "compiled C++")
    monkeypatch.setattr(kernel, "available", lambda: (False, "no luck"))
    assert "new" not in chosen(numerics={"gradient": ", ".join(began)}).ways


def test_a_resumed_run_that_lacks_the_kernel_takes_the_best_available_and_says_so(machine, monkeypatch):
    told = []
    monkeypatch.setattr(choose_ways.log, "warning", lambda text, *values: told.append(text % values))
    machine["kernel"] = (False, "no C++ compiler")
    found = chosen(numerics={"gradient": "compiled, compiled, dense, sparse, dense, dense, dense"})
    assert found.ways == (SPARSE, DENSE, DENSE, SPARSE, DENSE, DENSE, DENSE)
    assert told == ["gradient: the run began with compiled, compiled, dense, sparse, dense, dense, dense, which needs the "
                    "kernel (no C++ compiler); now sparse, dense, dense, sparse, dense, dense, dense, rounded differently"]
    assert found.gradient["why"].startswith("as the run began where that can be computed; measured: ")
    assert [line.split()[-1] for line in found.table] == ["used", *found.ways]


@pytest.mark.parametrize("numerics", [
    {}, {"gradient": None}, {"gradient": "sparse in branches [0, 1, 2] of 0 to 6"}, {"gradient": ["dense"] * 7},
    {"gradient": ", ".join([DENSE] * 6)}, {"gradient": ", ".join([DENSE] * 6 + ["/etc/passwd"])}])
def test_a_checkpoint_without_ways_is_resumed_with_ways_chosen_anew(machine, monkeypatch, numerics):
    told = []
    monkeypatch.setattr(choose_ways.log, "info", lambda text, *values: told.append(text % values))
    assert chosen(numerics=numerics).ways == chosen().ways
    assert machine["measured"] == 1
    assert told == ["gradient: the checkpoint does not name the way of each branch; the ways are chosen anew"]


# ---- whole runs

COMMON = ("supervised", "--hold-out", "b", "--minibatch", "3", "--epochs", "2", "--threads", "1", "--class-weights", "none",
          "--checkpoint-steps", "1", "--keep-checkpoints", "9", "--oversubscribe", "true")
START = """
import pathlib, sys
from mscnn.cli import train
from mscnn.model import kernel, measured_ways
from mscnn.training import choose_ways
fastest, cache, *arguments = sys.argv[1:]
choose_ways.SMALL, kernel.CACHE = 0, pathlib.Path(cache)
measured_ways.measure = lambda candidates, *rest: [
    {way: 1.0 if way == fastest else 9.0 for way in of_branch} for of_branch in candidates]
train.main(arguments)
"""


def train(fastest: str, cache, run_dir, screen, *options):
    """A run on a machine with a fastest way."""
    done = run_python("-c", START, fastest, cache, *COMMON, "--sites", screen, "--run-dir", run_dir, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def digest(run_dir) -> str:
    return content_digest(checkpoint.read(run_dir)[1], "run_dir", "resume")


def test_a_resumed_run_is_the_same_bit_for_bit_whatever_the_cache_says(tiny_screen, tmp_path):
    whole, part, other = (tmp_path / name for name in ("whole", "part", "other"))
    said = train("dense", tmp_path / "cache", whole, tiny_screen)
    assert "using dense, dense, dense, dense, dense, dense, dense: measured: " in said
    environment = json.loads((whole / "environment.json").read_text())
    assert environment["gradient"]["measured_ms"][6] == {"dense": 1.0}
    assert "dense: measured: " in train("sparse", tmp_path / "another", other, tiny_screen)
    assert digest(other) != digest(whole)  # the ways decide the last bit

    shutil.copytree(whole, part, symlinks=True)
    (part / "summary.json").unlink()
    for later in checkpoint.list_checkpoints(part / "checkpoints")[:3]:
        later.unlink()
    said = train("sparse", tmp_path / "another", part, tiny_screen, "--resume", "auto")
    assert "dense: as the run began" in said
    assert "resumed at step 3: bit for bit" in said
    assert digest(part) == digest(whole)
