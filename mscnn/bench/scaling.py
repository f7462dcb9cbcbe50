"""Many ranks: what they exchange (counted), steps by number of ranks (measured), and what a cluster would do (predicted).

Exercised by `python -m mscnn.bench scaling` and `pytest tests/test_bench_scaling.py`.  Without a launcher, each number of
ranks has processes of its own on this machine, over gloo, and they take turns; under one, the ranks that are there are
measured, and the prediction for as many nodes stands beside:

    srun python -m mscnn.bench scaling --bandwidth 10 --latency 30

Weak scaling: each rank has its --fields a step, so that the global minibatch grows with the ranks.
"""

import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, TextIO

import torch

from mscnn import config, cpu, placement, world
from mscnn.accelerate import Acceleration
from mscnn.bench import collective
from mscnn.bench.collective import BUCKETS, Cluster, bytes_sent, exchange_seconds, shown
from mscnn.bench.worker import NUM_CLASSES, Step
from mscnn.errors import DataError, UsageError
from mscnn.model import MCNN
from mscnn.world import World

FLOAT32, BFLOAT16 = "float32", "bfloat16"
BACKWARD = 2 / 3                # share of a step: 98.6 of the 150.0 GFLOP of a dense one
EXCHANGE, ALONE = "exchange", "alone"   # steps with and without exchange of gradients
JOB_NODES = 8
IN_2018 = "2018: 31 min, 120 images/s, on 8 nodes of 2 x 20 cores, 4 ranks a node, 100 Gb/s"
LEAVE_SECONDS = 30              # for ranks to end by themselves


# ---- predicted


@dataclass(frozen=True)
class Prediction:
    """A training step of so many nodes."""

    nodes: int
    fabric_seconds: float       # that the links between nodes are needed
    exchange_seconds: float     # of the exchange, in all
    step_seconds: float
    images_per_second: float
    efficiency: float           # images/s over those of as many ranks that exchange nothing


def predict(nodes: int, cluster: Cluster, *, fields: int, compute_seconds: float, payload: float,
            overlap: float = 0.0) -> Prediction:
    """fields: of a rank a step; compute_seconds: of that step without exchange; payload: bytes of all gradients;
    overlap: share of backward under which the exchange hides.

    All ranks are equally fast and fields come in time: stragglers and files are not in it.
    """
    fabric, exchange = exchange_seconds(nodes, cluster, payload)
    seconds = compute_seconds + max(0.0, exchange - overlap * BACKWARD * compute_seconds)
    return Prediction(nodes, fabric, exchange, seconds, nodes * cluster.ranks_per_node * fields / seconds,
                      compute_seconds / seconds)


def cluster_of(settings: config.ScalingBench, gradients: str) -> Cluster:
    """The cluster that the settings describe, for gradients of a type."""
    gbit, latency_us, efficiency = config.FABRICS[settings.fabric]
    return Cluster(ranks_per_node=settings.ranks_per_node, gbit=settings.bandwidth or gbit,
                   latency_us=latency_us if settings.latency < 0 else settings.latency,
                   efficiency=settings.efficiency or efficiency, rank_rate=rank_rates(settings)[gradients],
                   algorithm=settings.algorithm)


def rank_rates(settings: config.ScalingBench) -> dict[str, float]:
    """GB/s that a rank at most adds and passes on, by type."""
    return {FLOAT32: settings.rank_rate, BFLOAT16: settings.rank_rate_bfloat16}


def assumptions(settings: config.ScalingBench) -> dict[str, Any]:
    """What predictions of either type rest on."""
    common = dataclasses.asdict(cluster_of(settings, FLOAT32))
    del common["rank_rate"]
    return {**common, "rank_rates": rank_rates(settings)}


def predictions(settings: config.ScalingBench, images_per_core_second: float, payloads: dict[str, int]) -> dict[str, Any]:
    """Predictions by number of nodes and type of the travelling gradients, with what they rest on."""
    cores = settings.cores_per_node / settings.ranks_per_node
    compute = settings.fields / (images_per_core_second * settings.clock_ratio * cores)
    nodes = sorted({*config.parse_counts("nodes", settings.nodes), JOB_NODES})
    rows = []
    for name, payload in payloads.items():
        cluster = cluster_of(settings, name)
        for number in nodes:
            asked, hidden = (predict(number, cluster, fields=settings.fields, compute_seconds=compute, payload=payload,
                                     overlap=overlap) for overlap in (settings.overlap, 1.0))
            rows.append({"gradients": name, **dataclasses.asdict(asked), "efficiency_if_hidden": hidden.efficiency})
    return {"cluster": assumptions(settings), "fabric": settings.fabric if not settings.bandwidth else "as given",
            "cores_per_node": settings.cores_per_node, "images_per_core_second": images_per_core_second,
            "clock_ratio": settings.clock_ratio, "fields": settings.fields, "compute_seconds": compute,
            "overlap": settings.overlap, "images": settings.images, "rows": rows}


# ---- counted


def count(settings: config.ScalingBench) -> dict[str, Any]:
    """Parameters of the network, and bytes of all gradients by type, on shapes alone. Raises DataError for unfit sizes."""
    try:
        with torch.device("meta"):
            network = MCNN(NUM_CLASSES, settings.channels, *config.parse_size("size", settings.size), gradient="dense")
    except ValueError as problem:
        raise DataError(str(problem)) from None
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {"parameters": parameters, "payload": {name: parameters * getattr(torch, name).itemsize
                                                  for name in settings.gradients.split(",")}}


# ---- measured: what each rank runs


class RankStep:
    """The training step of one rank on random fields."""

    def __init__(self, ranks: World, settings: config.ScalingBench, gradients: str):
        microbatch = min(settings.fields, settings.microbatch)
        self.ranks, self.pieces = ranks, settings.fields // microbatch
        self.step = Step("sparse", Acceleration(),
                         (microbatch, settings.channels, *config.parse_size("size", settings.size)))
        self.step.objective = ranks.wrap(self.step.objective, "none" if gradients == FLOAT32 else gradients)

    def seconds(self, kind: str) -> float:
        """Wall-clock time of one step, of the slowest rank; a collective."""
        return max(self.ranks.gather(collective.seconds_apiece(lambda: self._take(kind), 1, self.ranks.barrier)))

    def warm_up(self) -> None:
        """Two steps that are not timed: kernels are compiled, DDP puts gradients into buckets anew after the first one."""
        self._take(EXCHANGE)
        self._take(EXCHANGE)

    def _take(self, kind: str) -> None:
        for piece in range(self.pieces):
            with self.ranks.accumulate(self.step.objective, last=kind == EXCHANGE and piece == self.pieces - 1):
                self.step.gradients()
        self.step.update()


def kinds(ranks: int) -> list[str]:
    """One rank alone exchanges nothing."""
    return [EXCHANGE, ALONE] if ranks > 1 else [ALONE]


def enter(settings: config.ScalingBench) -> tuple[World, dict[str, Any]]:
    """Meet the other ranks and take cores; what there is to say of it, the same on all ranks."""
    ranks = world.join(settings.backend, join_seconds=settings.join_timeout, step_seconds=settings.step_timeout)
    plan = placement.settle(ranks, settings)
    cpu.keep_memory()
    return ranks, {"ranks": ranks.size, "hosts": len(set(ranks.gather(ranks.host))), "backend": ranks.backend,
                   "cores": int(ranks.sum(plan.threads)[0]), "places": placement.describe(ranks, plan)}


def serve(settings: config.ScalingBench, asked: Iterable[str], answers: TextIO) -> None:
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
    ranks.leave()


def on_these_ranks(settings: config.ScalingBench) -> dict[str, Any]:
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
    ranks.leave()
    return {**conditions(settings), "counted": counted, "measured": rows, "cluster": assumptions(settings),
            "overlap": settings.overlap}


# ---- measured: what starts them


class Job:
    """Ranks of one number and one type of gradients; they end when their standard input is closed."""

    def __init__(self, ranks: int, gradients: str, settings: config.ScalingBench):
        self.ranks, self.gradients = ranks, gradients
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed when the job is left
        command = ([sys.executable] if ranks == 1 else
                   collective.starter("gloo", ranks, oversubscribe=settings.oversubscribe))
        arguments = collective.options(settings, backend="gloo", gradients=gradients, json=None)
        self._process = subprocess.Popen([*command, "-m", "mscnn.bench", "scaling-worker", *arguments], text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors)

    def answer(self) -> dict[str, Any]:
        """Wait for a line. Raises UsageError with the job's last words where it has died."""
        if line := self._process.stdout.readline():
            return json.loads(line)
        code = self._process.wait()
        self._errors.seek(0)
        said = collective.last_words(self._errors.read().decode(errors="replace"))
        raise UsageError(f"the job of {self.ranks} ranks, {self.gradients} gradients, ended with code {code}: "
                         f"{said or '(it said nothing)'}")

    def seconds(self, kind: str) -> float:
        """Have one step taken."""
        with suppress(BrokenPipeError):  # it has died: answer() says how
            print(kind, file=self._process.stdin, flush=True)
        return self.answer()["seconds"]

    def __enter__(self) -> "Job":
        return self

    def __exit__(self, problem: type | None, *_: object) -> None:
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        if problem:
            self._process.terminate()   # torchrun passes it on to the ranks
        for end in (self._process.terminate, self._process.kill):
            try:
                self._process.wait(LEAVE_SECONDS)
            except subprocess.TimeoutExpired:
                end()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()


def by_number(settings: config.ScalingBench) -> dict[str, Any]:
    """Count, measure by number of ranks on this machine unless a rate is given, and predict."""
    counted = count(settings)
    rows, rate = [], settings.images_per_core_second
    if not rate:
        rows = measure(settings)
        last = rows[-1]  # the most ranks: the memory's bandwidth is shared as on a node of the cluster
        rate = last["ranks"] * settings.fields / statistics.median(last["seconds"][ALONE]) / last["cores"]
    return {**conditions(settings), "counted": counted, "measured": rows,
            "predicted": predictions(settings, rate, counted["payload"])}


def measure(settings: config.ScalingBench) -> list[dict[str, Any]]:
    """Seconds of steps with and without exchange, by number of ranks and type of gradients, in turns."""
    available = cpu.allowed_cores()
    numbers = ([number for number in (1, 2, 4) if number <= available] if settings.ranks == "auto"
               else config.parse_counts("ranks", settings.ranks))
    rows: list[dict[str, Any]] = []
    with ExitStack() as running:
        jobs = []
        for number in numbers:
            for gradients in settings.gradients.split(",") if number > 1 else [FLOAT32]:
                job = running.enter_context(Job(number, gradients, settings))
                seconds: dict[str, list[float]] = {kind: [] for kind in kinds(number)}
                rows.append({**job.answer(), "gradients": gradients, "seconds": seconds})
                jobs.append(job)  # its warm-up is over when the next one starts
        for _ in range(settings.repeats):
            for job, row in zip(jobs, rows, strict=True):
                for kind, taken in row["seconds"].items():
                    taken.append(job.seconds(kind))
    return rows


def conditions(settings: config.ScalingBench) -> dict[str, Any]:
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
        parts.append(_predicted_lines(results["predicted"]))
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
        lines.append(f"predicted, assuming {_assumed(results['cluster'], results['overlap'])}")
    return lines


def _predicted_lines(predicted: dict[str, Any]) -> list[str]:
    cluster = predicted["cluster"]
    lines = [f"predicted, assuming {predicted['images_per_core_second']:.4g} images/s a core, times "
             f"{predicted['clock_ratio']:g} for the clock, on each of {predicted['cores_per_node']} cores a node, by "
             f"{cluster['ranks_per_node']} ranks of {predicted['fields']} fields",
             f"({predicted['compute_seconds']:.3f} s a step without exchange, float32); fabric {predicted['fabric']}:",
             _assumed(cluster, predicted["overlap"]),
             f"{'nodes':>5} {'gradients':10} {'minibatch':>9} {'fabric ms':>10} {'exchange ms':>12} {'images/s':>9} "
             f"{'efficiency':>10} {'if all hides':>12} {'job, min':>9}"]
    for row in predicted["rows"]:
        minibatch = row["nodes"] * cluster["ranks_per_node"] * predicted["fields"]
        lines.append(f"{row['nodes']:5} {row['gradients']:10} {minibatch:9} {1e3 * row['fabric_seconds']:10.1f} "
                     f"{1e3 * row['exchange_seconds']:12.1f} {row['images_per_second']:9.1f} {row['efficiency']:10.1%} "
                     f"{row['efficiency_if_hidden']:12.1%} {predicted['images'] / row['images_per_second'] / 60:9.1f}")
    return [*lines, f"job: {predicted['images']:,} images. {IN_2018}"]


def _assumed(cluster: dict[str, Any], overlap: float) -> str:
    rates = " and ".join(f"{rate:g} GB/s of {name}" for name, rate in cluster["rank_rates"].items())
    return (f"a link of {cluster['gbit']:g} Gb/s each way, {cluster['efficiency']:.0%} of it for data, "
            f"{cluster['latency_us']:g} us a message; {cluster['algorithm']} in {BUCKETS} buckets;\n"
            f"a rank adds and passes on {rates}; hidden under {overlap:.0%} of backward, {BACKWARD:.0%} of a step;\n"
            "all ranks equally fast, fields ready in time")
