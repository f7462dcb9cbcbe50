"""The house: a module imports only from lower strata, and each capability has one door."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STRATA = [
    {"errors", "files", "launchers", "schedule", "config", "tools", "benches", "presets", "commandline", "log",
     "rundir", "spreadsheet", "stopping", "watchdog"},                                 # words
    {"world", "cpu", "model", "data"},                                                 # facts
    {"screen", "objective", "accelerate", "checkpoint", "form", "placement", "profiles", "scoring", "uncertainty",
     "attribution", "export", "average", "readout", "lessons",
     "baselines"},                                                                     # acts
    {"engine", "trained", "course"},                                                   # loop
    {"report", "bench", "loco", "comparison"},                                                               # readers
]
WITHIN = {"config": {"errors", "schedule"}, "tools": {"errors", "config"},
          "benches": {"config"}, "commandline": {"errors", "files", "config", "tools", "benches", "presets"},
          "rundir": {"errors", "files"}, "launchers": {"errors"}, "presets": set(),
          "log": {"errors", "files"}, "errors": set(), "files": {"errors"}, "schedule": set(), "stopping": set(),
          "watchdog": {"errors", "launchers"},
          "bench": {"report"}, "loco": {"report"},
          "comparison": {"report"},
          "scoring": {"uncertainty"}, "profiles": {"scoring"},
          "baselines": {"readout"}, "checkpoint": {"form"}, "lessons": {"objective"}, "course": {"engine"}}
DOORS = {
    "torch.distributed": {"world"}, "torch.nn.parallel": {"world"}, "mpi4py": {"world"},
    "torchvision": {"data/augment.py"}, "matplotlib": {"report"}, "jsonargparse": {"commandline.py"},
    "captum": {"attribution.py"}, "safetensors": {"export.py"},
    "intel_extension_for_pytorch": {"accelerate.py"}, "tifffile": {"data/images.py", "data/synthetic.py"},
}
NAMES = {"torch.save": {"checkpoint.py"}, "torch.load": {"checkpoint.py"},
         "torch.set_num_threads": {"placement.py"},
         "torch.compile": {"accelerate.py"}, "torch.autocast": {"accelerate.py", "model/mcnn.py"},
         "torch.channels_last": {"accelerate.py"},
         "os.environ": {"launchers.py", "world/__init__.py"}, "os.sched_getaffinity": {"cpu.py"},
         "os.sched_setaffinity": {"cpu.py"},
         "sys.argv": {"train.py", "evaluate.py", "__main__.py", "bench/__main__.py", "world/__main__.py", "errors.py",
                      "rundir.py"}}
FILES = sorted([*(ROOT / "mscnn").rglob("*.py"), ROOT / "train.py", ROOT / "evaluate.py"])


def place(path: Path) -> str:
    """Path inside mscnn, or the entry point's name."""
    return str(path.relative_to(ROOT)).removeprefix("mscnn/")


def imports(path: Path) -> set[str]:
    """Dotted names of everything a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


def unit(dotted: str) -> str | None:
    """mscnn.data.tables.SiteTable -> data."""
    parts = dotted.split(".")
    return parts[1] if parts[0] == "mscnn" and len(parts) > 1 else None


@pytest.mark.parametrize("path", FILES, ids=place)
def test_modules_import_from_lower_strata_only(path):
    own = place(path).split("/")[0].removesuffix(".py")
    if place(path) in ("train.py", "evaluate.py", "__main__.py", "world/__main__.py", "__init__.py"):
        return
    level = next(number for number, names in enumerate(STRATA) if own in names)
    allowed = set().union(*STRATA[:level]) | {own} | WITHIN.get(own, set())
    used = {name for dotted in imports(path) if (name := unit(dotted))}
    assert used <= allowed, f"{place(path)} may not import {used - allowed}"


def test_entry_points_are_never_imported():
    for path in [*FILES, *(ROOT / "tests").rglob("*.py")]:
        assert not {"train", "evaluate", "mscnn.__main__"} & imports(path), path


@pytest.mark.parametrize("path", FILES, ids=place)
def test_each_capability_has_one_door(path):
    here = place(path)
    for package, doors in DOORS.items():
        if any(name == package or name.startswith(package + ".") for name in imports(path)):
            assert here in doors or here.split("/")[0] in doors, f"{here} imports {package}; its door is {doors}"
    used = {ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    for name, doors in NAMES.items():
        if name in used:
            assert here in doors, f"{here} uses {name}; its door is {doors}"


def test_words_and_the_command_line_import_no_torch():
    for name in (*STRATA[0], "cpu"):
        if name == "log":
            continue  # TensorBoard is imported when the first metrics file is opened
        assert not [used for used in imports(ROOT / "mscnn" / f"{name}.py") if used.split(".")[0] == "torch"], name


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
