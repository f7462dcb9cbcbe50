"""Paths, metadata and tables that do not fit a run are refused; counts far from the training's are warned of."""

import numpy as np
import pandas as pd
import pytest
import tifffile

import mscnn
from tests.library.conftest import LEVELS, stack, write_screen


@pytest.fixture(scope="module")
def table(screen) -> pd.DataFrame:
    return mscnn.read_screen(sites=screen)


@pytest.fixture(scope="module")
def paths(table) -> list[tuple[str, str]]:
    return list(zip(table["FileName_DNA"], table["FileName_RNA"], strict=True))


FORM = "a list with a path a field, or with a tuple of 2 paths a field, in the order DNA, RNA"


@pytest.mark.parametrize(("choose", "message"), [
    (lambda paths: paths[0][0], f"give paths as {FORM}; got str"),
    (lambda paths: paths[0], f"give paths as {FORM}; got tuple"),
    (lambda paths: [], "the list is empty"),
    (lambda paths: [paths[0], 3], "got a list with int 3"),
    (lambda paths: [np.zeros((2, 128, 128))], r"got a list with an array of shape \(2, 128, 128\)"),
    (lambda paths: [paths[0] + paths[1]], "got 4: tuple"),
    (lambda paths: [paths[0], paths[1][0]], "one field has 1, another 2"),
    (lambda paths: [paths[0][0]], r"trained on 2 channels \(DNA, RNA\), a field here has 1; give all of them, in this"),
    (lambda paths: [paths[0], ("nowhere.tif", "neither.tif")], "2 of 4 image files are not there; give full paths"),
])
def test_paths_that_do_not_fit_are_refused(run, paths, choose, message):
    with pytest.raises(ValueError, match=message):
        run.predict(choose(paths))


def test_missing_files_are_listed(run, paths):
    with pytest.raises(ValueError, match=r"\n  nowhere\.tif\n"):
        run.predict([paths[0], ("nowhere.tif", "nothing.tif")])


def test_files_of_other_sizes_are_refused(run, table, tmp_path):
    large = mscnn.read_screen(sites=write_screen(tmp_path, shape=(128, 256)))
    with pytest.raises(ValueError, match=r"fields of 128x128 pixels \(height x width\) and does not crop or pad, a field "
                                         "here has 128x256"):
        run.predict(large)
    with pytest.raises(ValueError, match="image files cannot be used"):
        run.predict(pd.concat([table, large.head(2)]))


def test_floating_point_files_are_refused(run, table, tmp_path):
    tifffile.imwrite(tmp_path / "normalised.tif", stack(table.head(1))[0] / np.float32(65535))
    with pytest.raises(ValueError, match=r"(?s)float32 samples; only uint8 and uint16 are read"):
        run.predict([tmp_path / "normalised.tif"])


def test_8_bit_files_are_refused_where_training_had_16_bits(run, table, tmp_path):
    assert max(level for _, level in LEVELS.values()) > 255
    tifffile.imwrite(tmp_path / "small.tif", (stack(table.head(1))[0] // 8).astype(np.uint8), metadata={"axes": "CYX"})
    for given in ([tmp_path / "small.tif"], (stack(table.head(1)) // 8).astype(np.uint8)):
        with pytest.raises(ValueError, match=r"16-bit counts \(\d+ in the mean of a channel\), the fields here are uint8"):
            run.predict(given)


def test_a_warning_names_counts_of_another_unit_and_points_at_the_caller(run, table):
    with pytest.warns(UserWarning, match=r"far from those of the training \(DNA .*RNA .*same camera") as caught:
        run.predict(stack(table.head(2)) * 16)
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize(("metadata", "message"), [
    ({"Metadata_Plate": "P"}, "metadata must be a DataFrame"),
    (pd.DataFrame({"Plate": ["P", "P"]}), "some of the columns Metadata_Plate, .*got a DataFrame with columns Plate"),
    (pd.DataFrame({"Metadata_Plate": ["P"]}), "a row for each of the 2 fields, got 1 rows"),
    (pd.DataFrame({"Metadata_Concentration": ["low", "high"]}), "values that are no numbers"),
])
def test_metadata_that_do_not_fit_are_refused(run, table, metadata, message):
    with pytest.raises(ValueError, match=message):
        run.predict(stack(table.head(2)), metadata=metadata)


def test_a_table_takes_no_metadata_besides_its_own(run, table):
    with pytest.raises(ValueError, match=r"a table has Metadata_. columns of its own"):
        run.predict(table, metadata=table)


def test_a_microbatch_holds_at_least_one_field(run, table):
    with pytest.raises(ValueError, match="microbatch must be at least 1, got 0"):
        run.predict(table, microbatch=0)
