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
from mscnn.distributed.sharded_linear import Exchange
from tests.conftest import run_python

FREE = Cluster(ranks_per_node=4, gbit=float("inf"), latency_us=0.0, efficiency=1.0, rank_rate=float("inf"),
               rank_rate_bfloat16=float("inf"), algorithm="ring")
SLOW = dataclasses.replace(FREE, gbit=80.0, latency_us=5.0, efficiency=0.9, rank_rate=2.0)   # 10 GB/s
CASE = {"exchange": Exchange(170_309_044), "fields": 8, "compute_seconds": 2.0}
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
    case = {**CASE, "exchange": Exchange(1e9)}
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


def test_a_step_of_a_sharded_layer_by_hand():
    """2 nodes of 2 ranks, a link of 1 GB/s, a message 1 ms: there are 3 other ranks.

    Parameters, 0.4 GB: 6/4 of them are 0.6 s, and 2 buckets of 6 messages 12 ms.  Activations, 0.8 GB in each direction:
    two ranks of a node send 3/4 of them, 1.2 s, and 3 messages 3 ms.  Sums, 0.1 GB in each pass: two
    ranks send 3/4 of them, 0.15 s, and 3 messages 3 ms.
    """
    cluster = dataclasses.replace(FREE, ranks_per_node=2, gbit=8.0, latency_us=1000.0)
    exchange = Exchange(0.4e9, activations=0.8e9, sums=0.1e9)
    case = {"exchange": exchange, "fields": 8, "compute_seconds": 3.0}
    plain = cost_model.predict(2, cluster, **case)
    assert plain.critical_seconds == pytest.approx(2 * (1.203 + 0.153))
    assert plain.exchange_seconds == pytest.approx(0.612 + 2.712)
    assert plain.step_seconds == pytest.approx(3.0 + 3.324)
    assert plain.images_per_second == pytest.approx(32 / 6.324)
    hidden = cost_model.predict(2, cluster, **case, overlap=1.0)    # 2 s of backward hide the parameters alone
    assert hidden.step_seconds == pytest.approx(3.0 + 2.712)
    several = cost_model.predict(2, cluster, **case, microbatches=4)    # as many bytes, four times as many messages
    assert several.critical_seconds == pytest.approx(2 * (1.2 + 0.15) + 4 * 2 * 0.006)


def test_sums_of_a_sharded_layer_are_float32_beside_bfloat16():
    """One node of 2 ranks: 0.4 GB of parameters at 0.5 GB/s, half of 0.8 GB twice at 0.5, and of 0.1 GB at 1."""
    cluster = dataclasses.replace(FREE, ranks_per_node=2, rank_rate=1.0, rank_rate_bfloat16=0.5)
    found = cost_model.predict(1, cluster, Exchange(0.4e9, activations=0.8e9, sums=0.1e9), fields=8, compute_seconds=3.0,
                               gradients="bfloat16")
    assert found.critical_seconds == pytest.approx(2 * 0.8 + 2 * 0.05)
    assert found.exchange_seconds == pytest.approx(0.8 + 1.7)


def test_whatever_helps_helps():
    plain = cost_model.predict(8, SLOW, **CASE)
    for change in ({"gbit": 800.0, "rank_rate": 20.0}, {"rank_rate": 4.0}, {"latency_us": 0.0}):
        assert cost_model.predict(8, dataclasses.replace(SLOW, **change), **CASE).efficiency > plain.efficiency
    assert cost_model.predict(8, SLOW, **{**CASE, "exchange": Exchange(85_154_522)}).efficiency > plain.efficiency
    assert cost_model.predict(8, SLOW, **CASE, overlap=0.1).efficiency > plain.efficiency


def count(*arguments: str) -> dict:
    """Return what `mscnn bench scaling` counts."""
    settings = read([*arguments])
    return scaling.count(settings, scaling.shapes(settings))


def test_what_a_rank_sends_is_counted_on_shapes_alone():
    """512 x 81,920 of 42,577,261 parameters are sharded; a rank has 8 fields: 256 on 32 ranks, 4096 on 512."""
    counted = count()
    assert (counted["parameters"], counted["first_layer_weights"]) == (42_577_261, 41_943_040)
    float32, bfloat16 = counted["exchange"]["float32"], counted["exchange"]["bfloat16"]
    assert float32["replicated"]["32"] == {"parameters": 2 * 31 / 32 * 170_309_044, "activations": 0, "sums": 0}
    assert bfloat16["replicated"]["32"]["parameters"] == 2 * 31 / 32 * 85_154_522
    assert float32["sharded"]["2"] == {
        "parameters": 634_221 * 4, "activations": 8 * 81_920 * 4, "sums": 16 * 512 * 4}
    assert float32["sharded"]["32"] == {
        "parameters": 4_915_212.75, "activations": 5_079_040, "sums": 1_015_808}
    assert bfloat16["sharded"]["32"] == {
        "parameters": 2_457_606.375, "activations": 2_539_520, "sums": 1_015_808}    # sums stay float32
    assert counted["bytes_sent"]["32"] == 11_010_060.75
    assert {ranks: round(sent) for ranks, sent in counted["bytes_sent"].items()} == {
        "2": 5_191_092, "4": 7_835_790, "32": 11_010_061, "512": 27_040_946}
    with pytest.raises(DataError, match="multiples of 128"):
        scaling.shapes(read(["--size", "100x100"]))


def test_what_training_would_use_is_counted_and_measured():
    """128x128: 512 x 1024 weights are 2 MB, not worth more exchanges; nothing is sharded over one rank."""
    small, large = ["--size", "128x128"], []
    assert count(*small)["used"]["float32"] == dict.fromkeys(("2", "4", "32", "512"), "replicated")
    assert count(*small)["bytes_sent"]["2"] == (634_221 + 512 * 1024) * 4
    assert count()["used"]["bfloat16"] == dict.fromkeys(("2", "4", "32", "512"), "sharded")
    for arguments, ranks, expected in (
            (large, 2, ["sharded"]), (small, 2, ["replicated"]), (large, 1, ["replicated"]),
            ([*small, "--first-layer", "sharded"], 2, ["sharded"]),
            ([*large, "--first-layer", "replicated"], 2, ["replicated"]),
            ([*small, "--first-layer", "both"], 2, ["replicated", "sharded"])):
        settings = read([*arguments, "--gradients", "float32"])
        assert scaling.jobs_of(settings, scaling.shapes(settings), ranks) == [("float32", way) for way in expected]


def test_a_fabric_is_named_or_given():
    (named,) = cost_model.clusters(read(["--fabric", "10gbe"]))
    assert (named.gbit, named.latency_us, named.efficiency) == (10.0, 30.0, 0.9)
    (given,) = cost_model.clusters(read(
        ["--bandwidth", "0.2", "--latency", "0", "--efficiency", "0.95", "--rank-rate-bfloat16", "0.3"]))
    assert (given.gbit, given.latency_us, given.efficiency, given.rank_rate_bfloat16) == (0.2, 0.0, 0.95, 0.3)
    assert [cluster.gbit for cluster in cost_model.clusters(read(["--bandwidth", "1,10,25,100"]))] == [1, 10, 25, 100]


def test_a_rank_computes_in_proportion_to_its_cores_and_their_clock():
    settings = read(["--clock-ratio", "0.5", "--nodes", "1", "--cores-per-node", "48"])
    found = cost_model.predictions(settings, scaling.shapes(settings), 2.0)
    assert found["compute_seconds"] == 8 / (2.0 * 0.5 * 12)
    assert [(row["gradients"], row["first_layer"], row["nodes"]) for row in found["rows"]] == [
        (gradients, way, nodes) for gradients in ("float32", "bfloat16") for way in ("replicated", "sharded")
        for nodes in (1, 8)]    # that of the recipe is always there


def test_minutes_of_the_job_stand_by_bandwidth():
    settings = read(["--bandwidth", "1,100", "--nodes", "2", "--gradients", "float32", "--images", "600"])
    found = cost_model.predictions(settings, scaling.shapes(settings), 1.0)
    assert [(row["first_layer"], row["nodes"], row["gbit"]) for row in found["rows"]] == list(
        itertools.product(["replicated", "sharded"], [2, 8], [1, 100]))
    first, second = found["rows"][:2]
    assert first["job_minutes"] == pytest.approx(600 / 60 / first["images_per_second"])
    line = next(line for line in cost_model.lines(found) if line.split()[:3] == ["2", "float32", "replicated"])
    assert line.split()[3:] == ["64", f"{first['job_minutes']:.1f}", f"{second['job_minutes']:.1f}"]


def test_refusals():
    for arguments, message in (
            (["--fabric", "token-ring"], "fabric must be one of 10gbe, 25gbe, omni-path-100, hdr-200, got 'token-ring'"),
            (["--repeats", "0"], "repeats must be at least 1"), (["--nodes", "1,none"], "nodes must be numbers"),
            (["--nodes", "0"], "nodes must be numbers"), (["--ranks", "0"], "ranks must be numbers"),
            (["--size", "9"], "HEIGHTxWIDTH"), (["--overlap", "1.5"], "overlap must be from 0 to 1"),
            (["--bandwidth", "-1"], "bandwidth must be 0 or more"),
            (["--bandwidth", "1,fast"], "like 1,10,25,100, got '1,fast'"),
            (["--bandwidth", "1,1"], "or different ones"), (["--bandwidth", "inf"], "bandwidth must be 0 or more"),
            (["--first-layer", "split"], "'replicated', 'both']"), (["--latency", "-2"], "latency must be 0 or more"),
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
            "first_layer": "replicated", "seconds": seconds}


def test_the_table_compares_what_was_measured_in_the_same_turn():
    """Turn by turn: 2 ranks are 1.5, 1.0 and 1.25 times as fast; exchange is 1/4, 1/2 and 0 of a step."""
    results = {"size": "128x128", "channels": 3, "fields": 8, "microbatch": 8, "repeats": 3,
               "counted": {"parameters": 10, "first_layer_weights": 8, "bytes_sent": {"2": 8e6, "4": 12e6},
                           "exchange": {"float32": {
                               "replicated": {"2": {"parameters": 40e6, "sums": 0}, "4": {"parameters": 60e6, "sums": 0}},
                               "sharded": {"2": {"parameters": 7e6, "sums": 1e6}, "4": {"parameters": 9e6, "sums": 3e6}}}},
                           "used": {"float32": {"2": "replicated", "4": "sharded"}}},
               "measured": [measured(1, "float32", alone=[6.0, 4.0, 5.0]),
                            measured(2, "float32", exchange=[8.0, 8.0, 8.0], alone=[6.0, 4.0, 8.0])]}
    lines = scaling.table(results).splitlines()
    assert [line.split() for line in lines[2:7]] == [
        ["float32", "replicated", "parameters", "40.000", "60.000"],
        ["float32", "sharded", "parameters", "7.000", "9.000"], ["float32", "sharded", "sums", "1.000", "3.000"],
        ["float32", "sharded", "all", "8.000", "12.000"], ["float32", "training", "uses", "replicated", "sharded"]]
    assert lines[-2].split() == ["1", "x", "2", "float32", "replicated", "1.60", "1.33", "2.00", "1.000", "0.0%"]
    assert lines[-1].split() == ["2", "x", "1", "float32", "replicated", "2.00", "2.00", "2.00", "1.250", "25.0%"]


def test_a_given_rate_replaces_the_measurement_and_every_assumption_is_shown(tmp_path):
    done = run_python("-m", "mscnn.bench", "scaling", "--images-per-core-second", "0.4", "--nodes", "8,1", "--fabric",
                      "25gbe", "--gradients", "float32", "--overlap", "0.25", "--json", tmp_path / "scaling.json")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "scaling.json").read_text())
    assert results["measured"] == []
    rows = results["predicted"]["rows"]
    assert [(row["nodes"], row["first_layer"]) for row in rows] == [
        (1, "replicated"), (8, "replicated"), (1, "sharded"), (8, "sharded")]
    shown = next(line for line in done.stdout.splitlines() if line.split()[:3] == ["8", "float32", "sharded"]).split()
    assert shown[3] == "256"
    assert float(shown[-1]) == pytest.approx(223_200 / rows[3]["images_per_second"] / 60, abs=0.06)
    assert rows[3]["critical_seconds"] > rows[1]["critical_seconds"] == 0
    for assumption in ("0.4 images/s a core", "40 cores a node", "4 ranks of 8 fields", "25 Gb/s each way", "85% of it",
                       "20 us a message", "ring in 2 buckets", "1 GB/s of float32", "25% of backward", "2018: 31 min"):
        assert assumption in done.stdout


@pytest.mark.ranks
def test_the_command_measures_numbers_of_ranks_in_turn(tmp_path):
    done = run_python("-m", "mscnn.bench", "scaling", *SMALL, "--ranks", "1,2", "--nodes", "2", "--first-layer", "both",
                      "--gradients", "float32", "--json", tmp_path / "scaling.json")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "scaling.json").read_text())
    rows = results["measured"]
    assert [(row["ranks"], row["gradients"], row["first_layer"]) for row in rows] == [
        (1, "float32", "replicated"), (2, "float32", "replicated"), (2, "float32", "sharded")]
    assert [{kind: len(taken) for kind, taken in row["seconds"].items()} for row in rows] == \
        [{"alone": 1}, *[{"exchange": 1, "alone": 1}] * 2]
    rate = 2 * 2 / rows[-1]["seconds"]["alone"][0] / rows[-1]["cores"]
    assert results["predicted"]["images_per_core_second"] == pytest.approx(rate)
    assert {row["nodes"] for row in results["predicted"]["rows"]} == {2, 8}


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
    assert results["cluster"]["gbit"] == [0.2]
    assert "predicted" in done.stdout


def test_under_a_launcher_one_bandwidth_is_given():
    with pytest.raises(UsageError, match="--bandwidth is one number, got 1,10; name that of these hosts"):
        scaling.on_these_ranks(read(["--bandwidth", "1,10"]))


ONE_STEP_OF_EACH_KIND = """
from mscnn.cli import parse
from mscnn.distributed import world
from mscnn.bench import scaling
from mscnn.bench.settings import ScalingSettings
settings = parse.Command("scaling", "", ScalingSettings).read(["--size", "128x128", "--fields", "2", "--microbatch", "1"])
ranks = world.init()
for way in ("replicated", "sharded"):
    for kind, alike in (("exchange", True), ("alone", False)):
        step = scaling.RankStep(ranks, settings, "float32", way)
        taken = step.alone if kind == "alone" and way == "sharded" else step.step
        taken.fields += ranks.rank      # the same random numbers on all ranks otherwise
        step.seconds(kind)
        weights = ranks.gather(float(taken.network.classify.weight.detach().double().norm()))
        assert (weights[0] == weights[1]) == alike, (way, kind, weights)
        del step, taken
ranks.shutdown()
"""


@pytest.mark.ranks
def test_gradients_are_exchanged_in_one_kind_of_step_and_not_in_the_other(tmp_path):
    (tmp_path / "steps.py").write_text(ONE_STEP_OF_EACH_KIND)
    done = run_python(tmp_path / "steps.py", ranks=2)
    assert done.returncode == 0, done.stderr


BYTES_OF_A_STEP = """
import json, sys
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from mscnn.cli import parse
from mscnn.distributed import world
from mscnn.bench import scaling
from mscnn.bench.settings import ScalingSettings
gradients, way, file = sys.argv[1:]
settings = parse.Command("scaling", "", ScalingSettings).read(["--size", "128x128", "--fields", "2", "--microbatch", "1"])
ranks = world.init()
handed = []
all_reduce, all_to_all = dist.all_reduce, dist.all_to_all_single

def counted_all_reduce(tensor, *rest, **how):
    handed.append(["all-reduce", str(tensor.dtype), tensor.nbytes])
    return all_reduce(tensor, *rest, **how)

def counted_all_to_all(received, sent, received_R, sent_R):
    handed.append(["all-to-all", str(sent.dtype), sent_R[1 - ranks.rank] * sent.itemsize])
    return all_to_all(received, sent, received_R, sent_R)

step = scaling.RankStep(ranks, settings, gradients, way)
if gradients == "float32":
    # DDP's own sums do not pass through dist.all_reduce; those of this hook do.
    step.step.loss_module.register_comm_hook(None, default_hooks.allreduce_hook)
dist.all_reduce, dist.all_to_all_single = counted_all_reduce, counted_all_to_all
step.take("exchange")
dist.all_reduce, dist.all_to_all_single = all_reduce, all_to_all
if ranks.rank == 1:
    open(file, "w").write(json.dumps(handed))
del step
ranks.shutdown()
"""


@pytest.mark.ranks
@pytest.mark.parametrize(("gradients", "way", "parameters", "activations", "sums"), [
    ("float32", "replicated", (634_221 + 512 * 1024) * 4, 0, 0),
    ("float32", "sharded", 634_221 * 4, 2 * 2 * 512 * 4, 4 * 512 * 4),
    ("bfloat16", "sharded", 634_221 * 2, 2 * 2 * 512 * 2, 4 * 512 * 4)])
def test_what_is_handed_to_the_collectives_is_what_is_counted(tmp_path, gradients, way, parameters, activations, sums):
    """2 ranks of 2 fields, one at a time: of two ranks one sends an all-reduce's payload once, and half of 1024 columns."""
    (tmp_path / "steps.py").write_text(BYTES_OF_A_STEP)
    done = run_python(tmp_path / "steps.py", gradients, way, tmp_path / "handed.json", ranks=2)
    assert done.returncode == 0, done.stderr
    handed = json.loads((tmp_path / "handed.json").read_text())
    reduced = [size for kind, _, size in handed if kind == "all-reduce"]
    exchanged = [size for kind, _, size in handed if kind == "all-to-all"]
    assert sum(reduced) == parameters
    assert sum(exchanged) == activations + sums
    passes = 4 if way == "sharded" else 0   # forward and backward, two microbatches
    assert sorted(kind for name, kind, _ in handed if name == "all-to-all") == sorted(
        [f"torch.{gradients}", "torch.float32"] * passes)
    counted = count("--size", "128x128", "--fields", "2", "--microbatch", "1")["exchange"][gradients][way]["2"]
    assert counted == {"parameters": parameters, "activations": activations, "sums": sums}


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
    with scaling.job(2, "float32", "replicated", settings) as job, \
            pytest.raises(UsageError, match=r"the job of 2 ranks, float32 gradients, ended with code 1: too few cores"):
        job.answer()
