"""Every setting, its default and its check.  `python train.py demo --print-config` shows those of a preset.

A setting has one name in the YAML file, on the command line (--minibatch) and here.  Groups only order them.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mscnn import schedule
from mscnn.errors import UsageError

REQUIRED = dataclasses.MISSING
STEP_VARIANTS = ("dense-fp32-nchw", "dense-fp32", "dense-fp32-kept", "sparse-fp32", "sparse-fp32-torch",
                 "dense-bf16", "dense-bf16-kept", "sparse-bf16")
STEP_GRADIENTS = ("dense", "sparse")
STEP_PRECISIONS = {"fp32": "float32", "bf16": "bfloat16"}
STEP_MODIFIERS = {"torch": "sparse without the compiled kernel", "nchw": "PyTorch's default layout",
                  "kept": "dense with freed memory kept, as sparse and train.py do",
                  "compiled": "--accelerate compile", "ipex": "--accelerate ipex"}
LOADER_FORMATS = ("tiff", "tiff-lzw", "png", "png16", "packed")
SCREENS = ("bbbc021", "sites", "packed")  # settings that name a screen
PLATE_SETTINGS = ("plate_sites", "reference", "camera_offset", "illumination", "scaling", "transform")
BYTES = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
# What connects nodes: Gb/s of a link each way, microseconds of a message, share of the rate that an all-reduce's data gets.
# Ethernet carries TCP, the others their own protocol; shares are on the low side of what is commonly published.
FABRICS = {"10gbe": (10.0, 30.0, 0.9), "25gbe": (25.0, 20.0, 0.85), "omni-path-100": (100.0, 2.0, 0.7),
           "hdr-200": (200.0, 2.0, 0.7)}


def setting(default: Any, help: str) -> Any:
    """A dataclass field that carries its own line of --help."""
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class Table:
    """Which fields of view, and where their images are"""

    bbbc021: str | None = setting(None, "folder with the official BBBC021_v1_image.csv and BBBC021_v1_moa.csv")
    sites: str | None = setting(None, "site table of any other screen: LoadData style or plain columns, as CSV")
    packed: str | None = setting(None, "folder that `python -m mscnn pack` wrote, in their place: read at memory speed")
    image_root: str | None = setting(None, "folder that image paths start from; default: the folder of the table")
    channels: str | None = setting(None, "comma-separated channels in the order the network sees them; for files "
                                         "that hold several channels: their names in the order of the file")
    columns: str | None = setting(None, "names of columns that are not found by themselves, as role=column,...; roles: "
                                        "file plate well site week replicate compound concentration mechanism")
    control: str = setting("DMSO", "the compound of untreated wells, in any case: never held out, no treatment of its own")
    taxol_controls: Literal["drop", "keep"] = setting(
        "drop", "BBBC021's taxol 0.3 uM control wells, 6 on every plate and over half of the treated fields: "
                "drop leaves taxol's own dose series")

    def __post_init__(self):
        named = [f"--{name} {getattr(self, name)}" for name in SCREENS if getattr(self, name) is not None]
        if len(named) != 1:
            raise UsageError("name the screen by exactly one of --bbbc021 DIR, --sites CSV and --packed DIR, got "
                             f"{' and '.join(named) or 'none'}")
        for name in ("image_root", "channels", "columns"):
            if self.packed and getattr(self, name):
                raise UsageError(f"--{name.replace('_', '-')} {getattr(self, name)} was settled when the fields were "
                                 "packed; leave it out with --packed")


@dataclass(frozen=True, kw_only=True)
class Data(Table):
    """Which fields of view, and how their pixels become the network's input"""

    image_size: str = setting("native", "height x width to crop (at the centre) or pad (mirrored) to, as 1024x1280")
    normalise: Literal["dataset", "plate", "field"] = setting(
        "dataset", "subtract mean and divide by standard deviation of each channel: over the training fields; over the "
                   "untreated wells of each plate, after its uneven light is taken out; or within each field (which "
                   "removes absolute intensity with the plates' shifts)")
    normalise_sites: int = setting(1000, "at most so many training fields are read for the dataset's mean and sd")
    plate_sites: int = setting(60, "at most so many fields of a plate are read for --normalise plate")
    reference: str | None = setting(None, "compound of the wells that --normalise plate reads; default: the control. A "
                                          "plate without any is measured in all its training wells")
    camera_offset: float = setting(-1.0, "with --normalise plate: counts of the camera without light, from a dark frame; "
                                         "-1: estimated, which is less exact")
    illumination: bool = setting(True, "with --normalise plate: divide by each plate's uneven light")
    scaling: Literal["mean-sd", "percentile", "background"] = setting(
        "mean-sd", "with --normalise plate: what becomes 0 and 1: mean and one sd above it; the 1st and 99.9th percentile; "
                   "the background and twice as much")
    transform: Literal["none", "arcsinh", "anscombe"] = setting(
        "none", "with --normalise plate: of the counts, before they are scaled")

    def __post_init__(self):
        super().__post_init__()
        for name in ("normalise_sites", "plate_sites"):
            _require(getattr(self, name) >= 1, f"{name.replace('_', '-')} must be at least 1", getattr(self, name))
        _require(self.camera_offset >= 0 or self.camera_offset == -1, "camera-offset must be 0 or more, or -1",
                 self.camera_offset)
        for setting_of in dataclasses.fields(self):
            if setting_of.name in PLATE_SETTINGS and self.normalise != "plate" \
                    and (value := getattr(self, setting_of.name)) != setting_of.default:
                raise UsageError(f"--{setting_of.name.replace('_', '-')} {value} goes with --normalise plate, got "
                                 f"--normalise {self.normalise}; drop one of the two")
        _require(self.scaling != "background" or self.transform == "none", "scaling background goes with transform none",
                 self.transform)
        self.size()

    def size(self) -> tuple[int, int] | None:
        """(height, width) asked for, or None for native."""
        return None if self.image_size == "native" else parse_size("image-size", self.image_size)


@dataclass(frozen=True, kw_only=True)
class Split:
    """Which compounds the network never sees"""

    split: Literal["hold-out", "k-fold", "leave-compound-out", "leave-week-out", "random"] = setting(
        "hold-out", "hold-out: the compounds named by --hold-out; k-fold: compounds in --folds groups, group --fold is "
                    "held out; leave-compound-out, leave-week-out: compound or week number --fold; random: fields at "
                    "random, which LEAKS wells and compounds and only serves comparison")
    hold_out: str = setting("none", "compounds to hold out as NAME,NAME; none trains on all")
    folds: int = setting(5, "number of groups for --split k-fold")
    fold: int = setting(0, "which group, compound (in alphabetical order) or week is held out, from 0")
    test_fraction: float = setting(0.1, "share of fields held out by --split random")

    def __post_init__(self):
        _require(self.folds >= 2, "folds must be at least 2", self.folds)
        _require(self.fold >= 0, "fold must be 0 or more", self.fold)
        _require(0 < self.test_fraction < 1, "test-fraction must be between 0 and 1", self.test_fraction)
        if self.split != "hold-out" and self.hold_out.strip().lower() not in ("none", ""):
            raise UsageError(f"--hold-out {self.hold_out} goes with --split hold-out, got --split {self.split}; "
                             "drop one of the two")


@dataclass(frozen=True, kw_only=True)
class Network:
    """The multi-scale CNN"""

    head_relu: bool = setting(True, "ReLU between the two linear layers; false reproduces the 2018 program")
    gradient: Literal["auto", "sparse", "dense"] = setting(
        "auto", "how branches that end in a max-pool are trained: dense, or by the exact sparse gradient, the same but for "
                "rounding; auto: whichever multiplies less at this image size")
    kernel: Literal["auto", "torch"] = setting(
        "auto", "what computes the sparse gradient: auto: C++ compiled on first use, where the CPU has AVX-512 or AVX2 "
                "and a compiler is there; torch: PyTorch's operations")


@dataclass(frozen=True, kw_only=True)
class Accelerate:
    """How the network runs on this CPU"""

    accelerate: Literal["auto", "native", "compile", "ipex"] = setting(
        "auto", "native: PyTorch's own kernels; compile: fused by torch.compile, which needs a C++ compiler; ipex: Intel's "
                "extension, in an environment made by requirements-ipex.txt; auto: native. Where one cannot be had, native "
                "is used, and said")
    precision: Literal["float32", "bfloat16"] = setting(
        "float32", "of activations and gradients within the network; weights stay float32. bfloat16 needs a CPU with "
                   "AVX512_BF16 or AMX, else float32 is used, and said")
    compress: Literal["none", "bfloat16"] = setting(
        "none", "how gradients travel between ranks: as they are, or rounded to bfloat16, half the bytes")
    keep_memory: bool = setting(True, "keep freed memory for the next step instead of giving it back to the system")


@dataclass(frozen=True, kw_only=True)
class Optim:
    """SGD with Nesterov momentum"""

    epochs: int = setting(20, "passes over the training fields")
    minibatch: int = setting(256, "GLOBAL minibatch in fields, the same for any number of ranks")
    microbatch: int = setting(8, "fields a rank computes at once; the rest of its share is accumulated")
    lr: str = setting("0.01", "learning rate, or rates and the epochs at which they end: 0.008;2;0.032;5;0.001")
    momentum: float = setting(0.9, "Nesterov momentum")
    weight_decay: float = setting(5e-5, "L2 penalty on all parameters")
    clip_norm: float = setting(0.0, "scale gradients down to this norm; 0: off")
    class_weights: Literal["none", "balanced"] = setting(
        "none", "weight of a field in the loss: equal, or inverse to the number of training fields of its mechanism")
    label_smoothing: float = setting(0.0, "share of the target spread over all mechanisms")
    max_steps: int = setting(0, "stop after so many steps, for trials; 0: all epochs")

    def __post_init__(self):
        for name in ("epochs", "minibatch", "microbatch"):
            _require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        for name in ("weight_decay", "clip_norm", "max_steps"):
            _require(getattr(self, name) >= 0, f"{name.replace('_', '-')} must be 0 or more", getattr(self, name))
        _require(0 < self.momentum < 1, "momentum must be between 0 and 1 (Nesterov)", self.momentum)
        _require(0 <= self.label_smoothing < 1, "label-smoothing must be in [0, 1)", self.label_smoothing)
        try:
            schedule.parse(self.lr)
        except ValueError as problem:
            raise UsageError(str(problem)) from None


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random changes of training fields that keep the mechanism"""

    flips: bool = setting(True, "mirror left-right and up-down")
    turns: bool = setting(True, "quarter turns; half turns where fields are not square")
    rotate: float = setting(0.0, "rotate by up to so many degrees")
    scale: float = setting(0.0, "enlarge or shrink by up to this share, 0.1 for 10 %")
    shift: float = setting(0.0, "move by up to this share of the sides")
    gain: float = setting(0.0, "multiply each channel's contrast by up to 1 plus or minus this")
    offset: float = setting(0.0, "add up to plus or minus this to each channel, in its scaled unit, as a rule a "
                                 "standard deviation")

    def __post_init__(self):
        for name in ("rotate", "scale", "shift", "gain", "offset"):
            value = getattr(self, name)
            _require(value >= 0 and (name in ("rotate", "offset") or value < 1), f"{name} is out of range", value)


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """The processes of a job: how they meet, and which cores each takes"""

    backend: Literal["gloo", "mpi"] = setting(
        "gloo", "what carries gradients between ranks: gloo over TCP, under any launcher; mpi over the cluster's fabric, "
                "under mpirun, or srun with the --mpi that fits")
    threads: int = setting(0, "compute threads a rank; 0: one for each of its cores, its share of those on its host")
    loader_cores: int = setting(0, "cores of a rank kept free for reading ahead; 0: hardware siblings of its own, or spare "
                                   "ones, where there are any")
    bind: bool = setting(True, "keep each rank on its own cores")
    oversubscribe: bool = setting(False, "allow more ranks or threads than cores")
    join_timeout: float = setting(30.0, "seconds until ranks that do not come end the job")
    step_timeout: float = setting(1800.0, "seconds until ranks that do not answer end the job")

    def __post_init__(self):
        for name in ("threads", "loader_cores"):
            _require(getattr(self, name) >= 0, f"{name.replace('_', '-')} must be 0 or more", getattr(self, name))
        for name in ("join_timeout", "step_timeout"):
            _require(getattr(self, name) > 0, f"{name.replace('_', '-')} must be more than 0", getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class Run:
    """The run itself"""

    run_dir: str | None = setting(None, "where everything is written; default: runs/PRESET-001 and so on")
    seed: int = setting(0, "of the initial weights, the order of fields, the augmentation and the random splits")
    log_every: int = setting(10, "steps between lines in the log")
    checkpoint_every: int = setting(1, "epochs between checkpoints")
    monitor_every: int = setting(0, "epochs between looks at the held-out fields, for the learning curve only: nothing "
                                    "is chosen by them; 0: never")

    def __post_init__(self):
        _require(self.seed >= 0, "seed must be 0 or more", self.seed)
        _require(self.log_every >= 1, "log-every must be at least 1", self.log_every)
        _require(self.checkpoint_every >= 1, "checkpoint-every must be at least 1", self.checkpoint_every)
        _require(self.monitor_every >= 0, "monitor-every must be 0 or more", self.monitor_every)


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of one training run."""

    preset: str
    data: Data
    split: Split
    network: Network
    accelerate: Accelerate
    optim: Optim
    augment: Augment
    ranks: Ranks
    run: Run

    def flat(self) -> dict[str, Any]:
        """{setting: value}, as in the YAML file."""
        values: dict[str, Any] = {"preset": self.preset}
        for name in GROUPS:
            values |= dataclasses.asdict(getattr(self, name))
        return values


GROUPS = {"data": Data, "split": Split, "network": Network, "accelerate": Accelerate,
          "optim": Optim, "augment": Augment, "ranks": Ranks, "run": Run}


@dataclass(frozen=True, kw_only=True)
class Evaluation(Ranks):
    """Settings of evaluate.py"""

    checkpoint: str = setting(REQUIRED, "run directory, or a checkpoint file")
    out: str = setting(REQUIRED, "folder for predictions, scores and pictures")
    sites: str | None = setting(None, "another site table to score, of the same channels")
    bbbc021: str | None = setting(None, "another folder with the official BBBC021 CSVs to score")
    packed: str | None = setting(None, "another packed folder to score, of the same channels in the same order")
    image_root: str | None = setting(None, "folder that image paths start from")
    columns: str | None = setting(None, "role=column,... of --sites, as in training")
    channels: str | None = setting(None, "channels of --sites, in the checkpoint's order; default: the checkpoint's")
    moved: str | None = setting(None, "where the training's own site table or folder is now, if it has moved")
    microbatch: int = setting(8, "fields computed at once")

    def __post_init__(self):
        super().__post_init__()
        _require(self.microbatch >= 1, "microbatch must be at least 1", self.microbatch)
        for name in ("columns", "channels"):
            if getattr(self, name) and not self.sites:
                raise UsageError(f"--{name} {getattr(self, name)} describes the table of --sites, which is not given")
        if sum(name is not None for name in (self.moved, *(getattr(self, name) for name in SCREENS))) > 1:
            raise UsageError("--moved names the training's own table, --sites, --bbbc021 and --packed another one; "
                             "give one of them")

    def another(self) -> bool:
        """Whether another screen than the training's own is scored."""
        return any(getattr(self, name) for name in SCREENS)


@dataclass(frozen=True, kw_only=True)
class Gathering:
    """Settings of `python -m mscnn gather`"""

    out: str = setting(REQUIRED, "folder for the tables, scores and pictures of all folds together")


@dataclass(frozen=True, kw_only=True)
class Packing(Table):
    """Settings of `python -m mscnn pack`"""

    out: str = setting(REQUIRED, "folder for the packed fields; one that was begun is gone on with")
    taxol_controls: Literal["drop", "keep"] = setting("keep", "BBBC021's taxol 0.3 uM control wells; training drops them "
                                                              "unless it is told to keep them")
    only: Literal["labelled", "all"] = setting("labelled", "pack the sites whose mechanism is known, or all")
    downscale: int = setting(1, "average blocks of so many by so many pixels to one")
    workers: int = setting(0, "images decoded at once; 0: one a core")

    def __post_init__(self):
        super().__post_init__()
        _require(self.downscale >= 1, "downscale must be at least 1", self.downscale)
        _require(self.workers >= 0, "workers must be 0 or more", self.workers)


@dataclass(frozen=True, kw_only=True)
class Check(Table):
    """Settings of `python -m mscnn check`"""

    out: str = setting("check", "folder for problems.csv, or for plate_maps.png and .csv if there are no problems; those "
                                "of an earlier check are replaced")

    def __post_init__(self):
        super().__post_init__()
        if self.packed:
            raise UsageError(f"--packed {self.packed}: check reads image files; use `python -m mscnn verify {self.packed}`")


@dataclass(frozen=True, kw_only=True)
class Synthesis:
    """Settings of `python -m mscnn synth`"""

    out: str = setting(REQUIRED, "new folder for images, CSVs and overview.png")
    mechanisms: str = setting("demo", "demo (6 distinct ones), all (12), or NAME,NAME")
    compounds: int = setting(3, "compounds of each mechanism")
    plates: int = setting(2, "replicate plates a week")
    sites: int = setting(1, "sites a well")
    size: str = setting("128x128", "height x width of a field in pixels")
    seed: int = setting(0, "the same seed writes the same bytes")

    def __post_init__(self):
        for name in ("compounds", "plates", "sites"):
            _require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        _require(self.seed >= 0, "seed must be 0 or more", self.seed)
        _require(min(parse_size("size", self.size)) >= 32, "size must be at least 32x32", self.size)


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
            _require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        names = self.variants.split(",")
        _require(len(set(names)) == len(names), "variants must differ", self.variants)
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
            _require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        _require(self.threads >= 0, "threads must be 0 or more", self.threads)
        names = self.formats.split(",")
        unfit = [name for name in names if name not in LOADER_FORMATS or names.count(name) > 1]
        _require(not unfit, f"formats are different ones of {', '.join(LOADER_FORMATS)}", ",".join(unfit))
        _require(min(parse_size("size", self.size)) >= 32, "size must be at least 32x32", self.size)


@dataclass(frozen=True, kw_only=True)
class CurvesBench:
    """Settings of `python -m mscnn.bench curves`"""

    runs: str = setting(REQUIRED, "run directories to compare, as DIR,DIR,...")
    out: str = setting(REQUIRED, "picture to draw; its numbers go beside it as CSV")
    by: str = setting("precision", "the setting that tells the runs apart; others, such as the seed, are what they vary in")
    window: int = setting(15, "steps that a point of a curve is the mean of")

    def __post_init__(self):
        _require(self.window >= 1, "window must be at least 1", self.window)
        names = {field.name for group in GROUPS.values() for field in dataclasses.fields(group)}
        _require(self.by in names, "by names a setting of train.py", self.by)


@dataclass(frozen=True, kw_only=True)
class CollectiveBench(Ranks):
    """Settings of `python -m mscnn.bench collective`"""

    ranks: int = setting(2, "ranks to start on this machine; started by a launcher, its ranks are measured, over --backend")
    backends: str = setting("gloo,mpi", "comma-separated; what is started, one after the other")
    sizes: str = setting("4KiB,64KiB,1MiB,16MiB,162MiB", "comma-separated; of the sum in float32 (162MiB: this network)")
    types: str = setting(",".join(STEP_PRECISIONS.values()), "comma-separated; of the numbers that travel")
    repeats: int = setting(5, "counted turns through all sizes, after one that is not counted")
    json: str | None = setting(None, "file for the results")

    def __post_init__(self):
        super().__post_init__()
        _require(self.ranks >= 2, "ranks must be at least 2, as one alone exchanges nothing", self.ranks)
        _require(self.repeats >= 1, "repeats must be at least 1", self.repeats)
        parse_choices("backends", self.backends, ("gloo", "mpi"))
        parse_choices("types", self.types, tuple(STEP_PRECISIONS.values()))
        for size in self.sizes.split(","):
            parse_bytes("sizes", size)


@dataclass(frozen=True, kw_only=True)
class ScalingBench(Ranks):
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
            _require(getattr(self, name) >= 1, f"{name.replace('_', '-')} must be at least 1", getattr(self, name))
        for name in ("clock_ratio", "rank_rate", "rank_rate_bfloat16"):
            _require(getattr(self, name) > 0, f"{name.replace('_', '-')} must be more than 0", getattr(self, name))
        for name in ("images_per_core_second", "bandwidth"):
            _require(getattr(self, name) >= 0, f"{name.replace('_', '-')} must be 0 or more", getattr(self, name))
        for name in ("overlap", "efficiency"):
            _require(0 <= getattr(self, name) <= 1, f"{name} must be between 0 and 1", getattr(self, name))
        _require(self.latency >= 0 or self.latency == -1, "latency must be 0 or more, or -1 for the fabric's", self.latency)
        _require(self.fabric in FABRICS, f"fabric is one of {', '.join(FABRICS)}", self.fabric)
        _require(self.fields % min(self.fields, self.microbatch) == 0,
                 f"fields must be a multiple of microbatch {self.microbatch}", self.fields)
        parse_choices("gradients", self.gradients, tuple(STEP_PRECISIONS.values()))
        parse_counts("nodes", self.nodes)
        parse_size("size", self.size)
        if self.ranks != "auto":
            parse_counts("ranks", self.ranks)


def from_flat(values: dict[str, Any]) -> Config:
    """Build a Config from {setting: value}; missing settings take their defaults. Raises UsageError."""
    return Config(preset=values["preset"], **{name: build(group, values) for name, group in GROUPS.items()})


def build(group: type, values: dict[str, Any]) -> Any:
    """One record of settings from those of the values that are its own."""
    own = {field.name: values[field.name] for field in dataclasses.fields(group) if field.name in values}
    for field in dataclasses.fields(group):
        if field.name in own and own[field.name] is None and field.type != str | None:
            raise UsageError(f"{field.name} cannot be empty (null); leave it out for its default")
    return group(**own)


def parse_size(name: str, text: str) -> tuple[int, int]:
    """"1024x1280" -> (1024, 1280), height first. Raises UsageError naming the setting."""
    sides = text.lower().split("x")
    _require(len(sides) == 2 and all(side.isdecimal() and int(side) > 0 for side in sides),
             f"{name} must be HEIGHTxWIDTH like 1024x1280", text)
    return int(sides[0]), int(sides[1])


def parse_bytes(name: str, text: str) -> int:
    """"64KiB" -> 65536, in whole float32 numbers. Raises UsageError naming the setting."""
    number = next((text.removesuffix(unit) for unit in BYTES if text.endswith(unit)), "")
    _require(number.isdecimal() and int(number) > 0, f"{name} must be like 4KiB, 1MiB or 1GiB", text)
    return int(number) * BYTES[text.removeprefix(number)]


def parse_counts(name: str, text: str) -> list[int]:
    """"1,2,4" -> [1, 2, 4]. Raises UsageError naming the setting."""
    numbers = text.split(",")
    _require(all(number.isdecimal() and int(number) > 0 for number in numbers), f"{name} must be numbers like 1,2,4", text)
    return [int(number) for number in numbers]


def parse_choices(name: str, text: str, allowed: tuple[str, ...]) -> list[str]:
    """"gloo,mpi" -> ["gloo", "mpi"], each allowed and none twice. Raises UsageError naming the setting."""
    chosen = text.split(",")
    _require(set(chosen) <= set(allowed) and len(set(chosen)) == len(chosen),
             f"{name} are different ones of {', '.join(allowed)}", text)
    return chosen


def parse_variant(name: str) -> tuple[str, str, frozenset[str]]:
    """"dense-bf16-kept" -> ("dense", "bfloat16", {"kept"}). Raises UsageError."""
    gradient, _, rest = name.partition("-")
    precision, *modifiers = rest.split("-")
    fits = (gradient in STEP_GRADIENTS and precision in STEP_PRECISIONS and set(modifiers) <= set(STEP_MODIFIERS)
            and len(set(modifiers)) == len(modifiers))
    _require(fits, f"a variant is {'|'.join(STEP_GRADIENTS)}-{'|'.join(STEP_PRECISIONS)}, and -{' -'.join(STEP_MODIFIERS)} "
             "where wanted", name)
    _require(not {"compiled", "ipex"} <= set(modifiers), "a variant is compiled or ipex, not both", name)
    _require(gradient == "dense" or "kept" not in modifiers, "sparse variants keep memory anyway; leave out kept", name)
    _require(gradient == "sparse" or "torch" not in modifiers, "dense variants have no kernel; leave out torch", name)
    return gradient, STEP_PRECISIONS[precision], frozenset(modifiers)


def absolute(config: Config) -> Config:
    """The same settings with paths that hold from any working folder."""
    paths = {name: str(Path(value).absolute()) for name in (*SCREENS, "image_root")
             if (value := getattr(config.data, name)) is not None}
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **paths))


def _require(fits: bool, what: str, value: Any) -> None:
    if not fits:
        raise UsageError(f"{what}, got {value!r}")
