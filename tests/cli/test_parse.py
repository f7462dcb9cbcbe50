import dataclasses
import importlib
import importlib.metadata
import os
import re
import subprocess
import sys
from contextlib import nullcontext

import pytest
import yaml

from mscnn import cli
from mscnn.cli import evaluate, pack, parse, table, train
from mscnn.cli.export import ExportSettings
from mscnn.cli.gather import GatherSettings
from mscnn.cli.synth import SynthSettings
from mscnn.core import config, paths
from mscnn.core.errors import UsageError
from mscnn.core.settings import option


def flat(*arguments: str) -> dict:
    return train.read(list(arguments))[0].flat()


def synth(arguments: list[str]) -> SynthSettings:
    return parse.Command("synth", "", SynthSettings).read(arguments)


@pytest.fixture
def renamed(monkeypatch) -> list[str]:
    """Collect the lines that the log shows of renamed settings."""
    lines = []
    monkeypatch.setattr(parse.log, "warning", lambda line, *values: lines.append(line % values))
    parse._log_renamed.cache_clear()
    return lines


@pytest.mark.parametrize("arguments", [["--views", "all"], ["--views=all"]])
def test_an_old_name_and_value_mean_the_new_ones_and_the_log_says_so_once(renamed, arguments):
    for _ in range(2):
        assert flat("demo", *arguments, "--seed", "3")["tta"] == "flips-turns"
    assert renamed == ["--views is called --tta now; the old name works in this release only"]
    assert flat("demo", "--tta", "flips-turns", "--seed", "3") == flat("demo", *arguments, "--seed", "3")


def test_old_names_in_a_file_mean_the_new_ones_too(renamed, tmp_path):
    (tmp_path / "a.yaml").write_text("views: all\nmonitor_every: 2\nseed: 3\n")
    settings = flat("demo", "--config", str(tmp_path / "a.yaml"), "--views", "one")
    assert (settings["tta"], settings["eval_every"], settings["seed"]) == ("none", 2, 3)
    path = tmp_path / "a.yaml"
    assert renamed == [f"{old} is called {new} now; the old name works in this release only" for old, new in (
        (f"{path}: views", "tta"), (f"{path}: monitor_every", "eval_every"), ("--views", "--tta"))]


def test_one_rank_of_several_names_the_new_setting(renamed, monkeypatch):
    monkeypatch.setattr(parse.launchers, "is_rank_zero", lambda: False)
    assert flat("demo", "--views", "all")["tta"] == "flips-turns"
    assert not renamed


def test_a_command_that_has_no_such_setting_does_not_know_its_old_name_either():
    with pytest.raises(UsageError, match="there is no option --views"):
        synth(["--out", "x", "--views", "all"])


def test_later_sources_win_preset_then_file_then_command_line(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text("epochs: 7\nminibatch: 9\n")
    settings = flat("demo", "--config", str(file), "--minibatch", "11")
    assert (settings["epochs"], settings["minibatch"], settings["bbbc021"]) == (7, 11, "demo/plates")


def test_dashes_and_underscores_are_the_same_but_values_keep_theirs():
    for spelling in (["--hold-out", "a_b"], ["--hold_out", "a_b"], ["--hold_out=a_b"], ["--hold-out=a_b"]):
        assert flat("demo", *spelling)["hold_out"] == "a_b"


def test_the_resolved_settings_read_back_as_they_are(tmp_path):
    settings, resolved = train.read(["fields256", "--seed", "3", "--lr", "0.1;2;0.01"])
    file = tmp_path / "config.yaml"
    file.write_text(resolved)
    assert train.read(["fields256", "--config", str(file)])[0] == settings
    assert yaml.safe_load(resolved) == settings.flat()
    assert config.from_flat(settings.flat()) == settings


@pytest.mark.parametrize(("arguments", "message"), [
    (["--help-me"], "the first argument must be a preset"),
    ([], "got nothing"),
    (["fields265"], "did you mean fields256"),
    (["demo", "--minibach", "3"], "no option --minibach; did you mean --minibatch"),
    (["demo", "--minibatch", "many"], "minibatch must be a whole number, got 'many'"),
    (["demo", "--momentum", "much"], "momentum must be a number, got 'much'"),
    (["demo", "--bind", "maybe"], "bind must be true or false, got 'maybe'"),
    (["demo", "--split-method", "k-folds"], "k-folds"),
    (["demo", "--lr", "0.1;2"], "learning rate '0.1;2'"),
    (["demo", "--microbatch", "0"], "microbatch must be at least 1, got 0"),
    (["demo", "--image-size", "1024"], "image-size must be HEIGHTxWIDTH like 1024x1280, got '1024'"),
    (["screen", "--sites", "a.csv", "--packed", "b"], "exactly one of --bbbc021 DIR, --sites CSV and --packed DIR, got "
                                                      "--sites a.csv and --packed b"),
    (["screen"], "exactly one of --bbbc021 DIR, --sites CSV and --packed DIR, got none"),
    (["screen", "--packed", "b", "--channels", "DNA"], "--channels DNA was settled when the fields were packed"),
    (["demo", "--plate-scaling", "percentile"],
     "--plate-scaling percentile goes with --normalise plate, got --normalise dataset"),
    (["demo", "--split-method", "random"], "goes with --split-method hold-out, got --split-method random"),
    (["demo", "--momentum", "1"], "momentum must be between 0 and 1"),
    (["demo", "--ema-decay", "1"], "ema-decay must be in [0, 1), got 1.0"),
    (["demo", "--transductive", "true"], "replicate-weight, view-weight or statistics-weight must be more than 0, got 0.0"),
    (["demo", "--mechanism-weight", "0"], "and statistics-weight must be more than 0, got 0.0"),
    (["demo", "--temperature", "0"], "temperature must be more than 0, got 0"),
    (["demo", "--config", "absent.yaml"], "absent.yaml"),
])
def test_refusals_name_value_and_remedy(arguments, message):
    with pytest.raises(UsageError) as refusal:
        train.read(arguments)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_unknown_settings_in_a_file_are_refused_with_the_near_one(tmp_path):
    (tmp_path / "a.yaml").write_text("weigth_decay: 0.1\n")
    with pytest.raises(UsageError, match=r"unknown setting weigth_decay; did you mean weight_decay\?"):
        train.read(["demo", "--config", str(tmp_path / "a.yaml")])


@pytest.mark.parametrize(("line", "message"), [
    ("epochs: null", "epochs cannot be empty"), ("hold_out: No", "in quotes"), ("lr: 0.01", "in quotes"),
    ("optim: {lr: '1'}", "optim.lr; did you mean lr?"), ("preset: screen", "of preset screen, the command line says demo"),
    ("run_dir: ''", "--run-dir is empty"), ("run_dir: $RUN", "--run-dir $RUN: there is no such path"),
    ("image_root: ' '", "--image-root is empty"), ("hold_out: ''", "--hold-out is empty")])
def test_files_that_do_not_fit_are_refused(tmp_path, line, message):
    (tmp_path / "a.yaml").write_text(line)
    with pytest.raises(UsageError) as refusal:
        train.read(["demo", "--config", str(tmp_path / "a.yaml")])
    assert message in str(refusal.value)


def test_help_all_names_every_setting_and_imports_no_torch():
    done = subprocess.run([sys.executable, "-X", "importtime", "train.py", "demo", "--help-all"], capture_output=True,
                          text=True, check=True)
    for group in config.GROUPS.values():
        for field in dataclasses.fields(group):
            assert f"--{field.name.replace('_', '-')}" in done.stdout
    assert "torch" not in {line.split("|")[-1].strip() for line in done.stderr.splitlines()}


def test_help_fits_a_page_and_leaves_out_what_is_rare():
    done = subprocess.run([sys.executable, "-m", "mscnn", "train", "--help"], capture_output=True, text=True, check=True,
                          env={**os.environ, "COLUMNS": "120"})
    shown, lines = done.stdout, done.stdout.splitlines()
    assert len(lines) <= 66
    for noise in ("Literal", "type:", "None", "skip_default"):
        assert noise not in shown
    options = set(re.findall(r"^  (--[a-z0-9-]+)", shown, re.MULTILINE))
    records = [field for _, fields in train.COMMAND.groups() for field in fields]
    assert options - {"--help-all", "--config", "--print-config"} == {
        f"--{option(field.name)}" for field in records if field.metadata["common"]}
    assert {"--minibatch", "--hold-out", "--run-dir", "--sites"} <= options
    assert not options & {"--clip-norm", "--step-timeout", "--plate-transform"}
    assert "--normalise {dataset,plate,field}" in shown
    assert "(default: 256)" in shown


def test_a_command_shows_its_own_settings_first_then_those_it_shares():
    groups = evaluate.COMMAND.groups()
    assert [title for title, _ in groups] == ["Settings of `mscnn evaluate`",
                                              "The processes of a job: their rendezvous, and the cores of each"]
    names = [field.name for _, fields in groups for field in fields]
    assert names[0] == "checkpoint"
    assert sorted(names) == sorted(field.name for field in dataclasses.fields(evaluate.EvaluationSettings))
    packed = dict(pack.COMMAND.groups())["Settings of `mscnn pack`"]
    assert {field.name: field.default for field in packed}["taxol_controls"] == "keep"  # its own, not that of all tables


def test_commands_read_their_own_options():
    evaluation = evaluate.COMMAND.read(["--checkpoint", "run", "--out=x", "--image_root", "a_b"])
    assert (evaluation.checkpoint, evaluation.out, evaluation.image_root, evaluation.sites) == ("run", "x", "a_b", None)
    assert synth(["--out", "x", "--size", "128x256"]).size == "128x256"
    assert synth(["--out", "x"]).height_width() == (128, 128)
    assert synth(["--out", "x", "--kind", "inclusions"]).height_width() == (256, 256)
    both = ["--checkpoint", "run", "--out", "x"]
    for command, arguments, message in (
            (evaluate.COMMAND.read, ["--checkpoint", "a.pt"], "say with --out"), (synth, [], "out"),
            (evaluate.COMMAND.read, [*both, "--microbatch", "0"], "microbatch must be at least 1"),
            (evaluate.COMMAND.read, [*both, "--threads", "-1"], "threads must be 0 or more"),
            (evaluate.COMMAND.read, [*both, "--channels", "DNA"], "--channels DNA describes the table of --sites"),
            (evaluate.COMMAND.read, [*both, "--sites", "a", "--data", "b"], "give one of them"),
            (synth, ["--out", "x", "--plates", "0"], "plates must be at least 1"),
            (synth, ["--out", "x", "--seed", "-1"], "seed must be 0 or more"),
            (synth, ["--out", "x", "--size", "1x1"], "at least 32x32"),
            (synth, ["--out", "x", "--size", "big"], "HEIGHTxWIDTH")):
        with pytest.raises(UsageError) as refusal:
            command(arguments)
        assert message in str(refusal.value)


def test_positional_arguments_are_fields_of_the_record():
    one = parse.Command("export", "", ExportSettings).read(["run", "--out", "x"])
    assert (one.checkpoint, one.out, one.onnx) == ("run", "x", False)
    several = parse.Command("gather", "", GatherSettings).read(["a_b", "--out", "x"]), \
        parse.Command("gather", "", GatherSettings).read(["--out", "x", "a", "b"])
    assert [settings.evaluations for settings in several] == [["a_b"], ["a", "b"]]
    for record, arguments, message in (
            (ExportSettings, ["a", "b", "--out", "x"], "checkpoint takes one value, got 2: a b"),
            (ExportSettings, ["--out", "x"], "CHECKPOINT"), (GatherSettings, ["--out", "x"], "EVALUATIONS")):
        with pytest.raises(UsageError) as refusal:
            parse.Command("", "", record).read(arguments)
        assert message in str(refusal.value)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("found", "fits"), [("2.13.0+cpu", True), ("2.8.0", True), ("2.7.1", False), ("1.13.1", False),
                                             (None, False), ("3.0.0", True)])
def test_an_old_torch_or_none_is_refused_before_it_is_imported(monkeypatch, found, fits):
    def version(package):
        assert package == "torch"
        if found is None:
            raise importlib.metadata.PackageNotFoundError
        return found

    monkeypatch.setattr(importlib.metadata, "version", version)
    message = rf"torch 2\.8 or newer is needed, found {found or 'none'}; install"
    with nullcontext() if fits else pytest.raises(UsageError, match=message):
        flat("demo")


def test_a_screen_on_the_command_line_replaces_that_of_a_file(tmp_path):
    settings, resolved = train.read(["screen", "--sites", "a.csv", "--image-root", "b", "--channels", "DNA",
                                     "--concentration-unit", "nM", "--available", "true"])
    (tmp_path / "config.yaml").write_text(resolved)
    again = train.read(["screen", "--config", str(tmp_path / "config.yaml"), "--packed", "pack"])[0].data
    assert (again.packed, again.sites, again.image_root, again.channels) == ("pack", None, None, None)
    assert (again.concentration_unit, again.available) == (None, False)
    same = train.read(["screen", "--config", str(tmp_path / "config.yaml"), "--sites", "c.csv"])[0].data
    assert (same.sites, same.image_root, same.channels) == ("c.csv", "b", "DNA")
    assert settings.data.sites == "a.csv"


def records() -> list[tuple[str, dataclasses.Field]]:
    """All settings of all commands, with the command."""
    found = []
    for package in ("mscnn.cli", "mscnn.cli.bench"):
        for name, path in cli.find_commands(package).items():
            if not hasattr(module := importlib.import_module(path), "__path__"):
                found += [(name, field) for _, fields in module.COMMAND.groups() for field in fields]
    return found


def test_no_command_takes_text_that_is_empty_or_a_path_that_no_shell_has_expanded():
    paths_seen = set()
    for command, field in records():
        is_list, kind = field.type == list[str], field.metadata["metavar"]
        if field.type not in (str, str | None, list[str]):
            continue
        for value in ("", "  "):
            with pytest.raises(UsageError, match=f"{option(field.name)}|{field.name} is empty"):
                parse._check_texts([field], {field.name: [value] if is_list else value})
        if kind in (*paths.KINDS, paths.LIST):
            paths_seen.add((command, field.name))
            with pytest.raises(UsageError, match="no shell has expanded"):
                parse._check_texts([field], {field.name: ["$DIR/x"] if is_list else "$DIR/x"})
        if field.name in ("out", "json", "run_dir"):
            assert field.metadata["written"], (command, field.name)
    assert {("train", "run_dir"), ("loco", "run_dir"), ("evaluate", "checkpoint"), ("report", "runs"), ("curves", "runs"),
            ("baselines", "features"), ("pack", "image_root"), ("score", "profiles"), ("verify", "packed")} <= paths_seen


def test_the_path_of_a_configuration_file_is_held_to_the_same(tmp_path):
    for path in ("", str(tmp_path), "$CONFIG"):
        with pytest.raises(UsageError, match="--config"):
            train.read(["demo", "--config", path])


@pytest.mark.parametrize(("arguments", "expected"), [
    (["DIR", "--out", "a.csv", "--allow-missing"], True), (["--allow-missing", "DIR", "--out", "a.csv"], True),
    (["--allow-missing", "--out", "a.csv", "DIR"], True), (["DIR", "--out", "a.csv", "--allow-missing", "false"], False),
    (["DIR", "--out", "a.csv", "--allow-missing=false"], False), (["DIR", "--out", "a.csv"], False)])
def test_a_switch_may_stand_alone(tmp_path, monkeypatch, arguments, expected):
    monkeypatch.chdir(tmp_path)
    settings = table.COMMAND.read(arguments)
    assert (settings.folder, settings.allow_missing) == ("DIR", expected)


def test_what_must_be_given_is_named_as_the_user_types_it():
    with pytest.raises(UsageError, match=r"^FOLDER, --out CSV must be given; see --help$"):
        table.COMMAND.read([])
    with pytest.raises(UsageError, match=r"^--out CSV must be given; see --help$"):
        table.COMMAND.read(["x"])
