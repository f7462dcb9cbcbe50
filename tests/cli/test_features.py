"""Handcrafted features as parquet and as AnnData."""

import numpy as np
import pandas as pd
import pytest

from mscnn.cli import features
from mscnn.core.errors import UsageError
from mscnn.data.tables.site_table import read_sites
from mscnn.evaluation import compare_baselines


def test_features_are_the_same_in_both_formats_and_baselines_read_both(tiny_screen, tmp_path):
    anndata = pytest.importorskip("anndata", reason="anndata is not installed: requirements-dev.txt")
    for name in ("x.parquet", "x.h5ad"):
        features.main(["--sites", str(tiny_screen), "--out", str(tmp_path / name), "--workers", "1"])
    expected, found = pd.read_parquet(tmp_path / "x.parquet"), anndata.read_h5ad(tmp_path / "x.h5ad")
    names = [name for name in expected if not name.startswith("Metadata_")]
    assert found.var_names.tolist() == names
    np.testing.assert_array_equal(found.X, expected[names].to_numpy(np.float32))
    assert found.obs["Metadata_Plate"].tolist() == expected["Metadata_Plate"].tolist() == ["00123"] * 12
    assert found.obs_names[0] == "00123_B02_1"
    table = read_sites(tiny_screen)
    one, other = (compare_baselines._features(tmp_path, table, tmp_path / name, None, 1)
                  for name in ("x.parquet", "x.h5ad"))
    pd.testing.assert_frame_equal(other, one, rtol=1e-6)  # float32


@pytest.mark.parametrize("name", ["x.csv", "h5ad", "x.h5ad.gz"])
def test_other_formats_are_refused(name):
    with pytest.raises(UsageError, match=r"out must be a \.parquet or \.h5ad file"):
        features.FeaturesSettings(sites="a.csv", out=name)
