"""Settings of `mscnn bench`, a record for each measurement.  Imports no torch."""

from dataclasses import dataclass
from typing import Literal

from mscnn.core.config import NAMES, Parallel
from mscnn.core.settings import (
    REQUIRED,
    ClosedUnitInterval,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
    SeveralInt,
    parse_size,
    require,
    setting,
)

STEP_VARIANTS = ("dense-fp32-nchw", "dense-fp32", "dense-fp32-kept", "sparse-fp32", "sparse-fp32-torch",
                 "dense-bf16", "dense-bf16-kept", "sparse-bf16")
STEP_GRADIENTS = ("dense", "sparse")
STEP_PRECISIONS = {"fp32": "float32", "bf16": "bfloat16"}
STEP_MODIFIERS = {"torch": "sparse without the compiled kernel", "nchw": "PyTorch's default layout",
                  "kept": "dense with freed memory kept, as sparse and train.py do", "ipex": "--accelerate ipex",
                  "pooled": "--pooling mean-max", "contrast": "--replicate-weight 1, each step in two microbatches"}
LOADER_FORMATS = ("tiff", "tiff-lzw", "png", "png16", "packed")
BYTES = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
# Networks between nodes: Gb/s of a link in each direction, microseconds of a message, share of the rate for an all-reduce.
# Ethernet carries TCP, the others their own protocol; shares are on the low side of what is commonly published.
FABRICS = {"10gbe": (10.0, 30.0, 0.9), "25gbe": (25.0, 20.0, 0.85), "omni-path-100": (100.0, 2.0, 0.7),
           "hdr-200": (200.0, 2.0, 0.7)}


@dataclass(frozen=True, kw_only=True)
class StepSettings(Settings):
    """Settings of `mscnn bench step`"""

    size: str = setting("1024x1280", "height x width of a field in pixels", metavar="HxW")
    channels: PositiveInt = setting(3, "channels of a field")
    minibatch: PositiveInt = setting(4, "fields of each step")
    variants: str = setting(",".join(STEP_VARIANTS), "comma-separated; each is gradient-precision-modifiers: "
                            f"{' or '.join(STEP_GRADIENTS)}, {' or '.join(STEP_PRECISIONS)}, and any of "
                            f"{', '.join(f'{word} ({meaning})' for word, meaning in STEP_MODIFIERS.items())}")
    repeats: PositiveInt = setting(5, "timed steps of each variant, after two warm-up steps")
    threads: NonNegativeInt = setting(0, "compute threads; 0: all cores")
    json: str | None = setting(None, "file for the results", metavar="FILE", written=True)

    def __post_init__(self):
        super().__post_init__()
        names = self.variants.split(",")
        require(len(set(names)) == len(names), "variants must differ", self.variants)
        for name in names:
            parse_variant(name)
        parse_size("size", self.size)


@dataclass(frozen=True, kw_only=True)
class LayersSettings(Settings):
    """Settings of `mscnn bench layers`"""

    size: str = setting("1024x1280", "height x width of a field in pixels", metavar="HxW")
    channels: PositiveInt = setting(3, "channels of a field")
    minibatch: PositiveInt = setting(4, "fields of each step, and of each forward pass")
    precision: Literal["float32", "bfloat16"] = setting("float32", "as --precision of train; bfloat16 needs a CPU with "
                                                                   "AVX512_BF16 or AMX")
    gradient: Literal["auto", "sparse", "dense", "winograd"] = setting("auto", "of the branches, as --gradient of train")
    kernel: Literal["auto", "torch"] = setting("auto", "of branches that are not dense, as --kernel of train")
    repeats: PositiveInt = setting(5, "timed turns, after one warm-up turn; each takes the step in parts, whole, and "
                                      "forward alone")
    threads: NonNegativeInt = setting(0, "compute threads; 0: all cores")
    json: str | None = setting(None, "file for the results", metavar="FILE", written=True)

    def __post_init__(self):
        super().__post_init__()
        parse_size("size", self.size)


@dataclass(frozen=True, kw_only=True)
class LabelsSettings(Settings):
    """Settings of `mscnn bench labels`"""

    out: str = setting(REQUIRED, "folder for the screen, the networks and the results; an unfinished one is resumed",
                       metavar="DIR", written=True)
    compounds: SeveralInt = setting(12, "compounds of each of 12 mechanisms")
    labelled: str = setting("2,4,8", "numbers of labelled compounds of each mechanism")
    test_compounds: SeveralInt = setting(4, "compounds of each mechanism that are tested, and never labelled")
    plates: PositiveInt = setting(3, "replicate plates of each week")
    sites: PositiveInt = setting(2, "sites of each well")
    size: str = setting("256x256", "height x width of a field in pixels as drawn; the networks see half of both",
                        metavar="HxW")
    steps: PositiveInt = setting(800, "training steps of each network, of 48 fields")
    seed: NonNegativeInt = setting(0, "of the screen and the networks")

    def __post_init__(self):
        super().__post_init__()
        counts = parse_counts("labelled", self.labelled)
        require(len(set(counts)) == len(counts), "labelled must be different numbers", self.labelled)
        require(max(counts) + self.test_compounds <= self.compounds, "labelled and test-compounds together must be at most "
                f"compounds {self.compounds}", f"{max(counts)} + {self.test_compounds}")
        require(all(side % 256 == 0 for side in parse_size("size", self.size)), "size must be multiples of 256", self.size)


@dataclass(frozen=True, kw_only=True)
class LoaderSettings(Settings):
    """Settings of `mscnn bench loader`"""

    size: str = setting("1024x1280", "height x width of a field in pixels", metavar="HxW")
    channels: PositiveInt = setting(3, "channels of a field, one file each")
    fields: PositiveInt = setting(16, "fields of each format, written to a temporary folder and read in turn")
    formats: str = setting(",".join(LOADER_FORMATS), f"comma-separated, of {', '.join(LOADER_FORMATS)}; png has 8 bits")
    repeats: PositiveInt = setting(5, "timed readings of all fields, after one warm-up reading")
    threads: NonNegativeInt = setting(0, "compute threads; 0: all cores")
    keep_memory: bool = setting(True, "keep freed memory for the next field, as training does")
    json: str | None = setting(None, "file for the results", metavar="FILE", written=True)

    def __post_init__(self):
        super().__post_init__()
        parse_choices("formats", self.formats, LOADER_FORMATS)
        require(min(parse_size("size", self.size)) >= 32, "size must be at least 32x32", self.size)


@dataclass(frozen=True, kw_only=True)
class CurvesSettings(Settings):
    """Settings of `mscnn bench curves`"""

    runs: str = setting(REQUIRED, "run directories to compare", metavar="DIR,DIR,...")
    out: str = setting(REQUIRED, "picture to draw; its numbers are written beside it as CSV", metavar="FILE", written=True)
    by: str = setting("precision", "setting that groups the runs; other settings, such as the seed, vary within a group")
    window: PositiveInt = setting(15, "steps of the running mean of a curve")

    def __post_init__(self):
        super().__post_init__()
        require(self.by in NAMES, "by must be a setting of train.py", self.by)


@dataclass(frozen=True, kw_only=True)
class CollectiveSettings(Parallel):
    """Settings of `mscnn bench collective`"""

    ranks: SeveralInt = setting(2, "ranks to start on this machine, two or more; under a launcher its ranks are measured, "
                                   "over --backend")
    backends: str = setting("gloo,mpi", "comma-separated; the backends of the jobs that are started, one after the other")
    sizes: str = setting("4KiB,64KiB,1MiB,16MiB,162MiB", "comma-separated; sizes of the sum in float32; this network has "
                                                         "162MiB")
    types: str = setting(",".join(STEP_PRECISIONS.values()), "comma-separated; types of the numbers that are sent")
    repeats: PositiveInt = setting(5, "timed turns through all sizes, after one warm-up turn")
    json: str | None = setting(None, "file for the results", metavar="FILE", written=True)

    def __post_init__(self):
        super().__post_init__()
        parse_choices("backends", self.backends, ("gloo", "mpi"))
        parse_choices("types", self.types, tuple(STEP_PRECISIONS.values()))
        for size in self.sizes.split(","):
            parse_bytes("sizes", size)


@dataclass(frozen=True, kw_only=True)
class ScalingSettings(Parallel):
    """Settings of `mscnn bench scaling`"""

    size: str = setting("1024x1280", "height x width of a field in pixels", metavar="HxW")
    channels: PositiveInt = setting(3, "channels of a field")
    fields: PositiveInt = setting(8, "fields of a rank in each step: its share of the global minibatch")
    microbatch: PositiveInt = setting(8, "fields computed at once; the rest of --fields is accumulated")
    ranks: str = setting("auto", "numbers of ranks to start on this machine, as 1,2,4; auto: 1, 2 and 4 where there are so "
                                 "many cores; under a launcher its ranks are measured, over --backend")
    gradients: str = setting(",".join(STEP_PRECISIONS.values()), "comma-separated; types in which gradients are sent, and "
                                                                 "activations of a sharded layer")
    first_layer: Literal["auto", "sharded", "replicated", "both"] = setting(
        "auto", "what is measured of the first linear layer: sharded over the ranks or replicated, as --first-layer of "
                "train; auto: what training would use; both: each in turn. Counts and predictions have both")
    repeats: PositiveInt = setting(5, "timed steps of each kind, in turn, after two warm-up steps")
    images_per_core_second: NonNegativeFloat = setting(0.0, "fields that one core trains on in a second; 0: measured here")
    clock_ratio: PositiveFloat = setting(1.0, "clock of the cluster's cores over that of the measured cores")
    nodes: str = setting("1,2,4,8,16,32,64,128", "numbers of nodes to predict for")
    ranks_per_node: PositiveInt = setting(4, "ranks on a node of the cluster")
    cores_per_node: PositiveInt = setting(40, "cores of a node of the cluster, shared by its ranks")
    fabric: str = setting("omni-path-100", f"network between nodes: {', '.join(FABRICS)}")
    bandwidth: str = setting("0", "of a node's link in each direction, Gb/s; several, as 1,10,25,100: a table of the "
                                  "job's minutes; 0: the fabric's")
    latency: float = setting(-1.0, "of a message between nodes, microseconds; -1: the fabric's")
    efficiency: ClosedUnitInterval = setting(0.0, "share of the bandwidth that data gets; 0: the fabric's")
    rank_rate: PositiveFloat = setting(1.0, "GB/s at which a rank can add and send gradients, within a node too; "
                                            "`collective` measures it")
    rank_rate_bfloat16: PositiveFloat = setting(0.5, "the same for gradients in bfloat16")
    algorithm: Literal["ring", "spread", "hierarchical"] = setting(
        "ring", "of an all-reduce; ring: node by node, one stream through a node's link; spread: all ranks of a node send "
                "through it; hierarchical: within nodes, between nodes, within nodes")
    overlap: ClosedUnitInterval = setting(0.0, "share of the backward pass that overlaps with the exchange of "
                                               "gradients; what a sharded layer exchanges overlaps with nothing")
    images: PositiveInt = setting(223_200, "fields of the job, over all epochs")
    json: str | None = setting(None, "file for the results", metavar="FILE", written=True)

    def __post_init__(self):
        super().__post_init__()
        require(self.latency >= 0 or self.latency == -1, "latency must be 0 or more, or -1 for the fabric's", self.latency)
        require(self.fabric in FABRICS, f"fabric must be one of {', '.join(FABRICS)}", self.fabric)
        require(self.fields % min(self.fields, self.microbatch) == 0,
                f"fields must be a multiple of microbatch {self.microbatch}", self.fields)
        parse_choices("gradients", self.gradients, tuple(STEP_PRECISIONS.values()))
        parse_counts("nodes", self.nodes)
        parse_bandwidths(self.bandwidth)
        parse_size("size", self.size)
        if self.ranks != "auto":
            parse_counts("ranks", self.ranks)

    def microbatches(self) -> int:
        """Return how many microbatches a rank computes in each step."""
        return self.fields // min(self.fields, self.microbatch)


def parse_bytes(name: str, text: str) -> int:
    """Return the bytes of a size: "64KiB" -> 65536. Raises UsageError that names the setting."""
    number = next((text.removesuffix(unit) for unit in BYTES if text.endswith(unit)), "")
    require(number.isdecimal() and int(number) > 0, f"{name} must be like 4KiB, 1MiB or 1GiB", text)
    return int(number) * BYTES[text.removeprefix(number)]


def parse_counts(name: str, text: str) -> list[int]:
    """Return the numbers of a list: "1,2,4" -> [1, 2, 4]. Raises UsageError that names the setting."""
    numbers = text.split(",")
    require(all(number.isdecimal() and int(number) > 0 for number in numbers), f"{name} must be numbers like 1,2,4", text)
    return [int(number) for number in numbers]


def parse_bandwidths(text: str) -> list[float]:
    """Return the Gb/s of a list, none twice: "1,10" -> [1.0, 10.0]. Raises UsageError."""
    try:
        rates = [float(word) for word in text.split(",")]
    except ValueError:
        rates = [-1.0]
    fit = len(set(rates)) == len(rates) and all(0 <= rate < float("inf") for rate in rates)
    require(fit, "bandwidth must be 0 or more in Gb/s, or different ones like 1,10,25,100", text)
    return rates


def parse_choices(name: str, text: str, allowed: tuple[str, ...]) -> list[str]:
    """Return the words of a list, each allowed and none twice: "gloo,mpi" -> ["gloo", "mpi"]. Raises UsageError."""
    words = text.split(",")
    unfit = [word for word in words if word not in allowed or words.count(word) > 1]
    require(not unfit, f"{name} are different ones of {', '.join(allowed)}", ",".join(unfit))
    return words


def parse_variant(name: str) -> tuple[str, str, frozenset[str]]:
    """Return gradient, precision and modifiers: "dense-bf16-kept" -> ("dense", "bfloat16", {"kept"}). Raises UsageError."""
    gradient, _, rest = name.partition("-")
    precision, *modifiers = rest.split("-")
    fits = (gradient in STEP_GRADIENTS and precision in STEP_PRECISIONS and set(modifiers) <= set(STEP_MODIFIERS)
            and len(set(modifiers)) == len(modifiers))
    require(fits, f"a variant is {'|'.join(STEP_GRADIENTS)}-{'|'.join(STEP_PRECISIONS)}, and -{' -'.join(STEP_MODIFIERS)} "
            "where wanted", name)
    require(gradient == "dense" or "kept" not in modifiers, "sparse variants keep memory anyway; leave out kept", name)
    require(gradient == "sparse" or "torch" not in modifiers, "dense variants have no kernel; leave out torch", name)
    return gradient, STEP_PRECISIONS[precision], frozenset(modifiers)


@dataclass(frozen=True, kw_only=True)
class TableSettings(Settings):
    """Settings of `mscnn bench table`"""

    sites: PositiveInt = setting(9, "sites of each of the 384 wells")
    channels: PositiveInt = setting(5, "channels of each site, one empty file each")
    repeats: PositiveInt = setting(3, "runs of each format")
    json: str | None = setting(None, "file for the results", metavar="FILE", written=True)


@dataclass(frozen=True, kw_only=True)
class ReportSettings(Settings):
    """Settings of `mscnn bench report`"""

    plates: PositiveInt = setting(20, "plates of the screen that is drawn")
    wells: Literal[24, 96, 384, 1536] = setting(384, "wells of a plate")
    compounds: PositiveInt = setting(1000, "compounds, at two doses each; half of them have a known mechanism")
    mechanisms: PositiveInt = setting(12, "mechanisms that are predicted")
    repeats: PositiveInt = setting(3, "reports of the same evaluation")
    json: str | None = setting(None, "file for the results", metavar="FILE", written=True)


@dataclass(frozen=True, kw_only=True)
class ActivitySettings(Settings):
    """Settings of `mscnn bench activity`"""

    seeds: PositiveInt = setting(30, "screens drawn of each kind")
    treatments: PositiveInt = setting(100, "treatments of a screen")
    effect: PositiveFloat = setting(3.0, "shift of active treatments, in units of how far wells vary")
    json: str | None = setting(None, "file for the results", metavar="FILE", written=True)
