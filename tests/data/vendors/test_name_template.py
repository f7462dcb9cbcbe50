import pytest

from mscnn.core.errors import UsageError
from mscnn.data.vendors.name_template import compile_template, place_of_number


@pytest.mark.parametrize(("template", "text", "fields"), [
    ("{plate}/{well}_s{site}_w{channel}.tif", "P 1/B2_s3_w4.TIF",
     {"plate": "P 1", "well": "B2", "site": "3", "channel": "4"}),
    ("{plate}_{well}_{channel}.tif", "a_b_C03_DAPI.tif", {"plate": "a_b", "well": "C03", "channel": "DAPI"}),
    ("r{row}c{column}f{site}*.tiff", "r02c13f4p1-ch1.tiff", {"row": "02", "column": "13", "site": "4"}),
    ("{row} - {column}(fld {site} wv {channel}).tif", "B - 02(fld 1 wv UV - DAPI).tif",
     {"row": "B", "column": "02", "site": "1", "channel": "UV - DAPI"}),
    ("{*}_{well}_T{time}F{site}L*A*Z{z}C{channel}.tif", "x_y_A01_T0002F003L01A01Z04C05.tif",
     {"well": "A01", "time": "0002", "site": "003", "z": "04", "channel": "05"}),
    ("{well}_{channel}*.tif", "A1_12abc.tif", {"well": "A1", "channel": "12"}),
    ("**/{plate}/{well}.png", "a/b/c/B - 3.png", {"plate": "c", "well": "B - 3"}),
    ("**/{plate}/{well}.png", "c/R2C03.png", {"plate": "c", "well": "R2C03"}),
    ("{plate}/{plate}_{well}.tif", "P1/P1_A01.tif", {"plate": "P1", "well": "A01"}),
    (".\\{plate}\\{well}.tif", "P1/A01.tif", {"plate": "P1", "well": "A01"}),
    ("W{well96}C{channel}.tif", "W0013C1.tif", {"well96": "0013", "channel": "1"}),
    ("[a]({well}).tif", "[a](A01).tif", {"well": "A01"}),
])
def test_a_template_finds_its_fields(template, text, fields):
    match = compile_template(template).fullmatch(text)
    assert match
    assert match.groupdict() == fields


@pytest.mark.parametrize(("template", "text"), [
    ("{plate}/{plate}_{well}.tif", "P1/P2_A01.tif"), ("{plate}/{well}.tif", "a/b/A01.tif"), ("*{well}.tif", "a/A01.tif"),
    ("{well}_s{site}.tif", "A01_s.tif"), ("{well}_z{z}.tif", "A01_za.tif"), ("{well}.tif", "A01xtif"),
    ("{well}.tif", "A01.tiff"),
])
def test_what_does_not_fit_has_no_match(template, text):
    assert compile_template(template).fullmatch(text) is None


@pytest.mark.parametrize(("template", "reason"), [
    ("{plate}/{wel}.tif", r"no field \{wel\}; did you mean \{well\}\? the fields are \{plate\} \{well\}"),
    ("{well}_{dose}.tif", r"no field \{dose\}; the fields are"), ("{}_{well}.tif", r"no field \{\}"),
    ("{well", r"the brace \{ has no partner"), ("well}_{well}", r"the brace \} has no partner"),
    ("{{well}}", "has no partner"), ("{plate}_{site}.tif", "must tell the well once"), ("", "must tell the well once"),
    ("{well}_{row}{column}.tif", "must tell the well once"), ("{row}_{site}.tif", "must tell the well once"),
    ("{well}_{row}.tif", "must tell the well once"), ("{well}{well96}", "must tell the well once"),
    ("*_*_*_*_*_*_*_*_*_{well}.tif", r"has 9 times \*"),
])
def test_a_malformed_template_is_refused_in_one_line(template, reason):
    with pytest.raises(UsageError, match=reason) as refusal:
        compile_template(template)
    assert "\n" not in str(refusal.value)


def test_numbers_of_wells_count_along_rows():
    places = [place_of_number(number, 96) for number in (1, 12, 13, 96, 0, 97)]
    assert places == [(0, 0), (0, 11), (1, 0), (7, 11), None, None]
    assert place_of_number(25, 384) == (1, 0)
    assert place_of_number(1536, 1536) == (31, 47)


def test_as_many_wild_parts_as_are_allowed_do_not_hang():
    assert compile_template("*_*_*_*_*_*_*_*{well}.tif").fullmatch("_".join("abcdefghijkl") + "_.tif") is None
