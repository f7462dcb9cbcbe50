"""Predict a training step of a cluster: the seconds of the all-reduce of gradients by formula, and the step with it.

Exercised by `mscnn bench scaling`.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from mscnn.bench.settings import FABRICS, ScalingSettings, parse_counts

FLOAT32, BFLOAT16 = "float32", "bfloat16"
BUCKETS = 2             # of DDP for this network's gradients; the first has 98.5 % of the bytes
BACKWARD = 2 / 3        # share of a step: 98.6 of the 150.0 GFLOP of a dense step
JOB_NODES = 8
IN_2018 = "2018: 31 min, 120 images/s, on 8 nodes of 2 x 20 cores, 4 ranks a node, 100 Gb/s"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What a prediction assumes of the machine, and of the all-reduce."""

    ranks_per_node: int
    gbit: float             # a node's link in each direction, Gb/s
    latency_us: float       # of a message between nodes
    efficiency: float       # share of the link's rate that data gets
    rank_rate: float        # GB/s at which a rank can add and send gradients
    algorithm: str          # ring, spread or hierarchical, as --algorithm explains


def bytes_sent(payload: float, ranks: int) -> float:
    """Return the least bytes that each of n ranks must send in an all-reduce: 2 (n - 1) / n of the payload (bytes)."""
    return 2 * (ranks - 1) / ranks * payload


def exchange_seconds(nodes: int, cluster: Cluster, payload: float) -> tuple[float, float]:
    """Return the seconds of the links between nodes, and of the whole all-reduce of a payload (bytes).

    In a ring of n, 2 (n - 1) messages follow each other, and each carries 1/n of the payload.
    """
    here, ranks = cluster.ranks_per_node, nodes * cluster.ranks_per_node
    link, rank = cluster.gbit / 8 * 1e9 * cluster.efficiency, cluster.rank_rate * 1e9
    ring = nodes if cluster.algorithm == "hierarchical" else ranks
    streams = here if cluster.algorithm == "spread" else 1
    crossing = streams * bytes_sent(payload, ring) if nodes > 1 else 0.0
    waiting = BUCKETS * 2 * (ring - 1) * cluster.latency_us / 1e6 if nodes > 1 else 0.0
    fabric = crossing / link + waiting
    if cluster.algorithm == "hierarchical":
        return fabric, bytes_sent(payload, here) / rank + max(fabric, bytes_sent(payload, nodes) / rank + waiting)
    return fabric, max(fabric, bytes_sent(payload, ranks) / rank + waiting)


@dataclass(frozen=True)
class Prediction:
    """A training step of a number of nodes."""

    nodes: int
    fabric_seconds: float       # of the links between nodes
    exchange_seconds: float     # of the whole exchange
    step_seconds: float
    images_per_second: float
    efficiency: float           # images/s over those of the same ranks without exchange


def predict(nodes: int, cluster: Cluster, *, fields: int, compute_seconds: float, payload: float,
            overlap: float = 0.0) -> Prediction:
    """Predict a training step, for ranks that are equally fast and never wait for fields.

    fields: of each rank in a step; compute_seconds: of that step without exchange; payload: bytes of all gradients;
    overlap: share of the backward pass that overlaps with the exchange.
    """
    fabric, exchange = exchange_seconds(nodes, cluster, payload)
    seconds = compute_seconds + max(0.0, exchange - overlap * BACKWARD * compute_seconds)
    return Prediction(nodes, fabric, exchange, seconds, nodes * cluster.ranks_per_node * fields / seconds,
                      compute_seconds / seconds)


def cluster_of(settings: ScalingSettings, gradients: str) -> Cluster:
    """Return the cluster that the settings describe, for gradients of a type."""
    gbit, latency_us, efficiency = FABRICS[settings.fabric]
    return Cluster(ranks_per_node=settings.ranks_per_node, gbit=settings.bandwidth or gbit,
                   latency_us=latency_us if settings.latency < 0 else settings.latency,
                   efficiency=settings.efficiency or efficiency, rank_rate=rank_rates(settings)[gradients],
                   algorithm=settings.algorithm)


def rank_rates(settings: ScalingSettings) -> dict[str, float]:
    """Return the GB/s at which a rank can add and send gradients, by their type."""
    return {FLOAT32: settings.rank_rate, BFLOAT16: settings.rank_rate_bfloat16}


def assumptions(settings: ScalingSettings) -> dict[str, Any]:
    """Return what predictions assume, for gradients of all types."""
    common = dataclasses.asdict(cluster_of(settings, FLOAT32))
    del common["rank_rate"]
    return {**common, "rank_rates": rank_rates(settings)}


def predictions(settings: ScalingSettings, images_per_core_second: float, payloads: dict[str, int]) -> dict[str, Any]:
    """Predict steps by number of nodes and type of the gradients sent. Returns them with what they assume."""
    cores = settings.cores_per_node / settings.ranks_per_node
    compute = settings.fields / (images_per_core_second * settings.clock_ratio * cores)
    nodes = sorted({*parse_counts("nodes", settings.nodes), JOB_NODES})
    rows = []
    for name, payload in payloads.items():
        cluster = cluster_of(settings, name)
        for number in nodes:
            predicted, hidden = (predict(number, cluster, fields=settings.fields, compute_seconds=compute, payload=payload,
                                         overlap=overlap) for overlap in (settings.overlap, 1.0))
            rows.append({"gradients": name, **dataclasses.asdict(predicted), "efficiency_if_hidden": hidden.efficiency})
    return {"cluster": assumptions(settings), "fabric": settings.fabric if not settings.bandwidth else "as given",
            "cores_per_node": settings.cores_per_node, "images_per_core_second": images_per_core_second,
            "clock_ratio": settings.clock_ratio, "fields": settings.fields, "compute_seconds": compute,
            "overlap": settings.overlap, "images": settings.images, "rows": rows}


def lines(predicted: dict[str, Any]) -> list[str]:
    """Return the predictions as a table."""
    cluster = predicted["cluster"]
    lines = [f"predicted, assuming {predicted['images_per_core_second']:.4g} images/s a core, times "
             f"{predicted['clock_ratio']:g} for the clock, on each of {predicted['cores_per_node']} cores a node, by "
             f"{cluster['ranks_per_node']} ranks of {predicted['fields']} fields",
             f"({predicted['compute_seconds']:.3f} s a step without exchange, float32); fabric {predicted['fabric']}:",
             assumed(cluster, predicted["overlap"]),
             f"{'nodes':>5} {'gradients':10} {'minibatch':>9} {'fabric ms':>10} {'exchange ms':>12} {'images/s':>9} "
             f"{'efficiency':>10} {'if all hides':>12} {'job, min':>9}"]
    for row in predicted["rows"]:
        minibatch = row["nodes"] * cluster["ranks_per_node"] * predicted["fields"]
        lines.append(f"{row['nodes']:5} {row['gradients']:10} {minibatch:9} {1e3 * row['fabric_seconds']:10.1f} "
                     f"{1e3 * row['exchange_seconds']:12.1f} {row['images_per_second']:9.1f} {row['efficiency']:10.1%} "
                     f"{row['efficiency_if_hidden']:12.1%} {predicted['images'] / row['images_per_second'] / 60:9.1f}")
    return [*lines, f"job: {predicted['images']:,} images. {IN_2018}"]


def assumed(cluster: dict[str, Any], overlap: float) -> str:
    """Return what the predictions assume, in words."""
    rates = " and ".join(f"{rate:g} GB/s of {name}" for name, rate in cluster["rank_rates"].items())
    return (f"a link of {cluster['gbit']:g} Gb/s each way, {cluster['efficiency']:.0%} of it for data, "
            f"{cluster['latency_us']:g} us a message; {cluster['algorithm']} in {BUCKETS} buckets;\n"
            f"a rank adds and passes on {rates}; hidden under {overlap:.0%} of backward, {BACKWARD:.0%} of a step;\n"
            "all ranks equally fast, fields ready in time")
