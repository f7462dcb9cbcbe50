"""Profiles as AnnData files, read by anndata itself."""

import numpy as np
import pandas as pd
import pytest

from mscnn.core.errors import DataError, UsageError
from mscnn.profiling import h5ad_writer, profile_table

h5py = pytest.importorskip("h5py", reason="h5py is not installed: requirements-profiling.txt")
anndata = pytest.importorskip("anndata", reason="anndata is not installed: requirements-dev.txt")

PROFILES = pd.DataFrame({
    "Metadata_Plate": ["P1", "P1", "P2", "P2"], "Metadata_Well": ["B02", "B03", "B02", "B03"],
    "Metadata_Site": ["1", "1", "1", "1"], "Metadata_Compound": ["taxol", "ångström", "DMSO", "taxol"],
    "Metadata_Concentration": [0.3, np.nan, 0.0, 3.0], "Metadata_MOA": ["stabiliser", "", "DMSO", "stabiliser"],
    "Metadata_Scored": [True, False, False, True],
    "Image_A": np.float32([1, 2.5, -3, 0]), "Cells_B/C": [0.1, 0.2, 0.3, np.nan]})
VALUES = np.float32([[1, 0.1], [2.5, 0.2], [-3, 0.3], [0, np.nan]])  # of the columns above, by hand


@pytest.fixture
def path(tmp_path):
    h5ad_writer.write(PROFILES, tmp_path / "profiles.h5ad")
    return tmp_path / "profiles.h5ad"


def test_anndata_reads_the_values_and_the_names_of_features(path):
    found = anndata.read_h5ad(path)
    assert found.shape == (4, 2)
    assert found.X.dtype == np.float32
    np.testing.assert_array_equal(found.X, VALUES)
    assert found.var_names.tolist() == ["Image_A", "Cells_B/C"]
    assert found.var.columns.empty
    np.testing.assert_array_equal(found[:, "Cells_B/C"].X, VALUES[:, 1:])
    np.testing.assert_array_equal(found[found.obs["Metadata_Compound"] == "taxol", ["Image_A"]].X, [[1], [0]])


def test_anndata_reads_the_metadata_as_categories_numbers_and_truth_values(path):
    obs = anndata.read_h5ad(path).obs
    assert obs.columns.tolist() == [name for name in PROFILES if name.startswith("Metadata_")]
    for name in ("Metadata_Plate", "Metadata_Well", "Metadata_Site", "Metadata_Compound", "Metadata_MOA"):
        assert isinstance(obs[name].dtype, pd.CategoricalDtype), name
    assert obs["Metadata_Compound"].tolist() == PROFILES["Metadata_Compound"].tolist()
    assert obs["Metadata_Compound"].cat.categories.tolist() == ["DMSO", "taxol", "ångström"]
    assert not obs["Metadata_Compound"].cat.ordered
    assert obs["Metadata_MOA"].isna().tolist() == [False, True, False, False]  # empty text is missing, and no category
    assert obs["Metadata_MOA"].cat.categories.tolist() == ["DMSO", "stabiliser"]
    assert obs["Metadata_Concentration"].dtype == float
    np.testing.assert_array_equal(obs["Metadata_Concentration"], [0.3, np.nan, 0, 3])
    assert (obs["Metadata_Scored"].dtype, obs["Metadata_Scored"].tolist()) == (bool, [True, False, False, True])
    assert obs.groupby("Metadata_MOA", observed=True).size().to_dict() == {"DMSO": 1, "stabiliser": 2}


def test_anndata_writes_the_file_again_and_reads_the_same(path, tmp_path):
    """Each part has the encoding that anndata gives it."""
    found = anndata.read_h5ad(path)
    obs = found.obs.astype(object).assign(**{  # anndata cannot write the text columns of pandas 3
        name: pd.Categorical(column.astype(object), categories=column.cat.categories.astype(object))
        if isinstance(column.dtype, pd.CategoricalDtype) else column for name, column in found.obs.items()})
    obs.index, names = obs.index.astype(object), found.var_names.astype(object)
    anndata.AnnData(X=found.X, obs=obs, var=pd.DataFrame(index=names)).write_h5ad(tmp_path / "again.h5ad")
    with h5py.File(path) as ours, h5py.File(tmp_path / "again.h5ad") as theirs:
        encodings = [{}, {}]
        for file, own in zip((ours, theirs), encodings, strict=True):
            own["/"] = dict(file.attrs)
            file.visititems(lambda name, item, own=own: own.update({name: {
                key: value for key, value in item.attrs.items() if key.startswith("encoding")}}))
        assert encodings[0] == encodings[1]


@pytest.mark.parametrize(("change", "names"), [
    ({}, ["P1_B02_1", "P1_B03_1", "P2_B02_1", "P2_B03_1"]),
    ({"Metadata_Plate": "P1"}, ["0", "1", "2", "3"]),  # two rows of a well
    ({"Metadata_Site": ["1", "2", "3", "4"], "Metadata_Plate": "P", "Metadata_Well": "A01"},
     ["P_A01_1", "P_A01_2", "P_A01_3", "P_A01_4"])])
def test_names_of_rows_are_unique(tmp_path, change, names):
    h5ad_writer.write(PROFILES.assign(**change), tmp_path / "x.h5ad")
    assert anndata.read_h5ad(tmp_path / "x.h5ad").obs_names.tolist() == names


def test_treatments_without_a_place_are_numbered(tmp_path):
    h5ad_writer.write(PROFILES.drop(columns=["Metadata_Plate", "Metadata_Well", "Metadata_Site"]), tmp_path / "x.h5ad")
    assert anndata.read_h5ad(tmp_path / "x.h5ad").obs_names.tolist() == ["0", "1", "2", "3"]


def test_a_table_without_rows_or_missing_text_is_a_file_too(tmp_path):
    h5ad_writer.write(PROFILES.iloc[:0], tmp_path / "x.h5ad")
    assert anndata.read_h5ad(tmp_path / "x.h5ad").shape == (0, 2)
    h5ad_writer.write(PROFILES.assign(Metadata_MOA=None), tmp_path / "x.h5ad")
    assert anndata.read_h5ad(tmp_path / "x.h5ad").obs["Metadata_MOA"].isna().all()


def test_profiles_that_were_written_are_scored_as_those_of_parquet(tmp_path):
    finite = PROFILES.fillna({"Cells_B/C": 0.5})
    finite.to_parquet(tmp_path / "x.parquet", index=False)
    h5ad_writer.write(finite, tmp_path / "x.h5ad")
    found, expected = (profile_table.read(tmp_path / name) for name in ("x.h5ad", "x.parquet"))
    pd.testing.assert_frame_equal(found.metadata, expected.metadata)
    assert found.names == expected.names
    np.testing.assert_array_equal(found.features_SF, expected.features_SF.astype(np.float32))


def test_values_and_names_that_the_file_cannot_hold_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"too large for float32; write parquet\n.*Cells_B/C"):
        h5ad_writer.write(PROFILES.assign(**{"Cells_B/C": 1e39}), tmp_path / "x.h5ad")
    h5ad_writer.write(PROFILES.assign(**{"Cells_B/C": np.inf}), tmp_path / "x.h5ad")  # was infinite before
    with pytest.raises(DataError, match="a name cannot be written as HDF5"):
        h5ad_writer.write(PROFILES.assign(Metadata_Compound=["a", "b", "c", "d\0e"]), tmp_path / "x.h5ad")


def test_a_missing_h5py_is_told_before_any_work(monkeypatch):
    monkeypatch.setattr(h5ad_writer.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"h5py, which is not installed; pip install h5py \(or mscnn\[profiling\]\)"):
        h5ad_writer.require_h5py()
