"""Arrays that are no camera counts of the run's channels and size are refused, by what was found and what to do."""

import numpy as np
import pytest

from mscnn.library.counts import Expected, as_counts

EXPECTED = Expected(("DNA", "Tubulin", "Actin"), 128, 256, is_fitted=False)
GOOD = np.random.default_rng(0).integers(0, 4000, (2, 3, 128, 256)).astype(np.uint16)


def spoilt(value: float, dtype: type = np.float32) -> np.ndarray:
    """Counts with one other value."""
    fields = GOOD.astype(dtype)
    fields[1, 2, 3, 4] = value
    return fields


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int16, np.int64, np.float32, np.float64])
def test_whole_numbers_of_any_type_are_counts(dtype):
    fields = (GOOD % 256).astype(dtype)
    counts = as_counts(fields, EXPECTED)
    assert counts.dtype == (np.uint8 if dtype is np.uint8 else np.uint16)
    np.testing.assert_array_equal(counts, GOOD % 256)


def test_counts_are_not_copied():
    assert as_counts(GOOD, EXPECTED) is GOOD


@pytest.mark.parametrize(("fields", "message"), [
    ([[1, 2]], r"a numpy array \(N, C, H, W\) with channels DNA, Tubulin, Actin.*got list; convert it"),
    (GOOD[0], r"got 3 axes \(3, 128, 256\); add the first axis with fields\[None\]"),
    (GOOD[0, 0], r"got 2 axes \(128, 256\); put the images together with numpy.stack"),
    (GOOD[:0], r"at least one, got an array of shape \(0, 3, 128, 256\)"),
    (GOOD.transpose(0, 2, 3, 1), r"channels last; move them with numpy.moveaxis\(fields, -1, -3\)"),
    (GOOD[:, :2], r"trained on 3 channels \(DNA, Tubulin, Actin\), a field here has 2; give all of them, in this order"),
    (GOOD[..., :128], r"fields of 128x256 pixels \(height x width\) and does not crop or pad, a field here has 128x128; "
                      r"give .* or train with --image-size 128x256, which crops or pads"),
    (GOOD.astype(bool), "whole numbers from 0 to 65535, got an array of bool; give the camera counts"),
    (GOOD.astype(complex), "got an array of complex128; give the camera counts"),
    (spoilt(np.nan), "1 of 196,608 values are NaN or infinite; give the camera counts"),
    (spoilt(np.inf), "1 of 196,608 values are NaN or infinite"),
    (spoilt(-1, np.int32), "values here are from -1 to 3999 in int32; give the camera counts"),
    (spoilt(65536, np.int32), "values here are from 0 to 65536 in int32"),
    (spoilt(0.5), r"1 of 196,608 values are not \(from 0 to 3999 in float32\); give the camera counts"),
    (GOOD / np.float32(65535), "values look normalised: they are from 0 to 0.061.* in float.*give the camera counts"),
    ((GOOD - GOOD.mean()) / GOOD.std(), r"values look normalised: they are from -1\.7.* in float64"),
    ((GOOD / 4000).astype(np.uint16), "all values are 0, as of no image"),
])
def test_what_are_no_counts_is_refused(fields, message):
    with pytest.raises(ValueError, match=message) as caught:
        as_counts(fields, EXPECTED)
    assert "\n" not in str(caught.value)


def test_a_run_that_fits_its_fields_takes_other_sizes():
    fitting = Expected(EXPECTED.channels, 128, 256, is_fitted=True)
    assert as_counts(GOOD[..., :100], fitting).shape == (2, 3, 128, 100)


def test_whole_numbers_become_the_type_of_the_training_where_they_fit():
    eight = Expected(EXPECTED.channels, 128, 256, is_fitted=False, dtype="uint8")
    assert as_counts((GOOD % 256).astype(np.int64), eight).dtype == np.uint8
    assert as_counts(GOOD.astype(np.int64), eight).dtype == np.uint16
    assert as_counts(GOOD, eight) is GOOD
