"""The house: the folder is the stratum, and each capability has one door."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# A folder imports from folders with a smaller number and from itself.
STRATA = {"core": 0, "model": 1, "synthetic": 1, "data": 2, "distributed": 2, "readout": 2, "training": 3, "profiling": 3,
          "evaluation": 4, "library": 5, "report": 6, "bench": 7, "cli": 8}
DOORS = {
    "torch.distributed": "distributed", "torch.nn.parallel": "distributed", "mpi4py": "distributed",
    "matplotlib": "report", "bokeh": "report", "captum": "evaluation/attribution.py",
    "jsonargparse": ("cli", "core/settings.py"),
    "safetensors": ("training/checkpoint.py", "evaluation/export.py"), "torchvision": (),
    "intel_extension_for_pytorch": "model/acceleration.py",
    "tifffile": ("data/pixels/image_files.py", "data/vendors/ome_companion.py", "synthetic/plates.py"),
    "zarr": "data/pixels/zarr_plane.py",
}
NAMES = {"torch.save": (), "torch.load": (),  # pickles
         "torch.set_num_threads": "distributed/core_binding.py",
         "torch.compile": (), "torch.autocast": ("model/acceleration.py", "model/mcnn.py"),
         "torch.channels_last": "model/acceleration.py",
         "os.environ": ("distributed/launchers.py", "distributed/world.py"),
         "os.sched_getaffinity": "distributed/cpu_topology.py", "os.sched_setaffinity": "distributed/cpu_topology.py",
         "sys.argv": ("cli", "train.py", "evaluate.py", "__main__.py", "bench/__main__.py", "world.py", "core/errors.py",
                      "core/run_directory.py")}
WITHOUT_TORCH = ("core", "data/tables", "cli", "distributed/launchers.py", "distributed/cpu_topology.py",
                 "distributed/core_plan.py", "distributed/diagnosis.py", "distributed/heartbeat.py",
                 "training/stop_signal.py")
ENTRIES = ("train.py", "evaluate.py", "__main__.py", "bench/__main__.py", "world.py")
FILES = sorted([*(ROOT / "mscnn").rglob("*.py"), ROOT / "train.py", ROOT / "evaluate.py"])


def place(path: Path) -> str:
    """Path inside mscnn, or the entry point's name."""
    return str(path.relative_to(ROOT)).removeprefix("mscnn/")


def imports(path: Path, *, at_start: bool = False) -> set[str]:
    """Dotted names of everything a file imports, wherever in it, or only outside of functions."""
    tree = ast.parse(path.read_text())
    names = set()
    for node in tree.body if at_start else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


def is_behind(here: str, doors: str | tuple[str, ...]) -> bool:
    """Whether a file is one of these, or in one of these folders."""
    return any(here == door or here.startswith(f"{door}/") for door in ([doors] if isinstance(doors, str) else doors))


@pytest.mark.parametrize("path", FILES, ids=place)
def test_a_folder_imports_only_from_lower_ones(path):
    here = place(path)
    if here in ENTRIES or here == "__init__.py":
        return
    own = here.split("/")[0]
    used = {name.split(".")[1] for name in imports(path) if name.startswith("mscnn.")}
    upward = {folder for folder in used - {own} if STRATA[folder] >= STRATA[own]}
    assert not upward, f"{here} imports from {upward}"


def test_entry_points_are_never_imported():
    for path in [*FILES, *(ROOT / "tests").rglob("*.py")]:
        assert not {"train", "evaluate", "mscnn.__main__", "mscnn.bench.__main__", "mscnn.world"} & imports(path), path


@pytest.mark.parametrize("path", FILES, ids=place)
def test_each_capability_has_one_door(path):
    here = place(path)
    for package, doors in DOORS.items():
        if any(name == package or name.startswith(package + ".") for name in imports(path)):
            assert is_behind(here, doors), f"{here} imports {package}; its door is {doors}"
    used = {ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    for name, doors in NAMES.items():
        assert name not in used or is_behind(here, doors), f"{here} uses {name}; its door is {doors}"


@pytest.mark.parametrize("path", [path for path in FILES if is_behind(place(path), WITHOUT_TORCH)], ids=place)
def test_settings_tables_and_commands_load_without_torch(path):
    """So --help and refusals come at once, and `check` stays small."""
    seen, waiting = set(), [path]
    while waiting:
        one = waiting.pop()
        seen.add(one)
        names = imports(one, at_start=True)
        assert not [name for name in names if name.split(".")[0] == "torch"], place(one)
        modules = {name.rsplit(".", cut)[0] for name in names if name.startswith("mscnn.") for cut in (0, 1)}
        waiting += [found for name in modules if (found := ROOT / f"{name.replace('.', '/')}.py").exists()
                    and found not in seen]


@pytest.mark.parametrize("path", FILES, ids=place)
def test_no_module_runs_anything_when_imported(path):
    calls = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Expr)
             and not isinstance(node.value, ast.Constant)]
    assert not calls


@pytest.mark.parametrize("path", FILES, ids=place)
def test_every_public_name_has_a_docstring(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), f"{place(path)} has no opening sentence"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{place(path)}: {node.name} has no docstring"


def test_tests_mirror_the_folders():
    """A test file stands where the file or folder that it tests stands; whole jobs have folders of their own."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        folder = path.parent.relative_to(ROOT / "tests")
        if str(folder) in (".", "ranks", "mpi", "slurm", "faults", "fuzz"):
            continue
        tested = ROOT / "mscnn" / folder / path.name.removeprefix("test_")
        assert tested.exists(), f"{path.relative_to(ROOT)}: there is no {tested.relative_to(ROOT)}"


@pytest.mark.parametrize("page", ["README.md", "docs/development/architecture.md"])
def test_the_map_of_the_code_has_the_folders_and_their_layers(page):
    rows = re.findall(r"^\| (\d) (.*?) \|", (ROOT / page).read_text(), flags=re.MULTILINE)
    shown = {folder: int(number) for number, folders in rows for folder in re.findall(r"`mscnn/(\w+)/`", folders)}
    assert shown == STRATA
