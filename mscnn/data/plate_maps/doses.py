"""Texts of concentrations -> numbers in one unit a kind: micromolar, micrograms per millilitre, or percent."""

import re
import unicodedata
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mscnn.core import identity
from mscnn.data.plate_maps.units import find_unit
from mscnn.data.tables.problems import Problem

_NUMBER = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:e[+-]?\d+)?(?![\d.,])", re.IGNORECASE)
_MAYBE_THOUSANDS = re.compile(r"[1-9]\d{0,2}[.,]\d{3}")
KIND = "concentrations cannot be read; write them like 0.3 or 0.3 uM"


@dataclass(frozen=True)
class Doses:
    """Concentrations with the index of their texts."""

    values: pd.Series              # six significant digits; NaN where there is none
    units: pd.Series               # MICROMOLAR, MASS, PERCENT, or "" where no unit is given
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class _Commas:
    """What the commas and points of a map's numbers mean."""

    decimal: bool  # some comma parts decimals for sure: 0,3
    point: bool    # some point parts decimals for sure: 0.3


def read_doses(texts: pd.Series, units: pd.Series, file: str) -> Doses:
    """Return the concentrations of texts such as 0.3, 10 uM, 0,3 µM and 1e-6 M.

    units: of each row, "" where the text has to tell.  What cannot be read is NaN and a problem, with its row.
    """
    pairs = pd.DataFrame({"text": texts, "unit": units})
    distinct = pairs.drop_duplicates()
    commas = _commas(distinct["text"])
    read = {(text, unit): _read(str(text), str(unit), commas) for text, unit in distinct.itertuples(index=False)}
    found = [read[pair] for pair in pairs.itertuples(index=False, name=None)]
    problems = [Problem(int(row), file, f"concentration {text!r}{f' {unit}' if unit else ''}: {reason}", KIND)
                for row, text, unit, (_, _, reason) in zip(pairs.index, texts, units, found, strict=True) if reason]
    return Doses(pd.Series([value for value, _, _ in found], pairs.index, dtype=float),
                 pd.Series([unit for _, unit, _ in found], pairs.index, dtype="str"), tuple(problems))


def looks_like_dose(text: str) -> bool:
    """Return whether a text is a number, or a number with a unit."""
    match = _NUMBER.match(_plain(text))
    return bool(match) and (not (rest := _plain(text)[match.end():].strip()) or find_unit(rest) is not None)


def without_unit(values: pd.Series, units: pd.Series) -> pd.Series:
    """Return which concentrations lack a unit that they need: all but those that are not given, or zero."""
    return (units == "") & values.notna() & (values != 0)


def _read(text: str, stated: str, commas: _Commas) -> tuple[float, str, str]:
    """Return value, unit and "", or NaN, "" and why a text is no concentration."""
    nothing = float("nan"), ""
    if identity.is_not_known(text):
        return *nothing, ""
    plain = _plain(text)
    match = _NUMBER.match(plain)
    if not match:
        return *nothing, "is no number" if not re.match(r"[<>~≤≥±]", plain) else "is a limit, and no number"
    number, own = match[0], plain[match.end():].strip()
    if reason := _ambiguous(number, commas):
        return *nothing, reason
    value = float(number.replace(",", "."))
    if not np.isfinite(value) or value < 0:
        return *nothing, "is no number of 0 or more"
    if own and not find_unit(own):
        return *nothing, f"{own!r} is no unit of concentration that is known"
    if stated and not find_unit(stated):
        return *nothing, f"{stated!r} is no unit of concentration that is known"
    if own and stated and find_unit(own) != find_unit(stated):
        return *nothing, f"the cell says {own}, and its column {stated}"
    unit = find_unit(own or stated)
    return (identity.dose(value * unit.factor), unit.written, "") if unit else (identity.dose(value), "", "")


def _ambiguous(number: str, commas: _Commas) -> str:
    """Return why a number can be read in two ways: 1,000 may be one, or a thousand; "" where it cannot."""
    if not _MAYBE_THOUSANDS.fullmatch(number):
        return ""
    if "," in number and (commas.point or not commas.decimal):
        return "the comma may part decimals or thousands; write 1.5 or 1500"
    if "." in number and commas.decimal:
        return "the point may part thousands, as other numbers have decimal commas; write 1500 or 1,5"
    return ""


def _commas(texts: pd.Series) -> _Commas:
    numbers = [match[0] for text in texts if (match := _NUMBER.match(_plain(str(text))))]
    sure = [number for number in numbers if not _MAYBE_THOUSANDS.fullmatch(number)]
    return _Commas(any("," in number for number in sure), any("." in number for number in sure))


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text.replace("\u2212", "-")).strip()
