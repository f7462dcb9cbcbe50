"""The dispatcher: every file of mscnn/cli is a command, and --help comes at once."""

import importlib
import os
import signal
import subprocess
import sys

import pytest

from mscnn import cli
from mscnn.core.errors import UsageError
from tests.conftest import ROOT, run_python

PACKAGES = ("mscnn.cli", "mscnn.cli.bench")
MODULES = [module for package in PACKAGES for module in cli.find_commands(package).values()]


def test_every_file_but_the_reader_is_a_command():
    for package in PACKAGES:
        folder = ROOT / package.replace(".", "/")
        files = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
        expected = sorted(name.replace("_", "-") for name in files - {"__init__", *cli.PARTS})
        assert sorted(cli.find_commands(package)) == expected
    assert {"check", "pack", "verify", "features", "synth", "loco", "baselines", "gather", "report", "export", "score",
            "ranks", "bench"} <= {*cli.find_commands("mscnn.cli")}


@pytest.mark.parametrize("module", MODULES)
def test_a_command_has_a_main_and_a_summary(module):
    assert callable(importlib.import_module(module).main)
    summary = cli.summary(module)
    assert summary.endswith(".")
    assert 20 < len(summary) < 110


def test_a_new_file_is_a_new_command(tmp_path, monkeypatch, capsys):
    package = tmp_path / "own_commands"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "say_it.py").write_text('"""Say it.\n\nLoudly.\n"""\n\n\ndef main(argv):\n    print("said", *argv)\n')
    (package / "heavy.py").write_text('"""Weigh a ton."""\n\nraise SystemExit("imported")\n')
    monkeypatch.syspath_prepend(tmp_path)
    cli.run_command("program", "own_commands", ["say-it", "a", "--b"])
    assert capsys.readouterr().out == "said a --b\n"
    cli.run_command("program", "own_commands", ["--help"])
    assert [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[-2:]] == [
        ["heavy", "Weigh a ton."], ["say-it", "Say it."]]
    assert "own_commands.heavy" not in sys.modules


@pytest.mark.parametrize(("argv", "message"), [
    (["pakc", "--out", "x"], "there is no command pakc; did you mean pack? (commands: baselines, bench, check, "),
    ([], "name a command; see --help (commands: "), (["--out", "x"], "there is no command --out; see --help"),
    (["parse"], "there is no command parse")])
def test_an_unknown_command_is_refused_with_the_nearest(argv, message):
    with pytest.raises(UsageError) as refusal:
        cli.run_command("mscnn", "mscnn.cli", argv)
    assert str(refusal.value).startswith(message)


def test_a_refusal_is_one_line_with_exit_code_2():
    done = run_python("-m", "mscnn", "pakc")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert done.stderr.startswith("mscnn pakc: error: there is no command pakc; did you mean pack?")


@pytest.mark.parametrize("module", MODULES)
def test_help_comes_without_torch(module):
    """That a module imports no torch at its start is tested by the structure; here --help exits before main goes on."""
    program = (f"import sys; import {module} as command\n"
               "try: command.main(['--help'])\n"
               "finally: print('torch' in sys.modules)")
    done = run_python("-c", program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False"
    assert done.stdout.startswith("usage: ")


@pytest.mark.ranks
def test_the_earlier_name_of_ranks_works():
    for entry in (("-m", "mscnn.world"), ("-m", "mscnn", "ranks")):
        done = run_python(*entry, "--oversubscribe", "true", ranks=2)
        assert done.returncode == 0, done.stderr
        assert [line.partition(" on ")[0] for line in done.stdout.splitlines()][1:] == ["rank 0", "rank 1"]


@pytest.mark.parametrize("words", ["--help", "train --help", "completion bash"])
def test_a_reader_that_has_had_enough_is_no_error(words):
    """`true` has ended before Python has started, so that nobody reads the pipe."""
    command = f"{sys.executable} -m mscnn {words} | true; exit ${{PIPESTATUS[0]}}"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")
