"""What slurm/job.sh does on a node, with an srun that runs its command here."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

SRUN = '#!/bin/sh\nwhile case $1 in --*) true ;; *) false ;; esac; do shift; done\nexec "$@"\n'


def run(tmp_path: Path, commands: str, **variables: str) -> subprocess.CompletedProcess:
    """Run commands after job.sh, as job 7 of one node."""
    programs = tmp_path / "programs"
    programs.mkdir(exist_ok=True)
    for name in ("srun", "my launcher", "launcher"):
        (programs / name).write_text(SRUN if name == "srun" else "#!/bin/sh\n")
        (programs / name).chmod(0o755)
    return subprocess.run(["bash", "-c", f"set -euo pipefail; source slurm/job.sh; {commands}"], cwd=ROOT, text=True,
                          capture_output=True, env={"PATH": f"{programs}:{os.environ['PATH']}", "SLURM_JOB_ID": "7",
                                                    "SLURM_JOB_NUM_NODES": "1", **variables})


@pytest.fixture
def data(tmp_path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "pack.json").write_text("{}")
    return folder


def test_data_are_staged_in_a_folder_of_this_user_alone(tmp_path, data):
    stale = tmp_path / "disk" / "mscnn-7-0123"  # of the same job, before it was queued again
    stale.mkdir(parents=True)
    done = run(tmp_path, 'stage_data; stat -c %a "${data[1]}"; ls "${data[1]}"; echo "${data[@]}"', DATA=str(data),
               STAGE=str(tmp_path / "disk"))
    assert done.returncode == 0, done.stderr
    *_, mode, files, setting = done.stdout.splitlines()
    assert (mode, files) == ("700", "pack.json")
    assert setting.startswith(f"--packed {tmp_path}/disk/mscnn-7-")
    assert not list((tmp_path / "disk").iterdir())  # the script has ended


def test_a_folder_that_another_made_beforehand_is_not_written_through(tmp_path, data):
    victim = tmp_path / "victim"
    victim.mkdir()
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "mscnn-7").symlink_to(victim)  # a name that can be guessed
    done = run(tmp_path, "stage_data", DATA=str(data), STAGE=str(tmp_path / "disk"))
    assert done.returncode == 0, done.stderr
    (tmp_path / "disk" / "seen").symlink_to(victim)     # the very name, seen while the job starts
    done = run(tmp_path, f'sh -c "$COPY" copying {data} {tmp_path}/disk/seen {tmp_path}/disk/mscnn-7-')
    assert done.returncode == 1
    assert "is no folder of this user; name another disk by STAGE" in done.stderr
    assert not list(victim.iterdir())


@pytest.mark.parametrize(("value", "words"), [
    ("launcher", ["launcher"]), ("launcher -ppn 4", ["launcher", "-ppn", "4"]), ("my launcher", ["my launcher"])])
def test_a_program_may_have_arguments(tmp_path, value, words):
    done = run(tmp_path, 'split "$MPIRUN"; printf "%s\\n" "${words[@]}"', MPIRUN=value)
    assert done.stdout.splitlines() == words
    done = run(tmp_path, 'printf "%s\\n" "${python[@]}"', PYTHON=value)
    assert done.stdout.splitlines() == words
