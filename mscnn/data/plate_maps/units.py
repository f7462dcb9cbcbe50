"""Units of concentrations, in any spelling: what kind each is, and its factor to the unit that mscnn writes."""

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

MICROMOLAR, MASS, PERCENT = "µM", "µg/ml", "%"  # what concentrations of each kind are written in
_PREFIXES = {"f": 1e-9, "p": 1e-6, "n": 1e-3, "u": 1.0, "m": 1e3, "": 1e6}
_WORDS = {"femto": "f", "pico": "p", "nano": "n", "micro": "u", "milli": "m"}


class Unit(NamedTuple):
    """A unit of concentration."""

    written: str   # MICROMOLAR, MASS or PERCENT
    factor: float  # a number in this unit, times factor, is a number in `written`


@lru_cache(maxsize=4096)
def find_unit(text: str) -> Unit | None:
    """Return the unit that a text names; None for none: uM, µM, micromolar, umol/l, mg_per_ml, % v/v, percent."""
    form = unicodedata.normalize("NFKC", text).casefold().replace("μ", "u")
    form = re.sub(r"[\s_.]*(?<![a-z])per(?![a-z])[\s_.]*|[\s_]*/[\s_]*", "/", re.sub(r"_", " ", form))
    form = re.sub(r"[\s_.()\[\]]", "", form)
    if re.fullmatch(r"(%|percent|pct)([vw]/[vw])?", form):
        return Unit(PERCENT, 1.0)
    for word, letter in _WORDS.items():
        form = form.replace(word, letter)
    form = re.sub(r"lit(er|re)s?$", "l", re.sub(r"^mcg", "ug", form))
    form = re.sub(r"grams?(?=/)", "g", re.sub(r"(molar|mol(es?)?/l)$", "M", form))
    if molar := re.fullmatch(r"([fpnum]?)[mM]", form):
        return Unit(MICROMOLAR, _PREFIXES[molar[1]])
    if mass := re.fullmatch(r"([fpnum]?)g/([um]?)l", form):
        return Unit(MASS, _PREFIXES[mass[1]] * {"": 1e-3, "m": 1.0, "u": 1e3}[mass[2]])
    return None


def common_unit(own: str, other: str) -> str:
    """Return the unit that two places of a map tell, or one alone; a text that is no unit, and refused, if not alike."""
    if not own or not other or find_unit(own) == find_unit(other):
        return own or other
    return f"{own} or {other}"


def split_unit(column: str) -> tuple[str, str]:
    """Return the name of a column or title without its unit, and the unit: dose_uM -> (dose, uM), Conc (nM) -> (Conc, nM).

    A name that is a unit, as mmoles_per_liter, is (concentration, mmoles_per_liter).  The unit is "" where there is none.
    """
    bracket = re.search(r"[(\[]([^)\]]*)[)\]]", column)
    if bracket and find_unit(bracket[1]):
        return (column[:bracket.start()] + column[bracket.end():]).strip(" _"), bracket[1].strip()
    if find_unit(column) and (re.search(r"per|/|%", column, re.IGNORECASE) or re.fullmatch(r"[fpnumµμ]M", column.strip())):
        return "concentration", column.strip()
    for parting in re.finditer(r"[\s_.,/-]+(in[\s_]+)?", column):
        name, unit = column[:parting.start()], column[parting.end():]
        if name and find_unit(unit):
            return name, unit.strip()
    joined = re.fullmatch(r"((?:.*[\W_])?(?:concentration|conc|dose))([a-zµμ%/]{1,5})", column, re.IGNORECASE)
    if joined and find_unit(joined[2]):
        return joined[1], joined[2]
    return column, ""
