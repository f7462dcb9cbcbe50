"""The normal form of names and doses: two identifiers are the same exactly where their normal forms are equal.

Every comparison of compounds, mechanisms, plates, weeks, wells, sites or doses between rows or tables goes through it.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from string import ascii_lowercase

import pandas as pd

# Letters that Unicode prints as nothing though they are no format characters (Default_Ignorable_Code_Point).
_INVISIBLE = {0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10),
              *range(0xE0100, 0xE01F0)}
# Lower-case letters of Cyrillic and Greek whose capital or small letter looks like a Latin one, but the mu of micro.
_LOOK_ALIKE = str.maketrans("авекмнорстухіјѕһԁԛԝαβεζηικνορτυχ", "abekmhopctyxijshdqwabezhiknoptyx")
_DASHES = str.maketrans(dict.fromkeys(
    "\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u207b\u208b\u2212\u2500\u30fc\ufe58\ufe63\uff0d", "-"))
_QUOTES = str.maketrans({**dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u02b9\u02bc\u00b4`", "'"),
                         **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033", '"')})
DOSE_DIGITS = 6  # significant digits that tell doses apart: a float32 holds seven
# What programs write for a missing value (pandas reads these, too), and what people write; in normal form.
_MISSING = {"", "nan", "-nan", "n/a", "#n/a", "#n/a n/a", "#na", "<na>", "nat", "null", "1.#ind", "-1.#ind", "1.#qnan",
            "-1.#qnan"}
_NOT_KNOWN = _MISSING | {"na", "none", "(none)", "unknown", "not known", "n.a.", "n.d.", "nd", "-", "--", "?", "."}


@lru_cache(maxsize=2**16)
def normal_form(name: str) -> str:
    """Return a name without case, invisible letters and runs of blanks; letters that look alike become one.

    Unicode compatibility (NFKC) makes one of a no-break space and a blank, of full-width and plain letters, and of both
    codes of a micro sign.  Dashes, quotes, and Cyrillic or Greek letters that look like Latin ones become these.
    """
    if name.isascii() and name.isprintable():
        return " ".join(name.casefold().translate(_QUOTES).split())
    text = unicodedata.normalize("NFKC", name.translate(_DASHES).translate(_QUOTES)).casefold()
    text = unicodedata.normalize("NFKC", text)
    text = "".join(letter for letter in text if letter.isspace() or not _is_invisible(letter))
    return " ".join(text.translate(_DASHES).translate(_QUOTES).translate(_LOOK_ALIKE).split())


@lru_cache(maxsize=2**16)
def well(name: str) -> str:
    """Return the normal form of a well: a01 for A1, A01, a001, A - 1 and R01C01."""
    form = normal_form(name)
    place = re.fullmatch(r"([a-z]{1,2}) ?[-_:,.]? ?0*([0-9]{1,3})", form)
    if place:
        return f"{place[1]}{int(place[2]):02}"
    numbers = re.fullmatch(r"r0*([0-9]{1,2}) ?[-_]? ?c0*([0-9]{1,3})", form)  # row and column, from 1
    if numbers and 1 <= (row := int(numbers[1])) <= 2 * len(ascii_lowercase):
        letters = ("a" if row > len(ascii_lowercase) else "") + ascii_lowercase[(row - 1) % len(ascii_lowercase)]
        return f"{letters}{int(numbers[2]):02}"
    return form


@lru_cache(maxsize=2**16)
def number(name: str) -> str:
    """Return the normal form of a site or replicate: 1 for 1, 01 and 1.0."""
    form = normal_form(name)
    whole = re.fullmatch(r"0*([0-9]+)(\.0*)?", form)
    return whole[1] if whole else form


def dose(concentration: float) -> float:
    """Return a concentration of six significant digits: 0.3 for 0.30000000000000004, and for the float32 next to 0.3."""
    return float(f"{concentration:.{DOSE_DIGITS}g}")


_FORMS = {"well": well, "site": number, "replicate": number}


def normal_forms(column: pd.Series, role: str = "compound") -> pd.Series:
    """Return the normal form of each name of a column, with its index.  role: a name of site_table.METADATA."""
    form = _FORMS.get(role, normal_form)
    return column.map({name: form(name) for name in column.unique()}).astype(str)


def normal_table(frame: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """Return the normal forms of some columns, with the index of the table.  columns: by role, the name of each."""
    forms = {role: normal_forms(frame[name].astype(str), role) for role, name in columns.items()}
    return pd.DataFrame(forms, frame.index)


def is_name(column: pd.Series, name: str) -> pd.Series:
    """Return which entries of a column are this compound, mechanism, plate or week, in any spelling."""
    return normal_forms(column) == normal_form(name)


def is_same(name: str, other: str) -> bool:
    """Return whether two names are one, of a compound, mechanism, plate or week."""
    return normal_form(name) == normal_form(other)


def is_missing(name: str) -> bool:
    """Return whether a text is what a program writes for a missing value."""
    return normal_form(name) in _MISSING


def is_not_known(mechanism: str) -> bool:
    """Return whether a mechanism is missing, or says that it is not known."""
    return normal_form(mechanism) in _NOT_KNOWN


def in_common(names: Iterable[str], others: Iterable[str]) -> list[str]:
    """Return those of `names`, sorted, that are also among `others`, in whatever spelling."""
    known = {normal_form(name) for name in others}
    return sorted({name for name in names if normal_form(name) in known})


def spellings(names: Iterable[str]) -> list[list[str]]:
    """Return each group of names that are written in more than one way."""
    groups: dict[str, set[str]] = {}
    for name in names:
        groups.setdefault(normal_form(name), set()).add(name)
    return [sorted(group) for group in groups.values() if len(group) > 1]


def _is_invisible(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cf", "Cc") or ord(letter) in _INVISIBLE
