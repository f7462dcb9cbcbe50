"""Names that look alike are one; names that people tell apart stay two."""

import numpy as np
import pandas as pd
import pytest

from mscnn.core import identity

SAME = [
    ("Taxol", "taxol"), ("ICI 182,780", "ICI\u00a0182,780"), ("ICI 182,780", " ICI\u2009 182,780\u3000"),
    ("taxol", "tax\u200bol"), ("taxol", "\ufefftaxol"), ("taxol", "tax\u00adol"), ("taxol", "taxol\u2060"),
    ("AB 1", "AB\t1"), ("ab", "a\u034fb"),
    ("ab", "a\ufe0fb"), ("ab", "a\u3164b"), ("ab", "a\x1bb"), ("SB-203580", "SB\u2011203580"),
    ("SB-203580", "SB\u2013203580"), ("SB-203580", "SB\u2212203580"), ("5'-x", "5\u2019-x"), ("5'-x", "5\u2032-x"),
    ("5 \u00b5M", "5 \u03bcM"),
    ("\uff34axol", "Taxol"), ("\u00e9", "e\u0301"), ("STRASSE", "stra\u00dfe"), ("\ufb01x", "fix"), ("Taxol", "T\u0430xol"),
    ("TAXOL", "\u03a4\u0391\u03a7\u039fL"), ("H2", "H\u00b2"),
    ("\u0412\u041e\u0414\u0410", "\u0432\u043e\u0434\u0430"),  # one Cyrillic word in two cases
]


@pytest.mark.parametrize(("name", "other"), SAME)
def test_spellings_that_look_alike_are_one(name, other):
    assert identity.is_same(name, other)
    assert identity.normal_form(identity.normal_form(other)) == identity.normal_form(other)


@pytest.mark.parametrize(("name", "other"), [
    ("AB1", "AB 1"), ("AB-1", "AB1"), ("007", "7"), ("5 mM", "5 \u03bcM"), ("A+", "A"), ("cpd l", "cpd 1"), ("O2", "02"),
    ("(+)-x", "(-)-x"), ("x_1", "x-1"), ("a.b", "a,b")])
def test_names_that_differ_stay_apart(name, other):
    assert not identity.is_same(name, other)


def test_wells_sites_and_doses_have_normal_forms():
    assert {identity.well(name) for name in ("A1", "A01", "a01", "a001", " A\u200b1 ", "A - 1", "A-01", "A 1", "R01C01",
                                             "r1c1", "R01-C01")} == {"a01"}
    assert {identity.well(name) for name in ("AF48", "af - 48", "R32C48")} == {"af48"}
    assert len({identity.well(name) for name in ("A1", "A10", "AA1", "B1", "A1 left", "A--1", "R1", "R53C1", "R0C1")}) == 9
    assert {identity.number(name) for name in ("1", "01", "1.0", " 1")} == {"1"}
    assert len({identity.number(name) for name in ("1", "10", "s1", "1.5", "")}) == 5
    assert {identity.dose(value) for value in (0.3, 0.30000000000000004, float(np.float32(0.3)), 0.1 + 0.2)} == {0.3}
    assert len({identity.dose(value) for value in (0.3, 0.300001, 0.0, 1e-12, 2e-12)}) == 5
    assert np.isnan(identity.dose(float("nan")))


def test_lists_and_columns_of_names_are_compared_by_normal_form():
    assert identity.in_common(["Taxol", "b", "taxol "], ["TAXOL", "c"]) == ["Taxol", "taxol "]
    assert identity.spellings(["Taxol", "b", "taxol", "b"]) == [["Taxol", "taxol"]]
    column = pd.Series(["A1", "a01", ""], index=[2, 4, 6])
    pd.testing.assert_series_equal(identity.normal_forms(column, "well"), pd.Series(["a01", "a01", ""], index=[2, 4, 6]))
    assert identity.normal_forms(pd.Series([], dtype=str)).tolist() == []


def test_what_programs_write_for_nothing_is_missing():
    assert all(map(identity.is_missing, ["", " ", "nan", "NaN", "N/A", "#N/A", "<NA>", "NaT", "NULL"]))
    assert not any(map(identity.is_missing, ["NA", "None", "unknown", "DMSO", "0"]))
    assert all(map(identity.is_not_known, ["", "nan", "n/a", "NA", "None", "Unknown", "\u2014", "?", "n.d."]))
    assert not any(map(identity.is_not_known, ["DMSO", "Nav inhibitors", "0"]))
