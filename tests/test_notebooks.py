"""The notebooks of examples/ run as they are, in an empty folder, and are kept without outputs."""

import json
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def test_both_notebooks_are_there():
    assert [path.stem for path in NOTEBOOKS] == ["quick_start", "your_own_screen"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_clean(path):
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
            assert "/home" not in "".join(cell["source"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    """With its own assertions: a cell that raises fails the test; so does a command that ends with an error."""
    notebook = nbformat.read(path, as_version=4)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("MPLBACKEND", None)  # the kernel's own shows pictures
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute(env=environment)
    texts = [output.get("text", "") for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [text for text in texts if ": error:" in text or "Traceback" in text]
    assert not [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
                if output.get("name") == "stderr" and "Warning" in output.text]
    values = [output["data"] for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
              if "data" in output]
    assert any("text/html" in value for value in values)
    assert (path.stem == "quick_start") == any("image/png" in value for value in values)
