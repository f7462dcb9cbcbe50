"""Predict a training step of a cluster: the seconds of what ranks exchange by formula, and the step with it.

Exercised by `mscnn bench scaling`.
"""

import dataclasses
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from mscnn.bench.settings import FABRICS, ScalingSettings, parse_bandwidths, parse_counts
from mscnn.distributed.sharded_linear import (
    REPLICATED,
    Exchange,
    all_reduce_bytes,
    all_to_all_bytes,
    choose,
    exchanges,
)
from mscnn.model import MCNN

FLOAT32, BFLOAT16 = "float32", "bfloat16"
BUCKETS = 2             # of DDP for this network's gradients, replicated or sharded
BACKWARD = 2 / 3        # share of a step: 98.6 of the 150.0 GFLOP of a dense step
JOB_NODES = 8
IN_2018 = "2018: 31 min, 120 images/s, on 8 nodes of 2 x 20 cores, 4 ranks a node, 100 Gb/s"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What a prediction assumes of the machine, and of the all-reduce."""

    ranks_per_node: int
    gbit: float                     # a node's link in each direction, Gb/s
    latency_us: float               # of a message between nodes
    efficiency: float               # share of the link's rate that data gets
    rank_rate: float                # GB/s at which a rank can add and send float32
    rank_rate_bfloat16: float
    algorithm: str                  # of an all-reduce: ring, spread or hierarchical, as --algorithm explains

    @property
    def link(self) -> float:
        """Bytes a second of a node's link."""
        return self.gbit / 8 * 1e9 * self.efficiency

    def rank(self, numbers: str) -> float:
        """Return the bytes a second at which a rank can add and send numbers of a type."""
        return 1e9 * (self.rank_rate_bfloat16 if numbers == BFLOAT16 else self.rank_rate)


def all_reduce_seconds(nodes: int, cluster: Cluster, payload: float, numbers: str = FLOAT32) -> tuple[float, float]:
    """Return the seconds of the links between nodes, and of the whole all-reduce of a payload (bytes).

    In a ring of n, 2 (n - 1) messages follow each other, and each carries 1/n of a bucket.
    """
    here, ranks = cluster.ranks_per_node, nodes * cluster.ranks_per_node
    ring = nodes if cluster.algorithm == "hierarchical" else ranks
    streams = here if cluster.algorithm == "spread" else 1
    crossing = streams * all_reduce_bytes(payload, ring) if nodes > 1 else 0.0
    waiting = BUCKETS * 2 * (ring - 1) * cluster.latency_us / 1e6 if nodes > 1 else 0.0
    fabric, rank = crossing / cluster.link + waiting, cluster.rank(numbers)
    if cluster.algorithm == "hierarchical":
        within = all_reduce_bytes(payload, here) / rank
        return fabric, within + max(fabric, all_reduce_bytes(payload, nodes) / rank + waiting)
    return fabric, max(fabric, all_reduce_bytes(payload, ranks) / rank + waiting)


def all_to_all_seconds(nodes: int, cluster: Cluster, payload: float, numbers: str = FLOAT32) -> tuple[float, float]:
    """Return the seconds of the links between nodes, and of the whole all-to-all of a payload (bytes) of each rank.

    A node's link carries what its ranks send, as if all of it left the node; n - 1 messages follow each other.
    """
    ranks = nodes * cluster.ranks_per_node
    sent = all_to_all_bytes(payload, ranks)
    waiting = (ranks - 1) * cluster.latency_us / 1e6 if nodes > 1 else 0.0
    fabric = cluster.ranks_per_node * sent / cluster.link + waiting if nodes > 1 else 0.0
    return fabric, max(fabric, sent / cluster.rank(numbers) + waiting)


@dataclass(frozen=True)
class Prediction:
    """A training step of a number of nodes."""

    nodes: int
    fabric_seconds: float       # of the links between nodes
    exchange_seconds: float     # of the whole exchange
    critical_seconds: float     # of it that of the sharded layer, which no computation hides
    step_seconds: float
    images_per_second: float
    efficiency: float           # images/s over those of the same ranks without exchange


def predict(nodes: int, cluster: Cluster, exchange: Exchange, *, fields: int, compute_seconds: float,
            gradients: str = FLOAT32, microbatches: int = 1, overlap: float = 0.0) -> Prediction:
    """Predict a training step, for ranks that are equally fast and never wait for fields.

    fields: of each rank in a step; compute_seconds: of that step without exchange, of the replicated network;
    gradients: type in which they and activations are sent; overlap: share of the backward pass that overlaps with the
    exchange of DDP.  A sharded layer exchanges in the forward and in the backward pass of each microbatch.
    """
    averaged = all_reduce_seconds(nodes, cluster, exchange.parameters, gradients)
    passes = [all_to_all_seconds(nodes, cluster, exchange.activations / microbatches, gradients),
              all_to_all_seconds(nodes, cluster, exchange.sums / microbatches)] if exchange.activations else []
    layer_fabric, critical = (2 * microbatches * sum(each[part] for each in passes) for part in (0, 1))
    seconds = compute_seconds + critical + max(0.0, averaged[1] - overlap * BACKWARD * compute_seconds)
    return Prediction(nodes, averaged[0] + layer_fabric, averaged[1] + critical, critical, seconds,
                      nodes * cluster.ranks_per_node * fields / seconds, compute_seconds / seconds)


def ways(settings: ScalingSettings, network: MCNN, gradients: str, ranks: int) -> dict[str, Exchange]:
    """Return what that many ranks exchange in a step, {"replicated", "sharded"}."""
    others = sum(parameter.numel() for parameter in network.parameters()) - network.hidden.weight.numel()
    return exchanges(features=network.hidden.in_features, outputs=network.hidden.out_features, others=others,
                     minibatch=ranks * settings.fields, size=ranks, in_bfloat16=gradients == BFLOAT16)


def chosen(settings: ScalingSettings, network: MCNN, gradients: str, ranks: int) -> str:
    """Return the way of the first layer that training would choose."""
    sent = {way: exchange.bytes_sent(ranks) for way, exchange in ways(settings, network, gradients, ranks).items()}
    return REPLICATED if ranks == 1 else choose(sent)


def clusters(settings: ScalingSettings) -> list[Cluster]:
    """Return the clusters that the settings describe, one for each bandwidth."""
    gbit, latency_us, efficiency = FABRICS[settings.fabric]
    return [Cluster(ranks_per_node=settings.ranks_per_node, gbit=given or gbit,
                    latency_us=latency_us if settings.latency < 0 else settings.latency,
                    efficiency=settings.efficiency or efficiency, rank_rate=settings.rank_rate,
                    rank_rate_bfloat16=settings.rank_rate_bfloat16, algorithm=settings.algorithm)
            for given in parse_bandwidths(settings.bandwidth)]


def assumptions(settings: ScalingSettings) -> dict[str, Any]:
    """Return what predictions assume, with a list of bandwidths."""
    described = clusters(settings)
    return {**dataclasses.asdict(described[0]), "gbit": [cluster.gbit for cluster in described]}


def predictions(settings: ScalingSettings, network: MCNN, images_per_core_second: float) -> dict[str, Any]:
    """Predict steps by type of the gradients sent, way of the first layer, nodes and bandwidth, with what they assume."""
    cores = settings.cores_per_node / settings.ranks_per_node
    compute = settings.fields / (images_per_core_second * settings.clock_ratio * cores)
    nodes = sorted({*parse_counts("nodes", settings.nodes), JOB_NODES})
    rows = []
    for gradients in settings.gradients.split(","):
        exchanged = {number: ways(settings, network, gradients, number * settings.ranks_per_node) for number in nodes}
        for way in exchanged[JOB_NODES]:
            for number in nodes:
                for cluster in clusters(settings):
                    predicted, hidden = (
                        predict(number, cluster, exchanged[number][way], fields=settings.fields, compute_seconds=compute,
                                gradients=gradients, microbatches=settings.microbatches(), overlap=overlap)
                        for overlap in (settings.overlap, 1.0))
                    rows.append({"gradients": gradients, "first_layer": way, "gbit": cluster.gbit,
                                 **dataclasses.asdict(predicted), "efficiency_if_hidden": hidden.efficiency,
                                 "job_minutes": settings.images / predicted.images_per_second / 60})
    return {"cluster": assumptions(settings), "fabric": settings.fabric if settings.bandwidth == "0" else "as given",
            "cores_per_node": settings.cores_per_node, "images_per_core_second": images_per_core_second,
            "clock_ratio": settings.clock_ratio, "fields": settings.fields, "compute_seconds": compute,
            "overlap": settings.overlap, "images": settings.images, "rows": rows}


def lines(predicted: dict[str, Any]) -> list[str]:
    """Return the predictions as a table: of steps, or for several bandwidths of the job's minutes alone."""
    cluster = predicted["cluster"]
    return [f"predicted, assuming {predicted['images_per_core_second']:.4g} images/s a core, times "
            f"{predicted['clock_ratio']:g} for the clock, on each of {predicted['cores_per_node']} cores a node, by "
            f"{cluster['ranks_per_node']} ranks of {predicted['fields']} fields",
            f"({predicted['compute_seconds']:.3f} s a step without exchange, float32); fabric {predicted['fabric']}:",
            assumed(cluster, predicted["overlap"]),
            *(_step_lines(predicted) if len(cluster["gbit"]) == 1 else _job_lines(predicted)),
            f"job: {predicted['images']:,} images. {IN_2018}"]


def _step_lines(predicted: dict[str, Any]) -> list[str]:
    lines = [f"{'nodes':>5} {'gradients':10} {'first layer':11} {'minibatch':>9} {'fabric ms':>10} {'exchange ms':>12} "
             f"{'images/s':>9} {'efficiency':>10} {'if all hides':>12} {'job, min':>9}"]
    for row in predicted["rows"]:
        lines.append(f"{row['nodes']:5} {row['gradients']:10} {row['first_layer']:11} {_minibatch(row, predicted):9} "
                     f"{1e3 * row['fabric_seconds']:10.1f} {1e3 * row['exchange_seconds']:12.1f} "
                     f"{row['images_per_second']:9.1f} {row['efficiency']:10.1%} {row['efficiency_if_hidden']:12.1%} "
                     f"{row['job_minutes']:9.1f}")
    return lines


def _job_lines(predicted: dict[str, Any]) -> list[str]:
    head = "".join(f"{f'{gbit:g} Gb/s':>11}" for gbit in predicted["cluster"]["gbit"])
    lines = [f"{'nodes':>5} {'gradients':10} {'first layer':11} {'minibatch':>9} {head}  minutes of the job"]
    for _, rows in groupby(predicted["rows"], lambda row: (row["gradients"], row["first_layer"], row["nodes"])):
        by_bandwidth = list(rows)
        row = by_bandwidth[0]
        lines.append(f"{row['nodes']:5} {row['gradients']:10} {row['first_layer']:11} {_minibatch(row, predicted):9} "
                     + "".join(f"{each['job_minutes']:11.1f}" for each in by_bandwidth))
    return lines


def _minibatch(row: dict[str, Any], predicted: dict[str, Any]) -> int:
    return row["nodes"] * predicted["cluster"]["ranks_per_node"] * predicted["fields"]


def assumed(cluster: dict[str, Any], overlap: float) -> str:
    """Return what the predictions assume, in words."""
    rates = ", ".join(f"{gbit:g}" for gbit in cluster["gbit"])
    return (f"a link of {rates} Gb/s each way, {cluster['efficiency']:.0%} of it for data, "
            f"{cluster['latency_us']:g} us a message; {cluster['algorithm']} in {BUCKETS} buckets;\n"
            f"a rank adds and passes on {cluster['rank_rate']:g} GB/s of {FLOAT32} and {cluster['rank_rate_bfloat16']:g} "
            f"GB/s of {BFLOAT16}; gradients are hidden under {overlap:.0%} of backward,\n"
            f"{BACKWARD:.0%} of a step; activations and sums of a sharded layer never are; all ranks equally fast, fields "
            "ready in time")
