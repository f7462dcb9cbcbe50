"""Every setting, its default and its check.  `python train.py demo --print-config` shows those of a preset.

A setting has one name in the YAML file, on the command line (--minibatch) and here.  Groups only order them.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mscnn.core import lr_schedule
from mscnn.core.errors import UsageError

REQUIRED = dataclasses.MISSING
SCREENS = ("bbbc021", "sites", "packed")  # settings that name a screen
PLATE_SETTINGS = ("plate_sites", "reference", "camera_offset", "illumination", "scaling", "transform")
LONGEST = 1e7  # seconds that a timeout may be: 115 days


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
            require(getattr(self, name) >= 1, f"{name.replace('_', '-')} must be at least 1", getattr(self, name))
        require(self.camera_offset >= 0 or self.camera_offset == -1, "camera-offset must be 0 or more, or -1",
                 self.camera_offset)
        for setting_of in dataclasses.fields(self):
            if setting_of.name in PLATE_SETTINGS and self.normalise != "plate" \
                    and (value := getattr(self, setting_of.name)) != setting_of.default:
                raise UsageError(f"--{setting_of.name.replace('_', '-')} {value} goes with --normalise plate, got "
                                 f"--normalise {self.normalise}; drop one of the two")
        require(self.scaling != "background" or self.transform == "none", "scaling background goes with transform none",
                 self.transform)
        self.size()

    def at(self, moved: str | None, image_root: str | None) -> "Data":
        """The same screen where its table or folder, and its images, are now; None: where they were."""
        places = {name: moved for name in SCREENS if moved and getattr(self, name)}
        return dataclasses.replace(self, **places, **({"image_root": image_root} if image_root else {}))

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
    within: str | None = setting(None, "split.csv of another split: only its training side is split, for inner folds that "
                                       "choose settings without a look at what it holds out")

    def __post_init__(self):
        require(self.folds >= 2, "folds must be at least 2", self.folds)
        require(self.fold >= 0, "fold must be 0 or more", self.fold)
        require(0 < self.test_fraction < 1, "test-fraction must be between 0 and 1", self.test_fraction)
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
    statistics: float = setting(0.0, "weight of a second task: to predict statistics of each field's pixels (histogram, "
                                     "texture, spots) from its features, which then hold more than what tells the "
                                     "training compounds apart; reads the fields once more at the start; 0: off")
    held_out_pixels: bool = setting(False, "the second task learns from the held-out fields too, never their labels: the "
                                           "network has then seen their images, and every score says so")
    average: float = setting(0.0, "keep and save a running average of the weights with this decay a step, as 0.98; 0: the "
                                  "last weights")
    max_steps: int = setting(0, "stop after so many steps, for trials; 0: all epochs")

    def __post_init__(self):
        for name in ("epochs", "minibatch", "microbatch"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        for name in ("weight_decay", "clip_norm", "statistics", "max_steps"):
            require(getattr(self, name) >= 0, f"{name.replace('_', '-')} must be 0 or more", getattr(self, name))
        require(0 < self.momentum < 1, "momentum must be between 0 and 1 (Nesterov)", self.momentum)
        require(0 <= self.average < 1, "average must be in [0, 1)", self.average)
        require(self.statistics > 0 or not self.held_out_pixels, "held-out-pixels are for the second task: statistics must "
                 "be more than 0", self.statistics)
        require(0 <= self.label_smoothing < 1, "label-smoothing must be in [0, 1)", self.label_smoothing)
        try:
            lr_schedule.parse_schedule(self.lr)
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
            require(value >= 0 and (name in ("rotate", "offset") or value < 1), f"{name} is out of range", value)


@dataclass(frozen=True, kw_only=True)
class Levels:
    """How fields are read out and become wells and treatments: fixed before anything is scored"""

    well_by: Literal["mean", "median"] = setting("mean", "a well's probabilities from those of its fields")
    treatment_by: Literal["mean", "median"] = setting("median", "a treatment's probabilities from those of its wells")
    views: Literal["one", "all"] = setting("one", "a field's probabilities and features: as it is, or the mean over its "
                                                  "mirror images and turns, 8 where it is square and 4 elsewhere")
    readout: Literal["softmax", "lda"] = setting(
        "softmax", "what reads the mechanism out of the features: the last layer as trained, or linear discriminant "
                   "analysis of the training fields' features, put in its place at the end of training")


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
    start_timeout: float = setting(1800.0, "seconds that anything may take before the first step, such as looking at all "
                                           "files: a rank that takes longer, or that others wait for so long, ends the job")
    step_timeout: float = setting(300.0, "the same from then on, of one thing: reading or computing a microbatch, saving, "
                                         "waiting for the other ranks, who may have a microbatch more to compute")

    def __post_init__(self):
        for name in ("threads", "loader_cores"):
            require(getattr(self, name) >= 0, f"{name.replace('_', '-')} must be 0 or more", getattr(self, name))
        for name in ("join_timeout", "start_timeout", "step_timeout"):
            require(0 < getattr(self, name) <= LONGEST, f"{name.replace('_', '-')} must be more than 0, no more than "
                    f"{LONGEST:.0f}", getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class Run:
    """The run itself"""

    run_dir: str | None = setting(None, "where everything is written; default: runs/PRESET-001 and so on")
    seed: int = setting(0, "of the initial weights, the order of fields, the augmentation and the random splits")
    log_every: int = setting(10, "steps between lines in the log")
    resume: Literal["never", "auto"] = setting(
        "never", "auto: go on from the newest whole checkpoint of --run-dir, or begin there where it has none; with the "
                 "same ranks, threads and CPU bit for bit as if it had never stopped")
    checkpoint_every: int = setting(1, "epochs between checkpoints")
    checkpoint_steps: int = setting(0, "steps between further checkpoints within an epoch; 0: none")
    keep: int = setting(2, "how many of the newest checkpoints stay, beside the best and the last one known to be good")
    stop_after: float = setting(0.0, "hours after which the run saves, stops and ends with exit code 75, to be resumed; it "
                                     "does so on SIGTERM and SIGUSR1 too; 0: never")
    max_skipped: int = setting(3, "so many steps in a row whose gradient is not finite are left out; one more ends the run")
    monitor_every: int = setting(0, "epochs between looks at the held-out fields, for the learning curve only: nothing "
                                    "is chosen by them; 0: never")

    def __post_init__(self):
        require(self.seed >= 0, "seed must be 0 or more", self.seed)
        require(self.log_every >= 1, "log-every must be at least 1", self.log_every)
        for name in ("checkpoint_every", "keep"):
            require(getattr(self, name) >= 1, f"{name.replace('_', '-')} must be at least 1", getattr(self, name))
        for name in ("checkpoint_steps", "stop_after", "max_skipped"):
            require(getattr(self, name) >= 0, f"{name.replace('_', '-')} must be 0 or more", getattr(self, name))
        require(self.resume == "never" or self.run_dir is not None, "resume auto needs the run directory, by --run-dir",
                self.run_dir)
        require(self.monitor_every >= 0, "monitor-every must be 0 or more", self.monitor_every)


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
    levels: Levels
    ranks: Ranks
    run: Run

    def flat(self) -> dict[str, Any]:
        """{setting: value}, as in the YAML file."""
        values: dict[str, Any] = {"preset": self.preset}
        for name in GROUPS:
            values |= dataclasses.asdict(getattr(self, name))
        return values


GROUPS = {"data": Data, "split": Split, "network": Network, "accelerate": Accelerate,
          "optim": Optim, "augment": Augment, "levels": Levels, "ranks": Ranks, "run": Run}


@dataclass(frozen=True, kw_only=True)
class Evaluation(Ranks):
    """Settings of evaluate.py"""

    checkpoint: str = setting(REQUIRED, "run directory, or a checkpoint file")
    out: str | None = setting(None, "folder for predictions, scores and pictures; default: RUN/evaluation")
    sites: str | None = setting(None, "another site table to score, of the same channels")
    bbbc021: str | None = setting(None, "another folder with the official BBBC021 CSVs to score")
    packed: str | None = setting(None, "another packed folder to score, of the same channels in the same order")
    image_root: str | None = setting(None, "folder that image paths start from")
    columns: str | None = setting(None, "role=column,... of --sites, as in training")
    channels: str | None = setting(None, "channels of --sites, in the checkpoint's order; default: the checkpoint's")
    moved: str | None = setting(None, "where the training's own site table or folder is now, if it has moved")
    profiles: Literal["held-out", "all"] = setting(
        "held-out", "whose features are written: those of the scored fields, or of all fields with a mechanism, so that "
                    "new compounds can be matched with known ones by `python -m mscnn score`")
    examples: int = setting(12, "fields that are shown with what each channel and scale adds to their mechanism, one a "
                                "treatment, wrong ones first; 0: none")
    microbatch: int = setting(8, "fields computed at once")

    def __post_init__(self):
        super().__post_init__()
        require(self.examples >= 0, "examples must be 0 or more", self.examples)
        if self.out is None and Path(self.checkpoint).suffix == ".pt":
            raise UsageError(f"--checkpoint {self.checkpoint} is a file; say with --out DIR where its evaluation goes")
        if self.out is None and self.another():
            raise UsageError("say with --out DIR where scores of another table go; RUN/evaluation is for what was held out")
        require(self.microbatch >= 1, "microbatch must be at least 1", self.microbatch)
        for name in ("columns", "channels"):
            if getattr(self, name) and not self.sites:
                raise UsageError(f"--{name} {getattr(self, name)} describes the table of --sites, which is not given")
        if sum(name is not None for name in (self.moved, *(getattr(self, name) for name in SCREENS))) > 1:
            raise UsageError("--moved names the training's own table, --sites, --bbbc021 and --packed another one; "
                             "give one of them")

    def another(self) -> bool:
        """Whether another screen than the training's own is scored."""
        return any(getattr(self, name) for name in SCREENS)


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
    require(len(sides) == 2 and all(side.isdecimal() and int(side) > 0 for side in sides),
             f"{name} must be HEIGHTxWIDTH like 1024x1280", text)
    return int(sides[0]), int(sides[1])


def absolute(config: Config) -> Config:
    """The same settings with paths that hold from any working folder."""
    paths = {name: str(Path(value).absolute()) for name in (*SCREENS, "image_root")
             if (value := getattr(config.data, name)) is not None}
    if config.split.within:
        config = dataclasses.replace(config, split=dataclasses.replace(config.split,
                                                                       within=str(Path(config.split.within).absolute())))
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **paths))


def require(fits: bool, what: str, value: Any) -> None:
    """Raise UsageError saying what was required and what came instead."""
    if not fits:
        raise UsageError(f"{what}, got {value!r}")
