"""Settings of `python -m mscnn.bench`, a record for each of its measurements."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from mscnn.core.config import GROUPS, Parallel
from mscnn.core.settings import REQUIRED, parse_size, require, setting

STEP_VARIANTS = ("dense-fp32-nchw", "dense-fp32", "dense-fp32-kept", "sparse-fp32", "sparse-fp32-torch",
                 "dense-bf16", "dense-bf16-kept", "sparse-bf16")
STEP_GRADIENTS = ("dense", "sparse")
STEP_PRECISIONS = {"fp32": "float32", "bf16": "bfloat16"}
STEP_MODIFIERS = {"torch": "sparse without the compiled kernel", "nchw": "PyTorch's default layout",
                  "kept": "dense with freed memory kept, as sparse and train.py do",
                  "ipex": "--accelerate ipex"}
LOADER_FORMATS = ("tiff", "tiff-lzw", "png", "png16", "packed")
BYTES = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
# What connects nodes: Gb/s of a link each way, microseconds of a message, share of the rate that an all-reduce's data gets.
# Ethernet carries TCP, the others their own protocol; shares are on the low side of what is commonly published.
FABRICS = {"10gbe": (10.0, 30.0, 0.9), "25gbe": (25.0, 20.0, 0.85), "omni-path-100": (100.0, 2.0, 0.7),
           "hdr-200": (200.0, 2.0, 0.7)}


@dataclass(frozen=True, kw_only=True)
class StepBench:
    """Settings of `python -m mscnn.bench step`"""

    size: str = setting("1024x1280", "height x width of a field in pixels")
    channels: int = setting(3, "channels of a field")
    minibatch: int = setting(4, "fields a step")
    variants: str = setting(",".join(STEP_VARIANTS), "comma-separated; each is gradient-precision-modifiers: "
                            f"{' or '.join(STEP_GRADIENTS)}, {' or '.join(STEP_PRECISIONS)}, and any of "
                            f"{', '.join(f'{word} ({meaning})' for word, meaning in STEP_MODIFIERS.items())}")
    repeats: int = setting(5, "counted steps of each variant, after two that are not counted")
    threads: int = setting(0, "compute threads; 0: all cores")
    json: str | None = setting(None, "file for the results")

    def __post_init__(self):
        for name in ("channels", "minibatch", "repeats"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        names = self.variants.split(",")
        require(len(set(names)) == len(names), "variants must differ", self.variants)
        for name in names:
            parse_variant(name)
        parse_size("size", self.size)


@dataclass(frozen=True, kw_only=True)
class LoaderBench:
    """Settings of `python -m mscnn.bench loader`"""

    size: str = setting("1024x1280", "height x width of a field in pixels")
    channels: int = setting(3, "channels of a field, a file each")
    fields: int = setting(16, "fields of each format, written to a temporary folder and read in turn")
    formats: str = setting(",".join(LOADER_FORMATS), f"comma-separated, of {', '.join(LOADER_FORMATS)}; png has 8 bits")
    repeats: int = setting(5, "counted readings of all fields, after one that is not counted")
    threads: int = setting(0, "compute threads; 0: all cores")
    keep_memory: bool = setting(True, "keep freed memory for the next field, as training does")
    json: str | None = setting(None, "file for the results")

    def __post_init__(self):
        for name in ("channels", "fields", "repeats"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        require(self.threads >= 0, "threads must be 0 or more", self.threads)
        names = self.formats.split(",")
        unfit = [name for name in names if name not in LOADER_FORMATS or names.count(name) > 1]
        require(not unfit, f"formats are different ones of {', '.join(LOADER_FORMATS)}", ",".join(unfit))
        require(min(parse_size("size", self.size)) >= 32, "size must be at least 32x32", self.size)


@dataclass(frozen=True, kw_only=True)
class CurvesBench:
    """Settings of `python -m mscnn.bench curves`"""

    runs: str = setting(REQUIRED, "run directories to compare, as DIR,DIR,...")
    out: str = setting(REQUIRED, "picture to draw; its numbers go beside it as CSV")
    by: str = setting("precision", "the setting that tells the runs apart; others, such as the seed, are what they vary in")
    window: int = setting(15, "steps that a point of a curve is the mean of")

    def __post_init__(self):
        require(self.window >= 1, "window must be at least 1", self.window)
        names = {field.name for group in GROUPS.values() for field in dataclasses.fields(group)}
        require(self.by in names, "by names a setting of train.py", self.by)


@dataclass(frozen=True, kw_only=True)
class CollectiveBench(Parallel):
    """Settings of `python -m mscnn.bench collective`"""

    ranks: int = setting(2, "ranks to start on this machine; started by a launcher, its ranks are measured, over --backend")
    backends: str = setting("gloo,mpi", "comma-separated; what is started, one after the other")
    sizes: str = setting("4KiB,64KiB,1MiB,16MiB,162MiB", "comma-separated; of the sum in float32 (162MiB: this network)")
    types: str = setting(",".join(STEP_PRECISIONS.values()), "comma-separated; of the numbers that travel")
    repeats: int = setting(5, "counted turns through all sizes, after one that is not counted")
    json: str | None = setting(None, "file for the results")

    def __post_init__(self):
        super().__post_init__()
        require(self.ranks >= 2, "ranks must be at least 2, as one alone exchanges nothing", self.ranks)
        require(self.repeats >= 1, "repeats must be at least 1", self.repeats)
        parse_choices("backends", self.backends, ("gloo", "mpi"))
        parse_choices("types", self.types, tuple(STEP_PRECISIONS.values()))
        for size in self.sizes.split(","):
            parse_bytes("sizes", size)


@dataclass(frozen=True, kw_only=True)
class ScalingBench(Parallel):
    """Settings of `python -m mscnn.bench scaling`"""

    size: str = setting("1024x1280", "height x width of a field in pixels")
    channels: int = setting(3, "channels of a field")
    fields: int = setting(8, "fields a rank a step: its share of the global minibatch")
    microbatch: int = setting(8, "of them at once; the rest is accumulated")
    ranks: str = setting("auto", "numbers of ranks to start on this machine, as 1,2,4; auto: 1, 2 and 4 where there are so "
                                 "many cores; started by a launcher, its ranks are measured, over --backend")
    gradients: str = setting(",".join(STEP_PRECISIONS.values()), "comma-separated; how gradients travel")
    repeats: int = setting(5, "counted steps of each kind, in turn, after two that are not counted")
    images_per_core_second: float = setting(0.0, "fields a core trains on in a second; 0: measured here")
    clock_ratio: float = setting(1.0, "clock of the cluster's cores over that of the cores measured")
    nodes: str = setting("1,2,4,8,16,32,64,128", "numbers of nodes to predict for")
    ranks_per_node: int = setting(4, "ranks on a node of the cluster")
    cores_per_node: int = setting(40, "cores of a node of the cluster, shared by its ranks")
    fabric: str = setting("omni-path-100", f"between nodes: {', '.join(FABRICS)}")
    bandwidth: float = setting(0.0, "of a node's link each way, Gb/s; 0: the fabric's")
    latency: float = setting(-1.0, "of a message between nodes, microseconds; -1: the fabric's")
    efficiency: float = setting(0.0, "share of the bandwidth that data gets; 0: the fabric's")
    rank_rate: float = setting(1.0, "GB/s that a rank at most adds and passes on, within a node too: `collective` tells it")
    rank_rate_bfloat16: float = setting(0.5, "the same for gradients in bfloat16")
    algorithm: Literal["ring", "spread", "hierarchical"] = setting(
        "ring", "ring: node by node, one stream through a node's link; spread: all ranks of a node send through it; "
                "hierarchical: within nodes, between them, within nodes")
    overlap: float = setting(0.0, "share of backward under which the exchange hides")
    images: int = setting(223_200, "fields of the job, all epochs together")
    json: str | None = setting(None, "file for the results")

    def __post_init__(self):
        super().__post_init__()
        for name in ("channels", "fields", "microbatch", "repeats", "ranks_per_node", "cores_per_node", "images"):
            require(getattr(self, name) >= 1, f"{name.replace('_', '-')} must be at least 1", getattr(self, name))
        for name in ("clock_ratio", "rank_rate", "rank_rate_bfloat16"):
            require(getattr(self, name) > 0, f"{name.replace('_', '-')} must be more than 0", getattr(self, name))
        for name in ("images_per_core_second", "bandwidth"):
            require(getattr(self, name) >= 0, f"{name.replace('_', '-')} must be 0 or more", getattr(self, name))
        for name in ("overlap", "efficiency"):
            require(0 <= getattr(self, name) <= 1, f"{name} must be between 0 and 1", getattr(self, name))
        require(self.latency >= 0 or self.latency == -1, "latency must be 0 or more, or -1 for the fabric's", self.latency)
        require(self.fabric in FABRICS, f"fabric is one of {', '.join(FABRICS)}", self.fabric)
        require(self.fields % min(self.fields, self.microbatch) == 0,
                 f"fields must be a multiple of microbatch {self.microbatch}", self.fields)
        parse_choices("gradients", self.gradients, tuple(STEP_PRECISIONS.values()))
        parse_counts("nodes", self.nodes)
        parse_size("size", self.size)
        if self.ranks != "auto":
            parse_counts("ranks", self.ranks)


def parse_bytes(name: str, text: str) -> int:
    """"64KiB" -> 65536, in whole float32 numbers. Raises UsageError naming the setting."""
    number = next((text.removesuffix(unit) for unit in BYTES if text.endswith(unit)), "")
    require(number.isdecimal() and int(number) > 0, f"{name} must be like 4KiB, 1MiB or 1GiB", text)
    return int(number) * BYTES[text.removeprefix(number)]


def parse_counts(name: str, text: str) -> list[int]:
    """"1,2,4" -> [1, 2, 4]. Raises UsageError naming the setting."""
    numbers = text.split(",")
    require(all(number.isdecimal() and int(number) > 0 for number in numbers), f"{name} must be numbers like 1,2,4", text)
    return [int(number) for number in numbers]


def parse_choices(name: str, text: str, allowed: tuple[str, ...]) -> list[str]:
    """"gloo,mpi" -> ["gloo", "mpi"], each allowed and none twice. Raises UsageError naming the setting."""
    chosen = text.split(",")
    require(set(chosen) <= set(allowed) and len(set(chosen)) == len(chosen),
             f"{name} are different ones of {', '.join(allowed)}", text)
    return chosen


def parse_variant(name: str) -> tuple[str, str, frozenset[str]]:
    """"dense-bf16-kept" -> ("dense", "bfloat16", {"kept"}). Raises UsageError."""
    gradient, _, rest = name.partition("-")
    precision, *modifiers = rest.split("-")
    fits = (gradient in STEP_GRADIENTS and precision in STEP_PRECISIONS and set(modifiers) <= set(STEP_MODIFIERS)
            and len(set(modifiers)) == len(modifiers))
    require(fits, f"a variant is {'|'.join(STEP_GRADIENTS)}-{'|'.join(STEP_PRECISIONS)}, and -{' -'.join(STEP_MODIFIERS)} "
             "where wanted", name)
    require(gradient == "dense" or "kept" not in modifiers, "sparse variants keep memory anyway; leave out kept", name)
    require(gradient == "sparse" or "torch" not in modifiers, "dense variants have no kernel; leave out torch", name)
    return gradient, STEP_PRECISIONS[precision], frozenset(modifiers)
