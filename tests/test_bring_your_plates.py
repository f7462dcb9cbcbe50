"""From the folder that a microscope wrote to predictions: every format gives what the same images give by hand."""

from pathlib import Path

import pandas as pd
import pytest

import mscnn
from mscnn.data.pixels.plate_file import PAGE
from tests import microscopes
from tests.conftest import run_python

WRITERS = {
    "harmony": microscopes.write_harmony, "metaxpress": microscopes.write_metaxpress,
    "cellvoyager": microscopes.write_cellvoyager,
    "ome-zarr 0.4": lambda folder: microscopes.write_ome_zarr(folder, "0.4"),
    "ome-zarr 0.5": lambda folder: microscopes.write_ome_zarr(folder, "0.5")}
RENAMED = {"cellvoyager": ("--channels", "C01=DNA,C02=Actin")}


def program(*arguments: object) -> str:
    done = run_python("-m", "mscnn", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory) -> tuple[Path, Path]:
    """The packed screen by its table, and a run that was trained on it."""
    folder = tmp_path_factory.mktemp("screen")
    table = microscopes.write_load_data(folder / "images")
    program("pack", "--sites", table, "--out", folder / "pack", "--only", "all")
    program("train", "supervised", "--packed", folder / "pack", "--hold-out", "b", "--run-dir", folder / "run",
            "--max-steps", 2, "--minibatch", 4, "--threads", 1)
    return folder / "pack", folder / "run"


def pixels(pack: Path) -> list[bytes]:
    """All bytes of each plate file after its header, which holds the names of files."""
    return [path.read_bytes()[PAGE:] for path in sorted(pack.glob("plate-*.fields"))]


@pytest.mark.parametrize("name", WRITERS)
def test_a_microscopes_folder_gives_the_table_the_pixels_and_the_predictions_of_a_table_by_hand(tmp_path, by_hand, name):
    WRITERS[name](tmp_path / "screen")
    plate_map = microscopes.write_plate_map(tmp_path / "map.csv")
    told = program("table", tmp_path / "screen", "--platemap", plate_map, "--out", tmp_path / "sites.csv", "--z", "max",
                   *RENAMED.get(name, ()))
    assert "maximum over 2 focal planes" in told
    program("pack", "--sites", tmp_path / "sites.csv", "--out", tmp_path / "pack", "--only", "all")
    expected, found = (mscnn.read_screen(packed=pack) for pack in (by_hand[0], tmp_path / "pack"))
    columns = [f"Metadata_{column}" for column in ("Plate", "Well", "Site", "Compound", "Concentration", "MOA")]
    if name.startswith("ome-zarr"):  # its fields are counted from 0
        found["Metadata_Site"] = (found["Metadata_Site"].astype(int) + 1).astype(str)
    pd.testing.assert_frame_equal(found[columns], expected[columns])
    assert pixels(tmp_path / "pack") == pixels(by_hand[0])
    run = mscnn.load_run(by_hand[1])
    of_hand, of_microscope = (run.predict(table).select_dtypes("number") for table in (expected, found))
    assert of_hand.shape[1] >= 3
    pd.testing.assert_frame_equal(of_microscope, of_hand, check_exact=True)
