"""argv -> settings, for train.py, evaluate.py and `python -m mscnn`; the only place that reads the command line.

Options are spelled with dashes (--hold-out); underscores are accepted too.  Imports no torch, so --help is quick.
"""

import argparse
import dataclasses
import difflib
import re
from dataclasses import dataclass
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter

from mscnn.config import GROUPS, PRESETS, Config, from_flat, parse_size
from mscnn.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Settings of evaluate.py."""

    checkpoint: str
    out: str
    sites: str | None
    image_root: str | None
    columns: str | None
    channels: str | None
    microbatch: int
    threads: int


@dataclass(frozen=True, kw_only=True)
class Synthesis:
    """Settings of `python -m mscnn synth`."""

    out: str
    mechanisms: str
    compounds: int
    plates: int
    sites: int
    size: tuple[int, int]  # height, width in pixels
    seed: int


def train(argv: list[str]) -> tuple[Config, str]:
    """Read train.py's arguments. Returns the settings and the same as YAML. --help and --print-config exit here."""
    presets = "\n".join(f"  {name:10} {preset.__doc__}" for name, preset in PRESETS.items())
    parser = _parser("train.py", f"Train the multi-scale CNN on whole fields of view.\n\npresets:\n{presets}\n\n"
                     "one process:    python train.py demo\nseveral ranks:  torchrun --nproc-per-node 2 train.py demo",
                     print_config="--print-config")
    parser.usage = "train.py PRESET [--config FILE] [--SETTING VALUE ...]"
    preset = _leading_preset(argv)
    parser.add_argument("preset", choices=list(PRESETS), help="where settings start from")
    parser.add_argument("--config", action="config", help="YAML file of settings, over the preset's")
    defaults = PRESETS[preset]() if preset else {}
    for group in GROUPS.values():
        section = parser.add_argument_group(group.__doc__)
        for field in dataclasses.fields(group):
            section.add_argument(f"--{field.name.replace('_', '-')}", type=field.type,
                                 default=defaults.get(field.name, field.default),
                                 help=field.metadata["help"].replace("%", "%%"))
    found = _parse(parser, argv)
    values = {key: value for key, value in found.as_dict().items() if key != "config"}
    settings = from_flat(values)
    return settings, yaml.safe_dump(settings.flat(), sort_keys=False)


def evaluate(argv: list[str]) -> Evaluation:
    """Read evaluate.py's arguments."""
    parser = _parser("evaluate.py", "Score a checkpoint on the compounds its split held out, or on any other table.")
    add = parser.add_argument
    add("--checkpoint", type=str, required=True, help="run directory, or a checkpoint file")
    add("--out", type=str, required=True, help="folder for predictions, scores and pictures")
    add("--sites", type=str | None, default=None, help="site table to score instead, of the same channels")
    add("--image-root", type=str | None, default=None, help="folder that image paths start from")
    add("--columns", type=str | None, default=None, help="role=column,... as in training")
    add("--channels", type=str | None, default=None, help="FileName_ columns of --sites, in the checkpoint's order")
    add("--microbatch", type=int, default=8, help="fields computed at once")
    add("--threads", type=int, default=0, help="compute threads a rank; 0: this machine's share of cores")
    return Evaluation(**_parse(parser, argv).as_dict())


def synth(argv: list[str]) -> Synthesis:
    """Read the arguments of `python -m mscnn synth`."""
    parser = _parser("python -m mscnn synth", "Write synthetic plates in the layout of BBBC021.")
    add = parser.add_argument
    add("--out", type=str, required=True, help="folder for images, CSVs and overview.png")
    add("--mechanisms", type=str, default="demo", help="demo (6 distinct ones), all (12), or NAME,NAME")
    add("--compounds", type=int, default=3, help="compounds of each mechanism")
    add("--plates", type=int, default=2, help="replicate plates a week")
    add("--sites", type=int, default=1, help="sites a well")
    add("--size", type=str, default="128x128", help="height x width of a field in pixels")
    add("--seed", type=int, default=0, help="the same seed writes the same bytes")
    found = _parse(parser, argv)
    for name in ("compounds", "plates", "sites"):
        if found[name] < 1:
            raise UsageError(f"{name} must be at least 1, got {found[name]}")
    return Synthesis(**{**found.as_dict(), "size": parse_size("size", found.size)})


class _Help(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Defaults and types beside each option, and line breaks of the description as written."""


def _parser(program: str, description: str, print_config: str | None = None) -> ArgumentParser:
    return ArgumentParser(prog=program, description=description, exit_on_error=False, print_config=print_config,
                          formatter_class=_Help)


def _parse(parser: ArgumentParser, argv: list[str]) -> Any:
    """Parse with dashes for underscores; whatever does not fit becomes one line that names the near option."""
    argv = [_dashed(argument) for argument in argv]
    known = [option for action in parser._actions for option in action.option_strings]
    for argument in argv:
        option = argument.split("=")[0]
        if option.startswith("--") and option != "--" and option not in known:
            raise UsageError(f"there is no option {option}{_near(option, known)}")
    try:
        return parser.parse_args(argv)
    except ArgumentError as problem:
        text = " ".join(str(problem).replace("Parser key", "option").split())
        if unknown := re.search(r"Option '(\w+)' is not accepted", text):
            keys = [option.removeprefix("--").replace("-", "_") for option in known]
            text = f"the configuration file has an unknown setting {unknown[1]}{_near(unknown[1], keys)}"
        raise UsageError(text) from None


def _dashed(argument: str) -> str:
    """--hold_out=A_B -> --hold-out=A_B."""
    option, equals, value = argument.partition("=")
    return option.replace("_", "-") + equals + value if option.startswith("--") else argument


def _near(wrong: str, known: list[str]) -> str:
    near = difflib.get_close_matches(wrong, known, n=1)
    return f"; did you mean {near[0]}?" if near else "; --help lists them"


def _leading_preset(argv: list[str]) -> str | None:
    """The preset's name, which comes first; None where only help is asked for."""
    if argv and argv[0] in PRESETS:
        return argv[0]
    if "-h" in argv or "--help" in argv:
        return None
    got = argv[0] if argv else "nothing"
    raise UsageError(f"the first argument must be a preset ({', '.join(PRESETS)}), got {got}"
                     + (_near(got, list(PRESETS)) if argv and not got.startswith("-") else ""))
