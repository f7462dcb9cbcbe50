"""Every setting of a run, its default and its check; and the presets.  `python train.py demo --print-config` shows them.

A setting has one name in the YAML file, on the command line (--minibatch) and here.  Groups only order them.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mscnn import schedule
from mscnn.errors import UsageError


def setting(default: Any, help: str) -> Any:
    """A dataclass field that carries its own line of --help."""
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which fields of view, and how their pixels become the network's input"""

    bbbc021: str | None = setting(None, "folder with the official BBBC021_v1_image.csv and BBBC021_v1_moa.csv")
    sites: str | None = setting(None, "site table of any other screen: LoadData style or plain columns, as CSV")
    image_root: str | None = setting(None, "folder that image paths start from; default: the folder of the table")
    channels: str | None = setting(None, "comma-separated channels in the order the network sees them; for files "
                                         "that hold several channels: their names in the order of the file")
    columns: str | None = setting(None, "names of columns that are not found by themselves, as role=column,...; roles: "
                                        "file plate well site week replicate compound concentration mechanism")
    taxol_controls: Literal["drop", "keep"] = setting(
        "drop", "BBBC021's taxol 0.3 uM control wells, 6 on every plate and over half of the treated fields: "
                "drop leaves taxol's own dose series")
    image_size: str = setting("native", "height x width to crop (at the centre) or pad (mirrored) to, as 1024x1280")
    normalise: Literal["dataset", "field"] = setting(
        "dataset", "subtract mean and divide by standard deviation of each channel, over the training fields or "
                   "within each field (which removes plate-wise intensity shifts, and absolute intensity with them)")
    normalise_sites: int = setting(1000, "at most so many training fields are read for the dataset's mean and sd")

    def __post_init__(self):
        if (self.bbbc021 is None) == (self.sites is None):
            raise UsageError("name the screen by exactly one of --bbbc021 DIR and --sites CSV, "
                             f"got {self.bbbc021!r} and {self.sites!r}")
        _require(self.normalise_sites >= 1, "normalise-sites must be at least 1", self.normalise_sites)
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
    offset: float = setting(0.0, "add up to plus or minus this, in standard deviations, to each channel")

    def __post_init__(self):
        for name in ("rotate", "scale", "shift", "gain", "offset"):
            value = getattr(self, name)
            _require(value >= 0 and (name in ("rotate", "offset") or value < 1), f"{name} is out of range", value)


@dataclass(frozen=True, kw_only=True)
class Run:
    """The run itself"""

    run_dir: str | None = setting(None, "where everything is written; default: runs/PRESET-001 and so on")
    seed: int = setting(0, "of the initial weights, the order of fields, the augmentation and the random splits")
    threads: int = setting(0, "compute threads a rank; 0: this machine's share of cores")
    log_every: int = setting(10, "steps between lines in the log")
    checkpoint_every: int = setting(1, "epochs between checkpoints")
    monitor_every: int = setting(0, "epochs between looks at the held-out fields, for the learning curve only: nothing "
                                    "is chosen by them; 0: never")

    def __post_init__(self):
        _require(self.seed >= 0, "seed must be 0 or more", self.seed)
        _require(self.threads >= 0, "threads must be 0 or more", self.threads)
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
    optim: Optim
    augment: Augment
    run: Run

    def flat(self) -> dict[str, Any]:
        """{setting: value}, as in the YAML file."""
        values: dict[str, Any] = {"preset": self.preset}
        for name in GROUPS:
            values |= dataclasses.asdict(getattr(self, name))
        return values


GROUPS = {"data": Data, "split": Split, "network": Network, "optim": Optim, "augment": Augment, "run": Run}


def from_flat(values: dict[str, Any]) -> Config:
    """Build a Config from {setting: value}; missing settings take their defaults. Raises UsageError."""
    groups = {
        name: group(**{field.name: values[field.name] for field in dataclasses.fields(group) if field.name in values})
        for name, group in GROUPS.items()
    }
    return Config(preset=values["preset"], **groups)


def parse_size(name: str, text: str) -> tuple[int, int]:
    """"1024x1280" -> (1024, 1280), height first. Raises UsageError naming the setting."""
    sides = text.lower().split("x")
    _require(len(sides) == 2 and all(side.isdecimal() and int(side) > 0 for side in sides),
             f"{name} must be HEIGHTxWIDTH like 1024x1280", text)
    return int(sides[0]), int(sides[1])


def absolute(config: Config) -> Config:
    """The same settings with paths that hold from any working folder."""
    paths = {name: str(Path(value).absolute()) for name in ("bbbc021", "sites", "image_root")
             if (value := getattr(config.data, name)) is not None}
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **paths))


def demo() -> dict[str, Any]:
    """Synthetic plates of 6 mechanisms, the last compound of each held out: 2 min on 2 cores, 23-24 of 24 treatments."""
    return {"bbbc021": "demo/plates",
            "hold_out": "actin-c,dna-damage-c,eg5-c,epithelial-c,destabilizer-c,stabilizer-c",
            "epochs": 40, "minibatch": 16, "lr": "0.01;30;0.002", "gain": 0.3, "offset": 0.3, "log_every": 34}


def fields256() -> dict[str, Any]:
    """540 real BBBC021 fields of 256x256, 2 of 14 compounds held out: 10 min on 2 cores, 6 of 6 treatments."""
    # AZ258 and emetine: their mechanisms are learnt from other weeks only, so that no batch can pose as biology.
    return {"sites": "../shared/data/bbbc021_fields_256/labels.csv", "channels": "Actin,Tubulin,DNA",
            "hold_out": "AZ258,emetine", **_SMALL_SCREEN, "rotate": 180.0, "scale": 0.15, "shift": 0.1}


def bbbc021() -> dict[str, Any]:
    """The 8-node recipe on BBBC021: 13 classes, 1024x1280, global minibatch 256; name the data by --bbbc021 DIR."""
    return {"minibatch": 256, "microbatch": 4, "epochs": 22, "taxol_controls": "keep", "log_every": 1,
            "lr": "0.008;2;0.032;5;0.029;10;0.026;15;0.001;20;0.0001"}


def screen() -> dict[str, Any]:
    """Any other screen; name it by --sites CSV."""
    return dict(_SMALL_SCREEN)


_SMALL_SCREEN = {"epochs": 30, "minibatch": 32, "lr": "0.01;20;0.003;26;0.001", "class_weights": "balanced",
                 "label_smoothing": 0.1, "gain": 0.2, "offset": 0.2}
PRESETS = {"demo": demo, "fields256": fields256, "bbbc021": bbbc021, "screen": screen}


def _require(fits: bool, what: str, value: Any) -> None:
    if not fits:
        raise UsageError(f"{what}, got {value!r}")
