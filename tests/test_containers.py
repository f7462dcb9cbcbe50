"""The recipes of containers/: both install the same, from files that the checkout has, by steps that run here."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import mscnn
from tests.conftest import ROOT

FOLDER = ROOT / "containers"
PYTHON = r"""#!/bin/sh
echo "$*" >>"$CALLS"
case "$*" in
    *" -r "*) for word in "$@"; do [ ! -f "$word" ] || cat "$word"; done >"$CALLS.requirements" ;;
    *--index-url*) ;;
    *" wheel "*) exec "$REAL" "$@" --no-build-isolation --quiet ;;
    *) exec "$REAL" "$@" --no-index --quiet --target "$TARGET" ;;
esac
"""


def dockerfile() -> list[tuple[str, str]]:
    """Return (instruction, its text) from top to bottom."""
    text = re.sub(r"^#.*\n", "", (FOLDER / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


def definition() -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return the header and {section: its lines} of the Apptainer definition."""
    header, *sections = re.split(r"^%", (FOLDER / "mscnn.def").read_text(), flags=re.MULTILINE)
    fields = dict(line.split(": ", 1) for line in header.splitlines() if line.strip() and not line.startswith("#"))
    return fields, {section.splitlines()[0]: [line.strip() for line in section.splitlines()[1:] if line.strip()]
                    for section in sections}


def copied(sources: list[str], target: str) -> dict[str, str]:
    """Return {file or folder of the checkout: its path in the image}."""
    return {source: target + Path(source).name if target.endswith("/") else target for source in sources}


def copies() -> dict[str, str]:
    found = {}
    for instruction, text in dockerfile():
        if instruction == "COPY":
            *sources, target = shlex.split(text)
            found |= copied(sources, target)
    return found


def test_both_recipes_install_the_same():
    header, sections = definition()
    steps = dockerfile()
    assert header == {"Bootstrap": "docker", "From": dict(steps)["FROM"]}
    of_definition = {}
    for line in sections["files"]:
        source, target = line.split()
        of_definition |= copied([source], target)
    assert of_definition == copies()
    installing = [text for instruction, text in steps if instruction == "RUN" and not text.startswith("useradd")]
    given = 'TORCH_INDEX="{{ TORCH_INDEX }}" '  # Docker passes a build argument on by itself
    assert installing == [line.replace(given, "") for line in sections["post"]]
    assert sum(given in line for line in sections["post"]) == 1
    assert ("ARG", "TORCH_INDEX=") in steps
    assert sections["runscript"] == ['exec mscnn "$@"']
    assert dict(steps)["ENTRYPOINT"] == '["mscnn"]'


def test_a_build_reads_what_it_copies_and_nothing_else():
    first, *lines = [line for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines() if line[0] != "#"]
    assert first == "*"
    allowed = {path for line in lines if line.startswith("!") for path in ROOT.glob(line.removeprefix("!"))}
    assert {ROOT / source for source in copies()} <= allowed
    assert {path.name for path in allowed} <= {"mscnn", "pyproject.toml", "README.md", "LICENSE", "install.sh"} | {
        path.name for path in ROOT.glob("requirements*.txt")}


def test_a_container_runs_as_an_ordinary_user_with_a_home():
    """Everything after the last step of installing; the last USER counts."""
    steps = dockerfile()
    instructions = [instruction for instruction, _ in steps]
    assert "USER" in instructions[len(instructions) - instructions[::-1].index("RUN"):]
    user = dict(steps)["USER"]
    assert user not in ("root", "0")
    assert ("RUN", f"useradd --uid 1000 --no-create-home {user}") in steps
    assert dict(steps)["ENV"] == "HOME=/tmp"


def test_the_python_of_the_image_is_one_that_the_package_supports():
    major, minor = map(int, re.match(r"python:(\d+)\.(\d+)-", dict(dockerfile())["FROM"]).groups())
    at_least = re.search(r'requires-python = ">=(\d+)\.(\d+)"', (ROOT / "pyproject.toml").read_text()).groups()
    assert (major, minor) >= tuple(map(int, at_least))


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder where install.sh has run on what the image holds; the packages of others are noted, and not fetched."""
    folder = tmp_path_factory.mktemp("image")
    for source, target in copies().items():
        place = folder / target.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, place)
    (folder / "bin").mkdir()
    (folder / "bin" / "python").write_text(PYTHON)
    (folder / "bin" / "python").chmod(0o755)
    (last,) = [text for instruction, text in dockerfile() if instruction == "RUN" and "install.sh" in text]
    subprocess.run(["sh", "-euc", last.replace("/opt", str(folder / "opt"))], check=True, timeout=120, env={
        **os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "CALLS": str(folder / "calls"),
        "TORCH_INDEX": "ADDRESS", "TARGET": str(folder / "target"), "REAL": sys.executable, "TMPDIR": str(folder)})
    return folder


def test_the_program_that_is_installed_runs(installed, tmp_path):
    path = os.pathsep.join([str(installed / "target"), sysconfig.get_path("purelib")])
    done = subprocess.run([sys.executable, "-P", "-m", "mscnn", "--version"], cwd=tmp_path, text=True, capture_output=True,
                          env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    assert mscnn.__version__ in done.stdout
    where = subprocess.run([sys.executable, "-P", "-c", "import mscnn; print(mscnn.__file__)"], cwd=tmp_path, text=True,
                           capture_output=True, env={**os.environ, "PYTHONPATH": path}, check=True).stdout.strip()
    assert where == str(installed / "target" / "mscnn" / "__init__.py")
    assert (installed / "target" / "bin" / "mscnn").is_file()


def test_the_versions_are_those_that_the_tests_run_with_and_torch_is_the_one_for_cpus(installed):
    calls = (installed / "calls").read_text().splitlines()
    torch, = re.findall(r"^torch==\S+", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert calls[0] == f"-m pip install --index-url ADDRESS {torch}"
    assert [call.split()[2] for call in calls] == ["install", "install", "wheel", "install"]

    def pins(text: str) -> set[str]:
        return set(re.findall(r"^[\w.-]+==\S+", text, re.MULTILINE))

    pinned = set().union(*(pins((ROOT / name).read_text()) for name in (
        "requirements.txt", "requirements-profiling.txt", "requirements-plates.txt")))
    noted = pins((installed / "calls.requirements").read_text())
    assert {line.partition("==")[0] for line in pinned - noted} == {"torch", "torchvision"}
    assert noted <= pinned
    assert not list(installed.glob("tmp.*"))  # nothing is left behind
