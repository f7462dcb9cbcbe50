import dataclasses
import io
import itertools
import json

import pytest

from mscnn.bench import cost_model, scaling
from mscnn.bench.cost_model import Cluster
from mscnn.bench.settings import ScalingSettings
from mscnn.cli import parse
from mscnn.core.errors import DataError, UsageError
from tests.conftest import run_python

FREE = Cluster(ranks_per_node=4, gbit=float("inf"), latency_us=0.0, efficiency=1.0, rank_rate=float("inf"),
               algorithm="ring")
SLOW = dataclasses.replace(FREE, gbit=80.0, latency_us=5.0, efficiency=0.9, rank_rate=2.0)   # 10 GB/s
CASE = {"fields": 8, "compute_seconds": 2.0, "payload": 170_309_044}
SMALL = ["--size", "128x128", "--fields", "2", "--microbatch", "1", "--repeats", "1", "--oversubscribe", "true"]


def read(arguments: list[str]) -> ScalingSettings:
    """Return the settings of `python -m mscnn.bench scaling`."""
    return parse.Command("scaling", "", ScalingSettings).read(arguments)


def test_one_node_needs_no_fabric():
    alone = cost_model.predict(1, dataclasses.replace(SLOW, rank_rate=float("inf")), **CASE)
    assert (alone.fabric_seconds, alone.exchange_seconds, alone.step_seconds, alone.efficiency) == (0, 0, 2.0, 1.0)
    assert alone.images_per_second == 4 * 8 / 2.0


@pytest.mark.parametrize("algorithm", ["ring", "spread", "hierarchical"])
def test_without_limits_efficiency_is_perfect(algorithm):
    for nodes in (1, 8, 128):
        perfect = cost_model.predict(nodes, dataclasses.replace(FREE, algorithm=algorithm), **CASE)
        assert perfect.efficiency == 1.0
        assert perfect.images_per_second == nodes * 16


def test_a_step_by_hand():
    """Ring of 8 ranks on 2 nodes: 2 * 7/8 of 1 GB over 1 GB/s is 1.75 s, beside 2 s of computing."""
    cluster = dataclasses.replace(FREE, gbit=8.0)
    case = {**CASE, "payload": 1e9}
    plain = cost_model.predict(2, cluster, **case)
    assert plain.step_seconds == pytest.approx(3.75)
    assert plain.images_per_second == pytest.approx(64 / 3.75)
    assert plain.efficiency == pytest.approx(2 / 3.75)
    half = cost_model.predict(2, cluster, **case, overlap=0.5)     # hidden under half of the 4/3 s of backward
    assert half.step_seconds == pytest.approx(2 + 1.75 - 2 / 3)
    assert cost_model.predict(1, cluster, **case, overlap=1.0).step_seconds == 2.0   # never less than computing


@pytest.mark.parametrize("algorithm", ["ring", "spread", "hierarchical"])
def test_more_nodes_are_faster_and_less_efficient(algorithm):
    cluster = dataclasses.replace(SLOW, algorithm=algorithm)
    found = [cost_model.predict(nodes, cluster, **CASE) for nodes in (1, 2, 4, 8, 16, 32, 64, 128)]
    for fewer, more in itertools.pairwise(found):
        assert more.images_per_second > fewer.images_per_second
        assert more.efficiency < fewer.efficiency


def test_whatever_helps_helps():
    plain = cost_model.predict(8, SLOW, **CASE)
    for change in ({"gbit": 800.0, "rank_rate": 20.0}, {"rank_rate": 4.0}, {"latency_us": 0.0}):
        assert cost_model.predict(8, dataclasses.replace(SLOW, **change), **CASE).efficiency > plain.efficiency
    assert cost_model.predict(8, SLOW, **{**CASE, "payload": CASE["payload"] / 2}).efficiency > plain.efficiency
    assert cost_model.predict(8, SLOW, **CASE, overlap=0.1).efficiency > plain.efficiency


def test_parameters_are_counted_on_shapes_alone():
    counted = scaling.count(read([]))
    assert counted == {"parameters": 42_577_261, "payload": {"float32": 170_309_044, "bfloat16": 85_154_522}}
    with pytest.raises(DataError, match="multiples of 128"):
        scaling.count(read(["--size", "100x100"]))


def test_a_fabric_is_named_or_given():
    named = cost_model.cluster_of(read(["--fabric", "10gbe"]), "float32")
    assert (named.gbit, named.latency_us, named.efficiency) == (10.0, 30.0, 0.9)
    given = cost_model.cluster_of(read(
        ["--bandwidth", "0.2", "--latency", "0", "--efficiency", "0.95", "--rank-rate-bfloat16", "0.3"]), "bfloat16")
    assert (given.gbit, given.latency_us, given.efficiency, given.rank_rate) == (0.2, 0.0, 0.95, 0.3)


def test_a_rank_computes_in_proportion_to_its_cores_and_their_clock():
    settings = read(["--clock-ratio", "0.5", "--nodes", "1", "--cores-per-node", "48"])
    found = cost_model.predictions(settings, 2.0, {"float32": 1})
    assert found["compute_seconds"] == 8 / (2.0 * 0.5 * 12)
    assert [row["nodes"] for row in found["rows"]] == [1, 8]    # that of the recipe is always there


def test_refusals():
    for arguments, message in (
            (["--fabric", "token-ring"], "fabric must be one of 10gbe, 25gbe, omni-path-100, hdr-200, got 'token-ring'"),
            (["--repeats", "0"], "repeats must be at least 1"), (["--nodes", "1,none"], "nodes must be numbers"),
            (["--nodes", "0"], "nodes must be numbers"), (["--ranks", "0"], "ranks must be numbers"),
            (["--size", "9"], "HEIGHTxWIDTH"), (["--overlap", "1.5"], "overlap must be from 0 to 1"),
            (["--bandwidth", "-1"], "bandwidth must be 0 or more"), (["--latency", "-2"], "latency must be 0 or more"),
            (["--rank-rate", "0"], "rank-rate must be more than 0"), (["--gradients", "int8"], "gradients are different"),
            (["--fields", "9"], "fields must be a multiple of microbatch 8")):
        with pytest.raises(UsageError) as refusal:
            read(arguments)
        assert message in str(refusal.value)


def test_a_refusal_is_one_line_with_exit_code_2():
    for arguments in (["--fabric", "token-ring"], ["--repeats", "0"]):
        done = run_python("-m", "mscnn.bench", "scaling", *arguments)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert "error: " in done.stderr


def measured(ranks: int, gradients: str, **seconds: list[float]) -> dict:
    return {"ranks": ranks, "cores": 2, "bindings": [f"rank {rank} here" for rank in range(ranks)], "gradients": gradients,
            "seconds": seconds}


def test_the_table_compares_what_was_measured_in_the_same_turn():
    """Turn by turn: 2 ranks are 1.5, 1.0 and 1.25 times as fast; exchange is 1/4, 1/2 and 0 of a step."""
    results = {"size": "128x128", "channels": 3, "fields": 8, "microbatch": 8, "repeats": 3,
               "counted": {"parameters": 10, "payload": {"float32": 40}},
               "measured": [measured(1, "float32", alone=[6.0, 4.0, 5.0]),
                            measured(2, "float32", exchange=[8.0, 8.0, 8.0], alone=[6.0, 4.0, 8.0])]}
    lines = scaling.table(results).splitlines()
    assert lines[2].split() == ["float32", "40", "40", "B", "60", "B", "78", "B", "80", "B"]
    assert lines[-2].split() == ["1", "x", "2", "float32", "1.60", "1.33", "2.00", "1.000", "0.0%"]
    assert lines[-1].split() == ["2", "x", "1", "float32", "2.00", "2.00", "2.00", "1.250", "25.0%"]


def test_a_given_rate_replaces_the_measurement_and_every_assumption_is_shown(tmp_path):
    done = run_python("-m", "mscnn.bench", "scaling", "--images-per-core-second", "0.4", "--nodes", "8,1", "--fabric",
                      "25gbe", "--gradients", "float32", "--overlap", "0.25", "--json", tmp_path / "scaling.json")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "scaling.json").read_text())
    assert results["measured"] == []
    rows = results["predicted"]["rows"]
    assert [(row["nodes"], row["gradients"]) for row in rows] == [(1, "float32"), (8, "float32")]
    shown = next(line for line in done.stdout.splitlines() if line.split()[:2] == ["8", "float32"]).split()
    assert shown[2] == "256"
    assert float(shown[-1]) == pytest.approx(223_200 / rows[1]["images_per_second"] / 60, abs=0.06)
    for assumption in ("0.4 images/s a core", "40 cores a node", "4 ranks of 8 fields", "25 Gb/s each way", "85% of it",
                       "20 us a message", "ring in 2 buckets", "1 GB/s of float32", "25% of backward", "2018: 31 min"):
        assert assumption in done.stdout


@pytest.mark.ranks
def test_the_command_measures_numbers_of_ranks_in_turn(tmp_path):
    done = run_python("-m", "mscnn.bench", "scaling", *SMALL, "--ranks", "1,2", "--nodes", "2", "--json",
                      tmp_path / "scaling.json")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "scaling.json").read_text())
    rows = results["measured"]
    assert [(row["ranks"], row["gradients"]) for row in rows] == [(1, "float32"), (2, "float32"), (2, "bfloat16")]
    assert [{kind: len(taken) for kind, taken in row["seconds"].items()} for row in rows] == \
        [{"alone": 1}, {"exchange": 1, "alone": 1}, {"exchange": 1, "alone": 1}]
    rate = 2 * 2 / rows[-1]["seconds"]["alone"][0] / rows[-1]["cores"]
    assert results["predicted"]["images_per_core_second"] == pytest.approx(rate)
    assert [(row["nodes"], row["gradients"]) for row in results["predicted"]["rows"]] == \
        [(2, "float32"), (8, "float32"), (2, "bfloat16"), (8, "bfloat16")]


@pytest.mark.ranks
def test_under_a_launcher_its_ranks_stand_beside_their_prediction(tmp_path):
    done = run_python("-m", "mscnn.bench", "scaling", *SMALL, "--gradients", "bfloat16", "--bandwidth", "0.2", "--latency",
                      "50", "--json", tmp_path / "scaling.json", ranks=2)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "scaling.json").read_text())
    (row,) = results["measured"]
    assert (row["ranks"], row["hosts"], row["predicted"]["nodes"]) == (2, 1, 1)
    sent = 2 * results["counted"]["parameters"] / 0.5e9   # both ranks on one host: a whole payload at bfloat16's rate
    assert row["predicted"]["step_seconds"] == pytest.approx(row["seconds"]["alone"][0] + sent)
    assert results["cluster"]["gbit"] == 0.2
    assert "predicted" in done.stdout


ONE_STEP_OF_EACH_KIND = """
from mscnn.cli import parse
from mscnn.distributed import world
from mscnn.bench import scaling
from mscnn.bench.settings import ScalingSettings
settings = parse.Command("scaling", "", ScalingSettings).read(["--size", "128x128", "--fields", "2", "--microbatch", "1"])
ranks = world.init()
for kind, alike in (("exchange", True), ("alone", False)):
    step = scaling.RankStep(ranks, settings, "float32")
    step.step.fields += ranks.rank      # the same random numbers on all ranks otherwise
    step.seconds(kind)
    weights = ranks.gather(float(step.step.network.classify.weight.detach().double().norm()))
    assert (weights[0] == weights[1]) == alike, (kind, weights)
    del step
ranks.shutdown()
"""


@pytest.mark.ranks
def test_gradients_are_exchanged_in_one_kind_of_step_and_not_in_the_other(tmp_path):
    (tmp_path / "steps.py").write_text(ONE_STEP_OF_EACH_KIND)
    done = run_python(tmp_path / "steps.py", ranks=2)
    assert done.returncode == 0, done.stderr


def test_a_worker_answers_who_is_here_and_then_each_line(monkeypatch):
    # They would last for all later tests.
    for name in ("core.memory.keep_memory", "distributed.core_binding.torch.set_num_threads"):
        monkeypatch.setattr(f"mscnn.{name}", lambda *_: None)
    settings = read([*SMALL, "--bind", "false", "--gradients", "float32", "--threads", "1"])
    answers = io.StringIO()
    scaling.serve(settings, ["alone\n", "alone\n"], answers)
    here, *steps = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert (here["ranks"], here["cores"]) == (1, 1)
    assert len(steps) == 2
    assert all(step["seconds"] > 0 for step in steps)


@pytest.mark.ranks
def test_a_job_that_dies_is_named_with_its_last_words():
    settings = read(["--size", "128x128", "--threads", "4096"])
    with scaling.job(2, "float32", settings) as job, \
            pytest.raises(UsageError, match=r"the job of 2 ranks, float32 gradients, ended with code 1: too few cores"):
        job.answer()
