"""Count what ranks exchange, time steps by number of ranks, and predict steps of a cluster.

Exercised by `mscnn bench scaling`.  Without a launcher it starts one job per number of ranks on this machine,
over gloo; the jobs take turns.  Under a launcher it measures the ranks that the launcher started, beside the prediction
for that number of nodes:

    srun mscnn bench scaling --bandwidth 10 --latency 30

Weak scaling: each rank computes --fields in each step, so that the global minibatch grows with the ranks.
"""

import dataclasses
import json
import statistics
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any, TextIO

import torch
from torch import nn

from mscnn.bench import collective, cost_model
from mscnn.bench.cost_model import BFLOAT16, FLOAT32, assumed, assumptions, chosen, predict, predictions, ways
from mscnn.bench.process import Process
from mscnn.bench.settings import ScalingSettings, parse_counts
from mscnn.bench.worker import NUM_CLASSES, Step
from mscnn.core import memory
from mscnn.core.errors import DataError, UsageError
from mscnn.core.settings import parse_size
from mscnn.distributed import core_binding, cpu_topology, world
from mscnn.distributed.sharded_linear import REPLICATED, SHARDED, ShardedLinear
from mscnn.distributed.world import World
from mscnn.model import MCNN
from mscnn.model.acceleration import Acceleration
from mscnn.training.build import OWN

EXCHANGE, ALONE = "exchange", "alone"   # steps with and without exchange between ranks
COUNTED_RANKS = (2, 4, 32, 512)


# ---- counted


def count(settings: ScalingSettings, network: MCNN) -> dict[str, Any]:
    """Count parameters, and the bytes that a rank sends in a step, from shapes alone.

    "exchange": by type of the gradients, way of the first layer and number of ranks, in parts; "used": the way that
    training would choose; "bytes_sent": all that it sends by that way, in the first type of gradients.
    """
    types, numbers = settings.gradients.split(","), {str(ranks): ranks for ranks in COUNTED_RANKS}
    exchange = {name: {way: {shown: ways(settings, network, name, ranks)[way].parts_sent(ranks)
                             for shown, ranks in numbers.items()} for way in (REPLICATED, SHARDED)} for name in types}
    used = {name: {shown: chosen(settings, network, name, ranks) for shown, ranks in numbers.items()} for name in types}
    first = types[0]
    return {"parameters": sum(parameter.numel() for parameter in network.parameters()),
            "first_layer_weights": network.hidden.weight.numel(), "exchange": exchange, "used": used,
            "bytes_sent": {shown: sum(exchange[first][way][shown].values()) for shown, way in used[first].items()}}


def shapes(settings: ScalingSettings) -> MCNN:
    """Return the network without numbers. Raises DataError."""
    try:
        with torch.device("meta"):
            return MCNN(NUM_CLASSES, settings.channels, *parse_size("size", settings.size), gradient="dense")
    except ValueError as problem:
        raise DataError(str(problem)) from None


def measured_ways(settings: ScalingSettings, network: MCNN, gradients: str, ranks: int) -> list[str]:
    """Return which ways of the first layer are measured: of that many ranks, for gradients of a type."""
    if ranks > 1 and settings.first_layer == "both":
        return [REPLICATED, SHARDED]
    return [chosen(settings, network, gradients, ranks) if ranks == 1 or settings.first_layer == "auto"
            else settings.first_layer]


# ---- measured: what each rank runs


class RankStep:
    """The training step of one rank on random fields.

    Its steps without exchange are those of a replicated network, which a sharded one needs beside its own.
    """

    def __init__(self, ranks: World, settings: ScalingSettings, gradients: str, way: str):
        microbatch = min(settings.fields, settings.microbatch)
        self.ranks, self.microbatches = ranks, settings.microbatches()
        shape = (microbatch, settings.channels, *parse_size("size", settings.size))

        def shard(layer: nn.Linear) -> ShardedLinear:
            sharded = ShardedLinear(layer, ranks, in_bfloat16=gradients == BFLOAT16)
            sharded.rows_R = [microbatch] * ranks.size
            return sharded

        self.step = Step("auto", Acceleration(), shape, shard=shard if way == SHARDED else None)
        self.step.loss_module = ranks.to_ddp(self.step.loss_module, "none" if gradients == FLOAT32 else gradients,
                                             own=OWN if way == SHARDED else ())
        self.alone = Step("auto", Acceleration(), shape) if way == SHARDED else None

    def seconds(self, kind: str) -> float:
        """Return the wall-clock seconds of one step on the slowest rank; a collective."""
        return max(self.ranks.gather(collective.seconds_per_call(lambda: self.take(kind), 1, self.ranks.barrier)))

    def warm_up(self) -> None:
        """Take two steps that are not timed: kernels are compiled, and DDP rebuilds its buckets after the first step."""
        for kind in [EXCHANGE, EXCHANGE, *([ALONE, ALONE] if self.alone else [])]:
            self.take(kind)

    def take(self, kind: str) -> None:
        """Take a step with or without exchange."""
        if kind == ALONE and self.alone:
            for _ in range(self.microbatches):
                self.alone.gradients()
            self.alone.update()
            return
        for number in range(self.microbatches):
            with self.ranks.sync_only_if(self.step.loss_module,
                                         last=kind == EXCHANGE and number == self.microbatches - 1):
                self.step.gradients()
        self.step.update()


def kinds(ranks: int) -> list[str]:
    """Return the kinds of steps that are timed; a single rank exchanges nothing."""
    return [EXCHANGE, ALONE] if ranks > 1 else [ALONE]


def init_ranks(settings: ScalingSettings) -> tuple[World, dict[str, Any]]:
    """Form the process group and bind cores. Returns the ranks and their description, the same on all ranks."""
    ranks = world.init(settings.backend, join_seconds=settings.join_timeout, wait_seconds=settings.start_timeout)
    plan = core_binding.bind_rank(ranks, settings)
    memory.keep_memory()
    return ranks, {"ranks": ranks.size, "hosts": len(set(ranks.gather(ranks.host))), "backend": ranks.backend,
                   "cores": int(ranks.sum(plan.threads)[0]), "bindings": core_binding.describe_bindings(ranks, plan)}


def serve(settings: ScalingSettings, requests: Iterable[str], answers: TextIO) -> None:
    """Write a description of the ranks, then for each line, which names a kind of step, its time; rank 0 writes."""
    ranks, description = init_ranks(settings)
    (way,) = measured_ways(settings, shapes(settings), settings.gradients, ranks.size)
    step = RankStep(ranks, settings, settings.gradients, way)
    step.warm_up()
    lines = iter(requests)
    answer = description
    while True:
        if ranks.rank == 0:
            print(json.dumps(answer), file=answers, flush=True)
        kind = ranks.gather(next(lines, "").strip() if ranks.rank == 0 else None)[0]
        if not kind:
            break
        answer = {"seconds": step.seconds(kind)}
    del step  # the wrapped network goes before the process group
    ranks.shutdown()


def on_these_ranks(settings: ScalingSettings) -> dict[str, Any]:
    """Measure the ranks that a launcher started, beside the prediction for that number of nodes; a collective."""
    if len(cost_model.clusters(settings)) > 1:
        raise UsageError(f"under a launcher --bandwidth is one number, got {settings.bandwidth}; name that of these hosts")
    network = shapes(settings)
    ranks, description = init_ranks(settings)
    hosts = description["hosts"]
    if ranks.size % hosts:
        raise UsageError(f"{ranks.size} ranks on {hosts} hosts; start the same number of ranks on each host")
    settings = dataclasses.replace(settings, ranks_per_node=ranks.size // hosts)
    (cluster,) = cost_model.clusters(settings)
    rows = []
    for gradients, way in jobs_of(settings, network, ranks.size):
        step = RankStep(ranks, settings, gradients, way)
        step.warm_up()
        seconds: dict[str, list[float]] = {kind: [] for kind in kinds(ranks.size)}
        for _ in range(settings.repeats):
            for kind, times in seconds.items():
                times.append(step.seconds(kind))
        expected = predict(hosts, cluster, ways(settings, network, gradients, ranks.size)[way], fields=settings.fields,
                           compute_seconds=statistics.median(seconds[ALONE]), gradients=gradients,
                           microbatches=settings.microbatches(), overlap=settings.overlap)
        rows.append({**description, "gradients": gradients, "first_layer": way, "seconds": seconds,
                     "predicted": dataclasses.asdict(expected)})
        del step
    ranks.shutdown()
    return {**conditions(settings), "counted": count(settings, network), "measured": rows, "cluster": assumptions(settings),
            "overlap": settings.overlap}


# ---- measured: what starts them


def jobs_of(settings: ScalingSettings, network: MCNN, ranks: int) -> list[tuple[str, str]]:
    """Return what is measured of that many ranks: types of gradients and ways of the first layer."""
    types = settings.gradients.split(",") if ranks > 1 else [FLOAT32]
    return [(gradients, way) for gradients in types for way in measured_ways(settings, network, gradients, ranks)]


def job(ranks: int, gradients: str, way: str, settings: ScalingSettings) -> Process:
    """Return a job of that many ranks, which takes a step for each line, a kind of step."""
    command = [sys.executable] if ranks == 1 else collective.starter("gloo", ranks, oversubscribe=settings.oversubscribe)
    arguments = collective.options(settings, backend="gloo", gradients=gradients, first_layer=way, json=None)
    return Process(f"the job of {ranks} ranks, {gradients} gradients,",
                   [*command, "-m", "mscnn.bench", "scaling-worker", *arguments])


def by_number(settings: ScalingSettings) -> dict[str, Any]:
    """Count, measure by number of ranks on this machine unless a rate is given, and predict."""
    network = shapes(settings)
    rows, rate = [], settings.images_per_core_second
    if not rate:
        rows = measure(settings, network)
        last = rows[-1]  # with most ranks, which share the memory's bandwidth as on a node of the cluster
        rate = last["ranks"] * settings.fields / statistics.median(last["seconds"][ALONE]) / last["cores"]
    return {**conditions(settings), "counted": count(settings, network), "measured": rows,
            "predicted": predictions(settings, network, rate)}


def measure(settings: ScalingSettings, network: MCNN) -> list[dict[str, Any]]:
    """Time steps with and without exchange in turns, by number of ranks, type of gradients and way of the first layer."""
    available = cpu_topology.allowed_cores()
    numbers = ([number for number in (1, 2, 4) if number <= available] if settings.ranks == "auto"
               else parse_counts("ranks", settings.ranks))
    rows: list[dict[str, Any]] = []
    with ExitStack() as running:
        jobs = []
        for number in numbers:
            for gradients, way in jobs_of(settings, network, number):
                jobs.append(running.enter_context(job(number, gradients, way, settings)))
                seconds: dict[str, list[float]] = {kind: [] for kind in kinds(number)}
                description = jobs[-1].answer()  # its warm-up is over when the next job starts
                rows.append({**description, "gradients": gradients, "first_layer": way, "seconds": seconds})
        for _ in range(settings.repeats):
            for started, row in zip(jobs, rows, strict=True):
                for kind, times in row["seconds"].items():
                    times.append(started.ask(kind)["seconds"])
    return rows


def conditions(settings: ScalingSettings) -> dict[str, Any]:
    """Return the settings that all steps have in common."""
    return {"size": settings.size, "channels": settings.channels, "fields": settings.fields,
            "microbatch": min(settings.fields, settings.microbatch), "repeats": settings.repeats}


# ---- shown


def table(results: dict[str, Any]) -> str:
    """Return the results as tables."""
    parts = [_counted_lines(results["counted"])]
    if results["measured"]:
        parts.append(_measured_lines(results))
    if "predicted" in results:
        parts.append(cost_model.lines(results["predicted"]))
    return "\n\n".join("\n".join(lines) for lines in parts)


def _counted_lines(counted: dict[str, Any]) -> list[str]:
    lines = [f"counted: {counted['parameters']:,} parameters, {counted['first_layer_weights']:,} of them in the first "
             "linear layer; MB that a rank sends at least, a step, by number of ranks:",
             f"{'gradients':10} {'first layer':11} {'part':12}"
             + "".join(f"{ranks:>12}" for ranks in counted["bytes_sent"])]
    for gradients, by_way in counted["exchange"].items():
        for way, by_ranks in by_way.items():
            named = {part: [sent[part] for sent in by_ranks.values()] for part in next(iter(by_ranks.values()))}
            named = {part: sent for part, sent in named.items() if any(sent)}
            if len(named) > 1:
                named["all"] = [sum(sent.values()) for sent in by_ranks.values()]
            lines += [f"{gradients:10} {way:11} {part:12}" + "".join(f"{each / 1e6:12.3f}" for each in sent)
                      for part, sent in named.items()]
        lines.append(f"{gradients:10} {'training uses':24}"
                     + "".join(f"{way:>12}" for way in counted["used"][gradients].values()))
    return lines


def _measured_lines(results: dict[str, Any]) -> list[str]:
    """Return lines of medians; ratios and shares are computed within a turn, then their median over turns is taken."""
    rows, fields = results["measured"], results["fields"]
    lines = [f"measured: {results['size']}, {results['channels']} channels, {fields} fields a rank, "
             f"{results['microbatch']} at once, float32; {results['repeats']} steps of each kind in turn, as long as the "
             "slowest rank's",
             *(f"  {line}" for line in dict.fromkeys(line for row in rows for line in row["bindings"])),
             f"{'ranks x cores':14} {'gradients':10} {'first layer':11} {'images/s':>8} {'least':>7} {'most':>7} "
             f"{'to the first':>12} {'of the step, exchange':>21}"
             + (f" {'step, s':>9} {'predicted':>9}" if "cluster" in results else "")]
    first = None
    for row in rows:
        whole, alone = row["seconds"].get(EXCHANGE, row["seconds"][ALONE]), row["seconds"][ALONE]
        rates = [row["ranks"] * fields / seconds for seconds in whole]
        first = first or rates
        ratio = statistics.median(rate / other for rate, other in zip(rates, first, strict=True))
        share = statistics.median(1 - without / seconds for without, seconds in zip(alone, whole, strict=True))
        predicted = (f" {statistics.median(whole):9.3f} {row['predicted']['step_seconds']:9.3f}" if "predicted" in row
                     else "")
        lines.append(f"{row['ranks']} x {row['cores'] / row['ranks']:<10g} {row['gradients']:10} {row['first_layer']:11} "
                     f"{statistics.median(rates):8.2f} {min(rates):7.2f} {max(rates):7.2f} {ratio:12.3f} {share:21.1%}"
                     + predicted)
    if "cluster" in results:
        lines.append(f"predicted, assuming {assumed(results['cluster'], results['overlap'])}")
    return lines
