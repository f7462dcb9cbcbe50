"""Names and files from elsewhere: nothing that they hold is run, computed by a spreadsheet, or taken for a path."""

import ast
import csv
import hashlib
import io
import itertools
import json
import os
import pickle  # noqa: TID251 writes what must be refused
import re
import shutil
import struct
import subprocess
import sys
import xml.dom.minidom
import zipfile
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch

from mscnn.core import csv_safe
from mscnn.core.errors import DataError
from mscnn.data.check_screen import plate_maps
from mscnn.data.pixels.pack import pack
from mscnn.data.pixels.packed import read_packed
from mscnn.data.tables import splits
from mscnn.data.tables.problems import Problem, write_csv
from mscnn.data.tables.site_table import read_sites
from mscnn.data.tables.text_csv import read_csv
from mscnn.distributed import world
from mscnn.evaluation import aggregate, cross_validation, export, load_run, results
from mscnn.evaluation.export_description import ExportDescription
from mscnn.evaluation.settings import EvaluationSettings
from mscnn.report import curves, data_urls, examples, figures, html, run
from mscnn.report.page import scripts
from mscnn.report.plate_scales import draw_plate_scales
from mscnn.training import checkpoint, prepare_data
from tests.conftest import ROOT, make_table, run_python
from tests.data.pixels.test_plate_scale import tiny
from tests.evaluation.test_cross_validation import pretended  # noqa: F401 a fixture
from tests.training.test_checkpoint import CHECKPOINT, CONTENT, forge

OURS = sorted([*(ROOT / "mscnn").rglob("*.py"), ROOT / "train.py", ROOT / "evaluate.py"])
TESTS = sorted((ROOT / "tests").rglob("*.py"))

# ---- what is banned

BANNED = [
    ("import pickle", "TID251"), ("from pickle import loads", "TID251"), ("import cloudpickle", "TID251"),
    ("import dill", "TID251"), ("import joblib", "TID251"), ("from joblib import load", "TID251"),
    ("import jsonpickle", "TID251"), ("import shelve", "TID251"), ("import marshal", "TID251"),
    ("import pickle\npickle.loads(b'')", "S301"), ("import pandas\npandas.read_pickle('x')", "S301"),
    ("import pandas\npandas.read_pickle('x')", "TID251"), ("import marshal\nmarshal.loads(b'')", "S302"),
    ("import torch\ntorch.jit.load('x')", "TID251"), ("import torch\ntorch.export.load('x')", "TID251"),
    ("import torch\ntorch.hub.load('x', 'y')", "TID251"), ("from torch.package import PackageImporter", "TID251"),
    ("import yaml\nyaml.load('x')", "S506"), ("import yaml\nyaml.load('x', yaml.Loader)", "S506"),
    ("import yaml\nyaml.load('x', Loader=yaml.FullLoader)", "S506"), ("import yaml\nyaml.unsafe_load('x')", "TID251"),
    ("import yaml\nyaml.unsafe_load_all('x')", "TID251"), ("import yaml\nyaml.full_load('x')", "TID251"),
    ("import yaml\nyaml.full_load_all('x')", "TID251"), ("import yaml\nyaml.load_all('x', yaml.Loader)", "TID251"),
    ("eval('1')", "S307"), ("exec('1')", "S102"), ("import subprocess\nsubprocess.run(f'{len}', shell=True)", "S602"),
    ("from a import start\nstart(f'{len}', shell=True)", "S604"), ("import os\nos.system(f'{len}')", "S605"),
    ("import jinja2\njinja2.Environment()", "S701"),
    ("import jinja2\njinja2.Environment(autoescape=False)", "S701"),
    ("import markupsafe\nmarkupsafe.Markup(f'<b>{len}</b>')", "S704"),
]
FINE = "import yaml\nyaml.safe_load('x')\nimport jinja2\njinja2.Environment(autoescape=True)\n"


@pytest.fixture(scope="module")
def linted(tmp_path_factory) -> dict[str, set[str]]:
    """{file: codes} by ruff, with the project's configuration, of each banned line at each place."""
    folder = tmp_path_factory.mktemp("linted")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for place in ("mscnn", "tests"):
        (folder / place).mkdir()
        for number, (text, _) in enumerate([*BANNED, (FINE, "")]):
            (folder / place / f"{number}.py").write_text(text + "\n")
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "json", "."], cwd=folder,
                          text=True, capture_output=True)
    assert done.returncode == 1, done.stderr
    found = {}
    for finding in json.loads(done.stdout):
        found.setdefault(str(Path(finding["filename"]).relative_to(folder)), set()).add(finding["code"])
    return found


@pytest.mark.parametrize("place", ["mscnn", "tests"])
@pytest.mark.parametrize(("number", "text", "code"), [(number, *banned) for number, banned in enumerate(BANNED)])
def test_the_lint_refuses_what_runs_code_from_a_file(linted, place, number, text, code):
    assert code in linted[f"{place}/{number}.py"], text


def test_the_lint_lets_pass_what_is_safe(linted):
    assert not {"S506", "S701", "TID251"} & linted.get(f"mscnn/{len(BANNED)}.py", set())


def uses(source: str) -> list[tuple[str, int, ast.Call | None]]:
    """Dotted names that a file uses, whatever it imports them as, the line of each, and its call where it is called."""
    tree, names = ast.parse(source), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name.split(".")[0]: alias.name if alias.asname else alias.name.split(".")[0]
                      for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}

    def dotted(node: ast.AST) -> str:
        if isinstance(node, ast.Attribute):
            return f"{dotted(node.value)}.{node.attr}"
        return names.get(node.id, node.id) if isinstance(node, ast.Name) else ""

    called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return [(dotted(node), node.lineno, called.get(id(node))) for node in ast.walk(tree)
            if isinstance(node, ast.Attribute | ast.Name)]


def unsafe_loads(source: str) -> list[str]:
    """Uses of torch.load and numpy.load that could run code of the file: no weights_only=True, or any allow_pickle that is
    not plainly False. ruff has no rule for them.
    """
    found = []
    for name, line, call in uses(source):
        given = {} if call is None else {word.arg: ast.unparse(word.value) for word in call.keywords}
        if name == "torch.load" and given.get("weights_only") != "True":
            found.append(f"line {line}: torch.load without weights_only=True")
        elif name == "numpy.load" and (call is None or len(call.args) > 2 or None in given):
            found.append(f"line {line}: numpy.load whose allow_pickle cannot be seen")
        elif given.get("allow_pickle", "False") != "False":
            found.append(f"line {line}: allow_pickle")
    return found


@pytest.mark.parametrize("text", [
    "import torch\ntorch.load('x')", "import torch\ntorch.load('x', weights_only=False)",
    "import torch\ntorch.load('x', weights_only=safe)", "from torch import load\nload('x')",
    "import torch as t\nread = t.load", "import numpy as np\nnp.load('x', allow_pickle=True)",
    "import numpy\nnumpy.load('x', None, True)", "from numpy import load as get\nget('x', allow_pickle=some)",
    "import numpy as np\nnp.load('x', **how)", "import numpy as np\nnp.lib.format.read_array(f, allow_pickle=True)",
])
def test_loads_that_could_run_code_are_found(text):
    assert len(unsafe_loads(text)) == 1


def test_loads_that_cannot_run_code_are_not():
    assert not unsafe_loads("import torch, numpy as np\ntorch.load('x', weights_only=True)\nnp.load('x')\n"
                            "np.load('x', allow_pickle=False)\njson.load(f)\nnp.savez(f)")


@pytest.mark.parametrize("path", [*OURS, *TESTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_of_the_project_loads_so(path):
    assert not unsafe_loads(path.read_text())
    if path in OURS:
        assert not re.search(r"noqa:? *(TID251|S\d)", path.read_text()), "a ban is lifted"
        assert path.name == "checkpoint.py" or "torch.load" not in [name for name, *_ in uses(path.read_text())]


# mpi4py's lowercase methods pickle what they send and unpickle what comes; each has a twin, such as Bcast, which does not.
PICKLING = {"bcast", "gather", "scatter", "allgather", "alltoall", "reduce", "allreduce", "scan", "exscan", "sendrecv",
            "send", "recv", "bsend", "ssend", "isend", "irecv", "ibsend", "issend", "mprobe", "improbe",
            "neighbor_allgather", "neighbor_alltoall"}
OBJECTS = {"all_gather_object", "gather_object", "broadcast_object_list", "scatter_object_list", "send_object_list",
           "recv_object_list"}  # torch.distributed's, which pickle as well
COMMUNICATOR = re.compile(r"\b_?comm\b|communicator|COMM_")


def pickled_exchanges(source: str) -> list[str]:
    """Uses of what pickles between ranks. A communicator is told by its name, or by what the name was given."""
    tree = ast.parse(source)
    given = {ast.unparse(target) for node in ast.walk(tree) if isinstance(node, ast.Assign) for target in node.targets
             if COMMUNICATOR.search(ast.unparse(node.value))}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            whose = ast.unparse(node.value)
            if node.attr in OBJECTS or (node.attr in PICKLING and (whose in given or COMMUNICATOR.search(whose))):
                found.append(f"line {node.lineno}: {whose}.{node.attr}")
        elif isinstance(node, ast.ImportFrom | ast.Import):
            text = ast.unparse(node)
            if re.search(r"mpi4py(\.| import )(util|futures)", text) or OBJECTS & {alias.name for alias in node.names}:
                found.append(f"line {node.lineno}: {text}")
    return found


@pytest.mark.parametrize("text", [
    "communicator().bcast(value, root=0)", "mpi.communicator().allgather(1)", "ranks = communicator()\nranks.gather(1)",
    "world = MPI.COMM_WORLD\nworld.send(1, 0)", "MPI.COMM_WORLD.recv()", "self._comm.allreduce(1)", "how = comm.scatter",
    "everybody = comm = communicator()\neverybody.bcast(1)", "from mpi4py.util import pkl5", "from mpi4py import futures",
    "import mpi4py.util.pkl5", "dist.all_gather_object(found, 1)", "from torch.distributed import broadcast_object_list",
])
def test_exchanges_of_pickles_are_found(text):
    assert len(pickled_exchanges(text)) == 1


def test_exchanges_of_numbers_are_not():
    assert not pickled_exchanges("ranks = communicator()\nranks.Bcast(a, 0)\nself._comm.Allreduce(a, b)\nranks.rank\n"
                                 "self.gather(1)\nworld.gather(1)\ncommandline.gather(argv)\ndist.all_gather(a, b)")


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_ranks_exchange_no_pickles(path):
    assert not pickled_exchanges(path.read_text())


def test_the_exchanges_of_pickles_are_all_that_mpi4py_has():
    pytest.importorskip("mpi4py")
    code = ("import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; names = {*dir(MPI.Topocomm)}; "
            "print(*(name for name in names if name[0].islower() and name.capitalize() in names))")
    twins = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split())
    if not twins:
        pytest.skip("mpi4py finds no MPI here")
    assert twins == PICKLING | {"barrier", "probe", "iprobe", "free", "is_inter", "is_intra"}  # these carry nothing


# ---- cells that a spreadsheet would compute

FORMULAS = ['=HYPERLINK("http://x")', "+1", "-2", "@x", "\t=1", "\r=1", " =1", "＝1", "a;=1", "a; -1"]
KEPT = [*FORMULAS, "'=1", "''=1", "'a", "'", "a=1", "NA", "", "a,b", 'a"b', "a\nb", "a\rb", "\r\n", "../../x", "<script>"]


def is_computed(cell: str) -> bool:
    """Whether a spreadsheet may compute the text of a cell, or what follows a semicolon or tab in it."""
    return any(part.strip(" \r\n").startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠"))
               for part in re.split("[;\t]", cell)) or cell.startswith(("\t", "\r", "\n"))


def test_every_text_survives_and_none_is_computed():
    """All texts of up to six of the letters that matter: 55,987 of them."""
    texts = ["".join(letters) for length in range(7) for letters in itertools.product("'=;\t a", repeat=length)]
    cells = [csv_safe.escape(text) for text in texts]
    assert [csv_safe.unescape(cell) for cell in cells] == texts
    assert not [cell for cell in cells if is_computed(cell)]
    assert all(cell == text for cell, text in zip(cells, texts, strict=True) if not re.search("[=\t]", text))


def test_a_cell_is_defused_by_one_apostrophe():
    assert [csv_safe.escape(text) for text in ("=1", "+1", "-2", "@x", "\t=1", "'=1", "'a", "a-b", " =1", "a;=1")] == [
        "'=1", "'+1", "'-2", "'@x", "'\t'=1", "''=1", "'a", "a-b", "' =1", "a;'=1"]


def cells_of(path: Path) -> list[str]:
    """What a spreadsheet sees, by Python's own reader."""
    with path.open(newline="", encoding="utf-8") as file:
        return [cell for row in csv.reader(file) for cell in row]


def is_number(text: str) -> bool:
    try:
        return bool(float(text)) or True
    except ValueError:
        return False


def assert_safe(path: Path) -> None:
    computed = [cell for cell in cells_of(path) if is_computed(cell) and not is_number(cell)]
    assert not computed, f"{path.name}: {computed}"
    assert not {"+1", "-2", "-1"} & {*cells_of(path)}, f"{path.name}: a name that looks like a number"


def test_numbers_are_not_touched(tmp_path):
    frame = pd.DataFrame({"text": ["-2", "+1"], "score": [-2.5, np.nan], "count": [-1, 2], "flag": [True, False],
                          "mixed": [-3, "-3"]})
    pd.testing.assert_frame_equal(csv_safe.unescape_table(csv_safe.escape_table(frame)), frame)
    csv_safe.write_csv(frame, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "text,score,count,flag,mixed\n'-2,-2.5,-1,True,-3\n'+1,,2,False,'-3\n"


def test_a_table_without_such_names_is_written_as_ever(tmp_path):
    frame = pd.DataFrame({"a": ["x", "y z", "ICI-182,780", 'q"'], "b": [0.1, 2.0, np.nan, -1e-9]})
    csv_safe.write_csv(frame, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == frame.to_csv(index=False)


def hostile_table():
    """Each name as compound, plate and mechanism; two sites each, and controls."""
    rows = [(name or "empty", f"{name} m" if name.startswith("a") else name or "empty", name, name, str(site))
            for name in KEPT for site in (-1, 2)] + [("DMSO", "DMSO", "P", "B02", "1")]
    return make_table(rows, "compound mechanism plate well site")


def test_a_split_with_such_names_is_safe_to_open_and_read_back(tmp_path):
    table = hostile_table()
    made = splits.make_split(table, split="k-fold", folds=3, fold=1)
    splits.write(made, table, tmp_path)
    assert_safe(tmp_path / "split.csv")
    np.testing.assert_array_equal(splits.read_sides(tmp_path / "split.csv", table), made.side)
    plain = table.frame[["plate", "week", "well", "site", "compound", "concentration", "mechanism"]].assign(side=made.side)
    digest = hashlib.sha256(plain.to_csv(index=False).encode()).hexdigest()  # over the rows as they are
    assert json.loads((tmp_path / "split.json").read_text())["sha256"] == digest
    # What such a name is written as is a name of its own.
    other = replace(table, frame=table.frame.replace({"compound": {"=1": "'=1", "'=1": "''=1", "+1": "'+1"}}))
    with pytest.raises(DataError, match="no split of this table"):
        splits.read_sides(tmp_path / "split.csv", other)


def predictions(names: list[str]) -> pd.DataFrame:
    """A row a name, which is compound, plate, week, well and mechanism; each mechanism has a column."""
    classes = sorted({*names} - {""})
    table = make_table([(name or "empty", name, name, name, name) for name in names], "compound mechanism plate week well")
    chosen = np.array([classes.index(name) if name else 0 for name in names])
    return aggregate.field_predictions(table, np.eye(len(classes))[chosen], classes)


@pytest.mark.filterwarnings("ignore:Glyph")
def test_predictions_with_such_names_are_safe_to_open_and_read_back(tmp_path):
    description = results.EvaluationDescription(
        control="DMSO", aggregate_wells="mean", aggregate_treatments="median", channels=[], notes=[], tta="none",
        head="softmax", seed=0, environment={}, folds=[])
    fields = predictions(KEPT)
    results.write(fields, description, tmp_path)
    expected = aggregate.aggregate(fields, "DMSO")
    for level in ("wells", "treatments", "compounds"):
        assert_safe(tmp_path / f"{level}.csv")
        pd.testing.assert_frame_equal(results.read_table(tmp_path, level), expected[level], check_dtype=False)
    assert_safe(tmp_path / "predictions.csv")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / results.FIELDS), fields)  # parquet is no spreadsheet's


def test_the_other_tables_are_safe_to_open(tmp_path):
    table = make_table([("=c", f"{name} m", name, f"A{number:02}") for number, name in enumerate(KEPT, 1)],
                       "compound mechanism plate well")
    csv_safe.write_csv(plate_maps(table), tmp_path / "plate_maps.csv")
    write_csv([Problem(2, name, f"{name}: bad", "") for name in KEPT], tmp_path / "problems.csv")
    draw_plate_scales(replace(tiny(), plates=("=P1", "@P2")), tmp_path / "intensity.png")
    runs = {Path("=run"): pd.Series({1: 0.5, 2: 0.4}), Path("-run"): pd.Series({1: 0.5, 2: 0.3})}
    curves.draw(curves.by_value(runs, {Path("=run"): "+x", Path("-run"): "y"}), "=setting", 2, tmp_path / "curves.png")
    written = sorted(tmp_path.glob("*.csv"))
    assert [path.name for path in written] == ["curves.csv", "intensity.csv", "plate_maps.csv", "problems.csv"]
    for path in written:
        assert_safe(path)
    assert "'=P1" in cells_of(tmp_path / "intensity.csv")
    assert "'=run" in cells_of(tmp_path / "curves.csv")


def test_line_ends_within_a_value_stay_as_they_are(tmp_path):
    (tmp_path / "a.csv").write_bytes(b'a,b\r\n"x\r\ny","p\rq"\r\n\r\nz,"w\n"\r\n')
    table = read_csv(tmp_path / "a.csv")
    assert table.to_numpy().tolist() == [["x\r\ny", "p\rq"], ["z", "w\n"]]
    assert table.index.tolist() == [2, 4]


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tables_are_written_as_csv_by_one_function_only(path):
    """Text for a digest, DataFrame.to_csv without a path, is no file."""
    if path.name == "spreadsheet.py":
        return
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
             and isinstance(node.func, ast.Attribute) and node.func.attr == "to_csv"]
    assert not [call.lineno for call in calls if call.args or {"path_or_buf", None} & {word.arg for word in call.keywords}]


# ---- names that look like paths, markup or commands

HOSTILE = ["../../hostile", "hostile/b", "<script>hostile</script>", "$(touch hostile)", "; touch hostile", "/tmp/hostile"]


@pytest.mark.parametrize("column", ["plate", "well", "compound", "moa", "week"])
def test_a_name_with_a_nul_is_refused(tmp_path, column):
    """NumPy's text drops a NUL at its end: compound "a\\0" on one side of a split would be compound "a" on the other."""
    assert np.array(["a\0"]).tolist() == ["a"]
    values = {"filename": "1.png", "plate": "P", "well": "B02", "compound": "a", "moa": "m", "week": "1"}
    values[column] += "\0"
    (tmp_path / "sites.csv").write_text(",".join(values) + "\n" + ",".join(values.values()) + "\n")
    with pytest.raises(DataError, match=r"(?s)names hold a NUL.*row 2: .*\\x00' holds a NUL"):
        read_sites(tmp_path / "sites.csv")


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_packed_plates_are_numbered_whatever_their_names(tiny_screen, tmp_path):
    table = read_sites(tiny_screen)
    plates = [HOSTILE[number % len(HOSTILE)] for number in range(len(table))]
    table = replace(table, frame=table.frame.assign(plate=plates))
    before = files_in(tmp_path)
    header = prepare_data.read_headers(table, world.World())
    pack(prepare_data.with_channel_names(table, header), header, tmp_path / "pack", screen="sites")
    assert files_in(tmp_path) - before == {"pack", "pack/pack.json", "pack/index.parquet", *(
        f"pack/plate-{number:04}.fields" for number in range(1, len(HOSTILE) + 1))}
    assert set(read_packed(tmp_path / "pack").frame["plate"]) == {*HOSTILE}


def test_folds_are_numbered_whatever_their_compounds(pretended, tmp_path):  # noqa: F811
    plan = replace(pretended, out=tmp_path / "other", folds=[HOSTILE[:3], HOSTILE[3:]])
    cross_validation.open_or_resume(plan, {"preset": "demo"})
    before = files_in(tmp_path.parent)
    cross_validation.run_folds(plan, lambda number, folder: None)
    cross_validation.open_or_resume(plan, {"preset": "demo"})  # the names are read back as they are
    assert not [path for path in files_in(tmp_path.parent) - before if "hostile" in path]
    assert {path.name for path in plan.out.iterdir()} == {
        "config.yaml", "folds.yaml", "lock", "log", "fold-0", "fold-1", "evaluation", "scores"}
    assert {path.name for path in (plan.out / "log").iterdir()} == {"fold-0.txt", "fold-1.txt"}


def test_a_screen_of_hostile_names_is_trained_evaluated_and_reported_within_its_folders(tiny_screen, tmp_path):
    names = dict(zip(("a", "b", "c"), HOSTILE, strict=False))
    rows = pd.read_csv(tiny_screen, dtype=str, keep_default_na=False)
    mechanisms = {"bright": "=hostile()", "dark": '"><img src=hostile>'}
    rows = rows.assign(Metadata_Compound=rows["Metadata_Compound"].replace(names), Metadata_Plate=HOSTILE[5],
                       Metadata_MOA=rows["Metadata_MOA"].replace(mechanisms), Metadata_Week=HOSTILE[3])
    rows.to_csv(tiny_screen, index=False)
    run_dir, before = tmp_path / "run", files_in(tmp_path)
    around = {*tmp_path.parent.parent.iterdir(), *Path("/tmp").iterdir(), *ROOT.iterdir()}
    for command in (
            ("train.py", "supervised", "--sites", tiny_screen, "--epochs", "1", "--minibatch", "3", "--threads", "1",
             "--split-method", "leave-compound-out", "--fold", "0", "--run-dir", run_dir, "--normalise", "plate"),
            ("evaluate.py", "--checkpoint", run_dir, "--examples", "0")):
        done = run_python(*command)
        assert done.returncode == 0, done.stderr
    html.write([run.read(run_dir)], run_dir / "report.html")
    written = files_in(tmp_path) - before
    assert written
    assert not [path for path in written if not path.startswith("run") or "hostile" in path or "script" in path]
    new = {*tmp_path.parent.parent.iterdir(), *Path("/tmp").iterdir(), *ROOT.iterdir()} - around
    assert not [path for path in new if "hostile" in path.name]
    for name in ("split.csv", "intensity.csv", *(f"evaluation/{level}.csv" for level in (
            "predictions", "wells", "treatments", "compounds"))):
        assert_safe(run_dir / name)
    text = (run_dir / "report.html").read_text()
    assert "../../hostile" in text
    assert "&lt;img src=hostile&gt;" in text or "=hostile()" in text
    parsed = elements(text)
    assert [each for name, each in parsed if name == "script"] == [  # data, which no browser runs, and the page's own
        {"type": "application/json"}, *({} for _ in scripts.load().texts)]
    assert f'content="{scripts.load().policy}"' in text
    assert not [each for name, each in parsed if "hostile" in name or "hostile" in (each.get("src") or "")]


def elements(text: str) -> list[tuple[str, dict[str, str | None]]]:
    """Return name and attributes of each element, as a parser of HTML sees them."""
    found, parser = [], HTMLParser()
    parser.handle_starttag = lambda name, attributes: found.append((name, dict(attributes)))
    parser.feed(text)
    return found


@pytest.mark.filterwarnings("ignore:Glyph")
def test_no_name_breaks_a_picture_of_the_report():
    """Names are in the SVG's comments, and a letter that XML does not allow makes the whole picture vanish."""
    for names in (["NUL\0", "a\0b"], ["\x1b[31m", "\x08"], ["a --> b", "]]>", "&amp;", "$x$", *HOSTILE, *FORMULAS, "￾"]):
        counts = pd.DataFrame(np.eye(len(names), dtype=int), index=names, columns=names)
        xml.dom.minidom.parseString(figures.confusions({"fields": counts})["fields"].encode())


@pytest.mark.parametrize("name", ["../../secret.jpg", "/etc/passwd", "000.jpg/../../../secret.jpg", "000.jpg\n", "."])
def test_a_gallery_names_pictures_of_its_own_folder_only(tmp_path, name):
    """gallery.json of a run from elsewhere must not bring any other file into the page."""
    folder = tmp_path / "a" / "gallery"
    folder.mkdir(parents=True)
    (tmp_path / "secret.jpg").write_text("secret")
    (folder / "000.jpg").write_text("picture")
    example = run.Example("c", 1.0, "m", "m", 0.9, "P", "B02", "1", [1.0], [], run.ExampleFiles("000.jpg", ["000.jpg"], []))
    assert examples.with_pictures(folder, example).field.startswith("data:image/jpeg")
    for files in (run.ExampleFiles(name, [], []), run.ExampleFiles("000.jpg", [name], [])):
        with pytest.raises(DataError, match="is no picture of a gallery"):
            examples.with_pictures(folder, replace(example, files=files))


@pytest.mark.parametrize("to", ["../secret.jpg", "/etc/passwd", "deeper/001.jpg"])
def test_a_link_in_a_gallery_leads_no_other_file_into_the_page(tmp_path, to):
    """Another picture of the gallery may be linked to, and the gallery itself be a link."""
    gallery = tmp_path / "far" / "gallery"
    (gallery / "deeper").mkdir(parents=True)
    for path in (tmp_path / "far" / "secret.jpg", gallery / "deeper" / "001.jpg", gallery / "002.jpg"):
        path.write_text("secret")
    (gallery / "000.jpg").symlink_to(to)
    (gallery / "003.jpg").symlink_to("002.jpg")
    (tmp_path / "gallery").symlink_to(gallery)
    for folder in (gallery, tmp_path / "gallery"):
        with pytest.raises(DataError, match=r"000\.jpg: is a link out of its gallery"):
            data_urls.of_file(folder, "000.jpg")
        assert data_urls.of_file(folder, "003.jpg") == data_urls.of_file(folder, "002.jpg")


# ---- files that would run code, or fill the memory

LOADERS = """
import resource, sys
from pathlib import Path
{imports}
from mscnn.core.errors import DataError, UsageError
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
for path in map(Path, sys.argv[1:]):
    try:
        print("read", path, {load})
    except (DataError, UsageError) as problem:
        print(type(problem).__name__, repr(str(problem)))
print((peak() - before) // 1024)
"""


def refusals(load: str, imports: str, paths: list[Path]) -> list[str]:
    """What loading each file says, a line each, in a process of its own whose memory grows by less than 100 MiB, in two
    minutes.
    """
    done = subprocess.run([sys.executable, "-c", LOADERS.format(load=load, imports=imports), *map(str, paths)], cwd=ROOT,
                          text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    *lines, growth = done.stdout.splitlines()
    assert len(lines) == len(paths)
    assert int(growth) < 100
    return lines


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


@pytest.fixture
def canary(tmp_path) -> Path:
    """A folder that must never appear; the bait is real: unpickled by Python itself, it does appear."""
    pickle.loads(pickle.dumps(Hostile(tmp_path / "bait")))  # noqa: S301
    assert (tmp_path / "bait").is_dir()
    return tmp_path / "canary"


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_checkpoints_that_would_run_code_or_fill_the_memory_are_refused(tmp_path, canary, fault_row):
    content = {"format": 1, "network": Hostile(canary)}
    torch.save(content, tmp_path / "zip")
    torch.save(content, tmp_path / "old", _use_new_zipfile_serialization=False)
    (tmp_path / "pickle").write_bytes(pickle.dumps(content))
    with zipfile.ZipFile(tmp_path / "bomb", "w", zipfile.ZIP_DEFLATED) as archive:  # 256 MiB in a quarter of one
        archive.writestr("bomb/data/0", bytes(1 << 28))
    (tmp_path / "long").write_bytes((1 << 40).to_bytes(8, "little") + b"{")
    wide = json.dumps({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    (tmp_path / "wide").write_bytes(len(wide).to_bytes(8, "little") + wide)
    deep = "[" * 10**5 + "]" * 10**5
    safetensors.torch.save_file({}, tmp_path / "deep", {
        "format": str(checkpoint.FORMAT), "sha256": checkpoint.digest(deep, {}), "content": deep})
    forge(tmp_path / "shared", network={str(number): CONTENT["network"]["classify.bias"] for number in range(10**4)})
    paths = [tmp_path / name for name in ("zip", "bomb", "old", "pickle", "long", "wide", "deep", "shared")]
    assert max(path.stat().st_size for path in paths) < 1 << 25
    lines = refusals("checkpoint.load(path)", "from mscnn.training import checkpoint", paths)
    for path, line in zip(paths, lines, strict=True):
        reason = "a checkpoint of mscnn 0.1" if path.name in ("zip", "bomb") else "its network" \
            if path.name == "shared" else "not a readable checkpoint"
        assert line.startswith(f"DataError '{path}: {reason}") or line.startswith(f"DataError \"{path}: {reason}"), line
        assert "\\n" not in line
    assert not canary.exists()
    fault_row(f"{len(paths)} malicious checkpoints, memory bombs among them",
              "each refused in one line; no code of them runs")


def test_a_checkpoint_names_files_for_tables_and_nothing_that_is_read_for_ever(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    asked, moved = (EvaluationSettings(checkpoint="a.safetensors", out="b",
                                       data=moved) for moved in (None, "elsewhere.csv"))
    for named in ("/dev/zero", tmp_path / "pipe", tmp_path, tmp_path / "missing", "a\0b"):
        saved = replace(CHECKPOINT, settings=CHECKPOINT.settings | {"sites": str(named)})
        with pytest.raises(DataError, match="site table is not there, or no file; say where it is with --data"):
            load_run.data_settings(asked, saved)
        assert load_run.data_settings(moved, saved).sites == "elsewhere.csv"


def test_a_table_that_is_on_one_host_only_is_missed_by_all_ranks_together(tmp_path):
    class Apart(world.World):
        def run_on_all_or_raise(self, action):
            raise DataError("rank 1 on node2 alone: its table is missing")

    with pytest.raises(DataError, match="rank 1 on node2 alone"):
        load_run.select_sites(EvaluationSettings(checkpoint="a.safetensors", out="b"), CHECKPOINT, Apart())


def test_an_evaluation_of_a_checkpoint_that_anybody_can_make_ends_with_a_line(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    piped = forge(tmp_path / "piped.safetensors", settings=CONTENT["settings"] | {"sites": str(tmp_path / "pipe")})
    large = forge(tmp_path / "large.safetensors", image_size=[1 << 20, 1 << 20])
    for path, reason in ((piped, f"{tmp_path / 'pipe'}: the checkpoint's site table is"), (large, f"{large}: its network")):
        done = run_python("evaluate.py", "--checkpoint", path, "--out", tmp_path / "out", timeout=120)
        assert done.returncode == 3, done.stderr
        assert done.stderr.startswith(f"evaluate.py: error: {reason}")
        assert done.stderr.count("\n") == 1


def put_intensity(folder: Path, packed: bytes) -> Path:
    folder.mkdir()
    (folder / "intensity.npz").write_bytes(packed)
    (folder / "intensity.json").write_text(json.dumps({"format": 1, "sha256": hashlib.sha256(packed).hexdigest()}))
    return folder


def test_arrays_that_would_run_code_or_fill_the_memory_are_refused(tmp_path, canary, fault_row):
    """Each has the digest that it should have: whoever writes the one file writes the other."""
    objects, bomb, promise, header = io.BytesIO(), io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.savez(objects, field_PChw=np.array([Hostile(canary)], dtype=object))
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("field_PChw.npy", "w") as member:
        np.lib.format.write_array_header_2_0(member, {"descr": "<f8", "fortran_order": False, "shape": (1 << 25,)})
        for _ in range(256):
            member.write(bytes(1 << 20))
    np.lib.format.write_array_header_2_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)})
    with zipfile.ZipFile(promise, "w") as archive:
        archive.writestr("field_PChw.npy", header.getvalue() + bytes(8))
    assert len(bomb.getvalue()) < 1 << 20
    folders = [put_intensity(tmp_path / name, packed.getvalue())
               for name, packed in (("objects", objects), ("bomb", bomb), ("promise", promise))]
    lines = refusals("plate_scale.load(path)", "from mscnn.data.pixels import plate_scale", folders)
    reasons = ("Object arrays cannot be loaded", "is compressed", "Unable to allocate")
    for folder, line, reason in zip(folders, lines, reasons, strict=True):
        assert line.startswith(f"DataError '{folder}: no usable intensity.json")
        assert reason in line
        assert "\\n" not in line
    assert not canary.exists()
    fault_row(f"{len(folders)} malicious .npz files", "each refused in one line; no code of them runs")


def aliases(levels: int) -> str:
    """Nine times nine times ... an x, in a few hundred letters."""
    text = "&a0 [x, x, x, x, x, x, x, x, x]"
    for level in range(1, levels):
        text = f"&a{level} [{text}{f', *a{level - 1}' * 8}]"
    return text


def test_settings_that_would_run_code_or_fill_the_memory_are_refused(tmp_path, canary, fault_row):
    (tmp_path / "bomb.yaml").write_text(f"sites: {aliases(7)}\n")
    call = f"!!python/object/apply:os.mkdir ['{canary}']"
    texts = {"apply": f"seed: {call}", "whole": call,
             "new": f"run_dir: !!python/object/new:os.mkdir ['{canary}']", "name": "seed: !!python/name:os.mkdir",
             "class": f"seed: {{class_path: os.mkdir, init_args: {{path: '{canary}'}}}}", "again": f"sites: {aliases(7)}",
             "nested": f"config: {tmp_path / 'bomb.yaml'}", "deep": f"sites: {'[' * 1200}{']' * 1200}"}
    paths = []
    for name, text in texts.items():
        paths.append(tmp_path / f"{name}.yaml")
        paths[-1].write_text(text + "\n")
    for load in ('train.read(["demo", "--config", str(path)])', 'train.read(["demo", f"--config={path}"])',
                 'loco.read_candidates(str(path), ["demo", "--out", "x"])'):
        for line in refusals(load, "from mscnn.cli import loco, train", paths):
            assert line.startswith("UsageError ")
            assert "\\n" not in line
            assert len(line) < 1000
    assert not canary.exists()
    fault_row(f"{len(paths)} malicious YAML files, given in 3 ways", "each refused in one line; no code of them runs")


def test_settings_in_the_folder_of_a_run_that_would_run_code_or_fill_the_memory_are_refused(tmp_path, canary):
    """As a file that is named, and what PyYAML itself fails at; a run directory may come from anybody."""
    texts = {"apply": f"preset: !!python/object/apply:os.mkdir ['{canary}']", "bomb": f"preset: {aliases(7)}",
             "alias": "preset: &a demo\nsites: *a", "deep": f"sites: {'[' * 1200}{']' * 1200}", "cut": "preset: [demo",
             "binary": b"\xff\xfe\x00preset", "number": "preset: !!int ''", "bool": "preset: !!bool x",
             "date": "preset: !!timestamp x", "two": "preset: demo\n---\npreset: demo", "list": "- preset",
             "text": "preset", "folder": None}
    # Refused as a run's; to a folder of folds these are other settings.
    alone = {"empty": "", "nameless": "epochs: 3", "numbered": "1: 2"}
    paths = []
    for name, text in (texts | alone).items():
        paths.append(tmp_path / name)
        paths[-1].mkdir()
        if text is None:
            (paths[-1] / "config.yaml").mkdir()
        else:
            (paths[-1] / "config.yaml").write_bytes(text if isinstance(text, bytes) else f"{text}\n".encode())
    claim = 'cross_validation.open_or_resume(cross_validation.FoldPlan(path, "demo", "k-fold", [], 1), {"preset": "demo"})'
    for load, remedy in (("run_directory.read_settings(path)", "; name a run directory of train.py"),
                         (claim, "; name a new folder with --out")):
        brought = "from mscnn.core import run_directory; from mscnn.evaluation import cross_validation"
        for path, line in zip(paths, refusals(load, brought, paths), strict=True):
            if load == claim and path.name in alone:
                assert f"{path} was begun with other settings" in line
                continue
            assert f"{path / 'config.yaml'}: " in line
            assert line.startswith("UsageError ")
            assert remedy in line
            assert "\\n" not in line
            assert len(line) < 1000
    assert not canary.exists()


def test_a_run_with_hostile_settings_is_not_gone_on_with(tmp_path):
    (tmp_path / "config.yaml").write_text(f"preset: {aliases(7)}\n")
    (tmp_path / "summary.json").write_text("{}")
    done = run_python("train.py", "demo", "--run-dir", tmp_path, "--resume", "auto")
    assert done.returncode == 2, done.stderr
    assert done.stderr == (f"train.py: error: {tmp_path / 'config.yaml'}: cannot be read (it has an alias, `*name`; write "
                           "the value out); name a run directory of train.py, or copy the file again from where it ran\n")


def test_weights_with_a_header_of_absurd_length_are_refused(tmp_path, fault_row):
    promised = b'{"w":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
    headers = {"huge": struct.pack("<Q", 1 << 62) + b"{}", "most": b"\xff" * 8, "empty": b"",
               "absent": struct.pack("<Q", 90_000_000) + b"{}", "promise": struct.pack("<Q", len(promised)) + promised}
    paths = []
    for name, raw in headers.items():
        paths.append(tmp_path / f"{name}.safetensors")
        paths[-1].write_bytes(raw)
    lines = refusals("export._read_tensors(path, 1 << 30)", "from mscnn.evaluation import export", paths)
    for path, line in zip(paths, lines, strict=True):
        assert line.startswith(f"DataError '{path}: not a readable file of weights")
        assert "\\n" not in line
    fault_row(f"{len(paths)} malicious headers of safetensors", "each refused in one line")


def test_weights_are_as_large_as_their_network_before_they_are_read(tmp_path):
    """Weights of 4 GiB to a small network, a network of 8 GiB to no weights, and what is no file: links bring it along."""
    description = ExportDescription(1, ["a", "b"], ["DNA"], [], True, {"mode": "field", "mean": [], "sd": []}, {}, 1,
                                    splits.SplitRecord("random", [], "", "", {}, {}, []), {})
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 30], "data_offsets": [0, 1 << 32]}}).encode()
    raw = struct.pack("<Q", len(header)) + header
    for name, size in (("wide", 128), ("empty", 8192), ("piped", 128), ("endless", 128)):
        (tmp_path / name).mkdir()
        (tmp_path / name / export.CONFIG).write_text(json.dumps(replace(description, image_size=[size, size]).to_json()))
    (tmp_path / "wide" / export.WEIGHTS).write_bytes(raw)
    os.truncate(tmp_path / "wide" / export.WEIGHTS, len(raw) + (1 << 32))  # takes no room on the disk
    (tmp_path / "empty" / export.WEIGHTS).write_bytes(struct.pack("<Q", 2) + b"{}")
    os.mkfifo(tmp_path / "piped" / export.WEIGHTS)
    (tmp_path / "endless" / export.CONFIG).unlink()
    (tmp_path / "endless" / export.CONFIG).symlink_to("/dev/zero")
    paths = [tmp_path / name for name in ("wide", "empty", "piped", "endless")]
    reasons = (f"{len(raw) + (1 << 32):,} bytes, where at most", "does not fit config.json", "no file is there",
               "it is no file")
    lines = refusals("export.load(path)", "from mscnn.evaluation import export", paths)
    for line, reason in zip(lines, reasons, strict=True):
        assert line.startswith("DataError ")
        assert reason in line


# ---- what is installed

def test_the_lock_holds_the_runtime_each_file_by_its_digest():
    lock = (ROOT / "requirements.lock").read_text()
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE))
    asked = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert len(asked) > 15
    assert {name.lower(): pins.get(name.lower()) for name, _ in asked} == {name.lower(): version for name, version in asked}
    entries = re.split(r"^(?=[\w.-]+==)", lock, flags=re.MULTILINE)[1:]
    assert len(entries) == len(pins) > len(asked)
    assert not [entry.splitlines()[0] for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry)]
    assert not re.search(r"https?:|--(extra-)?index-url|--find-links|--trusted-host|file:|@ ", lock)
