"""Many ranks: what they exchange (counted), steps by number of ranks (measured), and what a cluster would do (predicted).

Exercised by `python -m mscnn.bench scaling`.  Without a launcher, each number of
ranks has processes of its own on this machine, over gloo, and they take turns; under one, the ranks that are there are
measured, and the prediction for as many nodes stands beside:

    srun python -m mscnn.bench scaling --bandwidth 10 --latency 30

Weak scaling: each rank has its --fields a step, so that the global minibatch grows with the ranks.
"""

import dataclasses
import json
import statistics
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any, TextIO

import torch

from mscnn.bench import collective, prediction
from mscnn.bench.collective import shown
from mscnn.bench.prediction import FLOAT32, assumed, assumptions, bytes_sent, cluster_of, predict, predictions
from mscnn.bench.process import Process
from mscnn.bench.worker import NUM_CLASSES, Step
from mscnn.cli import benches
from mscnn.core import memory
from mscnn.core.errors import DataError, UsageError
from mscnn.core.settings import parse_size
from mscnn.distributed import core_binding, cpu_topology, world
from mscnn.distributed.world import World
from mscnn.model import MCNN
from mscnn.model.acceleration import Acceleration

EXCHANGE, ALONE = "exchange", "alone"   # steps with and without exchange of gradients


# ---- counted


def count(settings: benches.ScalingBench) -> dict[str, Any]:
    """Parameters of the network, and bytes of all gradients by type, on shapes alone. Raises DataError for unfit sizes."""
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

    def __init__(self, ranks: World, settings: benches.ScalingBench, gradients: str):
        microbatch = min(settings.fields, settings.microbatch)
        self.ranks, self.pieces = ranks, settings.fields // microbatch
        self.step = Step("sparse", Acceleration(),
                         (microbatch, settings.channels, *parse_size("size", settings.size)))
        self.step.loss_module = ranks.to_ddp(self.step.loss_module, "none" if gradients == FLOAT32 else gradients)

    def seconds(self, kind: str) -> float:
        """Wall-clock time of one step, of the slowest rank; a collective."""
        return max(self.ranks.gather(collective.seconds_apiece(lambda: self._take(kind), 1, self.ranks.barrier)))

    def warm_up(self) -> None:
        """Two steps that are not timed: kernels are compiled, DDP puts gradients into buckets anew after the first one."""
        self._take(EXCHANGE)
        self._take(EXCHANGE)

    def _take(self, kind: str) -> None:
        for piece in range(self.pieces):
            with self.ranks.sync_only_if(self.step.loss_module, last=kind == EXCHANGE and piece == self.pieces - 1):
                self.step.gradients()
        self.step.update()


def kinds(ranks: int) -> list[str]:
    """One rank alone exchanges nothing."""
    return [EXCHANGE, ALONE] if ranks > 1 else [ALONE]


def enter(settings: benches.ScalingBench) -> tuple[World, dict[str, Any]]:
    """Meet the other ranks and take cores; what there is to say of it, the same on all ranks."""
    ranks = world.init(settings.backend, join_seconds=settings.join_timeout, wait_seconds=settings.start_timeout)
    plan = core_binding.bind_rank(ranks, settings)
    memory.keep_memory()
    return ranks, {"ranks": ranks.size, "hosts": len(set(ranks.gather(ranks.host))), "backend": ranks.backend,
                   "cores": int(ranks.sum(plan.threads)[0]), "places": core_binding.describe_bindings(ranks, plan)}


def serve(settings: benches.ScalingBench, asked: Iterable[str], answers: TextIO) -> None:
    """Rank 0 answers first with who is here; then, for each line, which names the kind, with the time of a step."""
    ranks, here = enter(settings)
    step = RankStep(ranks, settings, settings.gradients)
    step.warm_up()
    lines = iter(asked)
    answer = here
    while True:
        if ranks.rank == 0:
            print(json.dumps(answer), file=answers, flush=True)
        kind = ranks.gather(next(lines, "").strip() if ranks.rank == 0 else None)[0]
        if not kind:
            break
        answer = {"seconds": step.seconds(kind)}
    del step  # the wrapped network goes before the process group
    ranks.shutdown()


def on_these_ranks(settings: benches.ScalingBench) -> dict[str, Any]:
    """Measure the ranks that a launcher started, with the prediction for as many nodes; the same on all of them."""
    counted = count(settings)
    ranks, here = enter(settings)
    if ranks.size % here["hosts"]:
        raise UsageError(f"{ranks.size} ranks on {here['hosts']} hosts; start as many ranks on each host as on the others")
    settings = dataclasses.replace(settings, ranks_per_node=ranks.size // here["hosts"])
    rows = []
    for gradients in settings.gradients.split(",") if ranks.size > 1 else [FLOAT32]:
        step = RankStep(ranks, settings, gradients)
        step.warm_up()
        seconds: dict[str, list[float]] = {kind: [] for kind in kinds(ranks.size)}
        for _ in range(settings.repeats):
            for kind, taken in seconds.items():
                taken.append(step.seconds(kind))
        expected = predict(here["hosts"], cluster_of(settings, gradients), fields=settings.fields,
                           compute_seconds=statistics.median(seconds[ALONE]), overlap=settings.overlap,
                           payload=counted["parameters"] * getattr(torch, gradients).itemsize)
        rows.append({**here, "gradients": gradients, "seconds": seconds, "predicted": dataclasses.asdict(expected)})
        del step
    ranks.shutdown()
    return {**conditions(settings), "counted": counted, "measured": rows, "cluster": assumptions(settings),
            "overlap": settings.overlap}


# ---- measured: what starts them


def job(ranks: int, gradients: str, settings: benches.ScalingBench) -> Process:
    """Ranks of one number and one type of gradients; asked for a kind, they take a step."""
    command = [sys.executable] if ranks == 1 else collective.starter("gloo", ranks, oversubscribe=settings.oversubscribe)
    arguments = collective.options(settings, backend="gloo", gradients=gradients, json=None)
    return Process(f"the job of {ranks} ranks, {gradients} gradients,",
                   [*command, "-m", "mscnn.bench", "scaling-worker", *arguments])


def by_number(settings: benches.ScalingBench) -> dict[str, Any]:
    """Count, measure by number of ranks on this machine unless a rate is given, and predict."""
    counted = count(settings)
    rows, rate = [], settings.images_per_core_second
    if not rate:
        rows = measure(settings)
        last = rows[-1]  # the most ranks: the memory's bandwidth is shared as on a node of the cluster
        rate = last["ranks"] * settings.fields / statistics.median(last["seconds"][ALONE]) / last["cores"]
    return {**conditions(settings), "counted": counted, "measured": rows,
            "predicted": predictions(settings, rate, counted["payload"])}


def measure(settings: benches.ScalingBench) -> list[dict[str, Any]]:
    """Seconds of steps with and without exchange, by number of ranks and type of gradients, in turns."""
    available = cpu_topology.allowed_cores()
    numbers = ([number for number in (1, 2, 4) if number <= available] if settings.ranks == "auto"
               else benches.parse_counts("ranks", settings.ranks))
    rows: list[dict[str, Any]] = []
    with ExitStack() as running:
        jobs = []
        for number in numbers:
            for gradients in settings.gradients.split(",") if number > 1 else [FLOAT32]:
                jobs.append(running.enter_context(job(number, gradients, settings)))
                seconds: dict[str, list[float]] = {kind: [] for kind in kinds(number)}
                here = jobs[-1].answer()  # its warm-up is over when the next one starts
                rows.append({**here, "gradients": gradients, "seconds": seconds})
        for _ in range(settings.repeats):
            for asked, row in zip(jobs, rows, strict=True):
                for kind, taken in row["seconds"].items():
                    taken.append(asked.ask(kind)["seconds"])
    return rows


def conditions(settings: benches.ScalingBench) -> dict[str, Any]:
    """What all steps have in common."""
    return {"size": settings.size, "channels": settings.channels, "fields": settings.fields,
            "microbatch": min(settings.fields, settings.microbatch), "repeats": settings.repeats}


# ---- shown


def table(results: dict[str, Any]) -> str:
    """The results for people."""
    parts = [_counted_lines(results["counted"])]
    if results["measured"]:
        parts.append(_measured_lines(results))
    if "predicted" in results:
        parts.append(prediction.lines(results["predicted"]))
    return "\n\n".join("\n".join(lines) for lines in parts)


def _counted_lines(counted: dict[str, Any]) -> list[str]:
    ranks = (2, 4, 32, 512)
    return [f"counted: {counted['parameters']:,} parameters; a rank sends at least, a step, by number of ranks:",
            f"{'gradients':10} {'bytes':>12}" + "".join(f"{number:>12}" for number in ranks),
            *(f"{name:10} {payload:12,}" + "".join(f"{shown(bytes_sent(payload, number)):>12}" for number in ranks)
              for name, payload in counted["payload"].items())]


def _measured_lines(results: dict[str, Any]) -> list[str]:
    """Medians; ratios and shares are medians over turns of what stands side by side in a turn."""
    rows, fields = results["measured"], results["fields"]
    lines = [f"measured: {results['size']}, {results['channels']} channels, {fields} fields a rank, "
             f"{results['microbatch']} at once, float32; {results['repeats']} steps of each kind in turn, as long as the "
             "slowest rank's",
             *(f"  {place}" for place in dict.fromkeys(place for row in rows for place in row["places"])),
             f"{'ranks x cores':14} {'gradients':10} {'images/s':>8} {'least':>7} {'most':>7} {'to the first':>12} "
             f"{'of the step, exchange':>21}" + (f" {'step, s':>9} {'predicted':>9}" if "cluster" in results else "")]
    first = None
    for row in rows:
        whole, alone = row["seconds"].get(EXCHANGE, row["seconds"][ALONE]), row["seconds"][ALONE]
        rates = [row["ranks"] * fields / taken for taken in whole]
        first = first or rates
        ratio = statistics.median(rate / other for rate, other in zip(rates, first, strict=True))
        share = statistics.median(1 - without / taken for taken, without in zip(whole, alone, strict=True))
        beside = (f" {statistics.median(whole):9.3f} {row['predicted']['step_seconds']:9.3f}" if "predicted" in row else "")
        lines.append(f"{row['ranks']} x {row['cores'] / row['ranks']:<10g} {row['gradients']:10} "
                     f"{statistics.median(rates):8.2f} {min(rates):7.2f} {max(rates):7.2f} {ratio:12.3f} {share:21.1%}"
                     + beside)
    if "cluster" in results:
        lines.append(f"predicted, assuming {assumed(results['cluster'], results['overlap'])}")
    return lines
