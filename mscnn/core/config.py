"""Every setting of a training run, its default and its check.  `python train.py demo --print-config` shows a preset's.

Groups only order the settings.  Imports no torch.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from mscnn.core import lr_schedule, units
from mscnn.core.errors import UsageError
from mscnn.core.settings import (
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    OpenUnitInterval,
    PositiveFloat,
    PositiveInt,
    Settings,
    SeveralInt,
    Timeout,
    build,
    current_names,
    option,
    parse_size,
    require,
    setting,
)

LEFT_OUT_FLAGS = "blurred,saturated,debris,empty,dim,bright"  # of --leave-out, unless others are named
SCREENS = ("bbbc021", "sites", "packed")  # settings that name a screen
PLATE_SETTINGS = ("plate_sites", "plate_reference", "plate_camera_offset", "plate_illumination", "plate_scaling",
                  "plate_transform")


def check_leave_out(file: str | None, flags: str) -> None:
    """Raise UsageError for flags that are named without the file that has them."""
    if not file and flags != LEFT_OUT_FLAGS:
        raise UsageError(f"--leave-out-flags {flags} goes with --leave-out CSV, which is not given; name the quality.csv "
                         "that `mscnn check` wrote, or leave the flags out")


@dataclass(frozen=True, kw_only=True)
class Table(Settings):
    """Which fields of view, and where their images are"""

    bbbc021: str | None = setting(None, "folder with the official BBBC021_v1_image.csv and BBBC021_v1_moa.csv",
                                  metavar="DIR")
    sites: str | None = setting(None, "site table of any other screen. LoadData style, or plain columns",
                                metavar="CSV")
    packed: str | None = setting(None, "folder that `mscnn pack` wrote; training reads it at memory speed", metavar="DIR")
    image_root: str | None = setting(None, "folder that image paths start from; default: the folder of the table",
                                     metavar="DIR")
    follow_links: str | None = setting(None, "folders that links below --image-root may lead to, as on another file system",
                                       common=False, metavar="DIR,DIR,...")
    channels: str | None = setting(None, "channels in the order the network sees them, comma-separated. For files "
                                         "that hold several channels: their names in the order of the file",
                                   metavar="NAME,...")
    columns: str | None = setting(None, "names of columns that are not recognised, as role=column,.... Roles: "
                                        "file plate well site week replicate compound concentration mechanism",
                                  metavar="ROLE=COLUMN,...")
    control: str = setting("DMSO", "compound of the untreated wells; none: there are none. In any spelling. It is no "
                                   "treatment", metavar="COMPOUND")
    taxol_controls: Literal["drop", "keep"] = setting(
        "drop", "BBBC021's taxol 0.3 uM control wells, 6 on every plate and over half of the treated fields: "
                "drop leaves taxol's own dose series", common=False)
    available: bool = setting(False, "go on with the fields whose image files are all there, as with some of the plates "
                                     "unpacked. The log and every score tell how many are left out", common=False)
    concentration_unit: str | None = setting(
        None, "unit of the concentrations, as it is shown; numbers are not converted. Default: what the table says, by "
              "Metadata_ConcentrationUnit or as Concentration (nM); else µM", common=False, metavar="UNIT")

    leave_out: str | None = setting(None, "quality.csv that `mscnn check` wrote, whose flagged fields are left out",
                                    common=False, metavar="CSV")
    leave_out_flags: str = setting(LEFT_OUT_FLAGS, "with --leave-out: which flags; there is edge, too",
                                   common=False, metavar="FLAG,...")

    def __post_init__(self):
        super().__post_init__()
        if self.concentration_unit is not None:
            object.__setattr__(self, "concentration_unit", units.one_spelling(self.concentration_unit))
        check_leave_out(self.leave_out, self.leave_out_flags)
        named = [f"--{name} {getattr(self, name)}" for name in SCREENS if getattr(self, name) is not None]
        if len(named) != 1:
            raise UsageError("name the screen by exactly one of --bbbc021 DIR, --sites CSV and --packed DIR, got "
                             f"{' and '.join(named) or 'none'}")
        for name in ("image_root", "follow_links", "channels", "columns", "available"):
            if self.packed and (value := getattr(self, name)):
                shown = "true" if value is True else value
                raise UsageError(f"--{option(name)} {shown} was settled when the fields were packed; leave "
                                 "it out with --packed")


@dataclass(frozen=True, kw_only=True)
class Data(Table):
    """Which fields of view, and how their pixels become the network's input"""

    assays: str | None = setting(None, "table of assays, which are learnt in place of mechanisms: a row a compound, and a "
                                       "column an assay with 1, 0 or nothing", common=False, metavar="CSV")
    image_size: str = setting("native", "crop or pad to this height x width. At the centre; padding is mirrored",
                              metavar="HxW")
    normalise: Literal["dataset", "plate", "field"] = setting(
        "dataset", "how counts of each channel become mean 0 and standard deviation 1. dataset: over the training fields; "
                   "plate: over the untreated wells of each plate, after its uneven light is divided out; field: within "
                   "each field, which removes absolute intensity together with the shifts of plates")
    normalise_sites: PositiveInt = setting(1000, "training fields that are read for the dataset's mean and sd, at most",
                                           common=False)
    plate_sites: PositiveInt = setting(60, "fields of a plate that are read for --normalise plate, at most", common=False)
    plate_reference: str | None = setting(None, "compound of the wells that --normalise plate reads; default: the control. "
                                                "A plate without any is measured in all its training wells",
                                          common=False, metavar="COMPOUND")
    plate_camera_offset: float = setting(-1.0, "with --normalise plate: counts of the camera without light, from a dark "
                                               "frame; -1: estimated, which is less exact", common=False)
    plate_illumination: bool = setting(True, "with --normalise plate: divide by the uneven light of each plate",
                                       common=False)
    plate_scaling: Literal["mean-sd", "percentile", "background"] = setting(
        "mean-sd", "with --normalise plate: what becomes 0 and 1. mean-sd: the mean and one sd above it; percentile: the "
                   "1st and 99.9th percentile; background: the background and twice as much", common=False)
    plate_transform: Literal["none", "arcsinh", "anscombe"] = setting(
        "none", "with --normalise plate: transform of the counts before they are scaled", common=False)

    def __post_init__(self):
        super().__post_init__()
        require(self.plate_camera_offset >= 0 or self.plate_camera_offset == -1,
                "plate-camera-offset must be 0 or more, or -1", self.plate_camera_offset)
        for field in dataclasses.fields(self):
            if field.name in PLATE_SETTINGS and self.normalise != "plate" \
                    and (value := getattr(self, field.name)) != field.default:
                raise UsageError(f"--{option(field.name)} {value} goes with --normalise plate, got "
                                 f"--normalise {self.normalise}; drop one of the two")
        require(self.plate_scaling != "background" or self.plate_transform == "none",
                "plate-scaling background goes with plate-transform none", self.plate_transform)
        self.size()

    def at(self, table: str | None, image_root: str | None, follow_links: str | None = None) -> "Data":
        """Return the same screen with its table or folder, and its images, where they are now; None: where they were."""
        places = {name: table for name in SCREENS if table and getattr(self, name)}
        images = {"image_root": image_root, "follow_links": follow_links}
        return dataclasses.replace(self, **places, **{name: value for name, value in images.items() if value})

    def size(self) -> tuple[int, int] | None:
        """Return (height, width) in pixels, None for native."""
        return None if self.image_size == "native" else parse_size("image-size", self.image_size)


@dataclass(frozen=True, kw_only=True)
class Split(Settings):
    """Which compounds the network never sees"""

    split_method: Literal["auto", "hold-out", "k-fold", "leave-compound-out", "leave-plate-out", "leave-week-out", "random",
                          "wells"] = setting(
        "hold-out", "which compounds are held out. hold-out: those of --hold-out; k-fold: compounds in --folds groups, "
                    "group --fold is held out; leave-compound-out, leave-week-out, leave-plate-out: compound, week or "
                    "plate number --fold; wells: a share of the wells of each class on each plate, whose score says "
                    "nothing of new compounds; random: fields at random, which LEAKS wells and compounds and only serves "
                    "comparison; auto: compounds where mechanisms have several, else wells. The log says what and why")
    hold_out: str | None = setting(None, "compounds to hold out, also a name a line; none trains on all",
                                   metavar="NAME,...")
    hold_out_controls: Fraction = setting(0.0, "share of the control wells of each plate that are held out beside "
                                               "compounds, so that false positives can be counted; 0 with --split-method "
                                               "auto: a fifth where it holds compounds out", common=False)
    folds: SeveralInt = setting(5, "number of groups for --split-method k-fold")
    fold: NonNegativeInt = setting(0, "number, from 0, of the group, compound or week that is held out. Compounds are in "
                                      "alphabetical order, plates in natural order. Of wells: which share of them")
    test_fraction: OpenUnitInterval = setting(0.1, "share held out by --split-method random, of fields, or wells, of wells",
                                              common=False)
    split_within: str | None = setting(None, "split.csv of another split: only its training side is split. Inner folds "
                                             "choose settings so, without a look at what that split holds out",
                                       common=False, metavar="FILE")

    def __post_init__(self):
        super().__post_init__()
        names_any = self.hold_out is not None and self.hold_out.strip().lower() not in ("none", "")
        if self.split_method not in ("hold-out", "auto") and names_any:
            raise UsageError(f"--hold-out {self.hold_out} goes with --split-method hold-out, got --split-method "
                             f"{self.split_method}; drop one of the two")
        may_hold_compounds = names_any or self.split_method in ("k-fold", "leave-compound-out", "leave-week-out") or (
            self.split_method == "auto" and self.hold_out is None)
        if self.hold_out_controls and not may_hold_compounds:
            raise UsageError(f"--hold-out-controls {self.hold_out_controls:g} holds control wells out beside compounds, "
                             "and no compound is held out; name some by --hold-out, or use --split-method wells, which "
                             "holds wells of all classes out")


@dataclass(frozen=True, kw_only=True)
class Network(Settings):
    """The multi-scale CNN"""

    pooling: Literal["none", "mean-max"] = setting(
        "none", "what the first linear layer reads. none: each position of the last maps, as in the paper, with 98.5 % of "
                "all parameters at 1024x1280; mean-max: the mean and maximum of each map over the field", common=False)
    downscale: PositiveInt = setting(1, "the network averages blocks of so many pixels squared first; statistics that a "
                                        "chosen read-out reads are of all pixels", common=False)
    head_relu: bool = setting(True, "ReLU between the two linear layers; false reproduces the 2018 program", common=False)
    gradient: Literal["auto", "sparse", "dense", "winograd"] = setting(
        "auto", "how branches that end in a max-pool are trained. dense: as PyTorch does; sparse: by the exact sparse "
                "gradient; winograd: compiled, all pixels by Winograd's filtering. All are equal but for rounding. auto: "
                "for each branch, what is fastest here, timed before the first step", common=False)
    kernel: Literal["auto", "torch"] = setting(
        "auto", "what computes these branches, but for dense ones. auto: C++ compiled on first use, where the CPU has "
                "AVX-512 or AVX2 and there is a compiler; torch: PyTorch's operations", common=False)


@dataclass(frozen=True, kw_only=True)
class Compute(Settings):
    """How the network runs on this CPU"""

    accelerate: Literal["auto", "native", "ipex"] = setting(
        "auto", "native: PyTorch's own kernels; ipex: Intel's extension, in an environment made by "
                "requirements-ipex.txt, or native where it cannot be imported; auto: native. The log says what is used",
        common=False)
    precision: Literal["float32", "bfloat16"] = setting(
        "float32", "type of activations and gradients within the network. Weights and compiled branches stay float32. "
                   "bfloat16 needs a CPU with AVX512_BF16 or AMX; elsewhere float32 is used, and the log says so")
    compress: Literal["none", "bfloat16"] = setting(
        "none", "type of the gradients that ranks exchange; bfloat16 halves their bytes", common=False)
    first_layer: Literal["auto", "sharded", "replicated"] = setting(
        "auto", "first linear layer on several ranks. sharded: each rank holds some of its columns, and ranks exchange "
                "activations instead of its gradient; auto: where that sends less. The log says what is used", common=False)
    keep_memory: bool = setting(True, "keep freed memory for the next step instead of returning it to the system",
                                common=False)


@dataclass(frozen=True, kw_only=True)
class Objective(Settings):
    """What the network learns: the sum of these losses, each with a weight; 0 leaves one out"""

    mechanism_weight: NonNegativeFloat = setting(
        1.0, "cross-entropy of the mechanism. 0: label-free, no mechanism is learnt from, and wells without one take part")
    replicate_weight: NonNegativeFloat = setting(
        0.0, "fields of one treatment attract each other, other compounds' repel. Replicate contrast of their "
             "features, of different plates where there are several")
    view_weight: NonNegativeFloat = setting(
        0.0, "two augmented views of a field attract, other fields repel. View contrast; needs no plate map, "
             "and half of the minibatch are second views")
    statistics_weight: NonNegativeFloat = setting(
        0.0, "statistics of a field's pixels are predicted from its features. Histogram, texture, spots: so that features "
             "hold more than what tells the training compounds apart. Reads all fields once more at the start")
    temperature: PositiveFloat = setting(0.15, "of both contrasts: the smaller, the more the nearest of other compounds "
                                               "count", common=False)
    negatives: Literal["all", "plate"] = setting(
        "all", "which fields of other compounds repel in the replicate contrast: all of the minibatch, or those of the "
               "same plate, so that no difference of plates is learnt. plate needs many compounds on each", common=False)
    transductive: bool = setting(
        False, "learn from the images of held-out fields too, never from their mechanisms. The network has then seen their "
               "images, and every score says so", common=False)

    def __post_init__(self):
        super().__post_init__()
        require(self.mechanism_weight + self.needs_no_labels() > 0, "one of mechanism-weight, replicate-weight, "
                "view-weight and statistics-weight must be more than 0", self.mechanism_weight)
        require(self.needs_no_labels() > 0 or not self.transductive,
                "transductive is for what needs no labels: replicate-weight, view-weight or statistics-weight must be more "
                "than 0", self.statistics_weight)

    def needs_no_labels(self) -> float:
        """Return the weights of all losses that need no mechanism, together."""
        return self.replicate_weight + self.view_weight + self.statistics_weight

    @property
    def is_label_free(self) -> bool:
        """Whether no mechanism is learnt from."""
        return self.mechanism_weight == 0


@dataclass(frozen=True, kw_only=True)
class Optim(Settings):
    """SGD with Nesterov momentum"""

    epochs: NonNegativeInt = setting(20, "passes over the training fields; 0: from their number")
    minibatch: NonNegativeInt = setting(256, "GLOBAL minibatch in fields, the same for any number of ranks. 0: from the "
                                             "number of training fields")
    microbatch: PositiveInt = setting(8, "fields that a rank computes at once. The rest of its share is accumulated")
    lr: str = setting("0.01", "learning rate, or rates and the epochs of their ends: 0.01;20;0.001. With an epoch at the "
                              "end, as 0.01;20;0.001;30, it is written for so many and stretched to --epochs",
                      metavar="RATES")
    momentum: OpenUnitInterval = setting(0.9, "Nesterov momentum", common=False)
    weight_decay: NonNegativeFloat = setting(5e-5, "L2 penalty on all parameters", common=False)
    clip_norm: NonNegativeFloat = setting(0.0, "clip the gradient to this global norm; 0: off", common=False)
    class_weights: Literal["none", "balanced"] = setting(
        "none", "weight of a field in the loss: equal, or inverse to the number of training fields of its mechanism; of "
                "assays, to that of active or of inactive fields", common=False)
    label_smoothing: Fraction = setting(0.0, "share of the target spread over all mechanisms; of assays, over active and "
                                             "inactive", common=False)
    ema_decay: Fraction = setting(0.0, "save an exponential moving average of the weights with this decay a step, as 0.98; "
                                       "0: the last weights", common=False)
    max_steps: NonNegativeInt = setting(0, "stop after this many steps, for trials; 0: all epochs")

    def __post_init__(self):
        super().__post_init__()
        try:
            lr_schedule.parse_schedule(self.lr)
        except ValueError as problem:
            raise UsageError(str(problem)) from None


@dataclass(frozen=True, kw_only=True)
class Augment(Settings):
    """Random changes of training fields that keep the mechanism"""

    flips: bool = setting(True, "mirror left-right and up-down", common=False)
    quarter_turns: bool = setting(True, "turn by quarters; by halves where fields are not square", common=False)
    rotate: NonNegativeFloat = setting(0.0, "rotate by up to this many degrees", common=False)
    aug_zoom: Fraction = setting(0.0, "enlarge or shrink by up to this share, 0.1 for 10 %", common=False)
    aug_shift: Fraction = setting(0.0, "move by up to this share of the sides", common=False)
    aug_gain: Fraction = setting(0.0, "multiply the contrast of each channel by 1 plus or minus up to this", common=False)
    aug_offset: NonNegativeFloat = setting(0.0, "add up to plus or minus this to each channel, in its scaled unit, as a "
                                                "rule a standard deviation", common=False)
    aug_crop: Fraction = setting(0.0, "enlarge a part of the field, of at least this share of its area, as 0.25; 0: the "
                                      "whole field", common=False)
    aug_gamma: NonNegativeFloat = setting(0.0, "raise each channel, from 0 to 1 over its range, to a power between "
                                               "1 / (1 + this) and 1 + this", common=False)
    aug_dropout: Fraction = setting(0.0, "set each channel to 0 with this probability; at least one is kept", common=False)


@dataclass(frozen=True, kw_only=True)
class Aggregation(Settings):
    """From fields to wells and treatments: fixed before anything is scored"""

    aggregate_wells: Literal["mean", "median"] = setting("mean", "a well's probabilities from those of its fields",
                                                         common=False)
    aggregate_treatments: Literal["mean", "median"] = setting(
        "median", "a treatment's probabilities from those of its wells", common=False)
    tta: Literal["none", "flips-turns"] = setting(
        "none", "test-time augmentation. flips-turns: a field's features are the mean over its mirror images and turns, 8 "
                "where it is square and 4 elsewhere", common=False)
    head: Literal["softmax", "lda", "chosen"] = setting(
        "softmax", "last layer. softmax: as trained; lda: linear discriminant analysis of the training fields' features, "
                   "fitted at the end of training; chosen: the same of the network's features, of pixel statistics, "
                   "or of both, whichever inner folds of the training compounds support best", common=False)
    readout_folds: SeveralInt = setting(5, "with --head chosen: inner folds, each a group of training compounds",
                                        common=False)


@dataclass(frozen=True, kw_only=True)
class Parallel(Settings):
    """The processes of a job: their rendezvous, and the cores of each"""

    backend: Literal["gloo", "mpi"] = setting(
        "gloo", "what carries gradients between ranks. gloo: TCP, under any launcher; mpi: the cluster's fabric, "
                "under mpirun, or srun with the matching --mpi")
    threads: NonNegativeInt = setting(0, "compute threads of a rank; 0: one for each of its cores. They are its share "
                                         "of its host")
    loader_cores: NonNegativeInt = setting(0, "cores of a rank reserved for the loader; 0: hardware siblings of its own, "
                                              "or spare cores, where there are any", common=False)
    bind: bool = setting(True, "bind each rank to its own cores", common=False)
    oversubscribe: bool = setting(False, "allow more ranks or threads than cores", common=False)
    join_timeout: Timeout = setting(30.0, "seconds to wait for all ranks at the rendezvous; then the job ends",
                                    common=False)
    start_timeout: Timeout = setting(1800.0, "seconds that one activity may take before the first step, such as reading "
                                             "all headers; a rank that takes longer ends the job", common=False)
    step_timeout: Timeout = setting(300.0, "the same from the first step on: reading or computing a microbatch, saving, "
                                           "waiting for the other ranks, which may have a microbatch more to compute",
                                    common=False)


@dataclass(frozen=True, kw_only=True)
class Run(Settings):
    """The run itself"""

    run_dir: str | None = setting(None, "folder for everything that is written; default: runs/PRESET-001 and so on",
                                  metavar="DIR", written=True)
    seed: NonNegativeInt = setting(0, "seed of initial weights, order of fields, augmentation and splits")
    log_every: PositiveInt = setting(10, "steps between lines in the log", common=False)
    resume: Literal["never", "auto"] = setting(
        "never", "whether to resume the run in --run-dir. auto: from its newest valid checkpoint, or start there if it has "
                 "none; with the same ranks, threads and CPU bit for bit as if the run had never stopped")
    checkpoint_every: PositiveInt = setting(1, "epochs between checkpoints", common=False)
    checkpoint_steps: NonNegativeInt = setting(0, "steps between further checkpoints within an epoch; 0: none",
                                               common=False)
    keep_checkpoints: PositiveInt = setting(2, "newest checkpoints to keep, beside the best and the last known good one",
                                            common=False)
    stop_after: NonNegativeFloat = setting(0.0, "hours after which the run saves and ends with exit code 75; 0: never. "
                                                "signals do the same: SIGTERM, SIGHUP, SIGINT (Ctrl-C)")
    max_nonfinite_steps: NonNegativeInt = setting(3, "steps in a row with a gradient that is not finite: they are skipped; "
                                                     "one more ends the run", common=False)
    eval_every: NonNegativeInt = setting(0, "epochs between evaluations of the held-out fields, for the learning curve "
                                            "only: nothing is chosen by them; 0: never", common=False)

    def __post_init__(self):
        super().__post_init__()
        require(self.resume == "never" or self.run_dir is not None, "resume auto needs the run directory, by --run-dir",
                self.run_dir)


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of one training run."""

    preset: str
    data: Data
    split: Split
    network: Network
    compute: Compute
    objective: Objective
    optim: Optim
    augment: Augment
    aggregation: Aggregation
    parallel: Parallel
    run: Run

    def __post_init__(self):
        if self.data.assays:
            require(self.aggregation.head == "softmax", "--assays goes with --head softmax, which for assays is a logistic "
                    "output each; train by `mscnn train supervised`, or drop one of the two", self.aggregation.head)
            require(not self.objective.is_label_free, "--assays are learnt by mechanism-weight, which must be more than 0; "
                    "train by `mscnn train supervised`, or drop --assays", self.objective.mechanism_weight)

    def flat(self) -> dict[str, Any]:
        """Return {setting: value}, as in the YAML file."""
        values: dict[str, Any] = {"preset": self.preset}
        for name in GROUPS:
            values |= dataclasses.asdict(getattr(self, name))
        return values

    def to_yaml(self) -> str:
        """Return the settings as the text of a YAML file."""
        return yaml.safe_dump(self.flat(), sort_keys=False)


GROUPS = {"data": Data, "split": Split, "network": Network, "compute": Compute, "objective": Objective, "optim": Optim,
          "augment": Augment, "aggregation": Aggregation, "parallel": Parallel, "run": Run}
NAMES = {field.name for group in GROUPS.values() for field in dataclasses.fields(group)}


def from_flat(values: dict[str, Any]) -> Config:
    """Build a Config from {setting: value}; missing settings take their defaults. Raises UsageError."""
    values = current_names(values, NAMES)
    return Config(preset=values["preset"], **{name: build(group, values) for name, group in GROUPS.items()})


def absolute(config: Config) -> Config:
    """Return the same settings with paths that hold from any working folder."""
    paths = {name: str(Path(value).absolute()) for name in (*SCREENS, "image_root", "assays", "leave_out")
             if (value := getattr(config.data, name)) is not None}
    if config.data.follow_links:
        paths["follow_links"] = ",".join(str(Path(folder).absolute()) for folder in config.data.follow_links.split(","))
    split = config.split
    if split.split_within:
        split = dataclasses.replace(split, split_within=str(Path(split.split_within).absolute()))
    return dataclasses.replace(config, split=split, data=dataclasses.replace(config.data, **paths))
