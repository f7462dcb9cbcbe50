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

from mscnn.bench import collective, cost_model
from mscnn.bench.collective import shown
from mscnn.bench.cost_model import FLOAT32, assumed, assumptions, bytes_sent, cluster_of, predict, predictions
from mscnn.bench.process import Process
from mscnn.bench.settings import ScalingSettings, parse_counts
from mscnn.bench.worker import NUM_CLASSES, Step
from mscnn.core import memory
from mscnn.core.errors import DataError, UsageError
from mscnn.core.settings import parse_size
from mscnn.distributed import core_binding, cpu_topology, world
from mscnn.distributed.world import World
from mscnn.model import MCNN
from mscnn.model.acceleration import Acceleration

EXCHANGE, ALONE = "exchange", "alone"   # steps with and without exchange of gradients


# ---- counted


def count(settings: ScalingSettings) -> dict[str, Any]:
    """Count the network's parameters, and the bytes of all gradients by type, from shapes alone. Raises DataError."""
    try:
        with torch.device("meta"):
            network = MCNN(NUM_CLASSES, settings.channels, *parse_size("size", settings.size), gradient="dense")
    except ValueError as problem:
        raise DataError(str(problem)) from None
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {"parameters": parameters, "payload": {name: parameters * getattr(torch, name).itemsize
                                                  for name in settings.gradients.split(",")}}


# ---- measured: what each rank runs


class RankStep:
    """The training step of one rank on random fields."""

    def __init__(self, ranks: World, settings: ScalingSettings, gradients: str):
        microbatch = min(settings.fields, settings.microbatch)
        self.ranks, self.microbatches = ranks, settings.fields // microbatch
        self.step = Step("sparse", Acceleration(),
                         (microbatch, settings.channels, *parse_size("size", settings.size)))
        self.step.loss_module = ranks.to_ddp(self.step.loss_module, "none" if gradients == FLOAT32 else gradients)

    def seconds(self, kind: str) -> float:
        """Return the wall-clock seconds of one step on the slowest rank; a collective."""
        return max(self.ranks.gather(collective.seconds_per_call(lambda: self._take(kind), 1, self.ranks.barrier)))

    def warm_up(self) -> None:
        """Take two steps that are not timed: kernels are compiled, and DDP rebuilds its buckets after the first step."""
        self._take(EXCHANGE)
        self._take(EXCHANGE)

    def _take(self, kind: str) -> None:
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
    step = RankStep(ranks, settings, settings.gradients)
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
    counted = count(settings)
    ranks, description = init_ranks(settings)
    hosts = description["hosts"]
    if ranks.size % hosts:
        raise UsageError(f"{ranks.size} ranks on {hosts} hosts; start the same number of ranks on each host")
    settings = dataclasses.replace(settings, ranks_per_node=ranks.size // hosts)
    rows = []
    for gradients in settings.gradients.split(",") if ranks.size > 1 else [FLOAT32]:
        step = RankStep(ranks, settings, gradients)
        step.warm_up()
        seconds: dict[str, list[float]] = {kind: [] for kind in kinds(ranks.size)}
        for _ in range(settings.repeats):
            for kind, times in seconds.items():
                times.append(step.seconds(kind))
        expected = predict(hosts, cluster_of(settings, gradients), fields=settings.fields,
                           compute_seconds=statistics.median(seconds[ALONE]), overlap=settings.overlap,
                           payload=counted["parameters"] * getattr(torch, gradients).itemsize)
        rows.append({**description, "gradients": gradients, "seconds": seconds, "predicted": dataclasses.asdict(expected)})
        del step
    ranks.shutdown()
    return {**conditions(settings), "counted": counted, "measured": rows, "cluster": assumptions(settings),
            "overlap": settings.overlap}


# ---- measured: what starts them


def job(ranks: int, gradients: str, settings: ScalingSettings) -> Process:
    """Return a job of that many ranks, which takes a step for each line, a kind of step."""
    command = [sys.executable] if ranks == 1 else collective.starter("gloo", ranks, oversubscribe=settings.oversubscribe)
    arguments = collective.options(settings, backend="gloo", gradients=gradients, json=None)
    return Process(f"the job of {ranks} ranks, {gradients} gradients,",
                   [*command, "-m", "mscnn.bench", "scaling-worker", *arguments])


def by_number(settings: ScalingSettings) -> dict[str, Any]:
    """Count, measure by number of ranks on this machine unless a rate is given, and predict."""
    counted = count(settings)
    rows, rate = [], settings.images_per_core_second
    if not rate:
        rows = measure(settings)
        last = rows[-1]  # with most ranks, which share the memory's bandwidth as on a node of the cluster
        rate = last["ranks"] * settings.fields / statistics.median(last["seconds"][ALONE]) / last["cores"]
    return {**conditions(settings), "counted": counted, "measured": rows,
            "predicted": predictions(settings, rate, counted["payload"])}


def measure(settings: ScalingSettings) -> list[dict[str, Any]]:
    """Time steps with and without exchange in turns, by number of ranks and type of gradients."""
    available = cpu_topology.allowed_cores()
    numbers = ([number for number in (1, 2, 4) if number <= available] if settings.ranks == "auto"
               else parse_counts("ranks", settings.ranks))
    rows: list[dict[str, Any]] = []
    with ExitStack() as running:
        jobs = []
        for number in numbers:
            for gradients in settings.gradients.split(",") if number > 1 else [FLOAT32]:
                jobs.append(running.enter_context(job(number, gradients, settings)))
                seconds: dict[str, list[float]] = {kind: [] for kind in kinds(number)}
                description = jobs[-1].answer()  # its warm-up is over when the next job starts
                rows.append({**description, "gradients": gradients, "seconds": seconds})
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
    ranks = (2, 4, 32, 512)
    return [f"counted: {counted['parameters']:,} parameters; a rank sends at least, a step, by number of ranks:",
            f"{'gradients':10} {'bytes':>12}" + "".join(f"{number:>12}" for number in ranks),
            *(f"{name:10} {payload:12,}" + "".join(f"{shown(bytes_sent(payload, number)):>12}" for number in ranks)
              for name, payload in counted["payload"].items())]


def _measured_lines(results: dict[str, Any]) -> list[str]:
    """Return lines of medians; ratios and shares are computed within a turn, then their median over turns is taken."""
    rows, fields = results["measured"], results["fields"]
    lines = [f"measured: {results['size']}, {results['channels']} channels, {fields} fields a rank, "
             f"{results['microbatch']} at once, float32; {results['repeats']} steps of each kind in turn, as long as the "
             "slowest rank's",
             *(f"  {line}" for line in dict.fromkeys(line for row in rows for line in row["bindings"])),
             f"{'ranks x cores':14} {'gradients':10} {'images/s':>8} {'least':>7} {'most':>7} {'to the first':>12} "
             f"{'of the step, exchange':>21}" + (f" {'step, s':>9} {'predicted':>9}" if "cluster" in results else "")]
    first = None
    for row in rows:
        whole, alone = row["seconds"].get(EXCHANGE, row["seconds"][ALONE]), row["seconds"][ALONE]
        rates = [row["ranks"] * fields / seconds for seconds in whole]
        first = first or rates
        ratio = statistics.median(rate / other for rate, other in zip(rates, first, strict=True))
        share = statistics.median(1 - without / seconds for without, seconds in zip(alone, whole, strict=True))
        predicted = (f" {statistics.median(whole):9.3f} {row['predicted']['step_seconds']:9.3f}" if "predicted" in row
                     else "")
        lines.append(f"{row['ranks']} x {row['cores'] / row['ranks']:<10g} {row['gradients']:10} "
                     f"{statistics.median(rates):8.2f} {min(rates):7.2f} {max(rates):7.2f} {ratio:12.3f} {share:21.1%}"
                     + predicted)
    if "cluster" in results:
        lines.append(f"predicted, assuming {assumed(results['cluster'], results['overlap'])}")
    return lines
