"""argv -> settings, for train.py, evaluate.py and `python -m mscnn`; the only place that reads the command line.

Options are spelled with dashes (--hold-out); underscores are accepted too.  Imports no torch, so --help is quick.
"""

import argparse
import dataclasses
import difflib
import importlib.metadata
import re
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter

from mscnn.cli import benches, tools
from mscnn.core import config
from mscnn.core.errors import UsageError
from mscnn.core.files import read_yaml
from mscnn.core.logs import log
from mscnn.core.presets import PRESETS
from mscnn.core.settings import REQUIRED, build, current_name, current_names, option, plain_type
from mscnn.evaluation.settings import EvaluationSettings

_CHOOSABLE = {field.name for group in (config.Network, config.Optim, config.Augment, config.Data)
              for field in dataclasses.fields(group)} - {field.name for field in dataclasses.fields(config.Table)}
OLDEST_TORCH = (2, 8)  # the oldest that the tests have passed with


def train(argv: list[str]) -> tuple[config.Config, str]:
    """Read train.py's arguments. Returns the settings and the same as YAML. --help and --print-config exit here."""
    values = _of_a_run("train.py", "Train the multi-scale CNN on whole fields of view.", "one process:    python train.py "
                       "demo\nseveral ranks:  torchrun --nproc-per-node 2 train.py demo", argv)
    settings = config.from_flat(values)
    return settings, yaml.safe_dump(settings.flat(), sort_keys=False)


def loco(argv: list[str]) -> tuple[tools.Loco, config.Config]:
    """Read the arguments of `python -m mscnn loco`: its own, and those of train.py."""
    for given in sorted(_given(argv) & {"hold_out", "fold", "split_within", "run_dir"}):
        raise UsageError(f"--{given.replace('_', '-')} is set for each fold; leave it out")
    values = _of_a_run("python -m mscnn loco", "Train without a compound and score on it, for each compound in turn.",
                       "workstation:  python -m mscnn loco fields256 --out runs/loco\ncluster:      slurm/loco.sh", argv,
                       {"split_method": "leave-compound-out", "hold_out": "none"}, tools.Loco)
    settings = config.from_flat(values)
    if settings.split.split_method not in ("leave-compound-out", "leave-week-out", "k-fold"):
        raise UsageError("split-method is leave-compound-out, leave-week-out or k-fold here, got "
                         f"{settings.split.split_method}")
    return build(tools.Loco, values), settings


def candidates(path: str | None, argv: list[str]) -> dict[str, dict[str, Any]]:
    """{name: {setting: value}} of a YAML file that `loco` chooses from, each checked together with its other arguments."""
    if path is None:
        return {}
    found = read_yaml(Path(path), option="--candidates")
    if not isinstance(found, dict) or not all(isinstance(value, dict) for value in found.values()) or len(found) < 2:
        raise UsageError(f"--candidates {path}: give two or more, as {{name: {{setting: value}}}}")
    for name, options in found.items():
        if not re.fullmatch(r"\w[\w.-]*", str(name)):  # it becomes a folder's
            raise UsageError(f"--candidates {path}: names are letters, digits, points and dashes, got {name!r}")
        if alien := sorted({current_name(str(name).replace("-", "_"), config.NAMES) for name in options} - _CHOOSABLE):
            raise UsageError(f"--candidates {path}: {name}: {', '.join(alien)} cannot be chosen; settings of intensity, "
                             "network, training and augmentation can")
        try:
            loco([*argv, *(word for option, value in options.items() for word in (f"--{option}", str(value)))])
        except UsageError as problem:
            raise UsageError(f"--candidates {path}: {name}: {problem}") from None
    return {str(name): options for name, options in found.items()}


def evaluate(argv: list[str]) -> EvaluationSettings:
    """Read evaluate.py's arguments."""
    return _read("evaluate.py", "Score a checkpoint on the compounds its split held out, or on any other table.",
                 EvaluationSettings, argv)


def synth(argv: list[str]) -> tools.Synthesis:
    """Read the arguments of `python -m mscnn synth`."""
    return _read("python -m mscnn synth", "Write synthetic plates in the layout of BBBC021.", tools.Synthesis, argv)


def check(argv: list[str]) -> tools.Check:
    """Read the arguments of `python -m mscnn check`."""
    return _read("python -m mscnn check",
                 "Look for all that is wrong with a screen, its table and its images, before any job.\n\n"
                 "exit code 0: nothing is, and its plates are drawn; 3: all problems are in OUT/problems.csv",
                 tools.Check, argv)


def pack(argv: list[str]) -> tools.Packing:
    """Read the arguments of `python -m mscnn pack`."""
    return _read("python -m mscnn pack", "Write the fields of a screen to a file a plate that is read at memory speed.",
                 tools.Packing, argv)


def verify(argv: list[str]) -> str:
    """Read the argument of `python -m mscnn verify`: a packed folder."""
    parser = _parser("python -m mscnn verify", "Read all packed fields and compare them with their CRC-32s.")
    parser.add_argument("packed", help="folder that `python -m mscnn pack` wrote")
    return _parse(parser, argv)["packed"]


def features(argv: list[str]) -> tools.Features:
    """Read the arguments of `python -m mscnn features`."""
    return _read("python -m mscnn features", "Measure every field by features that need no training, for the baselines.",
                 tools.Features, argv)


def gather(argv: list[str]) -> tuple[list[str], tools.Gathering]:
    """Read the arguments of `python -m mscnn gather`: folders of evaluations, and settings."""
    return _read_with("evaluations", "folders that evaluate.py wrote, a fold each", "python -m mscnn gather",
                      "Score folds that evaluate.py wrote to folders of their own as one screen.", tools.Gathering, argv)


def baselines(argv: list[str]) -> tuple[list[str], tools.Baselines]:
    """Read the arguments of `python -m mscnn baselines`: runs, and settings."""
    return _read_with("runs", "run directories, or folders of folds", "python -m mscnn baselines",
                      "Score what sees no cells, and what needs no training, on the very folds of a run.",
                      tools.Baselines, argv)


def export(argv: list[str]) -> tuple[str, tools.Export]:
    """Read the arguments of `python -m mscnn export`: a run directory or checkpoint, and settings."""
    paths, settings = _read_with("checkpoint", "run directory, or a checkpoint file", "python -m mscnn export",
                                 "Write a trained network for others: weights, model card, and a program without mscnn.",
                                 tools.Export, argv)
    if len(paths) > 1:
        raise UsageError(f"one network is exported at a time, got {len(paths)}: {' '.join(paths)}")
    return paths[0], settings


def report(argv: list[str]) -> tuple[list[str], tools.Report]:
    """Read the arguments of `python -m mscnn report`: runs, and settings."""
    return _read_with("runs", "run directories that were evaluated, or folders of folds", "python -m mscnn report",
                      "Write one HTML file: what runs say about compounds they never saw, and what that is worth.",
                      tools.Report, argv)


def score(argv: list[str]) -> tuple[str, tools.Score]:
    """Read the arguments of `python -m mscnn score`: a table of profiles, and settings."""
    paths, settings = _read_with(
        "profiles", ".csv, .csv.gz or .parquet: a row a field, well or treatment with Metadata_Compound, "
        "Metadata_Concentration, Metadata_MOA, Metadata_Week or Metadata_Batch, and features", "python -m mscnn score",
        "Match each treatment with its nearest neighbour of another compound (NSC), and of another compound and batch "
        "(NSCB): how often do the mechanisms agree?", tools.Score, argv)
    if len(paths) > 1:
        raise UsageError(f"one table is scored at a time, got {len(paths)}: {' '.join(paths)}")
    return paths[0], settings


def world(argv: list[str]) -> config.Parallel:
    """Read the arguments of `python -m mscnn.world`."""
    return _read("python -m mscnn.world", "Print who is where among the ranks that a launcher started.", config.Parallel,
                 argv)


def bench_step(argv: list[str]) -> benches.StepBench:
    """Read the arguments of `python -m mscnn.bench step`."""
    return _read("python -m mscnn.bench step", "Time training steps, variants in turn, each in a process of its own.",
                 benches.StepBench, argv)


def bench_loader(argv: list[str]) -> benches.LoaderBench:
    """Read the arguments of `python -m mscnn.bench loader`."""
    return _read("python -m mscnn.bench loader", "Time the reading of fields, file formats in turn in one process.",
                 benches.LoaderBench, argv)


def bench_curves(argv: list[str]) -> benches.CurvesBench:
    """Read the arguments of `python -m mscnn.bench curves`."""
    return _read("python -m mscnn.bench curves", "Draw the learning curves of several runs, grouped by a setting.",
                 benches.CurvesBench, argv)


def bench_collective(argv: list[str]) -> benches.CollectiveBench:
    """Read the arguments of `python -m mscnn.bench collective`."""
    return _read("python -m mscnn.bench collective",
                 "Time sums over ranks by size: those it starts here over each backend, or those that a launcher started.",
                 benches.CollectiveBench, argv)


def bench_scaling(argv: list[str]) -> benches.ScalingBench:
    """Read the arguments of `python -m mscnn.bench scaling`."""
    return _read("python -m mscnn.bench scaling",
                 "Count what ranks exchange, time steps by number of ranks, and predict them for a cluster.\n\n"
                 "here:          python -m mscnn.bench scaling\n"
                 "on a cluster:  srun python -m mscnn.bench scaling --bandwidth 100 --latency 2",
                 benches.ScalingBench, argv)


def _of_a_run(program: str, description: str, examples: str, argv: list[str], instead: dict[str, Any] | None = None,
              more: type | None = None) -> dict[str, Any]:
    """Settings of a run by name, from preset, file and command line; instead: defaults in place of the preset's own;
    more: further settings of the program.
    """
    presets = "\n".join(f"  {name:10} {preset.__doc__}" for name, preset in PRESETS.items())
    parser = _parser(program, f"{description}\n\npresets:\n{presets}\n\n{examples}", print_config="--print-config")
    parser.usage = f"{program} PRESET [--config FILE] [--SETTING VALUE ...]"
    preset = _leading_preset(argv)
    parser.add_argument("preset", choices=list(PRESETS), help="where settings start from")
    parser.add_argument("--config", action="config", help="YAML file of settings, over the preset's")
    defaults = (_without_its_screen(PRESETS[preset](), argv) if preset else {}) | (instead or {})
    for group in (*([more] if more else []), *config.GROUPS.values()):
        _add_settings(parser.add_argument_group(group.__doc__), group, defaults)
    values = _parse(parser, argv)
    if values["preset"] != preset:
        raise UsageError(f"the configuration file is of preset {values['preset']}, the command line says {preset}; "
                         "name the same one, or take the line out of the file")
    _drop_other_screens(values, argv)
    return values


class _Help(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Defaults and types beside each option, and line breaks of the description as written."""


def _read(program: str, description: str, group: type, argv: list[str]) -> Any:
    parser = _parser(program, description)
    _add_settings(parser, group, {})
    return build(group, _parse(parser, argv))


def _read_with(positional: str, help: str, program: str, description: str, group: type,
               argv: list[str]) -> tuple[list[str], Any]:
    """Positional arguments, at least one, and settings."""
    parser = _parser(program, description)
    parser.add_argument(positional, nargs="+", help=help)
    _add_settings(parser, group, {})
    values = _parse(parser, argv)
    return values.pop(positional), build(group, values)


def _parser(program: str, description: str, print_config: str | None = None) -> ArgumentParser:
    return ArgumentParser(prog=program, description=description, exit_on_error=False, print_config=print_config,
                          formatter_class=_Help)


def _add_settings(parser: Any, group: type, defaults: dict[str, Any]) -> None:
    """An option for each field of a record of settings."""
    for field in dataclasses.fields(group):
        required = field.default is REQUIRED
        parser.add_argument(f"--{option(field.name)}", type=plain_type(field.type), required=required,
                            help=field.metadata["help"].replace("%", "%%"),
                            **({} if required else {"default": defaults.get(field.name, field.default)}))


def _parse(parser: ArgumentParser, argv: list[str]) -> dict[str, Any]:
    """Parse with dashes for underscores and today's names for old ones; one line says what does not fit."""
    known = [word for action in parser._actions for word in action.option_strings]
    argv = _today(argv, {word.lstrip("-").replace("-", "_") for word in known})
    for argument in argv:
        word = argument.split("=")[0]
        if word.startswith("--") and word != "--" and word not in known:
            raise UsageError(f"there is no option {word}{_near(word, known)}")
    try:
        values = {key: value for key, value in parser.parse_args(argv).as_dict().items() if key != "config"}
        _require_torch()
        return values
    except ArgumentError as problem:
        text = " ".join(str(problem).replace("Parser key", "option").split())
        if unknown := re.search(r"Option '([\w.]+)' is not accepted", text):
            keys = [word.lstrip("-").replace("-", "_") for word in known]
            text = f"the configuration file has an unknown setting {unknown[1]}{_near(unknown[1].split('.')[-1], keys)}"
        elif "class 'str'" in text:  # in YAML 0.01, 123 and no are not text
            text += "; write the value in quotes in the configuration file"
        raise UsageError(text) from None


def _today(argv: list[str], known: set[str]) -> list[str]:
    """Return the arguments with dashes, and with today's names and values of settings; the log names those replaced.

    A configuration file becomes its content.  Raises UsageError for one that should not be parsed, or names another one.
    """
    found, waiting = [], list(argv)
    while waiting:
        word, equals, value = waiting.pop(0).partition("=")
        if not word.startswith("--"):
            found.append(word + equals + value)
            continue
        old = word[2:].replace("-", "_")
        if old != (new := current_name(old, known)):
            _log_renamed(f"--{option(old)}", f"--{option(new)}")
            if not equals and waiting:
                value = waiting.pop(0)
            found += [f"--{option(new)}", str(current_names({old: value}, known)[new])]
        elif old == "config" and (path := value or "".join(waiting[:1])):
            del waiting[:0 if equals else 1]
            found.append(f"--config={_config_text(path, known)}")
        else:
            found.append(f"--{option(old)}{equals}{value}")
    return found


def _config_text(path: str, known: set[str]) -> str:
    """The content of a configuration file, with today's names of settings."""
    content = read_yaml(Path(path), option="--config")
    if not isinstance(content, dict):
        raise UsageError(f"--config {path}: holds no settings; write a line `setting: value` for each")
    if "config" in content:
        raise UsageError(f"--config {path}: it names another file, {content['config']!r}; write its settings out")
    for old in content:
        if old != (new := current_name(str(old), known)):
            _log_renamed(f"{path}: {old}", new)
    return yaml.safe_dump(current_names(content, known), sort_keys=False)


def _log_renamed(old: str, new: str) -> None:
    log.warning("%s is called %s now; the old name works in this release only", old, new)


def _require_torch() -> None:
    """Raise UsageError where torch is missing or too old; found without importing it, which may fail in any way then."""
    try:
        found = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        found = "none"
    numbers = re.match(r"(\d+)\.(\d+)", found)
    if not numbers or tuple(map(int, numbers.groups())) < OLDEST_TORCH:
        raise UsageError(f"torch {'.'.join(map(str, OLDEST_TORCH))} or newer is needed, found {found}; "
                         "install the one in requirements.txt (`make .venv`)")


def _near(wrong: str, known: list[str]) -> str:
    plain = {option.lstrip("-"): option for option in known}
    near = difflib.get_close_matches(wrong.lstrip("-"), plain, n=1)
    return f"; did you mean {plain[near[0]]}?" if near else "; see --help"


def _given(argv: list[str]) -> set[str]:
    """Settings that the command line names, by today's names."""
    return {current_name(argument.split("=")[0][2:].replace("-", "_"), config.NAMES)
            for argument in argv if argument.startswith("--")}


def _without_its_screen(defaults: dict[str, Any], argv: list[str]) -> dict[str, Any]:
    """A preset's settings; without those of its own screen where the command line names another one."""
    if not _given(argv) & {*config.SCREENS}:
        return defaults
    return {name: value for name, value in defaults.items() if name not in (*config.SCREENS, "channels", "columns")}


def _drop_other_screens(values: dict[str, Any], argv: list[str]) -> None:
    """Where a file and the command line each name a screen, the file's goes, with what belongs to it."""
    given = _given(argv)
    named = {name for name in config.SCREENS if values[name] is not None}
    if len(named) > 1 and len(named & given) == 1:
        for name in (*config.SCREENS, "image_root", "channels", "columns"):
            values[name] = values[name] if name in given else None


def _leading_preset(argv: list[str]) -> str | None:
    """The preset's name, which comes first; None where only help is asked for."""
    if argv and argv[0] in PRESETS:
        return argv[0]
    if "-h" in argv or "--help" in argv:
        return None
    got = argv[0] if argv else "nothing"
    raise UsageError(f"the first argument must be a preset ({', '.join(PRESETS)}), got {got}"
                     + (_near(got, list(PRESETS)) if argv and not got.startswith("-") else ""))
