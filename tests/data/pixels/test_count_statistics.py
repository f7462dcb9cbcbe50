import numpy as np
import pytest

from mscnn.data.pixels.count_statistics import FIELDS, QUANTITIES, CountsRecord, field_statistics, sample, summarise

RNG = np.random.default_rng(0)


def quantity(site_CHW: np.ndarray, name: str) -> list[float]:
    return field_statistics(site_CHW)[:, QUANTITIES.index(name)].tolist()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_quantities_of_a_field_are_those_of_numpy(dtype):
    site_CHW = RNG.integers(0, np.iinfo(dtype).max, (2, 128, 130), dtype=dtype)
    flat_Cp = site_CHW.reshape(2, -1).astype(float)
    for name, share in (("low", 0.01), ("median", 0.5), ("high", 0.999)):
        assert quantity(site_CHW, name) == np.quantile(flat_Cp, share, axis=1, method="lower").tolist()
    assert quantity(site_CHW, "mean") == pytest.approx(flat_Cp.mean(axis=1).tolist())
    assert quantity(site_CHW, "sd") == pytest.approx(flat_Cp.std(axis=1).tolist())
    apart = (site_CHW[:, :, 4:].astype(float) - site_CHW[:, :, :-4]).std(axis=(1, 2))
    assert quantity(site_CHW, "middle") == pytest.approx((apart / flat_Cp.std(axis=1)).tolist())


def test_the_asymmetry_of_a_negative_is_the_opposite():
    site_CHW = RNG.poisson(3, (1, 128, 128)).astype(np.uint8) * 10
    (bright,), (dark,) = quantity(site_CHW, "asymmetry"), quantity(255 - site_CHW, "asymmetry")
    assert bright > 0.3
    assert dark == pytest.approx(-bright, abs=0.2)  # 1 % and 99.9 % are no mirror images


@pytest.mark.parametrize(("counts", "step"), [(lambda few: few * 16, 16), (lambda few: 65535 - few * 16, 16),
                                              (lambda few: few * 257 + 100, 257), (lambda few: few * 0 + 7, 0)])
def test_the_step_is_the_distance_between_grey_levels(counts, step):
    few = RNG.integers(0, 200, (1, 128, 128)).astype(int)
    assert quantity(counts(few).astype(np.uint16), "step") == [step]


def test_a_sample_has_no_period_and_is_the_same_at_each_call():
    sites = np.arange(96 * 4)
    chosen = sample(sites)
    assert chosen == sample(sites) == sorted({*chosen})
    assert len(chosen) == FIELDS
    for period in (4, 6, 8, 10, 12):
        assert len({site % period for site in chosen}) > period / 2
    assert sample(sites[:5] + 3) == [3, 4, 5, 6, 7]


@pytest.mark.parametrize("shape", [(1, 1024, 1280), (3, 7, 5), (1, 1, 1)])
def test_fields_of_any_size_give_finite_numbers(shape):
    assert np.isfinite(field_statistics(np.full(shape, 9, np.uint16))).all()


def test_a_record_holds_quantiles_over_the_fields_and_reads_back():
    statistics_SCK = RNG.normal(size=(FIELDS, 2, len(QUANTITIES)))
    record = summarise(statistics_SCK, "uint16", [0.65, 0.325, 0.65])
    assert (record.dtype, record.fields, record.pixel_sizes) == ("uint16", FIELDS, [0.325, 0.65])
    sd_SC = statistics_SCK[:, :, QUANTITIES.index("sd")]
    np.testing.assert_array_equal(record.over_fields("sd"), np.quantile(sd_SC, (0.05, 0.5, 0.95), axis=0))
    assert CountsRecord.from_json(record.to_json()) == record


@pytest.mark.parametrize("spoil", [lambda channel: channel.pop("sd"), lambda channel: channel.update(sd=[1.0, 2.0]),
                                   lambda channel: channel.update(sd=[1.0, 2.0, float("inf")]),
                                   lambda channel: channel.update(sd="wide")])
def test_a_record_that_lacks_numbers_is_refused(spoil):
    content = summarise(np.ones((3, 2, len(QUANTITIES))), "uint16", []).to_json()
    spoil(content["channels"][1])
    with pytest.raises(ValueError, match=r"quantiles|text|finite"):
        CountsRecord.from_json(content)
