"""Synthetic plates whose field, gain and offset are known; counts that can be checked pixel by pixel."""

import dataclasses
import json
import logging

import numpy as np
import pytest
import torch

from mscnn.core.errors import DataError, UsageError
from mscnn.data.pixels import illumination
from mscnn.data.pixels.illumination import Method, percentile
from mscnn.data.pixels.plate_scale import PlateScale, _stretch, estimate, load
from mscnn.data.pixels.plate_sums import PlateSums
from mscnn.data.pixels.reference_wells import Provenance, describe, reference_sites
from mscnn.data.tables.site_table import natural
from tests.conftest import make_table

SIZE = (256, 320)
OFFSET = 400


def known_field(vignetting, bump, y, x, size=SIZE):
    """1 - vignetting r^2, r = 1 in the corners, times a broad gain off the centre; mean 1."""
    rows, columns = np.linspace(-1, 1, size[0])[:, None], np.linspace(-1, 1, size[1])
    field = 1 - vignetting * (rows**2 + columns**2) / 2
    field = field * (1 + bump * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * 0.7**2)))
    return field / field.mean()


def draw_site(field, rng, *, gain=1.0, offset=OFFSET, coverage=0.3, background=300, cells=1500, spread=1.0):
    """Counts (H, W): cells of lognormal brightness on so much of an even background, photon and camera noise.

    spread: 1 for cells all over, less for cells that stay away from the edges.
    """
    radius = 12
    image = np.zeros([side + 4 * radius for side in field.shape])  # a margin, as cells lie across edges too
    disc = np.hypot(*np.mgrid[-radius:radius + 1, -radius:radius + 1]) <= radius
    for _ in range(rng.poisson(-np.log(1 - coverage) * image.size / disc.sum())):
        y, x = ((rng.uniform(-spread, spread) + 1) / 2 * (side - 2 * radius - 1) + radius for side in image.shape)
        window = image[int(y) - radius:int(y) + radius + 1, int(x) - radius:int(x) + radius + 1]
        np.maximum(window, rng.lognormal(0, 0.4) * disc, out=window)
    photons = rng.poisson(gain * field * (background + cells * image[2 * radius:-2 * radius, 2 * radius:-2 * radius]))
    return np.clip(np.round(photons + offset + rng.normal(0, 5 * (offset > 0), field.shape)), 0, 65535).astype(np.uint16)


def summed(sites_SCHW, size=None, part=slice(None)):
    sums = PlateSums.empty(len(sites_SCHW), sites_SCHW.shape[1], size or sites_SCHW.shape[2:], sites_SCHW.dtype)
    for slot in range(len(sites_SCHW))[part]:
        sums.add(sites_SCHW[slot], slot)
    return sums


KNOWN = {"P1": ((0.35, 0.12, 0.3, -0.4), 1.0), "P2": ((0.2, 0.15, -0.5, 0.2), 0.6), "P10": ((0.45, 0.1, 0.1, 0.5), 1.5)}


def known_plates(num_sites, **drawn):
    """{plate: sums} of three plates of one channel, each with a field and gain of its own."""
    sums = {}
    for seed, (plate, (shape, gain)) in enumerate(KNOWN.items()):
        rng, field = np.random.default_rng(seed), known_field(*shape)
        sums[plate] = summed(np.stack([draw_site(field, rng, gain=gain, **drawn)[None] for _ in range(num_sites)]))
    return sums


@pytest.fixture(scope="module")
def plates():
    return known_plates(60)


def full_field(intensity, plate):
    """The field that apply divides by, found from outside: what a site of even light comes out as."""
    even = np.full((1, *intensity.size), 20_000, np.uint16)
    plain = dataclasses.replace(intensity, shift_PC=0 * intensity.shift_PC, scale_PC=1 + 0 * intensity.scale_PC)
    return (20_000 - intensity.offset) / plain.apply(even, plate)[0]


def worst(intensity):
    """Largest relative error of a field, over all its pixels and over plates, in the maximum norm."""
    return max(np.abs(full_field(intensity, plate) / known_field(*shape) - 1).max() for plate, (shape, _) in KNOWN.items())


def test_fields_and_gains_are_found_within_2_percent_of_60_sites_where_the_offset_is_known(plates):
    intensity = estimate(plates, Method(offset=OFFSET, scaling="background"), Provenance())
    assert worst(intensity) < 0.02
    gains = dict(zip(intensity.plates, intensity.scale_PC[:, 0] / intensity.scale_PC[0, 0], strict=True))
    for plate, (_, gain) in KNOWN.items():
        assert gains[plate] == pytest.approx(gain, rel=0.02)


def test_the_offset_is_found_from_fields_that_differ_in_light_alone(plates):
    """Within 4 % of the background's light in three draws; what is left in doubt tells in the field's corners."""
    intensity = estimate(plates, Method(scaling="background"), Provenance())
    assert intensity.offset == pytest.approx(OFFSET, abs=0.05 * 300)
    assert worst(intensity) < 0.03
    gains = intensity.scale_PC[:, 0] / intensity.scale_PC[0, 0]
    np.testing.assert_allclose(gains, [KNOWN[plate][1] for plate in intensity.plates], rtol=0.03)


def test_an_offset_that_is_left_out_hides_most_of_the_field(plates):
    assert worst(estimate(plates, Method(offset=0), Provenance())) > 0.1


@pytest.mark.parametrize("offset", [0, OFFSET])
def test_16_sites_are_enough_for_a_field_within_2_percent(offset):
    assert worst(estimate(known_plates(16, offset=offset), Method(offset=offset), Provenance())) < 0.02


def test_cells_that_stay_away_from_the_edges_do_not_bend_the_field():
    assert worst(estimate(known_plates(16, spread=0.8), Method(offset=OFFSET), Provenance())) < 0.02


def test_several_channels_are_measured_each_by_itself_with_the_camera_in_common():
    """The dim second channel tells little of the offset, the median of three holds."""
    rng = np.random.default_rng(7)
    fields = [known_field(0.4, 0.1, 0.3, 0.3), known_field(0.3, 0.1, -0.3, 0), known_field(0.2, 0, 0, 0)]
    sites = np.stack([np.stack([draw_site(field, rng, background=background) for field, background
                                in zip(fields, (300, 30, 200), strict=True)]) for _ in range(24)])
    intensity = estimate({"P": summed(sites)}, Method(), Provenance())
    assert intensity.offset == pytest.approx(OFFSET, abs=40)
    known = estimate({"P": summed(sites)}, Method(offset=OFFSET), Provenance())
    assert known.offset == OFFSET
    for channel, field in enumerate(fields):
        alone = estimate({"P": summed(sites[:, [channel]])}, Method(offset=OFFSET), Provenance())
        np.testing.assert_array_equal(known.field_PChw[:, channel], alone.field_PChw[:, 0])
        if channel != 1:
            assert np.abs(full_field(alone, "P") / field - 1).max() < 0.02


def test_flattened_plates_have_the_percentiles_that_they_are_scaled_by():
    """One pixel a block stands for all: 60 sites, two percentiles, errors of sampling."""
    rng, field = np.random.default_rng(5), known_field(0.4, 0.1, 0, 0.5)
    sites = np.stack([draw_site(field, rng)[None] for _ in range(60)])
    intensity = estimate({"P": summed(sites)}, Method(offset=OFFSET, low=5, high=95), Provenance())
    out = np.stack([intensity.apply(site, "P") for site in sites])
    np.testing.assert_allclose(np.percentile(out, [5, 95]), [0, 1], atol=0.02)


def test_shares_of_a_plate_add_up_to_the_same_bits_in_any_order_and_grouping():
    rng = np.random.default_rng(0)
    sites = rng.integers(0, 65536, (7, 2, 100, 131), dtype=np.uint16)
    whole = summed(sites)
    for size in (1, 2, 5):
        shares = [summed(sites, part=slice(rank, None, size)) for rank in range(size)]
        left = right = PlateSums.empty(7, 2, (100, 131), np.uint16)
        for share in shares:
            left = left.merge(share)
        for share in reversed(shares):
            right = share.merge(right)
        parts = zip(*(share.to_arrays() for share in shares), strict=True)
        reduced = [np.sum([array.astype(np.float64) for array in part], axis=0) for part in parts]
        for other in (left, right, PlateSums.from_arrays(reduced, (100, 131))):
            for mine, theirs in zip(whole.to_arrays(), other.to_arrays(), strict=True):
                assert mine.dtype == theirs.dtype
                np.testing.assert_array_equal(mine, theirs)
    with pytest.raises(AssertionError, match="measured twice"):
        whole.merge(whole)
    with pytest.raises(AssertionError, match="share of the sums is missing"):
        estimate({"P": summed(sites, part=slice(0, 3))}, Method(), Provenance())


def test_sums_are_those_of_the_pixels():
    sites = np.random.default_rng(0).integers(0, 65536, (2, 1, 128, 200), dtype=np.uint16)  # blocks of 3 x 3
    sums = summed(sites)
    np.testing.assert_array_equal(sums.histogram_CK[0], np.bincount(sites.ravel(), minlength=65536))
    assert sums.block_means(0).shape == (2, 42, 66)
    assert sums.block_means(0)[1, 4, 7] == sites[1, 0, 12:15, 21:24].mean()
    assert sums.pixels_SChw[1, 0, 4, 7] == sites[1, 0, 13, 22]
    bright = summed(np.full((1, 1, 1024, 1280), 65535, np.uint16))
    assert (bright.block_means(0) == 65535).all()
    assert summed((sites >> 8).astype(np.uint8)).histogram_CK.shape == (1, 256)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_percentiles_of_a_histogram_are_those_of_its_pixels(dtype):
    pixels = np.random.default_rng(1).gamma(2, 30, 5003).clip(0, 255).astype(dtype)
    counts = np.bincount(pixels, minlength=2 ** (8 * pixels.itemsize))
    for percent in (0, 0.1, 1, 33.3, 50, 99, 99.9, 100):
        assert percentile(counts, np.arange(len(counts)), percent) == pytest.approx(
            np.percentile(pixels, percent, method="linear"), rel=1e-12)


@pytest.mark.parametrize("scaling", ["percentile", "mean-sd"])
@pytest.mark.parametrize(("transform", "by_hand"), [
    ("none", lambda x: x), ("arcsinh", lambda x: np.arcsinh(x / 50)),
    ("anscombe", lambda x: 2 * np.sqrt(np.maximum(x, 0) + 0.375))])
def test_without_a_field_scales_are_those_of_all_transformed_pixels(scaling, transform, by_hand):
    sites = np.random.default_rng(2).gamma(2, 300, (3, 2, 64, 80)).astype(np.uint16)
    method = Method(illumination=False, offset=100, scaling=scaling, transform=transform, cofactor=50, low=2, high=98)
    intensity = estimate({"P": summed(sites)}, method, Provenance())
    values = by_hand(sites.astype(float) - 100).swapaxes(0, 1).reshape(2, -1)
    if scaling == "percentile":
        shift, high = np.percentile(values, [2, 98], axis=1)
        scale = high - shift
    else:
        shift, scale = values.mean(axis=1), values.std(axis=1)
    np.testing.assert_allclose(intensity.shift_PC[0], shift, rtol=1e-10)
    np.testing.assert_allclose(intensity.scale_PC[0], scale, rtol=1e-10)
    expected = (by_hand(sites[0].astype(float) - 100) - shift[:, None, None]) / scale[:, None, None]
    out = intensity.apply(sites[0], "P")
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)  # float32 against float64


def test_a_field_is_stretched_from_corner_to_corner_as_torch_does():
    small = np.random.default_rng(0).uniform(0.5, 2, (5, 7)).astype(np.float32)
    by_torch = torch.nn.functional.interpolate(torch.from_numpy(small)[None, None], (41, 90), mode="bilinear",
                                               align_corners=True)[0, 0]
    np.testing.assert_allclose(_stretch(small, (41, 90)), by_torch, rtol=1e-5)
    assert (_stretch(np.ones((1, 1), np.float32), (4, 4)) == 1).all()


def test_a_dark_or_constant_channel_stays_finite_and_a_field_is_never_near_zero():
    constant = np.stack([np.zeros((64, 64)), np.full((64, 64), 65535)]).astype(np.uint16)
    for scaling in ("percentile", "mean-sd", "background"):
        intensity = estimate({"P": summed(constant[None])}, Method(scaling=scaling), Provenance())
        assert np.isfinite(intensity.apply(constant, "P")).all()
    steep = illumination.normalised(np.linspace(-1, 9, 400).reshape(20, 20))
    assert steep.min() >= illumination.FLOOR
    assert (illumination.normalised(np.full((4, 4), -3.0)) == 1).all()


ROWS = [("P1", "A1", "DMSO"), ("P1", "A2", "dmso"), ("P1", "A3", "known"), ("P1", "A4", "secret"),
        ("P2", "A1", "known"), ("P2", "A2", "known"), ("P2", "A3", "secret"), ("P3", "A1", "secret")]


def small_screen():
    table = make_table(ROWS, "plate well compound")
    return table, (table.frame["compound"] == "known").to_numpy()


def test_each_plate_is_measured_in_its_controls_and_says_so_where_it_has_none():
    table, allowed = small_screen()
    reference = reference_sites(table, allowed)
    assert {plate: sites.tolist() for plate, sites in reference.sites.items()} == {"P1": [0, 1], "P2": [4, 5]}
    assert (reference.fell_back, reference.unmeasured) == (("P2",), ("P3",))
    assert reference.notes() == ["plate P2: measured in all its wells that may be used, it has none of DMSO: 2 sites in 2 "
                                 "wells",
                                 "plate P3: not measured, it has no site that may be used"]
    assert describe(table, reference).measured["P1"] == "wells of DMSO: 2 sites in 2 wells"
    assert reference_sites(table, allowed, "KNOWN").sites["P1"].tolist() == [2]
    assert len(reference_sites(table, allowed, limit=1).sites["P2"]) == 1
    without = table.select(np.flatnonzero(~table.is_control()))  # no untreated well anywhere
    assert reference_sites(without, np.ones(len(without), bool)).fell_back == tuple(
        sorted(set(without.frame["plate"]), key=natural))
    with pytest.raises(DataError, match="no site of reference compound 'nobody'"):
        reference_sites(table, allowed, "nobody")
    with pytest.raises(DataError, match="no plate has a site"):
        reference_sites(table.select(np.array([3, 6, 7])), np.zeros(3, bool), "secret")


@pytest.mark.parametrize("compound", [None, "known", "secret"])
def test_treated_wells_of_the_test_side_are_never_measured(compound):
    """Even as the reference compound; absurd values in them change no bit."""
    table, allowed = small_screen()
    rng = np.random.default_rng(0)
    pixels = rng.poisson(500, (len(table), 1, 64, 64)).astype(np.uint16)
    absurd = pixels.copy()
    absurd[(table.frame["compound"] == "secret").to_numpy()] = 65535
    reference = reference_sites(table, allowed, compound)
    found = [estimate({plate: summed(values[sites]) for plate, sites in reference.sites.items()}, Method(), Provenance())
             for values in (pixels, absurd)]
    assert "P3" not in reference.sites
    for one, other in zip(*(intensity.to_record().arrays.values() for intensity in found), strict=True):
        np.testing.assert_array_equal(one, other)


def tiny() -> PlateScale:
    sites = np.random.default_rng(3).poisson(500, (4, 2, 64, 80)).astype(np.uint16)
    return estimate({"P2": summed(sites), "P10": summed(sites * 2)}, Method(scaling="mean-sd"),
                    Provenance(channels=["DNA", "RNA"], week={"P2": "Week1", "P10": "Week1"}))


def test_a_plate_that_was_not_measured_gets_the_mean_and_is_named_once(caplog):
    intensity = tiny()
    with caplog.at_level(logging.WARNING, "mscnn"):
        assert intensity.covers(["P2", "P10", "P2"])
        assert not intensity.covers(["P9", "P2", "P9", "P11"])
    assert [record.getMessage() for record in caplog.records] == [
        "intensity: 2 plates were not measured and get the mean of the 2 that were: P9, P11"]
    mean = dataclasses.replace(intensity, plates=("mean",), **{name: getattr(intensity, name).mean(axis=0, keepdims=True)
                               for name in ("field_PChw", "shift_PC", "scale_PC")})
    site = np.random.default_rng(4).poisson(500, (2, 64, 80)).astype(np.uint16)
    np.testing.assert_array_equal(intensity.apply(site, "P9"), mean.apply(site, "mean"))


def test_what_is_saved_comes_back_bit_for_bit_and_readable(tmp_path):
    intensity = tiny()
    intensity.save(tmp_path / "new")
    again = load(tmp_path / "new")
    assert (again.plates, again.size, again.method) == (("P2", "P10"), (64, 80), intensity.method)
    assert again.provenance == intensity.provenance
    for name, array in intensity.to_record().arrays.items():
        assert again.to_record().arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(again.to_record().arrays[name], array)
    facts = json.loads((tmp_path / "new" / "intensity.json").read_text())
    assert facts["method"]["scaling"] == "mean-sd"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["intensity.json", "intensity.npz"]


def test_what_is_cut_short_foreign_or_missing_is_refused_in_one_line(tmp_path):
    tiny().save(tmp_path)
    packed, text = (tmp_path / "intensity.npz").read_bytes(), (tmp_path / "intensity.json").read_text()

    def refused(match, packed=packed, text=text):
        (tmp_path / "intensity.npz").write_bytes(packed)
        (tmp_path / "intensity.json").write_text(text)
        with pytest.raises(DataError, match=match) as refusal:
            load(tmp_path)
        assert "\n" not in str(refusal.value)
        assert "measure the plates again" in str(refusal.value)

    refused("not the file that", packed=packed[:-100])
    refused("not the file that", text=text.replace('"sha256": "', '"sha256": "0'))
    refused("no usable", text=text[:50])
    refused("no usable", text="[]")
    refused("format 9", text=text.replace('"format": 1', '"format": 9'))
    refused("do not fit", text=text.replace('"P2",\n  "P10"', '"P2"'))
    refused("unexpected keyword", text=text.replace('"cofactor"', '"factor"'))
    with pytest.raises(DataError, match="No such file"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize("wrong", [{"scaling": "max"}, {"transform": "log"}, {"low": 5, "high": 5}, {"cofactor": 0},
                                   {"offset": -1}, {"degree": 7}, {"scaling": "background", "transform": "arcsinh"}])
def test_methods_that_cannot_work_are_refused(wrong):
    with pytest.raises(UsageError):
        Method(**wrong)
