"""Numbers and lists in sentences.   python -m pytest tests/core/test_words.py"""

from collections.abc import Sequence

from mscnn.core.errors import printable


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: 1 compound, 1,200 compounds.  plural: where it is not the noun with an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def examples(names: Sequence[str], most: int = 5, separator: str = ", ") -> str:
    """Return the first names of a list for a sentence, on one line: `A01, A02 and 7 more`."""
    more = len(names) - most
    return separator.join(map(printable, names[:most])) + (f" and {more} more" if more > 0 else "")
