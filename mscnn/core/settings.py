"""What a record of settings is: fields that explain and check themselves.  Imports no torch.

A setting has one name in the YAML file, on the command line (--minibatch) and in the record.
"""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from mscnn.core import records
from mscnn.core.errors import UsageError
from mscnn.core.paths import KINDS
from mscnn.core.records import LARGEST

REQUIRED = dataclasses.MISSING
MOST = 2**31 - 1      # of a whole number but a seed
MOST_DRAWS = 100_000  # of a bootstrap or a label permutation: more take memory, and tell no more
LONGEST = 1e7  # seconds that a timeout may last: 115 days
if TYPE_CHECKING:
    PositiveInt = NonNegativeInt = SeveralInt = int
    PositiveFloat = NonNegativeFloat = OpenUnitInterval = ClosedUnitInterval = Fraction = Timeout = float
else:
    from jsonargparse.typing import (
        ClosedUnitInterval,
        NonNegativeFloat,
        NonNegativeInt,
        OpenUnitInterval,
        PositiveFloat,
        PositiveInt,
        restricted_number_type,
    )

    SeveralInt = restricted_number_type("SeveralInt", int, (">=", 2))
    Fraction = restricted_number_type("Fraction", float, [(">=", 0), ("<", 1)])
    Timeout = restricted_number_type("Timeout", float, [(">", 0), ("<=", LONGEST)])
BOUNDS = {PositiveInt: "at least 1", SeveralInt: "at least 2", NonNegativeInt: "0 or more", PositiveFloat: "more than 0",
          NonNegativeFloat: "0 or more", OpenUnitInterval: "between 0 and 1", ClosedUnitInterval: "from 0 to 1",
          Fraction: "in [0, 1)", Timeout: f"more than 0, no more than {LONGEST:.0f}"}

# {old name: (new name, {old value: new value})}, accepted for one release.
RENAMED: dict[str, tuple[str, dict[str, str]]] = {
    "split": ("split_method", {}), "within": ("split_within", {}),
    "statistics": ("statistics_weight", {}), "held_out_pixels": ("transductive", {}), "average": ("ema_decay", {}),
    "aux_weight": ("statistics_weight", {}), "aux_on_held_out": ("transductive", {}),
    "turns": ("quarter_turns", {}), "scale": ("aug_zoom", {}), "shift": ("aug_shift", {}), "gain": ("aug_gain", {}),
    "offset": ("aug_offset", {}), "reference": ("plate_reference", {}), "camera_offset": ("plate_camera_offset", {}),
    "illumination": ("plate_illumination", {}), "scaling": ("plate_scaling", {}), "transform": ("plate_transform", {}),
    "well_by": ("aggregate_wells", {}), "treatment_by": ("aggregate_treatments", {}),
    "aggregate": ("aggregate_treatments", {}), "views": ("tta", {"one": "none", "all": "flips-turns"}),
    "readout": ("head", {}), "keep": ("keep_checkpoints", {}), "max_skipped": ("max_nonfinite_steps", {}),
    "monitor_every": ("eval_every", {}), "moved": ("data", {}),
}


def setting(default: Any, help: str, *, positional: bool = False, common: bool = True, metavar: str = "",
            written: bool = False) -> Any:
    """Return a dataclass field that carries its own line of --help.

    positional: the command line gives the value without an option; of type str it takes one word, of list[str] several.
    common: False for one that --help-all shows and --help does not; metavar: what stands for the value there, as DIR.
    written: the command writes to the path that it names.
    """
    return dataclasses.field(default=default, metadata={"help": help, "positional": positional, "common": common,
                                                        "metavar": metavar, "written": written})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of all records of settings: a value outside the bounds of its field's type raises UsageError."""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if field.type in BOUNDS:
                value, bounded = getattr(self, field.name), cast(type, field.type)
                try:
                    checked = bounded(value)
                except (ValueError, TypeError):
                    raise UsageError(f"{option(field.name)} must be {BOUNDS[field.type]}, got {value!r}") from None
                if isinstance(checked, int) and checked > (most := LARGEST if field.name == "seed" else MOST):
                    raise UsageError(f"{option(field.name)} must be no more than {most}, got {checked}")
                object.__setattr__(self, field.name, plain_type(field.type)(checked))
            if field.metadata.get("metavar") in KINDS and is_blank(getattr(self, field.name)):
                raise UsageError(f"{option(field.name)} is empty; give a path, or leave it out")


def is_blank(value: Any) -> bool:
    """Return whether a value is text of nothing but blanks, or a list with such text."""
    return any(isinstance(word, str) and not word.strip() for word in (value if isinstance(value, list) else [value]))


def plain_type(bounded: Any) -> Any:
    """Return int or float for a bounded type, any other type as it is."""
    return next((plain for plain in (int, float) if bounded in BOUNDS and issubclass(bounded, plain)), bounded)


def option(name: str) -> str:
    """Return the spelling of a setting on the command line, without its dashes in front: log_every -> log-every."""
    return name.replace("_", "-")


def build(record: type, values: dict[str, Any]) -> Any:
    """Build one record of settings from those of the values that are its own. Raises UsageError."""
    own = {field.name: values[field.name] for field in dataclasses.fields(record) if field.name in values}
    for field in dataclasses.fields(record):  # those of a file; the command line has checked its own
        if own.get(field.name) is not None:
            try:
                records.checked(plain_type(field.type), own[field.name], option(field.name))
            except ValueError as problem:
                raise UsageError(f"{problem}; mend the setting, or leave it out for its default") from None
    for field in dataclasses.fields(record):
        if field.name in own and own[field.name] is None and field.type != str | None:
            raise UsageError(f"{field.name} cannot be empty (null); leave it out for its default")
    return record(**own)


def current_name(name: str, known: set[str]) -> str:
    """Return today's name of a setting, known: the names of today; one that was never renamed is returned as it is."""
    new, _ = RENAMED.get(name, (name, {}))
    return new if name not in known and new in known else name


def current_names(values: dict[str, Any], known: set[str]) -> dict[str, Any]:
    """Return {setting: value} with the names and values of today in place of those before they were renamed."""
    found = {}
    for name, value in values.items():
        new = current_name(name, known)
        found[new] = value if new == name else RENAMED[name][1].get(str(value), value)
    return found


def parse_size(name: str, text: str) -> tuple[int, int]:
    """Read "1024x1280" as (1024, 1280), height first. Raises UsageError that names the setting."""
    sides = text.lower().split("x")
    require(len(sides) == 2 and all(side.isdecimal() and int(side) > 0 for side in sides),
            f"{name} must be HEIGHTxWIDTH like 1024x1280", text)
    return int(sides[0]), int(sides[1])


def require(fits: bool, what: str, value: Any) -> None:
    """Raise UsageError with the requirement and the value found, unless it fits."""
    if not fits:
        raise UsageError(f"{what}, got {value!r}")
