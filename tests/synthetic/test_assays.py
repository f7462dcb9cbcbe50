import numpy as np
import pandas as pd

from mscnn.synthetic.assays import EMPTY, FLIPPED, draw_assays, write_assays

MECHANISMS = [name for name in ("M", "N", "O", "P", "") for _ in range(50)]


def test_a_third_of_the_cells_is_empty_and_one_value_in_twenty_flipped():
    values = draw_assays(MECHANISMS, 40, seed=1)
    assert values.shape == (250, 40)
    assert np.isnan(values).sum() == round(EMPTY * values.size)
    share = np.nanmean(values.reshape(5, 50, 40), axis=1)  # active share of each mechanism in each assay
    assert ((share < 0.3) | (share > 0.7)).all()
    assert abs(np.minimum(share, 1 - share).mean() - FLIPPED) < 4 * np.sqrt(FLIPPED / np.isfinite(values).sum())
    active = (share > 0.5)[:4].sum(axis=0)
    assert set(active) == {1, 2}  # of four mechanisms, from one to half
    assert not (share[4] > 0.5).any()  # inert


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        write_assays(tmp_path / name, [("a", "M"), ("b,1", "N"), ("c", "")], 12, seed)
    one, same, other = ((tmp_path / name).read_bytes() for name in ("one", "same", "other"))
    assert one == same != other
    table = pd.read_csv(tmp_path / "one")
    assert table["compound"].tolist() == ["a", "b,1", "c"]
    assert list(table)[1:] == [f"assay-{place:02d}" for place in range(1, 13)]
    assert set(np.unique(table.iloc[:, 1:].to_numpy(float)[table.iloc[:, 1:].notna()])) <= {0, 1}
