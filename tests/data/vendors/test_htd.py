from pathlib import Path

import pytest

from mscnn.core.errors import DataError
from mscnn.data.vendors.htd import is_htd, read_htd


def htd_text(**changes: str | None) -> str:
    """An HTD of 2 x 3 wells, A02 and B01 selected, sites 1 and 2 of a grid of 2 x 2, DAPI and GFP. None takes a key out."""
    values = {"HTSInfoFile": "Version 1.0", "Description": '"a plate"', "TimePoints": "1", "ZSeries": "FALSE",
              "ZSteps": "1", "XWells": "3", "YWells": "2", "WellsSelection1": "FALSE, TRUE, FALSE",
              "WellsSelection2": "TRUE, FALSE, FALSE", "Sites": "TRUE", "XSites": "2", "YSites": "2",
              "SiteSelection1": "TRUE, TRUE", "SiteSelection2": "FALSE, FALSE",
              "Waves": "TRUE", "NWavelengths": "2", "WaveName1": '"DAPI"', "WaveName2": '"GFP"', "WaveCollect1": "1",
              "WaveCollect2": "1", **changes}
    lines = [f'"{key}", {value}' for key, value in values.items() if value is not None]
    return "\r\n".join([*lines, '"EndFile"', ""])


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_wells_sites_and_wavelengths_are_those_declared(tmp_path):
    htd = read_htd(write(tmp_path / "a.HTD", htd_text()))
    assert (htd.rows, htd.columns, htd.wells) == (2, 3, ("A02", "B01"))
    assert (htd.sites, htd.has_sites) == (2, True)
    assert (htd.waves, htd.collected, htd.has_waves) == ({1: "DAPI", 2: "GFP"}, (1, 2), True)


def test_one_site_and_one_wavelength_have_no_part_in_the_names(tmp_path):
    htd = read_htd(write(tmp_path / "a.HTD", htd_text(Sites="FALSE", Waves="FALSE", NWavelengths="1")))
    assert (htd.sites, htd.has_sites, htd.waves, htd.has_waves) == (1, False, {1: "DAPI"}, False)


def test_a_grid_without_marks_is_all_selected_and_a_wavelength_of_0_is_not_imaged(tmp_path):
    htd = read_htd(write(tmp_path / "a.HTD", htd_text(SiteSelection1=None, SiteSelection2=None, WaveCollect1="0")))
    assert (htd.sites, htd.collected) == (4, (2,))


def test_two_wavelengths_of_one_name_are_told_apart_and_a_nameless_one_has_its_number(tmp_path):
    htd = read_htd(write(tmp_path / "a.HTD", htd_text(NWavelengths="4", WaveName2='"DAPI"', WaveName4='"a, b"')))
    assert htd.waves == {1: "DAPI (w1)", 2: "DAPI (w2)", 3: "3", 4: "a,b"}


@pytest.mark.parametrize("description", [b"\xc2\x81 ok", b"20\xb5m \xff\x81", b"\x85\x0b\x0c line", "Größe µm".encode()])
def test_descriptions_of_any_bytes_are_no_fault(tmp_path, description):
    raw = htd_text().encode().replace(b"a plate", description)
    assert read_htd(write(tmp_path / "a.HTD", raw)).wells == ("A02", "B01")


@pytest.mark.parametrize("ending", [b"\n", b"\r"])
def test_other_line_ends_and_a_byte_order_mark_are_read(tmp_path, ending):
    raw = b"\xef\xbb\xbf" + htd_text().encode().replace(b"\r\n", ending)
    assert read_htd(write(tmp_path / "a.HTD", raw)).wells == ("A02", "B01")


@pytest.mark.parametrize(("text", "reason"), [
    ("", "does not start with HTSInfoFile"), ("<html>", "does not start with HTSInfoFile"),
    (htd_text()[:300], "ends without EndFile"), (htd_text(XWells=None), "XWells is ''"),
    (htd_text(YWells="many"), "YWells is 'many'"), (htd_text(XWells="49"), "XWells is '49'"),
    (htd_text(NWavelengths="0"), "NWavelengths is '0'"), (htd_text(XSites="-1"), "XSites is '-1'"),
    (htd_text(WellsSelection3="TRUE"), "selects wells beyond its plate of 2 x 3 wells"),
    (htd_text(WellsSelection1="FALSE, FALSE, FALSE, TRUE"), "selects wells beyond its plate"),
])
def test_what_is_no_whole_htd_is_refused_in_one_line(tmp_path, text, reason):
    with pytest.raises(DataError, match=reason) as refusal:
        read_htd(write(tmp_path / "a.HTD", text))
    assert "\n" not in refusal.value.what
    assert "copy the file again" in refusal.value.what


def test_every_cut_of_an_htd_is_refused(tmp_path):
    text = htd_text().rstrip().removesuffix('"EndFile"')
    for length in range(0, len(text), 7):
        with pytest.raises(DataError):
            read_htd(write(tmp_path / "a.HTD", text[:length]))


def test_the_start_of_a_file_tells_an_htd(tmp_path):
    assert is_htd(write(tmp_path / "a.HTD", htd_text()))
    assert is_htd(write(tmp_path / "b.HTD", ""))
    assert not is_htd(write(tmp_path / "c.HTD", "hypertext data"))
    assert not is_htd(tmp_path / "none.HTD")
