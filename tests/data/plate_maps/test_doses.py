"""Texts of concentrations become numbers in one unit a kind."""

import math

import pandas as pd
import pytest

from mscnn.data.plate_maps.doses import looks_like_dose, read_doses


def read(texts: list[str], units: list[str] | str = ""):
    units = [units] * len(texts) if isinstance(units, str) else units
    rows = range(2, 2 + len(texts))
    found = read_doses(pd.Series(texts, rows, dtype="str"), pd.Series(units, rows, dtype="str"), "map.csv")
    return list(found.values), list(found.units), [(problem.row, problem.reason) for problem in found.problems]


SPELLINGS = [
    ("10 uM", 10, "µM"), ("10uM", 10, "µM"), ("0.3 \u00b5M", 0.3, "µM"), ("0.3 \u03bcM", 0.3, "µM"),
    ("0.3\u00a0µM", 0.3, "µM"), ("30 micromolar", 30, "µM"), ("1e-6 M", 1, "µM"), ("1E-6M", 1, "µM"), ("5 nM", 0.005, "µM"),
    ("0,3 µM", 0.3, "µM"), (",5 uM", 0.5, "µM"), (".5 uM", 0.5, "µM"), ("2 mM", 2000, "µM"), ("250 pM", 0.00025, "µM"),
    ("10ng/ml", 0.01, "µg/ml"), ("2 mg/ml", 2000, "µg/ml"), ("0.125 %", 0.125, "%"), ("0,125%", 0.125, "%"),
    ("10", 10, ""), ("0", 0, ""), ("+3", 3, ""), ("3.", 3, ""), ("3e2", 300, "")]


@pytest.mark.parametrize(("text", "value", "unit"), SPELLINGS, ids=[text for text, _, _ in SPELLINGS])
def test_a_number_with_its_unit(text, value, unit):
    assert read([text]) == ([value], [unit], [])


@pytest.mark.parametrize("text", ["", "n/a", "NA", "nan", "none", "-", "#N/A", "unknown"])
def test_what_stands_for_no_dose_is_nan_without_a_problem(text):
    values, units, problems = read([text], "uM")
    assert math.isnan(values[0])
    assert (units, problems) == ([""], [])


@pytest.mark.parametrize(("text", "reason"), [
    ("<0.1", "is a limit"), (">10 uM", "is a limit"), ("high", "is no number"), ("-3", "no number of 0 or more"),
    ("1e999", "no number of 0 or more"), ("10 uL", "'uL' is no unit"), ("1,000", "may part decimals or thousands"),
    ("1,000.5", "is no number"), ("1.000,5", "is no number"), ("10-6 M", "is no unit"), ("uM 10", "is no number"),
    ("3;4", "is no unit"), ("inf", "is no number")])
def test_what_is_no_dose_is_a_problem_with_its_row(text, reason):
    values, _, problems = read(["1", text])
    assert math.isnan(values[1])
    assert [row for row, _ in problems] == [3]
    assert reason in problems[0][1]


def test_numbers_take_the_unit_of_their_column_or_row():
    assert read(["300", "5"], ["nM", "mg_per_ml"]) == ([0.3, 5000], ["µM", "µg/ml"], [])
    assert read(["300 nM", "1"], "nM") == ([0.3, 0.001], ["µM", "µM"], [])


def test_a_cell_that_contradicts_its_column_is_a_problem():
    _, _, problems = read(["10 uM"], "nM")
    assert problems == [(2, "concentration '10 uM' nM: the cell says uM, and its column nM")]


def test_an_unknown_unit_of_a_column_is_a_problem():
    assert "'cells' is no unit" in read(["10"], "cells")[2][0][1]


def test_other_numbers_tell_what_a_comma_means():
    assert read(["0,3", "1,000"])[0] == [0.3, 1.0]                       # 0,3 can only be a decimal comma
    assert [row for row, _ in read(["0.3", "1,000"])[2]] == [3]          # beside points, it may part thousands
    assert [row for row, _ in read(["0,3", "1.000"])[2]] == [3]
    assert read(["0.300", "1.000"]) == ([0.3, 1.0], ["", ""], [])


def test_a_dose_has_six_significant_digits():
    assert read(["3.33333333333076923"], "mmoles_per_liter")[0] == [3333.33]
    assert read(["0.30000000000000004 uM"])[0] == [0.3]


@pytest.mark.parametrize(("text", "is_dose"), [("0.3", True), ("10 uM", True), ("taxol", False), ("5-FU", False),
                                               ("3 drugs", False), ("", False), ("<3", False)])
def test_a_text_that_looks_like_a_dose(text, is_dose):
    assert looks_like_dose(text) is is_dose
