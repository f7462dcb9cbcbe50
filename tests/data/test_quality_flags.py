"""Drawn plates with phenotypes: good fields have no flags, fields that are spoilt on purpose have theirs."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mscnn.data.pixels import quality
from mscnn.data.pixels.read_pixels import read_pixels
from mscnn.data.quality_flags import flag_fields, summary
from mscnn.data.tables.bbbc021 import find_csvs, read_bbbc021
from mscnn.data.tables.site_table import SiteTable
from mscnn.synthetic.plates import write_plates
from tests.conftest import make_table
from tests.data.drawn_quality import SPOILT

CHANNELS = ("DNA", "Tubulin", "Actin")


@pytest.fixture(scope="module")
def plates(tmp_path_factory) -> SiteTable:
    """A drawn plate of six mechanisms at eight doses, and DMSO."""
    folder = tmp_path_factory.mktemp("plates")
    write_plates(folder, compounds_per_mechanism=1, plates_per_week=1, seed=3)
    return read_bbbc021(*find_csvs(folder))


@pytest.fixture(scope="module")
def measures(plates) -> pd.DataFrame:
    return pd.DataFrame([quality.measure(read_pixels(plates, site), nuclei=0) for site in range(len(plates))],
                        columns=quality.columns(CHANNELS))


def test_fewer_than_one_in_a_hundred_good_fields_is_flagged(plates, measures):
    assert len(plates) >= 50
    assert (flag_fields(plates, measures).flags != "").mean() < 0.01


@pytest.mark.parametrize("flag", SPOILT)
def test_all_fields_that_are_spoilt_are_flagged_for_it_and_no_other_field_is(plates, measures, flag):
    spoilt, sites = measures.copy(), np.linspace(2, len(plates) - 3, 6).round().astype(int)
    for site in sites:
        site_CHW = SPOILT[flag](read_pixels(plates, site), np.random.default_rng([1, site]))
        spoilt.loc[site] = quality.measure(site_CHW, nuclei=0)
    flags = flag_fields(plates, spoilt).flags
    assert [flag in flags[site].split(";") for site in sites] == [True] * len(sites), flags[sites]
    assert (np.delete(flags, sites) != "").mean() < 0.01


def test_a_plate_that_is_stained_less_is_not_dim_and_one_that_is_all_out_of_focus_is_blurred(plates, measures):
    copies = [plates.frame.assign(plate=name) for name in ("off", "b", "c", "d")]
    plates = replace(plates, frame=pd.concat(copies, ignore_index=True))
    measures = pd.concat([measures] * 4, ignore_index=True)
    is_first = (plates.frame["plate"] == "off").to_numpy()
    counts = [name for name in measures if name.split("_")[1] in ("Intensity", "P05", "P99", "Debris")]
    weak, soft = measures.copy(), measures.copy()
    weak.loc[is_first, counts] /= 5
    assert (flag_fields(plates, weak).flags != "").mean() < 0.01
    soft.loc[is_first, [f"Quality_Focus_{name}" for name in CHANNELS]] -= 2
    flags = flag_fields(plates, soft).flags
    assert (flags[is_first] == "blurred").mean() > 0.9
    assert set(flags[~is_first]) == {""}


def test_a_field_is_compared_with_control_wells_where_there_are_eight():
    """Half of the fields are treated and three times as bright as the controls; one is twelve times as bright."""
    table = make_table([("DMSO",)] * 10 + [("a",)] * 10, "compound")
    level = np.repeat([1000.0, 3000.0], 10) + np.tile(np.arange(10.0), 2)
    level[-1] = 120000
    frame = pd.DataFrame(dict.fromkeys(quality.columns(("DNA",)), level)).assign(
        Quality_Cells=5.0, Quality_Focus_DNA=-1.0, Quality_Saturated_DNA=0.0, Quality_P05_DNA=100.0)
    assert flag_fields(table, frame).flags.tolist() == [""] * 19 + ["bright"]
    few = replace(table, control="b")  # no control wells: all fields are the reference
    assert flag_fields(few, frame).flags.tolist() == [""] * 19 + ["bright"]


def test_what_could_not_be_measured_is_no_flag():
    table = make_table([("DMSO",)] * 3, "compound")
    frame = pd.DataFrame(np.zeros((3, 1 + len(quality.KINDS))), columns=quality.columns(("DNA",)))
    frame["Quality_Focus_DNA"] = np.nan
    frame["Quality_P99_DNA"] = 10.0
    assert flag_fields(table, frame).flags.tolist() == [""] * 3


def test_flags_are_summed_up_in_one_line():
    assert summary(["", "blurred", "empty;blurred", "empty;blurred"]) == "3 of 4 fields flagged: 3 blurred, 2 empty"
    assert summary([""] * 1200) == "0 of 1,200 fields flagged"
