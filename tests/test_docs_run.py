"""Run the commands and the Python of README and docs as they are written, page by page, each in an empty folder.

Only what takes long is made shorter: trainings take two steps, galleries show one field, wells have one site, and plates
are drawn once.  --full runs the lines as they are.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.doc_pages import ROOT, lines, pages

RUN = [page for page in pages() if any(block.language in ("sh", "python") and not block.needs for block in page.blocks())]
TRAINING = re.compile(r"^(?:\w+=\S+ )*(?:torchrun .*)?(?:-m )?(?:mscnn (?:train|loco)|\S*train\.py) (?!.*--print-config)")
EVALUATION = re.compile(r"^mscnn evaluate (?!.*--examples)")
MSCNN = """#!/bin/sh
if [ "$1" = synth ]; then  # the same words draw the same plates, so they are drawn once
    drawn=$DRAWN/$(echo "$*" | cksum | tr " " -)
    [ -d "$drawn" ] || (mkdir -p "$drawn" && cd "$drawn" && python -m mscnn "$@") || exit
    cp -r "$drawn/." .
else
    exec python -m mscnn "$@"
fi
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Environment of a reader who has installed mscnn: `mscnn` and `python` on PATH, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("bin")
    for name, script in (("mscnn", MSCNN), ("python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')):
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    path = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "DRAWN": str(tmp_path_factory.mktemp("drawn"))}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """Folders after the first sh blocks of a page, by their text: pages that begin alike run these blocks once."""
    return tmp_path_factory.mktemp("begun"), {}


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_commands_run_as_they_are_written(page, programs, begun, tmp_path, is_full):
    folder, done = tmp_path / "page", ()
    folder.mkdir()
    unmarked = [block for block in page.blocks() if not block.needs]
    for block in unmarked:
        if block.language == "sh":
            done = run_shell(block.text, folder, done, programs, begun, is_full)
    if code := "\n".join(block.text for block in unmarked if block.language == "python"):
        run(["python", "-c", code], folder, programs)


def run_shell(text: str, folder: Path, done: tuple[str, ...], programs: dict, begun: tuple,
              is_full: bool) -> tuple[str, ...]:
    """Run a block in a folder where the blocks `done` have run, or copy what another page has left. Returns all done."""
    (copies, kept), done = begun, (*done, text)
    if done in kept:
        shutil.rmtree(folder)
        shutil.copytree(kept[done], folder, symlinks=True)
        return done
    script = "\n".join(line if is_full else short(line) for line in lines(text))
    run(["bash", "-euo", "pipefail", "-c", script], folder, programs)
    kept[done] = copies / str(len(kept))
    shutil.copytree(folder, kept[done], symlinks=True)
    return done


def run(words: list[str], folder: Path, programs: dict) -> None:
    result = subprocess.run(words, cwd=folder, env=programs, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, f"{words[-1]}\n{result.stdout[-2000:]}\n{result.stderr[-3000:]}"


def short(line: str) -> str:
    """Return a line of a shell, trainings cut to two steps, galleries to one field, drawn wells to one site."""
    line = re.sub(r"^(mscnn synth .*--sites) \d+", r"\1 1", line)
    less = "--max-steps 2" if TRAINING.match(line) else "--examples 1" if EVALUATION.match(line) else ""
    return re.sub(r"\s*(#.*)?$", rf" {less}  \1", line, count=1) if less else line
