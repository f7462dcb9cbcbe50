"""The HTD file of MetaXpress: lines of a quoted key and values, from HTSInfoFile to EndFile.

Exercised by `pytest tests/data/vendors/test_htd.py`.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mscnn.core.errors import DataError
from mscnn.data.tables.wells import LAST_COLUMN, LAST_ROW, well_name

LARGEST = 2**22   # bytes; a plate of 1,536 wells takes 20,000
MOST_SITES, MOST_WAVES = 10_000, 100
FIRST_KEY, LAST_KEY = "HTSInfoFile", "EndFile"
_AGAIN = "copy the file again from the microscope"


@dataclass(frozen=True)
class Htd:
    """What an HTD declares of a plate."""

    rows: int                     # of the plate
    columns: int
    wells: tuple[str, ...]        # those selected, as A01
    sites: int                    # selected in each well
    has_sites: bool               # False: names of files have no _s
    waves: dict[int, str]         # {number from 1: name of the wavelength, its number where it has none}
    collected: tuple[int, ...]    # numbers of the wavelengths that are imaged
    has_waves: bool               # False: names of files have no _w


def is_htd(path: Path) -> bool:
    """Return whether a file starts as an HTD does. An empty file counts: it was one before its copy was cut short."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError:
        return False
    return not start or FIRST_KEY.encode() in start


def read_htd(path: Path) -> Htd:
    """Read an HTD. Raises DataError for a file that is none, or is cut short."""
    values = _values(path)
    rows, columns = _number(path, values, "YWells", LAST_ROW), _number(path, values, "XWells", LAST_COLUMN)
    has_waves = _flag(values, "Waves")
    count = _number(path, values, "NWavelengths", MOST_WAVES) if has_waves or "NWavelengths" in values else 1
    has_sites = _flag(values, "Sites")
    return Htd(rows, columns, tuple(_selected(path, values, rows, columns)),
               _sites(path, values) if has_sites else 1, has_sites, _wave_names(values, count),
               tuple(wave for wave in range(1, count + 1) if _first(values, f"WaveCollect{wave}", "1") != "0"),
               has_waves)


def _values(path: Path) -> dict[str, list[str]]:
    """Return {key: values}. Descriptions hold any bytes."""
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror}); {_AGAIN}") from None
    text = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").decode("latin-1")
    with suppress(UnicodeDecodeError):  # written on a Windows of another code page; keys and numbers are ASCII
        text = text.encode("latin-1").decode("utf-8-sig")
    found: dict[str, list[str]] = {}
    for line in text.split("\n"):
        key, _, rest = line.partition(",")
        found.setdefault(_plain(key), [_plain(value) for value in rest.split(",")])
    if FIRST_KEY not in found or len(raw) > LARGEST:
        raise DataError(f"{path}: does not start with {FIRST_KEY}, as an HTD of MetaXpress does; {_AGAIN}, "
                        "or name the folder with --pattern")
    if LAST_KEY not in found:
        raise DataError(f"{path}: ends without {LAST_KEY}, so its copy was cut short; {_AGAIN}")
    return found


def _plain(text: str) -> str:
    return text.strip().strip('"').strip()


def _first(values: dict[str, list[str]], key: str, default: str = "") -> str:
    return values.get(key, [default])[0]


def _flag(values: dict[str, list[str]], key: str) -> bool:
    return _first(values, key).upper() == "TRUE"


def _number(path: Path, values: dict[str, list[str]], key: str, most: int) -> int:
    """Return a whole number of 1 or more. Raises DataError."""
    text = _first(values, key)
    if not (text.isdecimal() and 1 <= int(text[:9]) <= most):
        raise DataError(f"{path}: {key} is {text[:40]!r}, not a whole number from 1 to {most}; {_AGAIN}")
    return int(text)


def _selected(path: Path, values: dict[str, list[str]], rows: int, columns: int) -> list[str]:
    """Return the selected wells. Raises DataError where a row selects wells beyond the plate."""
    found = [(row, column) for row in range(LAST_ROW)
             for column, value in enumerate(values.get(f"WellsSelection{row + 1}", [])) if value.upper() == "TRUE"]
    beyond = [f"row {row + 1} column {column + 1}" for row, column in found if row >= rows or column >= columns]
    if beyond:
        raise DataError(f"{path}: selects wells beyond its plate of {rows} x {columns} wells; {_AGAIN}", beyond)
    return [well_name(row, column) for row, column in found]


def _sites(path: Path, values: dict[str, list[str]]) -> int:
    """Return the number of sites selected in a well, of all in its grid where none is marked."""
    across, down = (_number(path, values, key, MOST_SITES) for key in ("XSites", "YSites"))
    chosen = sum(value.upper() == "TRUE" for row in range(1, down + 1) for value in values.get(f"SiteSelection{row}", []))
    return chosen or across * down


def _wave_names(values: dict[str, list[str]], count: int) -> dict[int, str]:
    """Return the name of each wavelength; the same name of two gets the number of each."""
    names = [",".join(values.get(f"WaveName{wave}", [])).strip() or str(wave) for wave in range(1, count + 1)]
    return {wave: name if names.count(name) == 1 else f"{name} (w{wave})" for wave, name in enumerate(names, 1)}
