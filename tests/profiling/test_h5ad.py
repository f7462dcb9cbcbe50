"""Files that anndata writes, and damaged ones."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from mscnn.core.errors import DataError
from mscnn.profiling import profile_table

h5py = pytest.importorskip("h5py", reason="h5py is not installed: requirements-profiling.txt")
anndata = pytest.importorskip("anndata", reason="anndata is not installed: requirements-dev.txt")

OBS = pd.DataFrame({
    "Metadata_Compound": ["a", "b", "DMSO", "c"], "Metadata_Concentration": [1.0, np.nan, 0.0, 0.3],
    "Metadata_MOA": pd.Categorical(["M", None, "M", "N"]), "Metadata_Plate": ["P1", "P1", "P2", "P2"],
    "Metadata_Well": ["B02", "B03", "B02", "B03"], "Metadata_Week": pd.array([1, 1, 2, None], dtype="Int64"),
    "n_cells": [5, 6, 7, 8]}, index=["r1", "r2", "r3", "r4"])
VALUES = np.array([[0, 1.5], [2, 0], [0, -3], [4, 0.25]])


def written(path, values, obs=OBS):
    """What anndata makes of them; it knows no columns of Arrow text."""
    plain = obs.assign(**{name: obs[name].astype(object) for name in obs if obs[name].dtype == "str"})
    for name in ("Metadata_MOA",):
        plain[name] = pd.Categorical(plain[name].astype(object), categories=pd.Index(["M", "N"], dtype=object))
    plain.index = plain.index.astype(object)
    anndata.AnnData(X=values, obs=plain, var=pd.DataFrame(index=pd.Index(["f1", "f2"], dtype=object))).write_h5ad(path)
    return path


@pytest.mark.parametrize("as_matrix", [np.asarray, np.float32, sparse.csr_matrix, sparse.csc_matrix])
def test_profiles_of_anndata_are_those_of_a_csv(tmp_path, as_matrix):
    """Numbers of obs that are no metadata are no features."""
    found = profile_table.read(written(tmp_path / "x.h5ad", as_matrix(VALUES)))
    pd.concat([OBS.drop(columns="n_cells"), pd.DataFrame(VALUES, columns=["f1", "f2"], index=OBS.index)], axis=1).to_csv(
        tmp_path / "x.csv", index=False)
    expected = profile_table.read(tmp_path / "x.csv")
    pd.testing.assert_frame_equal(found.metadata, expected.metadata)
    assert found.names == ["f1", "f2"]
    np.testing.assert_array_equal(found.features_SF, VALUES)


def test_what_is_no_anndata_is_refused_in_a_line(tmp_path):
    def damaged(change):
        path = written(tmp_path / "x.h5ad", VALUES)
        with h5py.File(path, "a") as file:
            change(file)
        return path

    def drop_x(file):
        del file["X"]

    def shorten(file):
        del file["X"]
        file["X"] = VALUES[:3]

    def wrong_code(file):
        file["obs/Metadata_MOA/codes"][0] = 5

    def short_column(file):
        del file["obs/Metadata_Compound"]
        file["obs/Metadata_Compound"] = ["a"]

    def old(file):
        del file["obs"].attrs["encoding-type"]

    for change, why in ((drop_x, "it has no X"), (shorten, "X is \\(3, 2\\), obs has 4 rows"),
                        (wrong_code, "codes of no category"), (short_column, "Metadata_Compound of obs has 1 of 4 rows"),
                        (old, "/obs is no data frame")):
        with pytest.raises(DataError, match=f"no readable AnnData file of anndata 0.8 or later .*{why}"):
            profile_table.read(damaged(change))
    path = written(tmp_path / "sparse.h5ad", sparse.csr_matrix(VALUES))
    with h5py.File(path, "a") as file:
        file["X/indices"][0] = 7
    with pytest.raises(DataError, match="no readable AnnData file"):
        profile_table.read(path)
    (tmp_path / "text.h5ad").write_text("no HDF5")
    with pytest.raises(DataError, match="no readable AnnData file"):
        profile_table.read(tmp_path / "text.h5ad")
