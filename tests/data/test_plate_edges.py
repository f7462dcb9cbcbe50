"""Plates whose wells are drawn, with an effect of the rim or without one."""

import numpy as np
import pandas as pd
import pytest

from mscnn.data.plate_edges import on_rim, plate_edges
from mscnn.data.quality_flags import flag_fields
from mscnn.data.tables.wells import well_name
from tests.conftest import make_table

ROWS, COLUMNS = 8, 12
PLACES = np.array([(row, column) for row in range(ROWS) for column in range(COLUMNS)])
WELLS = pd.Series([well_name(*place) for place in PLACES])
RIM = (PLACES == 0).any(axis=1) | (PLACES == (ROWS - 1, COLUMNS - 1)).any(axis=1)
CONTROLS = np.arange(len(WELLS)) % 4 == 1  # 24 wells, some on the rim


def measures(seed: int, effect: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng([9, seed])
    cells = rng.normal(100, 10, len(WELLS)) - 10 * effect * RIM
    return pd.DataFrame({"Quality_Cells": cells, "Quality_P99_DNA": rng.normal(1000, 100, len(WELLS))})


def edges_of(frame: pd.DataFrame, controls: np.ndarray = CONTROLS, wells: pd.Series = WELLS):
    return plate_edges(pd.Series(["P1"] * len(wells)), wells, controls, frame)


def test_fewer_cells_on_the_rim_are_an_edge_effect_of_their_size():
    found, = edges_of(measures(0, effect=4.0))
    assert found.is_large
    assert (found.measure, found.compared, len(found.wells)) == ("Quality_Cells", "control", RIM.sum())
    assert found.difference == pytest.approx(-4, abs=1.3)  # robust sds, of 24 wells
    assert set(found.wells) == set(WELLS[RIM])


def test_plates_without_an_effect_are_not_flagged():
    assert not any(edges_of(measures(seed))[0].is_large for seed in range(15))


def test_p_is_as_small_as_its_share_says_where_there_is_no_effect():
    p_values = np.array([edges_of(measures(seed))[0].p_value for seed in range(30)])
    assert 0.3 < np.mean(p_values) < 0.7  # uniform: sd of the mean 0.053


def test_treated_wells_are_compared_where_controls_are_few_and_never_with_controls():
    frame = measures(1)
    only_rim = RIM & (PLACES[:, 1] == 0)
    frame.loc[only_rim, "Quality_Cells"] -= 80  # controls, all in the first column, have fewer cells
    found, = edges_of(frame, controls=only_rim)
    assert (found.compared, found.is_large) == ("treated", False)


@pytest.mark.parametrize("wells", [WELLS[~RIM], WELLS[:3], pd.Series(["x", "y"])], ids=["inner", "few", "no places"])
def test_no_effect_is_told_of_plates_whose_rim_or_inside_is_not_there(wells):
    places_of_a_plate = wells.index
    found = edges_of(measures(0).iloc[places_of_a_plate], controls=CONTROLS[places_of_a_plate], wells=wells)
    assert found == ()


def test_the_rim_is_that_of_the_smallest_format_with_all_wells():
    assert on_rim(PLACES).tolist() == RIM.tolist()
    inner = np.array([(1, 1), (6, 10), (3, 3)])  # of 96 wells, as in BBBC021
    assert on_rim(inner).tolist() == [False] * 3
    assert on_rim(np.array([(7, 11), (8, 12), (15, 3)])).tolist() == [False, False, True]  # of 384 wells


def test_all_fields_on_the_rim_of_a_plate_with_a_large_effect_are_flagged():
    rows = [(plate, well, "DMSO" if control else "a") for plate in ("P1", "P2")
            for well, control in zip(WELLS, CONTROLS, strict=True)]
    frame = pd.concat([measures(0, effect=4.0), measures(1)], ignore_index=True).assign(
        Quality_Focus_DNA=-1.0, Quality_Saturated_DNA=0.0, Quality_Intensity_DNA=100.0, Quality_P05_DNA=50.0,
        Quality_Debris_DNA=500.0)
    found = flag_fields(make_table(rows, "plate well compound"), frame)
    assert found.flags.tolist() == ["edge" if rim else "" for rim in RIM] + [""] * len(WELLS)
    assert [edge.is_large for edge in found.edges] == [True, False]
