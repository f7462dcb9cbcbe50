"""What slurm/job.sh does on a node, with an srun that runs its command here."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.slurm.conftest import copy_scripts

SRUN = '#!/bin/sh\nwhile case $1 in --*) true ;; *) false ;; esac; do shift; done\nexec "$@"\n'


def run(tmp_path: Path, commands: str, checkout: Path = ROOT, **variables: str) -> subprocess.CompletedProcess:
    """Run commands after job.sh, as job 7 of one node."""
    programs = tmp_path / "programs"
    programs.mkdir(exist_ok=True)
    for name in ("srun", "my launcher", "launcher"):
        (programs / name).write_text(SRUN if name == "srun" else "#!/bin/sh\n")
        (programs / name).chmod(0o755)
    return subprocess.run(["bash", "-c", f"set -euo pipefail; source slurm/job.sh; {commands}"], cwd=checkout, text=True,
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


# A site's own file

@pytest.fixture
def checkout(tmp_path) -> Path:
    """A folder with the scripts, and a stand-in for sbatch that prints its arguments."""
    copy_scripts(tmp_path / "checkout")
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "sbatch").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "programs" / "sbatch").chmod(0o755)
    return tmp_path / "checkout"


def words(done: subprocess.CompletedProcess) -> list[str]:
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(("site", "variables", "expected"), [
    (None, {}, [".venv/bin/python"]),
    (None, {"RUN_IN": "launcher exec x.sif"}, ["launcher", "exec", "x.sif", "python"]),
    (': "${PYTHON:=launcher -u}"', {}, ["launcher", "-u"]),
    (': "${PYTHON:=launcher -u}"', {"PYTHON": "python9"}, ["python9"]),  # of the environment
    (': "${RUN_IN:=my launcher}"', {"PYTHON": "python9"}, ["my launcher", "python9"]),
    ('unset RUN_IN; echo "$NOT_SET" >/dev/null', {}, [".venv/bin/python"])])  # as files of modules and conda do
def test_the_interpreter_is_that_of_the_site_in_its_container(tmp_path, checkout, site, variables, expected):
    if site:
        (checkout / "slurm" / "site.sh").write_text(site + "\n")
    done = run(tmp_path, 'printf "%s\n" "${python[@]}"', checkout, **variables)
    assert words(done) == expected


def test_a_module_that_is_missing_ends_the_job(tmp_path, checkout):
    (checkout / "slurm" / "site.sh").write_text("module() { echo no module $2 >&2; return 1; }\nmodule load openmpi\n")
    done = run(tmp_path, "echo went on", checkout)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no module openmpi" in done.stderr


def submit(tmp_path, checkout, *arguments) -> list[str]:
    return words(subprocess.run(["bash", "slurm/submit.sh", *arguments], cwd=checkout, text=True, capture_output=True,
                                env={"PATH": f"{tmp_path / 'programs'}:{os.environ['PATH']}"}))


def test_jobs_are_submitted_with_the_options_of_the_site(tmp_path, checkout):
    assert submit(tmp_path, checkout, "slurm/train.sbatch", "demo") == ["slurm/train.sbatch", "demo"]
    (checkout / "slurm" / "site.sh").write_text("SBATCH_FLAGS=(--account=a --partition='b c')\n")
    assert submit(tmp_path, checkout, "--partition=d", "x.sbatch") == [
        "--account=a", "--partition=b c", "--partition=d", "x.sbatch"]


def test_the_example_is_refused_until_it_is_filled_in_and_each_of_its_lines_is_shell(tmp_path, checkout):
    example = (checkout / "slurm" / "site.sh.example").read_text()
    (checkout / "slurm" / "site.sh").write_text(example)
    with pytest.raises(AssertionError, match=r"slurm/site\.sh still says --account=NAME; fill it in"):
        submit(tmp_path, checkout, "x")
    (checkout / "slurm" / "site.sh").write_text(example.replace("=NAME", "=lab"))
    assert submit(tmp_path, checkout, "x") == ["--account=lab", "--partition=lab", "x"]
    assert words(run(tmp_path, 'printf "%s\n" "${python[@]}"', checkout)) == [".venv/bin/python"]
    lines = [line for line in example.splitlines() if re.match(r"# (: \"|export |module |source |SBATCH)", line)]
    assert len(lines) == 11
    for line in lines:
        assert subprocess.run(["bash", "-n", "-c", line.removeprefix("# ")]).returncode == 0, line
    (checkout / "slurm" / "site.sh").write_text("\n".join(line.removeprefix("# ") for line in lines if ': "' in line))
    shown = words(run(tmp_path, 'printf "%s\n" "${python[@]}"; echo "$MPIRUN"', checkout, USER="me"))
    assert shown == ["apptainer", "exec", "--bind", "/scratch", "mscnn.sif", "python", "srun --mpi=pmix"]


def test_every_script_prints_into_a_folder_that_git_has():
    """Slurm opens the file before the script runs, and a job whose folder is not there fails without a word."""
    scripts = sorted((ROOT / "slurm").glob("*.sbatch"))
    assert len(scripts) == 5
    names = {}
    for script in scripts:
        (output,) = re.findall(r"^#SBATCH .*--output=(\S+)", script.read_text(), re.MULTILINE)
        assert Path(output).parent == Path("slurm/log")
        (names[script.stem],) = re.findall(r"--job-name=(\S+)", script.read_text())
        assert ("%A_%a" if script.stem == "loco" else "%j") in output  # a file for each task
    assert len({*names.values()}) == 5
    assert (ROOT / "slurm" / "log" / ".gitignore").is_file()


@pytest.mark.parametrize(("launcher", "flags"), [
    ("srun --mpi=pmix", ["--mpi=pmix", "--kill-on-bad-exit=1", "--cpus-per-task=14", "--cpu-bind=cores"]),
    ("mpirun", ["--map-by", "ppr:8:node:PE=14", "--bind-to", "core"])])
def test_the_launcher_of_mpi_places_the_ranks(tmp_path, checkout, launcher, flags):
    for name in ("srun", "mpirun"):
        program = tmp_path / "programs" / name
        program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        program.chmod(0o755)
    job = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "64", "SLURM_NTASKS_PER_NODE": "8", "SLURM_CPUS_PER_TASK": "14"}
    done = subprocess.run(["bash", "slurm/train_mpi.sbatch", "demo"], cwd=checkout, text=True, capture_output=True, env={
        "PATH": f"{tmp_path / 'programs'}:{os.environ['PATH']}", "MPIRUN": launcher, "RUN_IN": "exec.sh x", **job})
    assert words(done) == [*flags, "-n", "64", "exec.sh", "x", "python", "train.py", "demo", "--backend", "mpi",
                           "--run-dir", "runs/demo-7", "--resume", "auto"]
